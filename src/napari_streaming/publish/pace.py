"""Which items one viewer wants, and how fast: what its Subscribe says of what is to come."""

from __future__ import annotations

from napari_streaming.publish.staging import Parcel
from napari_streaming.wire.messages import Subscribe

__all__ = ["Pace"]


class Pace:
    """Holds items back, as one viewer wants it. Its owner guards it with a lock.

    Parameters
    ----------
    subscribe : Subscribe, optional
        What the viewer said; by default it wants everything, at once.
    """

    def __init__(self, subscribe: Subscribe | None = None) -> None:
        wish = subscribe or Subscribe()
        self._names = frozenset(wish.streams)
        self._period = 1 / wish.max_fps if wish.max_fps else 0.0
        self._byte = 1e-6 / wish.max_mb_s if wish.max_mb_s else 0.0
        self._due: dict[int, float] = {}  # of each stream
        self._all_due = 0.0
        self.is_limited = bool(self._period or self._byte)
        limits = [
            f"{wish.max_fps:g} {'item' if wish.max_fps == 1 else 'items'}" * bool(wish.max_fps)
        ]
        limits += [f"{wish.max_mb_s:g} MB" * bool(wish.max_mb_s)]
        self.reason = f"this viewer wants {' and '.join(filter(None, limits))} a second"
        """Why items are given up."""

    def wants(self, parcel: Parcel) -> bool:
        """Return whether a parcel's stream is wanted."""
        return not self._names or parcel.name in self._names

    def due(self, parcel: Parcel, *, preview: bool = False) -> float:
        """Return when a parcel may go, in seconds of the clock that :meth:`sent` is told."""
        return self._all_due if preview else max(self._all_due, self._due.get(parcel.stream, 0.0))

    def sent(self, parcel: Parcel, now: float, *, preview: bool = False) -> None:
        """Note that a parcel went, at a time in seconds."""
        if self._byte:
            self._all_due = max(self._all_due, now) + parcel.nbytes * self._byte
        if self._period and not preview:
            self._due[parcel.stream] = now + self._period
