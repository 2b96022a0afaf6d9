"""One socket that speaks WebSocket, at either end: it never waits, and bounds what it holds."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum, auto

from napari_streaming.errors import MalformedError
from napari_streaming.transport.base import Delivery, HttpHandler
from napari_streaming.transport.ws_frames import (
    BINARY,
    CLOSE,
    MALFORMED,
    PING,
    PONG,
    FrameError,
    FrameReader,
    make_frame,
)
from napari_streaming.transport.ws_handshake import (
    MAX_HEAD,
    ClientHandshake,
    answer,
)
from napari_streaming.transport.ws_queue import NOT_NOW, WriteQueue
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.envelope import seal

__all__ = ["GONE", "MAX_FIRST", "REFUSED", "ClientConnection", "Connection", "ServerConnection"]

MAX_FIRST = 65536
"""The most bytes of a message before the session is open."""
GONE, REFUSED = 1001, 1008
"""Codes of RFC 6455, section 7.4.1: this side goes away; the other does what it may not."""
_ADMISSION, _SILENCE, _GOODBYE = 10.0, 15.0, 2.0  # seconds
_MAX_MESSAGES, _MAX_READ = 64, 32 * 1024 * 1024  # of one peer in one turn
_END_OF_HEAD = b"\r\n\r\n"


class _State(Enum):
    CONNECTING = auto()
    SECURING = auto()  # TLS
    GREETING = auto()  # HTTP
    OPEN = auto()
    LEAVING = auto()  # the last words were said
    CLOSED = auto()


class Connection(ABC):
    """A connection, from its first byte to its last.

    Parameters
    ----------
    sock : socket.socket
        One that does not block.
    key : bytes
        Names the peer.
    url : StreamURL
        Where we listen or connect to.
    context : ssl.SSLContext or None
        The TLS settings, if there is TLS.
    is_server : bool
        Whether the other side connected.

    Attributes
    ----------
    ended : str
        Why the connection is over, for people; empty while it is not.
    fd : int
        The file descriptor, also when it is closed.
    was_reached, was_open, was_admitted : bool
        Whether there ever was a connection, one for messages, and one with an open session.
    has_more : bool
        Whether there may be more to read without another word of the socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        key: bytes,
        url: StreamURL,
        context: ssl.SSLContext | None,
        *,
        is_server: bool,
    ) -> None:
        self.sock, self.key, self.fd = sock, key, sock.fileno()
        self.ended = ""
        self.was_reached = self.was_open = self.was_admitted = self.has_more = False
        self._url, self._context = url, context
        self._is_server = is_server
        self._state = _State.CONNECTING
        self._deadline = time.monotonic() + _ADMISSION
        self._head = b""
        self._reader = FrameReader(masked=is_server, limit=MAX_FIRST)
        self._outgoing = WriteQueue()
        self._is_deaf = False  # the peer takes nothing any more
        self._wants_to_write = not is_server

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent."""
        return self._state is _State.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left of it."""
        return self._state is _State.CLOSED

    @property
    def wants(self) -> int:
        """What the selector is to look for."""
        writes = self._outgoing or self._wants_to_write
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0)

    def turn(self, ready: int) -> list[Sequence[Buffer]]:
        """Do all that can be done without waiting; return the messages that came."""
        messages: list[Sequence[Buffer]] = []
        if self._state is _State.CONNECTING and ready & selectors.EVENT_WRITE:
            self._connected()
        if self._state is _State.SECURING:
            self._secure()
        if ready & selectors.EVENT_WRITE:
            self._flush()
        if self._state is _State.GREETING:
            self._greet(messages)
        if self._state is _State.OPEN:
            self._read(messages)
        if self._state is _State.LEAVING:
            self._finish()
        return messages

    def send(self, frames: Sequence[Buffer]) -> Delivery | None:
        """Send a message, or nothing of it, as an endpoint does."""
        sealed = seal(frames)
        size = sum(memoryview(piece).nbytes for piece in sealed)
        if not self.is_open or self._is_deaf or not self._outgoing.admits(size):
            return None
        delivery = self._outgoing.put(make_frame(BINARY, sealed, masked=not self._is_server))
        self._flush()
        return delivery

    def admit(self) -> None:
        """Take note that the peer's session is open."""
        self.was_admitted = True
        self._reader.lift_limit()
        self._deadline = time.monotonic() + _SILENCE

    def check_time(self, now: float) -> None:
        """Leave a peer that is silent, or takes too long to begin or to end."""
        if now < self._deadline:
            return
        if not self.is_open:
            self.close("no handshake in time")
        elif self.was_admitted:
            self.close(f"nothing was heard for {_SILENCE:.0f} seconds")
        else:
            self.leave(REFUSED, "no Hello in time")

    def leave(self, code: int, reason: str) -> None:
        """Say goodbye behind what was sent, and close once the peer has taken it in."""
        if not self.is_open:
            self.close(reason)
            return
        text = reason.encode()[:120].decode("utf-8", "ignore").encode()  # no half of a letter
        payload = code.to_bytes(2, "big") + text
        self._outgoing.put(make_frame(CLOSE, [payload], masked=not self._is_server))
        self._last_words(reason)

    def close(self, reason: str) -> None:
        """Let go of the socket, at once; what the kernel has still goes out."""
        self.ended = self.ended or reason
        self._state = _State.CLOSED
        self._outgoing.clear()
        with contextlib.suppress(OSError):  # the connection is over already
            # A child process that holds the socket too must not keep the connection alive.
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    # ---- the beginning ---------------------------------------------------------------

    @abstractmethod
    def _wrap(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Return the socket with TLS, before any handshake."""

    @abstractmethod
    def _begin(self) -> None:
        """Say the first word, if it is ours."""

    @abstractmethod
    def _take_head(self, head: bytes) -> None:
        """Go on after all of the request, or of its answer."""

    def _connected(self) -> None:
        self._wants_to_write = False
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.was_reached = not error
        if error:
            self.close(os.strerror(error))
        elif self._context is None:
            self._state = _State.GREETING
            self._begin()
        else:
            self._state = _State.SECURING
            try:
                self.sock = self._wrap(self._context)
            except OSError as problem:
                self.close(f"no TLS: {problem}")

    def _secure(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        self._wants_to_write = False
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._wants_to_write = True
        except OSError as error:
            self.close(f"no TLS: {error}")
        else:
            self._state = _State.GREETING
            self._begin()

    def _greet(self, messages: list[Sequence[Buffer]]) -> None:
        while self._state is _State.GREETING:
            part = bytearray(4096)
            count = self._receive(memoryview(part))
            if not count:
                return
            self._head += part[:count]
            head, end, rest = self._head.partition(_END_OF_HEAD)
            if end:
                self._take_head(head + end)
                if self.is_open:  # frames may follow without a pause
                    self._reader.room()[: len(rest)] = rest
                    self._take(len(rest), messages)
            elif len(self._head) > MAX_HEAD:
                self.close("a request without an end")

    def _open(self) -> None:
        self._state = _State.OPEN
        self.was_open = True

    # ---- the middle ------------------------------------------------------------------

    def _read(self, messages: list[Sequence[Buffer]]) -> None:
        read, is_empty = 0, False
        while self.is_open and not is_empty:
            self.has_more = len(messages) >= _MAX_MESSAGES or read >= _MAX_READ
            room = self._reader.room()
            count = 0 if self.has_more else self._receive(room)
            if not count:
                return
            # Each call lets go of the interpreter's lock, which may take 5 ms to come back.
            is_empty = count < len(room) and self._context is None
            read += count
            self._take(count, messages)

    def _take(self, count: int, messages: list[Sequence[Buffer]]) -> None:
        if self.was_admitted:
            self._deadline = time.monotonic() + _SILENCE
        try:
            for opcode, frames in self._reader.filled(count):
                if opcode == BINARY:
                    messages.append(frames)
                else:
                    self._obey(opcode, bytes(frames[0]))
        except FrameError as error:
            self.leave(error.close_code, str(error))
        except MalformedError as error:
            self.leave(MALFORMED, str(error))

    def _obey(self, opcode: int, payload: bytes) -> None:
        if opcode == PING and self._outgoing.admits(0):
            self._outgoing.put(make_frame(PONG, [payload], masked=not self._is_server))
            self._flush()
        elif opcode == CLOSE:
            self.ended = payload[2:].decode("utf-8", "replace") or "the other side went away"
            self.leave(GONE, "")

    def _receive(self, room: memoryview) -> int:
        """Read into a room; return 0 if there is nothing now, or never again."""
        try:
            count = self.sock.recv_into(room)
        except NOT_NOW:
            return 0
        except OSError as error:
            self.close(error.strerror or str(error))
            return 0
        if not count:
            self.close("the connection broke")
        return count

    def _flush(self) -> None:
        try:
            self._outgoing.flush(self.sock)
        except OSError:
            # What it said before it went is still to be read, and that comes to an end too.
            self._is_deaf = True
            self._outgoing.clear()

    # ---- the end ---------------------------------------------------------------------

    def _last_words(self, reason: str) -> None:
        """Have done once what waits is out, and the peer has seen it."""
        self.ended = self.ended or reason
        self._state = _State.LEAVING
        self._deadline = time.monotonic() + _GOODBYE
        self._flush()
        self._finish()

    def _finish(self) -> None:
        """Wait for the peer's end: a socket closed before could take our last words along."""
        try:
            if not self._outgoing:
                self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(65536):
                pass
        except NOT_NOW:
            return
        except OSError:
            self.close("")
        else:
            self.close("")


class ServerConnection(Connection):
    """One whose other side connected; `http` has pages for browsers.

    Attributes
    ----------
    refused : str
        Why the other side may not connect; empty if it may, or only asked for a page.
    served_page : bool
        Whether it only asked for a page.
    """

    def __init__(
        self,
        sock: socket.socket,
        key: bytes,
        url: StreamURL,
        context: ssl.SSLContext | None,
        http: HttpHandler | None,
    ) -> None:
        super().__init__(sock, key, url, context, is_server=True)
        self.refused = ""
        self.served_page = False
        self._http = http
        self._connected()

    def _wrap(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        return context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)

    def _begin(self) -> None:
        """Wait: the other side does."""

    def _take_head(self, head: bytes) -> None:
        data, is_open, self.refused = answer(head, self._url, self._http)
        self._outgoing.put([memoryview(data)])
        if is_open:
            self._open()
            self._flush()
        else:
            self.served_page = not self.refused
            self._last_words(self.refused or "a page was asked for")


class ClientConnection(Connection):
    """One that this side makes."""

    def __init__(
        self, sock: socket.socket, key: bytes, url: StreamURL, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(sock, key, url, context, is_server=False)
        self._handshake = ClientHandshake(url)

    def _wrap(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        return context.wrap_socket(
            self.sock, server_hostname=self._url.host, do_handshake_on_connect=False
        )

    def _begin(self) -> None:
        self._outgoing.put([memoryview(self._handshake.request)])
        self._flush()

    def _take_head(self, head: bytes) -> None:
        problem = self._handshake.problem(head)
        if problem:
            self.close(problem)
        else:
            self._open()
