from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from napari_streaming.receive.point_store import PointStore

from napari_streaming.receive.placement import Axes

places = st.dictionaries(st.sampled_from(["t", "c"]), st.integers(0, 3), max_size=2)


def fill(sets):
    axes, store = Axes(), PointStore(2, ("id",))
    for number, (at, count) in enumerate(sets):
        rows = np.full((count, 2), number, float)
        store.put(at, rows, {"id": np.full(count, number)})
        axes.add(at)
    return axes.spanning({name for at, _ in sets for name in at}), store


@given(st.lists(st.tuples(places, st.integers(0, 3)), max_size=8))
@settings(deadline=None)
def test_like_a_plain_table(sets):
    """A set replaces the one at its place; one that says less stands everywhere."""
    axes, store = fill(sets)
    values = {axis.name: axis.view().values for axis in axes}
    expected = []
    latest = {frozenset(at.items()): (at, count, n) for n, (at, count) in enumerate(sets)}
    for at, count, number in latest.values():
        spots = [()]
        for name in values:
            chosen = [at[name]] if name in at else values[name]
            spots = [(*spot, values[name].index(value)) for spot in spots for value in chosen]
        expected += [(*spot, number, number) for spot in spots for _ in range(count)]
    points, columns = store.join(axes)
    assert points.shape == (len(expected), len(axes) + 2) and points.dtype == np.float64
    assert sorted(map(tuple, points.tolist())) == sorted(expected)
    np.testing.assert_array_equal(columns["id"], points[:, -1])


def test_nothing_is_an_empty_table():
    points, columns = PointStore(3, ("a", "b")).join([])
    assert points.shape == (0, 3) and set(columns) == {"a", "b"}
    assert all(len(column) == 0 for column in columns.values())


def test_strings_of_all_lengths():
    store = PointStore(2, ("s",))
    for number, text in enumerate(("a", "längst", "")):
        store.put({"t": number}, np.zeros((1, 2)), {"s": np.array([text])})
    axes = Axes()
    axes.add({"t": 0}), axes.add({"t": 1}), axes.add({"t": 2})
    _, columns = store.join(axes.spanning({"t"}))
    assert columns["s"].tolist() == ["a", "längst", ""]


def test_cleared():
    axes, store = fill([({"t": 1}, 2)])
    store.clear()
    assert len(store) == 0 and len(store.join(axes)[0]) == 0
