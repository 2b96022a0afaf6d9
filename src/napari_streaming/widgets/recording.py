"""The dock's button that records what comes from now on."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from napari_streaming.record.recorder import INDEX
from napari_streaming.record.tape import Tape
from napari_streaming.widgets.labels import plain_label
from napari_streaming.wording import counted

__all__ = ["RecordButton"]


class RecordButton(QWidget):
    """Asks where to record to, and shows how it goes.

    Signals
    -------
    begun : (str)
        A recording is wanted in this file.
    ended : ()
        It is wanted no more.
    """

    begun = Signal(str)
    ended = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._button = QPushButton("Record…", self)
        self._button.setCheckable(True)
        self._button.setToolTip(
            "Keep all that comes from now on: as OME-Zarr, to be opened and to be replayed"
        )
        self._state = plain_label(self)
        self._state.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        layout.addWidget(self._state, 1)
        self._button.clicked.connect(self._toggle)

    def _toggle(self, wanted: bool) -> None:
        if not wanted:
            self.ended.emit()
            return
        self._button.setChecked(False)  # until there is a recording
        path, _ = QFileDialog.getSaveFileName(
            self, "Record to", f"recording{INDEX}", f"Stream recording (*{INDEX})"
        )
        if path:
            self.begun.emit(path)

    def show_tape(self, tape: Tape | None) -> None:
        """Show how a recording is doing; None: there was none."""
        self._button.setChecked(tape is not None and tape.is_recording)
        if tape is None:
            self._state.clear()
            return
        stats = tape.stats()
        lost = f", {stats.lost} lost" if stats.lost else ""
        text = (
            f"{tape.index.name}: {counted(stats.items, 'item')}, {stats.bytes / 1e6:.0f} MB{lost}"
        )
        self._state.setText(stats.error or text)
        self._state.setToolTip(stats.error or str(tape.index))
