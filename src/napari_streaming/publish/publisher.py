"""The SDK's face: what a pipeline calls to be watched."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from napari_streaming.errors import ClosedError, DataError
from napari_streaming.publish.layers import LayerSpec, image_spec, labels_spec, points_spec
from napari_streaming.publish.sink import Sink, SinkStats
from napari_streaming.publish.staging import (
    INLINE,
    Lent,
    Parcel,
    Staged,
    check_dtype,
    clean_coordinates,
    clean_name,
    clean_text,
    stage,
)
from napari_streaming.publish.viewer_process import start_viewer
from napari_streaming.settings import PublisherSettings
from napari_streaming.transport.pool import Pool, Slot
from napari_streaming.transport.runtime import host_identity, new_token, program_name
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Declare, End, Message, Peer, Status, StatusLevel

__all__ = ["Publisher", "PublisherStats"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherStats:
    """What a publisher has done so far.

    Parameters
    ----------
    published : int
        Items that were handed in.
    sent, dropped, bytes : int
        Summed over all sinks: items sent, items given up, bytes sent.
    memory : int
        Bytes that planes take now while they wait.
    sinks : tuple of SinkStats
        For each URL.
    """

    published: int
    sent: int
    dropped: int
    bytes: int
    memory: int
    sinks: tuple[SinkStats, ...]


@dataclass(slots=True)
class _Stream:
    """A layer's stream: its declaration, and where its numbering stands."""

    spec: LayerSpec
    declare: Declare
    published: int = 0
    latest: Parcel | None = None


