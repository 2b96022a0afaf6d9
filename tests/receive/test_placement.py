from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.receive.placement import Axes, Axis

numbers = st.one_of(st.integers(-50, 50), st.floats(-50, 50))
names = st.text(max_size=3).filter(lambda name: not re.fullmatch(r"[A-Z]{1,2}[0-9]{1,3}", name))
wells = st.sampled_from(["A01", "A02", "A10", "B01", "H12", "Z1", "AA1", "AF48"])


@given(st.lists(numbers))
def test_numbers_are_sorted(values):
    axis = Axis("t")
    for position, value in enumerate(values):
        assert axis.add(value) == (value not in values[:position])
    expected = sorted(set(values))
    assert axis.view().values[: axis.view().length] == expected and len(axis) == len(expected)
    assert all(expected[axis.index(value)] == value for value in values)


@given(st.lists(st.one_of(names, st.integers(0, 5)), min_size=1))
def test_numbers_come_first_and_names_keep_the_order_of_their_arrival(values):
    axis = Axis("well")
    for value in values:
        axis.add(value)
        axis.view()
    seen = list(dict.fromkeys(values))
    names = [value for value in seen if isinstance(value, str)]
    expected = sorted(value for value in seen if not isinstance(value, str)) + names
    assert axis.view().values == expected
    assert all(expected[axis.index(value)] == value for value in values)


@given(st.lists(st.one_of(wells, st.integers(0, 5))), st.booleans())
def test_wells_lie_as_on_their_plate_whatever_is_done_first(values, is_watched):
    axis = Axis("well")
    for value in values:
        axis.add(value)
        if is_watched:
            axis.view()
    plate = ["A01", "A02", "A10", "B01", "H12", "Z1", "AA1", "AF48"]
    expected = [*range(6), *plate]
    expected = [value for value in expected if value in values]
    assert axis.view().values[: axis.view().length] == expected
    assert all(expected[axis.index(value)] == value for value in values)


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_word_that_is_no_well_leaves_all_where_they_are(is_watched):
    axis = Axis("well")
    for value in ("B01", "A01", "mock", "A00", "B00"):
        axis.add(value)
        if is_watched:
            axis.view()
    assert axis.view().values == ["A01", "B01", "mock", "A00", "B00"]


@given(st.lists(st.one_of(numbers, wells), min_size=1), st.data())
def test_a_view_never_changes(values, data):
    axis = Axis("t")
    split = data.draw(st.integers(0, len(values)))
    for value in values[:split]:
        axis.add(value)
    view = axis.view()
    before = list(view.values[: view.length])
    for value in values[split:]:
        axis.add(value)
    assert view.values[: view.length] == before


def test_a_view_of_a_long_axis_costs_nothing():
    axis = Axis("t")
    for value in range(1000):
        axis.add(value)
    assert axis.view().values is axis.view().values


def test_all_layers_share_their_axes_and_a_new_one_comes_first():
    axes = Axes()
    assert axes.add({"t": 1})
    assert not axes.add({"t": 1})
    assert axes.add({"t": 2})
    assert axes.add({"c": "DAPI", "well": "A01"})
    assert [axis.name for axis in axes.spanning({"t"})] == ["t"]
    assert [axis.name for axis in axes.spanning({"well"})] == ["well", "t"]
    assert [axis.name for axis in axes.spanning({"c", "t"})] == ["c", "well", "t"]
    assert axes.spanning(()) == []
    assert axes["t"].index(2) == 1
    assert axes.add({}) is False


@pytest.mark.parametrize("value", [1.0, True])
def test_equal_numbers_are_one_place(value):
    axis = Axis("t")
    assert axis.add(1) and not axis.add(value)
    assert axis.index(value) == 0
