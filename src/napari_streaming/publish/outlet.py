"""From the region of an array that was written to items of a layer: planes at coordinates."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from napari_streaming.errors import DataError, StreamingError
from napari_streaming.publish.engine import Engine
from napari_streaming.publish.staging import check_dtype, clean_coordinates, clean_name
from napari_streaming.wire.messages import Coordinate, QualityOfService

__all__ = [
    "STREAMING_FAILED",
    "Kind",
    "Layout",
    "Outlet",
    "Publishes",
    "Region",
    "TeeOptions",
    "Written",
    "axis_names",
]

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["image", "labels"]
Region: TypeAlias = tuple[Sequence[int], ...]
"""For each axis of an array the indices that were written; all combinations of them."""

Written: TypeAlias = Callable[[tuple[int, ...]], Iterable[tuple[Region, np.ndarray | None]]]
"""Returns regions, and what was written there: one element for each combination of the indices.

It is None if it must be read back.
"""

Read: TypeAlias = Callable[[tuple[Any, ...]], Any]
"""Reads a part of an array, chosen by a number, a list of numbers or a slice for each axis."""

STREAMING_FAILED = (
    StreamingError, OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError,
)  # fmt: skip
"""What cannot be streamed, and what cannot be read back: from any store, with any codec."""

# Small planes travel together; of big ones, the newest win one by one.
_ITEM_BYTES = 4 * 1024 * 1024
_MOST_PLANES = 65536


class Publishes(Protocol):
    """What an outlet needs of a publisher."""

    _engine: Engine

    def image(self, *args: Any, **kwargs: Any) -> None:
        """Stream planes of an image."""

    def labels(self, *args: Any, **kwargs: Any) -> None:
        """Stream planes of labels."""


@dataclass(frozen=True, slots=True)
class TeeOptions:
    """What the caller of a tee said, checked; None: as the target says.

    Raises
    ------
    DataError
        A name or a coordinate that cannot be streamed.
    """

    name: str | None = None
    at: Mapping[str, Coordinate] = field(default_factory=dict)
    axes: tuple[str, ...] | None = None
    labels: Mapping[str, Sequence[Coordinate]] = field(default_factory=dict)
    kind: Kind | None = None
    qos: QualityOfService = "latest"

    def __post_init__(self) -> None:
        if self.name is not None:
            clean_name(self.name)
        clean_coordinates(self.at)
        if self.axes is not None and len(set(map(clean_name, self.axes))) != len(self.axes):
            raise DataError(f"axes={self.axes}: use a different name for each")
        for axis, values in self.labels.items():
            for value in values:
                clean_coordinates({axis: value})
        if self.kind not in (None, "image", "labels"):
            raise DataError(f"kind={self.kind!r}: use image or labels")


def axis_names(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    given: Sequence[str | None] | None,
    usual: str = "tcz",
) -> tuple[str, ...]:
    """Return a name for each axis of an array.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    given : sequence of str or None, optional
        Of these, the ones that are neither empty nor None are kept, unless two are the same.
        ``s`` is colour.
    usual : str
        What the axes before ``y`` and ``x`` are usually called.

    Returns
    -------
    tuple of str
        With ``y`` and ``x`` last if no name was given, but for ``s`` in an array that
        :meth:`Publisher.image` takes for colour, and the usual names before them.
    """
    names = [name or "" for name in given or ()]
    said = [name for name in names if name]
    if len(names) != len(shape) or not said or len(set(said)) < len(said):
        is_colour = len(shape) >= 3 and shape[-1] in (3, 4) and dtype == np.uint8
        plane = ["y", "x", "s"] if is_colour else ["y", "x"]
        names = [""] * (len(shape) - len(plane)) + plane[-len(shape) :]
    unnamed = [i for i, name in enumerate(names) if not name]
    fill = list(usual[max(0, 3 - len(unnamed)) :])
    if len(fill) != len(unnamed) or set(fill) & set(names):
        fill = [f"axis_{i}" for i in unnamed]
    for i, name in zip(unnamed, fill, strict=True):
        names[i] = name
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the axes of an array become a layer's.

    Parameters
    ----------
    name : str
        Of the layer.
    axes : tuple of str
        Of the array; two of them are the plane's: ``y`` and ``x``, else the last ones.
        Colour is called ``s``.
    labels : mapping of str to sequence of Coordinate
        Coordinates along an axis, where they are not just numbers from 0.
    scale : mapping of str to float
        Size of a pixel along an axis.
    units : mapping of str to str
        Along an axis.
    kind : {"image", "labels"}
        Of the layer.
    """

    name: str
    axes: tuple[str, ...]
    labels: Mapping[str, Sequence[Coordinate]] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "image"

    def plane(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return which axes of an array are a plane's, in the order in which they are shown.

        Raises
        ------
        DataError
            The array has no planes.
        """
        if len(shape) < 2:
            raise DataError(f"an array of shape {shape} has no planes (y, x)")
        names = self.axes
        is_colour = self.kind == "image" and "s" in names and shape[names.index("s")] in (3, 4)
        colour = (names.index("s"),) if is_colour else ()
        if {"y", "x"} <= set(names):
            return (names.index("y"), names.index("x"), *colour)
        last = [i for i in range(len(names)) if i not in colour][-2:]
        return (*last, *colour)

    def coordinate(self, axis: int, index: int) -> Coordinate:
        """Return where along an axis an index is."""
        labels = self.labels.get(self.axes[axis], ())
        return labels[index] if index < len(labels) else int(index)

    def about(self, plane: tuple[int, ...]) -> dict[str, Any]:
        """Return what is said of a plane with these axes."""
        own = tuple(self.axes[i] for i in plane[:2])
        said: dict[str, Any] = {"axes": own}
        if all(self.scale.get(name) for name in own):
            said["scale"] = tuple(self.scale[name] for name in own)
        if any(self.units.get(name) for name in own):
            said["units"] = tuple(self.units.get(name, "") for name in own)
        if self.kind == "image":
            said["rgb"] = len(plane) == 3
        return said


class Outlet:
    """Streams what is written to one array, and never gets in the way of who writes.

    Thread-safe. That something cannot be streamed is logged once.

    Parameters
    ----------
    publisher : Publisher
    layout : Layout
    options : TeeOptions
    """

    def __init__(self, publisher: Publishes, layout: Layout, options: TeeOptions) -> None:
        self._publisher, self._layout, self._options = publisher, layout, options
        self._lock = threading.Lock()
        self._is_told = False

    def write(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], written: Written, read: Read
    ) -> None:
        """Stream what was written to the array.

        Parameters
        ----------
        shape, dtype
            Of the array.
        written : callable
            Given the positions of the plane's axes, returns what was written.
        read : callable
            Reads a part of the array.
        """
        try:
            # Before the lock: after a fork, nobody may be left to release it.
            self._publisher._engine.check_open()
            check_dtype(self._layout.name, dtype)
            plane = self._layout.plane(shape)
            # What is read back must not be streamed after what others wrote since.
            with self._lock:
                for region, data in written(plane):
                    if all(len(indices) for indices in region):
                        self._stream(shape, dtype, plane, region, data, read)
        except STREAMING_FAILED as error:
            self.complain(str(error))

    def complain(self, why: str) -> None:
        """Log, once, why something is written and not streamed."""
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "%r is written, but not all of it is streamed: %s", self._layout.name, why
            )

    def _stream(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        plane: tuple[int, ...],
        region: Region,
        data: np.ndarray | None,
        read: Read,
    ) -> None:
        layout, publisher = self._layout, self._publisher
        lead = [i for i in range(len(shape)) if i not in plane]
        box = {i: slice(min(region[i]), max(region[i]) + 1) for i in plane[:2]}
        box |= {i: slice(0, shape[i]) for i in plane[2:]}  # colours are never apart
        size = tuple(box[i].stop - box[i].start for i in plane)
        whole = tuple(shape[i] for i in plane)
        said = layout.about(plane)
        if size != whole:
            said |= {"offset": tuple(box[i].start for i in plane[:2]), "plane_shape": whole}
        is_solid = all(region[i] == range(box[i].start, box[i].stop) for i in plane)
        is_plain = is_solid and all(len(set(region[i])) == len(region[i]) for i in lead)
        given = data.transpose(*lead, *plane) if data is not None and is_plain else None
        together = min(_MOST_PLANES, max(1, _ITEM_BYTES // (prod(size) * dtype.itemsize)))
        for places in _items([len(region[i]) for i in lead], together):
            chosen = {i: region[i][place] for i, place in zip(lead, places, strict=True)}
            if given is not None:
                block = given[places]
            else:
                block = _in_order(read, chosen | box, (*lead, *plane))
            at = {**self._options.at} | {
                layout.axes[i]: layout.coordinate(i, index)
                if isinstance(index, int)
                else [layout.coordinate(i, one) for one in index]
                for i, index in chosen.items()
            }
            publish = publisher.labels if layout.kind == "labels" else publisher.image
            publish(layout.name, block, at=at, qos=self._options.qos, **said)


def _items(lengths: Sequence[int], together: int) -> Iterator[tuple[int | slice, ...]]:
    """Return what goes into one item: a place along each axis, or several along the last."""
    if not lengths:
        yield ()
        return
    *outer, last = lengths
    runs: Iterable[int | slice] = range(last)
    if min(together, last) > 1:
        runs = [slice(start, start + together) for start in range(0, last, together)]
    yield from itertools.product(*map(range, outer), runs)


def _in_order(read: Read, chosen: Mapping[int, Any], order: Sequence[int]) -> np.ndarray:
    """Read what is chosen of each axis, and return it with the axes in this order."""
    key = [chosen[i] for i in range(len(chosen))]
    key = [list(one) if isinstance(one, range) else one for one in key]
    left = [i for i, one in enumerate(key) if not isinstance(one, int)]
    block = np.asarray(read(tuple(key)))
    return block.transpose([left.index(i) for i in order if i in left])
