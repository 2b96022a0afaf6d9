"""Credit, gaps and rates: the accounting of a session, without clocks of its own.

A publisher may have a *window* of bytes under way; each acknowledged item gives its bytes
back. Small messages (metrics, status, declarations) have a window of their own, counted in
messages, so that a large image never keeps them waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

from msgspec.structs import replace

from napari_streaming.errors import StateError
from napari_streaming.wire.codec import last_number
from napari_streaming.wire.messages import Ack, Gap, Metric, Status

__all__ = ["Drops", "Heard", "Rate", "Receipts", "SendWindow", "Sequence"]

T = TypeVar("T")

_METRICS_KNOWN = 4096
_METRICS_SAID = 1024  # as many as fit in a Subscribe


class SendWindow(Generic[T]):
    """What was sent and is not acknowledged yet, oldest first.

    Parameters
    ----------
    limit : int
        The most that may be under way, in the unit of the sizes given to :meth:`sent`.
        One thing may always be under way, whatever its size.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._under_way: deque[tuple[T, int]] = deque()
        self._acknowledged = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[T]:
        return (thing for thing, _ in self._under_way)

    def admits(self, size: int) -> bool:
        """Return whether something of this size may be sent now."""
        return not self._under_way or self.size + size <= self.limit

    def sent(self, thing: T, size: int) -> None:
        """Note that a thing was sent."""
        self._under_way.append((thing, size))
        self.size += size

    def acknowledge(self, total: int) -> list[T]:
        """Return the things that an acknowledgement of `total` since the start frees.

        Raises
        ------
        StateError
            The peer acknowledges what was never sent, or takes something back.
        """
        count = total - self._acknowledged
        if not 0 <= count <= len(self._under_way):
            raise StateError(
                f"acknowledged {total}, but {self._acknowledged} were acknowledged "
                f"and {len(self._under_way)} are under way"
            )
        self._acknowledged = total
        return [self._pop() for _ in range(count)]

    def clear(self) -> list[T]:
        """Return everything under way, oldest first, and forget it."""
        return [self._pop() for _ in range(len(self._under_way))]

    def _pop(self) -> T:
        thing, size = self._under_way.popleft()
        self.size -= size
        return thing


class Drops:
    """Items of one stream that were given up, until the viewer is told."""

    def __init__(self) -> None:
        self._first = self._last = self._count = 0
        self._reason = ""
        self.total = 0

    def add(self, sequence: int, reason: str) -> None:
        """Note that an item is given up, and why."""
        self._reason = reason
        self._first = min(self._first, sequence) if self._count else sequence
        self._last = max(self._last, sequence) if self._count else sequence
        self._count += 1
        self.total += 1

    def take(self, stream: int) -> Gap | None:
        """Return what is to be told, once, with the reason for the last of them."""
        if not self._count:
            return None
        gap = Gap(stream, self._first, self._last, self._count, self._reason)
        self._count = 0
        return gap


class Sequence:
    """The sequence numbers seen of one stream.

    Attributes
    ----------
    missing : int
        Numbers that were skipped.
    duplicates : int
        Numbers that came again.
    """

    def __init__(self) -> None:
        self.last = -1
        self.missing = 0
        self.duplicates = 0

    def accept(self, number: int, *, first_of_session: bool = False) -> bool:
        """Return whether an item with this number is new.

        The first item that a late joiner sees may have any number: what it missed before
        it came is history, not loss.
        """
        if number <= self.last:
            self.duplicates += 1
            return False
        if not (first_of_session and self.last < 0):
            self.missing += number - self.last - 1
        self.last = number
        return True


class Heard:
    """Which metrics and status lines of a publisher's run are here, whatever connection they took.

    Safe in any thread, as each connection may have its own.

    Attributes
    ----------
    line : int
        The number of the last line; 0: none.
    """

    def __init__(self) -> None:
        self.line = 0
        self._lock = threading.Lock()
        self._metrics: dict[str, int] = {}  # number of the last value; who was heard last, last

    @property
    def metrics(self) -> dict[str, int]:
        """The numbers of the last values, of as many metrics as a Subscribe may name."""
        with self._lock:
            return dict(islice(reversed(self._metrics.items()), _METRICS_SAID))

    def is_news(self, line: Status) -> bool:
        """Return whether a line was not here before, and note it."""
        if not line.number:
            return True
        with self._lock:
            before, self.line = self.line, max(self.line, line.number)
            return line.number > before

    def news(self, metric: Metric) -> Metric | None:
        """Return the part of a metric that was not here before, and note it; None: nothing was."""
        if not (metric.first and metric.values):
            return metric
        with self._lock:
            last = self._metrics.pop(metric.name, 0)
            self._metrics[metric.name] = max(last, last_number(metric))
            if len(self._metrics) > _METRICS_KNOWN:
                del self._metrics[next(iter(self._metrics))]
        known = max(0, (last - metric.first) // metric.every + 1)
        if not known:
            return metric
        if known >= len(metric.values):
            return None
        return replace(
            metric,
            steps=metric.steps[known:],
            values=metric.values[known:],
            times=metric.times[known:],
            first=metric.first + known * metric.every,
        )


class Receipts:
    """Counts what was taken in, and says when an Ack is due."""

    def __init__(self) -> None:
        self._items = self._messages = 0
        self._said = (0, 0)

    def item(self) -> None:
        """Count an item."""
        self._items += 1

    def message(self) -> None:
        """Count a message that is not an item."""
        self._messages += 1

    def take(self) -> Ack | None:
        """Return the acknowledgement that is due, if any."""
        if (self._items, self._messages) == self._said:
            return None
        self._said = (self._items, self._messages)
        return Ack(self._items, self._messages)

    def take_back(self) -> None:
        """Note that the last acknowledgement could not be sent: it is due again."""
        self._said = (-1, -1)


class Rate:
    """Events per second over the last few seconds.

    Parameters
    ----------
    span : float
        Seconds to look back.
    """

    def __init__(self, span: float = 2.0) -> None:
        self._span = span
        self._events: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, amount: float, now: float) -> None:
        """Note an event of some amount."""
        # One entry for each twentieth of a second keeps this small at any rate.
        if self._events and now - self._events[-1][0] < 0.05:
            since, so_far = self._events[-1]
            self._events[-1] = (since, so_far + amount)
        else:
            self._events.append((now, amount))
        self._sum += amount
        self._forget(now)

    def per_second(self, now: float) -> float:
        """Return the amount per second."""
        self._forget(now)
        return self._sum / self._span

    def _forget(self, now: float) -> None:
        while self._events and self._events[0][0] < now - self._span:
            self._sum -= self._events.popleft()[1]
        if not self._events:
            self._sum = 0.0
