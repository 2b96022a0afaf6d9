"""What was published and is kept: for viewers yet to come, and for those that come back.

Of `latest` streams as much as fits in some memory, and it makes room for anything else. Of
`reliable` streams everything: in memory of their own, then on disk. When that is full too, what
every viewer has goes first, the oldest before the others.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import chain

import numpy as np

from napari_streaming.publish.spool import Spool
from napari_streaming.publish.staging import Parcel, Staged, stage_on_disk
from napari_streaming.wire.messages import Coordinate, Gap, Subscribe

__all__ = ["History", "gaps"]

_LEAST = 16 * 1024  # what a parcel counts at least, however small its arrays are


class History:
    """The parcels that are kept. Thread-safe.

    Parameters
    ----------
    room : int
        Bytes of memory for parcels of `reliable` streams, and as many for the last ones of
        all others.
    past : int
        Bytes of memory for those before the last ones.
    spool : Spool
        Where `reliable` ones go when that is not enough.
    """

    def __init__(self, room: int, past: int, spool: Spool) -> None:
        self._room, self._past, self._spool = room, past, spool
        self._lock = threading.Lock()
        self._last: dict[int, Parcel] = {}  # of each stream that is not reliable
        self._last_bytes = 0
        self._superseded: deque[Parcel] = deque()  # those before them, oldest first
        self._superseded_bytes = 0
        self._reliable: deque[Parcel] = deque()
        self._in_memory: deque[Parcel] = deque()  # those of them that are not on disk
        self._taken = 0

    def keep(self, parcel: Parcel) -> None:
        """Keep a parcel that was just published; the caller has its own hold of it."""
        parcel.retain()
        with self._lock:
            if parcel.reliable:
                self._reliable.append(parcel)
                if not parcel.is_on_disk:
                    self._in_memory.append(parcel)
                    self._taken += _cost(parcel)
                return
            before = self._last.get(parcel.stream)
            self._last[parcel.stream] = parcel
            self._last_bytes += _cost(parcel)
            if before is not None:
                self._last_bytes -= _cost(before)
                self._superseded.append(before)
                self._superseded_bytes += _cost(before)
                while self._superseded_bytes > self._past:
                    self._forget_superseded()
            is_too_much = self._last_bytes > self._room
        if is_too_much:
            self.forget_last()

    def forget_superseded(self) -> bool:
        """Let go of the oldest parcel that a newer one superseded; return False if none is left."""
        with self._lock:
            if not self._superseded:
                return False
            self._forget_superseded()
            return True

    def _forget_superseded(self) -> None:
        parcel = self._superseded.popleft()
        self._superseded_bytes -= _cost(parcel)
        parcel.release()

    def forget_last(self) -> bool:
        """Let go of the oldest last parcel of a stream that no viewer waits for."""
        with self._lock:
            idle = [p for p in self._last.values() if p.in_pool and p.is_idle]
            if not idle:
                return False
            oldest = self._last.pop(min(idle, key=lambda p: p.time).stream)
            self._last_bytes -= _cost(oldest)
            oldest.release()
            return True

    # ---- reliable streams ------------------------------------------------------------

    def admits(self, nbytes: int) -> bool:
        """Return whether memory has room for a reliable parcel.

        What every viewer has is moved to disk to make some.
        """
        cost = max(nbytes, _LEAST)
        with self._lock:
            while self._taken + cost > self._room:
                if cost > self._room or not self._move_oldest():
                    return False
            return True

    def stage_on_disk(self, arrays: Mapping[str, np.ndarray]) -> tuple[Staged, ...]:
        """Write the arrays of a reliable parcel to disk.

        Raises
        ------
        OSError
            It has no room for them, and every parcel there is one that a viewer waits for.
        """
        with self._lock:
            while True:
                staged: list[Staged] = []
                try:
                    for name, array in arrays.items():
                        staged.append(stage_on_disk(name, array, self._spool))
                    return tuple(staged)
                except OSError:
                    for one in staged:
                        one.release()
                    if not self._evict():
                        raise

    def _move_oldest(self) -> bool:
        """Have the oldest reliable parcel leave memory, if no viewer waits for it."""
        if not self._in_memory or not self._in_memory[0].is_idle:
            return False
        oldest = self._in_memory[0]
        while self._in_memory and self._in_memory[0] is oldest:
            try:
                oldest.move_to(self._spool)
            except OSError:
                if not self._evict():
                    return False
            else:
                self._left_memory(oldest)
        return True

    def _evict(self) -> bool:
        """Forget the oldest reliable parcel, if no viewer waits for it."""
        if not self._reliable or not self._reliable[0].is_idle:
            return False
        parcel = self._reliable.popleft()
        if self._in_memory and self._in_memory[0] is parcel:
            self._left_memory(parcel)
        parcel.release()
        return True

    def _left_memory(self, parcel: Parcel) -> None:
        self._in_memory.popleft()
        self._taken -= _cost(parcel)

    # ---- viewers ---------------------------------------------------------------------

    def due(self, subscribe: Subscribe, waiting: Iterable[Parcel]) -> list[Parcel]:
        """Return what a viewer is to get, in order, each retained.

        Parameters
        ----------
        subscribe : Subscribe
            What it asks for.
        waiting : iterable of Parcel
            What waits for it anyway: more than is kept, or less.
        """
        streams: dict[int, dict[int, Parcel]] = {}
        with self._lock:
            kept = chain(self._reliable, self._superseded, self._last.values())
            for parcel in chain(kept, waiting):
                if parcel.sequence > subscribe.have.get(parcel.stream, -1):
                    streams.setdefault(parcel.stream, {})[parcel.sequence] = parcel
            chosen: list[list[Parcel]] = []
            for stream, by_sequence in streams.items():
                parcels = [by_sequence[number] for number in sorted(by_sequence)]
                if subscribe.history is not None and stream not in subscribe.have:
                    parcels = parcels[-max(1, subscribe.history) :]
                chosen.append(parcels)
            # Each stream keeps its order even where the clock was set back.
            return [parcel.retain() for parcel in heapq.merge(*chosen, key=lambda p: p.time)]

    def find(self, stream: int, at: Mapping[str, Coordinate], /) -> list[Parcel]:
        """Return what is kept of the plane that a viewer looks at, in order, each retained.

        Parameters
        ----------
        stream : int
        at : mapping of str to Coordinate
            Where; a plane without some of these names stands at each of their values.

        Returns
        -------
        list of Parcel
            The last whole plane, if there is one, and the parts that came after it.
        """
        found: list[Parcel] = []
        with self._lock:
            kept = chain(self._reliable, self._superseded, self._last.values())
            there = [one for one in kept if one.stream == stream and _stands_at(one, at)]
            # What says most about where it is, is what is shown.
            most = max(map(_names, there), default=0)
            for parcel in there:
                if _names(parcel) == most:
                    if not parcel.extra.get("offset"):
                        found.clear()
                    found.append(parcel)
            return [parcel.retain() for parcel in found]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            for parcel in chain(self._reliable, self._superseded, self._last.values()):
                parcel.release()
            for kept in (self._reliable, self._in_memory, self._superseded, self._last):
                kept.clear()
            self._last_bytes = self._superseded_bytes = self._taken = 0


def gaps(have: Mapping[int, int], parcels: Iterable[Parcel]) -> list[Gap]:
    """Return what a viewer that was elsewhere meanwhile will never get.

    Parameters
    ----------
    have : mapping of int to int
        The last number that it has of each stream.
    parcels : iterable of Parcel
        What it is sent now, each stream in order.
    """
    first = dict[int, int]()
    for parcel in parcels:
        first.setdefault(parcel.stream, parcel.sequence)
    return [
        Gap(stream, have[stream] + 1, number - 1, number - 1 - have[stream], "it came too late")
        for stream, number in first.items()
        if stream in have and have[stream] + 1 < number
    ]


def _names(parcel: Parcel) -> int:
    return len(parcel.at) + len(parcel.extra.get("along", ()))


def _stands_at(parcel: Parcel, at: Mapping[str, Coordinate]) -> bool:
    along = parcel.extra.get("along", {})
    return all(name in at and at[name] == value for name, value in parcel.at.items()) and all(
        name in at and at[name] in values for name, values in along.items()
    )


def _cost(parcel: Parcel) -> int:
    nbytes = parcel.nbytes
    return nbytes if nbytes > _LEAST else _LEAST
