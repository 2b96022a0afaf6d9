"""The small messages that wait for one viewer, and those that it has not acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from napari_streaming.transport.channel import Link
from napari_streaming.wire.flow import SendWindow
from napari_streaming.wire.messages import (
    Declare,
    Elsewhere,
    Message,
    Metric,
    Outline,
    Parameter,
    Progress,
    Running,
    Segment,
    Status,
)
from napari_streaming.wire.session import view_address

__all__ = ["MAX_QUEUED", "Notes"]

MAX_QUEUED = 65536
_UNDER_WAY = 1024
# What is said anew in each session.
_STANDING = (Declare, Segment, Outline, Elsewhere, Parameter, Progress, Running)


class Notes:
    """A queue of messages that are no items. Its owner guards it with a lock."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._metrics: dict[str, tuple[list[float], list[float], list[float]]] = {}
        self._last: Message | None = None
        self._under_way: SendWindow[Message] = SendWindow(_UNDER_WAY)

    def __bool__(self) -> bool:
        """Whether anything waits that need not come last."""
        return bool(self._messages or self._metrics)

    @property
    def is_idle(self) -> bool:
        """Whether all is acknowledged."""
        return not (self or self._last or len(self._under_way))

    def put(self, message: Message) -> None:
        """Queue a message; of too many status lines the oldest go."""
        self._messages.append(message)
        if len(self._messages) > MAX_QUEUED:
            oldest = next((m for m in self._messages if isinstance(m, Status)), None)
            if oldest is not None:
                self._messages.remove(oldest)

    def put_first(self, messages: Iterable[Message]) -> None:
        """Queue messages before all others."""
        self._messages.extendleft(reversed(list(messages)))

    def put_last(self, message: Message) -> None:
        """Queue a message behind everything, items included: :meth:`say_last` brings it."""
        self._last = message

    def put_metric(self, name: str, step: float, value: float, time: float) -> bool:
        """Queue a value; those of one name travel together. Return whether none waited yet."""
        is_first = not self._metrics
        columns = self._metrics.setdefault(name, ([], [], []))
        for column, number in zip(columns, (step, value, time), strict=True):
            column.append(number)
            if len(column) > MAX_QUEUED:
                del column[: MAX_QUEUED // 2]
        return is_first

    def rewind(self) -> None:
        """Queue again what was not acknowledged, except what opens a session."""
        both = (*self._under_way.clear(), *self._messages)
        self._messages = deque(m for m in both if not isinstance(m, _STANDING))
        self._under_way = SendWindow(_UNDER_WAY)

    def acknowledge(self, total: int) -> None:
        """Note how many were taken in since the session opened.

        Raises
        ------
        StateError
            More than were sent.
        """
        self._under_way.acknowledge(total)

    def clear(self) -> None:
        """Forget everything that waits."""
        self._messages.clear()
        self._metrics.clear()
        self._last = None

    def send_next(self, link: Link) -> bool | None:
        """Send the next message; return whether it went, and None if none waits."""
        if not self._messages:  # else they go on gathering, which is bounded
            self._messages.extend(Metric(name, *columns) for name, columns in self._metrics.items())
            self._metrics.clear()
        if not self._messages:
            return None
        if not self._under_way.admits(1) or link.send(_for(link, self._messages[0])) is None:
            return False
        self._under_way.sent(self._messages.popleft(), 1)
        return True

    def say_last(self) -> bool:
        """Queue what was to come last, now that all else is sent; return whether there was any."""
        if self._last is None:
            return False
        self._messages.append(self._last)
        self._last = None
        return True


def _for(link: Link, message: Message) -> Message:
    """Return what a viewer is told: who may only look on may no more elsewhere."""
    if isinstance(message, Elsewhere) and not link.session.may_control:
        return Elsewhere(view_address(message.url))
    return message
