"""The points behind a streamed points layer: a set at each coordinate, joined on demand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from napari_streaming.receive.placement import Axis
from napari_streaming.wire.messages import Coordinate

__all__ = ["PointStore"]


class PointStore:
    """Sets of points at named coordinates; a set replaces the one that was there.

    Parameters
    ----------
    ndim : int
        Coordinates of each point.
    columns : sequence of str
        Names of the features.
    """

    def __init__(self, ndim: int, columns: Sequence[str]) -> None:
        self._ndim, self._columns = ndim, tuple(columns)
        self._sets: dict[
            frozenset[tuple[str, Coordinate]],
            tuple[dict[str, Coordinate], np.ndarray, dict[str, np.ndarray]],
        ] = {}

    def __len__(self) -> int:
        return len(self._sets)

    def coordinates(self) -> Iterator[dict[str, Coordinate]]:
        """Return where each set is, in order of arrival."""
        for at, _, _ in list(self._sets.values()):
            yield at

    def clear(self, chosen: Callable[[dict[str, Coordinate]], bool] = lambda _: True) -> None:
        """Let go of the sets at coordinates that are chosen, by default of all."""
        self._sets = {key: one for key, one in self._sets.items() if not chosen(one[0])}

    def put(
        self, at: dict[str, Coordinate], points: np.ndarray, features: dict[str, np.ndarray]
    ) -> None:
        """Add or replace the points at coordinates."""
        self._sets[frozenset(at.items())] = (at, points, features)

    def join(
        self, axes: Sequence[Axis], fixed: Mapping[str, Coordinate]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return all points, with their positions along the stack axes in front.

        A set that came without some of the coordinates stands at each of their values.

        Parameters
        ----------
        axes : sequence of Axis
            The stack axes.
        fixed : mapping of str to Coordinate
            Coordinates that are no axes: of sets that have others nothing is returned.

        Returns
        -------
        points : ndarray of float64, shape (n, len(axes) + ndim)
        features : dict of str to ndarray, shape (n,)
        """
        rows: list[np.ndarray] = [np.empty((0, len(axes) + self._ndim))]
        columns: dict[str, list[np.ndarray]] = {name: [] for name in self._columns}
        for at, points, features in list(self._sets.values()):
            if any(at.get(name, value) != value for name, value in fixed.items()):
                continue
            places = [
                (axis.index(at[axis.name]),) if axis.name in at else range(len(axis))
                for axis in axes
            ]
            for place in itertools.product(*places):
                front = np.broadcast_to(np.array(place, float), (len(points), len(axes)))
                rows.append(np.hstack([front, points]))
                for name, column in columns.items():
                    column.append(features[name])
        joined = {
            name: np.concatenate(parts) if parts else np.empty(0) for name, parts in columns.items()
        }
        return np.vstack(rows), joined
