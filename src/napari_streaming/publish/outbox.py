"""One queue a viewer: it never blocks the producer, and when full the newest wins.

The producer's thread puts, the sink's thread takes; both only hold the lock for a moment.
Small messages have a lane of their own, so that a large image never keeps a status waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from napari_streaming.publish.journal import Journal
from napari_streaming.publish.lanes import Lanes
from napari_streaming.publish.notes import Notes
from napari_streaming.publish.pace import Pace
from napari_streaming.publish.squeeze import Packed, Squeeze, describe
from napari_streaming.publish.staging import Parcel
from napari_streaming.publish.tally import Tally
from napari_streaming.transport.base import Delivery
from napari_streaming.transport.channel import Link
from napari_streaming.wire.flow import Drops, SendWindow
from napari_streaming.wire.messages import (
    Ack,
    Attached,
    Gap,
    Item,
    Message,
    Segment,
    Subscribe,
)

__all__ = ["Outbox"]

logger = logging.getLogger(__name__)

_MAX_QUEUED = 65536
_NEWER = "newer data took its place"


class Outbox:
    """What one viewer has yet to get.

    Parameters
    ----------
    max_bytes : int
        The most that may wait of streams that are not reliable; beyond it the oldest parcel
        is given up.
    changed : callable
        Called without arguments when something was acknowledged or given up.
    journal : Journal
        Has the metrics and status lines.
    clock : callable, optional
        Returns the time in seconds; never goes back.

    Attributes
    ----------
    is_open : bool
        Whether a viewer is there that said what it wants.
    squeeze : Squeeze
        How fast its link is.
    """

    def __init__(
        self,
        max_bytes: int,
        changed: Callable[[], None],
        journal: Journal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self.viewer = ""
        self._lock = threading.RLock()
        # Locks are not fair: who holds this one is next, so that a producer waits for one
        # item to be sent and not for a whole queue.
        self._gate = threading.Lock()
        self._max_bytes = max_bytes
        self._changed = changed
        self._is_closed = False
        self.is_open = self._is_expected = False
        self._newest: dict[int, int] = {}  # number of each stream that ever came in here
        self._lanes = Lanes(clock)
        self.squeeze = Squeeze()
        self._unpacked: Parcel | None = None
        self._packed: tuple[Parcel, list[Packed]] | None = None  # from disk, or compressed
        self._drops: dict[int, Drops] = {}  # not told yet
        self._items: SendWindow[tuple[Parcel, Delivery, bool, int]] = SendWindow(0)
        self._notes = Notes(journal)
        self._limbo: list[tuple[Delivery, Parcel]] = []
        self._shared: bool | None = False  # None: the viewer has not answered yet

    # ---- the producer's side ---------------------------------------------------------

    def put(self, parcel: Parcel) -> None:
        """Queue a parcel, which the caller keeps its own hold of; once, if asked again."""
        with self._gate, self._lock:
            # Closed since the caller looked who is there, or given by `open` already.
            if self._is_closed or parcel.sequence <= self._newest.get(parcel.stream, -1):
                return
            if not self._lanes.pace.wants(parcel):
                return
            self._newest[parcel.stream] = parcel.sequence
            self._lanes.append(parcel.retain())
            for older in self._lanes.take_older(parcel):
                self._dropped(older, self._lanes.pace.reason)
            while self._lanes.nbytes > self._max_bytes or self._lanes.droppable > _MAX_QUEUED:
                if not self.drop_superseded():
                    self.drop_oldest()

    def put_message(self, message: Message, *, last: bool = False) -> None:
        """Queue a small message, maybe behind all that waits."""
        with self._gate, self._lock:
            if not self._is_closed:
                (self._notes.put_last if last else self._notes.put)(message)

    @property
    def queued_bytes(self) -> int:
        """Bytes of the parcels that wait."""
        return self._lanes.nbytes + self._lanes.reliable_bytes

    @property
    def unsafe(self) -> int:
        """How many items of reliable streams the viewer has not acknowledged."""
        with self._lock:
            under_way = sum(p.reliable and not preview for p, _, preview, _ in self._items)
            return self._lanes.reliable + under_way

    @property
    def is_idle(self) -> bool:
        """Whether the viewer has acknowledged everything."""
        with self._lock:
            items = self._lanes or self._drops or len(self._items)
            return not (items or self._is_expected) and self._notes.is_idle

    @property
    def is_stuck(self) -> bool:
        """Whether no item can be sent before the viewer acknowledges something."""
        with self._lock:
            if not self.is_open:
                return True
            following = self._lanes.next()
            return following is not None and not self._items.admits(following[0].nbytes)

    @property
    def held_for(self) -> float | None:
        """Seconds until something may go that the viewer's wish held back; None: nothing."""
        with self._lock:
            return self._lanes.held_for

    def drop_superseded(self, *, in_pool: bool = False) -> bool:
        """Give up a preview, or the oldest parcel that a newer one of its stream waits behind.

        Reliable streams lose nothing. Returns False if there is none; with `in_pool`, none
        that takes memory of the pool.
        """
        with self._lock:
            return self._lanes.drop_previews() or self._dropped(
                self._lanes.take_superseded(in_pool=in_pool)
            )

    def drop_oldest(self, *, in_pool: bool = False) -> bool:
        """Give up the oldest parcel; parameters as for :meth:`drop_superseded`."""
        with self._lock:
            return self._dropped(self._lanes.take_oldest(in_pool=in_pool))

    def _dropped(self, parcel: Parcel | None, reason: str = _NEWER) -> bool:
        if parcel is None:
            return False
        self.note_drop(parcel.stream, parcel.sequence, reason)
        parcel.release()
        return True

    def note_drop(self, stream: int, sequence: int, reason: str = _NEWER) -> None:
        """Note that an item of a stream will never be sent, and why."""
        with self._lock:
            self._drops.setdefault(stream, Drops()).add(sequence, reason)
            self.tally.dropped += 1
        self._changed()

    # ---- the sink's side -------------------------------------------------------------

    def expect(self) -> None:
        """Note that a viewer is there, and will say what it wants."""
        with self._lock:
            self._is_expected = True

    def open(
        self,
        link: Link,
        subscribe: Subscribe,
        standing: Callable[[], Iterable[Message]],
        due: Callable[[Subscribe, Sequence[Parcel]], list[Parcel]],
        segment: Segment,
    ) -> None:
        """Start afresh with a link: what was under way before has not arrived.

        What `due` makes of the viewer's wish and of what waits here takes the place of what
        waits; it returns parcels retained. It and `standing` are asked with the queue held
        still, so that nothing that is published meanwhile falls between.
        """
        with self._lock:
            if self._is_closed:
                return
            self._rewind()
            self._lanes.pace = Pace(subscribe)
            parcels = self._lanes.replace(lambda waiting: due(subscribe, waiting))
            self._newest |= {parcel.stream: parcel.sequence for parcel in parcels}
            if link.peer.run != self.viewer:
                self._tell_missing(subscribe, parcels)
            self.viewer = link.peer.run
            self.squeeze = Squeeze(() if link.is_local else subscribe.codecs)
            can_share = link.is_local and bool(segment.address)
            self._shared = None if can_share else False
            self._notes.begin(subscribe)
            self._notes.put_first([*([segment] if can_share else []), *standing()])
            self.is_open, self._is_expected = True, False

    def amend(
        self, subscribe: Subscribe, due: Callable[[Subscribe, Sequence[Parcel]], list[Parcel]]
    ) -> None:
        """Go on as the viewer wants it from now on; parameters as for :meth:`open`."""
        with self._lock:
            parcels = self._lanes.amend(Pace(subscribe), due(subscribe, ()))
            self._newest |= {parcel.stream: parcel.sequence for parcel in parcels}
        self._changed()

    def _tell_missing(self, subscribe: Subscribe, parcels: Iterable[Parcel]) -> None:
        """Tell a viewer that was elsewhere meanwhile what of that is not kept any more."""
        seen = set()
        for parcel in parcels:
            first = subscribe.have.get(parcel.stream, parcel.sequence) + 1
            if parcel.stream not in seen and first < parcel.sequence:
                count = parcel.sequence - first
                gap = Gap(parcel.stream, first, parcel.sequence - 1, count, "it came too late")
                self._notes.put(gap)
                self.tally.dropped += count
            seen.add(parcel.stream)

    def close(self) -> None:
        """Give up everything, for good; what is reliable is no loss, as the history has it."""
        with self._lock:
            self._is_closed = True
            self._rewind()
            while self.drop_oldest():
                pass
            self._lanes.clear_reliable()
            self._notes.clear()
            self._drops.clear()

    def suspend(self) -> None:
        """Take back what was under way: the link is gone."""
        with self._lock:
            self._rewind()

    def _rewind(self) -> None:
        self._notes.rewind()
        for parcel, delivery, is_preview, _ in reversed(self._items.clear()):
            if not delivery.done:
                self._limbo.append((delivery, parcel.retain()))
            if is_preview:
                parcel.release()
            else:
                self._lanes.put_back(parcel)
        self._lanes.drop_previews()
        self._items = SendWindow(0)
        self._packed = None
        self.squeeze = Squeeze()
        self._lanes.pace = Pace()
        self.is_open = self._is_expected = False

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
                for parcel, _, is_preview, inline in self._items.acknowledge(message.items):
                    self.squeeze.acknowledged(inline)
                    self.tally.acknowledged += not is_preview
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
            self._items.limit = self.squeeze.window(window)
        # The lock is free between any two, so that the producer never waits for a queue,
        # nor for the disk or the codec.
        while self._send_next(link):
            if self._unpacked is not None:
                self._pack(self._unpacked)
            with self._gate:
                pass

    def _send_next(self, link: Link) -> bool:
        """Send one message or parcel if one may go now; return whether there is more to do."""
        with self._lock:
            if not self.is_open:
                return False
            went = self._notes.send_next(link)
            if went is not None:
                return went
            following = self._lanes.next()
            if following is not None:
                return self._send_parcel(link, *following)
            if self._lanes:  # held back
                return False
            if self._drops:
                self._tell_drops(next(iter(self._drops)))
                return True
            return self._notes.say_last()

    def leave_limbo(self) -> bool:
        """Let go of parcels that a dead connection was still reading; return whether all."""
        with self._lock:
            limbo, self._limbo = self._limbo, []
            for delivery, parcel in limbo:
                if delivery.done:
                    parcel.release()
                else:
                    self._limbo.append((delivery, parcel))
            return not self._limbo

    def _tell_drops(self, stream: int) -> None:
        gap = self._drops.pop(stream).take(stream)
        assert gap is not None
        self._notes.put(gap)

    def _send_parcel(self, link: Link, parcel: Parcel, is_preview: bool) -> bool:
        """Send one parcel, or first the gap before it; return whether there is more to do."""
        waits_for_answer = self._shared is None and parcel.in_pool
        if waits_for_answer or not self._items.admits(parcel.nbytes):
            return False
        if parcel.stream in self._drops and not is_preview:
            self._tell_drops(parcel.stream)
            return True
        packed = self._packed[1] if self._packed and self._packed[0] is parcel else None
        if packed is None and (parcel.is_on_disk or self.squeeze.wants(parcel)):
            self._unpacked = parcel.retain()
            return True
        arrays, buffers = describe(parcel, packed, shared=self._shared is True)
        extra = {**parcel.extra, "preview": True} if is_preview else parcel.extra
        item = Item(parcel.stream, parcel.sequence, parcel.time, parcel.at, arrays, **extra)
        delivery = link.send(item, buffers)
        if delivery is None:
            return False
        inline = sum(memoryview(buffer).nbytes for buffer in buffers)
        self._packed = None
        self._lanes.take(parcel, preview=is_preview)
        self._items.sent((parcel, delivery, is_preview, inline), parcel.nbytes)
        self.squeeze.sent(parcel, inline)
        self.tally.sent += not is_preview
        self.tally.bytes += parcel.nbytes
        self.tally.inline += inline
        return True

    def _pack(self, parcel: Parcel) -> None:
        """Have the buffers of a parcel ready that is next; give it up if the disk lost them."""
        self._unpacked = None
        try:
            if self.squeeze.wants(parcel):
                packed = self.squeeze.pack(parcel)
            else:
                packed = [Packed("", array.buffer()) for array in parcel.arrays]
        except OSError as error:
            logger.warning("stream %d, item %d: %s", parcel.stream, parcel.sequence, error)
            with self._lock:
                following = self._lanes.next()
                if following is not None and following[0] is parcel:
                    self._lanes.take(parcel, preview=following[1])
                    if not following[1]:
                        self.note_drop(parcel.stream, parcel.sequence)
                    parcel.release()
        else:
            with self._lock:
                self._packed = (parcel, packed)
        parcel.release()
