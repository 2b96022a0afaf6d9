"""The Remote GPU Session dock: an address, how the pictures are to be, and how it goes."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QCursor, QImage
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from napari_streaming.errors import ClosedError, IntentError, StreamingError, URLError
from napari_streaming.napari_plugin.remote_session import RemoteSession, RemoteStats
from napari_streaming.uri import parse_session_url
from napari_streaming.widgets.canvas_swap import CanvasSwap, find_canvas
from napari_streaming.widgets.labels import plain_text
from napari_streaming.widgets.remote_files import RemoteFiles
from napari_streaming.widgets.stream_canvas import StreamCanvas
from napari_streaming.wire.remote import Controller, Quality

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["RemoteDock"]

_REFRESH_MS = 500
_QUALITIES = {
    "Balanced": Quality(),
    "Sharp colours (4:4:4)": Quality(chroma="444"),
    "Narrow link (5 Mb/s)": Quality(bitrate=5_000_000, fps=30),
}


class RemoteDock(QWidget):
    """Shows a remote session in the viewer that it is docked in.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The name and the annotation make napari pass it.
    parent : QWidget, optional
    """

    _woken = Signal()

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._open_sessions: list[_Shown] = []  # one at most; outlives the dock by a moment
        self._controller = Controller(client=0)
        self._error = ""
        self._address = QLineEdit(self)
        self._address.setPlaceholderText("ws://127.0.0.1:8766/session#token")
        self._address.setToolTip("What napari-streaming serve has printed, with what follows the #")
        self._connect = QPushButton("Connect", self)
        self._disconnect = QPushButton("Disconnect", self)
        self._control = QPushButton("Take control", self)
        self._control.setToolTip("One viewer steers, the others look on")
        self._files = QPushButton("Open on the server…", self)
        self._files.setToolTip("Files of the folder that the server was given with --root")
        self._save = QPushButton("Save picture…", self)
        self._save.setToolTip("The server's picture, without loss")
        self._quality = QComboBox(self)
        for name, quality in _QUALITIES.items():
            self._quality.addItem(name, quality)
        self._state = plain_text(self)
        self._figures = {name: plain_text(self) for name in _FIGURES}
        self._lay_out()
        self._wire()
        self._refresh()
        # napari closes docks and windows without a closeEvent.
        self.destroyed.connect(weakref.finalize(self, _close_all, self._open_sessions))

    def open(self, url: str) -> None:
        """Connect to a session.

        Raises
        ------
        URLError, TransportError
            It cannot be used; shown in the dock as well.
        """
        self.close_session()
        self._error = ""
        canvas = find_canvas(self)
        try:
            if canvas is None:
                raise URLError("this dock is in no napari window")
            parse_session_url(url)
            self._open_sessions.append(_Shown(self._viewer, url, canvas, self._woken.emit))
        except StreamingError as error:
            self._error = str(error)
            raise
        finally:
            self._address.setText(url.partition("#")[0])
            self._refresh()
        session = self._open_sessions[0].session
        session.state_changed.connect(self._refresh)
        session.controller_changed.connect(self._note_controller)
        session.want(self._quality.currentData())

    @property
    def _shown(self) -> _Shown | None:
        return self._open_sessions[0] if self._open_sessions else None

    @property
    def session(self) -> RemoteSession | None:
        """The session that is shown, if any."""
        return None if self._shown is None else self._shown.session

    @property
    def canvas(self) -> StreamCanvas | None:
        """What shows its pictures, if any."""
        return None if self._shown is None else self._shown.canvas

    def close_session(self) -> None:
        """Leave the session, and bring napari's canvas and layers back."""
        _close_all(self._open_sessions)
        self._controller = Controller(client=0)
        self._refresh()

    # ---- building --------------------------------------------------------------------

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self._address)
        buttons = QHBoxLayout()
        for button in (self._connect, self._disconnect, self._control):
            buttons.addWidget(button)
        layout.addLayout(buttons)
        more = QHBoxLayout()
        for button in (self._files, self._save):
            more.addWidget(button)
        layout.addLayout(more)
        layout.addWidget(self._state)
        form = QFormLayout()
        form.addRow("Pictures", self._quality)
        for name, label in self._figures.items():
            form.addRow(name, label)
        layout.addLayout(form)
        layout.addStretch(1)
        self.setMinimumWidth(330)

    def _wire(self) -> None:
        # Bound methods only: a lambda that holds the dock would keep it, and the session, alive.
        self._connect.clicked.connect(self._open_typed)
        self._address.returnPressed.connect(self._open_typed)
        self._disconnect.clicked.connect(self.close_session)
        self._control.clicked.connect(self._ask_for_control)
        self._files.clicked.connect(self._choose_files)
        self._save.clicked.connect(self._save_picture)
        self._quality.currentIndexChanged.connect(self._choose_quality)
        self._woken.connect(self._tick, Qt.ConnectionType.QueuedConnection)
        timer = QTimer(self)
        timer.timeout.connect(self._refresh)
        timer.start(_REFRESH_MS)

    # ---- doing -----------------------------------------------------------------------

    def _open_typed(self) -> None:
        try:
            self.open(self._address.text())
        except StreamingError:
            return  # it is in the dock

    def _tick(self) -> None:
        if self._shown is not None:
            self._shown.session.tick()

    def _choose_quality(self) -> None:
        if self._shown is not None:
            self._shown.session.want(self._quality.currentData())

    def _note_controller(self, controller: Controller) -> None:
        self._controller = controller
        self._refresh()

    def _ask_for_control(self) -> None:
        if self._shown is None:
            return
        if self._is_controller and self._controller.asking:
            self._shown.session.give_control(self._controller.asking)
        else:
            self._shown.session.take_control()

    def _choose_files(self) -> None:
        if self._shown is not None:
            dialog = RemoteFiles(self._shown.session.command, self)
            dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            dialog.open()

    def _save_picture(self) -> None:
        shown = self._shown
        if shown is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save picture", "session.png", "Pictures (*.png *.jpg *.bmp)"
        )
        if not path:
            return
        try:
            is_written = shown.picture().save(path)
        except StreamingError as error:
            shown.session.notify("error", f"There is no picture: {error}")
            return
        if not is_written:
            shown.session.notify("error", f"{path} cannot be written")

    @property
    def _is_controller(self) -> bool:
        session = self.session
        return session is not None and self._controller.client == session.number

    def _refresh(self, _state: str = "") -> None:
        session = self.session
        self._disconnect.setEnabled(session is not None)
        self._control.setEnabled(session is not None)
        self._files.setEnabled(self._is_controller)
        self._save.setEnabled(session is not None)
        asking = self._controller.asking_name if self._is_controller else ""
        self._control.setText(f"Let {asking} steer" if asking else "Take control")
        if session is None:
            self._state.setText(self._error or "Not connected")
            for label in self._figures.values():
                label.setText("")
            return
        who = "you" if self._is_controller else self._controller.name or "nobody"
        self._state.setText(f"{session.state[:1].upper()}{session.state[1:]}; {who} may steer")
        stats = session.stats()
        for name, label in self._figures.items():
            label.setText(_FIGURES[name](stats))


