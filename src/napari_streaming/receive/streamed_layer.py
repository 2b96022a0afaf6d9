"""One streamed layer: what came for it, and where the placement shows that."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_streaming.receive.counters import LayerCounters, LayerStats
from napari_streaming.receive.geometry_store import GeometryStore
from napari_streaming.receive.layer_view import At, LayerView, Seen, Transform
from napari_streaming.receive.placement import Axes, Place, Placement
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.plane_stack import PlaneStack
from napari_streaming.receive.reduced import Reduced, Whole
from napari_streaming.wire.messages import Coordinate, Declare

__all__ = ["StreamedLayer"]


class StreamedLayer(LayerView):
    """One layer, as arrays. As a view, it is all of the layer, each dimension an axis.

    Attributes
    ----------
    counters : LayerCounters
    lock : Condition
        That of the catalog, to be held when one of these is looked at:
    seen : dict of Place to Seen
        The places with items, in order of their arrival.
    own : set of str
        Names of the coordinates that items have.
    shared_axes : Axes
        Of all layers.
    planes : PlaneStack
    sets : GeometryStore
    """

    def __init__(
        self,
        name: str,
        declare: Declare,
        axes: Axes,
        placement: Placement,
        memory: PlaneMemory,
        lock: threading.Condition,
    ) -> None:
        super().__init__(None, Place(), Placement())
        self.counters, self.lock = LayerCounters(), lock
        self.seen: dict[Place, Seen] = {}
        self.own: set[str] = set()
        self.shared_axes = axes
        self.planes = PlaneStack(declare.shape, np.dtype(declare.dtype), memory)
        self.sets = GeometryStore(declare)
        self._name, self._declare = name, declare
        self._shown_by = placement
        self._all = Seen()
        self._gone: set[Place] = set()
        self._range: tuple[float, float] | None = None
        self._transforms: dict[frozenset[str], dict[frozenset[tuple[str, Coordinate]], Transform]]
        self._transforms = {}

    @property
    def streamed(self) -> StreamedLayer:
        """The layer itself."""
        return self

    @property
    def name(self) -> str:
        """Unique in the catalog: a new revision of "nuclei" is "nuclei [2]"."""
        return self._name

    @property
    def declare(self) -> Declare:
        """What its publisher said of it first."""
        return self._declare

    @property
    def contrast_limits(self) -> tuple[float, float] | None:
        """As declared, else the range of the data so far; None while there is none."""
        if self.declare.contrast_limits or self._range is None:
            return self.declare.contrast_limits
        low, high = self._range
        return low, high if high > low else low + 1.0

    def stats(self) -> LayerStats:
        """Return the counters of this layer."""
        return self.counters.stats(time.time())

    # ---- what the placement makes of it ----------------------------------------------

    def views(self) -> list[LayerView]:
        """Return the parts that the placement shows, each in a layer of its own."""
        with self.lock:
            places = [place for place in self._places() if place not in self._gone]
            return [LayerView(self, place, self._shown_by) for place in places[:_MOST_PLACES]]

    @property
    def places_left_out(self) -> int:
        """How many more views there would be if a viewer could take so many."""
        with self.lock:
            return max(0, len(self.seen) - _MOST_PLACES)

    def _places(self) -> list[Place]:
        """Return all places but those whose items are in all others as well: they say less."""
        some = list(itertools.islice(self.seen, 2 * _MOST_PLACES))
        if len({tuple(place.fixed) for place in some}) < 2:
            return some
        fixed = [place.fixed.items() for place in some]
        return [p for p in some if not any(p.fixed.items() < other for other in fixed)]

    def place_anew(self) -> None:
        """Sort what is here by a placement that has changed."""
        with self.lock:
            self.seen.clear()
            for at in (*self.planes.coordinates(), *self.sets.coordinates()):
                self._see(at)
            if self._all.count:
                place = self._shown_by.place(self._all.latest)
                self.seen.setdefault(place, Seen(1)).note(self._all.latest, self._all.published)

    def discard(self, place: Place = Place()) -> None:  # noqa: B008  (it is frozen)
        """Let go of the items of a place, and of those to come."""
        with self.lock:
            self._gone.add(place)
            self.planes.clear(place.owns)
            self.sets.clear(place.owns)

    # ---- what comes ------------------------------------------------------------------

    def put_plane(
        self,
        at: At,
        plane: np.ndarray,
        transform: Transform | None = None,
        published: float = math.inf,
        whole: Whole | None = None,
    ) -> bool:
        """Place a plane, which belongs to the layer from now on.

        Parameters
        ----------
        at : dict of str to Coordinate
        plane : ndarray
            At most as large as the layer's planes.
        transform : Transform, optional
            Where its pixels lie, if not where those of all others do.
        published : float
            When, in seconds; by default now. The sliders follow the newest.
        whole : Whole, optional
            What it was taken from, if only every so many pixels are there.

        Returns
        -------
        bool
            Whether an axis grew, which other layers may share.
        """
        follows = self.kind == "image" and not self.declare.rgb
        limits = _range_of(plane) if follows else None
        self.planes.make_room()  # not with the lock held: it may wait for the disk
        with self.lock:
            if self._is_gone(at):
                return False
            self.planes.put(at, plane, whole)
            self._note_transform(at, transform)
            if limits is not None:
                low, high = self._range or limits
                self._range = min(low, limits[0]), max(high, limits[1])
            return self._placed(at, published)

    def put_set(
        self,
        at: At,
        arrays: dict[str, np.ndarray],
        *,
        key: str = "",
        append: bool = False,
        published: float = math.inf,
    ) -> bool:
        """Place a set of points or the like; return whether an axis grew.

        Parameters as for :meth:`GeometryStore.put` and :meth:`put_plane`.
        """
        with self.lock:
            if self._is_gone(at):
                return False
            self.sets.put(at, arrays, key, append)
            return self._placed(at, published)

    def patched(
        self, at: At, offset: tuple[int, ...], part: np.ndarray | Reduced, canvas: np.ndarray
    ) -> np.ndarray:
        """Return the plane at coordinates with a part of it replaced.

        Parameters
        ----------
        at : dict of str to Coordinate
        offset : tuple of int
            Where the part lies along each of the plane's axes.
        part : ndarray or Reduced
        canvas : ndarray
            Memory for the plane.
        """
        before = self.planes.get_exactly(at)
        canvas[...] = 0
        if before is not None:
            canvas[tuple(slice(n) for n in before.shape)] = before
        canvas[tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=False))] = part
        return canvas

    def clear(self) -> None:
        """Let go of all items; others may come."""
        with self.lock:
            self.planes.clear()
            self.sets.clear()

    def takes(self, declare: Declare, *, padded: bool) -> bool:
        """Whether a stream with this declaration belongs to this layer.

        Parameters
        ----------
        declare : Declare
        padded : bool
            Whether planes of other lengths do.
        """
        ours = self.declare
        same = all(getattr(ours, f) == getattr(declare, f) for f in _STRUCTURE)
        if not self.has_planes:  # each plane has a transform of its own
            same = same and ours.scale == declare.scale and ours.translate == declare.translate
        elif padded and not ours.rgb:
            return same and len(ours.shape) == len(declare.shape)
        return same and ours.shape == declare.shape

    def difference(self, declare: Declare) -> str:
        """Return why a stream is not taken: ``shape 7 x 8, before 6 x 8``."""
        pairs = [(f, getattr(declare, f), getattr(self.declare, f)) for f in _TOLD]
        return "; ".join(
            f"{f} {_said(f, new)}, before {_said(f, old)}" for f, new, old in pairs if new != old
        )

    def grow(self, declare: Declare) -> None:
        """Take in planes of another stream's shape."""
        if self.has_planes:
            with self.lock:
                self.planes.grow(declare.shape)

    def transform_at(self, position: Mapping[str, Coordinate]) -> Transform:
        """Return where the pixels of the plane at coordinates lie."""
        for names in sorted(self._transforms, key=len, reverse=True):
            at = frozenset((name, position[name]) for name in names if name in position)
            if at in self._transforms[names]:
                return self._transforms[names][at]
        return Transform(self.declare.scale, self.declare.translate)

    @property
    def has_transforms(self) -> bool:
        """Whether some planes lie elsewhere than the others."""
        return bool(self._transforms)

    def _note_transform(self, at: At, transform: Transform | None) -> None:
        names, values = frozenset(at), frozenset(at.items())
        if transform is not None:
            self._transforms.setdefault(names, {})[values] = transform
        elif names in self._transforms:
            self._transforms[names].pop(values, None)

    def _is_gone(self, at: At) -> bool:
        return any(place.owns(at) for place in self._gone)

    def _placed(self, at: At, published: float) -> bool:
        """Note where the newest item is; return whether that made an axis grow."""
        self.own |= at.keys()
        self._all.note(at, published)
        self._see(at, published)
        return self.shared_axes.add(at)

    def _see(self, at: At, published: float = -math.inf) -> None:
        self.seen.setdefault(self._shown_by.place(at), Seen()).note(at, published)

    def _seen(self) -> Seen:
        return self._all


_MOST_PLACES = 64
_STRUCTURE = ("kind", "dtype", "axes", "rgb", "units", "features")
_TOLD = ("shape", *_STRUCTURE, "scale", "translate")


def _said(field: str, value: Any) -> str:
    """Return a field of a declaration for people."""
    if field == "dtype":
        return str(np.dtype(value))
    if isinstance(value, Mapping | tuple):
        return (" x " if field == "shape" else ", ").join(map(str, value)) or "none"
    return str(value)


def _range_of(plane: np.ndarray) -> tuple[float, float] | None:
    """Return the range of a plane, judged by every eighth pixel; None where it has none."""
    few = plane[..., ::8, ::8]
    if few.dtype.kind == "f":
        few = few[np.isfinite(few)]
    return (float(few.min()), float(few.max())) if few.size else None
