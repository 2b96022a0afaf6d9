"""What a placement shows of a streamed layer: all of it, or a part in a layer of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_streaming.receive.placement import Axis, Place, Placement
from napari_streaming.receive.plane_stack import StackView
from napari_streaming.wire.messages import Coordinate, Declare, LayerKind

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
    """What came to a place: how many items, and the coordinates of the last one."""

    count: int = 0
    latest: At = field(default_factory=dict)


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
    def received(self) -> int:
        """How many items were placed here."""
        with self.streamed.lock:
            return self._seen().count

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
    def axes(self) -> tuple[str, ...]:
        """Names of all axes of :attr:`data` (of a point's coordinates), from the slowest."""
        return self.stack_axes + self.declare.axes

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
    def data(self) -> StackView | np.ndarray:
        """The planes as a lazy array of fixed shape, or the points, shape (n, axes)."""
        if self.kind == "points":
            return self.points()[0]
        with self.streamed.lock:
            axes = [axis.view() for axis in self._stacked()]
            return StackView(self.streamed.planes, axes, fixed=self.fixed)

    def points(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return :attr:`data` and :attr:`features` of points, both of the same moment."""
        with self.streamed.lock:
            return self.streamed.point_sets.join(self._stacked(), self.fixed)

    @property
    def features(self) -> dict[str, np.ndarray]:
        """The columns that belong to the points."""
        return self.points()[1]

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

    def _stacked(self) -> list[Axis]:
        """Return the stack axes. Only with the lock held."""
        own = self.streamed.own - self.place.fixed.keys()
        return self.streamed.shared_axes.spanning(
            filter(self._placement.is_stacked, own), self._placement.is_stacked
        )
