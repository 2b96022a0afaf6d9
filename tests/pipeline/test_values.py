from __future__ import annotations

import pickle

import numpy as np
import pytest

from napari_streaming.errors import DataError
from napari_streaming.pipeline import Points, kind_of


def test_points_have_one_form_whatever_they_were_given_as():
    points = Points([[1, 2]], {"n": np.array([3], np.uint8), "x": np.array([1], np.float32)})
    assert points.coordinates.dtype == np.float64 and len(points) == 1
    assert points.features["n"].dtype == np.int64 and points.features["x"].dtype == np.float64
    assert points == Points(np.array([[1.0, 2.0]]), {"n": [3], "x": [1.0]})
    assert points != Points([[1, 2]], {"x": [1.0], "n": [3]})
    assert points != Points([[1, 3]], points.features)
    assert pickle.loads(pickle.dumps(points)) == points  # noqa: S301
    assert Points([[np.nan, 1]], {"a": ["b"]}) == Points(
        [[np.nan, 1]], {"a": np.array(["b"], "U9")}
    )


@pytest.mark.parametrize(
    ("coordinates", "features", "says"),
    [
        ([1, 2], {}, "use numbers, (n, d)"),
        ([["a", "b"]], {}, "use numbers, (n, d)"),
        ([[1, 2]], {"area": [1, 2]}, "one value for each"),
        ([[1, 2]], {"area": [1j]}, "use integers, floats, bools or strings"),
        ([[1, 2]], {"area": np.array([2**63], np.uint64)}, "larger than 2^63 - 1"),
    ],
)
def test_points_that_are_none(coordinates, features, says):
    with pytest.raises(DataError) as raised:
        Points(coordinates, features)
    assert says in str(raised.value)


def test_kinds():
    plane = np.zeros((2, 2), np.int32)
    assert kind_of(plane) == kind_of(plane, "image") == "image"
    assert kind_of(plane, "labels") == "labels"
    assert kind_of(Points(np.empty((0, 2)))) == "points"
    assert [kind_of(n) for n in (1, 1.5, np.float32(2), np.int8(3))] == ["metric"] * 4
    for value, said, says in [
        (plane, "points", "points are expected, and this is of the kind image"),
        (plane.astype(float), "labels", "labels are integers"),
        ([[1, 2]], None, "use an array, Points or a number"),
        (plane, "shapes", "use one of image, labels"),
    ]:
        with pytest.raises(DataError) as raised:
            kind_of(value, said)
        assert says in str(raised.value)
