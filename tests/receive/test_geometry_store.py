from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.receive.geometry_store import GeometryStore
from napari_streaming.receive.placement import Axes, Axis
from napari_streaming.wire.messages import Declare

places = st.dictionaries(st.sampled_from(["t", "c"]), st.integers(0, 3), max_size=2)
sets = st.lists(
    st.tuples(places, st.sampled_from(["", "k"]), st.booleans(), st.integers(0, 3)), max_size=8
)


def declare(kind="points", axes=("y", "x"), **changes):
    fields = {"stream": 0, "name": "a", "dtype": "<f8", "features": {"id": "<i8"}} | changes
    return Declare(kind=kind, shape=(len(axes),), axes=axes, **fields)


def axis(name, *values):
    one = Axis(name)
    for value in values:
        one.add(value)
    return one


def rows(kind, count, number):
    """Return arrays of a set, of which every row can be told from those of other sets."""
    rng = np.random.default_rng(number)
    arrays = {"features/id": np.arange(count) + 100 * number}
    if kind == "points":
        return arrays | {"data": rng.uniform(0, 9, (count, 2))}
    if kind == "vectors":
        return arrays | {"data": rng.uniform(0, 9, (count, 2, 2))}
    if kind == "tracks":
        data = np.column_stack([np.full(count, number), rng.uniform(0, 9, (count, 3))])
        graph = {"graph": np.array([[number, number + 1]])} if number % 2 else {}
        return arrays | {"data": data} | graph
    if kind == "shapes":
        counts = 3 + np.arange(count)
        offsets = np.concatenate([[0], counts.cumsum()])
        return arrays | {
            "data": rng.uniform(0, 9, (offsets[-1], 2)).astype("f4"),
            "offsets": offsets,
            "types": np.full(count, 3 + number % 2, "u1"),
        }
    surface = {
        "data": rng.uniform(0, 9, (count + 1, 2)),
        "faces": rng.integers(0, count + 1, (count, 3), dtype="i4"),
    }
    return surface | ({"values": np.full(count + 1, number, "f4")} if number % 2 else {})


def as_rows(kind, arrays, front):
    """Return what a set says as plain rows, one after the other, with positions in front."""
    data = arrays["data"]
    if kind == "vectors":
        still = [0.0] * len(front)
        described = [((*front, *start), (*still, *extent)) for start, extent in data.tolist()]
    elif kind == "tracks":
        described = [(row[0], *front, *row[1:]) for row in data.tolist()]
    elif kind == "shapes":
        parts = np.split(data, arrays["offsets"][1:-1])[: len(arrays["types"])]
        outlines = [tuple((*front, *vertex) for vertex in part.tolist()) for part in parts]
        described = list(zip(arrays["types"].tolist(), outlines, strict=True))
    elif kind == "surface":
        values = arrays.get("values", np.ones(len(data)))
        corners = [
            (*front, *row, value) for row, value in zip(data.tolist(), values.tolist(), strict=True)
        ]
        return [tuple(corners[i] for i in face) for face in arrays["faces"].tolist()]
    else:
        described = [(*front, *row) for row in data.tolist()]
    return list(zip(described, arrays["features/id"].tolist(), strict=True))


@pytest.mark.parametrize("kind", ["points", "vectors", "tracks", "shapes", "surface"])
@given(sets)
@settings(deadline=None, max_examples=60)
def test_like_a_plain_table(kind, described):
    """A set replaces or extends the one at its place; one that says less belongs everywhere."""
    own = ("time", "y", "x") if kind == "tracks" else ("y", "x")
    features = {} if kind == "surface" else {"id": "<i8"}
    store, axes = GeometryStore(declare(kind, own, features=features)), Axes()
    model, graph = {}, []
    for number, (at, key, append, count) in enumerate(described):
        arrays = rows(kind, count, number)
        if not features:
            arrays.pop("features/id", None)
        store.put(at, arrays, key, append)
        axes.add(at)
        place = (frozenset(at.items()), key)
        model[place] = (at, [*(model[place][1] if append and place in model else []), arrays])
        if number % 3 == 0:
            store.join(axes.spanning({"t", "c"}))  # looking changes nothing
    spanned = axes.spanning({name for at, *_ in described for name in at})
    expected = []
    for at, parts in model.values():
        spots = itertools.product(
            *([one.index(at[one.name])] if one.name in at else range(len(one)) for one in spanned)
        )
        for spot in spots:
            expected += [row for part in parts for row in as_rows(kind, part, spot)]
            graph += [edge for part in parts for edge in part.get("graph", np.empty(0)).tolist()]
    joined = store.join(spanned)
    assert sorted(as_rows(kind, joined, ())) == sorted(expected)
    assert joined["data"].shape[-1] == len(spanned) + len(own) + (kind == "tracks")
    if kind == "tracks":
        assert sorted(joined["graph"].tolist()) == sorted(graph)


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("points", {"data": (0, 3), "features/id": (0,), "features/s": (0,)}),
        ("vectors", {"data": (0, 2, 3), "features/id": (0,), "features/s": (0,)}),
        ("tracks", {"data": (0, 4), "graph": (0, 2), "features/id": (0,), "features/s": (0,)}),
        (
            "shapes",
            {"data": (0, 3), "offsets": (1,), "types": (0,)}
            | {"features/id": (0,), "features/s": (0,)},
        ),
        ("surface", {"data": (0, 3), "faces": (0, 3), "values": (0,)}),
    ],
)  # fmt: skip
def test_nothing_is_an_empty_set(kind, shapes):
    features = {} if kind == "surface" else {"id": "<i4", "s": "U"}
    joined = GeometryStore(declare(kind, ("z", "y", "x"), features=features)).join([])
    assert {name: array.shape for name, array in joined.items()} == shapes
    assert kind == "surface" or joined["features/id"].dtype == np.int32


