from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import DataError
from napari_streaming.publish.geometry import (
    points_spec,
    set_fields,
    shapes_spec,
    surface_spec,
    tracks_spec,
    vectors_spec,
)
from napari_streaming.wire.codec import pack, unpack
from napari_streaming.wire.messages import FEATURE_PREFIX, SHAPE_TYPES

NOTHING = {"axes": None, "scale": (), "translate": (), "units": (), "qos": "latest"}
BOX = [[0, 0], [0, 2], [3, 2], [3, 0]]
TRACK = [[1, 0, 5, 5], [1, 1, 6, 5]]
CORNERS = [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def points(rows, features=None, **changes):
    return points_spec(rows, features or {}, **(NOTHING | changes))


def shapes(given_shapes, shape_type="polygon", features=None, **changes):
    return shapes_spec(given_shapes, shape_type, features or {}, **(NOTHING | changes))


def tracks(rows, graph=None, features=None, **changes):
    return tracks_spec(rows, graph or {}, features or {}, **(NOTHING | changes))


def vectors(rows, features=None, **changes):
    return vectors_spec(rows, features or {}, **(NOTHING | changes))


def surface(vertices, faces, values=None, **changes):
    return surface_spec(vertices, faces, values, **(NOTHING | changes))


def declared(spec, name="a"):
    """Return the declaration as it arrives: it can be sent at all."""
    return unpack([pack(spec.declare(0, name))])[0]


def dtypes(arrays):
    return {name: array.dtype.str for name, array in arrays.items()}


# ---- points ----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[], np.empty((0, 3)), np.empty(0), np.empty((0, 3), int)])
def test_no_points_are_points(rows):
    spec, arrays = points(rows, axes=("z", "y", "x"))
    assert arrays["data"].shape == (0, 3)
    assert declared(spec).shape == (3,)


@pytest.mark.parametrize(
    "rows", [np.zeros(3), np.zeros((3, 1)), np.zeros((3, 17)), 5.0, [[[1, 2]]]]
)
def test_what_are_no_points(rows):
    with pytest.raises(DataError, match=r"\(n, d\)"):
        points(rows)


def test_features_of_all_kinds():
    given_features = {
        "i": np.array([1, 2], ">i2"),
        "b": [True, False],
        "s": ["", "🔬 längst"],
        "f": np.array([np.nan, np.inf], "f2"),
    }
    spec, arrays = points([[0, 1], [2, 3]], given_features)
    assert dict(spec.features) == {"i": "<i2", "b": "|b1", "s": "U", "f": "<f2"}
    assert list(arrays) == ["data", *(FEATURE_PREFIX + name for name in given_features)]
    assert declared(spec).features == dict(spec.features)


def test_how_long_strings_are_is_no_structure():
    short, long = (points([[0, 1]], {"s": [text]})[0] for text in ("a", "abc"))
    assert short.same_structure(long)


@pytest.mark.parametrize(
    ("features", "hint"),
    [
        ({"a": [1]}, "one value for each"),
        ({"a": [[1], [2]]}, "one value for each"),
        ({"a": ["x", None]}, "cannot stream dtype object"),
        ({"": [1, 2]}, "no name"),
        ({"a" * 250: [1, 2]}, "too long"),
        ({3: [1, 2]}, "no name"),
        ({"\ud800": [1, 2], "?": [3, 4]}, "same name"),
        ({"a": ["x" * 10_000, "y"]}, "too long"),
        ({str(i): [1, 2] for i in range(257)}, "256"),
    ],
)
def test_what_is_wrong_with_features(features, hint):
    with pytest.raises(DataError, match=hint):
        points([[0, 1], [2, 3]], features)


# ---- shapes ----------------------------------------------------------------------------


def test_shapes_lie_one_after_the_other():
    line, outline = [[1, 2], [3, 4]], [[0, 0], [0, 9], [9, 9], [9, 0], [5, 5]]
    spec, arrays = shapes([BOX, line, outline], ["ellipse", "line", "polygon"], {"id": [7, 8, 9]})
    assert arrays["data"].tolist() == BOX + line + outline
    assert arrays["offsets"].tolist() == [0, 4, 6, 11]
    assert arrays["types"].tolist() == [1, 2, 4]
    assert dtypes(arrays) == {
        "data": "<f4", "offsets": "<i8", "types": "|u1", "features/id": "<i8",
    }  # fmt: skip
    said = declared(spec)
    assert (said.kind, said.dtype, said.shape, said.axes) == ("shapes", "<f4", (2,), ("y", "x"))


@given(
    st.lists(
        st.tuples(st.sampled_from(list(SHAPE_TYPES)), st.integers(0, 3), st.booleans()),
        max_size=12,
    )
)
def test_like_a_plain_list(described):
    """Two corners become four; all else arrives as it was given."""
    rng = np.random.default_rng(len(described))
    given_shapes, expected = [], []
    for kind, more, is_pair in described:
        fewest, most = SHAPE_TYPES[kind]
        is_box = kind in ("rectangle", "ellipse")
        count = 2 if is_box and is_pair else min(fewest + more, most)
        shape = rng.uniform(0, 9, (count, 2)).astype("f4")
        given_shapes.append(shape)
        if is_box and is_pair:
            (top, left), (bottom, right) = shape
            shape = np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
        expected.append(shape)
    _, arrays = shapes(given_shapes, [kind for kind, _, _ in described])
    got = np.split(arrays["data"], arrays["offsets"][1:-1]) if described else []
    assert len(arrays["offsets"]) == len(described) + 1
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_array_of_shapes_is_the_same_as_a_list():
    array = np.random.default_rng(0).uniform(0, 9, (5, 7, 3))
    one, other = shapes(array)[1], shapes(list(array))[1]
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(
        shapes(array[:, ::2, ::-1])[1]["data"][:4], array[0, ::2, ::-1].astype("f4")
    )


@pytest.mark.parametrize("none", [[], np.empty((0, 4, 2)), ()])
def test_no_shapes_are_shapes(none):
    spec, arrays = shapes(none, features={"id": []})
    assert arrays["data"].shape == (0, 2) and arrays["offsets"].tolist() == [0]
    assert len(arrays["types"]) == 0 and declared(spec).shape == (2,)
    assert shapes([], [], axes=("z", "y", "x"))[1]["data"].shape == (0, 3)


def test_five_thousand_polygons_are_two_and_a_half_megabytes():
    polygons = np.random.default_rng(0).uniform(0, 2000, (5000, 60, 2))
    for given_shapes in (polygons, list(polygons)):
        arrays = shapes(given_shapes)[1]
        assert sum(array.nbytes for array in arrays.values()) <= 2_500_000


@pytest.mark.parametrize(
    ("given_shapes", "shape_type", "hint"),
    [
        ([BOX[:1]], "rectangle", "shape 0, rectangle: 1 vertices, use 4, or 2"),
        ([BOX, BOX[:3]], "ellipse", "shape 1, ellipse: 3 vertices"),
        ([BOX[:3]], "line", "shape 0, line: 3 vertices, use 2"),
        ([BOX[:1]], "path", "at least 2"),
        ([BOX[:2]], "polygon", "at least 3"),
        ([np.empty((0, 2))], "polygon", "polygon: 0 vertices"),
        ([BOX], "star", "'star': use one of rectangle, ellipse, line, path, polygon"),
        ([BOX], ["polygon", "path"], "2 shape types for 1 shapes"),
        ([BOX], [3], "'3': use one of"),
        ([BOX, [[0, 0], [0, math.nan], [1, 1]]], "polygon", r"shape 1 has a vertex at \[ 0. nan\]"),
        ([[[0, 0], [0, 1e300], [1, 1]]], "polygon", "shape 0 has a vertex at .*inf"),
        ([BOX, [[0, 0, 0]] * 3], "polygon", r"shape 1 of shape \(3, 3\)"),
        (BOX, "polygon", r"shape 0 of shape \(2,\)"),
        (np.array(BOX), "polygon", r"use a list of \(v, d\) arrays"),
        ([[[0, 1], [2]]], "polygon", r"use a list of \(v, d\) arrays"),
        (5, "polygon", r"use a list of \(v, d\) arrays"),
        ([np.zeros((4, 1))], "polygon", "2 to 16"),
        ([np.zeros((4, 17))], "polygon", "2 to 16"),
        ([[["a", "b"]] * 3], "polygon", "cannot stream dtype <U1"),
        ([np.zeros((3, 2), complex)], "polygon", "cannot stream dtype complex"),
    ],
)
def test_what_are_no_shapes(given_shapes, shape_type, hint):
    with pytest.raises(DataError, match=hint):
        shapes(given_shapes, shape_type)


# ---- tracks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "axes"), [(4, ("t", "y", "x")), (5, ("t", "z", "y", "x"))]
)  # fmt: skip
def test_tracks_run_along_time_first(width, axes):
    rows = np.arange(3.0 * width).reshape(3, width)
    spec, arrays = tracks(rows, features={"speed": [1.0, 2.0, 3.0]})
    np.testing.assert_array_equal(arrays["data"], rows)
    said = declared(spec)
    assert (said.axes, said.shape, said.dtype) == (axes, (width - 1,), "<f8")
    assert "graph" not in arrays
    named = tracks(rows, axes=("frame", *axes[1:]))[0]
    assert named.axes[0] == "frame"


