"""One queue a viewer: it never blocks the producer, and when full the newest wins.

The producer's thread puts, the sink's thread takes; both only hold the lock for a moment.
Small messages have a lane of their own, so that a large image never keeps a status waiting.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from napari_streaming.publish.staging import Parcel
from napari_streaming.transport.base import Delivery
from napari_streaming.transport.channel import Link
from napari_streaming.wire.flow import Drops, SendWindow
from napari_streaming.wire.messages import (
    Ack,
    Attached,
    Declare,
    Item,
    Message,
    Metric,
    Segment,
    Status,
)

__all__ = ["Outbox", "Tally"]

_MESSAGES_UNDER_WAY = 1024
_MAX_QUEUED = 65536


@dataclass(slots=True)
class Tally:
    """What became of items: counts, and bytes that were sent."""

    sent: int = 0
    acknowledged: int = 0
    dropped: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.sent + other.sent,
            self.acknowledged + other.acknowledged,
            self.dropped + other.dropped,
            self.bytes + other.bytes,
        )


class Outbox:
    """What one viewer has yet to get.

    Parameters
    ----------
    max_bytes : int
        The most that may wait; beyond it the oldest parcel is given up.
    changed : callable
        Called without arguments when something was acknowledged or given up.
    """

    def __init__(self, max_bytes: int, changed: Callable[[], None]) -> None:
        self.tally = Tally()
        self.viewer = ""
        self._lock = threading.RLock()
        self._max_bytes = max_bytes
        self._changed = changed
        self._messages: deque[Message] = deque()
        self._last: Message | None = None
        self._is_closed = False
        self._metrics: dict[str, tuple[list[float], list[float], list[float]]] = {}
        self._parcels: deque[Parcel] = deque()
        self._waiting: Counter[int] = Counter()  # parcels of each stream in there
        self._queued_bytes = 0
        self._drops: dict[int, Drops] = {}  # not told yet
        self._items: SendWindow[tuple[Parcel, Delivery]] = SendWindow(0)
        self._notes: SendWindow[Message] = SendWindow(_MESSAGES_UNDER_WAY)
        self._limbo: list[tuple[Delivery, Parcel]] = []
        self._shared: bool | None = False  # None: the viewer has not answered yet

    # ---- the producer's side ---------------------------------------------------------

    def put(self, parcel: Parcel) -> None:
        """Queue a parcel, which the caller keeps its own hold of."""
        with self._lock:
            if self._is_closed:  # since the caller looked who is there
                return
            self._parcels.append(parcel.retain())
            self._count(parcel, 1)
            while self._queued_bytes > self._max_bytes or len(self._parcels) > _MAX_QUEUED:
                if not self.drop_superseded():
                    self.drop_oldest()

    def put_message(self, message: Message) -> None:
        """Queue a small message; of too many status lines the oldest go."""
        with self._lock:
            if self._is_closed:
                return
            self._messages.append(message)
            if len(self._messages) > _MAX_QUEUED:
                oldest = next((m for m in self._messages if isinstance(m, Status)), None)
                if oldest is not None:
                    self._messages.remove(oldest)

    def put_last(self, message: Message) -> None:
        """Queue a message behind everything that waits now."""
        with self._lock:
            self._last = None if self._is_closed else message

    def put_metric(self, name: str, step: float, value: float, time: float) -> None:
        """Queue a value; those of one name travel together."""
        with self._lock:
            if self._is_closed:
                return
            columns = self._metrics.setdefault(name, ([], [], []))
            for column, number in zip(columns, (step, value, time), strict=True):
                column.append(number)
                if len(column) > _MAX_QUEUED:
                    del column[: _MAX_QUEUED // 2]

    @property
    def queued_bytes(self) -> int:
        """Bytes of the parcels that wait."""
        return self._queued_bytes

    @property
    def is_idle(self) -> bool:
        """Whether the viewer has acknowledged everything."""
        with self._lock:
            waiting = self._messages or self._metrics or self._parcels or self._last or self._drops
            return not (waiting or len(self._items) or len(self._notes))

    @property
    def is_stuck(self) -> bool:
        """Whether nothing can be sent before the viewer acknowledges something."""
        with self._lock:
            if not self._parcels or self._messages or self._metrics:
                return False
            return not self._items.admits(self._parcels[0].nbytes)

    def drop_superseded(self, *, in_pool: bool = False) -> bool:
        """Give up the oldest parcel that a newer one of its stream waits behind.

        Parameters
        ----------
        in_pool : bool
            Only one that takes memory of the pool.

        Returns
        -------
        bool
            False if there is none.
        """
        with self._lock:
            return self._drop_first(lambda p: self._waiting[p.stream] > 1, in_pool)

    def drop_oldest(self, *, in_pool: bool = False) -> bool:
        """Give up the oldest parcel; parameters as for :meth:`drop_superseded`."""
        with self._lock:
            return self._drop_first(lambda _: True, in_pool)

    def _drop_first(self, chosen: Callable[[Parcel], bool], in_pool: bool) -> bool:
        for index, parcel in enumerate(self._parcels):
            if chosen(parcel) and (parcel.in_pool or not in_pool):
                del self._parcels[index]
                self._count(parcel, -1)
                self.note_drop(parcel.stream, parcel.sequence)
                parcel.release()
                return True
        return False

    def _count(self, parcel: Parcel, change: int) -> None:
        """Account for a parcel that comes into the queue, or leaves it."""
        self._waiting[parcel.stream] += change
        self._queued_bytes += change * parcel.nbytes

    def note_drop(self, stream: int, sequence: int) -> None:
        """Note that an item of a stream will never be sent."""
        with self._lock:
            self._drops.setdefault(stream, Drops()).add(sequence)
            self.tally.dropped += 1
        self._changed()

    # ---- the sink's side -------------------------------------------------------------

    def open(
        self,
        link: Link,
        declared: Callable[[], Iterable[Declare]],
        latest: Callable[[], Iterable[Parcel]],
        segment: Segment,
    ) -> None:
        """Start afresh with a link: what was under way before has not arrived.

        A viewer that is new here also gets the latest parcel of each stream, which
        `latest` returns retained. Both are asked with the queue held still, so that nothing
        that is published meanwhile falls between.
        """
        with self._lock:
            self._rewind()
            if link.peer.run != self.viewer:
                waiting = {id(parcel) for parcel in self._parcels}
                for parcel in reversed(list(latest())):
                    if id(parcel) in waiting:
                        parcel.release()
                    else:
                        self._parcels.appendleft(parcel)
                        self._count(parcel, 1)
            self.viewer = link.peer.run
            self._messages.extendleft(reversed(list(declared())))
            can_share = link.is_local and bool(segment.address)
            self._shared = None if can_share else False
            if can_share:
                self._messages.appendleft(segment)

    def close(self) -> None:
        """Give up everything, for good."""
        with self._lock:
            self._is_closed = True
            self._rewind()
            while self.drop_oldest():
                pass
            self._messages.clear()
            self._metrics.clear()
            self._drops.clear()
            self._last = None

    def suspend(self) -> None:
        """Take back what was under way: the link is gone."""
        with self._lock:
            self._rewind()

    def _rewind(self) -> None:
        again = [m for m in self._notes.clear() if not isinstance(m, Declare | Segment)]
        self._notes = SendWindow(_MESSAGES_UNDER_WAY)
        keep = [m for m in self._messages if not isinstance(m, Declare | Segment)]
        self._messages = deque(again + keep)
        for parcel, delivery in reversed(self._items.clear()):
            if not delivery.done:
                self._limbo.append((delivery, parcel.retain()))
            self._parcels.appendleft(parcel)
            self._count(parcel, 1)
        self._items = SendWindow(0)

    def received(self, message: Message) -> None:
        """Take in what the viewer said.

        Raises
        ------
        StateError
            It acknowledges what was never sent.
        """
        with self._lock:
            if isinstance(message, Attached):
                if self._shared is None:
                    self._shared = message.ok
            elif isinstance(message, Ack):
                self._notes.acknowledge(message.messages)
                for parcel, _ in self._items.acknowledge(message.items):
                    self.tally.acknowledged += 1
                    parcel.release()
        self._changed()

    def send(self, link: Link, window: int) -> None:
        """Send what the viewer's credit and the transport allow.

        Parameters
        ----------
        link : Link
            Where to.
        window : int
            Bytes of items that may be under way.
        """
        with self._lock:
            self._items.limit = window
        # The lock is free between any two, so that the producer never waits for a queue.
        while self._send_next(link):
            pass

    def _send_next(self, link: Link) -> bool:
        """Send one message or parcel if one may go now; return whether it went."""
        with self._lock:
            if not self._messages:  # else they go on gathering, which is bounded
                self._collect_metrics()
            if self._messages:
                return self._send_message(link, self._messages[0])
            if self._parcels:
                return self._send_parcel(link, self._parcels[0])
            if self._drops:
                self._tell_drops(next(iter(self._drops)))
                return True
            if self._last is None:
                return False
            self._messages.append(self._last)
            self._last = None
            return True

    def leave_limbo(self) -> bool:
        """Let go of parcels that a dead connection was still reading; return whether all."""
        with self._lock:
            still: list[tuple[Delivery, Parcel]] = []
            for delivery, parcel in self._limbo:
                if delivery.done:
                    parcel.release()
                else:
                    still.append((delivery, parcel))
            self._limbo = still
            return not still

    def _tell_drops(self, stream: int) -> None:
        gap = self._drops.pop(stream).take(stream, "newer data took its place")
        assert gap is not None
        self._messages.append(gap)

    def _collect_metrics(self) -> None:
        for name, columns in self._metrics.items():
            self._messages.append(Metric(name, *columns))
        self._metrics.clear()

    def _send_message(self, link: Link, message: Message) -> bool:
        if not self._notes.admits(1) or link.send(message) is None:
            return False
        self._notes.sent(self._messages.popleft(), 1)
        return True

    def _send_parcel(self, link: Link, parcel: Parcel) -> bool:
        """Send one parcel, or first the gap before it; return whether there is more to do."""
        waits_for_answer = self._shared is None and any(a.slot for a in parcel.arrays)
        if waits_for_answer or not self._items.admits(parcel.nbytes):
            return False
        if parcel.stream in self._drops:
            self._tell_drops(parcel.stream)
            return True
        shared = self._shared is True
        arrays = tuple(a.describe(shared=shared) for a in parcel.arrays)
        buffers = [
            a.slot.buffer() if a.slot else a.data
            for a, described in zip(parcel.arrays, arrays, strict=True)
            if described.block is None
        ]
        item = Item(parcel.stream, parcel.sequence, parcel.time, parcel.at, arrays, **parcel.extra)
        delivery = link.send(item, buffers)
        if delivery is None:
            return False
        self._items.sent((parcel, delivery), parcel.nbytes)
        self._parcels.popleft()
        self._count(parcel, -1)
        self.tally.sent += 1
        self.tally.bytes += parcel.nbytes
        return True
