"""What has come to rest: things that change, and are looked at once they stay as they are.

No clock and no disk in here, so that every order of events can be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Settling"]

_Key = TypeVar("_Key", bound=Hashable)

_TRIES = 4


@dataclass(slots=True)
class _Waiting:
    stamp: Hashable
    due: float
    tries: int = 0


class Settling(Generic[_Key]):
    """Things that changed, until they are done with.

    Parameters
    ----------
    settle : float
        Seconds for which a thing must stay the same.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._waiting: dict[_Key, _Waiting] = {}
        self._done: dict[_Key, Hashable] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def waiting(self) -> list[_Key]:
        """Return which wait."""
        return list(self._waiting)

    def note(self, key: _Key, stamp: Hashable, now: float, wait: float | None = None) -> None:
        """Take note of how a thing looks now.

        Parameters
        ----------
        key : hashable
            Which thing.
        stamp : hashable
            Equal as long as it is the same.
        now : float
            Seconds of any clock that never goes back.
        wait : float, optional
            Seconds that it must stay so, where that is not the usual.
        """
        if key in self._done and self._done[key] == stamp:
            self._waiting.pop(key, None)
            return
        waiting = self._waiting.get(key)
        if waiting is None or waiting.stamp != stamp:
            due = now + (self._settle if wait is None else wait)
            self._waiting[key] = _Waiting(stamp, due)

    def due(self, now: float) -> list[_Key]:
        """Return what stayed the same for long enough, in the order in which it came to rest."""
        due = [(waiting.due, key) for key, waiting in self._waiting.items() if waiting.due <= now]
        return [key for _, key in sorted(due, key=lambda pair: pair[0])]

    def is_same(self, key: _Key, stamp: Hashable) -> bool:
        """Whether a thing that waits still looks as it did."""
        waiting = self._waiting.get(key)
        return waiting is not None and waiting.stamp == stamp

    def is_done(self, key: _Key) -> bool:
        """Whether a thing was finished once, as it is now or as it was before."""
        return key in self._done

    def finish(self, key: _Key) -> None:
        """Be done with a thing, until it looks different."""
        self._done[key] = self._waiting.pop(key).stamp

    def finish_all(self) -> None:
        """Be done with everything that waits, until it looks different."""
        for key in list(self._waiting):
            self.finish(key)

    def retry(self, key: _Key, now: float) -> bool:
        """Try a thing again later, each time after twice as long; return False if often enough."""
        waiting = self._waiting[key]
        waiting.tries += 1
        waiting.due = now + self._settle * 2**waiting.tries
        return waiting.tries < _TRIES

    def postpone(self, key: _Key, now: float, wait: float) -> None:
        """Ask for a thing again in a while."""
        self._waiting[key].due = now + wait

    def forget(self, key: _Key) -> None:
        """Forget a thing that is gone: if it comes back, it is a new one."""
        self._waiting.pop(key, None)
        self._done.pop(key, None)

    def forget_all(self, which: Callable[[_Key], bool]) -> None:
        """Forget all things of some kind."""
        for key in [key for key in (*self._waiting, *self._done) if which(key)]:
            self.forget(key)
