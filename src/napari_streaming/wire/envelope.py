"""One message as one string of bytes, for transports that know no frames of their own.

First a table, then the frames, each padded to a multiple of 8 bytes, so that a reader may view
arrays where they lie. The table is checked before room is made for any frame.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import MAX_BUFFER, MAX_HEADER, Buffer

__all__ = ["MAX_FRAMES", "Opener", "seal"]

MAX_FRAMES = 261
"""A header, and as many buffers as an Item may have arrays."""
_ALIGNED = 8


def seal(frames: Sequence[Buffer]) -> list[Buffer]:
    """Return the pieces of the message that holds these frames, which are not copied."""
    lengths = [memoryview(frame).nbytes for frame in frames]
    pieces: list[Buffer] = [struct.pack(f"<{1 + len(frames)}Q", len(frames), *lengths)]
    for frame, length in zip(frames, lengths, strict=True):
        pieces.append(frame)
        if padding := -length % _ALIGNED:
            pieces.append(bytes(padding))
    return pieces


class Opener:
    """Takes in one message, in pieces of any size, each byte written once where it stays."""

    def __init__(self) -> None:
        self._frames: list[memoryview] = []
        self._lengths: tuple[int, ...] | None = None
        self._target = bytearray(_ALIGNED)  # the number of frames, then their lengths
        self._room = memoryview(self._target)

    def room(self) -> memoryview:
        """Return where the next bytes belong; empty once the message is complete."""
        return self._room

    def filled(self, count: int) -> None:
        """Take note that the first `count` bytes of the room are there.

        Raises
        ------
        MalformedError
            The table is out of bounds.
        """
        self._room = self._room[count:]
        while not self._room:
            if self._lengths is None:
                self._read_table()
            elif len(self._frames) < len(self._lengths):
                self._make_room(self._lengths[len(self._frames)])
            else:
                return

    def frames(self) -> list[memoryview]:
        """Return the frames of the message, which ends here.

        Raises
        ------
        MalformedError
            It should be longer.
        """
        if self._room or self._lengths is None:
            raise MalformedError("a message that ends before its last frame does")
        return self._frames

    def _read_table(self) -> None:
        count, *lengths = struct.unpack(f"<{len(self._target) // 8}Q", self._target)
        if not 1 <= count <= MAX_FRAMES:
            raise MalformedError(f"a message of {count} frames, 1 to {MAX_FRAMES} allowed")
        if not lengths:
            self._target = bytearray(struct.pack("<Q", count) + bytes(8 * count))
            self._room = memoryview(self._target)[_ALIGNED:]
            return
        for length, most in zip(lengths, [MAX_HEADER, *[MAX_BUFFER] * count], strict=False):
            if length > most:
                raise MalformedError(f"a frame of {length} bytes, at most {most} allowed")
        self._lengths = tuple(lengths)

    def _make_room(self, length: int) -> None:
        # Not a bytearray, which would be filled with zeros first.
        made = np.empty(length + -length % _ALIGNED, np.uint8).data
        self._frames.append(made[:length])
        self._room = made
