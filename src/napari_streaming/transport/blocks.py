"""Blocks of one stretch of memory, reused for ever and touched ahead of need.

Blocks are cut first-fit from the lowest address, so that the same warm pages serve again
and again. A thread touches pages ahead of need: a plane copied into warm pages costs one
memcpy, into fresh ones up to ten.
"""

from __future__ import annotations

import bisect
import threading
import weakref
from collections import deque

import numpy as np

__all__ = ["PAGE", "Blocks", "Bytes", "whole_pages"]

PAGE = 4096
_TOUCH = 4 * 1024 * 1024
_AHEAD = 256 * 1024 * 1024

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


class Blocks:
    """An allocator of whole pages in given memory. Thread-safe.

    Parameters
    ----------
    memory : ndarray of uint8
        Nobody else may write to it, except into blocks that were allocated.
    first : int
        Where the first block may start.
    ahead : int
        Bytes to touch at once, before anything is allocated.
    """

    def __init__(self, memory: Bytes, first: int = 0, ahead: int = 0) -> None:
        self.memory = memory
        self._in_use = 0
        self._lock = threading.Condition(threading.Lock())
        self._returned: deque[tuple[int, int]] = deque()  # given back, not yet in `_free`
        self._free: list[tuple[int, int]] = []  # (offset, size), sorted, never adjacent
        self._untouched = whole_pages(first)  # from here on nobody has written yet
        self._touching = False  # whether the thread has pages before that in its hands
        self._most = memory.nbytes  # to be touched ahead of need
        self._wanted = min(whole_pages(ahead), memory.nbytes)
        self._closed = False
        threading.Thread(
            target=_touch_ahead,
            args=(weakref.ref(self), self._lock),
            name="napari-streaming-memory",
            daemon=True,
        ).start()

    @property
    def in_use(self) -> int:
        """Bytes that blocks take now."""
        with self._lock:
            self._collect()
            return self._in_use

    def allocate(self, nbytes: int) -> int | None:
        """Return the offset of a block for this many bytes, or None when there is none."""
        size = whole_pages(nbytes)
        with self._lock:
            self._collect()
            offset = self._take(size)
            if offset is None and self._touching:
                # A few MiB at the most, in a millisecond or two: they may be what is missing.
                self._lock.wait_for(lambda: not self._touching, timeout=1.0)
                offset = self._take(size)
            if offset is not None:
                self._in_use += size
                self._want(min(self.memory.nbytes, 2 * self._in_use + 4 * size))
            return offset

    def limit(self, nbytes: int) -> None:
        """Touch no more than this ahead of need from now on."""
        with self._lock:
            self._most = min(whole_pages(nbytes), self.memory.nbytes)
            self._wanted = min(self._wanted, self._most)

    def give_back(self, offset: int, nbytes: int) -> None:
        """Take a block back; `nbytes` as it was allocated.

        It takes no lock: the garbage collector may call this in the midst of a thread that
        holds it.
        """
        self._returned.append((offset, whole_pages(nbytes)))

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def touch_some(self) -> bool:
        """Touch a few pages; return whether there may be more to do."""
        with self._lock:
            start = self._untouched
            end = min(self._wanted, start + _TOUCH)
            if self._closed or end <= start:
                return False
            self._untouched = end
            self._touching = True
        self.memory[start:end:PAGE] = 0  # numpy lets other threads run meanwhile
        with self._lock:
            self._put(start, end - start)
            self._touching = False
            self._lock.notify_all()
        return True

    def _want(self, wanted: int) -> None:
        """Raise what shall be touched: as much again as is in use, but not without end.

        The thread is only woken for a worthwhile stretch: small planes come by the thousand.
        """
        wanted = min(wanted, self._in_use + _AHEAD, self._most)
        if self._wanted < wanted >= min(self._wanted + _TOUCH, self._most):
            self._wanted = wanted
            self._lock.notify_all()

    def _collect(self) -> None:
        """Put what was given back where it can be taken again."""
        while self._returned:
            offset, size = self._returned.popleft()
            self._in_use -= size
            self._put(offset, size)

    def _take(self, size: int) -> int | None:
        for index, (offset, length) in enumerate(self._free):
            if length >= size:
                if length == size:
                    del self._free[index]
                else:
                    self._free[index] = (offset + size, length - size)
                return offset
        offset = self._untouched
        if self._free and sum(self._free[-1]) == offset:
            offset = self._free[-1][0]  # the last free stretch goes on there
        if offset + size > self.memory.nbytes:
            return None
        if offset < self._untouched:
            self._free.pop()
        self._untouched = offset + size
        return offset

    def _put(self, offset: int, size: int) -> None:
        index = bisect.bisect(self._free, (offset, 0))
        if index < len(self._free) and self._free[index][0] == offset + size:
            size += self._free.pop(index)[1]
        if index and sum(self._free[index - 1]) == offset:
            offset, before = self._free.pop(index - 1)
            size += before
            index -= 1
        self._free.insert(index, (offset, size))


def whole_pages(nbytes: int) -> int:
    """Return a size, rounded up to pages."""
    return -(-nbytes // PAGE) * PAGE


def _touch_ahead(reference: weakref.ref[Blocks], lock: threading.Condition) -> None:
    """Fault pages in, a few at a time, until the blocks are closed or gone."""
    while True:
        blocks = reference()
        if blocks is None or blocks._closed:
            return
        busy = blocks.touch_some()
        del blocks
        if not busy:
            with lock:
                lock.wait(1.0)
