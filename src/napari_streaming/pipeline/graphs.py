"""Where numbers are drawn: on which graph, as which curve, and where along it.

The viewer's graphs have numbers along them, and one graph holds the curves ``count/DAPI`` and
``count/GFP``. A plate must stay readable there: its wells lie along the graph, in the order of the
plate, and what else there is tells the curves apart. Numbers over time have a curve for each well.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from napari_streaming.pipeline.backends.stack import axis_of
from napari_streaming.pipeline.values import Coordinates
from napari_streaming.pipeline.wells import position
from napari_streaming.wire.messages import Coordinate

__all__ = ["Graphs", "is_numbered", "legend", "plate_order"]

_MOST = 384


class Graphs:
    """Finds the places of numbers, and keeps what wells are numbered with. Thread-safe."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[Coordinate, int]] = {}
        self._lock = threading.Lock()

    def place(
        self, name: str, at: Coordinates, order: Sequence[Coordinate] = ()
    ) -> tuple[str, float | None]:
        """Return the metric that a number belongs to, and its step.

        Parameters
        ----------
        name : str
            The graph.
        at : mapping of str to int, float or str
            Time, if it has one, lies along the graph, else the first coordinate does: as it
            is, if it is a number, else as its number in `order`, from 1.
        order : sequence of int, float or str
            What is not in it is numbered as it comes.

        Returns
        -------
        name : str
            With what the other coordinates are: ``count/DAPI site 2``.
        step : float or None
            None: there are no coordinates, so that time itself is the axis.
        """
        along = _along(at)
        if along is None:
            return name, None
        others = [_called(axis, value) for axis, value in at.items() if axis != along]
        where = at[along]
        step = float(self._number(name, where, order) if isinstance(where, str) else where)
        return "/".join(filter(None, [name, " ".join(others)])), step

    def _number(self, name: str, where: Coordinate, order: Sequence[Coordinate]) -> int:
        with self._lock:
            if name not in self._numbers:
                self._numbers[name] = {known: n for n, known in enumerate(order, 1)}
            numbers = self._numbers[name]
            return numbers.setdefault(where, len(numbers) + 1)


def is_numbered(at: Coordinates) -> bool:
    """Whether what lies along the graph has a name, and a number only there."""
    along = _along(at)
    return along is not None and isinstance(at[along], str)


def _along(at: Mapping[str, Coordinate]) -> str | None:
    """Return which coordinate lies along the graph."""
    times = (n for n, value in at.items() if axis_of(n) == "t" and not isinstance(value, str))
    return next(times, next(iter(at), None))


def _called(axis: str, value: Coordinate) -> str:
    return value if isinstance(value, str) else f"{axis} {value}"


def plate_order(wells: Sequence[Coordinate]) -> tuple[Coordinate, ...]:
    """Return wells row by row, if all are named like ``A01``, else in the order that they have."""
    places = {well: place for well in wells if (place := position(well)) is not None}
    return tuple(sorted(wells, key=places.__getitem__) if len(places) == len(wells) else wells)


def legend(wells: Sequence[Coordinate]) -> str:
    """Return which number along a graph is which well.

    Parameters
    ----------
    wells : sequence of coordinate
        In their order.

    Returns
    -------
    str
        Neighbours in a row together: ``1 to 12 are A01 to A12, 13 is B01``.
    """
    said: list[str] = []
    first = 0
    for end in range(1, len(wells) + 1):
        if end < len(wells) and _are_neighbours(wells[end - 1], wells[end]):
            continue
        one, last = wells[first], wells[end - 1]
        alone = f"{end} is {one}"
        said.append(alone if end - first == 1 else f"{first + 1} to {end} are {one} to {last}")
        first = end
        if len(said) == _MOST and end < len(wells):
            said.append("and so on")
            break
    return ", ".join(said)


def _are_neighbours(one: Coordinate, other: Coordinate) -> bool:
    here, there = position(one), position(other)
    return here is not None and there is not None and (here[0], here[1] + 1) == there
