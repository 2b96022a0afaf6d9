"""What a transport promises: frames, in order, between this side and each of its peers.

An :class:`Endpoint` is one URL, bound or connected. One thread owns it; only
:meth:`Endpoint.wake` may be called from others. Peers come and go by themselves: a
connecting endpoint waits for its peer for ever, says that it is connected, and once it lost
it, leaves it to :meth:`Endpoint.reconnect`; a listening one learns of a peer by its first
frames, and that it is gone when it sends to it. What a peer sent before it was lost is
always received first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer

__all__ = [
    "Connected",
    "Delivery",
    "Endpoint",
    "Event",
    "HttpHandler",
    "HttpResponse",
    "Lost",
    "Received",
    "Refused",
]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connecting endpoint reached its peer: a session may start."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """Frames came from a peer."""

    peer: bytes
    frames: Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class Lost:
    """A peer is gone: what it did not acknowledge may not have arrived."""

    peer: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody was turned away, here or there, before a session could start."""

    reason: str


Event: TypeAlias = Connected | Received | Lost | Refused


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a browser gets that asks for a page.

    Parameters
    ----------
    status : int
        For example 200.
    body : bytes
        The page.
    headers : mapping of str to str
        ``Content-Type`` and others; length and connection are seen to.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


HttpHandler: TypeAlias = Callable[[str, Mapping[str, str]], HttpResponse | None]
"""Called in the channel's thread with a path and the headers of a GET; None: no such page."""


class Delivery(Protocol):
    """What became of sent buffers."""

    @property
    def done(self) -> bool:
        """Whether the transport has no more use for the buffers."""


class Endpoint(ABC):
    """One URL, bound or connected, owned by one thread.

    Parameters
    ----------
    url : StreamURL
        Where, and the token, from which transports that encrypt derive their keys; after
        :meth:`open` with the port that was really bound.
    """

    def __init__(self, url: StreamURL) -> None:
        self.url = url

    @abstractmethod
    def open(self) -> None:
        """Bind or start to connect.

        Raises
        ------
        TransportError
            The address cannot be bound; :class:`AddressInUseError` if it is taken.
        """

    @abstractmethod
    def poll(self, timeout: float) -> list[Event]:
        """Wait until something happens, :meth:`wake` is called or `timeout` seconds pass."""

    @abstractmethod
    def wake(self) -> None:
        """Make :meth:`poll` return at once. Any thread may call this."""

    @abstractmethod
    def send(self, peer: bytes, frames: Sequence[Buffer]) -> Delivery | None:
        """Send frames, without waiting.

        Buffers after the first frame are not copied: they must stay as they are until
        the delivery is done.

        Returns
        -------
        Delivery or None
            None: not now, the transport is full, or the peer is gone and :class:`Lost`
            will follow.
        """

    @abstractmethod
    def admit(self, peer: bytes) -> None:
        """Take note that the peer's session is open: it may say more than a first message."""

    @abstractmethod
    def dismiss(self, peer: bytes) -> None:
        """Close a peer's connection behind what was sent, where the transport can do that.

        No :class:`Lost` follows.
        """

    @abstractmethod
    def reconnect(self, url: StreamURL) -> None:
        """Give up the connection and make it anew; for a connecting endpoint only.

        Parameters
        ----------
        url : StreamURL
            The same address, with the token of whoever listens there now.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, at once."""
