"""The small messages that wait for one viewer, and those that it has not acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from napari_streaming.publish.journal import Journal
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
    Subscribe,
)
from napari_streaming.wire.session import view_address

__all__ = ["Notes"]

_UNDER_WAY = 1024  # messages; so many values of a metric count as one more:
_VALUES = 64
# What is said anew in each session.
_STANDING = (Declare, Segment, Outline, Elsewhere, Parameter, Progress, Running)


class Notes:
    """A queue of messages that are no items. Its owner guards it with a lock.

    Parameters
    ----------
    journal : Journal
        Has the metrics and status lines.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal, self._mark = journal, journal.mark()
        self._messages: deque[Message] = deque()
        self._last: Message | None = None
        self._under_way: SendWindow[Message] = SendWindow(_UNDER_WAY)

    def __bool__(self) -> bool:
        """Whether anything waits that need not come last."""
        return bool(self._messages) or self._journal.has_news(self._mark)

    @property
    def is_idle(self) -> bool:
        """Whether all is acknowledged."""
        return not (self or self._last or len(self._under_way))

    def put(self, message: Message) -> None:
        """Queue a message that is no metric and no line."""
        self._messages.append(message)

    def put_first(self, messages: Iterable[Message]) -> None:
        """Queue messages before all others."""
        self._messages.extendleft(reversed(list(messages)))

    def put_last(self, message: Message) -> None:
        """Queue a message behind everything, items included: :meth:`say_last` brings it."""
        self._last = message

    def rewind(self) -> None:
        """Queue again what was not acknowledged, except what opens a session."""
        both = (*self._under_way.clear(), *self._messages)
        self._mark.go_back(m for m in both if isinstance(m, Metric | Status))
        self._messages = deque(m for m in both if not isinstance(m, (*_STANDING, Metric, Status)))
        self._under_way = SendWindow(_UNDER_WAY)

    def begin(self, subscribe: Subscribe) -> None:
        """Go on in the journal from where a viewer is."""
        self._journal.place(self._mark, subscribe)

    def acknowledge(self, total: int) -> None:
        """Note how many were taken in since the session opened.

        Raises
        ------
        StateError
            More than were sent.
        """
        self._under_way.acknowledge(total)

    def clear(self) -> None:
        """Forget everything that waits, for good."""
        self._messages.clear()
        self._journal = Journal()
        self._mark = self._journal.mark()
        self._last = None

    def send_next(self, link: Link) -> bool | None:
        """Send the next message; return whether it went.

        None: none waits, or only metrics that items may overtake: they may be of a long past.
        """
        # Else they stay in the journal, which is bounded.
        if not self._messages and self._journal.has_news(self._mark):
            self._messages.extend(self._journal.read(self._mark))
        if not self._messages:
            return None
        message = self._messages[0]
        size = 1 + (len(message.values) // _VALUES if isinstance(message, Metric) else 0)
        if not self._under_way.admits(size):
            return None if isinstance(message, Metric) else False
        if link.send(_for(link, message)) is None:
            return False
        self._under_way.sent(self._messages.popleft(), size)
        return True

    def say_last(self) -> bool:
        """Queue what was to come last, now that all else is sent; return whether there was any."""
        if self or self._last is None:
            return False
        self._messages.append(self._last)
        self._last = None
        return True


def _for(link: Link, message: Message) -> Message:
    """Return what a viewer is told: who may only look on may no more elsewhere."""
    if isinstance(message, Elsewhere) and not link.session.may_control:
        return Elsewhere(view_address(message.url))
    return message
