"""Live graphs of the metrics: one for each quantity, its runs together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any, TypeAlias

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_streaming.receive.metrics import Metrics, MetricSeries
from napari_streaming.wire.messages import Coordinate

__all__ = ["MetricGraphs", "group_of"]

_HEIGHT = 150
_MOST_GRAPHS = 32
_MOST_NAMES = 12  # of curves, beyond which a legend hides what it explains
_MOST_DOTS = 400  # a plate's wells: each is a dot, of one alone there would be no line to see
_A_DATE = 1e9  # steps beyond this are seconds since the epoch: the year 2001 and later
_NOWHERE = "nothing"
_Column: TypeAlias = NDArray[np.float64]
_COLOURS = ("#4ba3ff", "#ffb000", "#5dd39e", "#ff6b6b", "#b388ff", "#f0e442", "#c0c0c0")


def group_of(name: str) -> tuple[str, str]:
    """Return the graph that a metric belongs to, and what its curve is called there.

    Parameters
    ----------
    name : str
        ``loss``, ``loss/train`` and ``loss/test`` share a graph, as do ``energy`` and
        ``energy [2]``.

    Returns
    -------
    graph, curve : str
    """
    group, _, curve = name.partition("/")
    if not group or curve.startswith(group):  # "/a" has no group; "loss" and "loss/loss" differ
        return group or name, name
    bare = re.sub(r" \[\d+\]\Z", "", group)
    return (bare, curve or name) if curve or bare != group else (name, name)


class MetricGraphs(QWidget):
    """Graphs that follow the metrics, and mark where a slider stands.

    Signals
    -------
    step_chosen : (str, float)
        A dimension, and the value on it that was clicked in a graph.
    """

    step_chosen = Signal(str, float)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._graphs: dict[str, _Graph] = {}
        self._log = QCheckBox("Log scale", self)
        self._linked = QComboBox(self)
        self._linked.setToolTip("The slider that the graphs show, and that follows a click in them")
        self._linked.addItem(_NOWHERE)
        self._linked.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self._area = pg.GraphicsLayoutWidget(self)
        self._area.setBackground(None)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self._area)
        row = QHBoxLayout()
        row.addWidget(self._log)
        row.addStretch(1)
        row.addWidget(QLabel("Linked to", self))
        row.addWidget(self._linked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(scroll, 1)
        self._log.toggled.connect(self._set_log)
        self._area.scene().sigMouseClicked.connect(self._clicked)

    def show_metrics(self, metrics: Metrics, sliders: Mapping[str, Coordinate]) -> None:
        """Show the metrics as they are now, and where the sliders stand; only while visible."""
        self._offer(sliders)
        if not self.isVisible():
            return
        at = sliders.get(self._linked.currentText())
        for name, series in metrics.items():
            group, curve = group_of(name)
            graph = self._graphs.get(group)
            if graph is None:
                if len(self._graphs) >= _MOST_GRAPHS or not len(series):
                    continue
                graph = self._add(group, bool(series.steps[0] > _A_DATE))
            graph.show_series(curve, series)
        for graph in self._graphs.values():
            graph.mark(None if isinstance(at, str) else at)

    def _add(self, group: str, is_date: bool) -> _Graph:
        plot = self._area.addPlot(
            row=len(self._graphs),
            col=0,
            axisItems={"bottom": pg.DateAxisItem()} if is_date else {},
        )
        graph = self._graphs[group] = _Graph(plot, group, self.palette().windowText().color())
        plot.setLogMode(y=self._log.isChecked())
        self._area.setMinimumHeight(_HEIGHT * len(self._graphs))
        return graph

    def _offer(self, sliders: Mapping[str, Coordinate]) -> None:
        """Have the dimensions that have numbers in the box; take the first one by default."""
        known = {self._linked.itemText(index) for index in range(self._linked.count())}
        for name, value in sliders.items():
            if name not in known and not isinstance(value, str):
                self._linked.addItem(name)
                if len(known) == 1:
                    self._linked.setCurrentText(name)
                known.add(name)

    def _set_log(self, log: bool) -> None:
        for graph in self._graphs.values():
            graph.plot.setLogMode(y=log)

    def _clicked(self, event: Any) -> None:
        for graph in self._graphs.values():
            box = graph.plot.getViewBox()
            if event.button() == Qt.MouseButton.LeftButton and box.sceneBoundingRect().contains(
                event.scenePos()
            ):
                step = box.mapSceneToView(event.scenePos()).x()
                if (name := self._linked.currentText()) != _NOWHERE:
                    self.step_chosen.emit(name, step)


class _Graph:
    """One graph: its curves, and a line where the slider stands."""

    def __init__(self, plot: Any, title: str, ink: Any) -> None:
        self.plot, self._ink = plot, ink
        self._curves: dict[str, tuple[Any, tuple[int, float]]] = {}
        self._legend: Any = None
        for side in ("left", "bottom"):
            plot.getAxis(side).setPen(ink)
            plot.getAxis(side).setTextPen(ink)
        plot.setTitle(_plain(title), color=ink, size="9pt")
        plot.setMenuEnabled(True)
        plot.setClipToView(True)
        plot.setDownsampling(auto=True, mode="peak")
        self._line = pg.InfiniteLine(angle=90, pen=pg.mkPen(ink, style=Qt.PenStyle.DashLine))
        self._line.hide()
        plot.addItem(self._line, ignoreBounds=True)

    def show_series(self, name: str, series: MetricSeries) -> None:
        """Show the values, if there are new ones."""
        steps, values = series.steps, series.values
        mark = (len(steps), float(steps[-1])) if len(steps) else (0, 0.0)
        curve, shown = self._curves.get(name, (None, None))
        if mark == shown:
            return
        if curve is None:
            colour = _COLOURS[len(self._curves) % len(_COLOURS)]
            curve = self.plot.plot(pen=colour, symbolBrush=colour, symbolPen=None, symbolSize=4)
            self._name(name, curve)
        finite = np.isfinite(values)
        if not finite.all():
            values = np.where(finite, values, np.nan)
        steps, values = _in_order(steps, values)
        dots = "o" if len(steps) <= _MOST_DOTS else None
        curve.setData(steps, values, connect="finite", symbol=dots)
        self._curves[name] = (curve, mark)

    def _name(self, name: str, curve: Any) -> None:
        """Have a legend as soon as there are two curves, and as long as it is short."""
        if len(self._curves) >= _MOST_NAMES:
            if self._legend is not None:
                self._legend.hide()
            return
        if self._curves and self._legend is None:
            self._legend = self.plot.addLegend(
                offset=(-5, 5), labelTextSize="8pt", labelTextColor=self._ink
            )
            for known, (other, _) in self._curves.items():
                self._legend.addItem(other, _plain(known))
        if self._legend is not None:
            self._legend.addItem(curve, _plain(name))

    def mark(self, at: float | None) -> None:
        """Draw the line where the slider stands, or none."""
        self._line.setVisible(at is not None)
        if at is not None:
            self._line.setValue(at)


def _in_order(steps: _Column, values: _Column) -> tuple[_Column, _Column]:
    """Return values along the graph, if they came in another order; of two, the later one."""
    if np.all(steps[:-1] <= steps[1:]):
        return steps, values
    along, last = np.unique(steps[::-1], return_index=True)
    return along, values[::-1][last]


def _plain(text: str) -> str:
    """Return a text that pyqtgraph shows as it is: it takes everything for HTML."""
    return escape(text)
