"""Several publishers that are parts of one run."""

from __future__ import annotations

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.errors import URLError
from napari_streaming.wire.messages import Outline, OutlineStep


def test_the_parts_of_a_run_fill_one_layer(receiver, until):
    viewer = receiver()
    viewer.layers.set_new_run("beside")

    def work(run, wells):
        with ns.Publisher("memory://test", part_of=run) as pub:
            for well in wells:
                pub.image("cells", np.full((4, 4), 7, np.uint8), at={"well": well})
            assert pub.flush(10)

    with ns.Publisher("memory://test", part_of="monday") as whole:
        work("monday", ["A01", "A02"])  # the second comes when the first is gone
        work("monday", ["A02", "B01"])
        whole.flush(10)
        until(lambda: viewer.layers["cells"].stats().received == 4)
        assert list(viewer.layers) == ["cells"]
        assert viewer.layers["cells"].data.shape == (3, 4, 4)
    work("tuesday", ["A01"])
    until(lambda: list(viewer.layers) == ["cells", "cells [2]"])


def test_an_outline_reaches_viewers_that_come_later_and_stays_the_last(receiver, until):
    with ns.Publisher("memory://test?listen") as pub:
        for done in range(5):
            step = OutlineStep(name="denoise", written="", streamed=False, why="memory", done=done)
            pub.outline(Outline("cells", (step,)))
        viewer = receiver("memory://test")
        until(lambda: "cells" in viewer.layers.outlines)
        assert viewer.layers.outlines["cells"].steps[0].done == 4


def test_a_viewer_is_led_to_publishers_that_it_could_not_know_of(receiver, until):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    with ns.Publisher(viewer.urls[0], part_of="monday") as whole:
        with ns.Publisher("tcp://127.0.0.1:0?listen", part_of="monday") as worker:
            whole.refer(worker.urls[0])
            worker.image("cells", np.ones((4, 4), np.uint8), at={"well": "A01"})
            until(lambda: "cells" in viewer.layers and len(viewer.sources) == 2)
            whole.refer(worker.urls[0])
        until(lambda: len(viewer.sources) == 1)  # it has ended
        with pytest.raises(URLError):
            whole.refer("nonsense")
