"""Points, shapes, tracks, vectors and surfaces, from a publisher to a receiver."""

from __future__ import annotations

import numpy as np
import pytest

RNG = np.random.default_rng(0)
OUTLINES = [RNG.uniform(0, 9, (count, 2)).astype("f4") for count in (3, 4, 60)]
ROWS = np.array([[1, 0, 2, 3], [1, 1, 2.5, 3], [2, 1, 7, 7]])
VECTORS = RNG.uniform(0, 9, (5000, 2, 2)).astype("f4")
CORNERS = RNG.uniform(0, 9, (4, 3)).astype("f4")
FACES = np.array([[0, 1, 2], [1, 2, 3]])


@pytest.fixture(params=["memory://test", "tcp://127.0.0.1:0"])
def pair(request, receiver, publisher):
    rec = receiver(request.param + "?listen")
    return rec, publisher(rec.sources[0].url.partition("?")[0])


def test_shapes_arrive_as_they_are(pair):
    rec, pub = pair
    kinds = ["polygon", "ellipse", "path"]
    pub.shapes("s", OUTLINES, shape_type=kinds, at={"t": 4}, features={"name": ["a", "ß", ""]})
    pub.shapes("s", [], at={"t": 5}, features={"name": np.empty(0, "U")})
    assert pub.flush(10)
    layer = rec.layers["s"]
    assert layer.kind == "shapes" and layer.axes == ("t", "y", "x")
    for one, outline in zip(layer.data, OUTLINES, strict=True):
        np.testing.assert_array_equal(one[:, 1:], outline)
        assert not one[:, 0].any()
    assert layer.geometry()["types"].tolist() == [4, 1, 3]
    assert layer.features["name"].tolist() == ["a", "ß", ""]
    assert layer.coordinates == {"t": [4, 5]}


def test_many_shapes_arrive_too(pair):
    rec, pub = pair
    polygons = RNG.uniform(0, 2000, (5000, 60, 2)).astype("f4")
    pub.shapes("s", polygons)
    assert pub.flush(10)
    np.testing.assert_array_equal(np.stack(rec.layers["s"].data), polygons)


def test_tracks_arrive_as_they_are(pair):
    rec, pub = pair
    pub.tracks("t", ROWS, graph={2: 1}, features={"speed": [1.0, 2.0, 3.0]})
    assert pub.flush(10)
    layer = rec.layers["t"]
    assert layer.axes == ("t", "y", "x")
    np.testing.assert_array_equal(layer.data, ROWS)
    assert layer.geometry()["graph"].tolist() == [[2, 1]]
    assert layer.features["speed"].tolist() == [1, 2, 3]


def test_the_times_of_tracks_are_those_of_the_images(pair):
    rec, pub = pair
    pub.tracks("t", ROWS, at={"well": "A"})
    for t in (0.5, 1, 3):
        pub.image("i", np.zeros((4, 4), "u1"), at={"t": t, "well": "A"})
    assert pub.flush(10)
    layer = rec.layers["t"]
    assert set(layer.stack_axes) == {"t", "well"} and layer.axes[-2:] == ("y", "x")
    times = layer.data[:, 1 + layer.axes.index("t")]
    np.testing.assert_array_equal(times, [-1, 1, 1])


def test_vectors_and_surfaces_arrive_as_they_are(pair):
    rec, pub = pair
    pub.vectors("v", VECTORS, at={"t": 0}, features={"id": np.arange(5000)})
    pub.surface("s", CORNERS, FACES, [1, 2, np.nan, 4], at={"well": "A"})
    pub.surface("plain", CORNERS, FACES)
    assert pub.flush(10)
    vectors = rec.layers["v"].data
    np.testing.assert_array_equal(vectors[..., 1:], VECTORS)
    assert not vectors[..., 0].any() and rec.layers["v"].features["id"][-1] == 4999
    vertices, faces, values = rec.layers["s"].data
    np.testing.assert_array_equal(vertices[:, -3:], CORNERS)
    np.testing.assert_array_equal(faces, FACES)
    np.testing.assert_array_equal(values, [1, 2, np.nan, 4])
    assert rec.layers["plain"].data[2].tolist() == [1, 1, 1, 1]


def test_sets_stand_beside_replace_and_extend_each_other(pair):
    rec, pub = pair
    for key, number, append in (
        ("a", 1, False), ("b", 2, False), ("a", 3, False), ("b", 4, True), ("", 5, True),
    ):  # fmt: skip
        at = {"t": 0}
        pub.points("p", [[number, number]], at=at, key=key, append=append)
        pub.shapes("s", [[[number, 0]] * 3], at=at, key=key, append=append)
        pub.tracks("t", [[number, 0, 0, number]], at={"w": 0}, key=key, append=append)
        pub.vectors("v", [[[number, 0], [1, 1]]], at=at, key=key, append=append)
        pub.surface("f", [[number, 0, 0]] * 3, [[0, 1, 2]], at=at, key=key, append=append)
    assert pub.flush(10)
    layers = rec.layers
    assert sorted(layers["p"].data[:, 1]) == [2, 3, 4, 5]
    assert sorted(one[0, 1] for one in layers["s"].data) == [2, 3, 4, 5]
    assert sorted(layers["t"].data[:, 0]) == [2, 3, 4, 5]
    assert sorted(layers["v"].data[:, 0, 1]) == [2, 3, 4, 5]
    vertices, faces, _ = layers["f"].data
    assert sorted(vertices[faces[:, 0], 1]) == [2, 3, 4, 5]
    assert not any(layer.stats().refused for layer in layers.values())
