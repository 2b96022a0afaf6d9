"""The array behind a streamed image or labels layer: planes at coordinates, stacked lazily.

A :class:`PlaneStack` holds the planes and never copies them again. A :class:`StackView` is
what others see of it: an array-like of fixed shape that can be sliced without reading, and
reads exactly the planes it is asked for. Planes that are missing read as zeros: those that
have not come, and those that were lost because neither memory nor disk had room.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from napari_streaming.receive.placement import AxisView
from napari_streaming.receive.plane_memory import Plane, PlaneMemory
from napari_streaming.receive.reduced import Reduced, Whole
from napari_streaming.wire.messages import Coordinate

__all__ = ["PlaneStack", "StackView"]

Names: TypeAlias = tuple[str, ...]
Values: TypeAlias = tuple[Coordinate, ...]
Selector: TypeAlias = int | range


class PlaneStack:
    """Planes at named coordinates. One thread adds, others look; adding is O(1).

    Parameters
    ----------
    shape : tuple of int
        Of each plane.
    dtype : dtype
        Of each plane.
    memory : PlaneMemory
        Which holds the planes of all stacks.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], memory: PlaneMemory) -> None:
        self.shape, self.dtype = shape, dtype
        self._memory, self._homes = memory, {shape: memory.home(shape, dtype)}
        # By the names of their coordinates, most names first: a plane that says more about
        # where it belongs wins. Replaced as a whole, since others read it meanwhile.
        self._planes: tuple[tuple[Names, dict[Values, Plane]], ...] = ()
        self._newest: Plane | None = None

    def __len__(self) -> int:
        return sum(len(planes) for _, planes in self._planes)

    def coordinates(self) -> Iterator[dict[str, Coordinate]]:
        """Return where each plane is, in order of arrival for those with the same names."""
        for names, planes in self._planes:
            for values in list(planes):
                yield dict(zip(names, values, strict=True))

    def clear(self, chosen: Callable[[dict[str, Coordinate]], bool] = lambda _: True) -> None:
        """Let go of the planes at coordinates that are chosen, by default of all."""
        for names, planes in self._planes:
            gone = [
                planes.pop(values)
                for values in list(planes)
                if chosen(dict(zip(names, values, strict=True)))
            ]
            self._memory.forget(gone)
            if self._newest in gone:
                self._newest = None

    def grow(self, shape: tuple[int, ...]) -> None:
        """Have planes of this shape as well: smaller ones are padded with zeros when read."""
        self.shape = tuple(max(pair) for pair in zip(self.shape, shape, strict=True))

    def make_room(self) -> None:
        """Make room for one more plane; where the disk is slow, this waits a bounded time."""
        self._memory.make_room(math.prod(self.shape) * self.dtype.itemsize)

    def put(self, at: dict[str, Coordinate], array: np.ndarray, whole: Whole | None = None) -> None:
        """Add or replace a plane. The stack owns it: nobody can write to it any more.

        Parameters
        ----------
        at : dict of str to Coordinate
        array : ndarray
        whole : Whole, optional
            What it was taken from, if only every so many pixels are there.
        """
        array.flags.writeable = False
        home = self._homes.get(array.shape)
        if home is None:
            home = self._homes[array.shape] = self._memory.home(array.shape, self.dtype)
        plane = Plane(array, home, whole)
        names = tuple(sorted(at))
        planes, values = self._planes_with(names), tuple(at[name] for name in names)
        replaced, planes[values] = planes.get(values), plane
        self._memory.add(plane, self._newest, replaced)
        self._newest = plane

    def get(self, at: dict[str, Coordinate]) -> np.ndarray | Reduced | None:
        """Return the plane at coordinates, read back from the disk if it is there.

        A plane that came without some of them stands at each of their values.
        """
        plane = self._find(at)
        while plane is not None:
            array = self._memory.read(plane)
            was, plane = plane, self._find(at)
            if array is not None or plane is was:
                return _all_of(was, array)
        return None

    def get_exactly(self, at: dict[str, Coordinate]) -> np.ndarray | Reduced | None:
        """Return the plane that came with just these coordinates."""
        names = tuple(sorted(at))
        plane = dict(self._planes).get(names, {}).get(tuple(at[name] for name in names))
        return None if plane is None else _all_of(plane, self._memory.read(plane))

    def reduced_at(self, at: dict[str, Coordinate]) -> object:
        """Return what tells the plane at coordinates from others, if not all its pixels are here.

        Else, or if there is none, None.
        """
        plane = self._find(at)
        return None if plane is None or plane.whole is None else plane

    def has(self, at: dict[str, Coordinate]) -> bool:
        """Whether there is a plane at coordinates: it came, and it was not lost."""
        plane = self._find(at)
        return plane is not None and not plane.is_lost

    def _find(self, at: dict[str, Coordinate]) -> Plane | None:
        for names, planes in self._planes:
            if all(name in at for name in names):
                plane = planes.get(tuple(at[name] for name in names))
                if plane is not None:
                    return plane
        return None

    def _planes_with(self, names: Names) -> dict[Values, Plane]:
        for known, planes in self._planes:
            if known == names:
                return planes
        fresh: dict[Values, Plane] = {}
        every = (*self._planes, (names, fresh))
        self._planes = tuple(sorted(every, key=lambda entry: len(entry[0]), reverse=True))
        return fresh


