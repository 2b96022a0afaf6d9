"""Several arrays as one with the axes that OME knows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.base import Batch
from napari_streaming.pipeline.values import About, Coordinates
from napari_streaming.wire.messages import Coordinate

__all__ = [
    "Record",
    "Stack",
    "axis_of",
    "check_apart",
    "is_colour",
    "positions",
    "stack",
    "take_apart",
]

_ORDER = "tczyxs"
_NAMES = {
    "t": ("t", "time", "timepoint", "frame"),
    "c": ("c", "channel", "wavelength"),
    "z": ("z", "slice", "depth"),
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names}


class Record(msgspec.Struct, frozen=True):
    """How the arrays lay before they became one; it is kept in the file.

    `axes` are those of each array, `index` is where each lies along the other axes of the
    whole, `shape` and `dtype` are those of the whole and of each, and `at` says where each
    belongs.
    """

    axes: list[str]
    index: list[dict[str, int]]
    shape: list[int]
    dtype: str
    at: list[dict[str, Coordinate]]


@dataclass(frozen=True, slots=True)
class Stack:
    """Arrays as one.

    Parameters
    ----------
    array : ndarray
        A view of what was given, if that was one array.
    axes : tuple of str
        Of ``t, c, z, y, x, s`` those that `array` has, in this order; ``s`` is colour.
    channels : tuple of str
        Names of the channels, if there are any.
    scale : mapping of str to float
        Of the axes of which it is known.
    units : mapping of str to str
        Likewise.
    record : Record
    rgb : bool
        Whether planes are colour.
    """

    array: np.ndarray
    axes: tuple[str, ...]
    channels: tuple[str, ...]
    scale: Mapping[str, float]
    units: Mapping[str, str]
    record: Record
    rgb: bool


def axis_of(name: str) -> str | None:
    """Return which of t, c and z a coordinate of this name runs along."""
    return _LETTERS.get(name.lower())


def is_colour(array: np.ndarray) -> bool:
    """Return whether the last axis of an array is colour: the same guess as Publisher.image's."""
    return array.ndim >= 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8


def stack(batch: Batch, colour: str = "s") -> Stack:
    """Make one array of those of a batch.

    Parameters
    ----------
    batch : Batch
        Of images or labels.
    colour : {"s", "c"}
        What a plane's axis of colour is called.

    Returns
    -------
    Stack

    Raises
    ------
    DataError
        The arrays differ in shape or dtype, or their coordinates cannot be axes.
    """
    first = _array(batch.values[0])
    for value in batch.values[1:]:
        other = _array(value)
        if (other.shape, other.dtype) != (first.shape, first.dtype):
            raise DataError(
                f"its arrays differ: {first.shape} of {first.dtype} and {other.shape} of "
                f"{other.dtype}; give each its own path, or make them alike"
            )
    own = _own_axes(first, batch)
    rgb = batch.kind == "image" and len(own) == first.ndim - 1
    own += (colour,) * rgb
    if len(own) != first.ndim or len(set(own)) != len(own):
        raise DataError(
            f"axes {tuple(batch.about.axes) or 'by default'} for an array of shape {first.shape}: "
            "a file has the axes t, c, z, y, x, each once at most"
        )
    index, along = positions(batch.at)
    if twice := along.keys() & set(own):
        raise DataError(
            f"its arrays lie along {min(twice)}, and have an axis {min(twice)} of their own: "
            "give each its own path"
        )
    axes = tuple(sorted((*along, *own), key=_ORDER.index))
    sorted_own = [axis for axis in axes if axis in own]
    transposed = [own.index(axis) for axis in sorted_own]
    sizes = dict(zip(own, first.shape, strict=True)) | {a: len(v) for a, v in along.items()}
    shape = [sizes[axis] for axis in axes]
    if along:
        # What was not given is zero: a stack of one channel beside planes of another.
        array = np.zeros(shape, first.dtype.newbyteorder("="))
        for value, here in zip(batch.values, index, strict=True):
            array[_key(axes, here)] = _array(value).transpose(transposed)
    else:
        array = first.transpose(transposed)
    scale, units = _said(batch.about, own[: first.ndim - rgb], along)
    record = Record(
        list(own), index, shape, first.dtype.newbyteorder("=").str, [dict(at) for at in batch.at]
    )
    channels = along.get("c", () if "c" in own else _common_channel(batch.at))
    return Stack(array, axes, tuple(map(str, channels)), scale, units, record, rgb)


