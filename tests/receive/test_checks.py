from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_streaming.receive.checks import contradiction, garbled, mismatch
from napari_streaming.wire.messages import SHAPE_TYPES, Array, Declare, Item

KINDS = ("points", "vectors", "tracks", "shapes", "surface")
OFFSETS, TYPES = np.array([0, 4, 6, 9]), np.array([0, 2, 4], "u1")
GOOD = {
    "points": {"data": np.zeros((3, 3))},
    "vectors": {"data": np.zeros((3, 2, 3))},
    "tracks": {"data": np.zeros((3, 4)), "graph": np.array([[1, 0]])},
    "shapes": {"data": np.zeros((9, 3)), "offsets": OFFSETS, "types": TYPES},
    "surface": {
        "data": np.zeros((3, 3)), "faces": np.array([[0, 1, 2]], "i4"), "values": np.ones(3, "f4"),
    },
}  # fmt: skip
NO_FEATURES = ("surface", "image", "labels")


def declare(kind, **changes):
    features = {} if kind in NO_FEATURES else {"id": "<i4", "s": "U"}
    fields = {
        "stream": 0, "name": "a", "kind": kind, "dtype": "<f8", "shape": (3,),
        "axes": ("z", "y", "x"), "features": features,
    }  # fmt: skip
    return Declare(**(fields | changes))


def good(kind):
    features = {"features/id": np.zeros(3, "i4"), "features/s": np.array(["ä", "", "b"])}
    return GOOD[kind] | ({} if kind in NO_FEATURES else features)


def item(arrays, **fields):
    described = tuple(Array(name, a.dtype.str, a.shape) for name, a in arrays.items())
    return Item(0, 0, 0.0, fields.pop("at", {}), described, **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right(kind):
    arrays = good(kind)
    assert contradiction(declare(kind)) == ""
    assert mismatch(item(arrays, key="k", append=True, at={"t": 1}), declare(kind)) == ""
    assert garbled(arrays, kind) == ""
    for optional in ("graph", "values"):
        arrays.pop(optional, None)
    assert mismatch(item(arrays), declare(kind)) == "" and garbled(arrays, kind) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_right(kind):
    arrays = {name: array[:0] for name, array in good(kind).items()}
    if kind == "shapes":
        arrays["offsets"] = np.zeros(1, np.int64)
    assert mismatch(item(arrays), declare(kind)) == "" and garbled(arrays, kind) == ""


# ---- declarations ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (2,)}, {"shape": (3, 3)}, {"shape": ()}, {"dtype": "<U3"}, {"rgb": True},
        {"axes": ("y", "y", "x")}, {"scale": (1.0,)}, {"axes": ("x",), "shape": (1,)},
    ],
)  # fmt: skip
def test_declarations_that_contradict_themselves(kind, changes):
    assert contradiction(declare(kind, **changes))


@pytest.mark.parametrize("kind", NO_FEATURES)
def test_kinds_without_features(kind):
    planes = {"shape": (4, 5, 6), "dtype": "<i4"} if kind != "surface" else {}
    assert contradiction(declare(kind, **planes)) == ""
    assert "features" in contradiction(declare(kind, features={"id": "<i4"}, **planes))


@pytest.mark.parametrize("axes", [("t", "x"), ("t", "c", "z", "y", "x")])
def test_tracks_have_three_or_four_axes(axes):
    assert "tracks along" in contradiction(declare("tracks", axes=axes, shape=(len(axes),)))
    assert contradiction(declare("points", axes=axes, shape=(len(axes),))) == ""


