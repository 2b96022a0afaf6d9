"""The planes that somebody studies: where the sliders rest, smaller ones are asked for in full."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from napari_streaming.napari_plugin.binding import LayerBinding
from napari_streaming.receive.layer_view import At

__all__ = ["Study"]

_REST_S = 0.5
_LOOK_S = 0.1


class Study:
    """Notices what is looked at for a while. Only in the GUI thread.

    Parameters
    ----------
    want : callable
        Asks for a plane in full, of the layer's name and where the plane is.
    clock : callable, optional
        Returns the time in seconds; never goes back.
    """

    def __init__(
        self, want: Callable[[str, At], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._want, self._clock = want, clock
        self._next_look = 0.0
        self._seen: dict[Any, float] = {}  # since when, by what tells one plane from others
        self._asked: set[Any] = set()

    def look(self, bindings: Iterable[LayerBinding]) -> None:
        """Look at what the viewers show, and ask for what has rested there; to be called often."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_S
        shown: dict[Any, tuple[str, At]] = {}
        for binding in bindings:
            for view, layer in binding.shown():
                if view.has_planes and layer.visible:
                    at = view.fixed | binding.looked_at(view)
                    plane = view.streamed.planes.reduced_at(at)
                    if plane is not None:
                        shown[plane] = (view.streamed.name, at)
        self._seen = {plane: self._seen.get(plane, now) for plane in shown}
        self._asked &= shown.keys()
        for plane, since in self._seen.items():
            if now - since >= _REST_S and plane not in self._asked:
                self._asked.add(plane)
                self._want(*shown[plane])