@pytest.mark.parametrize(
    ("graph", "edges"),
    [
        ({2: 1}, [[2, 1]]), ({2: [1], 3: [1, 2]}, [[2, 1], [3, 1], [3, 2]]),
        ({np.int64(2): np.array([1, 0])}, [[2, 1], [2, 0]]), ({2: []}, np.empty((0, 2))),
        ({2: np.int32(1)}, [[2, 1]]),
    ],
)  # fmt: skip
def test_a_graph_is_a_list_of_edges(graph, edges):
    array = tracks(TRACK, graph)[1]["graph"]
    assert array.dtype == np.int64 and array.shape == np.shape(edges)
    np.testing.assert_array_equal(array, edges)


@pytest.mark.parametrize("none", [[], np.empty((0, 4))])
def test_no_tracks_are_tracks(none):
    assert tracks(none)[1]["data"].shape == (0, 4)
    assert tracks([], axes=("t", "z", "y", "x"))[1]["data"].shape == (0, 5)


@pytest.mark.parametrize(
    ("rows", "graph", "hint"),
    [
        (np.zeros((3, 3)), {}, r"shape \(3, 3\): use \(n, 4\) or \(n, 5\)"),
        (np.zeros((3, 6)), {}, r"use \(n, 4\) or \(n, 5\)"),
        (np.zeros(4), {}, r"use \(n, 4\) or \(n, 5\)"),
        ([[0, 0, 0, 0], [1.5, 0, 0, 0]], {}, "row 1: 1.5 is no track number"),
        ([[1e17, 0, 0, 0]], {}, "row 0: 1e[+]17 is no track number"),
        ([[0, 0, math.nan, 0]], {}, "row 0: .*nan"),
        ([[0, math.inf, 0, 0]], {}, "row 0: .*inf"),
        ([[math.nan, 0, 0, 0]], {}, "row 0: .*nan"),
        (TRACK, {1.5: 2}, "graph {1.5: 2}"),
        (TRACK, {1: "ab"}, "graph {1: 'ab'}"),
        (TRACK, {1: 0.5}, "track numbers are integers"),
        (TRACK, {1: [None]}, "track numbers are integers"),
        (TRACK, {2**60: 1}, "track numbers are integers"),
    ],
)
def test_what_are_no_tracks(rows, graph, hint):
    with pytest.raises(DataError, match=hint):
        tracks(rows, graph)


