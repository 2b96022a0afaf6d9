from __future__ import annotations

import numpy as np
import pytest

from napari_streaming.remote.server.capture import Capture

SIZES = [(320, 240), (321, 241), (1, 1), (2, 1), (7, 3), (10, 6)]


@pytest.fixture
def noise(viewer):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 255, (90, 120, 3), np.uint8), rgb=True)


def _expected(rgb, subsampling):
    """Return the planes by the formulas of BT.709, in floating point."""
    height, width = rgb.shape[:2]
    padded = np.pad(rgb / 255, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    luma = padded @ [0.2126, 0.7152, 0.0722]
    blue, red = (padded[..., 2] - luma) / 1.8556, (padded[..., 0] - luma) / 1.5748
    if subsampling == "420":
        blue, red = (
            (c[::2, ::2] + c[1::2, ::2] + c[::2, 1::2] + c[1::2, 1::2]) / 4 for c in (blue, red)
        )
    return 16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red


@pytest.mark.parametrize("where", ["gpu", "cpu"])
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_planes_are_those_of_bt709(viewer, canvas, look, noise, where, subsampling):
    capture = Capture(where)
    for size in SIZES:
        canvas.resize(size)
        viewer.reset_view()
        expected = _expected(look(), subsampling)
        picture = capture.picture(canvas.target, subsampling, 12.5)
        assert (picture.width, picture.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert picture.rendered == 12.5
        for plane, wanted in zip(picture.planes, expected, strict=True):
            assert plane.shape == wanted.shape
            assert plane.dtype == np.uint8
            assert np.abs(plane - wanted).max() <= 1.6  # both ways round once or twice
    capture.close()


@pytest.mark.parametrize("where", ["gpu", "cpu"])
def test_a_picture_stays_when_the_next_is_taken(viewer, canvas, look, noise, where):
    capture = Capture(where)
    look()
    first = capture.picture(canvas.target, "420", 0.0)
    kept = [plane.copy() for plane in first.planes]
    viewer.scene.camera.zoom *= 2
    look()
    second = capture.picture(canvas.target, "420", 0.0)
    assert all((a == b).all() for a, b in zip(first.planes, kept, strict=True))
    assert (second.planes[0] != kept[0]).any()
    capture.close()


@pytest.mark.parametrize("more", [False, True])
def test_capturing_does_not_disturb_drawing(viewer, canvas, look, noise, more):
    if more:
        viewer.add_points(np.random.default_rng(1).random((20, 2)) * 90, symbol="star")
        viewer.canvas.overlays.scale_bar.visible = True
    plain = look()
    capture = Capture("gpu")
    for _ in range(3):
        capture.picture(canvas.target, "420", 0.0)
        viewer.scene.camera.zoom *= 1.5
        look()
        capture.picture(canvas.target, "444", 0.0)
        viewer.scene.camera.zoom /= 1.5
        assert (look() == plain).all()
    capture.close()


def test_the_faster_way_is_found_out(canvas, look, noise):
    look()
    capture = Capture()
    capture.picture(canvas.target, "420", 0.0)
    assert capture.chosen in ({"420": "gpu"}, {"420": "cpu"})
    capture.close()
