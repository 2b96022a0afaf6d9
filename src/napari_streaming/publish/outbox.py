"""One queue a viewer: it never blocks the producer, and when full the newest wins.

The producer's thread puts, the sink's thread takes; both only hold the lock for a moment.
Small messages have a lane of their own, so that a large image never keeps a status waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from napari_streaming.publish.history import gaps
from napari_streaming.publish.journal import Journal
from napari_streaming.publish.lanes import Lanes
from napari_streaming.publish.limbo import Limbo
from napari_streaming.publish.notes import Notes
from napari_streaming.publish.pace import Mark, Pace
from napari_streaming.publish.packing import Packing, Task
from napari_streaming.publish.reduce import Reducer
from napari_streaming.publish.squeeze import Squeeze
from napari_streaming.publish.staging import Parcel
from napari_streaming.publish.tally import Tally
from napari_streaming.transport.base import Delivery
from napari_streaming.transport.channel import Link
from napari_streaming.wire.flow import Drops, SendWindow
from napari_streaming.wire.messages import Ack, Attached, Message, Problem, Segment, Subscribe

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
    reducer : Reducer, optional
        Makes smaller planes, for other viewers of the same thread as well.

    Attributes
    ----------
    is_open : bool
        Whether a viewer is there that said what it wants.
    """

    def __init__(
        self,
        max_bytes: int,
        changed: Callable[[], None],
        journal: Journal,
        clock: Callable[[], float] = time.monotonic,
        reducer: Reducer | None = None,
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
        self._packing = Packing(reducer or Reducer())
        self._drops: dict[int, Drops] = {}  # not told yet
        self._items: SendWindow[tuple[Parcel, Delivery, Mark, int]] = SendWindow(0)
        self._notes = Notes(journal)
        self._limbo = Limbo()
        self._wish = Subscribe()
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
            under_way = sum(p.reliable and not mark for p, _, mark, _ in self._items)
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
            return following is not None and not self._items.admits(
                self._lanes.pace.nbytes(*following)
            )

    @property
    def link(self) -> float:
        """Bytes in a second that the viewer's link carried when busy; infinite until it was."""
        return self._packing.squeeze.link

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
            ahead = self._lanes.drop_previews() or self._drop_again()
            return ahead or self._dropped(self._lanes.take_superseded(in_pool=in_pool))

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
            can_share = link.is_local and bool(segment.address)
            self._shared = None if can_share else False
            self._wish = subscribe
            self._lanes.pace = Pace(subscribe, shares=can_share)
            parcels = self._lanes.replace(lambda waiting: due(subscribe, waiting))
            self._newest |= {parcel.stream: parcel.sequence for parcel in parcels}
            if link.peer.run != self.viewer:
                for gap in gaps(subscribe.have, parcels):
                    self._notes.put(gap)
                    self.tally.dropped += gap.count
            self.viewer = link.peer.run
            self._packing.begin(Squeeze(() if link.is_local else subscribe.codecs))
            self._notes.begin(subscribe)
            self._notes.put_first([*([segment] if can_share else []), *standing()])
            self.is_open, self._is_expected = True, False

    def amend(
        self, subscribe: Subscribe, due: Callable[[Subscribe, Sequence[Parcel]], list[Parcel]]
    ) -> None:
        """Go on as the viewer wants it from now on; parameters as for :meth:`open`."""
        with self._lock:
            self._wish = subscribe
            pace = Pace(subscribe, shares=self._shared is not False)
            parcels = self._lanes.amend(pace, due(subscribe, ()))
            self._newest |= {parcel.stream: parcel.sequence for parcel in parcels}
        self._changed()

    def send_again(self, parcels: Sequence[Parcel]) -> None:
        """Queue retained parcels ahead of all others, in full; tell if there are none."""
        with self._lock:
            if not parcels:
                self._notes.put(Problem("gone", "this plane is not kept any more"))
            elif self.is_open:
                self._lanes.append_again(parcels)

    def _drop_again(self) -> bool:
        dropped = self._lanes.drop_again()
        if dropped:
            self._notes.put(Problem("gone", "there was no memory to send planes once more"))
        return dropped

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
        for parcel, delivery, mark, _ in reversed(self._items.clear()):
            self._limbo.add(delivery, parcel)
            if mark:
                parcel.release()
            else:
                self._lanes.put_back(parcel)
        self._lanes.drop_previews()
        self._lanes.drop_again()
        self._items = SendWindow(0)
        self._packing.begin(Squeeze())
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
                    self._lanes.pace = Pace(self._wish, shares=message.ok)
            elif isinstance(message, Ack):
                self._notes.acknowledge(message.messages)
                for parcel, _, mark, inline in self._items.acknowledge(message.items):
                    self._packing.squeeze.acknowledged(inline)
                    self.tally.acknowledged += not mark
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
            self._items.limit = self._packing.squeeze.window(window)
        # The lock is free between any two, so that the producer never waits for a queue,
        # nor for the disk or the codec.
        while self._send_next(link):
            task = self._packing.next()
            if task is not None:
                self._pack(task)
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
            return self._limbo.leave()

    def _tell_drops(self, stream: int) -> None:
        gap = self._drops.pop(stream).take(stream)
        assert gap is not None
        self._notes.put(gap)

    def _send_parcel(self, link: Link, parcel: Parcel, mark: Mark) -> bool:
        """Send one parcel, or first the gap before it; return whether there is more to do."""
        waits_for_answer = self._shared is None and parcel.in_pool
        pace = self._lanes.pace
        if waits_for_answer or not self._items.admits(pace.nbytes(parcel, mark)):
            return False
        if parcel.stream in self._drops and not mark:
            self._tell_drops(parcel.stream)
            return True
        ready = self._packing.take(Task(parcel, pace.cut(parcel, mark)))
        if ready is None:
            return True
        one = ready.parcel
        item, buffers = ready.message(mark, shared=self._shared is True)
        delivery = link.send(item, buffers)
        if delivery is None:
            return False
        inline = sum(memoryview(buffer).nbytes for buffer in buffers)
        self._packing.sent(one, inline)
        self._lanes.take(parcel, mark)
        self._items.sent((parcel, delivery, mark, inline), one.nbytes)
        self.tally.sent += not mark
        self.tally.bytes += one.nbytes
        self.tally.inline += inline
        return True

    def _pack(self, task: Task) -> None:
        """Have the parcel that is next made ready; give it up if the disk lost it."""
        parcel = task.parcel
        try:
            ready = self._packing.do(task)
        except OSError as error:
            logger.warning("stream %d, item %d: %s", parcel.stream, parcel.sequence, error)
            with self._lock:
                following = self._lanes.next()
                if following is not None and following[0] is parcel:
                    self._lanes.take(*following)
                    if not following[1]:
                        self.note_drop(parcel.stream, parcel.sequence)
                    parcel.release()
        else:
            with self._lock:
                self._packing.done(task, ready)
        parcel.release()
