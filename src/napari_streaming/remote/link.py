"""One WebSocket of a session, at either end: what goes out waits in order, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

from napari_streaming.errors import StreamingError

__all__ = ["QUIET", "Link", "TooSlowError", "writing"]

QUIET = logging.getLogger(__name__)
"""For the library: who sends junk is no news."""
QUIET.setLevel(logging.CRITICAL)
_MOST_MESSAGES, _MOST_BYTES = 4096, 256 * 1024 * 1024
_TIMEOUT = 1.0  # seconds, besides what the slowest link takes
_SLOWEST_LINK = 1e6 / 8  # bytes a second


class TooSlowError(StreamingError):
    """The other side does not take what it is sent."""


class Link:
    """What goes out over a connection; all calls in the thread of its event loop.

    Parameters
    ----------
    connection : websockets.asyncio.connection.Connection

    Attributes
    ----------
    is_live : bool
        Whether the other side knows the scene, so that changes of it mean something.
    """

    def __init__(self, connection: Connection) -> None:
        self.is_live = False
        self._connection = connection
        self._waiting: deque[bytes] = deque()
        self._nbytes = 0
        self._has_more = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Send a message when it is its turn; one that is too many ends the connection."""
        self._waiting.append(message)
        self._nbytes += len(message)
        self._has_more.set()
        if len(self._waiting) > _MOST_MESSAGES or self._nbytes > _MOST_BYTES:
            self.abort()

    async def write(self) -> None:
        """Send what is put here, until cancelled.

        Raises
        ------
        TooSlowError
            A message was not taken in time; the connection is over.
        """
        while await self._has_more.wait():
            while self._waiting:
                message = self._waiting.popleft()
                self._nbytes -= len(message)
                try:
                    async with asyncio.timeout(_TIMEOUT + len(message) / _SLOWEST_LINK):
                        await self._connection.send(message)
                except TimeoutError:
                    self.abort()
                    raise TooSlowError("the other side takes nothing") from None
            self._has_more.clear()

    def abort(self) -> None:
        """End the connection at once; whoever reads from it learns that."""
        self._waiting.clear()
        self._nbytes = 0
        self._connection.transport.abort()


@contextlib.asynccontextmanager
async def writing(link: Link) -> AsyncIterator[None]:
    """Let a link write while its connection is read from."""
    writer = asyncio.create_task(link.write())
    try:
        yield
    finally:
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed, TooSlowError):
            await writer
