"""Named coordinates → axes, layers and windows: where items are shown.

Numbers are kept sorted, names in the order of their arrival; only wells, which workers finish in
any order, lie as they do on their plate. All layers share the axes, so
that one slider moves them all. A dimension that turns up later becomes an axis *before*
the others: napari lines layers up from their last axis, so those that are there stay
where they are.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from napari_streaming.wire.messages import Coordinate, Declare

__all__ = [
    "Axes",
    "Axis",
    "AxisView",
    "Fixed",
    "InnerAxis",
    "Mode",
    "Place",
    "Placement",
    "check_choice",
]

Mode = Literal["stack", "split", "window", "latest"]
Fixed: TypeAlias = tuple[tuple[str, Coordinate], ...]


def check_choice(what: str, chosen: str, choices: Any) -> None:
    """Check that one of the choices of a Literal was made.

    Raises
    ------
    ValueError
        It is none of these.
    """
    if chosen not in get_args(choices):
        raise ValueError(f"{what} {chosen!r}: use one of {', '.join(get_args(choices))}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a stream is shown: in a layer of its own, in a window.

    Parameters
    ----------
    window, layer : tuple of (str, Coordinate)
        The coordinates that choose the window, and the layer in it. Those of dimensions
        that are stacked, or shown at their latest value, are in neither.
    """

    window: Fixed = ()
    layer: Fixed = ()

    @property
    def fixed(self) -> dict[str, Coordinate]:
        """All of these coordinates."""
        return dict(self.window + self.layer)

    def owns(self, at: Mapping[str, Coordinate]) -> bool:
        """Whether an item at these coordinates is shown here and nowhere else."""
        fixed = self.window + self.layer
        return all(name in at and at[name] == value for name, value in fixed)


class Placement:
    """What becomes of each dimension: an axis, layers, windows, or its latest value only."""

    def __init__(self) -> None:
        self._modes: dict[str, Mode] = {}  # of dimensions that are not stacked
        self._chosen: set[str] = set()

    def mode(self, dimension: str) -> Mode:
        """Return what becomes of a dimension; by default they are stacked."""
        return self._modes.get(dimension, "stack")

    def set_mode(self, dimension: str, mode: Mode) -> bool:
        """Choose what becomes of a dimension; return whether that is a change.

        Raises
        ------
        ValueError
            There is no such mode.
        """
        check_choice("mode", mode, Mode)
        changed = mode != self.mode(dimension)
        self._chosen.add(dimension)
        self._modes.pop(dimension, None)
        if mode != "stack":
            self._modes[dimension] = mode
        return changed

    def is_chosen(self, dimension: str) -> bool:
        """Whether what becomes of a dimension was ever chosen."""
        return dimension in self._chosen

    def place(self, at: Mapping[str, Coordinate]) -> Place:
        """Return where an item at these coordinates is shown."""
        if not self._modes:
            return _EVERYWHERE
        return Place(self._fixed(at, "window"), self._fixed(at, "split"))

    def _fixed(self, at: Mapping[str, Coordinate], mode: Mode) -> Fixed:
        """Return the coordinates along dimensions of a mode."""
        return tuple(sorted((name, at[name]) for name in at if self.mode(name) == mode))

    def is_stacked(self, dimension: str) -> bool:
        """Whether a dimension is an axis."""
        return self.mode(dimension) == "stack"

    def is_latest(self, dimension: str) -> bool:
        """Whether only the latest value of a dimension is shown."""
        return self.mode(dimension) == "latest"


_EVERYWHERE = Place()

_WELL = re.compile(r"([A-Z]{1,2})([0-9]{1,3})")
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


def _well(word: str) -> tuple[int, str, int] | None:
    """Return what sorts wells row by row, if a word is called like one: ``A01``, ``AF48``."""
    found = _WELL.fullmatch(word)
    return None if found is None else (len(found[1]), found[1], int(found[2]))


