"""Which client knows what from the answer to its intent, so that it is not told again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_streaming.wire.attributes import Changes

__all__ = ["Answers"]

Place = int | str  # a layer's number, or "dims", "camera", "scene"


class Answers:
    """What clients were answered since the last time that changes were told."""

    def __init__(self) -> None:
        self._said: dict[tuple[Place, str], tuple[int, Any]] = {}

    def note(self, client: int, place: Place, applied: Changes) -> None:
        """Note what a client was answered; only the last one knows what is now."""
        for name, value in applied.items():
            self._said[place, name] = (client, value)

    def sort(
        self, place: Place, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> dict[int, Changes]:
        """Return what is to be told of one place, by the client that knows it already.

        Also what is as before, but was something else between: somebody was answered that.
        """
        told: dict[int, Changes] = {}
        for name, value in after.items():
            answered = self._said.get((place, name))
            if answered is None and name in before and before[name] == value:
                continue
            client = answered[0] if answered is not None and answered[1] == value else 0
            told.setdefault(client, {})[name] = value
        return told

    def clear(self) -> None:
        """Forget: all has been told."""
        self._said.clear()
