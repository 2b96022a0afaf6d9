"""What a client says, on its way from the thread of the sockets to that of the scene."""

from __future__ import annotations

import threading
from collections import deque

from napari_streaming.errors import StateError
from napari_streaming.wire.inputs import Input, Pointer
from napari_streaming.wire.remote import Command, Intent, NeedKeyframe, Quality, Shown

__all__ = ["Inbox", "Work"]

Work = Intent | Input | Command | Quality | Shown | NeedKeyframe
_MOST = 2000


class Inbox:
    """A queue between two threads, in which what is overtaken does not pile up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Work, float]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Work, now: float) -> bool:
        """Add a message; return whether nothing waited before it.

        Raises
        ------
        StateError
            The client says more than can be done.
        """
        with self._lock:
            was_empty = not self._waiting
            if not was_empty and _overtakes(message, self._waiting[-1][0]):
                self._waiting.pop()
            if len(self._waiting) >= _MOST:
                raise StateError(f"{len(self._waiting)} messages wait already")
            self._waiting.append((message, now))
            return was_empty

    def take(self) -> tuple[Work, float] | None:
        """Return the oldest message and when it came; None: there is no more."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None


def _overtakes(message: Work, before: Work) -> bool:
    """Whether nobody needs what came right before any more."""
    if isinstance(message, Pointer) and isinstance(before, Pointer):
        return (message.kind, message.buttons, message.modifiers) == (
            "move",
            before.buttons,
            before.modifiers,
        ) and before.kind == "move"
    return isinstance(message, Shown | NeedKeyframe) and type(message) is type(before)
