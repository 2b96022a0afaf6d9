"""Where a placement shows what came, and what a plane looks like there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.publish.staging import split_coordinates
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.layer_view import Transform
from napari_streaming.receive.placement import Place
from napari_streaming.wire.messages import Declare


def declare(name="a", **changes):
    fields = {"kind": "image", "dtype": "<i8", "shape": (2, 3), "axes": ("y", "x")}
    return Declare(stream=0, name=name, **(fields | changes))


def plane(value, shape=(2, 3)):
    return np.full(shape, value, np.int64)


@pytest.fixture
def catalog():
    return Catalog(budget=1 << 30)


def fill(layer, *, channels=("DAPI", "GFP"), count=3):
    for t in range(count):
        for c, channel in enumerate(channels):
            layer.put_plane({"channel": channel, "t": t}, plane(10 * c + t))


def values(view):
    """Return the value of each plane of a view, in its shape along the stack axes."""
    return np.asarray(view.data)[..., 0, 0].tolist()


# ---- modes -----------------------------------------------------------------------------


def test_all_dimensions_are_axes_at_first(catalog):
    layer = catalog.declare(declare())
    fill(layer)
    (view,) = layer.views()
    assert (view.name, view.stack_axes) == ("a", ("channel", "t"))
    assert values(view) == [[0, 1, 2], [10, 11, 12]]
    assert view.latest == {"channel": 1, "t": 2} and view.received == 6


def test_a_dimension_that_is_split_makes_layers(catalog):
    layer = catalog.declare(declare())
    fill(layer)
    catalog.set_mode("channel", "split")
    dapi, gfp = layer.views()
    assert [dapi.name, gfp.name] == ["a · DAPI", "a · GFP"]
    assert dapi.stack_axes == gfp.stack_axes == ("t",)
    assert [values(dapi), values(gfp)] == [[0, 1, 2], [10, 11, 12]]
    layer.put_plane({"channel": "RFP", "t": 1}, plane(21))  # one that comes late
    assert values(layer.views()[2]) == [0, 21, 0]
    assert layer.views()[2].latest == {"t": 1} and dapi.latest == {"t": 2}
    assert values(layer)[2] == [0, 21, 0], "the layer itself is as it was"


def test_a_dimension_may_have_windows_and_another_one_layers(catalog):
    layer = catalog.declare(declare())
    fill(layer, count=2)
    catalog.set_mode("t", "window")
    catalog.set_mode("channel", "split")
    assert [view.place for view in layer.views()] == [
        Place((("t", t),), (("channel", channel),)) for t in (0, 1) for channel in ("DAPI", "GFP")
    ]
    assert [values(view) for view in layer.views()] == [0, 10, 1, 11]


def test_of_a_dimension_only_the_latest_value_may_be_shown(catalog):
    layer = catalog.declare(declare())
    catalog.set_mode("t", "latest")
    fill(layer)
    (view,) = layer.views()
    assert view.stack_axes == ("channel",) and view.fixed == {"t": 2}
    assert values(view) == [2, 12]
    before = view.data
    layer.put_plane({"channel": "GFP", "t": 3}, plane(13))
    assert values(view) == [0, 13] and not view.data.is_like(before)


def test_changing_the_mode_back_and_forth_loses_nothing(catalog):
    layer = catalog.declare(declare())
    fill(layer)
    for mode in ("split", "latest", "window", "stack"):
        catalog.set_mode("channel", mode)
    (view,) = layer.views()
    assert values(view) == [[0, 1, 2], [10, 11, 12]]
    with pytest.raises(ValueError, match="use one of stack, split"):
        catalog.set_mode("channel", "heap")


def test_items_without_the_split_dimension_are_in_all_its_layers(catalog):
    layer = catalog.declare(declare())
    layer.put_plane({"t": 0}, plane(5))
    catalog.set_mode("channel", "split")
    assert [view.name for view in layer.views()] == ["a"]
    fill(layer, count=2)
    layer.put_plane({"t": 2}, plane(7))
    assert [view.name for view in layer.views()] == ["a · DAPI", "a · GFP"]
    assert [values(view) for view in layer.views()] == [[0, 1, 7], [10, 11, 7]]


def test_a_layer_that_was_discarded_takes_its_own_planes_only(catalog):
    layer = catalog.declare(declare())
    fill(layer)
    catalog.set_mode("channel", "split")
    layer.views()[0].discard()
    layer.put_plane({"channel": "DAPI", "t": 3}, plane(3))
    layer.put_plane({"channel": "GFP", "t": 3}, plane(13))
    (gfp,) = layer.views()
    assert gfp.name == "a · GFP" and values(gfp) == [10, 11, 12, 13]
    assert len(layer.planes) == 4


def test_a_dimension_with_very_many_values_does_not_make_very_many_layers(catalog):
    layer = catalog.declare(declare())
    catalog.set_mode("t", "split")
    for t in range(1000):
        layer.put_plane({"t": t}, plane(t))
    assert len(layer.views()) == 64 and layer.places_left_out == 936


coordinates = st.fixed_dictionaries(
    {}, optional={"c": st.sampled_from("ABC"), "t": st.integers(0, 2), "z": st.integers(0, 1)}
)
modes = st.sampled_from(["stack", "split", "window", "latest"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(coordinates, st.integers(1, 99)), min_size=1, max_size=25),
    st.dictionaries(st.sampled_from("ctz"), modes),
    st.booleans(),
)
def test_every_view_shows_what_a_plain_table_has(items, chosen, early):
    catalog = Catalog(budget=1 << 30)
    layer = catalog.declare(declare(shape=(1, 1)))

    def choose():
        for dimension, mode in chosen.items():
            catalog.set_mode(dimension, mode)

    if early:
        choose()
    table = {}
    for at, value in items:
        layer.put_plane(dict(at), plane(value, (1, 1)))
        table.pop(frozenset(at.items()), None)
        table[frozenset(at.items())] = value
    if not early:
        choose()

    def expected(at):
        """The plane that says most about where it belongs, of equals any one."""
        fits = [key for key in table if key <= at.items()]
        most = max(map(len, fits), default=0)
        return {table[key] for key in fits if len(key) == most} or {0}

    views = layer.views()
    assert len({view.place for view in views}) == len(views) > 0
    for view in views:
        axes = view.coordinates
        shown = np.asarray(view.data)[..., 0, 0]
        assert shown.shape == tuple(map(len, axes.values()))
        for position in np.ndindex(shown.shape):
            at = {n: axes[n][i] for n, i in zip(axes, position, strict=True)} | view.fixed
            assert shown[position] in expected(at)
    for key in table:  # each item is somewhere
        assert any(view.place.fixed.items() >= _placed(key, chosen) for view in views)


def _placed(key, chosen):
    return {(name, value) for name, value in key if chosen.get(name) in ("split", "window")}


# ---- sizes, parts and transforms ---------------------------------------------------------


def test_planes_of_other_sizes_make_another_layer_or_are_padded(catalog):
    first = catalog.declare(declare())
    first.put_plane({"t": 0}, plane(1))
    second = catalog.declare(declare(shape=(3, 2)))
    assert second is not first and second.name == "a [2]"
    catalog.set_sizes("pad")
    before = first.data
    assert catalog.declare(declare(shape=(3, 1))) is first
    first.put_plane({"t": 1}, plane(2, (3, 1)))
    assert first.data.shape == (2, 3, 3) and not first.data.is_like(before)
    assert np.asarray(first.data[0]).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert np.asarray(first.data[1]).tolist() == [[2, 0, 0]] * 3
    assert np.asarray(first.data[:, 1:, :2]).tolist() == [[[1, 1], [0, 0]], [[2, 0], [2, 0]]]
    assert np.asarray(before).shape == (1, 2, 3), "a view keeps its shape"


def test_a_part_of_a_plane_leaves_the_rest_as_it_was(catalog):
    layer = catalog.declare(declare(shape=(3, 3)))
    at = {"t": 0}
    for offset, value in (((0, 0), 1), ((1, 1), 2)):
        canvas = np.empty((3, 3), np.int64)
        layer.put_plane(at, layer.patched(at, offset, plane(value, (2, 2)), canvas))
    assert np.asarray(layer.data[0]).tolist() == [[1, 1, 0], [1, 2, 2], [0, 2, 2]]


def test_each_plane_may_lie_somewhere_else(catalog):
    layer = catalog.declare(declare(scale=(2, 2)))
    elsewhere = Transform((2, 2), (100, 50))
    layer.put_plane({"site": 0, "t": 0}, plane(0))
    assert not layer.has_transforms
    layer.put_plane({"site": 1}, plane(1), elsewhere)
    assert layer.transform_at({"site": 0, "t": 0}) == Transform((2, 2), ())
    assert layer.transform_at({"site": 1, "t": 0}) == elsewhere
    layer.put_plane({"site": 1}, plane(1))
    assert layer.transform_at({"site": 1, "t": 0}) == Transform((2, 2), ())


def test_a_sequence_of_coordinates_is_an_axis():
    assert split_coordinates({"t": 3}) == ({"t": 3}, {})
    here, along = split_coordinates({"z": range(2), "t": 3, "c": ["DAPI", "GFP"]})
    assert (here, along) == ({"t": 3}, {"z": (0, 1), "c": ("DAPI", "GFP")})
    assert list(along) == ["z", "c"]


# ---- new runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["continue", "replace", "beside"])
def test_a_program_that_is_started_again(catalog, policy):
    catalog.set_new_run(policy)
    catalog.run_began("one")
    first = catalog.declare(declare(), "one")
    first.put_plane({"t": 0}, plane(1))
    catalog.run_began("other")  # at the same time
    is_shared = catalog.declare(declare(), "other") is first
    assert is_shared == (policy != "beside") and len(first.planes) == 1
    catalog.run_ended("one")
    catalog.run_ended("other")
    catalog.run_began("one")  # it was only disconnected
    assert catalog.declare(declare(), "one") is first and len(first.planes) == 1
    catalog.run_ended("one")
    catalog.run_began("two")
    second = catalog.declare(declare(), "two")
    assert catalog.declare(declare(), "two") is second
    assert (second is first) == (policy != "beside")
    assert len(first.planes) == (0 if policy == "replace" else 1)
    assert second.name == ("a [3]" if policy == "beside" else "a")


def test_history_that_comes_after_a_preview_is_not_the_newest(catalog):
    layer = catalog.declare(declare())
    layer.put_plane({"t": 9}, plane(9), published=109.0)  # the preview
    for t in range(10):
        layer.put_plane({"t": t}, plane(t), published=100.0 + t)
        assert layer.latest == {"t": t if t == 9 else len(layer.planes) - 1}
        assert layer.views()[0].latest == layer.latest
    catalog.set_mode("t", "latest")
    assert values(layer.views()[0]) == 9
    layer.put_plane({"t": 4}, plane(44), published=120.0)
    assert values(layer.views()[0]) == 44
