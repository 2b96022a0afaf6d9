"""What a publisher runs on: its memory, its streams and its sinks."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from napari_streaming.errors import ClosedError, DataError
from napari_streaming.publish.control import Steering
from napari_streaming.publish.history import History
from napari_streaming.publish.journal import Journal
from napari_streaming.publish.layers import LayerSpec
from napari_streaming.publish.outbox import Outbox
from napari_streaming.publish.post import Post
from napari_streaming.publish.sink import Sink
from napari_streaming.publish.spool import Spool
from napari_streaming.publish.staging import (
    INLINE,
    Lent,
    Parcel,
    Staged,
    clean_coordinates,
    clean_name,
    clean_text,
    stage,
)
from napari_streaming.publish.stats import PublisherStats
from napari_streaming.publish.streams import Streams
from napari_streaming.settings import PublisherSettings
from napari_streaming.transport.base import HttpHandler
from napari_streaming.transport.pool import Pool, Slot
from napari_streaming.uri import StreamURL
from napari_streaming.wire.messages import (
    Elsewhere,
    End,
    Message,
    Outline,
    Peer,
    Status,
    Subscribe,
)
from napari_streaming.wording import counted

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

# A program that computes between two calls finds the processor's caches cold: what `publish`
# calls in Python, it pays for in microseconds each.
_nbytes = attrgetter("nbytes")


class Engine:
    """Stages what is published and hands it to every sink. Thread-safe.

    Parameters
    ----------
    settings : PublisherSettings
    steering : callable, optional
        Makes what viewers steer, of how they are told and for how long a pause is kept.
    """

    def __init__(
        self,
        settings: PublisherSettings,
        steering: Callable[[Callable[[Message], None], float], Steering] = Steering,
    ) -> None:
        self._memory, self._process = settings.memory, os.getpid()
        self._closed = self._is_loss_told = False
        self._publishing = threading.Lock()
        self._streams, self.journal = Streams(), Journal()
        self.steering = steering(self.tell, settings.lease)
        self._lent: dict[int, Lent] = {}
        self._pool = Pool(settings.memory)
        self._spool = Spool(settings.spool, settings.spool_folder)
        half = settings.memory // 2
        self._history = History(half, min(half, settings.history), self._spool)
        self.find = self._history.find
        self._progress = threading.Event()
        self._sinks: list[Sink] = []
        self._post = Post(self._history, self.outboxes)
        self._largest = max(self._pool.room, INLINE)
        self.segment = self._pool.segment

    def open_sink(self, url: StreamURL, me: Peer, http: HttpHandler | None = None) -> None:
        """Stream to one more URL; `http` has pages for browsers, where they can ask.

        Raises
        ------
        TransportError
            The address cannot be used.
        """
        self._sinks.append(Sink(url, me, self, http))

    def shut_sink(self, url: StreamURL, timeout: float) -> None:
        """Stop streaming to a URL, once it has what waits for it or `timeout` seconds are over."""
        gone = [sink for sink in self._sinks if sink.url.address == url.address]
        self._post.deliver()
        self.wake()
        self._wait_until(lambda: all(b.is_idle for s in gone for b in s.outboxes()), timeout)
        self._sinks = [sink for sink in self._sinks if sink not in gone]
        for sink in gone:
            sink.close(timeout)

    def outboxes(self) -> list[Outbox]:
        """Return the outboxes of all sinks."""
        return [outbox for sink in self._sinks for outbox in sink.outboxes()]

    def wake(self) -> None:
        """Have the sinks send what was queued."""
        for sink in self._sinks:
            sink.wake()

    @property
    def urls(self) -> tuple[str, ...]:
        """What a viewer elsewhere is given to reach each listening URL, token included."""
        return tuple(s.url.shareable() for s in self._sinks if s.url.listen)

    @property
    def pages(self) -> tuple[str, ...]:
        """What a browser is given to look on, at each URL where it can, token included."""
        return tuple(page for s in self._sinks if s.has_pages and (page := s.url.page()))

    def publish(
        self,
        name: str,
        spec: LayerSpec,
        at: Mapping[str, Any] | None,
        arrays: Mapping[str, np.ndarray],
        **extra: Any,
    ) -> None:
        """Stage one item and queue it for every viewer.

        Parameters
        ----------
        name : str
            The layer.
        spec : LayerSpec
            Its structure; another one than before makes another stream.
        at : mapping of str to int, float or str, or None
            Named coordinates.
        arrays : mapping of str to ndarray
            By their names in the item.
        **extra
            Fields of the Item that few items have, already checked.

        Raises
        ------
        DataError
            It can never be sent as it is.
        ClosedError
            Nothing can be published any more.
        """
        now = time.time()
        name, where = clean_name(name), clean_coordinates(at)
        for axis in spec.axes:
            if axis in where or (extra and axis in extra.get("along", ())):
                raise DataError(f"{name!r}: {axis!r} is an axis of the plane, not of `at`")
        nbytes = sum(map(_nbytes, arrays.values()))
        largest = max(map(_nbytes, arrays.values()))
        if largest > self._largest:
            raise DataError(
                f"{name!r}: {largest} bytes do not fit in the {self._memory} that planes "
                f"may take: use PublisherSettings(memory={4 * largest}) or more"
            )
        self.check_process()  # before the lock, which a thread left behind may have held
        with self._publishing:
            if self._closed:
                self._check_not_closed()
            stream, is_new = self._streams.find(name, spec)
            if is_new:
                self.tell(stream.declare)
            if spec is not stream.spec and spec.transform != stream.spec.transform:
                extra |= {"scale": spec.scale, "translate": spec.translate}
            reliable = spec.qos == "reliable"
            staged = self._stage_safely(arrays, nbytes) if reliable else self._stage(arrays)
            sequence = stream.published
            stream.published += 1
            if staged is None:
                for outbox in self.outboxes():
                    outbox.note_drop(stream.declare.stream, sequence)
                return
            about = stream.declare
            parcel = Parcel(
                about.stream, sequence, now, where, staged, nbytes, extra, reliable, name, about
            )
            self._post.leave(parcel)
            if reliable:  # whose memory the history counts
                self._post.deliver()
            for sink in self._sinks:
                sink.collect()

    def _stage(
        self,
        arrays: Mapping[str, np.ndarray],
        make_slot: Callable[[int], Slot | None] | None = None,
    ) -> tuple[Staged, ...] | None:
        """Copy arrays to where they wait; None if there is no room even so."""
        staged: list[Staged] = []
        for name, array in arrays.items():
            one = stage(name, array, make_slot or self.make_slot, self._lent)
            if one is None:
                for other in staged:
                    other.release()
                return None
            staged.append(one)
        return tuple(staged)

    def _stage_safely(
        self, arrays: Mapping[str, np.ndarray], nbytes: int
    ) -> tuple[Staged, ...] | None:
        """Copy arrays to where nothing displaces them; None if no disk has room either."""
        staged = None
        if self._history.admits(nbytes):
            staged = self._stage(arrays, self._make_slot_gently)
        if staged is not None:
            return staged
        try:
            return self._history.stage_on_disk(arrays)
        except OSError as error:
            self._tell_loss(error)
            return None

    def make_slot(self, nbytes: int) -> Slot | None:
        """Return a slot, giving up what is worth least until there is room."""
        while (slot := self._make_slot_gently(nbytes)) is None:
            outboxes = sorted(self.outboxes(), key=lambda box: box.queued_bytes, reverse=True)
            if not (
                any(outbox.drop_superseded(in_pool=True) for outbox in outboxes)
                or self._history.forget_last()
                or any(outbox.drop_oldest(in_pool=True) for outbox in outboxes)
            ):
                return None
        return slot

    def _make_slot_gently(self, nbytes: int) -> Slot | None:
        """Return a slot, giving up nothing but history."""
        if (slot := self._pool.allocate(nbytes)) is not None:
            return slot
        self._post.deliver()  # where a viewer has too much waiting, this alone makes room
        while (slot := self._pool.allocate(nbytes)) is None:
            if not self._history.forget_superseded():
                return None
        return slot

    def _tell_loss(self, error: OSError) -> None:
        """Say once that a reliable stream is none any more."""
        if self._is_loss_told:
            return
        self._is_loss_told = True
        text = f"items of reliable streams are lost while viewers are slow or away: {error}"
        logger.warning(text)
        self.tell(Status("warning", clean_text(text), time.time()))

    def tell(self, message: Message) -> None:
        """Queue a small message for every viewer."""
        if isinstance(message, Status):
            self.journal.add_line(message)
        else:
            for outbox in self.outboxes():
                outbox.put_message(message)
        self.wake()

    def tell_for_good(self, key: str, message: Outline | Elsewhere) -> None:
        """Tell every viewer, those yet to come too, until another message has this key."""
        self._streams.keep(key, message)
        self.tell(message)

    def lend(self, address: int, lent: Lent) -> None:
        """Remember memory that a caller computes into."""
        self._lent[address] = lent

    def take_back(self, address: int) -> None:
        """Forget memory that was lent, and free it once no viewer needs it."""
        self._lent.pop(address).slot.release()

    def wait_until_idle(self, timeout: float) -> bool:
        """Return whether every viewer acknowledges everything within `timeout` seconds."""
        self.wake()
        return self._wait_until(self._is_idle, timeout)

    def _wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            self._progress.clear()
            if condition():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._progress.wait(min(remaining, 0.1))  # another flush may have cleared it

    def _is_idle(self) -> bool:
        self._post.deliver()
        return all(outbox.is_idle for outbox in self.outboxes())

    def stats(self) -> PublisherStats:
        """Return what was sent and dropped so far, for each sink."""
        self.check_process()
        self._post.deliver()
        sinks = tuple(sink.stats() for sink in self._sinks)
        return PublisherStats(
            published=self._streams.published,
            sent=sum(sink.tally.sent for sink in sinks),
            dropped=sum(sink.tally.dropped for sink in sinks),
            bytes=sum(sink.tally.bytes for sink in sinks),
            memory=self._pool.in_use,
            spool=self._spool.in_use,
            sinks=sinks,
        )

    def close_at_exit(self, timeout: float) -> None:
        """Close when the interpreter ends; to be called when all sinks are open.

        What was loaded last goes first: the transports are still there then.
        """
        atexit.register(self.close, timeout)

    def close(self, timeout: float) -> None:
        """Send what waits, then let go; never longer than `timeout` seconds."""
        if os.getpid() != self._process:
            return
        deadline = time.monotonic() + timeout
        with self._publishing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self.steering.end()
        self._post.deliver()
        for outbox in self.outboxes():
            outbox.put_message(End(), last=True)
        self.wait_until_idle(max(0.0, deadline - time.monotonic()))
        if unsafe := max((outbox.unsafe for outbox in self.outboxes()), default=0):
            logger.warning(
                "closed before a viewer took in %s of reliable streams", counted(unsafe, "item")
            )
        self._pool.close()  # first, so that a viewer which is late still reads what it was sent
        for sink in self._sinks:
            sink.close(max(0.1, deadline - time.monotonic()))
        self._history.clear()

    def check_open(self) -> None:
        """Raise ClosedError if nothing can be published."""
        self.check_process()
        self._check_not_closed()

    def _check_not_closed(self) -> None:
        if self._closed:
            raise ClosedError("this Publisher is closed; make a new one")

    def check_process(self) -> None:
        """Raise ClosedError in a process that was forked off."""
        if os.getpid() != self._process:
            raise ClosedError(
                f"this Publisher belongs to process {self._process}; after a fork, make a new one"
            )

    # ---- what the sinks ask for ------------------------------------------------------

    def standing(self) -> Iterable[Message]:
        """Return what each viewer is told first: what is declared, and where things stand."""
        return [*self._streams.standing(), *self.steering.standing]

    def deliver(self) -> None:
        """Have the outboxes take in all that was published before."""
        self._post.deliver()

    def due(self, subscribe: Subscribe, waiting: Sequence[Parcel]) -> list[Parcel]:
        """Return what a viewer is to get, of what waits for it and of what is kept, retained."""
        return self._history.due(subscribe, waiting)

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

    def report(self, text: str) -> None:
        """Tell every viewer what went wrong here."""
        if not self._closed:
            self.tell(Status("error", clean_text(text)[:65536], time.time()))
