"""The timeline of a recording: all that came, when, and where its arrays are; JSON lines.

The first line is a :class:`Header`, each other one an :class:`Entry`. JSON has no NaN and no
infinities: ``{"$float": "nan"}`` stands for them. A key that begins with ``$`` in the data gets
one more, so that nothing in it can be mistaken for that.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from napari_streaming.errors import DataError
from napari_streaming.wire.messages import Coordinate, Message, Peer

__all__ = ["Canvas", "Chunk", "Entry", "Header", "Rows", "TimelineFile", "read_timeline"]

FORMAT = "napari-streaming recording"
VERSION = 1


class Header(Struct, frozen=True):
    """What a timeline begins with; `began` is in seconds since the epoch."""

    format: str
    version: int
    began: float


class Chunk(Struct, frozen=True, array_like=True):
    """Where the encoded bytes of a plane, or of a part of one, are."""

    path: str
    offset: int
    nbytes: int


class Rows(Struct, frozen=True, array_like=True):
    """Which rows of a zarr array are an item's."""

    path: str
    first: int
    count: int


class Canvas(Struct, frozen=True):
    """A whole plane, put together of the parts that came before."""

    stream: int
    at: dict[str, Coordinate]
    chunk: Chunk


class Entry(Struct, frozen=True, omit_defaults=True):
    """One thing that happened: a peer came or left, or a message arrived.

    Parameters
    ----------
    t : float
        When it arrived, in seconds since the recording began.
    run : str
        Whose it is.
    peer : Peer, optional
        Who speaks from now on.
    left : str, optional
        Why the peer is gone.
    message : Message, optional
    planes : tuple of Chunk
        Of an item of images or labels.
    rows : dict of str to Rows
        Of any other item, the arrays that are numbers.
    words : dict of str to tuple of str
        The arrays that are text.
    canvas : Canvas, optional
    """

    t: float
    run: str
    peer: Peer | None = None
    left: str | None = None
    message: Message | None = None
    planes: tuple[Chunk, ...] = ()
    rows: dict[str, Rows] = {}
    words: dict[str, tuple[str, ...]] = {}
    canvas: Canvas | None = None


def encode(line: Header | Entry) -> bytes:
    """Return a line."""
    return msgspec.json.encode(_plain(msgspec.to_builtins(line))) + b"\n"


def decode(line: bytes) -> Entry:
    """Return the entry in a line.

    Raises
    ------
    DataError
        There is none.
    """
    try:
        return msgspec.convert(_restored(msgspec.json.decode(line)), Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"no line of a timeline: {error}") from None


def _plain(thing: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else {"$float": str(thing)}
    if isinstance(thing, dict):
        return {"$" + k if k.startswith("$") else k: _plain(v) for k, v in thing.items()}
    if isinstance(thing, list | tuple):
        return [_plain(one) for one in thing]
    return thing


def _restored(thing: Any) -> Any:
    if isinstance(thing, dict):
        if "$float" in thing:
            return float(thing["$float"])
        return {k[1:] if k.startswith("$") else k: _restored(v) for k, v in thing.items()}
    return [_restored(one) for one in thing] if isinstance(thing, list) else thing


class TimelineFile:
    """A timeline that is being written. A line is never there in part, unless a disk failed.

    Parameters
    ----------
    path : Path
        Where there is no file yet.
    began : float
        When, in seconds since the epoch.

    Raises
    ------
    OSError
        It cannot be written.
    """

    def __init__(self, path: Path, began: float) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._lines = [encode(Header(FORMAT, VERSION, began))]
        self._size = 0
        self.flush()

    def add(self, entry: Entry) -> None:
        """Append an entry; it is on its way to the disk after :meth:`flush`."""
        self._lines.append(encode(entry))

    def flush(self) -> None:
        """Write what was added.

        Raises
        ------
        OSError
            The disk has no room, or the file is not there any more.
        """
        if os.stat(self._path).st_ino != os.fstat(self._fd).st_ino:
            raise FileNotFoundError(f"{self._path} is another file now")
        data = memoryview(b"".join(self._lines))
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], self._size + done)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self._lines.clear()

    def close(self) -> None:
        """Let go of the file, and of what was not flushed."""
        os.close(self._fd)


def read_timeline(path: Path) -> tuple[Header, Iterator[Entry]]:
    """Return what a timeline begins with, and its entries, as far as it was written.

    Raises
    ------
    DataError
        It is none, or one of a newer version.
    OSError
        It cannot be read.
    """
    file = path.open("rb")
    try:
        header = msgspec.json.decode(file.readline(), type=Header)
    except msgspec.MsgspecError:
        header = Header("", 0, 0)
    if header.format != FORMAT or header.version != VERSION:
        file.close()
        raise DataError(f"{path} is no timeline of a recording, or one of a newer version")

    def entries() -> Iterator[Entry]:
        with file:
            for line in file:
                if not line.endswith(b"\n"):  # the program was killed, or the disk full
                    return
                yield decode(line)

    return header, entries()