class StackView:
    """A stack as an array of fixed shape: what napari is given.

    Slicing gives another view and reads nothing; :func:`numpy.asarray` reads. Where the
    stack axes are all indexed, the array is a view of the plane itself.

    Parameters
    ----------
    stack : PlaneStack
    axes : sequence of AxisView
        The stack axes, from the slowest.
    selectors : tuple of int or range, optional
        What is left of each axis, stack axes first; by default all.
    fixed : mapping of str to Coordinate
        Coordinates that are no axes.
    """

    def __init__(
        self,
        stack: PlaneStack,
        axes: Sequence[AxisView],
        selectors: tuple[Selector, ...] | None = None,
        fixed: Mapping[str, Coordinate] | None = None,
    ) -> None:
        self._stack, self._axes = stack, tuple(axes)
        self._plane_shape = stack.shape
        self._fixed = dict(fixed or {})
        if selectors is None:
            lengths = (*(axis.length for axis in self._axes), *self._plane_shape)
            selectors = tuple(range(length) for length in lengths)
        self._selectors = selectors

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes that are left."""
        return tuple(len(s) for s in self._selectors if isinstance(s, range))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the planes."""
        return self._stack.dtype

    @property
    def ndim(self) -> int:
        """The number of axes that are left."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes, if it were read."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> np.ndarray:
        """Return the planes of this moment: a copy of a layer is not streamed to."""
        return np.array(self)

    def is_like(self, other: object) -> bool:
        """Whether another view shows the same planes at the same positions."""
        if not isinstance(other, StackView) or other._selectors != self._selectors:
            return False
        pairs = zip(self._axes, other._axes, strict=True)
        same = all(a.values is b.values and a.length == b.length for a, b in pairs)
        return same and other._stack is self._stack and other._fixed == self._fixed

    def is_present(self, position: Sequence[int]) -> bool:
        """Whether there is a plane at a position along the stack axes that are left.

        Parameters
        ----------
        position : sequence of int
            As for indexing, without the axes of the plane.

        Raises
        ------
        IndexError
            It is outside.
        """
        stack_part = self._selectors[: len(self._axes)]
        if len(position) != sum(isinstance(s, range) for s in stack_part):
            raise IndexError(f"{len(position)} indices for the stack axes of shape {self.shape}")
        remaining = iter(position)
        indices = [s[next(remaining)] if isinstance(s, range) else s for s in stack_part]
        return self._stack.has(self._coordinates(indices))

    def count_missing(self) -> int:
        """Return how many positions have no plane. It looks at each, and reads none."""
        indices = itertools.product(*self._choices())
        return sum(not self._stack.has(self._coordinates(each)) for each in indices)

    def __repr__(self) -> str:
        return f"<StackView {self.dtype} {self.shape}, {len(self._stack)} planes>"

    def __getitem__(self, key: Any) -> StackView | np.ndarray:
        keys = key if isinstance(key, tuple) else (key,)
        if not all(_is_basic(k) for k in keys):
            return np.asarray(np.asarray(self)[key])
        view = StackView(self._stack, self._axes, self._compose(keys), self._fixed)
        # Nothing is left to be lazy about once a single plane is chosen.
        stack_part = view._selectors[: len(self._axes)]
        return np.asarray(view) if not any(isinstance(s, range) for s in stack_part) else view

    def _compose(self, keys: tuple[Any, ...]) -> tuple[Selector, ...]:
        count = sum(k is not Ellipsis for k in keys)
        if count > self.ndim or len(keys) - count > 1:
            raise IndexError(f"too many indices: the array has {self.ndim} axes, not {count}")
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys = keys[:at] + (slice(None),) * (self.ndim - count) + keys[at + 1 :]
        remaining = iter(keys)
        composed: list[Selector] = []
        for selector in self._selectors:
            if isinstance(selector, range):
                k = next(remaining, slice(None))
                composed.append(selector[k] if isinstance(k, slice) else selector[int(k)])
            else:
                composed.append(selector)
        return tuple(composed)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._read()
        is_fresh = array.flags.writeable  # planes are not
        if dtype is not None and array.dtype != dtype:
            array, is_fresh = array.astype(dtype), True
        if copy is False and is_fresh:
            raise ValueError("this can only be read with a copy")
        return array.copy() if copy and not is_fresh else array

    def _read(self) -> np.ndarray:
        n = len(self._axes)
        stack_part, plane_part = self._selectors[:n], self._selectors[n:]
        within = tuple(_as_index(selector) for selector in plane_part)
        plane_shape = tuple(len(s) for s in plane_part if isinstance(s, range))
        if not any(isinstance(s, range) for s in stack_part):
            plane = self._plane(stack_part)
            return np.zeros(plane_shape, self.dtype) if plane is None else plane[(*within, ...)]
        lengths = tuple(len(s) for s in stack_part if isinstance(s, range))
        out = np.zeros((*lengths, *plane_shape), self.dtype)
        flat = out.reshape((math.prod(lengths), *plane_shape))
        for position, indices in enumerate(itertools.product(*self._choices())):
            plane = self._plane(indices)
            if plane is not None:
                flat[position] = plane[within]
        return out

    def _choices(self) -> list[Sequence[int]]:
        """Return the positions along each stack axis."""
        stack_part = self._selectors[: len(self._axes)]
        return [s if isinstance(s, range) else (s,) for s in stack_part]

    def _plane(self, indices: Sequence[Any]) -> np.ndarray | Reduced | None:
        plane = self._stack.get(self._coordinates(indices))
        if plane is None or plane.shape == self._plane_shape:
            return plane
        padded = np.zeros(self._plane_shape, self.dtype)
        # The stack may have grown beyond this view, too.
        part = tuple(slice(min(pair)) for pair in zip(plane.shape, padded.shape, strict=True))
        padded[part] = plane[part]
        return padded

    def _coordinates(self, indices: Sequence[Any]) -> dict[str, Coordinate]:
        along = {axis.name: axis.values[i] for axis, i in zip(self._axes, indices, strict=True)}
        return self._fixed | along


def _all_of(plane: Plane, array: np.ndarray | None) -> np.ndarray | Reduced | None:
    return array if array is None or plane.whole is None else Reduced(array, plane.whole)


def _is_basic(key: Any) -> bool:
    """Whether a key only chooses positions. To numpy, True and False are masks."""
    if isinstance(key, int | np.integer):
        return not isinstance(key, bool)
    return isinstance(key, slice) or key is Ellipsis


def _as_index(selector: Selector) -> int | slice:
    """Return what numpy indexes with for a range of positions."""
    if not isinstance(selector, range):
        return selector
    if not selector:
        return slice(0, 0)
    stop = None if selector.stop < 0 else selector.stop
    return slice(selector.start, stop, selector.step)
