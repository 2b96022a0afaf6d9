"""The parcels that wait for one viewer, in three lanes.

The last parcel of a stream whose history is due goes ahead, as a preview. Those of reliable
streams and all others then go in turn, so that however many reliable ones there are to catch
up with, what is live stays so. Nothing is ever dropped that is reliable.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

from napari_streaming.publish.staging import Parcel

__all__ = ["Lanes"]


class Lanes:
    """Queues of parcels, each of which holds its parcels. Its owner guards it with a lock.

    Attributes
    ----------
    nbytes, reliable_bytes : int
        Bytes of the parcels that wait: those that may be dropped, and those that may not.
    """

    def __init__(self) -> None:
        self.nbytes = self.reliable_bytes = 0
        self._previews: deque[Parcel] = deque()
        self._latest: deque[Parcel] = deque()
        self._waiting: Counter[int] = Counter()  # parcels of each stream in there
        self._reliable: deque[Parcel] = deque()
        self._is_reliables_turn = False

    def __bool__(self) -> bool:
        return bool(self._previews or self._latest or self._reliable)

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

    def put_back(self, parcel: Parcel) -> None:
        """Queue a parcel before all others of its kind."""
        (self._reliable if parcel.reliable else self._latest).appendleft(parcel)
        self._count(parcel, 1)

    def replace(self, choose: Callable[[list[Parcel]], list[Parcel]]) -> list[Parcel]:
        """Queue what a function makes of all that waits, which it returns retained.

        Where more than one parcel of a stream waits then, the last one also goes ahead, unless
        the viewer would add it twice to what is there, or would line up names along an axis
        in the wrong order.
        """
        self.drop_previews()
        waiting = [*self._reliable, *self._latest]
        parcels = choose(waiting)
        self._reliable.clear()
        self._latest.clear()
        for parcel in waiting:
            self._count(parcel, -1)
            parcel.release()
        for parcel in parcels:
            self.append(parcel)
        self._previews.extend(_previews(parcels))
        return parcels

    def next(self) -> tuple[Parcel, bool] | None:
        """Return the parcel that goes next, and whether as a preview."""
        if self._previews:
            return self._previews[0], True
        first, second = self._latest, self._reliable
        if self._is_reliables_turn:
            first, second = second, first
        lane = first or second
        return (lane[0], False) if lane else None

    def take(self, parcel: Parcel, *, preview: bool) -> None:
        """Take out what :meth:`next` returned, and hand the hold of it to the caller."""
        if preview:
            self._previews.popleft()
            return
        (self._reliable if parcel.reliable else self._latest).popleft()
        self._is_reliables_turn = not parcel.reliable
        self._count(parcel, -1)

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
        dropped = bool(self._previews)
        while self._previews:
            self._previews.popleft().release()
        return dropped

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