class Axis:
    """The values of one dimension: numbers in their order, then words in that of their arrival.

    As long as all words are called like wells, these are kept in the order of a plate.
    A new one costs the same however many there are.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers: list[Any] = []
        self._late: list[Any] = []  # numbers that belong before the last one, not sorted in yet
        self._words: dict[Coordinate, int] = {}  # where each stands among them
        self._last_well: tuple[int, str, int] | None = (0, "", 0)  # None: not all words are
        self._is_shuffled = False  # some well came after one that it stands before
        self._known: set[Coordinate] = set()
        self._values: list[Any] = self._numbers  # with the words, if there are any

    def __len__(self) -> int:
        return len(self._known)

    def add(self, value: Coordinate) -> bool:
        """Take in a value; return whether it is new."""
        if value in self._known:
            return False
        self._known.add(value)
        if isinstance(value, str):
            self._add_word(value)
        elif not self._words and (not self._numbers or value > self._numbers[-1]):
            self._numbers.append(value)
        else:
            self._late.append(value)
        return True

    def _add_word(self, word: str) -> None:
        well = _well(word) if self._last_well is not None else None
        if self._late or well is None:
            self._sort()
        if well is not None and self._last_well is not None:
            self._is_shuffled |= well < self._last_well
            self._last_well = max(well, self._last_well)
        else:
            self._last_well = None
        if not self._words:
            self._values = self._numbers.copy()
        self._words[word] = len(self._words)
        self._values.append(word)

    def view(self) -> AxisView:
        """Return the axis as it is now."""
        self._sort()
        return AxisView(self.name, self._values, len(self._values))

    def index(self, value: Coordinate) -> int:
        """Return where a value stands now."""
        self._sort()
        if isinstance(value, str):
            return len(self._numbers) + self._words[value]
        return bisect.bisect_left(self._numbers, value)

    def _sort(self) -> None:
        """Put late numbers and wells where they belong."""
        if self._late or self._is_shuffled:
            # Views share the list: it may grow, but what is in it must not move.
            self._numbers, self._late = sorted(self._numbers + self._late), []
            if self._is_shuffled:
                words = sorted(map(str, self._words), key=_well)  # type: ignore[arg-type]
                self._words = {word: n for n, word in enumerate(words)}
                self._is_shuffled = False
            self._values = self._numbers + list(self._words) if self._words else self._numbers

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        """Return where numbers stand: between the values, and beyond them as far apart.

        Along an axis of names, which has no between, numbers are positions.
        """
        self._sort()
        if self._words or not self._values:
            return numbers
        numbers, values = (
            np.clip(np.asarray(n, float), -_HUGE, _HUGE) for n in (numbers, self._values)
        )
        steps = np.maximum(np.diff(values), _TINY) if len(values) > 1 else np.ones(1)
        with np.errstate(over="ignore"):
            before = np.clip((numbers - values[0]) / steps[0], -_FAR, 0)
            behind = np.clip((numbers - values[-1]) / steps[-1], 0, _FAR)
        positions: np.ndarray = np.interp(numbers, values, np.arange(len(values))) + before + behind
        return positions


class InnerAxis:
    """An axis of volumes, which planes lack.

    Parameters
    ----------
    name : str
    length : int
    scale, translate : float
    unit : str

    Attributes
    ----------
    axis : Axis
        Its values are positions.
    """

    def __init__(self, name: str, length: int, scale: float, translate: float, unit: str) -> None:
        self.axis = Axis(name)
        for position in range(length):
            self.axis.add(position)
        self.scale, self.translate, self.unit = scale, translate, unit


class Axes:
    """The axes that all layers share, from the slowest to the fastest."""

    def __init__(self) -> None:
        self._axes: list[Axis] = []
        self._inner: list[InnerAxis] = []

    def note_volume(self, declare: Declare) -> bool:
        """Take note of the axes of a layer's planes; return whether others lack some of them."""
        ndim = len(declare.axes)
        if ndim < 3 or ndim < len(self._inner):
            return False
        self._inner = [
            InnerAxis(
                name,
                max([length, *(len(one.axis) for one in self._inner if one.axis.name == name)]),
                declare.scale[i] if declare.scale else 1.0,
                declare.translate[i] if declare.translate else 0.0,
                declare.units[i] if declare.units else "",
            )
            for i, (name, length) in enumerate(zip(declare.axes, declare.shape, strict=False))
        ]
        return True

    def lacking(self, own: tuple[str, ...]) -> list[InnerAxis]:
        """Return the axes that volumes have between the stack axes and these.

        napari lines layers up from their last axis: planes that lack the z of a volume must
        have one, or their time would be its z. They are the same at each of its positions.
        """
        names = tuple(inner.axis.name for inner in self._inner)
        missing = self._inner[: len(names) - len(own)] if names[-len(own) :] == own else []
        stacked = set(self.names())
        return [] if any(inner.axis.name in stacked for inner in missing) else missing

    def add(self, at: Mapping[str, Coordinate]) -> bool:
        """Take in the coordinates of an item; return whether anything is new."""
        known = {axis.name for axis in self._axes}
        fresh = [Axis(name) for name in at if name not in known]
        self._axes = fresh + self._axes
        added = [axis.add(at[axis.name]) for axis in self._axes if axis.name in at]
        return any(added)

    def spanning(
        self, names: Iterable[str], stacked: Callable[[str], bool] = lambda _: True
    ) -> list[Axis]:
        """Return the axes from the first of these on: what a layer with them must have.

        Parameters
        ----------
        names : iterable of str
            What the layer's items have coordinates of.
        stacked : callable
            Whether a dimension is an axis at all.
        """
        wanted = set(names)
        axes = [axis for axis in self._axes if stacked(axis.name)]
        for position, axis in enumerate(axes):
            if axis.name in wanted:
                return axes[position:]
        return []

    def names(self) -> tuple[str, ...]:
        """Return the names of all axes, from the slowest."""
        return tuple(axis.name for axis in self._axes)

    def __getitem__(self, name: str) -> Axis:
        return next(axis for axis in self._axes if axis.name == name)
