"""What came in for a layer, how fast, and how late."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from napari_streaming.wire.flow import Rate

__all__ = ["LayerCounters", "LayerStats"]


@dataclass(frozen=True, slots=True)
class LayerStats:
    """Counters of a layer at one moment.

    Parameters
    ----------
    received, shown : int
        Items that were placed, and those of them that a viewer has been given.
    dropped : int
        Items that the publisher gave up, or that were overwritten before they were read.
    refused : int
        Items that did not match their declaration.
    bytes : int
        Received so far.
    per_second, bytes_per_second : float
        Over the last two seconds.
    latency : float
        Median seconds from the publisher's call to the item's place in the layer, of the
        last 64; NaN before the first.
    """

    received: int
    shown: int
    dropped: int
    refused: int
    bytes: int
    per_second: float
    bytes_per_second: float
    latency: float


class LayerCounters:
    """Counts for one layer, in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = self._shown = self._dropped = self._refused = self._bytes = 0
        self._items, self._volume = Rate(), Rate()
        self._latencies: deque[float] = deque(maxlen=64)

    def arrived(self, nbytes: int, published: float, now: float) -> None:
        """Count an item that was placed; both times on this side's clock, in seconds."""
        with self._lock:
            self._received += 1
            self._bytes += nbytes
            self._items.add(1, now)
            self._volume.add(nbytes, now)
            self._latencies.append(now - published)

    def dropped(self, count: int) -> None:
        """Count items that will never come."""
        with self._lock:
            self._dropped += count

    def refused(self) -> None:
        """Count an item that could not be used."""
        with self._lock:
            self._refused += 1

    @property
    def received(self) -> int:
        """Items that were placed."""
        return self._received

    def shown(self, count: int) -> None:
        """Note that a viewer has been given this many of the items that were placed."""
        self._shown = count

    def stats(self, now: float) -> LayerStats:
        """Return the counters."""
        with self._lock:
            latencies = list(self._latencies)
            return LayerStats(
                received=self._received,
                shown=self._shown,
                dropped=self._dropped,
                refused=self._refused,
                bytes=self._bytes,
                per_second=self._items.per_second(now),
                bytes_per_second=self._volume.per_second(now),
                latency=float(np.median(latencies)) if latencies else float("nan"),
            )
