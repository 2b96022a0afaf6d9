"""Bytes that wait on disk, in files without a name that go with their process.

A file takes in one record after the other until it is full, and is closed, which frees its
room, when its last record is released. ``kill -9`` leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import threading
from typing import BinaryIO

from napari_streaming.wire.codec import Buffer

__all__ = ["Record", "Spool"]

_FILE = 64 * 1024 * 1024
_LEAST = 4096  # what a record counts at least: its description stays in memory


class _File:
    """A file of the spool, and what is in it."""

    def __init__(self, folder: str) -> None:
        if folder:
            os.makedirs(folder, exist_ok=True)
        self.file: BinaryIO = tempfile.TemporaryFile(  # noqa: SIM115  # closed with its last record
            buffering=0, prefix="napari-streaming-", dir=folder or None
        )
        self.end = self.counted = self.records = 0

    def append(self, data: Buffer) -> int:
        """Write bytes behind the last record; return where they begin."""
        start, rest = self.end, memoryview(data)
        try:
            self.file.seek(start)
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):  # what did go in shall not take room for nothing
                self.file.truncate(start)
            raise
        self.end += len(data)
        return start

    def close(self) -> None:
        """Give its room back, also where a process that was forked off has it open."""
        with contextlib.suppress(OSError):
            self.file.truncate(0)
        self.file.close()


class Record:
    """Some bytes in a spool, there until :meth:`release` is called, once.

    Attributes
    ----------
    nbytes : int
        How many.
    """

    def __init__(self, spool: Spool, file: _File, start: int, nbytes: int) -> None:
        self.nbytes = nbytes
        self._spool, self._file, self._start = spool, file, start

    def read(self) -> bytes:
        """Return the bytes.

        Raises
        ------
        OSError
            The disk does not give them back.
        """
        parts: list[bytes] = []
        at, end = self._start, self._start + self.nbytes
        while at < end:
            part = self._spool.read(self._file, at, end - at)
            if not part:
                raise OSError(errno.EIO, "a file of the spool is shorter than it was")
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self) -> None:
        """Let go of them."""
        self._spool.give_back(self._file)


class Spool:
    """Where bytes wait for which there is no room in memory. Thread-safe.

    Parameters
    ----------
    limit : int
        Bytes that its files may take together; a record counts as at least 4096.
    folder : str
        Where the files are, made if it is missing; empty: where the system has temporary
        files.
    """

    def __init__(self, limit: int, folder: str = "") -> None:
        self._limit, self._folder = limit, folder
        self._file_size = min(_FILE, limit // 8)
        self._lock = threading.Lock()
        self._current: _File | None = None
        self._in_use = 0

    @property
    def in_use(self) -> int:
        """Bytes that count against the limit now."""
        return self._in_use

    def write(self, data: Buffer) -> Record:
        """Write bytes, one record.

        Raises
        ------
        OSError
            The limit is reached, or the disk does not take them.
        """
        nbytes = len(data)
        counted = max(nbytes, _LEAST)
        with self._lock:
            if self._in_use + counted > self._limit:
                raise OSError(errno.ENOSPC, f"the {self._limit} bytes of the spool are taken")
            file = self._current
            if file is None or file.counted + counted > self._file_size:
                file = _File(self._folder)
            try:
                start = file.append(data)
            except OSError:
                if not file.records:
                    file.close()
                raise
            self._current = file
            file.records += 1
            file.counted += counted
            self._in_use += counted
        return Record(self, file, start, nbytes)

    def read(self, file: _File, start: int, nbytes: int) -> bytes:
        """Return some of a file's bytes, at most so many. Called by records."""
        if sys.platform == "win32":
            with self._lock:
                file.file.seek(start)
                return file.file.read(nbytes)
        return os.pread(file.file.fileno(), nbytes, start)

    def give_back(self, file: _File) -> None:
        """Take a record of a file back. Called by records."""
        with self._lock:
            file.records -= 1
            if file.records:
                return
            self._in_use -= file.counted
            if self._current is file:
                self._current = None
            file.close()