# ---- vectors and surfaces --------------------------------------------------------------


def test_vectors_are_a_start_and_an_extent():
    rows = np.arange(12).reshape(2, 2, 3)
    spec, arrays = vectors(rows, {"id": ["a", "b"]})
    np.testing.assert_array_equal(arrays["data"], rows)
    said = declared(spec)
    assert (said.axes, said.shape, said.dtype) == (("z", "y", "x"), (3,), "<f4")
    assert vectors([], axes=("z", "y", "x"))[1]["data"].shape == (0, 2, 3)
    assert vectors(np.empty((0, 2, 4)))[1]["data"].shape == (0, 2, 4)


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        (np.zeros((3, 2)), r"shape \(3, 2\): use \(n, 2, d\)"),
        (np.zeros((3, 3, 2)), r"use \(n, 2, d\)"),
        (np.zeros((3, 2, 1)), r"use \(n, 2, d\)"),
        ([[[0, 0], [0, math.nan]]], "row 0: .*nan"),
        ([[[0, 0], [1e39, 0]]], "row 0: .*inf"),
    ],
)
def test_what_are_no_vectors(rows, hint):
    with pytest.raises(DataError, match=hint):
        vectors(rows)


def test_a_surface_is_vertices_faces_and_values():
    spec, arrays = surface(CORNERS, np.array([[0, 1, 2]], "u8"), [1, math.nan, 3])
    assert dtypes(arrays) == {"data": "<f4", "faces": "<i4", "values": "<f4"}
    assert arrays["faces"].tolist() == [[0, 1, 2]] and np.isnan(arrays["values"][1])
    assert declared(spec).axes == ("z", "y", "x")
    assert "values" not in surface(CORNERS, [[0, 1, 2]])[1]
    assert surface([], [])[1]["data"].shape == (0, 3)
    assert surface(CORNERS, [])[1]["faces"].shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((CORNERS, [[0, 1, 3]]), r"face 0 is of vertices \[0, 1, 3\]: there are 3"),
        ((CORNERS, [[0, 1, 2], [0, 1, -1]]), "face 1 is of vertices"),
        ((CORNERS, [[0, 1]]), r"shape \(1, 2\): use integers \(f, 3\)"),
        ((CORNERS, [[0.0, 1, 2]]), "use integers"),
        ((CORNERS, [0, 1, 2]), r"\(f, 3\)"),
        ((CORNERS, [[0, 1, 2]], [1, 2]), r"values of shape \(2,\) for 3 vertices"),
        (([0, 1, 2], [[0, 1, 2]]), r"vertices of shape \(3,\)"),
        (([[0, 0, math.inf]], []), "vertices, row 0: .*inf"),
        (([], [[0, 1, 2]]), "there are 0"),
        ((CORNERS, [[0, 1, 2]], ["a", "b", "c"]), "values: cannot stream"),
    ],
)
def test_what_is_no_surface(arguments, hint):
    with pytest.raises(DataError, match=hint):
        surface(*arguments)


