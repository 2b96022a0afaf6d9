"""From another process into a real napari window, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.napari_plugin.session import warm_up

pytestmark = pytest.mark.napari

PRODUCER = """
    import sys
    import numpy as np
    import napari_streaming as ns

    assert "napari" not in sys.modules and "qtpy" not in sys.modules
    with ns.Publisher(sys.argv[1]) as pub:
        for well in ("A01", "A02"):
            for t in range(3):
                rng = np.random.default_rng([ord(well[-1]), t])
                at = {"well": well, "t": t}
                plane = rng.integers(0, 4000, (300, 400), dtype=np.uint16)
                pub.image("nuclei", plane, at=at, scale=(0.65, 0.65), units="um",
                          colormap="green", contrast_limits=(0, 4000))
                pub.labels("mask", (plane > 3000).astype(np.int32), at=at,
                           scale=(0.65, 0.65), units="um")
                pub.points("centroids", rng.uniform(0, 300, (5 + t, 2)), at=at,
                           features={"area": rng.uniform(0, 9, 5 + t),
                                     "kind": ["größe"] * (5 + t)},
                           scale=(0.65, 0.65), units="um")
                pub.metric("count", 5 + t, step=t)
        pub.status("info", "all wells done")
        assert pub.flush(20), pub.stats()
