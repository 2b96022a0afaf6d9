"""The sets behind a streamed layer of points, shapes, tracks, vectors or a surface."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_streaming.receive.placement import Axis
from napari_streaming.wire.messages import FEATURE_PREFIX, Coordinate, Declare

__all__ = ["GeometryStore"]

_ROWS_EVERYWHERE = 100_000

Arrays = dict[str, np.ndarray]


@dataclass(slots=True)
class _Set:
    """What lies at one place under one key: parts, one after the other."""

    at: dict[str, Coordinate]
    parts: list[Arrays]

    @property
    def rows(self) -> int:
        return sum(len(part["data"]) for part in self.parts)

    def joined(self) -> Arrays:
        """Return all parts as one, and keep them so: the next join has less to do."""
        if len(self.parts) > 1:
            self.parts = [_merge(self.parts)]
        return self.parts[0]


class GeometryStore:
    """Sets of points and the like, at named coordinates and under a key.

    Parameters
    ----------
    declare : Declare
        What the publisher said of the layer.
    """

    def __init__(self, declare: Declare) -> None:
        self._declare = declare
        self._sets: dict[tuple[frozenset[tuple[str, Coordinate]], str], _Set] = {}
        self._newest: dict[str, Coordinate] = {}

    def __len__(self) -> int:
        return len(self._sets)

    def coordinates(self) -> Iterator[dict[str, Coordinate]]:
        """Return where each set is, the newest last."""
        for one in self._sets.values():
            yield one.at

    def clear(self, chosen: Callable[[dict[str, Coordinate]], bool] = lambda _: True) -> None:
        """Let go of the sets at coordinates that are chosen, by default of all."""
        self._sets = {place: one for place, one in self._sets.items() if not chosen(one.at)}

    def put(
        self, at: dict[str, Coordinate], arrays: Arrays, key: str = "", append: bool = False
    ) -> None:
        """Add a set, which replaces the one that was there.

        Parameters
        ----------
        at : dict of str to Coordinate
            Where.
        arrays : dict of str to ndarray
            As in an Item that matches its declaration; they belong to the store from now on.
        key : str
            Sets with different keys stand beside each other.
        append : bool
            Add to what is there instead.
        """
        place = (frozenset(at.items()), key)
        self._newest.update(at)
        if append and place in self._sets:
            self._sets[place].parts.append(arrays)
            return
        # The newest comes last: a viewer then keeps what it has of the others before it.
        self._sets.pop(place, None)
        self._sets[place] = _Set(at, [arrays])

    def join(
        self, axes: Sequence[Axis], fixed: Mapping[str, Coordinate | None] | None = None
    ) -> Arrays:
        """Return all sets as one, placed along the stack axes.

        Coordinates run along `axes`, then along those axes of the layer's own that are not
        among them. A position along a stack axis is that of the set's coordinate, or, if the
        axis is one of the layer's own, of each of its coordinates.

        A set that lacks a coordinate belongs to all values of that axis. If no set has it, all
        stand at position 0, once: it is for the viewer to show them everywhere. If others
        have it, the set is repeated at each value; if that makes more than 100 000 rows,
        at each value that other sets have; if that is still too much, at the newest.

        Parameters
        ----------
        axes : sequence of Axis
            The stack axes.
        fixed : mapping of str to Coordinate or None, optional
            Only the sets that do not contradict these coordinates, none of them in `axes`. Of
            a name with None only those without it.

        Returns
        -------
        dict of str to ndarray
            As in an Item, with `d` the number of all axes: ``data`` is (n, d) of points, (n, 2,
            d) of vectors with no extent along the stack axes, (n, 1 + d) of tracks, (v, d) of
            shapes and surfaces. ``graph`` and ``values`` are always there; a vertex
            without a value has 1.
        """
        fixed = fixed or {}
        chosen = [
            one
            for one in self._sets.values()
            if all(one.at.get(name, value) == value for name, value in fixed.items())
        ]
        spots, pieces = [], []
        for one, places in zip(chosen, self._places(chosen, axes), strict=True):
            for spot in itertools.product(*places):
                spots.append(spot)
                pieces.append(one.joined())
        counts = np.array([len(piece["data"]) for piece in pieces], int)
        joined = _merge([self._nothing(), *pieces])
        front = np.array(spots, float).reshape(len(spots), len(axes)).repeat(counts, axis=0)
        data = joined["data"].astype(np.result_type(joined["data"], np.float32), copy=False)
        joined["data"] = self._placed(data, front, axes)
        return joined

    def _places(self, chosen: Sequence[_Set], axes: Sequence[Axis]) -> list[list[Sequence[int]]]:
        """Return the positions of each set along each axis, as many as the rows allow."""
        known = set().union(*(one.at for one in self._sets.values()))
        shared = [axis for axis in axes if axis.name in known]
        candidates: Iterable[dict[str, Sequence[int]]] = (
            {axis.name: range(len(axis)) for axis in shared},
            {axis.name: self._taken(axis) for axis in shared},
            {axis.name: [axis.index(self._newest[axis.name])] for axis in shared},
        )
        for candidate in candidates:
            places: list[list[Sequence[int]]] = [
                [
                    [axis.index(one.at[axis.name])]
                    if axis.name in one.at
                    else candidate.get(axis.name, [0])
                    for axis in axes
                ]
                for one in chosen
            ]
            times = [math.prod(map(len, place)) for place in places]
            repeated = sum(n * one.rows for n, one in zip(times, chosen, strict=True) if n > 1)
            if repeated <= _ROWS_EVERYWHERE:
                break
        return places

    def _taken(self, axis: Axis) -> list[int]:
        """Return the positions at which sets of this layer have a coordinate."""
        values = {one.at[axis.name] for one in self._sets.values() if axis.name in one.at}
        return sorted(map(axis.index, values))

    def _placed(self, data: np.ndarray, front: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
        """Return the data of an item with coordinates along all axes."""
        if self._declare.kind == "tracks":
            placed = self._along_all(data[:, 1:], front, axes)
            return np.column_stack([data[:, :1], placed])
        if self._declare.kind != "vectors":
            return self._along_all(data, front, axes)
        start, extent = data[:, 0], data[:, 1]
        placed = np.stack([self._along_all(start, front, axes)] * 2, axis=1)
        # The difference of two sums is not what was sent: only where an axis bends it.
        ends = self._along_all(start + extent, front, axes)
        placed[:, 1] = ends - placed[:, 0]
        straight = [i for i, name in enumerate(self._declare.axes) if name not in _names(axes)]
        placed[:, 1, len(axes) :] = extent[:, straight]
        return placed

    def _along_all(
        self, coordinates: np.ndarray, front: np.ndarray, axes: Sequence[Axis]
    ) -> np.ndarray:
        """Return coordinates (n, own axes) as (n, stack axes and the other own ones)."""
        own = self._declare.axes
        rest = [i for i, name in enumerate(own) if name not in _names(axes)]
        placed = np.empty((len(coordinates), len(axes) + len(rest)), coordinates.dtype)
        placed[:, len(axes) :] = coordinates[:, rest]
        for column, axis in enumerate(axes):
            placed[:, column] = (
                axis.positions(coordinates[:, own.index(axis.name)])
                if axis.name in own
                else front[:, column]
            )
        return placed

    def _nothing(self) -> Arrays:
        """Return an empty set."""
        kind, dtype, own = self._declare.kind, self._declare.dtype, len(self._declare.axes)
        shapes = {"vectors": (0, 2, own), "tracks": (0, 1 + own)}
        nothing = {"data": np.empty(shapes.get(kind, (0, own)), dtype)}
        if kind == "tracks":
            nothing["graph"] = np.empty((0, 2), np.int64)
        elif kind == "shapes":
            nothing |= {"offsets": np.zeros(1, np.int64), "types": np.empty(0, np.uint8)}
        elif kind == "surface":
            nothing |= {"faces": np.empty((0, 3), np.int32), "values": np.empty(0, np.float32)}
        for name, column in self._declare.features.items():
            nothing[FEATURE_PREFIX + name] = np.empty(0, column)
        return nothing


def _names(axes: Sequence[Axis]) -> set[str]:
    return {axis.name for axis in axes}


def _merge(parts: Sequence[Arrays]) -> Arrays:
    """Return sets of one kind, one after the other, as one."""
    starts = np.cumsum([0, *(len(part["data"]) for part in parts)]).tolist()
    merged: Arrays = {}
    for name in {name: None for part in parts for name in part}:
        if name == "values":
            pieces = [part.get(name, np.ones(len(part["data"]), np.float32)) for part in parts]
        else:
            pieces = [part[name] for part in parts if name in part]
        if name == "faces":
            pieces = [piece + start for piece, start in zip(pieces, starts, strict=False)]
        elif name == "offsets":
            pieces = [piece[1:] + start for piece, start in zip(pieces, starts, strict=False)]
            pieces.insert(0, np.zeros(1, np.int64))
        merged[name] = np.concatenate(pieces)
    return merged
