"""WebSocket frames (RFC 6455, section 5), made and cut without a needless copy of a plane.

The library that shakes the hands could do it, at four copies of each plane on its way in.
Extensions are never agreed upon, so that none are known here.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from napari_streaming.errors import ProtocolError
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.envelope import Opener

__all__ = [
    "BINARY",
    "CLOSE",
    "MALFORMED",
    "PING",
    "PONG",
    "FrameError",
    "FrameReader",
    "Incoming",
    "make_frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
BROKEN, UNSUPPORTED, MALFORMED, TOO_BIG = 1002, 1003, 1007, 1009  # section 7.4.1
_FIN, _RESERVED, _OPCODE, _MASKED, _CONTROL = 0x80, 0x70, 0x0F, 0x80, 0x08
_MAX_CONTROL = 125
_STAGE = 65536
_COPIED = 65536  # up to here a copy costs less than a piece of its own


class FrameError(ProtocolError):
    """Bytes that are no WebSocket frames, or frames that no message is sent in.

    Parameters
    ----------
    close_code : int
        What the peer is told.
    reason : str
        For people.
    """

    code = "malformed"

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code


class Incoming(NamedTuple):
    """A message, or a control frame with its payload alone.

    Parameters
    ----------
    opcode : int
        ``BINARY``, ``CLOSE``, ``PING`` or ``PONG``.
    frames : sequence of bytes-like
        Of the protocol, not of WebSocket.
    """

    opcode: int
    frames: Sequence[Buffer]


def make_frame(opcode: int, pieces: Sequence[Buffer], *, masked: bool) -> list[memoryview]:
    """Return what to write: pieces of more than 64 KiB as they are, unless masked."""
    views = [memoryview(piece).cast("B") for piece in pieces]
    size = sum(map(len, views))
    mask_bit = _MASKED if masked else 0
    if size <= _MAX_CONTROL:
        head = struct.pack("!BB", _FIN | opcode, mask_bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", _FIN | opcode, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, mask_bit | 127, size)
    if masked:
        key = secrets.token_bytes(4)
        whole = memoryview(bytearray().join([head, key, *views]))
        _mask(whole[len(head) + len(key) :], key, 0)
        return [whole]
    made: list[memoryview] = []
    small: list[Buffer] = [head]
    for view in views:
        if len(view) <= _COPIED:
            small.append(view)
        else:
            made += [memoryview(b"".join(small)), view]
            small = []
    return [*made, memoryview(b"".join(small))] if small else made


def _mask(view: memoryview, key: bytes, start: int) -> None:
    """Mask or unmask bytes in place, the first of them being number `start` of its frame."""
    eight = (key * 3)[start % 4 : start % 4 + 8]
    data = np.frombuffer(view, np.uint8)
    whole = len(data) - len(data) % 8
    words = data[:whole].view(np.uint64)
    words ^= np.frombuffer(eight, np.uint64)
    data[whole:] ^= np.frombuffer(eight, np.uint8)[: len(data) - whole]


class FrameReader:
    """Cuts what comes from a socket into messages.

    Large payloads are read to where they stay; all else goes through a stage of 64 KiB.

    Parameters
    ----------
    masked : bool
        Whether the peer must mask its frames: it connected.
    limit : int
        The most bytes that a message may have, until :meth:`lift_limit`.
    """

    def __init__(self, *, masked: bool, limit: int) -> None:
        self._is_masked = masked
        self._limit: int | None = limit
        self._stage = memoryview(bytearray(_STAGE))
        self._start = self._end = 0
        self._is_direct = False
        self._opcode: int | None = None  # of the frame that is being read
        self._fin = False
        self._key = b""
        self._position = self._left = 0  # in the frame's payload
        self._opener: Opener | None = None  # of the message that is being read
        self._size = 0

    def lift_limit(self) -> None:
        """Let the bounds of the protocol be the only ones."""
        self._limit = None

    def room(self) -> memoryview:
        """Return where the next bytes of the socket belong; it is never empty."""
        self._is_direct = (
            self._start == self._end
            and self._opener is not None
            and self._opcode in (BINARY, CONTINUATION)
            and min(self._left, len(self._opener.room())) >= _STAGE
        )
        if self._is_direct:
            assert self._opener is not None
            return self._opener.room()[: self._left]
        return self._stage[self._end :]

    def filled(self, count: int) -> Iterator[Incoming]:
        """Take note that `count` bytes are in the room; give out what is complete by that.

        Raises
        ------
        FrameError, MalformedError
            The peer must be told, and left.
        """
        if self._is_direct:
            self._take(count)
        else:
            self._end += count
        while (incoming := self._next()) is not None:
            yield incoming
        rest = self._end - self._start
        self._stage[:rest] = self._stage[self._start : self._end]
        self._start, self._end = 0, rest

    def _next(self) -> Incoming | None:
        while self._opcode is not None or self._begin_frame():
            assert self._opcode is not None
            if self._opcode & _CONTROL:
                if self._end - self._start < self._left:
                    return None
                payload = self._stage[self._start : self._start + self._left]
                if self._is_masked:
                    _mask(payload, self._key, 0)
                incoming = Incoming(self._opcode, [bytes(payload)])
                self._start += self._left
                self._opcode = None
                return incoming
            self._take_staged()
            if self._left:
                return None
            self._opcode = None
            if self._fin:
                assert self._opener is not None
                frames = self._opener.frames()
                self._opener = None
                return Incoming(BINARY, frames)
        return None

    def _begin_frame(self) -> bool:
        """Read the head of a frame, if all of it is there."""
        head = self._stage[self._start : self._end]
        if len(head) < 2:
            return False
        opcode, is_masked, length = head[0] & _OPCODE, bool(head[1] & _MASKED), head[1] & 0x7F
        extended = {126: 2, 127: 8}.get(length, 0)
        size = 2 + extended + (4 if is_masked else 0)
        if len(head) < size:
            return False
        if extended:
            length = int.from_bytes(head[2 : 2 + extended], "big")
        self._fin = bool(head[0] & _FIN)
        self._check(head[0], opcode, is_masked, length)
        self._key = bytes(head[2 + extended : size])
        self._opcode, self._position, self._left = opcode, 0, length
        self._start += size
        return True

    def _check(self, first: int, opcode: int, is_masked: bool, length: int) -> None:
        if first & _RESERVED or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise FrameError(BROKEN, "bytes that are no WebSocket frame")
        if is_masked != self._is_masked:
            raise FrameError(BROKEN, "a frame that is masked where it must not be, or not masked")
        if opcode & _CONTROL:
            if length > _MAX_CONTROL or not self._fin:
                raise FrameError(BROKEN, "a control frame that is long or fragmented")
            return
        if opcode == TEXT:
            raise FrameError(UNSUPPORTED, "a text message: all messages are binary")
        if (opcode == CONTINUATION) != (self._opener is not None):
            raise FrameError(BROKEN, "a fragment without a message, or a message within another")
        if self._opener is None:
            self._opener, self._size = Opener(), 0
        self._size += length
        if self._limit is not None and self._size > self._limit:
            raise FrameError(
                TOO_BIG, f"a first message of {self._size} bytes, at most {self._limit} allowed"
            )

    def _take_staged(self) -> None:
        assert self._opener is not None
        while count := min(self._left, self._end - self._start):
            room = self._opener.room()
            if not room:
                raise FrameError(MALFORMED, "a message that goes on after its last frame")
            count = min(count, len(room))
            room[:count] = self._stage[self._start : self._start + count]
            self._start += count
            self._take(count)

    def _take(self, count: int) -> None:
        """Take note of payload that lies in the opener's room."""
        assert self._opener is not None
        if self._is_masked:
            _mask(self._opener.room()[:count], self._key, self._position)
        self._position += count
        self._left -= count
        self._opener.filled(count)
