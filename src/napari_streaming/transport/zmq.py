"""ZeroMQ over tcp and ipc: a ROUTER listens, a DEALER connects; either side may do either.

Off this machine the connection is encrypted and authenticated with CURVE (RFC 26 of
ZeroMQ). The server's key pair is derived from the shared token, so that one secret in the
URL is all a user has to carry.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from napari_streaming.errors import AddressInUseError, TransportError
from napari_streaming.transport.base import Connected, Delivery, Endpoint, Event, Lost, Received
from napari_streaming.transport.runtime import runtime_folder
from napari_streaming.transport.waker import Waker
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import MAX_BUFFER, Buffer
from napari_streaming.wire.session import view_token

__all__ = ["ConnectingEndpoint", "ListeningEndpoint", "claim_path"]

_MAX_EVENTS = 64
_COPIED = 65536  # up to here a copy costs less than to keep track of a buffer
_HEARTBEAT, _HEARTBEAT_TIMEOUT = 2_000, 15_000  # milliseconds
_HANDSHAKE_TIMEOUT = 5_000  # of libzmq's own: who takes longer speaks another language
_SERVER = b"server"


class _Done:
    done = True


_DONE = _Done()


class _ZmqEndpoint(Endpoint):
    """What both kinds share: a socket, a waker, a poller."""

    _kind: int

    def __init__(self, url: StreamURL) -> None:
        super().__init__(url)
        # Starts what pyzmq needs to send without a copy: when the interpreter ends, at the
        # first plane that waited for a viewer, it would be too late for that.
        zmq.Frame(b"\0", copy=False)
        self._context = zmq.Context(io_threads=1)
        self._poller = zmq.Poller()
        self._waker = Waker()
        self._poller.register(self._waker.fd, zmq.POLLIN)
        self._socket: zmq.Socket[bytes] = self._make_socket()

    def _make_socket(self) -> zmq.Socket[bytes]:
        made = self._context.socket(self._kind)
        made.linger = 0
        made.sndhwm = made.rcvhwm = 4096
        made.maxmsgsize = MAX_BUFFER
        made.handshake_ivl = _HANDSHAKE_TIMEOUT
        if self.url.scheme == "tcp":
            # Found by libzmq's own thread: a cable that was pulled, a host that is gone.
            made.heartbeat_ivl = _HEARTBEAT
            made.heartbeat_timeout = _HEARTBEAT_TIMEOUT
            made.sndbuf = made.rcvbuf = 4 * 1024 * 1024
            if ":" in self.url.host:
                made.ipv6 = True
        self._poller.register(made, zmq.POLLIN)
        return made

    @property
    def _address(self) -> str:
        if self.url.scheme == "tcp":
            here = self.url.host == "localhost"
            return (replace(self.url, host="127.0.0.1") if here else self.url).address
        path = Path(self.url.path)
        return f"ipc://{path if path.is_absolute() else runtime_folder() / path}"

    def wake(self) -> None:
        self._waker.ring()

    def poll(self, timeout: float) -> list[Event]:
        ready = dict(self._poller.poll(max(0, round(timeout * 1000))))
        if self._waker.fd in ready:
            self._waker.drain()
        return self._events(ready)

    @abstractmethod
    def _events(self, ready: dict[object, int]) -> list[Event]: ...

    def _receive(self) -> list[zmq.Frame] | None:
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None

    def _send(self, frames: Sequence[Buffer]) -> Delivery | None:
        # pyzmq itself would only track the last one of a message.
        parts = [
            zmq.Frame(frame, track=True, copy=False) if len(frame) > _COPIED else frame
            for frame in frames
        ]
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return None
        tracked = [part for part in parts if isinstance(part, zmq.Frame)]
        return zmq.MessageTracker(*tracked) if tracked else _DONE

    def admit(self, peer: bytes) -> None:
        pass  # libzmq has the same bounds for all

    def dismiss(self, peer: bytes) -> None:
        pass  # libzmq cannot close the connection of one

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.destroy(linger=0)
        self._waker.close()


class ListeningEndpoint(_ZmqEndpoint):
    """A ROUTER: any number of peers, each known by the identity that libzmq gives it."""

    _kind = zmq.ROUTER
    _path: Path | None = None

    def __init__(self, url: StreamURL) -> None:
        super().__init__(url)
        self._gone: set[bytes] = set()  # peers that may have left something to be read

    def open(self) -> None:
        path = Path(self._address.removeprefix("ipc://")) if self.url.scheme == "ipc" else None
        if path is not None:
            claim_path(path)
        self._socket.router_mandatory = True
        if self.url.encrypted:
            self._socket.curve_server = True
            self._socket.curve_secretkey = _server_key(self.url.token)
        try:
            self._socket.bind(self._address)
        except zmq.ZMQError as error:
            where = self.url.address
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(
                    f"{where} is already taken by another program: close it, "
                    "or use another port or name"
                ) from None
            raise TransportError(f"cannot listen at {where}: {error}") from None
        self._path = path
        if self.url.scheme == "tcp" and self.url.port == 0:
            bound = self._socket.getsockopt(zmq.LAST_ENDPOINT)
            assert isinstance(bound, bytes)
            self.url = replace(self.url, port=int(bound.rstrip(b"\0").rpartition(b":")[2]))

    def close(self) -> None:
        if self._path is not None:  # as long as it is ours for certain
            self._path.unlink(missing_ok=True)
            self._path = None
        super().close()

    def poll(self, timeout: float) -> list[Event]:
        return super().poll(0.0 if self._gone else timeout)

    def _events(self, ready: dict[object, int]) -> list[Event]:
        events: list[Event] = []
        speakers: set[bytes] = set()
        while len(events) < _MAX_EVENTS and (frames := self._receive()) is not None:
            speakers.add(frames[0].bytes)
            events.append(Received(frames[0].bytes, [frame.buffer for frame in frames[1:]]))
        # Peers are heard in turn: who says nothing in a whole round has nothing left to say.
        silent = self._gone - speakers if len(speakers) < _MAX_EVENTS else set()
        self._gone -= silent
        return events + [Lost(peer, "the other side went away") for peer in silent]

    def send(self, peer: bytes, frames: Sequence[Buffer]) -> Delivery | None:
        try:
            return self._send([peer, *frames])
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._gone.add(peer)
            return None

    def reconnect(self, url: StreamURL) -> None:
        raise TransportError(f"{url}: a listening endpoint does not connect")


class ConnectingEndpoint(_ZmqEndpoint):
    """A DEALER: one peer, watched through libzmq's monitor.

    A lost connection costs the socket, at once: what waits in its pipe belongs to the old
    session and must not be the first thing that a new listener hears.
    """

    _kind = zmq.DEALER

    def open(self) -> None:
        self._connect()

    def _connect(self) -> None:
        self._socket.reconnect_ivl = 100
        self._socket.reconnect_ivl_max = 2_000
        if self.url.encrypted:
            public, secret = zmq.curve_keypair()
            self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
            self._socket.curve_serverkey = zmq.curve_public(_server_key(self.url.token))
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._socket.connect(self._address)
        except zmq.ZMQError as error:
            raise TransportError(f"cannot connect to {self.url.address}: {error}") from None

    def _events(self, ready: dict[object, int]) -> list[Event]:
        if self._socket.closed:
            return []
        events = self._arrived(_MAX_EVENTS)
        if self._monitor in ready:
            happened = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if happened == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                events.insert(0, Connected(_SERVER))
            elif happened == zmq.EVENT_DISCONNECTED:
                events += self._arrived(None)  # the last words of a peer that died
                events.append(Lost(_SERVER, "the connection broke"))
                self._disconnect()
        return events

    def _arrived(self, limit: int | None) -> list[Event]:
        events: list[Event] = []
        while len(events) != limit and (frames := self._receive()) is not None:
            events.append(Received(_SERVER, [frame.buffer for frame in frames]))
        return events

    def send(self, peer: bytes, frames: Sequence[Buffer]) -> Delivery | None:
        return None if self._socket.closed else self._send(frames)

    def reconnect(self, url: StreamURL) -> None:
        if not self._socket.closed:
            self._disconnect()
        self.url = url
        self._socket = self._make_socket()
        self._connect()

    def _disconnect(self) -> None:
        self._poller.unregister(self._monitor)
        self._poller.unregister(self._socket)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)


def claim_path(path: Path) -> None:
    """Refuse to take a path from a live listener, which libzmq would do in silence.

    Raises
    ------
    TransportError
        Somebody listens there, or it cannot be a socket.
    """
    if len(bytes(path)) > 107:
        raise TransportError(f"{path}: a socket path has at most 107 bytes; choose a shorter")
    if path.exists() and not path.is_socket():  # which libzmq would delete
        raise TransportError(f"{path} is not a socket: choose a path where nothing is yet")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:  # somebody listens who does not get round to accept
            pass
        except OSError as error:
            raise TransportError(f"cannot listen at {path}: {error}") from None
    raise AddressInUseError(f"{path} is already taken by another program: use another name")


def _server_key(token: str) -> bytes:
    """Return the server's CURVE secret key, in Z85, for a token.

    Any 32 bytes are a Curve25519 secret (Bernstein 2006, section 3).
    """
    return z85.encode(
        hashlib.sha256(b"napari-streaming curve " + view_token(token).encode()).digest()
    )
