"""Streamed stacks as napari uses them: volumes, projections, zoomed in, half missing."""

from __future__ import annotations

import numpy as np
import pytest

import napari_streaming as ns

pytestmark = [
    pytest.mark.napari,
    pytest.mark.filterwarnings("ignore:Private attribute access:FutureWarning"),  # see `sliced`
]


@pytest.fixture
def pub(dock):
    with ns.Publisher(dock.session.receiver.urls[0]) as publisher:
        yield publisher


def shown(dock, name):
    layers = dock.session.receiver.layers
    return layers[name].stats().shown if name in layers else 0


def sliced(layer):
    """Return the pixels that napari draws."""
    return np.asarray(layer._slice.image.raw)


def test_planes_become_a_volume_that_grows(viewer, dock, pub, until):
    volume = np.random.default_rng(0).integers(0, 255, (8, 32, 32)).astype("uint8")
    for z in (0, 2, 3):
        pub.image("a", volume[z], at={"z": z}, contrast_limits=(0, 255))
    until(lambda: shown(dock, "a") == 3)
    viewer.dims.ndisplay = 3
    layer = viewer.layers["a"]
    until(lambda: sliced(layer).shape == (3, 32, 32))
    np.testing.assert_array_equal(sliced(layer), volume[[0, 2, 3]])
    assert viewer.screenshot(canvas_only=True, flash=False)[..., :3].max() > 100
    for z in (1, 5):
        pub.image("a", volume[z], at={"z": z})
    until(lambda: shown(dock, "a") == 5)
    until(lambda: sliced(layer).shape == (5, 32, 32))
    np.testing.assert_array_equal(sliced(layer), volume[[0, 1, 2, 3, 5]])
    viewer.dims.ndisplay = 2
    until(lambda: sliced(layer).shape == (32, 32))


def test_volumes_stack_along_time(viewer, dock, pub, until):
    for t in range(3):
        pub.image("a", np.full((4, 16, 16), t + 1, np.uint8), at={"t": t})
    until(lambda: shown(dock, "a") == 3)
    viewer.dims.ndisplay = 3
    layer = viewer.layers["a"]
    until(lambda: sliced(layer).shape == (4, 16, 16) and sliced(layer).max() == 3)
    viewer.dims.set_current_step(0, 0)
    until(lambda: sliced(layer).max() == 1)


def test_a_projection_of_thick_slices(viewer, dock, pub, until):
    planes = np.random.default_rng(0).integers(0, 255, (9, 16, 16)).astype("uint8")
    for z, plane in enumerate(planes):
        pub.image("a", plane, at={"z": z})
    until(lambda: shown(dock, "a") == 9)
    layer = viewer.layers["a"]
    viewer.dims.set_current_step(0, 4)
    layer.projection_mode = "max"
    viewer.dims.margin_left = viewer.dims.margin_right = (2, 0, 0)
    until(lambda: (sliced(layer) == planes[2:7].max(axis=0)).all())
    pub.image("a", np.full((16, 16), 255, np.uint8), at={"z": 5})
    until(lambda: (sliced(layer) == 255).all())


def test_a_plane_that_is_missing_is_black_until_it_comes(viewer, dock, pub, until):
    for at in ({"well": "A01", "t": 0}, {"well": "A02", "t": 1}):
        pub.image("a", np.full((16, 16), 7, np.uint8), at=at)
    until(lambda: shown(dock, "a") == 2)
    layer = viewer.layers["a"]
    viewer.dims.current_step = (0, 1, *viewer.dims.current_step[2:])
    until(lambda: not sliced(layer).any())
    assert layer.data.count_missing() == 2 and not layer.data.is_present((0, 1))
    pub.image("a", np.full((16, 16), 9, np.uint8), at={"well": "A01", "t": 1})
    until(lambda: (sliced(layer) == 9).all())


def test_what_the_user_set_stays_while_planes_come(viewer, dock, pub, until):
    for name in ("a", "b"):
        pub.image(name, np.ones((16, 16)), at={"t": 0})
    until(lambda: shown(dock, "a") == 1 and shown(dock, "b") == 1)
    layer = viewer.layers["a"]
    chosen = {
        "colormap": "magma", "gamma": 0.5, "opacity": 0.7, "contrast_limits": (0.25, 0.75),
        "blending": "translucent", "interpolation2d": "linear", "name": "mine", "visible": False,
    }  # fmt: skip
    for name, value in chosen.items():
        setattr(layer, name, value)
    viewer.layers.move(0, 2)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 3.0, (0.0, 4.0, 5.0)
    for t in range(1, 4):
        pub.image("a", np.full((16, 16), float(t)), at={"t": t})
        pub.image("b", np.full((16, 16), float(t)), at={"t": t})
    pub.image("a", np.ones((16, 16)), at={"t": 0, "well": "A01"})  # one more axis
    until(lambda: shown(dock, "a") == 5 and shown(dock, "b") == 4)
    assert layer.ndim == 4 and [one.name for one in viewer.layers] == ["b", "mine"]
    assert layer.colormap.name == "magma" and tuple(layer.contrast_limits) == (0.25, 0.75)
    for name in ("gamma", "opacity", "blending", "interpolation2d", "visible"):
        assert getattr(layer, name) == chosen[name], name
    assert viewer.scene.camera.zoom == 3.0 and viewer.scene.camera.center == (0.0, 4.0, 5.0)


def test_planes_and_volumes_share_the_slider_of_time(viewer, dock, pub, until):
    about = {"scale": (0.5, 0.5), "units": "um"}
    for t in range(3):
        pub.image("plane", np.full((16, 16), t + 1, np.uint8), at={"t": t}, **about)
    until(lambda: shown(dock, "plane") == 3)
    for t in range(3):
        volume = np.full((5, 16, 16), t + 1, np.uint8)
        pub.image("volume", volume, at={"t": t}, scale=(2, 0.5, 0.5), units="um")
        pub.points("p", np.full((1, 2), float(t)), at={"t": t}, **about)
    until(lambda: shown(dock, "volume") == 3 and shown(dock, "p") == 3)
    plane, volume, points = (viewer.layers[name] for name in ("plane", "volume", "p"))
    until(lambda: plane.ndim == volume.ndim == points.ndim == 4)
    assert viewer.dims.axis_labels == ("t", "z", "y", "x")
    assert tuple(plane.scale) == tuple(volume.scale) == (1, 2, 0.5, 0.5)
    assert plane.units == volume.units == points.units, "else napari shows none, and warns"
    for t in range(3):
        for z in (0, 4):
            viewer.dims.current_step = (t, z, *viewer.dims.current_step[2:])
            assert (sliced(plane) == t + 1).all() and (sliced(volume) == t + 1).all()
            until(lambda t=t: points._view_data.tolist() == [[t, t]])
    pub.image("plane", np.full((16, 16), 9, np.uint8), at={"t": 1}, **about)
    viewer.dims.current_step = (1, 2, *viewer.dims.current_step[2:])
    until(lambda: (sliced(plane) == 9).all())
