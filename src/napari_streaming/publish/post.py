"""Parcels on their way from the producer to what is kept of them and to the viewers' outboxes.

Whoever publishes only leaves them here. A sink's thread, or whoever must know exactly where
things stand, hands them on: what it costs to serve many viewers is none of the producer's time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from napari_streaming.publish.history import History
from napari_streaming.publish.outbox import Outbox
from napari_streaming.publish.staging import Parcel

__all__ = ["Post"]

_MOST = 64  # small ones take none of the pool's memory, whose end would have them handed on


class Post:
    """A queue of parcels, handed on in the order in which they came. Thread-safe.

    Parameters
    ----------
    history : History
        Keeps them.
    outboxes : callable
        Returns the outboxes that take parcels now.
    """

    def __init__(self, history: History, outboxes: Callable[[], Iterable[Outbox]]) -> None:
        self._history = history
        self._outboxes = outboxes
        self._parcels: deque[Parcel] = deque()
        self._delivering = threading.Lock()

    def leave(self, parcel: Parcel) -> None:
        """Take over a parcel and the caller's hold of it."""
        self._parcels.append(parcel)
        if len(self._parcels) >= _MOST:
            self.deliver()

    def deliver(self) -> None:
        """Hand on all that was left before; when it returns, no other thread is at it still."""
        with self._delivering:
            while self._parcels:
                self._deliver(self._parcels.popleft())

    def _deliver(self, parcel: Parcel) -> None:
        # In this order, a viewer that opens just now gets it in one way or the other.
        self._history.keep(parcel)
        for outbox in self._outboxes():
            outbox.put(parcel)
        parcel.release()
