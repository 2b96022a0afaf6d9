"""The sockets of an OpenHCS viewer: data and control, each answered, and acknowledgements.

Data comes on a port, control on the one 1000 above; both are REP, so that each request must
be answered before the next is heard. Acknowledgements go to whoever listens on port 7555 of
this machine, if anybody does. Over ipc all three are sockets in one folder, named by port.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import zmq

from napari_streaming.errors import AddressInUseError, TransportError
from napari_streaming.transport.waker import Waker
from napari_streaming.transport.zmq import claim_path
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.dialects.openhcs_control import MAX_REQUEST
from napari_streaming.wire.dialects.openhcs_messages import MAX_MESSAGE

__all__ = ["OpenHcsSockets", "Request"]

Channel = Literal["data", "control"]

_CONTROL_AFTER, _ACK_PORT = 1000, 7555
_LAST_PORT = 65535 - _CONTROL_AFTER
_TRIES = 50
_LINGER_MS = 200  # for a reply that was just given
_MAX_ACKS, _ACK_KEPT = 65536, 2.0
_ACK_RETRY = 0.05
_NUMBER = re.compile(r"(?<=-)[0-9]+(?=\.[^.]*\Z)")


@dataclass(frozen=True, slots=True)
class Request:
    """What came; it must be answered before anything else on its channel."""

    channel: Channel
    frames: Sequence[Buffer]


class OpenHcsSockets:
    """The sockets of one viewer. One thread owns them; only :meth:`wake` is for others.

    Parameters
    ----------
    url : StreamURL
        Of the dialect, listening.

    Attributes
    ----------
    url : StreamURL
        With the port that was really bound.

    Raises
    ------
    TransportError
        One of the two addresses cannot be bound; :class:`AddressInUseError` if it is taken.
    """

    def __init__(self, url: StreamURL) -> None:
        self.url = url
        self._context = zmq.Context(io_threads=1)
        self._waker, self._poller = Waker(), zmq.Poller()
        self._poller.register(self._waker.fd, zmq.POLLIN)
        self._paths: list[Path] = []
        self._bound: dict[int, zmq.Socket[bytes]] = {}  # by port
        self._acks: deque[tuple[float, bytes]] = deque(maxlen=_MAX_ACKS)
        try:
            port = self._bind()
        except TransportError:
            self.close()
            raise
        data, control = self._bound[port], self._bound[port + _CONTROL_AFTER]
        self._sockets: dict[Channel, zmq.Socket[bytes]] = {"data": data, "control": control}
        for socket in (data, control):
            self._poller.register(socket, zmq.POLLIN)
        self._ack: zmq.Socket[bytes] = self._context.socket(zmq.PUSH)
        self._ack.linger = 0
        self._ack.immediate = True  # nothing is queued for a listener that there is not
        self._ack.connect(self._address(_ACK_PORT, "127.0.0.1"))

    def poll(self, timeout: float) -> list[Request]:
        """Return what came, at most one request of each channel, after at most so many seconds."""
        self._send_acks()
        if self._acks:
            timeout = min(timeout, _ACK_RETRY)
        ready = dict(self._poller.poll(round(timeout * 1000)))
        if self._waker.fd in ready:
            self._waker.drain()
        return [
            Request(channel, [frame.buffer for frame in socket.recv_multipart(copy=False)])
            for channel, socket in self._sockets.items()
            if socket in ready
        ]

    def answer(self, request: Request, reply: bytes) -> None:
        """Answer a request; nothing happens if who asked is gone."""
        self._sockets[request.channel].send(reply)

    def acknowledge(self, acks: Sequence[bytes]) -> None:
        """Send these to whoever counts them; they are forgotten if nobody does for 2 s."""
        until = time.monotonic() + _ACK_KEPT
        self._acks.extend((until, ack) for ack in acks)
        self._send_acks()

    def wake(self) -> None:
        """Make :meth:`poll` return at once."""
        self._waker.ring()

    def close(self) -> None:
        """Let go of everything."""
        for path in self._paths:
            path.unlink(missing_ok=True)
        for socket in self._bound.values():
            socket.close(linger=_LINGER_MS)
        self._context.destroy(linger=0)
        self._waker.close()

    def _send_acks(self) -> None:
        now = time.monotonic()
        while self._acks:
            until, ack = self._acks[0]
            try:
                if until > now:
                    self._ack.send(ack, zmq.NOBLOCK)
            except zmq.Again:
                return
            self._acks.popleft()

    # ---- addresses --------------------------------------------------------------------

    def _bind(self) -> int:
        """Bind both sockets, and return the port of the first."""
        if self.url.port:
            self._bind_one(self.url.port, MAX_MESSAGE)
            self._bind_one(self.url.port + _CONTROL_AFTER, MAX_REQUEST)
            return self.url.port
        for _ in range(_TRIES):  # any free port, if the one that belongs to it is free as well
            port = self._bind_one(0, MAX_MESSAGE)
            if port <= _LAST_PORT:
                with contextlib.suppress(AddressInUseError):
                    self._bind_one(port + _CONTROL_AFTER, MAX_REQUEST)
                    self.url = replace(self.url, port=port)
                    return port
            self._bound.pop(port).close()
        raise TransportError(f"{self.url.redacted()}: no two free ports were found")

    def _bind_one(self, port: int, most: int) -> int:
        address = self._address(port, self.url.host)
        path = Path(address.removeprefix("ipc://")) if self.url.carrier == "ipc" else None
        if path is not None:
            _make_folder(path.parent)
            claim_path(path)
        made: zmq.Socket[bytes] = self._context.socket(zmq.REP)
        made.maxmsgsize = most
        made.ipv6 = ":" in self.url.host
        try:
            made.bind(address)
        except zmq.ZMQError as error:
            made.close()
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(
                    f"{address} is already taken by another program, perhaps a viewer of "
                    "OpenHCS's own: close it, or use another port on both sides"
                ) from None
            raise TransportError(f"cannot listen at {address}: {error}") from None
        if path is not None:
            self._paths.append(path)
        else:
            port = int(made.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._bound[port] = made
        return port

    def _address(self, port: int, host: str) -> str:
        if self.url.carrier == "tcp":
            host = "127.0.0.1" if host == "localhost" else host
            return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        path = Path(self.url.path)
        if not path.is_absolute():
            path = Path.home() / ".openhcs" / "ipc" / f"openhcs-zmq-{self.url.port}.sock"
        # Other ports have sockets beside it, of the same name but for the number.
        name = _NUMBER.sub(str(port), path.name)
        return f"ipc://{path.with_name(name)}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TransportError(f"no sockets can be in {folder}: {error}") from None
