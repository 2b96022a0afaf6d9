"""Graphs of metrics in the dock: curves, runs, the slider, a click, a million points."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pyqtgraph import PlotDataItem
from qtpy.QtWidgets import QCheckBox, QComboBox, QTabWidget

import napari_streaming as ns
from napari_streaming.receive.metrics import Metrics
from napari_streaming.widgets.graphs import MetricGraphs, group_of
from napari_streaming.wire.messages import Metric

pytestmark = pytest.mark.napari


@pytest.mark.parametrize(
    ("name", "graph", "curve"),
    [
        ("energy", "energy", "energy"),
        ("energy [2]", "energy", "energy [2]"),
        ("loss/train", "loss", "train"),
        ("loss/train [2]", "loss", "train [2]"),
        ("[2]", "[2]", "[2]"),
        ("loss", "loss", "loss"),
        ("loss/loss", "loss", "loss/loss"),
        ("loss/train/first", "loss", "train/first"),
        ("loss/", "loss/", "loss/"),
        ("/loss", "/loss", "/loss"),
    ],
)
def test_what_belongs_together(name, graph, curve):
    assert group_of(name) == (graph, curve)


def curves(graphs):
    """Return the values that each curve has, by graph."""
    plots = graphs._graphs
    return {
        title: [c.getOriginalDataset()[1] for c in graph.plot.items if isinstance(c, PlotDataItem)]
        for title, graph in plots.items()
    }


def test_graphs_follow_the_metrics_and_the_slider(dock, viewer, until):
    graphs = dock.findChild(MetricGraphs)
    tabs = dock.findChild(QTabWidget)
    tabs.setCurrentIndex(1)
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        for t in range(10):
            pub.image("cells", np.full((8, 8), t, np.uint8), at={"t": 5 * t})
            pub.metric("energy", float(t) if t != 3 else float("nan"), 5 * t)
            pub.metric("loss/train", t**2, 5 * t)
            pub.metric("loss/test", t**3, 5 * t)
        assert pub.flush(10)
        until(lambda: sorted(curves(graphs)) == ["energy", "loss"])
        until(lambda: len(curves(graphs)["energy"][0]) == 10)
    assert [len(values) for values in curves(graphs)["loss"]] == [10, 10]
    legend = [label.text for _, label in graphs._graphs["loss"].plot.legend.items]
    assert legend == ["train", "test"]
    graphs.findChild(QCheckBox).setChecked(True)
    assert graphs.findChild(QComboBox).currentText() == "t", "the dimension that has numbers"

    line = graphs._graphs["energy"]._line
    until(lambda: line.isVisible() and line.value() == 45)
    viewer.dims.set_current_step(0, 2)
    until(lambda: line.value() == 10)
    graphs.step_chosen.emit("t", 31.4)
    assert viewer.dims.current_step[0] == 6, "the nearest there is: 30"


def test_a_million_points_stay_smooth(qtbot):
    from qtpy.QtWidgets import QApplication, QWidget

    window = QWidget()
    qtbot.addWidget(window)
    graphs = MetricGraphs(window)
    metrics = Metrics()
    window.resize(500, 400)
    graphs.resize(500, 400)
    window.show()
    qtbot.waitExposed(window)
    noise = np.random.default_rng(0).normal(size=50_000)
    for chunk in range(20):
        steps = np.arange(chunk * 50_000, (chunk + 1) * 50_000, dtype=float)
        metrics.add(Metric("m", steps, noise, steps), "a", running={}, new_run="continue")
    graphs.show_metrics(metrics, {})
    QApplication.processEvents()
    (curve,) = (c for c in graphs._graphs["m"].plot.items if isinstance(c, PlotDataItem))
    drawn = curve.getData()[0]
    assert len(metrics["m"]) == 1_000_000 and len(drawn) < 20_000, "what is drawn fits the screen"
    took = []
    for _ in range(5):
        start = time.perf_counter()
        metrics.add(Metric("m", [1e6], [1.0], [0.0]), "a", running={}, new_run="continue")
        graphs.show_metrics(metrics, {})
        QApplication.processEvents()
        took.append(time.perf_counter() - start)
    print(f"one more point takes {sorted(took)[2] * 1e3:.0f} ms")


def test_the_wells_of_a_plate_are_dots_in_their_order(dock, viewer, until):
    graphs = dock.findChild(MetricGraphs)
    dock.findChild(QTabWidget).setCurrentIndex(1)
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        for well in (3, 1, 2, 1):  # one of them was done twice
            pub.metric("count", 10.0 * well, well)
        pub.metric("count", 99, 1)
        for site in range(20):
            pub.metric(f"area/site {site}", site, 1)
        assert pub.flush(10)
        until(lambda: sorted(curves(graphs)) == ["area", "count"])
        until(lambda: curves(graphs)["count"] and len(curves(graphs)["area"]) == 20)
    (curve,) = (c for c in graphs._graphs["count"].plot.items if isinstance(c, PlotDataItem))
    steps, values = curve.getOriginalDataset()
    assert (steps.tolist(), values.tolist()) == ([1, 2, 3], [99, 20, 30])
    assert curve.opts["symbol"] == "o"
    assert not graphs._graphs["area"]._legend.isVisible(), "nobody could read it"
