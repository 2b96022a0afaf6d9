"""Dimensions as axes, layers, windows or their latest value, in a real napari window."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox

import napari_streaming as ns
from napari_streaming.widgets.placement import PlacementForm

pytestmark = pytest.mark.napari


@pytest.fixture
def pub(dock):
    with ns.Publisher(dock.session.receiver.urls[0]) as publisher:
        yield publisher


def publish(pub, count=2, **more):
    for t in range(count):
        for c, channel in enumerate(("DAPI", "GFP")):
            plane = np.full((32, 32), 10 * c + t, np.uint8)
            pub.image("a", plane, at={"channel": channel, "t": t}, **more)
    assert pub.flush(20)


def shown(dock, name, count):
    layers = dock.session.receiver.layers
    return name in layers and layers[name].stats().shown == count


def test_a_dimension_becomes_layers_and_an_axis_again(viewer, dock, pub, until):
    publish(pub)
    until(lambda: shown(dock, "a", 4))
    viewer.layers["a"].colormap = "red"
    dock.session.set_mode("channel", "split")
    until(lambda: "a · GFP" in viewer.layers)
    assert [layer.name for layer in viewer.layers] == ["a · DAPI", "a · GFP"]
    assert viewer.layers["a · GFP"].data.shape == (2, 32, 32)
    assert viewer.dims.axis_labels == ("t", "y", "x")
    publish(pub, 3)
    until(lambda: viewer.layers["a · DAPI"].data.shape[0] == 3)
    assert np.asarray(viewer.layers["a · GFP"].data[2])[0, 0] == 12
    assert viewer.dims.current_step[0] == 2, "it follows"
    dock.session.set_mode("channel", "stack")
    until(lambda: "a" in viewer.layers)
    assert [layer.name for layer in viewer.layers] == ["a"]
    assert viewer.layers["a"].data.shape == (2, 3, 32, 32)


def test_a_split_layer_that_the_user_deletes_stays_away(viewer, dock, pub, until):
    dock.session.set_mode("channel", "split")
    publish(pub)
    until(lambda: len(viewer.layers) == 2)
    del viewer.layers["a · DAPI"]
    publish(pub, 3)
    until(lambda: viewer.layers["a · GFP"].data.shape[0] == 3)
    assert [layer.name for layer in viewer.layers] == ["a · GFP"]
    assert len(dock.session.receiver.layers["a"].planes) == 3


WINDOWS = """
    import time
    import napari
    import numpy as np
    from qtpy.QtWidgets import QApplication

    import napari_streaming as ns
    from napari_streaming.napari_plugin.window import open_window

    viewer, dock = open_window("tcp://127.0.0.1:0?listen")

    def until(condition):
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            QApplication.processEvents()
            time.sleep(0.005)

    def is_open(viewer):
        try:
            return viewer.window._qt_window.isVisible()
        except RuntimeError:  # Qt has deleted it
            return False

    def windows():
        others = filter(is_open, napari.Viewer._instances - {viewer})
        return sorted(others, key=lambda v: v.title)

    def publish(count):
        for t in range(count):
            for c, channel in enumerate(("DAPI", "GFP")):
                plane = np.full((32, 32), 10 * c + t, np.uint8)
                pub.image("a", plane, at={"channel": channel, "t": t})

    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        dock.session.set_mode("channel", "window")
        publish(2)
        pub.image("whole", np.ones((8, 8)))
        until(lambda: len(windows()) == 2 and all(len(v.layers) for v in windows()))
        until(lambda: "whole" in viewer.layers)
        assert [layer.name for layer in viewer.layers] == ["whole"]
        dapi, gfp = windows()
        assert [dapi.title, gfp.title] == ["Channel DAPI", "Channel GFP"]
        until(lambda: gfp.canvas.overlays.text.text == "Channel GFP · T 1")
        assert np.asarray(dapi.layers["a"].data)[:, 0, 0].tolist() == [0, 1]
        assert np.asarray(gfp.layers["a"].data)[:, 0, 0].tolist() == [10, 11]

        dapi.window._qt_window.close()  # as its button does
        publish(3)
        until(lambda: gfp.layers["a"].data.shape[0] == 3)
        assert windows() == [gfp], "what the user closed stays closed"

        dock.session.set_mode("channel", "stack")
        until(lambda: not windows())
        until(lambda: "a" in viewer.layers)
        assert viewer.layers["a"].data.shape == (2, 3, 32, 32)
    print("all as it should be", flush=True)
    viewer.close()
"""


def test_a_dimension_becomes_windows(run):
    # In a process of its own: napari keeps some of a viewer whose window Qt has closed.
    process = run(WINDOWS)
    said, _ = process.communicate(timeout=120)
    assert "all as it should be" in said and process.returncode == 0, said
    assert "Error" not in said, said


def test_only_the_latest_value_of_a_dimension(viewer, dock, pub, until):
    dock.session.set_mode("t", "latest")
    publish(pub, 3)
    until(lambda: shown(dock, "a", 6))
    layer = viewer.layers["a"]
    assert layer.data.shape == (2, 32, 32)
    assert np.asarray(layer.data)[:, 0, 0].tolist() == [2, 12]
    assert viewer.canvas.overlays.text.text == "T 2 · Channel GFP"


def test_planes_of_other_sizes_are_padded(viewer, dock, pub, until):
    dock.session.receiver.layers.set_sizes("pad")
    for t, shape in enumerate([(8, 8), (4, 16), (16, 2)]):
        pub.image("a", np.full(shape, t + 1, np.uint8), at={"t": t})
    until(lambda: shown(dock, "a", 3))
    data = viewer.layers["a"].data
    assert data.shape == (3, 16, 16)
    for t, (height, width) in enumerate([(8, 8), (4, 16), (16, 2)]):
        expected = np.zeros((16, 16))
        expected[:height, :width] = t + 1
        np.testing.assert_array_equal(np.asarray(data[t]), expected)


def test_each_plane_is_drawn_where_it_lies(viewer, dock, pub, until):
    for site, origin in enumerate([(0, 0), (0, 500), (300, 0)]):
        pub.image(
            "a", np.ones((8, 8)), at={"site": site}, scale=(2, 2), translate=origin, units="um"
        )
    until(lambda: shown(dock, "a", 3))
    layer = viewer.layers["a"]
    assert tuple(layer.translate) == (0, 300, 0)
    viewer.dims.set_current_step(0, 1)
    assert tuple(layer.translate) == (0, 0, 500)
    viewer.dims.set_current_step(0, 0)
    assert tuple(layer.translate) == (0, 0, 0) and tuple(layer.scale) == (1, 2, 2)
    assert not dock.session.follow, "the user moved the slider"


def test_the_dock_has_a_row_for_each_dimension(viewer, dock, pub, until):
    publish(pub)
    rows = dock.findChild(PlacementForm)
    until(lambda: rows.findChild(QComboBox, "channel"))
    boxes = {name: rows.findChild(QComboBox, name) for name in ("channel", "t")}
    assert all(box.currentText() == "slider" for box in boxes.values())
    boxes["channel"].setCurrentText("layers")
    boxes["t"].setCurrentText("latest only")
    until(lambda: [layer.name for layer in viewer.layers] == ["a · DAPI", "a · GFP"])
    assert np.asarray(viewer.layers["a · GFP"].data)[0, 0] == 11
    boxes["channel"].setCurrentText("slider")
    until(lambda: [layer.name for layer in viewer.layers] == ["a"])
    assert viewer.layers["a"].data.shape == (2, 32, 32)
