"""A table of words that is told what to show, as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TypeAlias

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

__all__ = ["MARGINS", "Cell", "Table", "plain"]

Cell: TypeAlias = tuple[str, str]  # its text and its tooltip

MARGINS = 10
"""Pixels around the text of a cell."""


class Table(QTableWidget):
    """Rows of text under fixed headers; a row is known by its first cell.

    The first `words` columns are words, which begin on the left; numbers end on the right.
    """

    def __init__(
        self, headers: Sequence[str], tips: Sequence[str], parent: QWidget, *, words: int = 1
    ) -> None:
        super().__init__(0, len(headers), parent)
        self._words = words
        self.setHorizontalHeaderLabels(list(headers))
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # Home is the viewer's after a click, too
        self.setShowGrid(False)
        self.setWordWrap(False)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(40)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Follow the room that there is."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + MARGINS)

    def show_rows(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Show these rows, touching only the cells that changed."""
        self.setRowCount(len(rows))
        for i, row in enumerate(rows):
            for j, (text, tip) in enumerate(row):
                cell = self.item(i, j)
                if cell is None:
                    cell = QTableWidgetItem()
                    left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
                    side = left if j < self._words else right
                    cell.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
                    self.setItem(i, j, cell)
                if cell.text() != text:
                    cell.setText(text)
                if cell.toolTip() != tip:
                    cell.setToolTip(tip)


def plain(text: str) -> str:
    """Return a tooltip that shows a text as it is: what programs say is not ours to format."""
    return "<qt>" + escape(text).replace("\n", "<br>") + "</qt>"
