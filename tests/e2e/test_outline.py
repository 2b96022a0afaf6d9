"""What a pipeline says of its steps, as the dock shows it."""

from __future__ import annotations

import pytest

import napari_streaming as ns
from napari_streaming.widgets.outline import OutlineTable
from napari_streaming.wire.messages import Outline, OutlineStep

pytestmark = pytest.mark.napari


def test_the_dock_shows_which_steps_are_streamed_and_why(dock, until):
    table = dock.findChild(OutlineTable)
    assert not table.isVisibleTo(dock), "there is no pipeline yet"
    steps = (
        OutlineStep(name="denoise", written="", streamed=False, why="it stays in memory"),
        OutlineStep(
            name="<b>segment</b>", written="results", streamed=True, why="written", done=3, total=96
        ),
    )
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        pub.outline(Outline("cells", steps))
        until(lambda: table.isVisibleTo(dock))

    def shown(row):
        return [table.item(row, column).text() for column in range(table.columnCount())]

    assert shown(0) == ["denoise", "\N{EN DASH}", "no: it stays in memory", "0"]
    assert shown(1) == ["<b>segment</b>", "results", "yes", "3 of 96"]
    assert "it stays in memory" in table.item(0, 2).toolTip()
    assert "&lt;b&gt;" in table.item(1, 0).toolTip(), "words of a program are no markup"
