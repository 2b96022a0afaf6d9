"""Shared memory for planes: one segment, cut into blocks that are reused for ever.

The segment has the size of the publisher's budget but takes memory only as it is touched.

On Linux the segment is a memfd that others map through ``/proc``: memory that belongs to
processes and not to a name, gone with the last of them, ``kill -9`` included. Elsewhere it
is a named segment of :mod:`multiprocessing.shared_memory`.

Layout, all little endian. The segment starts with the magic and its identity; a block
starts with its generation, 0 while it is written. A reader compares the generation before
and after its copy, so that a block that was given to another plane meanwhile is noticed.
"""

from __future__ import annotations

import itertools
import mmap
import os
import re
import secrets
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import shared_memory
from typing import Any

import numpy as np

from napari_streaming.errors import TransportError
from napari_streaming.transport.blocks import PAGE, Blocks, Bytes, whole_pages
from napari_streaming.wire.messages import Block, Segment

__all__ = ["AttachedSegment", "Pool", "Slot"]

_MAGIC = b"NPSTPOOL"
_IDENTITY = 16
_HEADER = 64


class Slot:
    """A block of the pool, counted by those who use it and free when the last lets go.

    Attributes
    ----------
    nbytes : int
        The size asked for.
    generation : int
        Unique in the pool; stands in the block's header once :meth:`seal` was called.
    """

    def __init__(self, pool: Pool, offset: int, nbytes: int, generation: int) -> None:
        self.nbytes = nbytes
        self.generation = generation
        self._pool, self._offset = pool, offset
        self._users = 1
        self._lock = threading.Lock()
        self._stamp(0)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """View the block as an array, writable."""
        return np.ndarray(shape, dtype, self._pool.memory.data, self._offset + _HEADER)

    def buffer(self) -> memoryview:
        """View the block as raw bytes."""
        start = self._offset + _HEADER
        return self._pool.memory[start : start + self.nbytes].data

    def block(self) -> Block:
        """Return how a message refers to this block."""
        return Block(self._pool.segment.segment, self._offset, self.generation)

    def seal(self) -> None:
        """Declare the content complete."""
        self._stamp(self.generation)

    @property
    def users(self) -> int:
        """How many use it now."""
        return self._users

    def retain(self) -> Slot:
        """Count one more user; return the same slot."""
        with self._lock:
            self._users += 1
        return self

    def release(self) -> None:
        """Count one user less; the last one gives the block back."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            if not self._pool.is_closed:  # else nobody else gets it, and some may still read it
                self._stamp(0)
            self._pool.give_back(self._offset, self.nbytes)

    def _stamp(self, generation: int) -> None:
        self._pool.words[self._offset // 8] = generation


class Pool:
    """One segment of shared memory and the blocks in it. Thread-safe.

    Parameters
    ----------
    size : int
        Bytes of the segment: the most that all blocks may take together.

    Attributes
    ----------
    segment : Segment
        How viewers find it; its `address` is empty where memory cannot be shared.
    memory : ndarray of uint8
        The whole segment.
    words : memoryview of uint64
        The same, for the blocks' headers.
    is_closed : bool
        Whether :meth:`close` was called.
    """

    def __init__(self, size: int) -> None:
        size = whole_pages(size)
        identity = secrets.token_hex(_IDENTITY)
        self.memory, address, self._unmake = _make_segment(size)
        self.words = self.memory.data.cast("B").cast("Q")
        self.segment = Segment(identity, address, size)
        mark = _MAGIC + bytes.fromhex(identity)
        self.memory[: len(mark)] = np.frombuffer(mark, np.uint8)
        self._blocks = Blocks(self.memory, first=_HEADER)
        self._generations = itertools.count(1)
        self.is_closed = False

    @property
    def room(self) -> int:
        """The most bytes that one block can have."""
        return self.segment.size - whole_pages(_HEADER) - _HEADER

    @property
    def in_use(self) -> int:
        """Bytes that blocks take now."""
        return self._blocks.in_use

    def allocate(self, nbytes: int) -> Slot | None:
        """Return a block for this many bytes, or None when the pool is full."""
        offset = self._blocks.allocate(nbytes + _HEADER)
        if offset is None:
            return None
        return Slot(self, offset, nbytes, next(self._generations))

    def give_back(self, offset: int, nbytes: int) -> None:
        """Take a block back. Called by slots."""
        self._blocks.give_back(offset, nbytes + _HEADER)

    def close(self) -> None:
        """Let go of the segment; who still looks at it keeps it mapped, and as it is."""
        self.is_closed = True
        self._blocks.close()
        self._unmake()


class AttachedSegment:
    """Another process's segment, mapped for reading.

    Parameters
    ----------
    segment : Segment
        As the publisher announced it.

    Raises
    ------
    TransportError
        It cannot be mapped, or is not what it claims to be.
    """

    def __init__(self, segment: Segment) -> None:
        if not re.fullmatch("[0-9a-f]{32}", segment.segment):
            raise TransportError(f"{segment.segment!r} is no identity of a segment")
        kind, _, where = segment.address.partition(":")
        if kind == "memfd" and sys.platform == "linux":
            memory = _map_memfd(where, segment.size)
        elif kind == "shm" and sys.platform != "linux":
            memory = _map_named(where, segment.size)
        else:
            raise TransportError(f"no shared memory of kind {segment.address!r} here")
        mark = bytes(memory[: len(_MAGIC) + _IDENTITY])
        if mark[: len(_MAGIC)] != _MAGIC or mark[len(_MAGIC) :].hex() != segment.segment:
            raise TransportError(f"{segment.address} holds another segment")
        self._memory: Bytes = memory

    def copy(self, block: Block, into: Sequence[np.ndarray]) -> bool:
        """Copy a block's content; return False if it was given away before or meanwhile.

        Parameters
        ----------
        block : Block
            Where; checked against the segment's size.
        into : sequence of ndarray
            C-contiguous, of the dtypes and shapes of what lies there, one after the other.

        Raises
        ------
        TransportError
            The block does not lie within the segment.
        """
        start = block.offset + _HEADER
        if block.offset % PAGE or start + sum(a.nbytes for a in into) > self._memory.nbytes:
            raise TransportError(f"block at {block.offset} lies outside the segment")
        generation = self._memory[block.offset : block.offset + 8].view("<u8")
        if generation[0] != block.generation:
            return False
        for array in into:
            np.copyto(array, np.ndarray(array.shape, array.dtype, self._memory.data, start))
            start += array.nbytes
        return bool(generation[0] == block.generation)


def _make_segment(size: int) -> tuple[Bytes, str, Callable[[], None]]:
    """Return memory of this size, its address, and what to call to let it go."""
    if sys.platform == "linux":
        import fcntl

        try:
            fd = os.memfd_create("napari-streaming", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:  # forbidden in some sandboxes: planes go inline then
            return np.frombuffer(mmap.mmap(-1, size), np.uint8), "", lambda: None
        os.ftruncate(fd, size)
        # A reader must never meet a shrunk file: that would be a SIGBUS.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        memory = np.frombuffer(mmap.mmap(fd, size), np.uint8)
        return memory, f"memfd:{os.getpid()}:{fd}", _once(lambda: os.close(fd))
    shared = shared_memory.SharedMemory(create=True, size=size)
    memory = np.ndarray((size,), np.uint8, shared.buf)
    weakref.finalize(memory, shared.close)
    return memory, f"shm:{shared.name}", _once(shared.unlink)


def _once(function: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls another one, the first time only."""
    calls = [function]
    return lambda: calls.pop()() if calls else None


def _map_memfd(where: str, size: int) -> Bytes:
    import fcntl

    pid, _, number = where.partition(":")
    if not (pid.isdecimal() and number.isdecimal()):
        raise TransportError(f"memfd:{where} is no address")
    try:
        fd = os.open(f"/proc/{pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            found = os.fstat(fd)
            if not seals & fcntl.F_SEAL_SHRINK or found.st_size != size:
                raise TransportError("the memory is not sealed, or of another size")
            if found.st_uid != os.getuid():
                raise TransportError("the memory belongs to another user")
            return np.frombuffer(mmap.mmap(fd, size, prot=mmap.PROT_READ), np.uint8)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise TransportError(f"cannot map memfd:{where}: {error}") from None


def _map_named(name: str, size: int) -> Bytes:
    try:
        shared = shared_memory.SharedMemory(name=name)
    except (OSError, ValueError) as error:
        raise TransportError(f"cannot map shm:{name}: {error}") from None
    if shared.size < size:
        raise TransportError(f"shm:{name} is of another size")
    memory = np.ndarray((size,), np.uint8, shared.buf)
    memory.flags.writeable = False
    weakref.finalize(memory, shared.close)
    return memory
