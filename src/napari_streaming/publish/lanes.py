"""The parcels that wait for one viewer, in four lanes.

What the viewer asks for once more goes first. The last parcel of a stream whose history is due
goes ahead, as a preview. Those of reliable streams and all others then go in turn, so that
however many reliable ones there are to catch up with, what is live stays so. Nothing is ever
dropped that is reliable.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import chain, islice

from napari_streaming.publish.pace import Mark, Pace
from napari_streaming.publish.staging import Parcel

__all__ = ["Lanes"]


class Lanes:
    """Queues of parcels, each of which holds its parcels. Its owner guards it with a lock.

    Attributes
    ----------
    nbytes, reliable_bytes : int
        Bytes of the parcels that wait: those that may be dropped, and those that may not.
    pace : Pace
        What the viewer wants, and how fast.

    Parameters
    ----------
    clock : callable
        Returns the time in seconds; never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.pace = Pace()
        self._clock = clock
        self._held_until = math.inf
        self.nbytes = self.reliable_bytes = 0
        self._again: deque[Parcel] = deque()
        self._previews: deque[Parcel] = deque()
        self._latest: deque[Parcel] = deque()
        self._waiting: Counter[int] = Counter()  # parcels of each stream in there
        self._reliable: deque[Parcel] = deque()
        self._is_reliables_turn = False

    def __bool__(self) -> bool:
        return bool(self._again or self._previews or self._latest or self._reliable)

    @property
    def droppable(self) -> int:
        """How many parcels may be dropped, previews aside."""
        return len(self._latest)

    @property
    def reliable(self) -> int:
        """How many parcels may not be dropped."""
        return len(self._reliable)

    def append(self, parcel: Parcel) -> None:
        """Queue a parcel behind all others of its kind, and take over the caller's hold."""
        if parcel.reliable:
            self._reliable.append(parcel)
        else:
            self._latest.append(parcel)
        self._count(parcel, 1)

    def append_again(self, parcels: Iterable[Parcel]) -> None:
        """Queue parcels that the viewer was sent before, and take over the caller's holds."""
        for parcel in parcels:
            if parcel in self._again:
                parcel.release()
            else:
                self._again.append(parcel)

    def put_back(self, parcel: Parcel) -> None:
        """Queue a parcel before all others of its kind."""
        (self._reliable if parcel.reliable else self._latest).appendleft(parcel)
        self._count(parcel, 1)

    def replace(self, choose: Callable[[list[Parcel]], list[Parcel]]) -> list[Parcel]:
        """Queue what is wanted of what a function makes of all that waits, and returns retained.

        Where more than one parcel of a stream waits then, the last one also goes ahead, unless
        the viewer would add it twice to what is there, or would line up names along an axis
        in the wrong order.
        """
        self.drop_previews()
        waiting = [*self._reliable, *self._latest]
        parcels = []
        for parcel in choose(waiting):
            if self.pace.wants(parcel):
                parcels.append(parcel)
            else:
                parcel.release()
        self._reliable.clear()
        self._latest.clear()
        for parcel in waiting:
            self._count(parcel, -1)
            parcel.release()
        for parcel in parcels:
            self.append(parcel)
        self._previews.extend(_previews(parcels))
        return parcels

    def amend(self, pace: Pace, parcels: Iterable[Parcel]) -> list[Parcel]:
        """Go on at another pace; queue those of some retained parcels that were not wanted before.

        Returns all that waits now.
        """
        before, self.pace = self.pace, pace
        fresh = []
        for parcel in parcels:
            if before.wants(parcel):
                parcel.release()
            else:
                fresh.append(parcel)

        def merge(waiting: list[Parcel]) -> list[Parcel]:
            still = [parcel.retain() for parcel in waiting]
            return list(heapq.merge(still, fresh, key=lambda parcel: parcel.time))

        return self.replace(merge)

    def next(self) -> tuple[Parcel, Mark] | None:
        """Return the parcel that goes next, and how; None: none may go yet.

        Of reliable ones the first is waited for; others overtake those that are held back.
        """
        self._held_until = math.inf
        now = self._clock() if self.pace.is_limited else math.inf
        lanes: list[Iterable[Parcel]] = [self._latest, islice(self._reliable, 1)]
        if self._is_reliables_turn:
            lanes.reverse()
        mark: Mark = "again" if self._again else "preview" if self._previews else ""
        for parcel in self._again or self._previews or chain(*lanes):
            due = self.pace.due(parcel, mark)
            if due <= now:
                return parcel, mark
            self._held_until = min(self._held_until, due)
        return None

    @property
    def held_for(self) -> float | None:
        """After how many seconds :meth:`next` has one, if it had none that may go yet."""
        if math.isinf(self._held_until):
            return None
        return max(0.0, self._held_until - self._clock())

    def take(self, parcel: Parcel, mark: Mark) -> None:
        """Take out what :meth:`next` returned, and hand the hold of it to the caller."""
        if self.pace.is_limited:
            self.pace.sent(parcel, self._clock(), mark)
        if mark:
            (self._again if mark == "again" else self._previews).popleft()
            return
        (self._reliable if parcel.reliable else self._latest).remove(parcel)
        self._is_reliables_turn = not parcel.reliable
        self._count(parcel, -1)

    def take_older(self, parcel: Parcel) -> list[Parcel]:
        """Take out what a parcel that was just queued supersedes while its stream is held back."""
        if parcel.reliable or not self.pace.is_limited or self.pace.due(parcel) <= self._clock():
            return []
        older = [p for p in self._latest if p.stream == parcel.stream and p is not parcel]
        for one in older:
            self._latest.remove(one)
            self._count(one, -1)
        return older

    def take_superseded(self, *, in_pool: bool) -> Parcel | None:
        """Take out the oldest parcel that a newer one of its stream waits behind.

        Parameters
        ----------
        in_pool : bool
            Only one that takes memory of the pool.
        """
        return self._take_first(lambda parcel: self._waiting[parcel.stream] > 1, in_pool)

    def take_oldest(self, *, in_pool: bool) -> Parcel | None:
        """Take out the oldest parcel; parameters as for :meth:`take_superseded`."""
        return self._take_first(lambda _: True, in_pool)

    def _take_first(self, chosen: Callable[[Parcel], bool], in_pool: bool) -> Parcel | None:
        for index, parcel in enumerate(self._latest):
            if chosen(parcel) and (parcel.in_pool or not in_pool):
                del self._latest[index]
                self._count(parcel, -1)
                return parcel
        return None

    def drop_previews(self) -> bool:
        """Drop all previews, which is no loss; return whether there were any."""
        return _let_go(self._previews)

    def drop_again(self) -> bool:
        """Drop what the viewer asked for once more; return whether there was any."""
        return _let_go(self._again)

    def clear_reliable(self) -> None:
        """Let go of what must not be dropped: the history has it."""
        while self._reliable:
            self._count(self._reliable[0], -1)
            self._reliable.popleft().release()

    def _count(self, parcel: Parcel, change: int) -> None:
        """Account for a parcel that comes in, or leaves."""
        if parcel.reliable:
            self.reliable_bytes += change * parcel.nbytes
        else:
            self._waiting[parcel.stream] += change
            self.nbytes += change * parcel.nbytes


def _let_go(lane: deque[Parcel]) -> bool:
    dropped = bool(lane)
    while lane:
        lane.popleft().release()
    return dropped


def _previews(parcels: Iterable[Parcel]) -> list[Parcel]:
    """Return the last parcel of each stream that has more than one, retained."""
    many = Counter(parcel.stream for parcel in parcels)
    last = {parcel.stream: parcel for parcel in parcels}
    return [
        parcel.retain()
        for stream, parcel in last.items()
        if many[stream] > 1
        and not parcel.extra.get("append")
        and not any(isinstance(value, str) for value in parcel.at.values())
    ]