# ---- items -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fields",
    [
        {"along": {"t": (1, 2)}}, {"offset": (0, 0, 0)}, {"scale": (1.0, 1.0, 1.0)},
        {"translate": (1.0, 1.0, 1.0)}, {"at": {"x": 1}},
    ],
)  # fmt: skip
def test_fields_that_only_planes_have(kind, fields):
    assert mismatch(item(good(kind), **fields), declare(kind))


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize("fields", [{"key": "k"}, {"append": True}])
def test_fields_that_planes_do_not_have(kind, fields):
    said = declare(kind, shape=(4, 5, 6), dtype="<i4")
    plane = {"data": np.zeros((4, 5, 6), "i4")}
    assert mismatch(item(plane), said) == ""
    assert "with a key" in mismatch(item(plane, **fields), said)


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in KINDS for n in good(k)])
@pytest.mark.parametrize("how", ["dtype", "longer", "deeper", "flat", "missing", "twice"])
def test_an_array_that_is_not_as_it_must_be(kind, name, how):
    arrays = good(kind)
    array = arrays[name]
    if how == "dtype":
        arrays[name] = np.zeros(array.shape, "<f2")
    elif how == "longer":
        # The number of edges and of faces is free, and no other array's.
        if name in ("graph", "faces"):
            arrays[name] = np.zeros((2, array.shape[1] + 1), array.dtype)
        elif kind in ("points", "vectors", "tracks", "surface") and name == "data":
            arrays[name] = np.zeros((*array.shape[:-1], array.shape[-1] + 1))
        elif kind == "shapes" and name == "data":
            return  # what the offsets say is known when they are there
        else:
            arrays[name] = np.concatenate([array, array[:1]])
    elif how == "deeper":
        arrays[name] = array[..., None]
    elif how == "flat":
        arrays[name] = array[0]
    elif how == "missing":
        if name in ("graph", "values"):
            return
        del arrays[name]
    else:
        arrays["extra"] = array
    wrong = item(arrays)
    if how == "twice":
        assert mismatch(wrong, declare(kind))
        wrong = Item(0, 0, 0.0, {}, (*item(good(kind)).arrays, item({name: array}).arrays[0]))
    assert mismatch(wrong, declare(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_other_kinds(kind):
    for other in set(KINDS) - {kind}:
        for name, array in GOOD[other].items():
            if name not in GOOD[kind]:
                assert mismatch(item(good(kind) | {name: array}), declare(kind))


# ---- what the arrays hold --------------------------------------------------------------


def changed(kind, name, index, value):
    arrays = {key: array.copy() for key, array in good(kind).items()}
    arrays[name][index] = value
    return arrays


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_coordinates_are_finite_but_those_of_points(kind, value):
    wrong = changed(kind, "data", (..., -1), value)
    assert bool(garbled(wrong, kind)) == (kind != "points")


@pytest.mark.parametrize(
    "offsets",
    [
        (0, 4, 6, 8), (0, 4, 6, 10), (1, 4, 6, 9), (0, 6, 4, 9), (0, -1, 6, 9), (0, 99, 6, 9),
        (0, 2**63 - 1, -(2**63), 9), (-(2**63), 4, 6, 9), (0, 4, 6, 2**63 - 1),
    ],
)  # fmt: skip
def test_offsets_lead_from_0_to_the_end(offsets):
    wrong = GOOD["shapes"] | {"offsets": np.array(offsets)}
    assert "offsets" in garbled(wrong, "shapes")


def test_types_of_shapes_are_known():
    assert "type 5" in garbled(changed("shapes", "types", 1, 5), "shapes")
    assert "type 255" in garbled(changed("shapes", "types", 0, 255), "shapes")


@pytest.mark.parametrize("number", range(5))
def test_vertices_of_each_type(number):
    fewest, most = list(SHAPE_TYPES.values())[number]
    for count in range(7):
        arrays = {
            "data": np.zeros((count, 2)), "offsets": np.array([0, count]),
            "types": np.array([number], "u1"),
        }  # fmt: skip
        assert bool(garbled(arrays, "shapes")) == (not fewest <= count <= most)


@pytest.mark.parametrize("corner", [-1, 3, 2**31 - 1, -(2**31)])
def test_faces_are_of_vertices_that_are_there(corner):
    assert "faces of vertices" in garbled(changed("surface", "faces", (0, 1), corner), "surface")


@pytest.mark.parametrize("number", [0.5, 2.0**53 + 2, -1e300])
def test_track_numbers_are_integers(number):
    assert "track numbers" in garbled(changed("tracks", "data", (1, 0), number), "tracks")


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2**63 - 1])
def test_graphs_are_of_numbers_that_tracks_can_have(number):
    assert "track numbers" in garbled(changed("tracks", "graph", (0, 1), number), "tracks")
    integers = {"data": np.array([[number, 0, 0, 0]])}
    assert "track numbers" in garbled(integers, "tracks")


@pytest.mark.parametrize("kind", ["points", "shapes", "tracks", "vectors"])
def test_text_that_is_none(kind):
    text = np.array([0x110000, 0, 0], "<u4").view("<U1")
    assert "no text" in garbled(good(kind) | {"features/s": text}, kind)


@given(
    hnp.arrays(np.int64, st.integers(1, 6), elements=st.integers(-2, 12)),
    hnp.arrays(np.uint8, st.integers(0, 5), elements=st.integers(0, 6)),
    st.integers(0, 10),
)
def test_shapes_that_pass_can_be_taken_apart(offsets, types, count):
    arrays = {"data": np.zeros((count, 2)), "offsets": offsets, "types": types}
    wants = declare("shapes", axes=("y", "x"), shape=(2,), features={})
    if mismatch(item(arrays), wants) or garbled(arrays, "shapes"):
        return
    parts = np.split(arrays["data"], offsets[1:-1])[: len(types)]
    assert sum(map(len, parts)) == count
    for part, number in zip(parts, types, strict=True):
        fewest, most = list(SHAPE_TYPES.values())[number]
        assert fewest <= len(part) <= most
