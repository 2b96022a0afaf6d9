"""From the selections that zarr takes to the regions of an array that they choose."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from napari_streaming.publish.outlet import Region

__all__ = ["blocks", "everything", "is_at_hand", "points", "product"]


def everything(
    shape: tuple[int, ...], dtype: np.dtype[Any], value: Any
) -> Iterator[tuple[Region, np.ndarray | None]]:
    """Return the region that is all of an array, and what was written there.

    Parameters
    ----------
    shape, dtype
        Of the array.
    value : array-like
        As it was given to zarr.

    Yields
    ------
    region : Region
    data : ndarray, optional
        None: it must be read back.
    """
    region = tuple(range(length) for length in shape)
    yield region, _given(value, dtype, shape, shape)


def product(
    selection: Any, shape: tuple[int, ...], dtype: np.dtype[Any], value: Any
) -> Iterator[tuple[Region, np.ndarray | None]]:
    """Return the region of a selection that chooses along each axis on its own.

    Parameters
    ----------
    selection : tuple or one of its elements
        Integers, slices, sequences of integers or of booleans, and an Ellipsis.
    shape, dtype, value
        As for :func:`everything`.
    """
    region, lengths = _product(selection, shape)
    yield region, _given(value, dtype, lengths, tuple(map(len, region)))


def blocks(
    selection: Any,
    sizes: Sequence[int],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    value: Any,
) -> Iterator[tuple[Region, np.ndarray | None]]:
    """Return the region of a selection of whole blocks.

    Parameters
    ----------
    selection : tuple or one of its elements
        Integers and slices that count blocks.
    sizes : sequence of int
        Of a block.
    shape, dtype, value
        As for :func:`everything`.
    """
    counts = [-(-length // size) for length, size in zip(shape, sizes, strict=True)]
    chosen, _ = _product(selection, counts)
    region = tuple(
        range(one[0] * size, min((one[-1] + 1) * size, length)) if len(one) else range(0)
        for one, size, length in zip(chosen, sizes, shape, strict=True)
    )
    lengths = tuple(map(len, region))
    yield region, _given(value, dtype, lengths, lengths)


def points(
    coordinates: Sequence[Any], shape: Sequence[int], plane: Sequence[int]
) -> Iterator[tuple[Region, None]]:
    """Return the regions around single elements: in each plane the box that holds all of them.

    Parameters
    ----------
    coordinates : sequence of array-like of int
        For each axis, where the elements are.
    shape : sequence of int
        Of the array.
    plane : sequence of int
        Which of its axes are a plane's.
    """
    spread = np.broadcast_arrays(*(np.asarray(one) for one in coordinates))
    where = np.stack([one.ravel() % n for one, n in zip(spread, shape, strict=True)])
    if not where.size:
        return
    lead = [i for i in range(len(shape)) if i not in plane]
    planes, which = np.unique(where[lead], axis=1, return_inverse=True)
    which = which.ravel()
    by_plane = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[by_plane], np.arange(planes.shape[1]))
    low = np.minimum.reduceat(where[:, by_plane], starts, axis=1).tolist()
    high = np.maximum.reduceat(where[:, by_plane], starts, axis=1).tolist()
    for number in range(planes.shape[1]):
        box = (range(low[i][number], high[i][number] + 1) for i in range(len(shape)))
        yield tuple(box), None


def _product(selection: Any, shape: Sequence[int]) -> tuple[Region, tuple[int, ...]]:
    """Return a region, and the shape of what is chosen: axes with one number are gone."""
    region: list[Sequence[int]] = []
    lengths: list[int] = []
    for one, length in zip(_for_each_axis(selection, len(shape)), shape, strict=True):
        if isinstance(one, slice):
            region.append(range(*one.indices(length)))
        elif np.ndim(one) == 0:
            index = operator.index(one) % length
            region.append(range(index, index + 1))
            continue
        else:
            region.append(_indices(one, length))
        lengths.append(len(region[-1]))
    return tuple(region), tuple(lengths)


def _for_each_axis(selection: Any, ndim: int) -> list[Any]:
    chosen = list(selection) if isinstance(selection, tuple) else [selection]
    missing = [slice(None)] * (ndim - len(chosen) + 1)
    for place, one in enumerate(chosen):
        if one is Ellipsis:
            return [*chosen[:place], *missing, *chosen[place + 1 :]]
    return [*chosen, *missing[1:]]


def _indices(chosen: Any, length: int) -> Sequence[int]:
    array = np.asarray(chosen)
    indices = np.flatnonzero(array) if array.dtype == bool else array % length
    if len(indices) and (np.diff(indices) == 1).all():
        return range(int(indices[0]), int(indices[-1]) + 1)
    return [int(index) for index in indices]


def _given(
    value: Any, dtype: np.dtype[Any], lengths: tuple[int, ...], full: tuple[int, ...]
) -> np.ndarray | None:
    """Return a value as it is written, if it is at hand, with an axis for each of the array's."""
    if not is_at_hand(value):
        return None
    array = np.asarray(value)
    if array.ndim and array.shape != lengths:
        return None
    return np.broadcast_to(array.astype(dtype, copy=False), lengths).reshape(full)


def is_at_hand(value: Any) -> bool:
    """Whether looking at a value once more costs nothing: others may have to be computed."""
    return isinstance(value, (np.ndarray, np.generic, bool, int, float, list, tuple))
