"""Named shared memory that belongs to another program: read, and left as it is.

:class:`multiprocessing.shared_memory.SharedMemory` is for those who own it: before Python 3.13
it would have this process's resource tracker remove the memory in the end, and it removes at
once what it cannot map.
"""

from __future__ import annotations

import mmap
import os
import sys

from napari_streaming.errors import TransportError

__all__ = ["foreign_memory"]


def foreign_memory(name: str, nbytes: int) -> memoryview:
    """Map the beginning of a segment, until the last view of it is gone.

    Parameters
    ----------
    name : str
        As :mod:`multiprocessing.shared_memory` has it.
    nbytes : int
        How much is needed, at least 1.

    Returns
    -------
    memoryview
        Read-only, of just this size.

    Raises
    ------
    TransportError
        There is none of this name, or it is too small.
    """
    try:
        mapped, size = _map(name, nbytes)
    except (OSError, ValueError) as error:
        raise TransportError(f"shared memory {name!r} cannot be read: {error}") from None
    if size < nbytes:
        raise TransportError(f"shared memory {name!r} has {size} bytes, needed are {nbytes}")
    return memoryview(mapped)[:nbytes].toreadonly()


if sys.platform == "win32":

    def _map(name: str, nbytes: int) -> tuple[mmap.mmap, int]:
        from multiprocessing import shared_memory

        shared = shared_memory.SharedMemory(name)  # mmap would make it if it were not there
        size = shared.size
        shared.close()
        return mmap.mmap(-1, size, tagname=name, access=mmap.ACCESS_READ), size

else:
    import _posixshmem  # type: ignore[import-not-found]

    def _map(name: str, nbytes: int) -> tuple[mmap.mmap, int]:
        fd = _posixshmem.shm_open(f"/{name}", os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            return mmap.mmap(fd, min(size, nbytes), prot=mmap.PROT_READ), size
        finally:
            os.close(fd)
