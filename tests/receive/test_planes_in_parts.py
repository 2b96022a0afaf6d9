"""Several planes in one item, parts of planes, planes that lie apart: publisher to receiver."""

from __future__ import annotations

import numpy as np
import pytest

from napari_streaming.errors import DataError

RNG = np.random.default_rng(0)


@pytest.fixture(params=["memory://parts", "tcp://127.0.0.1:0"])
def pair(request, receiver, publisher):
    rec = receiver(request.param + "?listen")
    url = rec.urls[0] if request.param.startswith("tcp") else request.param
    return rec, publisher(url)


def arrived(rec, pub, name):
    assert pub.flush(20), pub.stats()
    return rec.layers[name]


def test_several_planes_in_one_call(pair):
    rec, pub = pair
    planes = RNG.integers(0, 4000, (2, 3, 200, 300)).astype(">u2")
    at = {"c": ["DAPI", "GFP"], "well": "A01", "z": np.arange(3)}
    pub.image("a", planes, at=at)
    pub.labels("b", planes[0, :, ::2], at={"z": (0, 1, 2), "well": "A01"})
    layer = arrived(rec, pub, "a")
    assert layer.coordinates == {"c": ["DAPI", "GFP"], "well": ["A01"], "z": [0, 1, 2]}
    np.testing.assert_array_equal(np.asarray(layer.data)[0], planes)  # well, c, z
    assert layer.stats().received == 1 and len(layer.planes) == 6
    mask = np.asarray(rec.layers["b"].data)
    np.testing.assert_array_equal(mask[0, 1], planes[0, :, ::2])


def test_tiles_make_a_mosaic(pair):
    rec, pub = pair
    whole = RNG.integers(0, 255, (400, 500, 3)).astype("uint8")
    for y in range(0, 400, 200):
        for x in range(0, 500, 250):
            tile = whole[y : y + 200, x : x + 250]
            pub.image("a", tile, at={"t": 0}, offset=(y, x), plane_shape=whole.shape)
    layer = arrived(rec, pub, "a")
    np.testing.assert_array_equal(np.asarray(layer.data[0]), whole)
    pub.image("a", whole[:5], at={"t": 1}, offset=(395, 0), plane_shape=whole.shape)
    assert pub.flush(20)
    assert not layer.data[1][:395].any()
    np.testing.assert_array_equal(layer.data[1][395:], whole[:5])


def test_each_plane_has_its_own_origin(pair):
    rec, pub = pair
    plane = np.ones((8, 8))
    for site in range(3):
        translate = (0, 100 * site)
        pub.image("a", plane, at={"site": site}, scale=(0.5, 0.5), translate=translate)
    layer = arrived(rec, pub, "a")
    assert list(rec.layers) == ["a"]
    for site in range(3):
        transform = layer.transform_at({"site": site})
        assert (transform.scale, transform.translate) == ((0.5, 0.5), (0, 100 * site))


@pytest.mark.parametrize(
    ("shape", "at", "words"),
    [
        ((2, 4, 4), {"z": [0, 1, 2]}, "leading axes"),
        ((0, 4, 4), {"z": []}, "0 coordinates"),
        ((1, 4, 4), {"z": [None]}, "finite number or a string"),
        ((2, 4, 4), {"y": [0, 1]}, "axis of the plane"),
        ((4,), {"z": range(4)}, "at least"),
    ],
)
def test_planes_that_do_not_fit_their_coordinates_are_refused(pair, shape, at, words):
    _, pub = pair
    with pytest.raises(DataError, match=words):
        pub.image("a", np.zeros(shape), at=at)
