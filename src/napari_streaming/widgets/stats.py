"""Tables of counters, and the log: plain views that are told what to show."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

from qtpy.QtGui import QFont
from qtpy.QtWidgets import QHeaderView, QPlainTextEdit, QWidget

from napari_streaming.receive.catalog import Catalog, LogLine, StreamedLayer
from napari_streaming.receive.counters import LayerStats
from napari_streaming.receive.latency import Quantiles, Recent, Stages
from napari_streaming.widgets.sparkline import RECENT, SparklineDelegate
from napari_streaming.widgets.table import MARGINS, Cell, Table, plain

__all__ = ["LogView", "MetricTable", "StreamTable"]


class StreamTable(Table):
    """The counters of each streamed layer."""

    def __init__(self, parent: QWidget) -> None:
        titles, tips, _ = zip(*_COLUMNS, strict=True)
        super().__init__(titles, tips, parent)
        self._sparklines = titles.index("30 s")
        self._first_to_go = [titles.index(title) for title in ("MB/s", "Received", "/s", "QoS")]
        self.setItemDelegateForColumn(self._sparklines, SparklineDelegate(self))
        # Columns that follow their contents would jump four times a second.
        for column in range(1, self.columnCount()):
            self.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)

    def _fit(self) -> None:
        """Leave columns out where there is no room for all."""
        super()._fit()
        header, metrics = self.horizontalHeader().fontMetrics(), self.fontMetrics()
        widths = [
            MARGINS + max(header.horizontalAdvance(title), metrics.horizontalAdvance(widest))
            for title, _, widest in _COLUMNS
        ]
        excess = sum(widths) - self.viewport().width()
        for column in self._first_to_go:
            self.setColumnHidden(column, excess > 0)
            excess -= widths[column]
        for column, width in enumerate(widths[1:], 1):
            self.setColumnWidth(column, width)

    def show_layers(self, layers: Iterable[StreamedLayer]) -> None:
        """Show the counters as they are now."""
        now = time.time()
        recents = {layer: layer.counters.recent(now) for layer in layers}
        self.show_rows([_cells(layer, now, recent) for layer, recent in recents.items()])
        for i, recent in enumerate(recents.values()):
            cell = self.item(i, self._sparklines)
            if cell.data(RECENT) != recent:
                cell.setData(RECENT, recent)


_COLUMNS = (  # title, what it means, and the widest text that it must have room for
    ("Stream", "The layer", "stream name"),
    ("QoS", "latest: new items may take the place of old ones; reliable: all come", "reliable"),
    ("Received", "Items that arrived", "99999"),
    ("Shown", "Items that napari has been given", "99999"),
    ("Dropped", "Items that were given up because newer ones came, or refused", "9999"),
    ("/s", "Items per second", "999.9"),
    ("MB/s", "Megabytes per second", "999.9"),
    ("Latency", "From the publisher's call to napari: half of the items, 95 % of them",
     "999 / 999 ms"),
    ("30 s", "The longest wait in each quarter of a second; red: items were lost", " " * 12),
)  # fmt: skip


def _cells(layer: StreamedLayer, now: float, recent: Recent) -> tuple[Cell, ...]:
    """Return the row of a layer."""
    stats, qos = layer.counters.stats(now), layer.declare.qos
    volume = f"{stats.bytes_per_second / 1e6:.1f}"
    speed = f"{volume} MB/s"
    if stats.squeezed_per_second < 0.99 * stats.bytes_per_second:
        speed += f", compressed to {stats.squeezed_per_second / 1e6:.1f} MB/s"
    return (
        (layer.name, plain(f"{layer.name} ({qos})")),
        (qos, qos),
        (_short(stats.received), f"{stats.received:,}"),
        (_short(stats.shown), f"{stats.shown:,} of {stats.received:,}"),
        (_short(stats.dropped + stats.refused), _losses(stats)),
        (f"{stats.per_second:.1f}", speed),
        (volume, speed),
        (_pair(stats.stages.total), _stages(stats.stages)),
        ("", _longest(recent)),
    )


def _short(count: int) -> str:
    """Return a count in at most six letters."""
    if count < 100_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 1e6 else f"{count / 1e6:.1f}M"


def _pair(quantiles: Quantiles) -> str:
    """Return both figures with their unit; nothing as long as there are none."""
    if math.isnan(quantiles.p95):
        return ""
    size, unit = (1.0, "s") if quantiles.p95 >= 1 else (1e3, "ms")
    p50, p95 = (f"{s:.0f}" if s >= 10 else f"{s:.1f}" for s in _scaled(quantiles, size))
    return f"{p50} / {p95} {unit}"


def _scaled(quantiles: Quantiles, size: float) -> tuple[float, float]:
    return quantiles.p50 * size, quantiles.p95 * size


def _stages(stages: Stages) -> str:
    """Return a small table of the stages."""
    lines = ["<tr><th></th><th align='right'>half</th><th align='right'>95 %</th></tr>"]
    for name, quantiles in (
        ("published → received", stages.received),
        ("→ placed", stages.placed),
        ("→ shown", stages.shown),
        ("in all", stages.total),
    ):
        figures = ("" if math.isnan(ms) else f"{ms:.1f} ms" for ms in _scaled(quantiles, 1e3))
        cells = "".join(f"<td align='right'>&nbsp;{figure}</td>" for figure in figures)
        lines.append(f"<tr><td align='right'>{name}</td>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _losses(stats: LayerStats) -> str:
    """Return what was lost, in words."""
    lines = []
    if stats.dropped:
        gaps = "1 gap" if stats.gaps == 1 else f"{stats.gaps:,} gaps"
        lines.append(f"{stats.dropped:,} dropped, in {gaps}; at last: {stats.gap_reason}")
    if stats.refused:
        lines.append(f"{stats.refused:,} refused: see the log")
    return plain("\n".join(lines) or "None was lost")


def _longest(recent: Recent) -> str:
    """Return the scale of a sparkline."""
    if not recent.late:
        return "Nothing was shown in the last 30 seconds"
    longest = max(seconds for _, seconds in recent.late)
    return f"The longest wait in the last 30 seconds: {longest * 1e3:.1f} ms"


class MetricTable(Table):
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
                tuple(
                    (text, plain(text))
                    for text in (name, f"{series.values[-1]:.6g}", f"{series.steps[-1]:.10g}")
                )
                for name, series in list(catalog.metrics.items())
                if len(series)
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
