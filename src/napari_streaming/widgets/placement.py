"""What becomes of each dimension, of other sizes and of a new run: a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QWidget

from napari_streaming.receive.catalog import NewRun, Sizes
from napari_streaming.receive.placement import Mode

__all__ = ["PlacementForm"]

_MODES = {
    "stack": ("slider", "An axis: its values are chosen with a slider"),
    "split": ("layers", "A layer for each value"),
    "window": ("windows", "A viewer window for each value"),
    "latest": ("latest only", "Only the value that came last"),
}
_SIZES = {
    "split": ("another layer", "Planes of another shape make a layer of their own"),
    "pad": ("pad with zeros", "Smaller planes are padded to the largest of their layer"),
}
_NEW_RUNS = {
    "continue": ("continues", "A program that is started again goes on in the layers it had"),
    "replace": ("replaces", "What was in its layers goes"),
    "beside": ("opens beside", "It gets new layers; the old ones stay"),
}
assert tuple(_MODES) == get_args(Mode)
assert tuple(_SIZES) == get_args(Sizes)
assert tuple(_NEW_RUNS) == get_args(NewRun)


class PlacementForm(QWidget):
    """Says what was chosen; a row for each dimension that has come.

    Signals
    -------
    mode_chosen : (str, str)
        A dimension and its mode.
    sizes_chosen, new_run_chosen : (str)
    """

    mode_chosen = Signal(str, str)
    sizes_chosen = Signal(str)
    new_run_chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows: dict[str, QComboBox] = {}
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._sizes = _choice(_SIZES, self)
        self._sizes.currentIndexChanged.connect(self._choose_sizes)
        self._form.addRow("Other sizes", self._sizes)
        self._new_run = _choice(_NEW_RUNS, self)
        self._new_run.currentIndexChanged.connect(self._choose_new_run)
        self._form.addRow("A new run", self._new_run)

    def show_modes(self, modes: Mapping[str, Mode]) -> None:
        """Have a row for each of these dimensions, at what becomes of it now."""
        for name, mode in modes.items():
            if name not in self._rows:
                row = self._rows[name] = _choice(_MODES, self)
                row.setObjectName(name)
                row.currentIndexChanged.connect(self._choose_mode)
                self._form.insertRow(len(self._rows) - 1, name, row)
            _show(self._rows[name], mode)

    def show_sizes(self, sizes: Sizes) -> None:
        """Show what becomes of other sizes now."""
        _show(self._sizes, sizes)

    def _choose_mode(self) -> None:
        row = self.sender()
        self.mode_chosen.emit(row.objectName(), row.currentData())

    def _choose_sizes(self) -> None:
        self.sizes_chosen.emit(self._sizes.currentData())

    def _choose_new_run(self) -> None:
        self.new_run_chosen.emit(self._new_run.currentData())


def _choice(choices: dict[str, tuple[str, str]], parent: QWidget) -> QComboBox:
    """Return a box with the words, and the tips, of each choice."""
    box = QComboBox(parent)
    for index, (value, (words, tip)) in enumerate(choices.items()):
        box.addItem(words, value)
        box.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
    return box


def _show(box: QComboBox, value: str) -> None:
    """Show a choice that was made elsewhere: a sender may have proposed it."""
    if box.currentData() != value:
        with QSignalBlocker(box):
            box.setCurrentIndex(box.findData(value))
