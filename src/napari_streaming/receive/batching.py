"""When to show what has come: a policy, and the queue that keeps to it. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Batcher", "BatchingPolicy"]


@dataclass(frozen=True, slots=True)
class BatchingPolicy:
    """How often a layer is updated.

    Parameters
    ----------
    min_interval : float
        Seconds that lie at least between two updates of a layer, and for which a burst
        must be over before it is shown.
    max_wait : float
        Seconds after which an item is shown although the burst goes on.
    max_layers : int
        The most layers that are updated at once, those that changed last first.

    Raises
    ------
    ValueError
        A limit that cannot be kept.
    """

    min_interval: float = 0.0
    max_wait: float = 0.05
    max_layers: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.min_interval <= self.max_wait:
            raise ValueError(
                f"min_interval={self.min_interval}, max_wait={self.max_wait}: "
                "0 <= min_interval <= max_wait is needed"
            )
        if self.max_layers < 1:
            raise ValueError(f"max_layers={self.max_layers}: at least 1 is needed")


@dataclass(slots=True)
class _Waiting:
    """A layer that changed: when first and last since its last update."""

    first: float
    last: float


class Batcher:
    """Which layers are due for an update.

    Parameters
    ----------
    policy : BatchingPolicy
    """

    def __init__(self, policy: BatchingPolicy) -> None:
        self._policy = policy
        self._waiting: dict[str, _Waiting] = {}
        self._updated: dict[str, float] = {}
        self._rest_until = 0.0

    @property
    def policy(self) -> BatchingPolicy:
        """The policy in force."""
        return self._policy

    def set_policy(self, policy: BatchingPolicy) -> None:
        """Keep to another policy from now on."""
        self._policy = policy

    def changed(self, name: str, now: float) -> None:
        """Note that a layer changed at a time, in seconds."""
        waiting = self._waiting.setdefault(name, _Waiting(now, now))
        waiting.last = now

    def due(self, now: float) -> list[str]:
        """Return the layers to update now, those that changed last first."""
        if now < self._rest_until:
            return []
        ready = [name for name, waiting in self._waiting.items() if self._is_due(name, now)]
        ready.sort(key=lambda name: self._waiting[name].last, reverse=True)
        # One that has waited too long must not be passed over by newer ones for ever.
        ready.sort(key=lambda name: now - self._waiting[name].first < self.policy.max_wait)
        chosen = ready[: self.policy.max_layers]
        for name in chosen:
            del self._waiting[name]
            self._updated[name] = now
        return chosen

    def took(self, seconds: float, now: float) -> None:
        """Note what an update cost: as much time belongs to the user before the next."""
        self._rest_until = now + min(seconds, self.policy.max_wait)

    def _is_due(self, name: str, now: float) -> bool:
        waiting, policy = self._waiting[name], self.policy
        if now - waiting.first >= policy.max_wait:
            return True
        rested = now - self._updated.get(name, float("-inf")) >= policy.min_interval
        return rested and now - waiting.last >= policy.min_interval
