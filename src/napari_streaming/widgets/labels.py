"""Labels for words that others chose: shown as they are, whatever markup is in them."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

__all__ = ["plain_label", "plain_text"]


def plain_label(parent: QWidget, text: str = "") -> QLabel:
    """Return a label that takes nothing for HTML."""
    label = QLabel(parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(text)
    return label


def plain_text(parent: QWidget) -> QLabel:
    """Return the same for whole sentences: they can be copied, and fill the room that there is."""
    label = plain_label(parent)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label
