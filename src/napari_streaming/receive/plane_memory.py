"""Which planes are in memory and which on disk: one byte budget for all layers together.

Three quarters of the budget are for planes that are only in memory. What exceeds them is
written to disk by a thread, the least recently put or read first. The last quarter holds
planes that are on disk as well, just written or read back: they go as soon as others need
the room. So a look through a long stack never pushes new planes out. The newest plane of
each layer always stays in memory.

Who adds planes faster than the disk takes them waits for it, at most as long as a slow disk
takes to write one such plane: meanwhile nothing is acknowledged, and publishers drop by
their own policy. If that does not help, the oldest plane is let go for good and reads as
missing; likewise, and without a wait, once the disk is full.

Planes that somebody has a view of are never written to again, wherever they are counted:
the arena takes their memory back with the last view.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.reduced import Whole
from napari_streaming.receive.spill import SpilledPlanes, SpillFolder, sweep
from napari_streaming.transport.blocks import whole_pages

__all__ = ["ON_SHOW", "Plane", "PlaneMemory"]

_SLOW_DISK = 32 * 1024 * 1024  # bytes a second; nobody waits for one that is slower
_SHORTEST_WAIT = 0.25

_Place: TypeAlias = tuple[SpilledPlanes, int]  # a home and a slot in it


class Plane:
    """A plane, wherever it is: in memory, on disk, in both, or lost. For PlaneMemory only.

    Parameters
    ----------
    array : ndarray
        Nobody writes to it any more.
    home : SpilledPlanes
        Where it goes on disk.
    whole : Whole, optional
        What it was taken from, if only every so many pixels are there.
    """

    __slots__ = ("array", "home", "slot", "whole")

    def __init__(self, array: np.ndarray, home: SpilledPlanes, whole: Whole | None = None) -> None:
        self.array: np.ndarray | None = array
        self.home, self.whole = home, whole
        self.slot: int | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it can never be read again."""
        return self.array is None and self.slot is None


ON_SHOW = 64 * 1024 * 1024
"""Bytes on top of a budget, of planes that come or are looked at."""