def test_strings_of_all_lengths():
    store = GeometryStore(declare(features={"s": "U"}))
    for number, text in enumerate(("a", "längst", "")):
        store.put({"t": number}, {"data": np.zeros((1, 2)), "features/s": np.array([text])})
    assert store.join([axis("t", 0, 1, 2)])["features/s"].tolist() == ["a", "längst", ""]


def test_cleared():
    store = GeometryStore(declare())
    store.put({"t": 1}, rows("points", 2, 0))
    store.clear()
    assert len(store) == 0 and len(store.join([axis("t", 1)])["data"]) == 0


def test_the_newest_set_comes_last():
    store = GeometryStore(declare())
    for number, t in enumerate((0, 1, 2, 0)):
        store.put({"t": t}, rows("points", 1, number))
    assert store.join([axis("t", 0, 1, 2)])["data"][:, 0].tolist() == [1, 2, 0]


def test_what_is_appended_is_not_joined_again_and_again():
    store, one = GeometryStore(declare()), rows("points", 1, 0)
    copied = 0
    for number in range(200):
        store.put({}, dict(one), append=True)
        if number % 100 == 99:
            (kept,) = store._sets.values()
            copied += kept.rows
            assert len(store.join([])["data"]) == number + 1
            assert len(kept.parts) == 1
        elif number % 100 == 50:
            (kept,) = store._sets.values()
            assert len(kept.parts) > 50, "nobody has asked"
    assert copied == 300


def test_what_was_joined_is_nobody_elses():
    store, one = GeometryStore(declare()), rows("points", 3, 0)
    before = one["data"].copy()
    store.put({}, one)
    store.join([])["data"][:] = 7
    np.testing.assert_array_equal(store.join([])["data"], before)


# ---- sets that lack a coordinate -------------------------------------------------------


def test_a_layer_without_an_axis_stands_at_0_once_however_long_it_is():
    store = GeometryStore(declare())
    store.put({"well": "A"}, rows("points", 60, 0))
    joined = store.join([axis("well", "A"), axis("t", *range(1000))])
    assert joined["data"].shape == (60, 4) and not joined["data"][:, :2].any()


def test_what_would_be_repeated_too_often_stands_where_others_are():
    store, t = GeometryStore(declare()), axis("t", *range(1000))
    store.put({"t": 3}, rows("points", 1, 0))
    store.put({"t": 700}, rows("points", 1, 1))
    store.put({}, rows("points", 100, 2))
    assert len(store.join([t])["data"]) == 100_002, "not too often"
    store.put({}, rows("points", 101, 2))
    joined = store.join([t])["data"]
    assert len(joined) == 2 + 2 * 101 and set(joined[:, 0]) == {3, 700}
    store.put({}, rows("points", 60_000, 3))
    joined = store.join([t])["data"]
    assert len(joined) == 2 + 60_000, "only at the newest"
    assert set(joined[2:, 0]) == {700}


# ---- fixed coordinates -----------------------------------------------------------------


def test_only_what_does_not_contradict():
    store = GeometryStore(declare())
    for number, at in enumerate(({"w": "A", "t": 1}, {"w": "B", "t": 2}, {"t": 1}, {"w": "A"})):
        store.put(at, rows("points", 1, number))
    t = axis("t", 1, 2)
    ids = store.join([t], {"w": "A"})["features/id"].tolist()
    assert sorted(ids) == [0, 200, 300, 300], "the last one has no t: both"
    assert sorted(store.join([], {"w": "B", "t": 2})["features/id"].tolist()) == [100]
    assert store.join([t], {"w": None})["features/id"].tolist() == [200]
    assert store.join([t], {"w": "A"})["data"].shape[1] == 3


# ---- axes of their own that others stack along -----------------------------------------


def test_own_coordinates_become_positions_on_a_shared_axis():
    t = axis("t", 10, 20, 40)
    store = GeometryStore(declare("tracks", ("t", "y", "x"), features={}))
    times = np.array([0.0, 10, 15, 20, 30, 40, 60])
    store.put({"w": "A"}, {"data": np.column_stack([np.arange(7), times, np.ones((7, 2))])})
    joined = store.join([axis("w", "A"), t])["data"]
    np.testing.assert_allclose(joined[:, 2], [-1, 0, 0.5, 1, 1.5, 2, 3])
    np.testing.assert_array_equal(joined[:, 0], np.arange(7))
    assert joined.shape == (7, 5)
    one = store.join([axis("t", 5)])["data"]
    np.testing.assert_array_equal(one[:, 1], times - 5)


def test_vectors_bend_with_their_axis():
    store = GeometryStore(declare("vectors", ("z", "y", "x"), features={}))
    store.put({}, {"data": np.array([[[10, 0.1, 0.2], [30, 0.3, 0.7]]])})
    joined = store.join([axis("z", 10, 20, 40)])["data"]
    assert joined.tolist() == [[[0, 0.1, 0.2], [2, 0.3, 0.7]]]


def test_numbers_on_an_axis_of_names_are_positions():
    names = axis("t", "a", "b", "c")
    np.testing.assert_array_equal(names.positions(np.array([0, 1.5])), [0, 1.5])


@pytest.mark.parametrize(
    "values", [(2**62, 2**62 + 1), (0.0, 5e-324), (-1e308, 1e308), (3,), (1, 2, 3)]
)  # fmt: skip
def test_positions_are_never_beyond_all_bounds(values):
    positions = axis("t", *values).positions(np.array([-1e300, 0, 1, 1e300]))
    assert np.isfinite(positions).all() and (abs(positions) < 1e10).all()
    assert (np.diff(positions) >= 0).all()
