"""The streams of a publisher, and what else each viewer is told first."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from napari_streaming.publish.layers import LayerSpec
from napari_streaming.wire.messages import Declare, Elsewhere, Message, Outline

__all__ = ["Stream", "Streams"]


@dataclass(slots=True)
class Stream:
    """A layer's stream: its declaration, and where its numbering stands."""

    spec: LayerSpec
    declare: Declare
    published: int = 0


class Streams:
    """All streams; the publisher's thread adds, those of the sinks read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[tuple[str, str], list[Stream]] = {}
        self._all: list[Stream] = []
        self._lasting: dict[str, Outline | Elsewhere] = {}

    def find(self, name: str, spec: LayerSpec) -> tuple[Stream, bool]:
        """Return the stream of a layer, and whether it is new: its structure is another one."""
        known = self._by_name.setdefault((name, spec.kind), [])
        for stream in reversed(known):
            if stream.spec.same_structure(spec):
                return stream, False
        stream = Stream(spec, spec.declare(len(self._all), name))
        known.append(stream)
        with self._lock:
            self._all.append(stream)
        return stream, True

    def keep(self, key: str, message: Outline | Elsewhere) -> None:
        """Have a message told to each viewer to come, until another one has this key."""
        with self._lock:
            self._lasting[key] = message

    def standing(self) -> list[Message]:
        """Return every declaration, and every message that is kept."""
        with self._lock:
            return [*(stream.declare for stream in self._all), *self._lasting.values()]

    @property
    def published(self) -> int:
        """How many items there were in all."""
        return sum(stream.published for stream in list(self._all))
