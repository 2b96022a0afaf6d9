"""How much memory planes take, and how much they may."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QLabel, QWidget

__all__ = ["MemoryForm"]

_GB = 1e9


class MemoryForm(QWidget):
    """Edits the budget, in bytes, and says what is in use.

    Signals
    -------
    budget_chosen : (object)
        Bytes; an int may be too long for Qt.
    """

    budget_chosen = Signal(object)

    def __init__(self, budget: int, parent: QWidget) -> None:
        super().__init__(parent)
        self._budget = QDoubleSpinBox(self)
        self._budget.setRange(0.1, 10_000)
        self._budget.setSingleStep(0.5)
        self._budget.setDecimals(1)
        self._budget.setSuffix(" GB")
        self._budget.setToolTip(
            "Planes beyond this wait on the disk, compressed, until they are looked at"
        )
        self._budget.setValue(budget / _GB)
        self._budget.valueChanged.connect(self._choose)
        self._held = QLabel(self)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Memory for planes", self._budget)
        form.addRow("In use", self._held)

    def show_held(self, held: int) -> None:
        """Show how many bytes are in use."""
        self._held.setText(f"{held / _GB:.2f} GB")

    def _choose(self) -> None:
        self.budget_chosen.emit(round(self._budget.value() * _GB))
