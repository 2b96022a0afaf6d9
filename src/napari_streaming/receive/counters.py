"""What came in for a layer, what did not, how fast, and how late."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from napari_streaming.receive.latency import History, Recent, Stages, StageTimes
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
    gaps : int
        How often the sequence broke: dropped items without one between them that came are
        one gap.
    gap_reason : str
        Why the last items were dropped, for people.
    refused : int
        Items that did not match their declaration.
    bytes : int
        Received so far.
    per_second, bytes_per_second : float
        Over the last two seconds.
    squeezed_per_second : float
        Bytes over the last two seconds as they came: fewer where they were compressed.
    stages : Stages
        How long the last items took, stage by stage.
    """

    received: int
    shown: int
    dropped: int
    gaps: int
    gap_reason: str
    refused: int
    bytes: int
    per_second: float
    bytes_per_second: float
    squeezed_per_second: float
    stages: Stages


class LayerCounters:
    """Counts for one layer, in any thread. All times are this side's clock's, in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = self._shown = self._dropped = self._refused = self._bytes = 0
        self._gaps, self._gap_reason, self._in_gap = 0, "", False
        self._items, self._volume, self._squeezed = Rate(), Rate(), Rate()
        self._times, self._history = StageTimes(), History()

    def arrived(
        self,
        nbytes: int,
        published: float,
        received: float,
        now: float,
        squeezed: int | None = None,
    ) -> None:
        """Count an item that was published, received, and is placed now.

        `squeezed` is how many bytes came for the `nbytes` that it has, if not so many.
        """
        with self._lock:
            self._times.placed(self._received, published, received, now)
            self._received += 1
            self._bytes += nbytes
            self._in_gap = False
            self._items.add(1, now)
            self._volume.add(nbytes, now)
            self._squeezed.add(nbytes if squeezed is None else squeezed, now)

    def dropped(self, count: int, reason: str, now: float | None = None) -> None:
        """Count items that will never come, and say why; by default they are lost now."""
        if not count:
            return
        with self._lock:
            self._dropped += count
            self._gaps += not self._in_gap
            self._in_gap, self._gap_reason = True, reason
            self._history.lost(time.time() if now is None else now)

    def refused(self) -> None:
        """Count an item that could not be used."""
        with self._lock:
            self._refused += 1

    @property
    def received(self) -> int:
        """Items that were placed."""
        return self._received

    def shown(self, count: int, now: float | None = None) -> None:
        """Note that a viewer has been given this many of the items that were placed.

        Those that are new among them count as shown at this moment.
        """
        with self._lock:
            if count > self._shown:
                now = time.time() if now is None else now
                waited = self._times.shown(self._shown, count - 1, now)
                if waited is not None:
                    self._history.late(waited, now)
            self._shown = count

    def stats(self, now: float) -> LayerStats:
        """Return the counters."""
        with self._lock:
            return LayerStats(
                received=self._received,
                shown=self._shown,
                dropped=self._dropped,
                gaps=self._gaps,
                gap_reason=self._gap_reason,
                refused=self._refused,
                bytes=self._bytes,
                per_second=self._items.per_second(now),
                bytes_per_second=self._volume.per_second(now),
                squeezed_per_second=self._squeezed.per_second(now),
                stages=self._times.stages(),
            )

    def recent(self, now: float) -> Recent:
        """Return the waits and losses of the last half minute."""
        with self._lock:
            return self._history.recent(now)
