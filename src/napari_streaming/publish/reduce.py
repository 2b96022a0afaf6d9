"""Smaller planes for one viewer: of a region, and of that every so many pixels."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_streaming.publish.staging import Parcel, Staged
from napari_streaming.wire.messages import PLANE_KINDS, Subscribe

__all__ = ["Cut", "Reducer", "Reduction"]

_KEPT = 16 * 1024 * 1024  # bytes of planes that the next viewer may want as well


@dataclass(frozen=True, slots=True)
class Cut:
    """Which pixels of a parcel's array are sent.

    Parameters
    ----------
    axis : int
        Which of the array's axes is y; x is the next.
    rows, columns : range
        What is taken along these.
    step : int
        Every how many pixels. A range of one number does not know.
    offset : tuple of int
        Where the first of these pixels lies in the plane; empty where what they stand for is
        all of it.
    nbytes : int
        Their size; 0 if the parcel has none that are wanted.
    """

    axis: int
    rows: range
    columns: range
    step: int
    offset: tuple[int, ...]
    nbytes: int

    def extra(self) -> dict[str, Any]:
        """Return the fields of the Item that say where they lie."""
        said: dict[str, Any] = {"step": self.step}
        return said | {"offset": self.offset} if self.offset else said

    def apply(self, array: Staged) -> Staged:
        """Return an array with only these pixels.

        Raises
        ------
        OSError
            It is on disk, which does not give it back.
        """
        every = np.frombuffer(array.buffer(), array.dtype).reshape(array.shape)
        some = every[(slice(None),) * self.axis + tuple(map(_slice, (self.rows, self.columns)))]
        return Staged(array.name, array.dtype, some.shape, None, some.tobytes())


class Reduction:
    """What one viewer wants of each plane.

    Parameters
    ----------
    wish : Subscribe
        What it said.
    """

    def __init__(self, wish: Subscribe) -> None:
        self._side, self._region = wish.max_side, wish.region

    def cut(self, parcel: Parcel) -> Cut | None:
        """Return what is sent of a parcel; None: all of it, as it is."""
        declare = parcel.declare
        if not self._side and self._region is None:
            return None
        if declare is None or declare.kind not in PLANE_KINDS:
            return None
        (array,) = parcel.arrays
        y = len(declare.axes) - 2
        axis = len(array.shape) - len(declare.shape) + y
        here = array.shape[axis : axis + 2]
        at = parcel.extra.get("offset") or (0,) * len(declare.axes)
        plane = declare.shape[y : y + 2]
        region = self._region or (0, 0, *plane)
        low = region[:2]
        high = (min(region[2], plane[0]), min(region[3], plane[1]))
        step = self._step(high[0] - low[0], high[1] - low[1])
        rows, columns = (_taken(at[y + i], here[i], low[i], high[i], step) for i in range(2))
        if step == 1 and (len(rows), len(columns)) == here:
            return None
        count = parcel.nbytes // max(1, here[0] * here[1]) * len(rows) * len(columns)
        is_all = low == (0, 0) and high == plane and here == plane
        offset = () if is_all else (*at[:y], at[y] + rows.start, at[y + 1] + columns.start)
        return Cut(axis, rows, columns, step, offset, count)

    def _step(self, *lengths: int) -> int:
        return max(1, -(-max(lengths) // self._side)) if self._side else 1


def _taken(at: int, length: int, low: int, high: int, step: int) -> range:
    """Return which pixels of a part are taken along an axis, counted from its first.

    Parameters
    ----------
    at, length : int
        Where in the plane the part lies.
    low, high : int
        What of the plane is wanted.
    step : int
        Every so many pixels from `low`, so that parts fit together.
    """
    first = low + max(0, -(-(at - low) // step)) * step - at
    return range(first, max(first, min(length, high - at)), step)


def _slice(chosen: range) -> slice:
    return slice(chosen.start, chosen.stop, chosen.step)


class Reducer:
    """Makes smaller parcels, once for all viewers that want the same. One thread at a time."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, int, Cut], Parcel] = OrderedDict()
        self._nbytes = 0

    def reduce(self, parcel: Parcel, cut: Cut) -> Parcel:
        """Return what is sent of a parcel, as one whose arrays nobody has to free.

        Raises
        ------
        OSError
            It is on disk, which does not give it back.
        """
        key = (parcel.stream, parcel.sequence, cut)
        if (known := self._made.get(key)) is not None:
            return known
        arrays = tuple(map(cut.apply, parcel.arrays))
        extra = {**parcel.extra, **cut.extra()}
        small = Parcel(
            parcel.stream, parcel.sequence, parcel.time, parcel.at, arrays, cut.nbytes, extra,
            parcel.reliable, parcel.name, parcel.declare,
        )  # fmt: skip
        self._made[key] = small
        self._nbytes += small.nbytes
        while self._nbytes > _KEPT:
            self._nbytes -= self._made.popitem(last=False)[1].nbytes
        return small
