"""Which streams publishers are asked for, and how fast."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QLineEdit, QWidget

__all__ = ["LimitsForm"]


class LimitsForm(QWidget):
    """Edits what is asked of publishers, who then send less.

    Signals
    -------
    chosen : (object, float, float)
        Names of streams, all if there are none; items of each in a second and megabytes in a
        second, 0 if there is no limit.
    """

    chosen = Signal(object, float, float)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._streams = QLineEdit(self)
        self._streams.setPlaceholderText("all streams")
        self._streams.setToolTip("Names of the streams to receive, with commas between them")
        self._fps = _spin(self, " /s", "Items of each stream in a second; the newest win")
        self._mb_s = _spin(self, " MB/s", "Megabytes in a second that a publisher may send")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Receive only", self._streams)
        form.addRow("Items at most", self._fps)
        form.addRow("Volume at most", self._mb_s)
        self._streams.editingFinished.connect(self._choose)
        self._fps.valueChanged.connect(self._choose)
        self._mb_s.valueChanged.connect(self._choose)

    def _choose(self) -> None:
        names = [name.strip() for name in self._streams.text().split(",")]
        self.chosen.emit([n for n in names if n], self._fps.value(), self._mb_s.value())


def _spin(parent: QWidget, suffix: str, tip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox(parent)
    spin.setRange(0, 100_000)
    spin.setDecimals(1)
    spin.setSuffix(suffix)
    spin.setSpecialValueText("no limit")
    spin.setToolTip(tip)
    spin.setKeyboardTracking(False)
    return spin
