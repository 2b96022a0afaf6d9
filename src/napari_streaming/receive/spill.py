"""Planes on the local disk: one zarr array a layer, in a folder that goes with its owner.

A plane is a chunk, numbered in the order of writing. The chunks are written and read
without zarr, whose way to one takes 10 to 50 ms for 8 MiB; here it is 5, of which lz4 with
shuffled bytes takes 2 and halves the noise of a camera. What lies there is an ordinary zarr
array all the same, which helps whoever has to look into it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from napari_streaming.transport.runtime import process_started

__all__ = ["SpillFolder", "SpilledPlanes", "spill_root", "sweep"]

_RESERVE = 1024**3  # bytes of the disk that are left to others
_COMPRESSIBLE = 2**31 - 17  # the most that blosc takes
_SLOTS = 2**32  # the declared length of an array: chunks that are not there read as zeros


def spill_root() -> Path:
    """Return where the spill folders of this user's processes are."""
    return platformdirs.user_cache_path("napari-streaming") / "spill"


def sweep() -> None:
    """Remove what processes of this machine that are gone have left on the disk."""
    with contextlib.suppress(OSError):
        for left in spill_root().glob(f"{_machine()}+*+*+*"):
            _, pid, started, _ = left.name.split("+")
            now = process_started(int(pid)) if pid.isdecimal() else None
            if now is None or f"{now:.2f}" != started:
                shutil.rmtree(left, ignore_errors=True)


class SpillFolder:
    """A private folder, made when first needed, removed with this object and at exit.

    Attributes
    ----------
    lock : Lock
        Held by who writes there.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._path: Path | None = None

    def make(self) -> Path:
        """Return its path; the caller holds the lock.

        Raises
        ------
        OSError
            It cannot be made.
        """
        if self._path is None:
            root = spill_root()
            root.mkdir(parents=True, exist_ok=True)
            pid = os.getpid()
            name = f"{_machine()}+{pid}+{process_started(pid) or 0.0:.2f}+"
            self._path = Path(tempfile.mkdtemp(prefix=name, dir=root))
            weakref.finalize(self, _remove, self._path, self.lock, pid)
        return self._path


class SpilledPlanes:
    """The planes of one layer on disk. One thread writes, any may read.

    Parameters
    ----------
    folder : SpillFolder
    shape : tuple of int
        Of each plane.
    dtype : dtype
        Of each plane.
    """

    def __init__(self, folder: SpillFolder, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._folder, self._shape, self._dtype = folder, shape, dtype
        self._nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._is_compressed = self._nbytes <= _COMPRESSIBLE
        self._path: Path | None = None
        self._count = 0

    @property
    def layout(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and dtype of a plane."""
        return self._shape, self._dtype

    @property
    def path(self) -> Path | None:
        """Of the zarr array; None as long as nothing was written."""
        return self._path

    def write(self, plane: np.ndarray) -> int:
        """Write a plane and return its slot.

        Raises
        ------
        OSError
            The disk is full, nearly full, or cannot be written.
        """
        slot = self._count
        data = _codec().encode(plane) if self._is_compressed else plane.data
        with self._folder.lock:
            if self._path is None:
                self._path = self._create(self._folder.make())
            if shutil.disk_usage(self._path).free < _RESERVE + len(data):
                raise OSError(errno.ENOSPC, "the disk is nearly full")
            chunk = self._chunk(slot)
            try:
                chunk.write_bytes(data)
            except OSError:
                chunk.unlink(missing_ok=True)
                raise
        self._count += 1
        if _trim is not None and slot % _TRIM_EVERY == 0:
            _trim(0)
        return slot

    def read(self, slot: int, plane: np.ndarray) -> None:
        """Read the plane of a slot into an array.

        Raises
        ------
        OSError
            It is not there any more, or is no longer what was written.
        """
        with self._chunk(slot).open("rb") as file:
            if not self._is_compressed:
                if file.readinto(plane.data.cast("B")) != self._nbytes:
                    raise OSError(errno.EIO, "a plane on the disk is cut short")
                return
            data = file.read()
        # Its header says how long it is; blosc trusts that, and would read on behind the end.
        if [len(data), self._nbytes] != [
            int.from_bytes(data[i : i + 4], "little") for i in (12, 4)
        ]:
            raise OSError(errno.EIO, "a plane on the disk is cut short")
        try:
            _codec().decode(data, out=plane)
        except (RuntimeError, ValueError) as error:
            raise OSError(errno.EIO, f"a plane on the disk is damaged: {error}") from None

    def delete(self, slot: int) -> None:
        """Give the disk space of a slot back."""
        self._chunk(slot).unlink(missing_ok=True)

    def _chunk(self, slot: int) -> Path:
        assert self._path is not None
        return self._path / ("c." + ".".join([str(slot)] + ["0"] * len(self._shape)))

    def _create(self, folder: Path) -> Path:
        import zarr  # 0.1 s, and a thread: only those who spill pay
        from zarr.codecs import BloscCodec

        path = Path(tempfile.mkdtemp(suffix=".zarr", dir=folder))
        zarr.create_array(
            path,
            shape=(_SLOTS, *self._shape),
            chunks=(1, *self._shape),
            dtype=self._dtype,
            compressors=BloscCodec(**_CODEC, shuffle="shuffle") if self._is_compressed else None,
            chunk_key_encoding={"name": "default", "separator": "."},
            fill_value=0,
        )
        return path


# What compressing leaves behind, glibc would keep: half a gigabyte after a few hundred planes.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
_TRIM_EVERY = 16
_CODEC: dict[str, Any] = {"cname": "lz4", "clevel": 5}


def _codec() -> Any:
    from numcodecs import Blosc  # type: ignore[import-untyped]

    return Blosc(**_CODEC, shuffle=Blosc.SHUFFLE)


def _machine() -> str:
    """Return this machine's name for a file name: a home folder may be shared with others."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", platform.node()) or "_"


def _remove(path: Path, lock: threading.Lock, owner: int) -> None:
    """Remove a spill folder, in the process that made it."""
    if os.getpid() == owner:
        lock.acquire(timeout=5.0)  # for good: at exit, a thread may still want to write
        shutil.rmtree(path, ignore_errors=True)
