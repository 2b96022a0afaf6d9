"""The streamed layers, what is known about them, and who wants to know when they change."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.counters import LayerCounters, LayerStats
from napari_streaming.receive.geometry_store import GeometryStore
from napari_streaming.receive.placement import Axes, Axis
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.plane_stack import PlaneStack, StackView
from napari_streaming.settings import ReceiverSettings
from napari_streaming.wire.messages import (
    FEATURE_PREFIX,
    Coordinate,
    Declare,
    LayerKind,
    Metric,
    Status,
)

__all__ = ["Catalog", "LogLine", "MetricSeries", "StreamedLayer"]

_MAX_METRIC = 1_000_000
_MAX_LOG = 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the user, from a publisher or from the receiver itself."""

    time: float
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """The values of one quantity, in order of arrival; the oldest of a million go."""

    steps: deque[float]
    values: deque[float]
    times: deque[float]


class StreamedLayer:
    """One layer, as arrays. All properties are safe in any thread.

    Attributes
    ----------
    name : str
        Unique in the catalog: a new revision of "nuclei" is "nuclei [2]".
    declare : Declare
        What its publisher said of it.
    counters : LayerCounters
    """

    def __init__(
        self,
        name: str,
        declare: Declare,
        axes: Axes,
        memory: PlaneMemory,
        lock: threading.Condition,
    ) -> None:
        self.name, self.declare, self.counters = name, declare, LayerCounters()
        self._axes, self._lock = axes, lock
        self._own: set[str] = set()
        self._latest: dict[str, Coordinate] = {}
        self._range: tuple[float, float] | None = None
        self._discarded = False
        self._planes = PlaneStack(declare.shape, np.dtype(declare.dtype), memory)
        self._geometry = GeometryStore(declare)

    def discard(self) -> None:
        """Let go of all items, and of those to come: nobody looks at this layer any more."""
        with self._lock:
            self._discarded = True
            self._planes.clear()
            self._geometry.clear()

    @property
    def kind(self) -> LayerKind:
        """The layer type."""
        return self.declare.kind

    @property
    def has_planes(self) -> bool:
        """Whether it is of images or labels: not of points and the like."""
        return self.kind in ("image", "labels")

    @property
    def stack_axes(self) -> tuple[str, ...]:
        """Names of the axes that the planes, or the sets of points and the like, stack along."""
        with self._lock:
            return tuple(axis.name for axis in self._spanned())

    def _spanned(self) -> list[Axis]:
        """Return the stack axes; points and the like may share one of their own axes."""
        shared = () if self.has_planes else self.declare.axes
        return self._axes.spanning(self._own.union(shared))

    @property
    def own_axes(self) -> frozenset[str]:
        """Names of the stack axes that its items have coordinates of."""
        with self._lock:
            return frozenset(self._own)

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
        with self._lock:
            yield

    def value_at(self, axis: str, position: int) -> Coordinate | None:
        """Return the value at a position of a stack axis; None outside."""
        with self._lock:
            view = self._axes[axis].view()
        return view.values[position] if 0 <= position < view.length else None

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
        with self._lock:
            views = [axis.view() for axis in self._spanned()]
        return {view.name: view.values[: view.length] for view in views}

    @property
    def latest(self) -> dict[str, int]:
        """Position of the newest item along each stack axis that it has."""
        with self._lock:
            return {name: self._axes[name].index(v) for name, v in self._latest.items()}

    @property
    def data(self) -> StackView | np.ndarray | list[np.ndarray] | tuple[np.ndarray, ...]:
        """What a napari layer of its kind has as ``data``.

        The planes of images and labels as a lazy array of fixed shape. Of points (n, axes),
        of vectors (n, 2, axes), of tracks (n, 1 + axes): a track's number comes first. A list
        of the vertices (v, axes) of each shape. Vertices, faces and values of a surface.
        """
        with self._lock:
            if self.has_planes:
                return StackView(self._planes, [axis.view() for axis in self._spanned()])
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
        with self._lock:
            axes = [axis for axis in self._spanned() if axis.name not in (fixed or {})]
            return self._geometry.join(axes, fixed)

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
        if self.declare.contrast_limits or self._range is None:
            return self.declare.contrast_limits
        low, high = self._range
        return low, high if high > low else low + 1.0

    def stats(self) -> LayerStats:
        """Return the counters of this layer."""
        return self.counters.stats(time.time())

    def put_plane(self, at: dict[str, Coordinate], plane: np.ndarray) -> bool:
        """Place a plane, which belongs to the layer from now on.

        Returns
        -------
        bool
            Whether an axis grew, which other layers may share.
        """
        follows = self.kind == "image" and not self.declare.rgb
        limits = _range_of(plane) if follows else None
        self._planes.make_room()  # not with the lock held: it may wait for the disk
        with self._lock:
            if self._discarded:
                return False
            self._planes.put(at, plane)
            if limits is not None:
                low, high = self._range or limits
                self._range = min(low, limits[0]), max(high, limits[1])
            return self._placed(at)

    def put_set(
        self,
        at: dict[str, Coordinate],
        arrays: dict[str, np.ndarray],
        *,
        key: str = "",
        append: bool = False,
    ) -> bool:
        """Place a set of points or the like; return whether an axis grew.

        Parameters as for :meth:`GeometryStore.put`.
        """
        with self._lock:
            if self._discarded:
                return False
            self._geometry.put(at, arrays, key, append)
            return self._placed(at)

    def _placed(self, at: dict[str, Coordinate]) -> bool:
        """Note where the newest item is; return whether that made an axis grow."""
        self._own |= at.keys()
        self._latest = at
        return self._axes.add(at)

    def takes(self, declare: Declare) -> bool:
        """Whether a stream with this declaration belongs to this layer."""
        ours = self.declare
        same = ("kind", "dtype", "shape", "axes", "rgb", "scale", "translate", "units", "features")
        return all(getattr(ours, field) == getattr(declare, field) for field in same)


