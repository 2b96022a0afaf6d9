"""How a stream's planes make up OME-Zarr images, which have at most five dimensions.

OME-Zarr knows one axis of time, one of channels or of anything else, and two or three of space,
in this order. Of an item's coordinates those that fit become dimensions; each combination of the
others is an image of its own: one for each well, say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from napari_streaming.wire.messages import Coordinate, Declare

__all__ = ["Dimension", "Layout", "Positions", "lay_out"]

Role = Literal["time", "channel", "other", "space"]

_TIMES = ("t", "time", "frame", "timepoint")
_CHANNELS = ("c", "channel")
_DEPTHS = ("z", "depth")
_RANKS: tuple[Role, ...] = ("time", "channel", "other", "space")
_FARTHEST = 4096


@dataclass(frozen=True, slots=True)
class Dimension:
    """A dimension of an array.

    Parameters
    ----------
    name : str
    role : {"time", "channel", "other", "space"}
        What OME-Zarr calls its type.
    plane_axis : int
        Which axis of the plane it is; -1: it is a coordinate.
    """

    name: str
    role: Role
    plane_axis: int = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """The dimensions of the arrays of a stream.

    Parameters
    ----------
    dimensions : tuple of Dimension
        In the order of the array.
    stacked : tuple of str
        The coordinates that are dimensions, in the order of the array.
    split : tuple of str
        The coordinates that are not.
    is_ome : bool
        Whether these are dimensions that OME-Zarr can have.
    """

    dimensions: tuple[Dimension, ...]
    stacked: tuple[str, ...]
    split: tuple[str, ...]
    is_ome: bool

    @property
    def order(self) -> tuple[int, ...]:
        """The dimensions as they lie in memory: coordinates, then the plane's axes."""
        stacked = [i for i, one in enumerate(self.dimensions) if one.plane_axis < 0]
        inner = [i for i, one in enumerate(self.dimensions) if one.plane_axis >= 0]
        return (*stacked, *sorted(inner, key=lambda i: self.dimensions[i].plane_axis))


def lay_out(declare: Declare, at: Mapping[str, Coordinate]) -> Layout:
    """Return the layout of a stream's items that have coordinates of these names.

    Parameters
    ----------
    declare : Declare
    at : mapping of str to Coordinate
        Of the first such item.
    """
    inner = [Dimension(name, _role(name), i) for i, name in enumerate(declare.axes)]
    if declare.rgb:
        colour = "c" if "c" not in (*declare.axes, *at) else "rgb"
        inner.append(Dimension(colour, "channel", len(inner)))
    taken = [one.role for one in inner]
    outer: list[Dimension] = []
    for name, value in at.items():
        role = _role(name)
        if role == "space" and name.lower() not in _DEPTHS:
            role = "other"
        if _has_room(role, taken) and not (role == "other" and isinstance(value, str)):
            taken.append(role)
            outer.append(Dimension(name, role))
    outer.sort(key=lambda one: _RANKS.index(one.role))
    # Stable: within space, coordinates come before the plane's axes.
    dimensions = tuple(sorted((*outer, *inner), key=lambda one: _RANKS.index(one.role)))
    stacked = tuple(one.name for one in outer)
    is_ome = (
        taken.count("space") in (2, 3)
        and taken.count("time") < 2
        and taken.count("channel") + taken.count("other") < 2
        and len({one.name for one in dimensions}) == len(dimensions)
    )
    return Layout(dimensions, stacked, tuple(n for n in at if n not in stacked), is_ome)


def _role(name: str) -> Role:
    lower = name.lower()
    return "time" if lower in _TIMES else "channel" if lower in _CHANNELS else "space"


def _has_room(role: Role, taken: list[Role]) -> bool:
    if role == "space":
        return taken.count("space") < 3
    if role == "time":
        return "time" not in taken
    return "channel" not in taken and "other" not in taken


class Positions:
    """Where the values of one coordinate are along its dimension.

    Small whole numbers are positions themselves, so that what comes out of order is in its
    order in the array. Any other values stand in the order of their arrival.
    """

    def __init__(self, first: Coordinate) -> None:
        self.is_counted = _is_count(first) and first < 64  # type: ignore[operator]
        self._known: dict[Coordinate, int] = {}
        self.length = 0

    @property
    def values(self) -> list[Coordinate]:
        """The value at each position."""
        return list(range(self.length)) if self.is_counted else list(self._known)

    def takes(self, value: Coordinate) -> bool:
        """Whether a value has a position here."""
        if not self.is_counted:
            return True
        return _is_count(value) and value < self.length + _FARTHEST  # type: ignore[operator]

    def index(self, value: Coordinate) -> int:
        """Return the position of a value."""
        if self.is_counted:
            position = int(value)
            self.length = max(self.length, position + 1)
        else:
            position = self._known.setdefault(value, len(self._known))
            self.length = len(self._known)
        return position


def _is_count(value: Coordinate) -> bool:
    return not isinstance(value, str) and float(value).is_integer() and value >= 0
