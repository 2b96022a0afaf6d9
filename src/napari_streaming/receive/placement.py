"""Named coordinates → axes: which values each dimension has, and in which order.

Numbers are kept sorted, names in the order of their arrival. All layers share the axes, so
that one slider moves them all. A dimension that turns up later becomes an axis *before*
the others: napari lines layers up from their last axis, so those that are there stay
where they are.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_streaming.wire.messages import Coordinate

__all__ = ["Axes", "Axis", "AxisView"]

_FAR = 1e9  # positions beyond the last value: no slider goes there
_HUGE, _TINY = 1e300, np.finfo(float).tiny  # so that no difference of two is infinite, or none


@dataclass(frozen=True, slots=True)
class AxisView:
    """An axis as it was at one moment; cheap, however long it is.

    Parameters
    ----------
    name : str
    values : list
        Shared with the axis, which only ever appends to it.
    length : int
        How many of them count.
    """

    name: str
    values: list[Any]
    length: int


class Axis:
    """The values of one dimension.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._values: list[Any] = []
        self._known: set[Coordinate] = set()
        self._is_numeric = True

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: Coordinate) -> bool:
        """Take in a value; return whether it is new."""
        if value in self._known:
            return False
        self._known.add(value)
        self._is_numeric = self._is_numeric and not isinstance(value, str)
        if not self._is_numeric or not self._values or value > self._values[-1]:
            self._values.append(value)
        else:
            # Views share the list: it may grow, but what is in it must not move.
            values = self._values.copy()
            bisect.insort(values, value)
            self._values = values
        return True

    def view(self) -> AxisView:
        """Return the axis as it is now."""
        return AxisView(self.name, self._values, len(self._values))

    def index(self, value: Coordinate) -> int:
        """Return where a value stands now."""
        if self._is_numeric:
            return bisect.bisect_left(self._values, value)
        return self._values.index(value)

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        """Return where numbers stand: between the values, and beyond them as far apart.

        Along an axis of names, which has no between, numbers are positions.
        """
        if not self._is_numeric or not self._values:
            return numbers
        numbers, values = (
            np.clip(n, -_HUGE, _HUGE) for n in (numbers, np.array(self._values, float))
        )
        steps = np.maximum(np.diff(values), _TINY) if len(values) > 1 else np.ones(1)
        with np.errstate(over="ignore"):
            before = np.clip((numbers - values[0]) / steps[0], -_FAR, 0)
            behind = np.clip((numbers - values[-1]) / steps[-1], 0, _FAR)
        positions: np.ndarray = np.interp(numbers, values, np.arange(len(values))) + before + behind
        return positions


class Axes:
    """The axes that all layers share, from the slowest to the fastest."""

    def __init__(self) -> None:
        self._axes: list[Axis] = []

    def add(self, at: Mapping[str, Coordinate]) -> bool:
        """Take in the coordinates of an item; return whether anything is new."""
        known = {axis.name for axis in self._axes}
        fresh = [Axis(name) for name in at if name not in known]
        self._axes = fresh + self._axes
        added = [axis.add(at[axis.name]) for axis in self._axes if axis.name in at]
        return any(added)

    def spanning(self, names: Iterable[str]) -> list[Axis]:
        """Return the axes from the first of these on: what a layer with them must have."""
        wanted = set(names)
        for position, axis in enumerate(self._axes):
            if axis.name in wanted:
                return self._axes[position:]
        return []

    def __getitem__(self, name: str) -> Axis:
        return next(axis for axis in self._axes if axis.name == name)
