"""How late items are: by stage, over the last thousand, and over the last half minute."""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass

import numpy as np

__all__ = ["History", "Quantiles", "Recent", "StageTimes", "Stages"]

_KEPT = 1024
_FIELDS = 4  # of each item: when it was published, received, placed and shown


@dataclass(frozen=True, slots=True)
class Quantiles:
    """What half, and 95 % of the items took at most, in seconds; NaN before the first."""

    p50: float = math.nan
    p95: float = math.nan


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the time goes, over the last 1024 items.

    Parameters
    ----------
    received : Quantiles
        From the publisher's call, or from when it connected if that was later, until the
        message was taken off the socket.
    placed : Quantiles
        From there until the item stood in its layer.
    shown : Quantiles
        From there until the viewer was given it.
    total : Quantiles
        All three together.
    """

    received: Quantiles = Quantiles()
    placed: Quantiles = Quantiles()
    shown: Quantiles = Quantiles()
    total: Quantiles = Quantiles()


class StageTimes:
    """When each of the last items of a layer passed each stage. O(1) an item."""

    def __init__(self) -> None:
        # One memory with two faces: an array writes single numbers fast, numpy reads them all.
        self._flat = array("d", [math.nan]) * (_KEPT * _FIELDS)
        self._table = np.frombuffer(self._flat).reshape(_KEPT, _FIELDS)
        self._newest = -1
        self._stages: Stages | None = Stages()

    def placed(self, number: int, published: float, received: float, now: float) -> None:
        """Note the times of an item, which are numbered from 0."""
        at = number % _KEPT * _FIELDS
        self._flat[at] = published
        self._flat[at + 1] = received
        self._flat[at + 2] = now
        self._flat[at + 3] = math.nan
        self._newest, self._stages = number, None

    def shown(self, first: int, last: int, now: float) -> float | None:
        """Note when the items of these numbers were shown.

        Returns
        -------
        float or None
            Seconds since the first published of them; None if all of them are forgotten.
        """
        rows = np.arange(max(first, self._newest + 1 - _KEPT), last + 1) % _KEPT
        if not rows.size:
            return None
        self._table[rows, 3] = now
        self._stages = None
        return max(0.0, now - float(self._table[rows, 0].min()))

    def stages(self) -> Stages:
        """Return how long the stages took."""
        if self._stages is None:
            published, received, placed, shown = self._table.T
            self._stages = Stages(
                received=_quantiles(received - published),
                placed=_quantiles(placed - received),
                shown=_quantiles(shown - placed),
                total=_quantiles(shown - published),
            )
        return self._stages


def _quantiles(seconds: np.ndarray) -> Quantiles:
    """Return the quantiles, by nearest rank, of what is known.

    The publisher's clock may be a little off: that makes no time less than none.
    """
    known = np.sort(seconds[~np.isnan(seconds)]).clip(0)
    if not known.size:
        return Quantiles()
    p50, p95 = (float(known[math.ceil(known.size * share) - 1]) for share in (0.5, 0.95))
    return Quantiles(p50, p95)


@dataclass(frozen=True, slots=True)
class Recent:
    """The last :attr:`History.SPAN` seconds, in quarters of a second.

    Parameters
    ----------
    late : tuple of (int, float)
        How many quarters ago, oldest first, and the longest wait, in seconds, of the items
        that were shown then. Quarters without any are left out.
    lost : tuple of int
        How many quarters ago, oldest first, items were lost.
    """

    late: tuple[tuple[int, float], ...] = ()
    lost: tuple[int, ...] = ()


class History:
    """Whether a layer keeps up: its waits and losses of late."""

    SPAN = 30.0
    QUARTERS = 120

    def __init__(self) -> None:
        self._late: deque[tuple[int, float]] = deque(maxlen=self.QUARTERS)
        self._lost: deque[int] = deque(maxlen=self.QUARTERS)

    def late(self, seconds: float, now: float) -> None:
        """Note how long the items that are shown now have waited."""
        quarter = self._quarter(now)
        if self._late and self._late[-1][0] == quarter:
            seconds = max(seconds, self._late.pop()[1])
        self._late.append((quarter, seconds))

    def lost(self, now: float) -> None:
        """Note that items were lost."""
        quarter = self._quarter(now)
        if not self._lost or self._lost[-1] != quarter:
            self._lost.append(quarter)

    def recent(self, now: float) -> Recent:
        """Return what is not older than the span."""
        newest = self._quarter(now)
        oldest = newest - self.QUARTERS
        late = tuple((newest - at, seconds) for at, seconds in self._late if at > oldest)
        return Recent(late, tuple(newest - at for at in self._lost if at > oldest))

    def _quarter(self, now: float) -> int:
        return int(now * self.QUARTERS / self.SPAN)