"""

WELLS = {"A01": 0, "A02": 1}


def expected(well: str, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([ord(well[-1]), t])
    plane = rng.integers(0, 4000, (300, 400), dtype=np.uint16)
    return plane, rng.uniform(0, 300, (5 + t, 2)), rng.uniform(0, 9, 5 + t)


def listening_url(dock) -> str:
    return dock.session.receiver.urls[0]


def received(dock, name: str) -> int:
    layers = dock.session.receiver.layers
    return layers[name].stats().shown if name in layers else 0


def test_planes_labels_and_points_arrive_bit_for_bit(viewer, dock, run, until):
    producer = run(PRODUCER, listening_url(dock))
    until(lambda: all(received(dock, n) == 6 for n in ("nuclei", "mask", "centroids")))
    assert producer.wait(20) == 0, producer.communicate()[0]

    nuclei, mask, points = (viewer.layers[n] for n in ("nuclei", "mask", "centroids"))
    assert nuclei.data.shape == mask.data.shape == (2, 3, 300, 400)
    assert viewer.dims.axis_labels == ("well", "t", "y", "x")
    for well, w in WELLS.items():
        for t in range(3):
            plane, yx, area = expected(well, t)
            np.testing.assert_array_equal(np.asarray(nuclei.data[w, t]), plane)
            np.testing.assert_array_equal(np.asarray(mask.data[w, t]), plane > 3000)
            here = (points.data[:, 0] == w) & (points.data[:, 1] == t)
            np.testing.assert_array_equal(points.data[here, 2:], yx)
            np.testing.assert_array_equal(points.features["area"][here], area)
            assert set(points.features["kind"][here]) == {"größe"}
    np.testing.assert_allclose(nuclei.scale, (1, 1, 0.65, 0.65))
    assert [str(unit) for unit in nuclei.units[-2:]] == ["micrometer", "micrometer"]
    assert nuclei.colormap.name == "green"
    assert tuple(nuclei.contrast_limits) == (0, 4000)
    metric = dock.session.receiver.layers.metrics["count"]
    assert list(metric.values) == [5, 6, 7] * 2
    assert any("all wells done" in line.text for line in dock.session.receiver.layers.log)


def test_what_is_shown_is_the_plane_of_the_slider(viewer, dock, run, until):
    run(PRODUCER, listening_url(dock))
    until(lambda: received(dock, "nuclei") == 6)
    assert viewer.dims.current_step[:2] == (1, 2), "follows the newest"
    for name in ("mask", "centroids"):
        until(lambda name=name: received(dock, name) == 6)
        viewer.layers[name].visible = False
    dock.session.overlay.set_enabled(False)
    until(lambda: viewer.screenshot(canvas_only=True, flash=False)[..., 1].max() > 200)
    newest = viewer.screenshot(canvas_only=True, flash=False)
    viewer.dims.current_step = (0, 0, 0, 0)
    first = viewer.screenshot(canvas_only=True, flash=False)
    assert (newest != first).mean() > 0.05
    # The canvas is green only, as declared.
    assert first[..., 1].max() > 200
    assert first[..., 0].max() == first[..., 2].max() == 0


def test_the_sliders_follow_until_the_user_moves_one(viewer, dock, run, until):
    with ns.Publisher(listening_url(dock)) as pub:
        for t in range(3):
            pub.image("live", np.full((64, 64), t + 1, np.uint8), at={"t": t})
        until(lambda: received(dock, "live") == 3)
        assert viewer.dims.current_step[0] == 2
        viewer.dims.set_current_step(0, 1)
        pub.image("live", np.full((64, 64), 9, np.uint8), at={"t": 3})
        until(lambda: received(dock, "live") == 4)
        assert viewer.layers["live"].data.shape == (4, 64, 64)
        assert viewer.dims.current_step[0] == 1
        dock.session.set_follow(True)
        assert viewer.dims.current_step[0] == 3


def test_the_users_changes_are_kept(viewer, dock, until):
    with ns.Publisher(listening_url(dock)) as pub:
        for name in ("a", "b"):
            pub.image(name, np.arange(64, dtype=np.uint8).reshape(8, 8), at={"t": 0})
        until(lambda: received(dock, "a") == received(dock, "b") == 1)
        layer = viewer.layers["a"]
        layer.contrast_limits = (3, 17)
        layer.colormap = "magma"
        layer.opacity = 0.4
        layer.gamma = 1.3
        layer.name = "mine"
        viewer.layers.move(0, 2)
        zoom = viewer.scene.camera.zoom = 7.5
        for t in range(1, 4):
            for name in ("a", "b"):
                pub.image(name, np.full((8, 8), 200, np.uint8), at={"t": t}, colormap="red")
        until(lambda: received(dock, "a") == received(dock, "b") == 4)
    layer = viewer.layers["mine"]
    assert tuple(layer.contrast_limits) == (3, 17)
    assert (layer.colormap.name, layer.opacity, layer.gamma) == ("magma", 0.4, 1.3)
    assert [one.name for one in viewer.layers] == ["b", "mine"]
    assert viewer.scene.camera.zoom == zoom
    assert tuple(viewer.layers["b"].contrast_limits) == (0, 200), "follows the data"


def test_a_layer_that_the_user_removed_stays_removed(viewer, dock, until):
    with ns.Publisher(listening_url(dock)) as pub:
        pub.image("a", np.ones((8, 8)), at={"t": 0})
        until(lambda: "a" in viewer.layers)
        viewer.layers.remove("a")
        pub.image("a", np.ones((8, 8)), at={"t": 1})
        layer = dock.session.receiver.layers["a"]
        until(lambda: layer.stats().received == 2)
        dock.session.tick()
    assert "a" not in viewer.layers
    assert layer.stats().shown == 1


def test_points_may_gain_a_dimension(viewer, dock, until):
    with ns.Publisher(listening_url(dock)) as pub:
        pub.points("p", np.ones((2, 2)))
        until(lambda: received(dock, "p") == 1)
        viewer.layers["p"].name = "mine"
        pub.points("p", np.ones((3, 2)), at={"t": 0})
        until(lambda: received(dock, "p") == 2)
    assert viewer.layers["mine"].data.shape == (5, 3)


def test_a_change_of_shape_starts_a_second_layer(viewer, dock, until):
    with ns.Publisher(listening_url(dock)) as pub:
        pub.image("a", np.ones((8, 8), np.uint8))
        pub.image("a", np.ones((9, 9), np.float32))
        until(lambda: "a [2]" in viewer.layers)
    assert viewer.layers["a"].data.shape == (8, 8)
    assert viewer.layers["a [2]"].data.dtype == np.float32


def test_the_canvas_says_where_the_sliders_stand(viewer, dock, until):
    overlay = viewer.canvas.overlays.text
    with ns.Publisher(listening_url(dock)) as pub:
        for well in ("A01", "B02"):
            for t in (3, 1.5):
                pub.image("a", np.ones((8, 8)), at={"well": well, "t": t})
        pub.image("b", np.ones((8, 8)), at={"channel": "DAPI"})
        until(lambda: received(dock, "a") == 4 and received(dock, "b") == 1)
    assert overlay.visible
    assert overlay.text == "Channel DAPI · Well B02 · T 1.5"
    viewer.dims.set_current_step(2, 1)
    viewer.dims.set_current_step(1, 0)
    assert overlay.text == "Channel DAPI · Well A01 · T 3"
    viewer.layers["b"].visible = False
    viewer.dims.set_current_step(1, 1)
    assert overlay.text == "Well B02 · T 3"
    dock.session.overlay.set_enabled(False)
    assert not overlay.visible


def test_words_that_are_taken_away_do_not_crash_the_window(viewer, dock, until):
    # vispy draws words that were emptied from a buffer that is gone: the process dies.
    with ns.Publisher(listening_url(dock)) as pub:
        for turn in range(3):
            pub.image(f"a{turn}", np.ones((512, 512)), at={"t": turn})
            until(lambda name=f"a{turn}": received(dock, name) == 1)
            viewer.screenshot(canvas_only=True, flash=False)
            viewer.layers.clear()
            until(lambda: not viewer.canvas.overlays.text.visible)
            viewer.screenshot(canvas_only=True, flash=False)
    viewer.canvas.overlays.text.visible = False


def test_a_window_that_is_warmed_up_looks_as_before(viewer, dock, warmed_up, until):
    until(lambda: warmed_up)
    overlay = viewer.canvas.overlays.text
    warm_up(viewer)
    assert len(viewer.layers) == 0 and viewer.dims.ndim == 2
    assert not overlay.visible and not overlay.text.strip()
    with ns.Publisher(listening_url(dock)) as pub:
        pub.image("a", np.full((8, 8), 200, np.uint8), at={"t": 0})
        until(lambda: received(dock, "a") == 1)
    warm_up(viewer)
    assert [layer.name for layer in viewer.layers] == ["a"], "it is warm"
    assert overlay.visible and overlay.text == "T 0"
    assert viewer.screenshot(canvas_only=True, flash=False)[..., :3].max() > 100