def take_apart(array: np.ndarray, record: Record) -> list[np.ndarray]:
    """Return the arrays that one was made of.

    Parameters
    ----------
    array : ndarray
        The whole.
    record : Record

    Returns
    -------
    list of ndarray
        Views.
    """
    lead = {axis for here in record.index for axis in here}
    axes = sorted((*lead, *record.axes), key=_ORDER.index)
    left = [axis for axis in axes if axis in record.axes]
    back = [left.index(axis) for axis in record.axes]
    return [array[_key(axes, here)].transpose(back) for here in record.index]


def positions(
    at: Sequence[Coordinates],
) -> tuple[list[dict[str, int]], dict[str, list[Coordinate]]]:
    """Return where values lie along the coordinates that tell them apart.

    Parameters
    ----------
    at : sequence of mapping

    Returns
    -------
    index : list of dict of str to int
        For each value its position along each axis.
    along : dict of str to list
        For each of the axes ``t, c, z`` that is needed, the coordinates along it.

    Raises
    ------
    DataError
        The coordinates do not tell the values apart, or along something else.
    """
    if len(at) == 1:
        return [{}], {}
    if len({frozenset(here) for here in at}) != 1:
        raise DataError(
            "its values do not all have the same coordinates: "
            f"{', '.join(sorted({str(sorted(here)) for here in at}))}"
        )
    along: dict[str, list[Coordinate]] = {}
    named: dict[str, str] = {}
    for name in at[0]:
        values = list(dict.fromkeys(here[name] for here in at))
        if len(values) == 1:
            continue
        axis = axis_of(name)
        if axis is None or axis in along:
            raise DataError(
                f"its values differ in {name!r}, for which a file has no axis beside t, c and z: "
                f"put it into the path, like A01_{name}{values[0]}"
            )
        if all(isinstance(value, int | float) for value in values):
            values.sort()
        along[axis], named[axis] = values, name
    where = [{axis: along[axis].index(here[named[axis]]) for axis in along} for here in at]
    check_apart(at)
    return where, along


def check_apart(at: Sequence[Coordinates]) -> None:
    """Refuse several values of which one would take the place of another.

    Raises
    ------
    DataError
        Two of them have the same coordinates.
    """
    if len({frozenset(here.items()) for here in at}) != len(at):
        raise DataError(
            f"it was given {len(at)} values, and their coordinates do not tell them apart: "
            "say where each belongs with at=, or give each its own path"
        )


def _array(value: object) -> np.ndarray:
    assert isinstance(value, np.ndarray)
    return value


def _key(axes: Sequence[str], here: Mapping[str, int]) -> tuple[int | slice, ...]:
    return tuple(here.get(axis, slice(None)) for axis in axes)


def _own_axes(array: np.ndarray, batch: Batch) -> tuple[str, ...]:
    """Return a letter for each axis of an array, except that of colour."""
    own = tuple(axis_of(axis) or axis.lower() for axis in batch.about.axes)
    if not own:
        rgb = batch.kind == "image" and is_colour(array)
        own = tuple("tczyx"[-(array.ndim - rgb) :]) if 2 <= array.ndim - rgb <= 5 else ()
    if not {"y", "x"} <= set(own) <= set("tczyx"):
        raise DataError(
            f"axes {tuple(batch.about.axes) or 'by default'} for an array of shape {array.shape}: "
            "a file has the axes t, c, z, y, x, y and x always"
        )
    return own


def _said(
    about: About, own: Sequence[str], along: Mapping[str, object]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return scale and units by axis; they run along the last axes, without colour."""
    axes = ["z", *own] if "z" in along else list(own)
    scale = dict(zip(reversed(axes), (float(s) for s in reversed(about.scale)), strict=False))
    if isinstance(about.units, str):
        spatial = {axis for axis in axes if axis in "zyx"}
        return scale, dict.fromkeys(spatial, about.units) if about.units else {}
    units = dict(zip(reversed(axes), map(str, reversed(about.units)), strict=False))
    return scale, {axis: unit for axis, unit in units.items() if unit}


def _common_channel(at: Sequence[Coordinates]) -> list[Coordinate]:
    """Return the one channel that all arrays are of, if they say which."""
    return [value for name, value in at[0].items() if axis_of(name) == "c"][:1]