@dataclass(slots=True)
class _Streams:
    """The streams of a publisher, shared with the threads of its sinks."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    by_name: dict[tuple[str, str], list[_Stream]] = field(default_factory=dict)
    all: list[_Stream] = field(default_factory=list)


class Publisher:
    """Streams layers, metrics and status to viewers, and never waits for one.

    Every call copies its data into memory of the publisher's own and returns. When viewers
    are slower than the program, or there is none, the newest data wins: what waits longest
    is given up, counted, and told to the viewer as a gap.

    Parameters
    ----------
    *urls : str
        Where to: a URL is connected to, with ``?listen`` it waits there for viewers.
    spawn : bool
        Start a viewer at each URL where none listens on this machine.
    name : str, optional
        What viewers call this program; by default the script's name.
    settings : PublisherSettings, optional
        Limits.

    Raises
    ------
    URLError
        A URL cannot be used as given.
    TransportError
        An address to listen at is taken or not allowed.

    Examples
    --------
    >>> with Publisher("tcp://127.0.0.1:5555") as pub:
    ...     pub.image("nuclei", plane, at={"well": "A01", "t": 3})
    """

    def __init__(
        self,
        *urls: str,
        spawn: bool = False,
        name: str | None = None,
        settings: PublisherSettings | None = None,
    ) -> None:
        self._settings = settings or PublisherSettings()
        parsed = [parse_url(url) for url in urls]
        self._process = os.getpid()
        self._closed = False
        self._publishing = threading.Lock()
        self._streams = _Streams()
        self._lent: dict[int, Lent] = {}
        self._pool = Pool(self._settings.memory)
        self._progress = threading.Event()
        self.segment = self._pool.segment
        me = Peer(
            role="publish",
            program=program_name(name),
            software=f"napari-streaming/{version('napari-streaming')}",
            host=host_identity(),
            pid=self._process,
            run=new_token(),
        )
        self._sinks: list[Sink] = []
        try:
            for url in parsed:
                if spawn:
                    start_viewer(url)
                self._sinks.append(Sink(url, me, self))
        except Exception:
            self.close(0)
            raise
        atexit.register(_close_at_exit, weakref.ref(self))

    # ---- layers ----------------------------------------------------------------------

    def image(
        self,
        name: str,
        plane: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        axes: Sequence[str] | None = None,
        rgb: bool | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        colormap: str = "",
        contrast_limits: Sequence[float] | None = None,
    ) -> None:
        """Stream one plane (or volume) of an image layer.

        Parameters
        ----------
        name : str
            The layer. A change of shape, dtype, axes or scale starts a new one beside it.
        plane : array-like, shape (..., y, x) or (..., y, x, 3 or 4)
            bool, integers or floats up to 64 bits; any memory layout and byte order.
        at : mapping of str to int, float or str, optional
            Where it belongs, by named coordinates: ``{"well": "A01", "t": 3}``. Planes
            with different coordinates stack along axes of these names.
        axes : sequence of str, optional
            Names of the plane's own axes; by default the last of ``z, y, x``.
        rgb : bool, optional
            Whether the last axis is colour; by default if it is 3 or 4 long and uint8.
        scale, translate : sequence of float, optional
            Of the plane's own axes, in `units`.
        units : str or sequence of str, optional
            One for all of the plane's own axes, or one for each: ``"um"``.
        colormap : str, optional
            A colormap name of napari's. Told once: later the viewer's user decides.
        contrast_limits : (float, float), optional
            Told once, too. By default they follow the data until the user sets them.

        Raises
        ------
        DataError
            The plane, its name or its coordinates cannot be streamed.
        ClosedError
            The publisher is closed.
        """
        spec, array = image_spec(
            plane, axes=axes, rgb=rgb, scale=scale, translate=translate, units=units,
            colormap=colormap, contrast_limits=contrast_limits,
        )  # fmt: skip
        self._publish(name, spec, at, {"data": array})

    def labels(
        self,
        name: str,
        mask: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
    ) -> None:
        """Stream one plane of a labels layer.

        Parameters
        ----------
        name : str
            The layer.
        mask : array-like of bool or integer, shape (..., y, x)
            0 is background.
        at, axes, scale, translate, units
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, array = labels_spec(mask, axes=axes, scale=scale, translate=translate, units=units)
        self._publish(name, spec, at, {"data": array})

    def points(
        self,
        name: str,
        coordinates: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        features: Mapping[str, ArrayLike] | None = None,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
    ) -> None:
        """Stream the points at some coordinates; they replace those that were there.

        Parameters
        ----------
        name : str
            The layer.
        coordinates : array-like of number, shape (n, d)
            In pixels, in the order of `axes` (by default the last `d` of ``z, y, x``).
            `n` may be 0.
        features : mapping of str to array-like, shape (n,), optional
            A column of numbers or strings for each name.
        at, axes, scale, translate, units
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, arrays = points_spec(
            coordinates, features or {}, axes=axes, scale=scale, translate=translate, units=units
        )
        self._publish(name, spec, at, arrays)

    @contextlib.contextmanager
    def allocate(self, shape: Sequence[int], dtype: DTypeLike) -> Iterator[np.ndarray]:
        """Lend memory to compute a plane into, so that publishing it copies nothing.

        Publish the array itself, not a part of it, inside the ``with`` block. From then on
        it is read-only: viewers look at the same memory.

        Parameters
        ----------
        shape : sequence of int
        dtype : dtype-like

        Yields
        ------
        ndarray
            Not cleared. Ordinary memory when the publisher's own is full: it works the
            same, with a copy.

        Raises
        ------
        DataError
            Such an array cannot be streamed.
        ClosedError
            The publisher is closed.
        """
        self._check_open()
        kind, size = np.dtype(dtype), tuple(int(n) for n in shape)
        check_dtype("allocate", kind)
        if any(n < 0 for n in size):
            raise DataError(f"allocate: a shape of {size} is not possible")
        slot = self._make_slot(math.prod(size) * kind.itemsize)
        if slot is None:
            yield np.empty(size, kind)
            return
        array = slot.array(size, kind)
        address = array.__array_interface__["data"][0]
        self._lent[address] = Lent(slot, array)
        try:
            yield array
        finally:
            array.flags.writeable = False  # the memory is soon another plane's
            del self._lent[address]
            slot.release()

    # ---- the rest --------------------------------------------------------------------

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """Stream one value of a quantity.

        Parameters
        ----------
        name : str
            The quantity.
        value : float
            NaN and infinities are allowed.
        step : float, optional
            Where on the axis of its graph; by default the time, in seconds since the epoch.
        """
        self._check_open()
        now = time.time()
        name = clean_name(name)
        for sink in self._sinks:
            for outbox in sink.outboxes():
                outbox.put_metric(name, float(now if step is None else step), float(value), now)
            sink.wake()

    def status(self, level: StatusLevel, text: str) -> None:
        """Stream a line for the viewer's user.

        Parameters
        ----------
        level : {"info", "warning", "error", "complete"}
        text : str
            Cut after 65536 characters.
        """
        self._check_open()
        if level not in ("info", "warning", "error", "complete"):
            raise DataError(f"status {level!r}: use info, warning, error or complete")
        self._tell(Status(level, clean_text(str(text))[:65536], time.time()))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every viewer has acknowledged everything.

        Parameters
        ----------
        timeout : float
            Seconds to wait at the most.

        Returns
        -------
        bool
            Whether all is acknowledged. Where a URL is connected to and no viewer is
            there, nothing is. A listening URL without viewers owes nothing to anybody.

        Raises
        ------
        ClosedError
            The publisher is closed.
        """
        self._check_open()
        return self._wait_until_idle(timeout)

    def _wait_until_idle(self, timeout: float) -> bool:
        for sink in self._sinks:
            sink.wake()
        deadline = time.monotonic() + timeout
        while True:
            self._progress.clear()
            if self._is_idle():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._progress.wait(min(remaining, 0.1))  # another flush may have cleared it

    def _is_idle(self) -> bool:
        return all(outbox.is_idle for sink in self._sinks for outbox in sink.outboxes())

    def stats(self) -> PublisherStats:
        """Return what was sent and dropped so far, for each sink."""
        self._check_process()
        sinks = tuple(sink.stats() for sink in self._sinks)
        return PublisherStats(
            published=sum(stream.published for stream in list(self._streams.all)),
            sent=sum(sink.tally.sent for sink in sinks),
            dropped=sum(sink.tally.dropped for sink in sinks),
            bytes=sum(sink.tally.bytes for sink in sinks),
            memory=self._pool.in_use,
            sinks=sinks,
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """What a viewer elsewhere is given to reach each listening URL, token included."""
        return tuple(s.url.shareable() for s in self._sinks if s.url.listen)

    def close(self, timeout: float | None = None) -> None:
        """Send what waits, then let go; never longer than `timeout`.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default the ``close_timeout`` of the settings.
        """
        if self._closed or os.getpid() != self._process:
            return
        limit = self._settings.close_timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        with self._publishing:
            if self._closed:
                return
            self._closed = True
        for sink in self._sinks:
            for outbox in sink.outboxes():
                outbox.put_last(End())
            sink.wake()
        self._wait_until_idle(max(0.0, deadline - time.monotonic()))
        for sink in self._sinks:
            sink.close(max(0.1, deadline - time.monotonic()))
        self._pool.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- staging ---------------------------------------------------------------------

    def _publish(
        self,
        name: str,
        spec: LayerSpec,
        at: Mapping[str, Any] | None,
        arrays: Mapping[str, np.ndarray],
    ) -> None:
        now = time.time()
        name, where = clean_name(name), clean_coordinates(at)
        if clash := where.keys() & set(spec.axes):
            raise DataError(f"{name!r}: {sorted(clash)[0]!r} is an axis of the plane, not of `at`")
        nbytes = sum(array.nbytes for array in arrays.values())
        largest = max(array.nbytes for array in arrays.values())
        if largest > max(self._pool.room, INLINE):
            raise DataError(
                f"{name!r}: {largest} bytes do not fit in the {self._settings.memory} that planes "
                f"may take: use PublisherSettings(memory={4 * largest}) or more"
            )
        self._check_process()  # before the lock, which a thread left behind may have held
        with self._publishing:
            self._check_open()
            stream = self._stream(name, spec)
            staged = self._stage(arrays)
            sequence = stream.published
            stream.published += 1
            if staged is None:
                for sink in self._sinks:
                    for outbox in sink.outboxes():
                        outbox.note_drop(stream.declare.stream, sequence)
                return
            parcel = Parcel(stream.declare.stream, sequence, now, where, staged, nbytes)
            for sink in self._sinks:
                for outbox in sink.outboxes():
                    outbox.put(parcel)
                sink.wake()
            self._keep(stream, parcel)

    def _keep(self, stream: _Stream, parcel: Parcel) -> None:
        """Keep the latest parcel of a stream for late joiners, in half of the memory."""
        with self._streams.lock:
            before, stream.latest = stream.latest, parcel
            kept = sum(one.latest.nbytes for one in self._streams.all if one.latest)
        if before is not None:
            before.release()
        if kept > self.segment.size // 2:
            self._forget_latest()

    def _stream(self, name: str, spec: LayerSpec) -> _Stream:
        """Return the stream of a layer, declared anew if its structure changed."""
        known = self._streams.by_name.setdefault((name, spec.kind), [])
        for stream in reversed(known):
            if stream.spec.same_structure(spec):
                return stream
        stream = _Stream(spec, spec.declare(len(self._streams.all), name))
        known.append(stream)
        with self._streams.lock:
            self._streams.all.append(stream)
        self._tell(stream.declare)
        return stream

    def _stage(self, arrays: Mapping[str, np.ndarray]) -> tuple[Staged, ...] | None:
        """Copy arrays to where they wait; None if there is no room even so."""
        staged: list[Staged] = []
        for name, array in arrays.items():
            one = stage(name, array, self._make_slot, self._lent)
            if one is None:
                for other in staged:
                    other.release()
                return None
            staged.append(one)
        return tuple(staged)

    def _make_slot(self, nbytes: int) -> Slot | None:
        """Return a slot, giving up what is worth least until there is room."""
        while (slot := self._pool.allocate(nbytes)) is None:
            outboxes = [outbox for sink in self._sinks for outbox in sink.outboxes()]
            outboxes.sort(key=lambda outbox: outbox.queued_bytes, reverse=True)
            if not (
                any(outbox.drop_superseded(in_pool=True) for outbox in outboxes)
                or self._forget_latest()
                or any(outbox.drop_oldest(in_pool=True) for outbox in outboxes)
            ):
                return None
        return slot

    def _forget_latest(self) -> bool:
        """Let go of the oldest parcel that is only kept for viewers yet to come."""
        with self._streams.lock:
            kept = [
                (stream.latest.time, index, stream.latest)
                for index, stream in enumerate(self._streams.all)
                if stream.latest and stream.latest.in_pool and stream.latest.is_idle
            ]
            if not kept:
                return False
            _, index, parcel = min(kept)
            self._streams.all[index].latest = None
        parcel.release()
        return True

    def _tell(self, message: Message) -> None:
        for sink in self._sinks:
            for outbox in sink.outboxes():
                outbox.put_message(message)
            sink.wake()

    def _check_open(self) -> None:
        self._check_process()
        if self._closed:
            raise ClosedError("this Publisher is closed; make a new one")

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                f"this Publisher belongs to process {self._process}; after a fork, make a new one"
            )

    # ---- what the sinks ask for ------------------------------------------------------

    def declarations(self) -> Iterable[Declare]:
        """Return the declaration of every stream."""
        with self._streams.lock:
            return [stream.declare for stream in self._streams.all]

    def latest_parcels(self) -> Iterable[Parcel]:
        """Return the latest parcel of every stream, retained."""
        with self._streams.lock:
            return [stream.latest.retain() for stream in self._streams.all if stream.latest]

    def window_share(self) -> int:
        """Return how many bytes one viewer may have under way: frozen ones pin them."""
        viewers = sum(sink.viewers for sink in self._sinks)
        return self.segment.size // (2 * max(1, viewers))

    def changed(self) -> None:
        """Wake up who waits in :meth:`flush`."""
        self._progress.set()

    def complain(self, text: str) -> None:
        """Log what a viewer complains about."""
        logger.warning(text)


def _close_at_exit(reference: weakref.ref[Publisher]) -> None:
    publisher = reference()
    if publisher is not None:
        publisher.close()
