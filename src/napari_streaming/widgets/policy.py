"""The batching policy as three numbers that a user can turn."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QSpinBox, QWidget

from napari_streaming.receive.batching import BatchingPolicy

__all__ = ["PolicyForm"]


class PolicyForm(QWidget):
    """Edits a batching policy; says so when it changed."""

    changed = Signal(object)

    def __init__(self, policy: BatchingPolicy, parent: QWidget) -> None:
        super().__init__(parent)
        self._most = _spin(self, 0, 10_000, " ms", "Wait this long for a burst to end")
        self._least = _spin(self, 0, 60_000, " ms", "Show what came although a burst goes on")
        self._layers = _spin(self, 1, 64, "", "Update so many layers at once")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Update at most every", self._most)
        form.addRow("Update at least every", self._least)
        form.addRow("Layers at once", self._layers)
        self.show_policy(policy)
        for spin in (self._most, self._least, self._layers):
            spin.valueChanged.connect(self._on_edit)

    def show_policy(self, policy: BatchingPolicy) -> None:
        """Show a policy."""
        self._most.setValue(round(policy.min_interval * 1e3))
        self._least.setValue(round(policy.max_wait * 1e3))
        self._layers.setValue(policy.max_layers)

    def _on_edit(self) -> None:
        # The shortest interval cannot be longer than the longest wait.
        self._least.setMinimum(self._most.value())
        self.changed.emit(
            BatchingPolicy(
                min_interval=self._most.value() / 1e3,
                max_wait=self._least.value() / 1e3,
                max_layers=self._layers.value(),
            )
        )


def _spin(parent: QWidget, low: int, high: int, suffix: str, tip: str) -> QSpinBox:
    spin = QSpinBox(parent)
    spin.setRange(low, high)
    spin.setSuffix(suffix)
    spin.setToolTip(tip)
    return spin