class _Shown:
    """A session, the canvas that shows it, and its place in the window."""

    def __init__(self, viewer: Any, url: str, native: QWidget, wake: Any) -> None:
        self.canvas = StreamCanvas()
        self._swap = CanvasSwap(native, self.canvas, self.picture)
        try:
            self.session = RemoteSession(viewer, url, self.canvas.device_size(), wake)
        except StreamingError:
            self._swap.restore()
            raise
        self.canvas.input.connect(self.session.send_input)
        self.canvas.resized.connect(self.session.resize)
        self.canvas.presented.connect(self.session.presented)
        self.session.picture.connect(self.canvas.show_pixels)
        self.session.state_changed.connect(self._on_state)
        self.session.tooltip.connect(self._show_tooltip)
        self.canvas.say("Connecting …")
        self.canvas.setFocus()

    def _on_state(self, state: str) -> None:
        words = {"connected": "", "connecting": "Connecting …"}
        self.canvas.say(words.get(state, f"{state}\n\nDisconnect brings your own layers back."))

    def _show_tooltip(self, text: str) -> None:
        QToolTip.showText(QCursor.pos(), text, self.canvas)

    def picture(self) -> QImage:
        """Return the server's picture; the last that came if it does not answer.

        Raises
        ------
        ClosedError
            It does not answer, and none came.
        """
        try:
            return QImage.fromData(self.session.still())
        except (ClosedError, IntentError):
            image = self.canvas.image
            if image.isNull():
                raise
            return image

    def close(self) -> None:
        """Give the viewer back as it was."""
        self.session.close()
        self._swap.restore()


def _close_all(sessions: list[_Shown]) -> None:
    while sessions:
        sessions.pop().close()


def _latency(stats: RemoteStats) -> str:
    half, most = (1e3 * seconds for seconds in stats.latency)
    return "" if math.isnan(half) else f"{half:.0f} ms, 95 %: {most:.0f} ms"


def _rate(stats: RemoteStats) -> str:
    return f"{stats.fps:.0f} a second, {stats.bitrate / 1e6:.1f} Mb/s"


def _size(stats: RemoteStats) -> str:
    return f"{stats.width} × {stats.height}" if stats.width else ""


def _encoder(stats: RemoteStats) -> str:
    server = stats.server
    if server is None:
        return stats.codec
    return f"{server.encoder}: {server.encode_ms:.1f} ms, drawing {server.render_ms:.1f} ms"


def _round_trip(stats: RemoteStats) -> str:
    return "" if math.isinf(stats.round_trip) else f"{stats.round_trip * 1e3:.1f} ms"


_FIGURES = {
    "Latency": _latency,
    "Shown": _rate,
    "Size": _size,
    "Encoder": _encoder,
    "Round trip": _round_trip,
}
