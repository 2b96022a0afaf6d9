"""The Stream Receiver dock: an address, its state, and a line for each stream."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QGridLayout,
    QLineEdit,
    QPushButton,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_streaming.errors import StreamingError
from napari_streaming.napari_plugin.session import ReceiverSession, warm_up
from napari_streaming.uri import DEFAULT_URL, parse_url
from napari_streaming.widgets.controls import ControlPanel
from napari_streaming.widgets.graphs import MetricGraphs
from napari_streaming.widgets.labels import plain_text
from napari_streaming.widgets.limits import LimitsForm
from napari_streaming.widgets.memory import MemoryForm
from napari_streaming.widgets.outline import OutlineTable
from napari_streaming.widgets.placement import PlacementForm
from napari_streaming.widgets.policy import PolicyForm
from napari_streaming.widgets.recording import RecordButton
from napari_streaming.widgets.stats import LogView, MetricTable, StreamTable

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["ReceiverDock"]

_TICK_MS = 10
_REFRESH_MS = 250  # people read these


class ReceiverDock(QWidget):
    """Receives streams into the layers of a viewer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The name and the annotation make napari pass it.
    parent : QWidget, optional
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = ReceiverSession(napari_viewer)
        # napari closes docks and windows without a closeEvent. A dock it lets go of; a window it
        # has Qt destroy, while its user may still hold the viewer.
        self.destroyed.connect(weakref.finalize(self, self.session.close))
        self._address = QLineEdit(DEFAULT_URL.removesuffix("?listen"), self)
        self._address.setPlaceholderText("tcp://host:port")
        self._address.setToolTip(
            "tcp:// or ws://host:port, ipc://name; with #token if it is far away. "
            "To listen to OpenHCS: openhcs+tcp://127.0.0.1:5555, openhcs+ipc://5555. "
            "To connect to atoplace: atoplace+ws://127.0.0.1:8765"
        )
        self._listen = QPushButton("Listen", self)
        self._listen.setToolTip("Wait here for pipelines that connect")
        self._connect = QPushButton("Connect", self)
        self._connect.setToolTip("Connect to a pipeline that listens")
        self._stop = QPushButton("Stop", self)
        self._stop.setToolTip("Stop receiving; the layers stay")
        self._copy = QPushButton("Copy address", self)
        self._copy.setToolTip(
            "Copy, with its token, what a pipeline on another machine connects to; "
            "or where you connected, what another viewer needs to look on, and not to steer"
        )
        self._live = QPushButton("Live", self)
        self._live.setCheckable(True)
        self._live.setChecked(True)
        self._live.setToolTip("Stay at what came last, until you move a slider; Home goes back")
        self._words = QCheckBox("Label the canvas", self)
        self._words.setToolTip("Write on the canvas where the sliders stand: Well A01 · T 3")
        self._words.setChecked(True)
        self._state = plain_text(self)
        self._policy = PolicyForm(self.session.policy, self)
        self._record = RecordButton(self)
        self._placement = PlacementForm(self)
        self._memory = MemoryForm(self.session.receiver.layers.memory[1], self)
        self._limits = LimitsForm(self)
        self._controls = ControlPanel(self)
        self._outline = OutlineTable(self)
        self._streams = StreamTable(self)
        self._metrics = MetricTable(self)
        self._graphs = MetricGraphs(self)
        self._log = LogView(self)
        self._error = ""
        self._lay_out()
        self._wire()
        self._refresh()
        QTimer.singleShot(0, lambda: warm_up(napari_viewer))

    def open(self, url: str) -> None:
        """Listen at, or connect to, a URL.

        Raises
        ------
        URLError, TransportError
            It cannot be used; shown in the dock as well.
        """
        self._error = ""
        try:
            opened = parse_url(self.session.receiver.open(url))
            self._address.setText(replace(opened, listen=False).redacted())
        except StreamingError as error:
            self._error = str(error)
            raise
        finally:
            self._refresh()

    # ---- building --------------------------------------------------------------------

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        grid = QGridLayout()
        grid.addWidget(self._address, 0, 0, 1, 3)
        for column, button in enumerate((self._listen, self._connect, self._stop)):
            grid.addWidget(button, 1, column)
        grid.addWidget(self._state, 2, 0, 1, 3)
        grid.addWidget(self._live, 3, 0)
        grid.addWidget(self._words, 3, 1)
        grid.addWidget(self._copy, 3, 2)
        layout.addLayout(grid)
        layout.addWidget(self._record)
        layout.addWidget(self._controls)
        tables = QSplitter(Qt.Orientation.Vertical, self)
        for widget in (self._outline, self._streams, self._metrics, self._log):
            tables.addWidget(widget)
        for index, share in enumerate((3, 3, 1, 1)):
            tables.setStretchFactor(index, share)
        tabs = QTabWidget(self)
        tabs.addTab(tables, "Streams")
        tabs.addTab(self._graphs, "Graphs")
        tabs.addTab(_column(self._placement), "Placement")
        tabs.addTab(_column(self._policy, self._memory, self._limits), "Updates and memory")
        layout.addWidget(tabs, 1)
        self.setMinimumWidth(470)

    def _wire(self) -> None:
        # Bound methods only: a lambda that holds the dock would keep it, and the stream,
        # alive after napari has let go of it.
        self._listen.clicked.connect(self._listen_typed)
        self._connect.clicked.connect(self._connect_typed)
        self._address.returnPressed.connect(self._open_typed)
        self._stop.clicked.connect(self._shut)
        self._copy.clicked.connect(self._copy_address)
        self._live.toggled.connect(self.session.set_follow)
        self._policy.changed.connect(self.session.set_policy)
        self._record.begun.connect(self._begin_recording)
        self._record.ended.connect(self.session.end_recording)
        layers = self.session.receiver.layers
        self._memory.budget_chosen.connect(layers.set_budget)
        self._limits.chosen.connect(self._limit)
        self._placement.mode_chosen.connect(self.session.set_mode)
        self._placement.sizes_chosen.connect(layers.set_sizes)
        self._placement.new_run_chosen.connect(layers.set_new_run)
        self._controls.asked.connect(self.session.receiver.control)
        self._controls.set.connect(self.session.receiver.set_parameter)
        self._graphs.step_chosen.connect(self.session.go_to)
        self._words.toggled.connect(self.session.set_words)
        self.session.follow_changed.connect(self._show_live)
        for interval, method in ((_TICK_MS, self.session.tick), (_REFRESH_MS, self._refresh)):
            timer = QTimer(self)
            timer.timeout.connect(method)
            timer.start(interval)

    # ---- doing -----------------------------------------------------------------------

    def _listen_typed(self) -> None:
        self._open_typed(listen=True)

    def _connect_typed(self) -> None:
        self._open_typed(listen=False)

    def _open_typed(self, listen: bool | None = None) -> None:
        try:
            self.open(str(parse_url(self._address.text(), listen=listen)))
        except StreamingError as error:
            self._error = str(error)
            self._refresh()

    def _shut(self) -> None:
        for source in self.session.receiver.sources:
            self.session.receiver.shut(source.url)
        self._error = ""
        self._refresh()

    def _begin_recording(self, path: str) -> None:
        self._error = ""
        try:
            self.session.begin_recording(Path(path))
        except StreamingError as error:
            self._error = str(error)
        self._refresh()

    def _show_live(self, follow: bool) -> None:
        self._live.setChecked(follow)

    def _limit(self, streams: list[str], max_fps: float, max_mb_s: float, max_side: int) -> None:
        self.session.receiver.limit(
            streams=streams, max_fps=max_fps, max_mb_s=max_mb_s, max_side=max_side
        )

    def _copy_address(self) -> None:
        receiver = self.session.receiver
        QApplication.clipboard().setText("\n".join(receiver.urls + receiver.view_urls))

    def _refresh(self) -> None:
        receiver = self.session.receiver
        lines = [self._error] if self._error else []
        for source in receiver.sources:
            refused = f" ({source.refused} refused)" if source.refused else ""
            lines.append(f"{source.url}: {source.state}{refused}")
        self._state.setText("\n".join(lines) or "Not receiving: listen or connect")
        self._stop.setEnabled(bool(receiver.sources))
        self._copy.setEnabled(bool(receiver.urls or receiver.view_urls))
        layers = receiver.layers
        self._record.show_tape(self.session.tape)
        self._memory.show_held(layers.memory[0])
        self._placement.show_modes({name: layers.mode(name) for name in layers.dimensions})
        self._placement.show_sizes(layers.sizes)
        self._controls.show_programs(list(layers.programs.values()))
        self._outline.show_outlines(list(layers.outlines.values()))
        self._streams.show_layers(list(layers.values()))
        self._metrics.show_metrics(layers)
        self._graphs.show_metrics(layers.metrics, self.session.sliders)
        self._log.show_log(list(layers.log))


def _column(*widgets: QWidget) -> QWidget:
    """Return a page with these widgets at its top."""
    page = QWidget()
    layout = QVBoxLayout(page)
    for widget in widgets:
        layout.addWidget(widget)
    layout.addStretch(1)
    return page
