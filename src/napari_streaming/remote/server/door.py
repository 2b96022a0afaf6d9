"""Who may come in: the checks before a connection is a client's, and the last word to others."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from napari_streaming.errors import MalformedError, ProtocolError, StateError
from napari_streaming.remote.link import QUIET
from napari_streaming.transport.ws_limits import Failures
from napari_streaming.uri import StreamURL
from napari_streaming.wire import remote as wire
from napari_streaming.wire.codec import Buffer

__all__ = ["GOODBYE", "HELLO_WITHIN", "Door", "dismiss", "octets"]

T = TypeVar("T")

HELLO_WITHIN = 5.0
"""Seconds that a stranger may take to say who it is."""
GOODBYE = 0.5
"""Seconds that a peer may take to take in the last word."""
_MOST_STRANGERS = 32
_REFUSED = 1008  # RFC 6455, section 7.4.1


class Door:
    """Looks at each connection from its request to its first message."""

    def __init__(self) -> None:
        self._failures = Failures()
        self._strangers = 0

    async def open(
        self,
        url: StreamURL,
        context: ssl.SSLContext | None,
        handle: Callable[[ServerConnection], Awaitable[None]],
    ) -> Server:
        """Listen; raises OSError if that cannot be."""
        return await serve(
            handle,
            url.host,
            url.port,
            ssl=context,
            process_request=self.check_request,
            open_timeout=HELLO_WITHIN,
            close_timeout=GOODBYE,
            ping_interval=None,  # the protocol has its own
            compression=None,
            max_size=wire.MAX_TO_SERVER,
            max_queue=64,
            server_header=None,
            logger=QUIET,
        )

    def check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse what is no client of ours; the others say who they are in a Hello."""
        if self._failures.is_too_many(_address(connection), time.monotonic()):
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "too many failed attempts\n")
        if self._strangers >= _MOST_STRANGERS:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        if "Origin" in request.headers:  # of browsers alone, whose pages nobody vouches for
            return connection.respond(HTTPStatus.FORBIDDEN, "pages may not connect\n")
        if request.path not in ("/state", "/pixels"):
            return connection.respond(HTTPStatus.NOT_FOUND, "there are /state and /pixels\n")
        return None

    async def first(
        self, connection: ServerConnection, kind: type[T], unpack: Callable[[Buffer], object]
    ) -> T:
        """Return a stranger's first message."""
        self._strangers += 1
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                message = unpack(octets(await connection.recv()))
        except TimeoutError:
            raise StateError(f"no {kind.__name__} in time") from None
        finally:
            self._strangers -= 1
        if not isinstance(message, kind):
            raise StateError(f"{type(message).__name__} before {kind.__name__}")
        return message

    async def refuse(self, connection: ServerConnection, error: ProtocolError) -> None:
        """Tell a peer what it did wrong, and end its connection."""
        self._failures.add(_address(connection), time.monotonic())
        await dismiss(connection, error.code, str(error), _REFUSED)


async def dismiss(connection: ServerConnection, code: str, reason: str, close_code: int) -> None:
    """Say why, and end a connection; a peer that does not listen is not waited for."""
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(GOODBYE):
            await connection.send(wire.pack(wire.Reject(code, reason)))
            await connection.close(close_code)


def octets(data: str | bytes) -> bytes:
    """Return a message's bytes; raise MalformedError for one of text."""
    if isinstance(data, str):
        raise MalformedError("text, where bytes are due")
    return data


def _address(connection: ServerConnection) -> str:
    where = connection.remote_address
    return str(where[0]) if where else ""
