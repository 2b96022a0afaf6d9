"""Frames between two threads of one process: for tests, with the same rules as a socket."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence

from napari_streaming.errors import AddressInUseError
from napari_streaming.transport.base import Connected, Delivery, Endpoint, Event, Lost, Received
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer

__all__ = ["MemoryEndpoint"]

_listeners: dict[str, MemoryEndpoint] = {}
_lock = threading.Lock()
_names = itertools.count()
_SERVER = b"server"
_MAX_EVENTS = 64


class _Copied:
    done = True


class MemoryEndpoint(Endpoint):
    """An endpoint whose peers live in the same process."""

    def __init__(self, url: StreamURL) -> None:
        super().__init__(url)
        self._inbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._peers: dict[bytes, MemoryEndpoint] = {}
        self._identity = b"memory-%d" % next(_names)
        self._closed = False
        self._seeks_peer = not url.listen

    def open(self) -> None:
        if self.url.listen:
            with _lock:
                if self.url.path in _listeners:
                    raise AddressInUseError(f"{self.url.address} is already taken")
                _listeners[self.url.path] = self
        else:
            self._connect()

    def _connect(self) -> None:
        with _lock:
            listener = _listeners.get(self.url.path)
            if listener is None or not self._seeks_peer:
                return
            self._seeks_peer = False
            self._peers[_SERVER] = listener
            listener._peers[self._identity] = self
        self._inbox.put(Connected(_SERVER))

    def poll(self, timeout: float) -> list[Event]:
        if not self.url.listen:
            self._connect()
        events: list[Event] = []
        wait = max(0.0, timeout)
        while len(events) < _MAX_EVENTS:
            try:
                event = self._inbox.get(timeout=wait)
            except queue.Empty:
                break
            wait = 0.0
            if event is not None:
                events.append(event)
        return events

    def wake(self) -> None:
        self._inbox.put(None)

    def send(self, peer: bytes, frames: Sequence[Buffer]) -> Delivery | None:
        other = self._peers.get(peer)
        if other is None or other._closed:
            return None
        name = self._identity if peer == _SERVER else _SERVER
        other._inbox.put(Received(name, [bytes(frame) for frame in frames]))
        return _Copied()

    def admit(self, peer: bytes) -> None:
        pass  # nobody but this process is here

    def dismiss(self, peer: bytes) -> None:
        pass  # it will not be listened to

    def reconnect(self, url: StreamURL) -> None:
        self.url = url
        self._part(_SERVER)
        self._identity = b"memory-%d" % next(_names)
        self._seeks_peer = True

    def _part(self, peer: bytes) -> None:
        other = self._peers.pop(peer, None)
        if other is not None:
            name = self._identity if peer == _SERVER else _SERVER
            other._peers.pop(name, None)
            other._inbox.put(Lost(name, "the connection broke"))

    def close(self) -> None:
        self._closed = True
        with _lock:
            if _listeners.get(self.url.path) is self:
                del _listeners[self.url.path]
        for peer in list(self._peers):
            self._part(peer)
