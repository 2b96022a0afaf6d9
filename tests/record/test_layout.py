from __future__ import annotations

import pytest
import yaozarrs.v05
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.record.image import _axis
from napari_streaming.record.layout import Positions, lay_out
from napari_streaming.wire.messages import Declare


def image(axes="yx", rgb=False, shape=None):
    shape = shape or (8,) * len(axes) + (3,) * rgb
    return Declare(
        stream=0, name="n", kind="image", dtype="|u1", shape=shape, axes=tuple(axes), rgb=rgb
    )


@pytest.mark.parametrize(
    ("axes", "rgb", "at", "dimensions", "split"),
    [
        ("yx", False, {}, "yx", ()),
        ("yx", False, {"z": 0, "c": "DAPI", "t": 3}, "tczyx", ()),
        ("zyx", False, {"c": "DAPI", "t": 3}, "tczyx", ()),
        ("zyx", False, {"z ": 1}, ["z ", "z", "y", "x"], ()),
        ("yx", False, {"well": "A01", "t": 0}, "tyx", ("well",)),
        ("yx", False, {"iteration": 0}, ["iteration", "y", "x"], ()),
        ("yx", False, {"iteration": 0, "c": 1}, ["iteration", "y", "x"], ("c",)),
        ("yx", True, {"t": 0}, "tcyx", ()),
        ("yx", True, {"t": 0, "c": 1}, ["t", "rgb", "y", "x"], ("c",)),
        ("cyx", False, {"z": 0, "t": 0}, "tczyx", ()),
        ("zyx", False, {"depth": 0}, ["z", "y", "x"], ("depth",)),
    ],
)
def test_coordinates_become_dimensions(axes, rgb, at, dimensions, split):
    layout = lay_out(image(axes, rgb), at)
    assert [one.name for one in layout.dimensions] == list(dimensions)
    assert layout.split == split
    assert layout.is_ome


words = st.sampled_from(["t", "time", "c", "channel", "z", "depth", "well", "site", "n", "y", "q"])


@given(
    axes=st.lists(words, min_size=2, max_size=5, unique=True),
    rgb=st.booleans(),
    at=st.dictionaries(words, st.integers(0, 5) | st.sampled_from(["a", "b"]), max_size=6),
)
def test_whatever_is_called_ome_is_valid(axes, rgb, at):
    at = {name: value for name, value in at.items() if name not in axes}
    layout = lay_out(image(axes, rgb), at)
    assert {*layout.stacked, *layout.split} == at.keys()
    assert not {*layout.stacked} & {*layout.split}
    assert sorted(layout.order) == list(range(len(layout.dimensions)))
    assert list(layout.order[: len(layout.stacked)]) == sorted(layout.order[: len(layout.stacked)])
    if layout.is_ome:
        scale = yaozarrs.v05.ScaleTransformation(scale=[1.0] * len(layout.dimensions))
        yaozarrs.v05.Multiscale(
            axes=[_axis(one.name, one.role, "") for one in layout.dimensions],
            datasets=[yaozarrs.v05.Dataset(path="0", coordinateTransformations=[scale])],
        )


def test_small_counts_are_positions():
    positions = Positions(3)
    assert [positions.index(n) for n in (3, 0, 2.0)] == [3, 0, 2]
    assert positions.values == [0, 1, 2, 3]
    assert positions.takes(4000)
    assert not any(map(positions.takes, (-1, 0.5, "a", 10**9)))


@pytest.mark.parametrize("first", ["a", 0.5, -1, 100, 10**15])
def test_other_values_stand_as_they_came(first):
    positions = Positions(first)
    values = [first, 7, "b", 7, first, -2.5]
    assert [positions.index(v) for v in values] == [0, 1, 2, 1, 0, 3]
    assert positions.values == [first, 7, "b", -2.5]