class Catalog(Mapping[str, StreamedLayer]):
    """The layers by name, the metrics and the log. Safe in any thread.

    Parameters
    ----------
    arena : Arena, optional
        Where planes are read back to, if they went to the disk.
    budget : int, optional
        Bytes of planes in memory; by default as :class:`ReceiverSettings` has it.

    Attributes
    ----------
    metrics : dict of str to MetricSeries
    log : deque of LogLine
    """

    def __init__(self, arena: Arena | None = None, budget: int | None = None) -> None:
        self.metrics: dict[str, MetricSeries] = {}
        self.log: deque[LogLine] = deque(maxlen=_MAX_LOG)
        self._changed = threading.Condition(threading.RLock())
        self._version = 0
        self._axes = Axes()
        self._layers: dict[str, StreamedLayer] = {}
        self._dirty: dict[str, StreamedLayer] = {}
        itself = weakref.ref(self)  # so that all planes go as soon as the catalog goes

        def warn(text: str) -> None:
            if (catalog := itself()) is not None:
                catalog.say("warning", text)

        budget = ReceiverSettings().budget if budget is None else budget
        self._memory = PlaneMemory(budget, arena or Arena(), warn)

    def __getitem__(self, name: str) -> StreamedLayer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._layers))

    def __len__(self) -> int:
        return len(self._layers)

    def declare(self, declare: Declare) -> StreamedLayer:
        """Return the layer that a stream belongs to, made if there is none."""
        with self._changed:
            revision, name = 1, declare.name
            while (layer := self._layers.get(name)) is not None:
                if layer.takes(declare):
                    return layer
                revision += 1
                name = f"{declare.name} [{revision}]"
            if revision > 1:
                self.say("info", f"{declare.name!r} changed its structure: shown as {name!r}")
            layer = StreamedLayer(name, declare, self._axes, self._memory, self._changed)
            self._layers[name] = layer
        return layer

    def touch(self, layer: StreamedLayer, *, all_layers: bool) -> None:
        """Note that a layer changed, or all of them: a shared axis grew."""
        with self._changed:
            self._dirty |= self._layers if all_layers else {layer.name: layer}
            self.notify()

    def take_dirty(self) -> list[StreamedLayer]:
        """Return the layers that changed since the last call, in order of their change."""
        with self._changed:
            dirty, self._dirty = self._dirty, {}
        return list(dirty.values())

    def add_metric(self, metric: Metric) -> None:
        """Append values to a metric."""
        with self._changed:
            series = self.metrics.get(metric.name)
            if series is None:
                columns: list[Any] = [deque(maxlen=_MAX_METRIC) for _ in range(3)]
                series = self.metrics[metric.name] = MetricSeries(*columns)
            series.steps.extend(metric.steps)
            series.values.extend(metric.values)
            series.times.extend(metric.times)
            self.notify()

    def add_status(self, status: Status, offset: float) -> None:
        """Append a publisher's line; `offset` takes its time to this side's clock."""
        self._append(LogLine(status.time - offset, status.level, status.text))

    def say(self, level: str, text: str) -> None:
        """Append a line of the receiver's own."""
        self._append(LogLine(time.time(), level, text))

    def _append(self, line: LogLine) -> None:
        with self._changed:
            self.log.append(line)
            self.notify()

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def notify(self) -> None:
        """Wake up who waits for a change."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def wait(self, version: int, timeout: float) -> None:
        """Wait until something has changed since `version`, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)


def _range_of(plane: np.ndarray) -> tuple[float, float] | None:
    """Return the range of a plane, judged by every eighth pixel; None where it has none."""
    few = plane[..., ::8, ::8]
    if few.dtype.kind == "f":
        few = few[np.isfinite(few)]
    return (float(few.min()), float(few.max())) if few.size else None
