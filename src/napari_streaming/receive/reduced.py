"""Planes of which only every so many pixels came, read as if all were there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import numpy as np

from napari_streaming.wire.messages import Declare, Item

__all__ = ["Reduced", "Whole"]

Key: TypeAlias = "tuple[int | slice | EllipsisType, ...]"


@dataclass(frozen=True, slots=True)
class Whole:
    """A plane, or a part of one, of which some pixels were taken.

    Parameters
    ----------
    shape : tuple of int
    steps : tuple of int
        Every how many pixels, along each axis. The last one that was taken may stand for fewer.
    """

    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, item: Item, declare: Declare, taken: Sequence[int]) -> Whole:
        """Return what pixels of an item were taken from.

        Parameters
        ----------
        item : Item
            One that :func:`~napari_streaming.receive.checks.mismatch` has nothing against.
        declare : Declare
            What was said of its stream.
        taken : sequence of int
            How many pixels there are along each axis.
        """
        y = len(declare.axes) - 2
        steps = tuple(item.step if axis in (y, y + 1) else 1 for axis in range(len(taken)))
        first = item.offset + (0,) * (len(taken) - len(item.offset))
        lengths = zip(taken, steps, declare.shape, first, strict=True)
        return cls(tuple(min(n * s, end - at) for n, s, end, at in lengths), steps)


class Reduced:
    """A plane, each pixel of which stands for several; only what is asked for is enlarged.

    Parameters
    ----------
    pixels : ndarray
        Those that came.
    whole : Whole
        What they were taken from.

    Attributes
    ----------
    shape : tuple of int
        Of the whole.
    """

    def __init__(self, pixels: np.ndarray, whole: Whole) -> None:
        self.shape = whole.shape
        self._pixels, self._steps = pixels, whole.steps

    def __getitem__(self, key: Key) -> np.ndarray:
        """Return a part of the plane; only integers from 0, slices and an Ellipsis at the end."""
        chosen = tuple(one for one in key if not isinstance(one, EllipsisType))
        chosen += (slice(None),) * (len(self.shape) - len(chosen))
        near, rest = list[slice](), list[int | slice]()
        for one, step, length in zip(chosen, self._steps, self.shape, strict=True):
            along = range(length)[one] if isinstance(one, slice) else range(length)[one : one + 1]
            first, last = (min(along), max(along)) if along else (0, -1)
            start = first // step
            near.append(slice(start, last // step + 1))
            within = range(along.start - start * step, along.stop - start * step, along.step)
            rest.append(_index(within) if isinstance(one, slice) else within[0])
        enlarged = self._pixels[tuple(near)]
        for axis, step in enumerate(self._steps):
            if step > 1:  # a publisher may say any number
                enlarged = np.repeat(enlarged, min(step, self.shape[axis]), axis)
        return enlarged[tuple(rest)]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[(...,)], dtype)  # type: ignore[call-overload,no-any-return]


def _index(along: range) -> slice:
    stop = None if along.stop < 0 else along.stop
    return slice(along.start, stop, along.step) if along else slice(0, 0)
