"""How often an address may fail to become a peer, so that guessing and junk cost us little."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Failures"]

_MOST = 100
_FORGIVEN = 20.0  # a second
_ADDRESSES = 1024


class Failures:
    """Counts the failures of each address, and forgives some of them each second."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def add(self, address: str, now: float) -> None:
        """Take note of a failure; `now` in seconds of any clock."""
        self._counts[address] = (self._count(address, now) + 1, now)
        self._counts.move_to_end(address)
        while len(self._counts) > _ADDRESSES:
            self._counts.popitem(last=False)

    def is_too_many(self, address: str, now: float) -> bool:
        """Whether an address is to wait."""
        return self._count(address, now) >= _MOST

    def _count(self, address: str, now: float) -> float:
        count, then = self._counts.get(address, (0.0, now))
        return max(0.0, count - (now - then) * _FORGIVEN)
