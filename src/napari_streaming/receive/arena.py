"""Memory for received planes: recycled when nobody looks at a plane any more."""

from __future__ import annotations

import mmap
import platform
import sys
import threading
import weakref
from typing import Any, TypeAlias

import numpy as np

from napari_streaming.transport.blocks import Blocks, whole_pages

__all__ = ["Arena"]

_REGION = 256 * 1024 * 1024

_Region: TypeAlias = tuple[Blocks, mmap.mmap]  # which cuts, and what it cuts


class Arena:
    """Hands out arrays in memory that is touched ahead of need. Thread-safe.

    Parameters
    ----------
    warm : int
        Bytes to touch at once.
    size : int
        Bytes that will be needed at most, as far as is known: addresses are set aside for
        them, not memory. What exceeds them costs a thread for each 256 MiB.
    """

    def __init__(self, warm: int = 0, size: int = _REGION) -> None:
        self._lock = threading.Lock()
        try:
            first = _region(max(_REGION, size, warm), warm)
        except MemoryError:  # addresses are rationed here
            first = _region(_REGION, min(warm, _REGION))
        self._regions = [first]
        self._leases: dict[int, _Lease] = {}

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
            (blocks, memory), offset = self._find(nbytes)
        # numpy lets the views of an array keep its base alive instead of the array itself,
        # unless the base is no array: so this one outlives all of its views. It must be the
        # mmap: numpy looks through a memoryview of an array.
        array = np.ndarray(shape, dtype, memory, offset)
        lease = _Lease(array, _give_back)
        lease.blocks, lease.offset, lease.nbytes = blocks, offset, nbytes
        lease.others = self._leases
        self._leases[id(lease)] = lease
        return array

    def limit(self, nbytes: int) -> None:
        """Touch no more than this ahead of need from now on."""
        with self._lock:
            self._regions[0][0].limit(nbytes)

    def _find(self, nbytes: int) -> tuple[_Region, int]:
        for region in self._regions:
            offset = region[0].allocate(nbytes)
            if offset is not None:
                return region, offset
        first, *more = self._regions
        self._regions = [first, *(region for region in more if region[0].in_use)]
        region = _region(max(_REGION, nbytes), 0)
        self._regions.append(region)
        offset = region[0].allocate(nbytes)
        assert offset is not None
        return region, offset


class _Lease(weakref.ref[np.ndarray]):
    """What is to be given back with an array; a tenth of what a `weakref.finalize` takes."""

    __slots__ = ("blocks", "nbytes", "offset", "others")

    blocks: Blocks
    offset: int
    nbytes: int
    others: dict[int, _Lease]


def _give_back(lease: weakref.ref[np.ndarray]) -> None:
    assert isinstance(lease, _Lease)
    del lease.others[id(lease)]
    lease.blocks.give_back(lease.offset, lease.nbytes)


# Python before 3.13 does not know the flag, which has this value on the common processors.
_ON_LINUX = 0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", _ON_LINUX)

# To Python's default, a shared mapping, Linux would give small pages only. What is not reserved
# does not count where the process forks, which fails if two regions lie side by side and look
# larger than the machine's memory.
_PRIVATE = (
    {}
    if sys.platform == "win32"
    else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE}
)


def _region(size: int, warm: int) -> _Region:
    try:
        memory = mmap.mmap(-1, whole_pages(size), **_PRIVATE)
    except OSError as error:
        raise MemoryError(f"no {size} bytes for planes: {error}") from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return Blocks(np.frombuffer(memory, np.uint8), ahead=warm), memory
