"""WebSocket, over tcp or TLS: the listening endpoint is a server, the connecting one a client.

Browsers can connect, firewalls and proxies know it, and who listens need not mask what it
sends, so that a publisher should be the one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import selectors
import socket
import ssl
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from napari_streaming.errors import AddressInUseError, TransportError
from napari_streaming.transport.base import (
    Connected,
    Delivery,
    Endpoint,
    Event,
    HttpHandler,
    Lost,
    Received,
    Refused,
)
from napari_streaming.transport.tls import client_context, refuse_plain_text, server_context
from napari_streaming.transport.waker import Waker
from napari_streaming.transport.ws_connection import (
    GONE,
    REFUSED,
    ClientConnection,
    Connection,
    ServerConnection,
)
from napari_streaming.transport.ws_limits import Failures
from napari_streaming.transport.ws_queue import NOT_NOW
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer

__all__ = ["ConnectingEndpoint", "ListeningEndpoint"]

_MAX_STRANGERS = 128  # let in, and not admitted
_MAX_ACCEPTED = 16  # in one turn
_LOOK_AGAIN = 0.1  # seconds between two looks at who is late
_OUT_OF_FILES = 1.0  # seconds until somebody is let in again
_FIRST_RETRY, _LAST_RETRY = 0.1, 2.0
_SERVER = b"server"


class _WebSocketEndpoint(Endpoint):
    """What both kinds share: a selector, a waker, connections."""

    def __init__(self, url: StreamURL) -> None:
        super().__init__(url)
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker.fd, selectors.EVENT_READ)
        self._connections: dict[int, Connection] = {}  # by file descriptor
        self._peers: dict[bytes, Connection] = {}  # of whom there will be word
        self._look_at = 0.0

    def wake(self) -> None:
        self._waker.ring()

    def poll(self, timeout: float) -> list[Event]:
        busy = {fd: selectors.EVENT_READ for fd, c in self._connections.items() if c.has_more}
        found = self._selector.select(0.0 if busy else max(0.0, timeout))
        ready = busy | {key.fd: mask for key, mask in found}
        if ready.pop(self._waker.fd, 0):
            self._waker.drain()
        events: list[Event] = []
        for fd, mask in ready.items():
            if fd in self._connections:
                events += self._serve(self._connections[fd], mask)
            else:
                self._visit()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN
            for connection in list(self._connections.values()):
                connection.check_time(now)
                events += self._settle(connection)
        return events

    def send(self, peer: bytes, frames: Sequence[Buffer]) -> Delivery | None:
        connection = self._peers.get(peer)
        if connection is None:
            return None
        delivery = connection.send(frames)
        self._watch(connection)
        return delivery

    def admit(self, peer: bytes) -> None:
        if peer in self._peers:
            self._peers[peer].admit()

    def dismiss(self, peer: bytes) -> None:
        connection = self._peers.pop(peer, None)
        if connection is not None:
            connection.leave(REFUSED, "see the Reject")
            self._left(connection)
            self._watch(connection)

    def close(self) -> None:
        for connection in list(self._connections.values()):
            connection.leave(GONE, "the other side was closed")
            connection.close("")
            self._watch(connection)
        self._peers.clear()
        self._selector.close()
        self._waker.close()

    def _visit(self) -> None:
        """Let in who is at the door; only who listens has one."""

    @abstractmethod
    def _opened(self, connection: Connection) -> list[Event]:
        """Return what is to be said of a connection before its messages."""

    @abstractmethod
    def _left(self, connection: Connection) -> list[Event]:
        """Return what is to be said of a connection that is over, besides that it is lost."""

    def _serve(self, connection: Connection, ready: int) -> list[Event]:
        messages = connection.turn(ready)
        if self._peers.get(connection.key) is not connection:  # this side left it
            return self._settle(connection)
        events = self._opened(connection)
        events += [Received(connection.key, frames) for frames in messages]
        return events + self._settle(connection)

    def _settle(self, connection: Connection) -> list[Event]:
        """Say so if a connection is over, and note what it waits for."""
        events: list[Event] = []
        if connection.ended and self._peers.get(connection.key) is connection:
            del self._peers[connection.key]
            if connection.was_open:
                events.append(Lost(connection.key, connection.ended))
            events += self._left(connection)
        self._watch(connection)
        return events

    def _add(self, connection: Connection) -> None:
        self._connections[connection.fd] = self._peers[connection.key] = connection
        self._selector.register(connection.fd, connection.wants)

    def _watch(self, connection: Connection) -> None:
        if connection.is_closed:
            if self._connections.pop(connection.fd, None) is not None:
                self._selector.unregister(connection.fd)
        elif self._selector.get_key(connection.fd).events != connection.wants:
            self._selector.modify(connection.fd, connection.wants)


class ListeningEndpoint(_WebSocketEndpoint):
    """A server: any number of peers, and pages for browsers.

    Parameters
    ----------
    url : StreamURL
        Where.
    http : HttpHandler, optional
        Has the pages.
    """

    def __init__(self, url: StreamURL, http: HttpHandler | None = None) -> None:
        super().__init__(url)
        self._http = http
        self._context: ssl.SSLContext | None = None
        self._door: socket.socket | None = None
        self._open_again = float("inf")
        self._numbers = itertools.count()
        self._addresses: dict[bytes, str] = {}  # of those that are not admitted
        self._failures = Failures()

    def open(self) -> None:
        refuse_plain_text(self.url)
        if self.url.scheme == "wss":
            self._context = server_context(self.url)
        where = self.url.address
        try:
            self._door = _listen(self.url)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(
                    f"{where} is already taken by another program: close it, or use another port"
                ) from None
            raise TransportError(f"cannot listen at {where}: {error}") from None
        self.url = replace(self.url, port=self._door.getsockname()[1])
        self._selector.register(self._door, selectors.EVENT_READ)

    def poll(self, timeout: float) -> list[Event]:
        if self._door is not None and time.monotonic() >= self._open_again:
            self._open_again = float("inf")
            self._selector.register(self._door, selectors.EVENT_READ)
        return super().poll(timeout)

    def _visit(self) -> None:
        assert self._door is not None
        try:
            for _ in range(_MAX_ACCEPTED):
                self._let_in(*self._door.accept())
        except (*NOT_NOW, ConnectionError):
            return
        except OSError:  # no file descriptors left: some will be, and others wait at the door
            self._selector.unregister(self._door)
            self._open_again = time.monotonic() + _OUT_OF_FILES

    def _let_in(self, sock: socket.socket, address: Any) -> None:
        if self._failures.is_too_many(address[0], time.monotonic()):
            sock.close()
            return
        sock.setblocking(False)
        _be_quick(sock)
        key = b"%d" % next(self._numbers)
        connection = ServerConnection(sock, key, self.url, self._context, self._http)
        if connection.is_closed:
            return
        self._addresses[key] = address[0]
        self._add(connection)
        for stranger in list(self._addresses)[:-_MAX_STRANGERS]:
            self.dismiss(stranger)

    def admit(self, peer: bytes) -> None:
        super().admit(peer)
        self._addresses.pop(peer, None)

    def _opened(self, connection: Connection) -> list[Event]:
        return []

    def _left(self, connection: Connection) -> list[Event]:
        assert isinstance(connection, ServerConnection)
        address = self._addresses.pop(connection.key, None)
        if address is None or connection.served_page:
            return []
        self._failures.add(address, time.monotonic())
        return [Refused(connection.refused)] if connection.refused else []

    def reconnect(self, url: StreamURL) -> None:
        raise TransportError(f"{url}: a listening endpoint does not connect")

    def close(self) -> None:
        if self._door is not None:
            with contextlib.suppress(OSError):
                self._door.shutdown(socket.SHUT_RDWR)  # a child process may hold it too
            self._door.close()
        super().close()


class ConnectingEndpoint(_WebSocketEndpoint):
    """A client: one peer, looked for again and again until it is there."""

    def __init__(self, url: StreamURL) -> None:
        super().__init__(url)
        self._seek_at = float("inf")
        self._pause = _FIRST_RETRY
        self._is_met = False

    def open(self) -> None:
        refuse_plain_text(self.url)
        if self.url.scheme == "wss":
            client_context(self.url)  # what is wrong with it is better said now
        self._seek_at = 0.0

    def poll(self, timeout: float) -> list[Event]:
        now = time.monotonic()
        events = self._seek() if now >= self._seek_at else []
        return events + super().poll(0.0 if events else min(timeout, max(0.0, self._seek_at - now)))

    def _seek(self) -> list[Event]:
        """Start to connect; where that fails at once, try again later."""
        self._seek_at = float("inf")
        self._is_met = False
        try:
            context = client_context(self.url) if self.url.scheme == "wss" else None
            sock = _connect(self.url)
        except OSError as error:  # no such host or file
            return self._later(str(error))
        connection = ClientConnection(sock, _SERVER, self.url, context)
        self._add(connection)
        return []

    def _later(self, reason: str) -> list[Event]:
        self._seek_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LAST_RETRY)
        return [Refused(f"{self.url.address}: {reason}")] if reason else []

    def _opened(self, connection: Connection) -> list[Event]:
        if self._is_met or not connection.was_open:
            return []
        self._is_met = True
        return [Connected(connection.key)]

    def _left(self, connection: Connection) -> list[Event]:
        if connection.was_open:
            return []  # until it is asked for
        return self._later(connection.ended if connection.was_reached else "")

    def reconnect(self, url: StreamURL) -> None:
        self.dismiss(_SERVER)
        self.url = url
        self._seek_at, self._pause = 0.0, _FIRST_RETRY
        self.wake()


def _listen(url: StreamURL) -> socket.socket:
    host = {"*": "0.0.0.0", "localhost": "127.0.0.1"}.get(url.host, url.host)  # noqa: S104
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, url.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two listen at one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(_MAX_STRANGERS)
    except OSError:
        made.close()
        raise
    return made


def _connect(url: StreamURL) -> socket.socket:
    """Return a socket that is about to be connected."""
    host = "127.0.0.1" if url.host == "localhost" else url.host
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, url.port, type=socket.SOCK_STREAM
    )[0]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    _be_quick(made)
    made.connect_ex(address)  # what comes of it is seen when the socket is ready
    return made


def _be_quick(sock: socket.socket) -> None:
    """Send small messages at once."""
    with contextlib.suppress(OSError):  # it is gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
