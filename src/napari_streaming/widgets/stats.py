"""Tables of counters, and the log: plain views that are told what to show."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QPlainTextEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_streaming.receive.catalog import Catalog, LogLine, StreamedLayer

__all__ = ["LogView", "MetricTable", "StreamTable"]


class _Table(QTableWidget):
    """Rows of text under fixed headers; a row is known by its first cell."""

    def __init__(self, headers: Sequence[str], tips: Sequence[str], parent: QWidget) -> None:
        super().__init__(0, len(headers), parent)
        self.setHorizontalHeaderLabels(list(headers))
        for column, tip in enumerate(tips):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setShowGrid(False)
        self.setWordWrap(False)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(40)

    def show_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Show these rows, touching only the cells that changed."""
        self.setRowCount(len(rows))
        for i, row in enumerate(rows):
            for j, text in enumerate(row):
                cell = self.item(i, j)
                if cell is None:
                    cell = QTableWidgetItem()
                    align = Qt.AlignmentFlag.AlignLeft if j == 0 else Qt.AlignmentFlag.AlignRight
                    cell.setTextAlignment(align | Qt.AlignmentFlag.AlignVCenter)
                    self.setItem(i, j, cell)
                if cell.text() != text:
                    cell.setText(text)
                    cell.setToolTip(text)


class StreamTable(_Table):
    """The counters of each streamed layer."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(
            ("Stream", "Received", "Shown", "Dropped", "/s", "MB/s", "Latency"),
            (
                "The layer",
                "Items that arrived",
                "Items that napari has been given",
                "Items that were given up because newer ones came, or refused",
                "Items per second",
                "Megabytes per second",
                "From the publisher's call to the layer, median",
            ),
            parent,
        )

    def show_layers(self, layers: Iterable[StreamedLayer]) -> None:
        """Show the counters as they are now."""
        rows = []
        for layer in layers:
            stats = layer.stats()
            latency = "" if stats.latency != stats.latency else f"{stats.latency * 1e3:.1f} ms"
            rows.append(
                (
                    layer.name,
                    str(stats.received),
                    str(stats.shown),
                    str(stats.dropped + stats.refused),
                    f"{stats.per_second:.1f}",
                    f"{stats.bytes_per_second / 1e6:.1f}",
                    latency,
                )
            )
        self.show_rows(rows)


class MetricTable(_Table):
    """The last value of each metric."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(
            ("Metric", "Value", "Step"),
            ("The quantity", "Its last value", "Where it was measured"),
            parent,
        )

    def show_metrics(self, catalog: Catalog) -> None:
        """Show the last values."""
        self.show_rows(
            [
                (name, f"{series.values[-1]:.6g}", f"{series.steps[-1]:.10g}")
                for name, series in list(catalog.metrics.items())
                if series.values
            ]
        )


class LogView(QPlainTextEdit):
    """What publishers and the receiver have to say; the newest line last."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMaximumBlockCount(1000)
        self.setFont(QFont("monospace"))
        self._last: LogLine | None = None

    def show_log(self, lines: Sequence[LogLine]) -> None:
        """Append the lines that are new."""
        fresh: list[LogLine] = []
        for line in reversed(lines):
            if line is self._last:
                break
            fresh.append(line)
        for line in reversed(fresh):
            clock = time.strftime("%H:%M:%S", time.localtime(line.time))
            level = "" if line.level == "info" else f"{line.level}: "
            self.appendPlainText(f"{clock} {level}{line.text}")
            self._last = line
