"""Which streams publishers are asked for, and how fast."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QLineEdit, QWidget

__all__ = ["LimitsForm"]

_SIDES = {"full": 0, "at most 2048 pixels": 2048, "at most 1024": 1024, "at most 512": 512}


class LimitsForm(QWidget):
    """Edits what is asked of publishers, who then send less.

    Signals
    -------
    chosen : (object, float, float, int)
        Names of streams, all if there are none; items of each in a second, megabytes in a
        second and pixels along each side of a plane, 0 if there is no limit.
    """

    chosen = Signal(object, float, float, int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._streams = QLineEdit(self)
        self._streams.setPlaceholderText("all streams")
        self._streams.setToolTip("Names of the streams to receive, with commas between them")
        self._fps = _spin(self, " /s", "Items of each stream in a second; the newest win")
        self._mb_s = _spin(self, " MB/s", "Megabytes in a second that a publisher may send")
        self._side = QComboBox(self)
        for text, side in _SIDES.items():
            self._side.addItem(text, side)
        self._side.setToolTip(
            "From programs on other machines, larger planes come as every second, third, … pixel "
            "of theirs; one that you look at for half a second follows in full"
        )
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Receive only", self._streams)
        form.addRow("Items at most", self._fps)
        form.addRow("Volume at most", self._mb_s)
        form.addRow("Planes", self._side)
        self._streams.editingFinished.connect(self._choose)
        self._fps.valueChanged.connect(self._choose)
        self._mb_s.valueChanged.connect(self._choose)
        self._side.currentIndexChanged.connect(self._choose)

    def _choose(self) -> None:
        names = [name.strip() for name in self._streams.text().split(",")]
        numbers = self._fps.value(), self._mb_s.value(), self._side.currentData()
        self.chosen.emit([n for n in names if n], *numbers)


def _spin(parent: QWidget, suffix: str, tip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox(parent)
    spin.setRange(0, 100_000)
    spin.setDecimals(1)
    spin.setSuffix(suffix)
    spin.setSpecialValueText("no limit")
    spin.setToolTip(tip)
    spin.setKeyboardTracking(False)
    return spin
