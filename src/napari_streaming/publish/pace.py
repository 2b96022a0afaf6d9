"""Which items one viewer wants, and how fast: what its Subscribe says of what is to come."""

from __future__ import annotations

from typing import Literal, TypeAlias

from napari_streaming.publish.reduce import Cut, Reduction
from napari_streaming.publish.staging import Parcel
from napari_streaming.wire.messages import Subscribe

__all__ = ["Mark", "Pace"]

Mark: TypeAlias = Literal["", "preview", "again"]
"""How an item goes: in its turn, or ahead of it; the field that says so is called the same."""


class Pace:
    """Holds items back, as one viewer wants it. Its owner guards it with a lock.

    Parameters
    ----------
    subscribe : Subscribe, optional
        What the viewer said; by default it wants everything, at once.
    shares : bool
        Whether it copies planes from shared memory: then it gets all of each.
    """

    def __init__(self, subscribe: Subscribe | None = None, *, shares: bool = False) -> None:
        wish = subscribe or Subscribe()
        self._names = frozenset(wish.streams)
        self._period = 1 / wish.max_fps if wish.max_fps else 0.0
        self._byte = 1e-6 / wish.max_mb_s if wish.max_mb_s else 0.0
        self._due: dict[int, float] = {}  # of each stream
        self._all_due = 0.0
        self._reduction = Reduction(Subscribe() if shares else wish)
        self.is_limited = bool(self._period or self._byte)
        limits = [
            f"{wish.max_fps:g} {'item' if wish.max_fps == 1 else 'items'}" * bool(wish.max_fps)
        ]
        limits += [f"{wish.max_mb_s:g} MB" * bool(wish.max_mb_s)]
        self.reason = f"this viewer wants {' and '.join(filter(None, limits))} a second"
        """Why items are given up."""

    def wants(self, parcel: Parcel) -> bool:
        """Return whether a parcel's stream is wanted, and anything of the parcel."""
        if self._names and parcel.name not in self._names:
            return False
        cut = self._reduction.cut(parcel)
        return cut is None or cut.nbytes > 0

    def cut(self, parcel: Parcel, mark: Mark = "") -> Cut | None:
        """Return what is sent of a parcel; None: all of it."""
        return None if mark == "again" else self._reduction.cut(parcel)

    def nbytes(self, parcel: Parcel, mark: Mark = "") -> int:
        """Return how many bytes of a parcel are sent."""
        cut = self.cut(parcel, mark)
        return parcel.nbytes if cut is None else cut.nbytes

    def due(self, parcel: Parcel, mark: Mark = "") -> float:
        """Return when a parcel may go, in seconds of the clock that :meth:`sent` is told."""
        return self._all_due if mark else max(self._all_due, self._due.get(parcel.stream, 0.0))

    def sent(self, parcel: Parcel, now: float, mark: Mark = "") -> None:
        """Note that a parcel went, at a time in seconds."""
        if self._byte:
            sent = self.nbytes(parcel, mark)
            self._all_due = max(self._all_due, now) + sent * self._byte
        if self._period and not mark:
            self._due[parcel.stream] = now + self._period
