"""The table of streams: what it says, what its tooltips say, and its sparklines."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from qtpy.QtCore import QRect
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QWidget

import napari_streaming as ns
from napari_streaming.receive.catalog import Catalog
from napari_streaming.widgets.stats import StreamTable
from napari_streaming.wire.messages import Declare

pytestmark = pytest.mark.napari


def column(table, title: str) -> int:
    titles = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]
    return titles.index(title)


def text(table, title: str, row: int = 0) -> str:
    return table.item(row, column(table, title)).text()


def tip(table, title: str, row: int = 0) -> str:
    return table.item(row, column(table, title)).toolTip()


def colours(table, row: int = 0) -> np.ndarray:
    """Return a row's sparkline as it is painted, shape (pixels, 3)."""
    cell: QRect = table.visualItemRect(table.item(row, column(table, "30 s")))
    inside = cell.adjusted(2, 2, -2, -2)
    image = table.viewport().grab(inside).toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits().asarray(image.sizeInBytes())
    rows = np.array(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(-1, 3).astype(int)


def red(pixels: np.ndarray) -> int:
    return int(((pixels[:, 0] - pixels[:, 1] > 80) & (pixels[:, 0] > 150)).sum())


def drawn(pixels: np.ndarray) -> int:
    """Count the pixels that stand out clearly from the cell's ground."""
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    ground = values[counts.argmax()]
    return int((abs(pixels - ground).max(axis=1) > 100).sum())


@pytest.fixture
def catalog():
    return Catalog()


@pytest.fixture
def table(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    made = StreamTable(window)
    made.resize(640, 300)
    window.resize(640, 300)
    window.show()
    yield made


def declare(catalog, name="a", stream=0, **changes):
    fields = {"kind": "image", "dtype": "<u2", "shape": (4, 5), "axes": ("y", "x")} | changes
    return catalog.declare(Declare(stream=stream, name=name, **fields))


def arrive(layer, waits, *, at=None):
    """Have items arrive, and be shown, that waited so many seconds."""
    at = time.time() if at is None else at
    for wait in waits:
        layer.counters.arrived(250_000, at - wait, at, at)
    layer.counters.shown(layer.counters.received, at)


# ---- what it says ----------------------------------------------------------------------


def test_a_stream_is_described_in_one_row(table, catalog):
    layer = declare(catalog, "nuclei", qos="reliable")
    arrive(layer, [0.0123] * 90 + [0.035] * 10)
    layer.counters.arrived(0, 0.0, 0.0, time.time())
    table.show_layers(catalog.values())
    said = {title: text(table, title) for title in ("Stream", "QoS", "Received", "Shown")}
    assert said == {"Stream": "nuclei", "QoS": "reliable", "Received": "101", "Shown": "100"}
    assert text(table, "Latency") == "12 / 35 ms"
    assert text(table, "/s") == "50.5" and text(table, "MB/s") == "12.5"
    assert text(table, "Dropped") == "0" and "None" in tip(table, "Dropped")
    assert "nuclei (reliable)" in tip(table, "Stream") and "12.5 MB/s" in tip(table, "/s")


@pytest.mark.parametrize(
    ("waits", "said"),
    [((), ""), ((0.0004,), "0.4 / 0.4 ms"), ((0.5, 2.2), "0.5 / 2.2 s"), ((61,), "61 / 61 s")],
)
def test_latencies_are_short(table, catalog, waits, said):
    arrive(declare(catalog), waits)
    table.show_layers(catalog.values())
    assert text(table, "Latency") == said


@pytest.mark.parametrize(
    ("count", "said"), [(99_999, "99999"), (123_456, "123k"), (12_345_678, "12.3M")]
)
def test_counts_are_short_and_their_tooltips_exact(table, catalog, count, said):
    declare(catalog).counters.dropped(count, "x")
    table.show_layers(catalog.values())
    assert text(table, "Dropped") == said
    assert f"{count:,} dropped" in tip(table, "Dropped")


def test_the_tooltip_of_the_latency_is_a_table_of_the_stages(table, catalog):
    layer = declare(catalog)
    layer.counters.arrived(1, 10.0, 10.004, 10.005)
    table.show_layers(catalog.values())
    rows = re.findall(r"<tr>(.*?)</tr>", tip(table, "Latency"))
    said = [re.sub(r"(<[^>]*>|&nbsp;)+", " ", row).split() for row in rows]
    assert said[1:] == [
        ["published", "→", "received", "4.0", "ms", "4.0", "ms"],
        ["→", "placed", "1.0", "ms", "1.0", "ms"],
        ["→", "shown"],
        ["in", "all"],
    ]
    layer.counters.shown(1, 10.105)
    table.show_layers(catalog.values())
    assert "100.0 ms" in tip(table, "Latency") and "105.0 ms" in tip(table, "Latency")


def test_the_tooltip_of_the_losses_says_how_often_and_why(table, catalog):
    layer = declare(catalog)
    layer.counters.dropped(5, "newer data took its place")
    arrive(layer, [0.1])
    layer.counters.dropped(2, "overwritten before it was read")
    layer.counters.refused()
    table.show_layers(catalog.values())
    assert text(table, "Dropped") == "8"
    said = tip(table, "Dropped")
    assert "7 dropped, in 2 gaps; at last: overwritten before it was read" in said
    assert "1 refused" in said


def test_what_a_program_says_is_not_taken_for_markup(table, catalog):
    layer = declare(catalog, "<img src='x'>")
    layer.counters.dropped(1, "<b>bold</b>")
    table.show_layers(catalog.values())
    assert text(table, "Stream") == "<img src='x'>"
    assert "<img" not in tip(table, "Stream") and "<b>" not in tip(table, "Dropped")


def test_only_what_changed_is_touched(table, catalog):
    busy = [declare(catalog, f"s{n}", n) for n in range(50)]
    for layer in busy:
        arrive(layer, [0.01], at=time.time() - 100)  # long ago: not in its last 30 seconds
    table.show_layers(catalog.values())
    touched = []
    table.model().dataChanged.connect(lambda first, last, roles: touched.append(first.row()))
    table.show_layers(catalog.values())
    assert touched == []
    busy[7].counters.dropped(1, "x")
    table.show_layers(catalog.values())
    assert set(touched) == {7}


def test_the_most_important_columns_fit_into_the_narrowest_dock(dock, table, until):
    titles = ["Stream", "QoS", "Shown", "Dropped", "/s", "Latency", "30 s"]
    narrow = dock.findChild(StreamTable)
    until(lambda: dock.width() == dock.minimumWidth())  # as napari first lays it out
    assert all(not narrow.isColumnHidden(column(narrow, title)) for title in titles)
    assert not narrow.horizontalScrollBar().isVisible()
    assert narrow.columnWidth(0) > 60
    assert narrow.isColumnHidden(column(narrow, "MB/s"))
    assert not any(table.isColumnHidden(i) for i in range(table.columnCount())), "640 wide"


# ---- sparklines ------------------------------------------------------------------------


def test_a_stream_that_is_quiet_has_an_empty_sparkline(table, catalog):
    arrive(declare(catalog), [0.1], at=time.time() - 60)
    table.show_layers(catalog.values())
    assert drawn(colours(table)) == 0
    assert "Nothing was shown" in tip(table, "30 s")


def test_a_single_wait_is_seen(table, catalog):
    arrive(declare(catalog), [0.2], at=time.time() - 15)
    table.show_layers(catalog.values())
    assert drawn(colours(table)) > 3


def test_the_line_is_as_high_as_the_longest_wait(table, catalog):
    layer, now = declare(catalog), time.time()
    for ago, wait in ((20, 0.2), (10, 0.4), (0, 0.2)):
        arrive(layer, [wait], at=now - ago)
    table.show_layers(catalog.values())
    assert drawn(colours(table)) > 15
    assert "400.0 ms" in tip(table, "30 s")
    assert red(colours(table)) == 0
    layer.counters.dropped(1, "x")
    table.show_layers(catalog.values())
    assert red(colours(table)) > 1


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_sparkline_of_a_live_stream_is_seen_in_every_theme(viewer, dock, until, theme):
    viewer.theme = theme
    table = dock.findChild(StreamTable)
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        for t in range(3):
            pub.image("a", np.ones((8, 8)), at={"t": t})
        until(lambda: table.rowCount() == 1 and text(table, "Shown") == "3")
    assert re.fullmatch(r"[\d.]+ / [\d.]+ m?s", text(table, "Latency"))
    dock.session.receiver.layers["a"].counters.dropped(1, "x")
    arrive(dock.session.receiver.layers["a"], [0.5], at=time.time() - 10)
    until(lambda: text(table, "Dropped") == "1")
    assert drawn(colours(table)) > 15
    assert red(colours(table)) > 1
    ground = np.median(colours(table), axis=0).mean()
    assert ground < 100 if theme == "dark" else ground > 150