# ---- what all have ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "publish",
    [
        lambda **said: points([[0, 0]], {"a": [1, 2]}, **said),
        lambda **said: shapes([BOX], features={"a": [1, 2]}, **said),
        lambda **said: tracks(TRACK, features={"a": [1]}, **said),
        lambda **said: vectors([[[0, 0], [1, 1]]], {"a": [1, 2]}, **said),
    ],
)
def test_features_are_as_long_as_there_are_rows(publish):
    with pytest.raises(DataError, match="one value for each"):
        publish()


@pytest.mark.parametrize(
    "publish",
    [
        lambda **said: points([[0, 0, 0]], **said),
        lambda **said: shapes([CORNERS], **said),
        lambda **said: tracks(TRACK, **said),
        lambda **said: vectors([[[0, 0, 0], [1, 1, 1]]], **said),
        lambda **said: surface(CORNERS, [[0, 1, 2]], **said),
    ],
)
def test_what_is_said_of_the_axes_arrives(publish):
    spec = publish(axes=("a", "b", "c"), scale=(1, 2, 3), units="um", qos="reliable")[0]
    said = declared(spec)
    assert (said.axes, said.scale, said.units) == (("a", "b", "c"), (1, 2, 3), ("um",) * 3)
    assert said.qos == "reliable"
    with pytest.raises(DataError, match="3 different names"):
        publish(axes=("a", "b"))
    with pytest.raises(DataError, match="qos"):
        publish(qos="fast")


def test_only_what_differs_is_said_of_a_set():
    assert set_fields("", False) == {}
    assert set_fields("k", False) == {"key": "k"} and set_fields("", True) == {"append": True}
    assert set_fields("\ud800", True) == {"key": "?", "append": True}


@pytest.mark.parametrize("key", [5, None, "x" * 257])
def test_what_is_no_key(key):
    with pytest.raises(DataError, match="1 to 256"):
        set_fields(key, False)
