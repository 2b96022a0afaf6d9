"""What waits to be written to one socket that does not block, within bounds."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections import deque
from collections.abc import Sequence

__all__ = ["NOT_NOW", "WriteQueue"]

NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket says that would have to wait."""
_SMALL = 65536
_MAX_WAITING = 1024 * 1024
_MAX_PIECES = 64
_CAN_GATHER = hasattr(socket.socket, "sendmsg")  # not on Windows


class _Delivery:
    """One message on its way to the kernel."""

    __slots__ = ("done", "small")

    def __init__(self, small: int) -> None:
        self.done = False
        self.small = small


class WriteQueue:
    """Messages in pieces, in order; none is copied, and each is done once it is written."""

    def __init__(self) -> None:
        # Only the last piece of a message has its delivery.
        self._pieces: deque[tuple[memoryview, _Delivery | None]] = deque()
        self._waiting = self._waiting_small = 0  # bytes

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def admits(self, size: int) -> bool:
        """Whether a message of this size may be put: 1 MiB may wait, and the one behind it.

        Small messages have a bound of their own, so that they can wait behind a plane.
        """
        return (self._waiting_small if size <= _SMALL else self._waiting) <= _MAX_WAITING

    def put(self, pieces: Sequence[memoryview]) -> _Delivery:
        """Queue a message."""
        size = sum(map(len, pieces))
        delivery = _Delivery(size if size <= _SMALL else 0)
        self._pieces.extend((piece, None) for piece in pieces[:-1])
        self._pieces.append((pieces[-1], delivery))
        self._waiting += size
        self._waiting_small += delivery.small
        return delivery

    def flush(self, sock: socket.socket) -> None:
        """Write what the kernel takes now.

        Raises
        ------
        OSError
            The connection is broken.
        """
        is_full = False
        try:
            while self._pieces and not is_full:
                is_full = self._write(sock)
        except NOT_NOW:
            return

    def clear(self) -> None:
        """Give up all that waits."""
        self._wrote(self._waiting)

    def _write(self, sock: socket.socket) -> bool:
        """Write once; return whether the kernel took less than there was."""
        if _CAN_GATHER and not isinstance(sock, ssl.SSLSocket):
            pieces = [piece for piece, _ in itertools.islice(self._pieces, _MAX_PIECES)]
            count = sock.sendmsg(pieces)
            is_full = count < sum(map(len, pieces))
        else:
            count, is_full = sock.send(self._pieces[0][0]), False
        self._wrote(count)
        return is_full

    def _wrote(self, count: int) -> None:
        self._waiting -= count
        while self._pieces and count >= len(self._pieces[0][0]):
            piece, delivery = self._pieces.popleft()
            count -= len(piece)
            if delivery is not None:
                delivery.done = True
                self._waiting_small -= delivery.small
        if count:
            piece, delivery = self._pieces[0]
            self._pieces[0] = (piece[count:], delivery)
