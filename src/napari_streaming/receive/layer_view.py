"""What a placement shows of a streamed layer: all of it, or a part in a layer of its own."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_streaming.receive.placement import Axis, InnerAxis, Place, Placement
from napari_streaming.receive.plane_stack import StackView
from napari_streaming.wire.messages import (
    FEATURE_PREFIX,
    PLANE_KINDS,
    Coordinate,
    Declare,
    LayerKind,
)

if TYPE_CHECKING:
    from napari_streaming.receive.streamed_layer import StreamedLayer

__all__ = ["At", "LayerView", "Seen", "Transform"]

At: TypeAlias = dict[str, Coordinate]


@dataclass(frozen=True, slots=True)
class Transform:
    """Where pixels lie along the plane's own axes; empty where that was not said."""

    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()


@dataclass(slots=True)
class Seen:
    """What came to a place: how many items, and when and where the newest one belongs.

    The newest is the one that was published last: history comes after a preview of it.
    """

    count: int = 0
    latest: At = field(default_factory=dict)
    published: float = -math.inf

    def note(self, at: At, published: float) -> None:
        """Count an item."""
        self.count += 1
        if published >= self.published:
            self.latest, self.published = at, published


class LayerView:
    """A streamed layer, or the part of it that a placement shows in one layer.

    All properties are safe in any thread.

    Parameters
    ----------
    streamed : StreamedLayer or None
        None where this is one: it would be freed late if it held itself.
    place : Place
        Which part.
    placement : Placement
        Which dimensions are axes.
    """

    def __init__(self, streamed: StreamedLayer | None, place: Place, placement: Placement) -> None:
        self.place = place
        self._streamed, self._placement = streamed, placement

    @property
    def streamed(self) -> StreamedLayer:
        """The layer that this is a view of."""
        assert self._streamed is not None
        return self._streamed

    @property
    def name(self) -> str:
        """The layer's name, with the coordinates that tell it from others: "a · DAPI"."""
        return " · ".join([self.streamed.name, *(str(v) for _, v in self.place.layer)])

    @property
    def declare(self) -> Declare:
        """What the publisher said of the layer."""
        return self.streamed.declare

    @property
    def kind(self) -> LayerKind:
        """The layer type."""
        return self.declare.kind

    @property
    def has_planes(self) -> bool:
        """Whether it is of images or labels: not of points and the like."""
        return self.kind in PLANE_KINDS

    @property
    def received(self) -> int:
        """How many items were placed here."""
        with self.streamed.lock:
            return self._seen().count

    @property
    def published(self) -> float:
        """When the newest item here was published, in seconds of this side's clock."""
        with self.streamed.lock:
            return self._seen().published

    @property
    def own_axes(self) -> frozenset[str]:
        """Names of the stack axes that its items have coordinates of."""
        with self.streamed.lock:
            return frozenset(filter(self._placement.is_stacked, self.streamed.own))

    @property
    def stack_axes(self) -> tuple[str, ...]:
        """Names of the axes that the planes are stacked along."""
        with self.streamed.lock:
            return tuple(axis.name for axis in self._stacked())

    @property
    def unplaced(self) -> frozenset[str]:
        """Names of the stack axes along which points and the like stand everywhere, at 0.

        Tracks do not: they are asked for by coordinate.
        """
        if self.has_planes or self.kind == "tracks":
            return frozenset()
        return frozenset(self.stack_axes) - self.own_axes - set(self.declare.axes)

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Let nothing come meanwhile, so that all that is asked for is of one moment."""
        with self.streamed.lock:
            yield

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of all axes of :attr:`data` (of a point's coordinates), from the slowest.

        An axis of the points' own that is a stack axis, too, comes once, as that.
        """
        stacked = self.stack_axes
        if self.has_planes:
            return stacked + self.declare.axes
        return stacked + tuple(name for name in self.declare.axes if name not in stacked)

    @property
    def coordinates(self) -> dict[str, list[Coordinate]]:
        """The values along each stack axis."""
        with self.streamed.lock:
            views = [axis.view() for axis in self._stacked()]
        return {view.name: view.values[: view.length] for view in views}

    @property
    def fixed(self) -> At:
        """The coordinates that are no axes here, with their values."""
        with self.streamed.lock:
            latest = self._seen().latest
            shown = {n: v for n, v in latest.items() if self._placement.is_latest(n)}
            return self.place.fixed | shown

    def value_at(self, axis: str, position: int) -> Coordinate | None:
        """Return the value at a position of a stack axis; None outside."""
        with self.streamed.lock:
            view = self.streamed.shared_axes[axis].view()
        return view.values[position] if 0 <= position < view.length else None

    @property
    def latest(self) -> dict[str, int]:
        """Position of the newest item along each stack axis that it has."""
        with self.streamed.lock:
            shared, latest = self.streamed.shared_axes, self._seen().latest
            stacked = filter(self._placement.is_stacked, latest)
            return {name: shared[name].index(latest[name]) for name in stacked}

    @property
    def data(self) -> StackView | np.ndarray | list[np.ndarray] | tuple[np.ndarray, ...]:
        """What a napari layer of its kind has as ``data``.

        The planes of images and labels as a lazy array of fixed shape. Of points (n, axes),
        of vectors (n, 2, axes), of tracks (n, 1 + axes): a track's number comes first. A list
        of the vertices (v, axes) of each shape. Vertices, faces and values of a surface.
        """
        if self.has_planes:
            with self.streamed.lock:
                axes = [axis.view() for axis in self._stacked()]
                return StackView(self.streamed.planes, axes, fixed=self.fixed)
        joined = self.geometry()
        if self.kind == "shapes":
            return np.split(joined["data"], joined["offsets"][1:-1]) if len(joined["types"]) else []
        if self.kind == "surface":
            return joined["data"], joined["faces"], joined["values"]
        return joined["data"]

    def geometry(
        self, fixed: Mapping[str, Coordinate | None] | None = None
    ) -> dict[str, np.ndarray]:
        """Return all points and the like as arrays like those of an Item, of one moment.

        Parameters
        ----------
        fixed : mapping of str to Coordinate, optional
            Only what belongs to these values of stack axes, along the other ones.

        Returns
        -------
        dict of str to ndarray
            See :meth:`GeometryStore.join`.
        """
        with self.streamed.lock:
            axes = [axis for axis in self._stacked() if axis.name not in (fixed or {})]
            return self.streamed.sets.join(axes, self.fixed | dict(fixed or {}))

    @property
    def features(self) -> dict[str, np.ndarray]:
        """The columns that belong to the points, shapes, vectors, or rows of tracks."""
        if not self.declare.features:
            return {}
        joined = self.geometry()
        return {name: joined[FEATURE_PREFIX + name] for name in self.declare.features}

    @property
    def contrast_limits(self) -> tuple[float, float] | None:
        """As declared, else the range of the data so far; None while there is none."""
        return self.streamed.contrast_limits

    def transform_at(self, position: Mapping[str, Coordinate]) -> Transform:
        """Return where the pixels of the plane at coordinates along the stack axes lie."""
        with self.streamed.lock:
            return self.streamed.transform_at(self.fixed | dict(position))

    def discard(self) -> None:
        """Let go of what is here, and of what is to come: nobody looks at it any more."""
        self.streamed.discard(self.place)

    def _seen(self) -> Seen:
        return self.streamed.seen.get(self.place) or Seen()

    @property
    def lacking(self) -> dict[str, InnerAxis]:
        """The last stack axes, if volumes have them and these planes do not."""
        with self.streamed.lock:
            missing = self.streamed.shared_axes.lacking(self.declare.axes)
        return {inner.axis.name: inner for inner in missing} if self.kind != "tracks" else {}

    def _stacked(self) -> list[Axis]:
        """Return the stack axes. Only with the lock held.

        Points and the like may share one of the axes of their own.
        """
        shared = () if self.has_planes else self.declare.axes
        own = (self.streamed.own - self.place.fixed.keys()).union(shared)
        outer = self.streamed.shared_axes.spanning(
            filter(self._placement.is_stacked, own), self._placement.is_stacked
        )
        return outer + [inner.axis for inner in self.lacking.values()]