class PlaneMemory:
    """Holds planes under a budget. Safe in any thread.

    Parameters
    ----------
    budget : int
        Bytes. On top come the planes that others have views of, one that each network
        thread is about to add, and the newest of each layer if these alone are more.
    arena : Arena
        Where planes that are read back go.
    warn : callable
        Called, in any thread, with what the user should know, each once.
    """

    def __init__(self, budget: int, arena: Arena, warn: Callable[[str], None]) -> None:
        self._budget, self._arena, self._warn = budget, arena, warn
        self._folder = SpillFolder()
        self._lock = threading.Condition(threading.Lock())
        # Bytes in memory, those of them that are on disk as well, and what is kept for these.
        self._held, self._saved_bytes, self._headroom = 0, 0, budget // 4
        # By last use, oldest first. The newest plane of a layer is in neither.
        self._unsaved: OrderedDict[Plane, None] = OrderedDict()
        self._saved: OrderedDict[Plane, None] = OrderedDict()
        self._writing: Plane | None = None
        self._rubbish: deque[_Place] = deque()
        self._is_spilling = True
        self._warned: set[str] = set()
        threading.Thread(
            target=_work_behind,
            args=(weakref.ref(self), self._lock),
            name="napari-streaming-spill",
            daemon=True,
        ).start()

    @property
    def held(self) -> int:
        """Bytes of planes in memory."""
        return self._held

    @property
    def budget(self) -> int:
        """Bytes that planes may take in memory."""
        return self._budget

    def set_budget(self, budget: int) -> None:
        """Allow more bytes, or fewer: what is too much goes to the disk in the background."""
        with self._lock:
            self._budget, self._headroom = budget, budget // 4
            self._drop_saved(0)
            self._lock.notify_all()
        self._arena.limit(budget + ON_SHOW)

    def home(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SpilledPlanes:
        """Return where the planes of a layer go on disk; nothing is there yet."""
        return SpilledPlanes(self._folder, shape, dtype)

    def make_room(self, nbytes: int) -> None:
        """Make room for a plane of this size; wait for the disk if need be, a bounded time."""
        size = whole_pages(nbytes)
        with self._lock:
            if size > self._headroom:
                self._headroom = size
            self._drop_saved(size)
            if self._lacks(size):
                self._lock.notify_all()
                self._lock.wait_for(
                    lambda: not (self._is_spilling and self._lacks(size)),
                    max(_SHORTEST_WAIT, nbytes / _SLOW_DISK),
                )
            was_too_slow = self._is_spilling and self._lacks(size)
            while self._lacks(size):
                self._let_go()
        if was_too_slow:
            self._warn_once("planes come faster than the disk takes them: the oldest are lost")

    def add(self, plane: Plane, before: Plane | None, replaced: Plane | None) -> None:
        """Take in a plane, for which there should be room; this never waits.

        Parameters
        ----------
        plane : Plane
            The newest of its layer.
        before : Plane or None
            The one that was the newest.
        replaced : Plane or None
            The one whose place it takes.
        """
        with self._lock:
            self._held += _size(plane)
            if before is not None:
                self._unsaved[before] = None
            if replaced is not None:
                self._forget(replaced)
            if self._has_work():
                self._lock.notify_all()

    def read(self, plane: Plane) -> np.ndarray | None:
        """Return a plane's array, from the disk if need be; None if it is lost."""
        with self._lock:
            if plane.array is not None:
                self._touch(plane)
                return plane.array
            slot = plane.slot
        if slot is None:
            return None
        array = self._arena.allocate(*plane.home.layout)
        try:
            plane.home.read(slot, array)
        except OSError as error:
            self._lose(plane, slot, error)
            return None
        array.flags.writeable = False
        with self._lock:
            if plane.array is not None:  # another thread was faster
                return plane.array
            size = whole_pages(array.nbytes)
            self._drop_saved(size)
            if plane.slot is not None and self._held + size <= self._budget:
                plane.array = array
                self._saved[plane] = None
                self._held += size
                self._saved_bytes += size
        return array

    def forget(self, planes: Iterable[Plane]) -> None:
        """Let go of planes that nobody will ask for again, on disk as well."""
        with self._lock:
            for plane in planes:
                self._forget(plane)
            self._lock.notify_all()

    # ---- with the lock held ----------------------------------------------------------

    def _lacks(self, size: int) -> bool:
        """Drop what is on disk anyway, and return whether more must go for this size."""
        self._drop_saved(size)
        can_go = len(self._unsaved) - (self._writing in self._unsaved)
        return self._held + size > self._budget and can_go > 0

    def _drop_saved(self, size: int) -> None:
        while self._saved and self._held + size > self._budget:
            plane, _ = self._saved.popitem(last=False)
            self._held -= _size(plane)
            self._saved_bytes -= _size(plane)
            plane.array = None

    def _let_go(self) -> None:
        plane = next(plane for plane in self._unsaved if plane is not self._writing)
        del self._unsaved[plane]
        self._held -= _size(plane)
        plane.array = None

    def _touch(self, plane: Plane) -> None:
        for planes in (self._unsaved, self._saved):
            if plane in planes:
                planes.move_to_end(plane)

    def _forget(self, plane: Plane) -> None:
        if plane.array is not None:
            self._held -= _size(plane)
            self._unsaved.pop(plane, None)
            if plane in self._saved:
                del self._saved[plane]
                self._saved_bytes -= _size(plane)
        if plane.slot is not None:
            self._rubbish.append((plane.home, plane.slot))
        plane.array = plane.slot = None

    def _has_work(self) -> bool:
        return bool(self._rubbish) or self._next_to_save() is not None

    def _next_to_save(self) -> Plane | None:
        only_here = self._held - self._saved_bytes
        if not self._is_spilling or only_here <= self._budget - self._headroom:
            return None
        return next(iter(self._unsaved), None)

    # ---- without the lock ------------------------------------------------------------

    def _lose(self, plane: Plane, slot: int, error: OSError) -> None:
        with self._lock:
            if plane.slot != slot:  # forgotten meanwhile, and deleted from the disk
                return
            plane.slot = None
        self._warn_once(f"planes on the disk cannot be read and are lost: {error}")

    def _warn_once(self, text: str) -> None:
        with self._lock:
            is_new = text not in self._warned
            self._warned.add(text)
        if is_new:
            self._warn(text)

    # ---- the thread ------------------------------------------------------------------

    def _take_work(self) -> tuple[Plane | None, _Place | None]:
        """Return what to write and what to delete; the caller holds the lock."""
        self._writing = self._next_to_save()
        return self._writing, self._rubbish.popleft() if self._rubbish else None

    def _work(self, plane: Plane | None, rubbish: _Place | None) -> None:
        if rubbish is not None:
            home, slot = rubbish
            with contextlib.suppress(OSError):
                home.delete(slot)
        array = None if plane is None else plane.array
        if plane is None or array is None:  # or forgotten since
            return
        try:
            self._saved_as(plane, plane.home.write(array))
        except (OSError, MemoryError) as error:
            with self._lock:
                self._is_spilling, self._writing = False, None
                self._lock.notify_all()
            self._warn_once(
                f"no more planes can be written to the disk ({error}): from now on the oldest "
                "are lost"
            )

    def _saved_as(self, plane: Plane, slot: int) -> None:
        with self._lock:
            self._writing = None
            if plane in self._unsaved:
                del self._unsaved[plane]
                self._saved[plane] = None
                self._saved_bytes += _size(plane)
                plane.slot = slot
            else:
                self._rubbish.append((plane.home, slot))
            self._lock.notify_all()


def _size(plane: Plane) -> int:
    """Return the bytes of memory that a plane takes."""
    assert plane.array is not None
    return whole_pages(plane.array.nbytes)


def _work_behind(memory_of: weakref.ref[PlaneMemory], lock: threading.Condition) -> None:
    """Write and delete until the memory is gone."""
    sweep()
    while True:
        with lock:
            memory = memory_of()
            if memory is None:
                return
            plane, rubbish = memory._take_work()
            if plane is None and rubbish is None:
                del memory
                lock.wait(1.0)
                continue
        memory._work(plane, rubbish)
        del memory, plane, rubbish
