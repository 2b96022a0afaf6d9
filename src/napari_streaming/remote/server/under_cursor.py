"""What is under the cursor, in napari's words, at most so many times a second."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from napari_streaming.remote.layer_attributes import REFUSALS
from napari_streaming.wire.remote import StatusText, Tooltip

__all__ = ["UnderCursor"]

_INTERVAL_S = 0.05
_LONGEST = 4096


class UnderCursor:
    """Asks napari for the value at its cursor.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    clock : callable
        Seconds.
    """

    def __init__(self, viewer: Any, clock: Callable[[], float]) -> None:
        self._viewer, self._clock = viewer, clock
        viewer.tooltip.visible = True  # else napari makes none; each client shows what it likes
        self._is_old = False
        self._looked_at = -math.inf
        self._status = self._tooltip = ""

    def point_at(self, position: tuple[float, ...]) -> None:
        """Put the cursor somewhere in the world."""
        self._viewer.mouse_over_canvas = True
        self._viewer.cursor.position = tuple(position)

    def look(self, moved: bool) -> list[StatusText | Tooltip]:
        """Return what is to be said now; `moved`: the cursor, or what is under it."""
        self._is_old |= moved
        if not self._is_old or self.waits() > 0:
            return []
        self._is_old, self._looked_at = False, self._clock()
        try:
            self._viewer.update_status_from_cursor()
        except REFUSALS:  # of a layer that is between two shapes: the next look is as good
            return []
        status = _words(self._viewer.status)[:_LONGEST]
        tooltip = str(self._viewer.tooltip.text)[:_LONGEST]
        said: list[StatusText | Tooltip] = []
        if status != self._status:
            self._status = status
            said.append(StatusText(status))
        if tooltip != self._tooltip:
            self._tooltip = tooltip
            said.append(Tooltip(tooltip))
        return said

    def waits(self) -> float:
        """Return seconds until there may be more to say without the cursor moving; inf: never."""
        if not self._is_old:
            return math.inf
        return max(0.0, self._looked_at + _INTERVAL_S - self._clock())


def _words(status: Any) -> str:
    """Return a status as napari's status bar has it."""
    if not isinstance(status, dict):
        return str(status)
    name, where = status.get("layer_base", ""), status.get("coordinates", "")
    return f"{name} {where}".strip()
