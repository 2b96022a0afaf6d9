"""Memory for received planes: recycled when nobody looks at a plane any more."""

from __future__ import annotations

import mmap
import threading
import weakref
from typing import Any

import numpy as np

from napari_streaming.transport.blocks import Blocks, whole_pages

__all__ = ["Arena"]

_REGION = 256 * 1024 * 1024


class Arena:
    """Hands out arrays in memory that is touched ahead of need. Thread-safe.

    Parameters
    ----------
    warm : int
        Bytes to touch at once.
    """

    def __init__(self, warm: int = 0) -> None:
        self._lock = threading.Lock()
        self._regions = [_region(max(_REGION, warm), warm)]

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Return an array, not cleared; its memory comes back once no view of it is left.

        Raises
        ------
        MemoryError
            The system has none left.
        """
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if nbytes == 0:
            return np.empty(shape, dtype)
        with self._lock:
            blocks, offset = self._find(nbytes)
        # numpy lets the views of an array keep its base alive instead of the array itself,
        # unless the base is no array: so this one outlives all of its views.
        array = np.ndarray(shape, dtype, blocks.memory.data[offset : offset + nbytes])
        weakref.finalize(array, blocks.give_back, offset, nbytes).atexit = False
        return array

    def _find(self, nbytes: int) -> tuple[Blocks, int]:
        for blocks in self._regions:
            offset = blocks.allocate(nbytes)
            if offset is not None:
                return blocks, offset
        self._regions = [blocks for blocks in self._regions if blocks.in_use]
        blocks = _region(max(_REGION, nbytes), 0)
        self._regions.append(blocks)
        offset = blocks.allocate(nbytes)
        assert offset is not None
        return blocks, offset


def _region(size: int, warm: int) -> Blocks:
    try:
        memory = mmap.mmap(-1, whole_pages(size))
    except OSError as error:
        raise MemoryError(f"no {size} bytes for planes: {error}") from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return Blocks(np.frombuffer(memory, np.uint8), ahead=warm)
