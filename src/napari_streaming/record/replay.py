"""A recording played again through a publisher, as viewers steer it."""

from __future__ import annotations

import bisect
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from msgspec.structs import replace

from napari_streaming.publish.publisher import Publisher
from napari_streaming.record.opened import OpenRecording, StoredItem, plane_shape
from napari_streaming.record.republish import republish
from napari_streaming.record.unfold import unfold
from napari_streaming.wire.messages import (
    PLANE_KINDS,
    Coordinate,
    Declare,
    Item,
    Metric,
    Outline,
    Status,
)

__all__ = ["Replay"]

_SLICE = 0.05  # seconds until somebody who steers is heard
_TELL_EVERY = 0.2
_MOST_QUEUED = 64 * 2**20
_PATIENCE = 1.0

_Place: TypeAlias = tuple[str, int, frozenset[tuple[str, Coordinate]], str]


class Replay:
    """Plays a recording.

    It begins with the first item. Viewers pause, resume, stop it, or take it step by step, an
    item each; they set ``speed``, ``loop``, and ``position``, in seconds. The order of items is
    always that of the recording, and where one is, everything before it is there: what is seen at
    a time does not depend on how one got there. Metrics and status lines are said once.

    Parameters
    ----------
    recording : OpenRecording
    publisher : Publisher
        Of its own.
    speed : float
        1: as fast as it came.
    loop : bool
        Begin again at the end.
    clock : callable, optional
        Seconds that never go back.
    """

    def __init__(
        self,
        recording: OpenRecording,
        publisher: Publisher,
        *,
        speed: float = 1.0,
        loop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recording, self._publisher, self._clock = recording, publisher, clock
        self._speed, self._loop = min(max(float(speed), 0.01), 1000.0), loop
        self._entries = recording.entries
        # Clocks may be set back; what came later is later. Nobody waits for the first item.
        times = itertools.accumulate((entry.t for entry in self._entries), max)
        start = next((e.t for e in self._entries if isinstance(e.message, Item)), 0.0)
        self._times = [max(0.0, t - start) for t in times]
        self._end = self._times[-1] if self._times else 0.0
        self._firsts = self._find_firsts()
        self._next = 0  # of the entries
        self._said = 0  # so many of them were said that are said once
        self._sent = 0  # bytes since viewers were waited for
        self._shown, self._told_at = 0.0, -math.inf

    @property
    def position(self) -> float:
        """Seconds from the beginning to what was played last."""
        return self._times[self._next - 1] if self._next else 0.0

    def run(self, *, stay: bool = False) -> bool:
        """Play to the end, or until a viewer stops it.

        Parameters
        ----------
        stay : bool
            Wait at the end for a viewer who goes back, or stops it.

        Returns
        -------
        bool
            Whether it came to its end.

        Raises
        ------
        StorageError
            Something of the recording cannot be read.
        """
        self._speed_wanted()  # the first call is what viewers see
        self._loop_wanted()
        self._is_moved()
        # A viewer that is about to subscribe would be sent the newest item ahead of the others.
        self._tell(force=True)
        self._publisher.flush(_PATIENCE)
        since, at = self._clock(), self.position
        while (may_go := self._publisher.may_go()) is not False:
            if self._is_moved():
                since, at = self._clock(), self._shown
            is_over = self._next == len(self._entries)
            if is_over and self._loop_wanted():
                self.seek(0.0)
                since, at = self._clock(), 0.0
            elif is_over and not stay:
                self._tell(force=True)
                return True
            elif is_over or may_go is None:
                time.sleep(_SLICE)
                since, at = self._clock(), self.position
            elif self._publisher.paused:
                self.step()
                since, at = self._clock(), self.position
            else:
                speed = self._speed_wanted()
                now = self._clock()
                at, since = at + (now - since) * speed, now
                wait = (self._times[self._next] - at) / speed
                if wait > 0:
                    time.sleep(min(wait, _SLICE))
                else:
                    self._play(self._next)
            self._tell()
        return False

    def step(self) -> None:
        """Play up to the next item, that one too.

        Raises
        ------
        StorageError
            It cannot be read.
        """
        while self._next < len(self._entries):
            self._play(self._next)
            if isinstance(self._entries[self._next - 1].message, Item):
                break
        self._tell(force=True)

    def seek(self, seconds: float) -> None:
        """Go to a time: have viewers see what they would, had they watched up to there.

        Only what differs is published. What first comes later stays where it is.

        Raises
        ------
        StorageError
            Something of the recording cannot be read.
        """
        target = bisect.bisect_right(self._times, seconds)
        low, high = min(target, self._next), max(target, self._next)
        touched = {place for index in range(low, high) for place in self._places(index)}
        for place, indices in self._standing(target, touched):
            self._show(place, indices)
        self._next = target
        self._say_up_to(target)
        self._tell(force=True)

    def _find_firsts(self) -> set[int]:
        """Return the entries that add to a place where nothing is yet."""
        firsts, seen = set(), set[_Place]()
        for index in range(len(self._entries)):
            places = self._places(index)
            if places and not seen.issuperset(places):
                item = self._stored(index).item
                if item.append or item.offset:
                    firsts.add(index)
                seen.update(places)
        return firsts

    def _standing(self, end: int, touched: set[_Place]) -> list[tuple[_Place, list[int]]]:
        """Return the entries before `end` that make up what is at places, the newest last."""
        pieces: dict[_Place, list[int]] = {}
        for index in range(end):
            for place in touched.intersection(self._places(index)):
                item = self._stored(index).item
                adds = item.append or bool(item.offset)
                pieces[place] = [*pieces.get(place, []), index] if adds else [index]
        return sorted(pieces.items(), key=lambda one: one[1][-1])

    def _places(self, index: int) -> list[_Place]:
        """Return what the item of an entry replaces, or adds to."""
        stored = self._recording.item_of(self._entries[index])
        if stored is None:
            return []
        run, item = self._entries[index].run, stored.item
        return [(run, item.stream, frozenset(at.items()), item.key) for at in unfold(item)]

    def _stored(self, index: int) -> StoredItem:
        stored = self._recording.item_of(self._entries[index])
        assert stored is not None
        return stored

    def _show(self, place: _Place, indices: Sequence[int]) -> None:
        """Publish what is at a place, instead of whatever is there."""
        newest = self._stored(indices[-1])
        if newest.declare.kind not in PLANE_KINDS:
            for number, index in enumerate(indices):
                stored = self._stored(index)
                item = replace(stored.item, append=number > 0)
                self._send(stored.declare, item, self._recording.arrays(stored))
            return
        plane = np.zeros(newest.declare.shape, newest.declare.dtype)
        for index in indices:
            stored = self._stored(index)
            number = self._places(index).index(place)
            part = self._recording.read(
                stored.entry.planes[number], plane_shape(stored.item), plane.dtype
            )
            offset = stored.item.offset or (0,) * part.ndim
            plane[tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=False))] = part
        number = self._places(indices[-1]).index(place)
        # In the order of its names as they came: it is that of the sliders.
        at = next(itertools.islice(unfold(newest.item), number, None))
        item = replace(newest.item, at=at, along={}, offset=())
        self._send(newest.declare, item, {"data": plane})

    # ---- playing ---------------------------------------------------------------------

    def _play(self, index: int) -> None:
        """Publish the item of an entry, or say what was said."""
        stored = self._recording.item_of(self._entries[index])
        if index in self._firsts:  # whatever a viewer has there is of another time
            for place in self._places(index):
                self._show(place, [index])
        elif stored is not None:
            self._send(stored.declare, stored.item, self._recording.arrays(stored))
        self._next = index + 1
        self._say_up_to(self._next)

    def _send(self, declare: Declare, item: Item, arrays: Mapping[str, np.ndarray]) -> None:
        republish(self._publisher, declare, item, arrays)
        self._sent += sum(array.nbytes for array in arrays.values())
        if self._sent > _MOST_QUEUED:  # a viewer that is slow is waited for
            self._publisher.flush(_PATIENCE)
            self._sent = 0

    def _say_up_to(self, end: int) -> None:
        """Say what is said once, of the entries before `end`."""
        for entry in self._entries[self._said : end]:
            message = entry.message
            if isinstance(message, Metric):
                for step, value in zip(message.steps, message.values, strict=True):
                    self._publisher.metric(message.name, value, step)
            elif isinstance(message, Status):
                self._publisher.status(message.level, message.text)
            elif isinstance(message, Outline):
                self._publisher.outline(message)
        self._said = max(self._said, end)

    # ---- steering --------------------------------------------------------------------

    def _speed_wanted(self) -> float:
        return self._publisher.parameter("speed", self._speed, min=0.01, max=1000.0)

    def _loop_wanted(self) -> bool:
        return self._publisher.parameter("loop", self._loop)

    def _wanted(self) -> float:
        return self._publisher.parameter("position", 0.0, min=0.0, max=max(self._end, 1e-3))

    def _is_moved(self) -> bool:
        """Go where a viewer wants to be; return whether one wanted to."""
        wanted = self._wanted()
        if wanted == self._shown:
            return False
        self._shown = wanted
        self.seek(wanted)
        return True

    def _tell(self, *, force: bool = False) -> None:
        """Show where it is."""
        if force or self._clock() - self._told_at >= _TELL_EVERY:
            self._told_at, position = self._clock(), self.position
            self._publisher.progress(position, self._end, f"{position:.1f} s of {self._end:.1f} s")
            self._wanted()  # the first call makes it
            # Not if a viewer has just moved it: that is for the next turn.
            if self._publisher.set_parameter("position", position, instead_of=self._shown):
                self._shown = position
