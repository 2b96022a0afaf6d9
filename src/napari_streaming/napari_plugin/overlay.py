"""Where the sliders stand, in words: "Well A01 · Channel DAPI · T 3", on the canvas."""

from __future__ import annotations

from typing import Any

from psygnal import EmitLoopError

from napari_streaming.napari_plugin.binding import LayerBinding
from napari_streaming.wire.messages import Coordinate

__all__ = ["DimensionOverlay", "say"]


class DimensionOverlay:
    """Writes the coordinates shown into napari's text overlay. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
    binding : LayerBinding
        Whose layers to describe.
    """

    def __init__(self, viewer: Any, binding: LayerBinding) -> None:
        self._viewer, self._binding = viewer, binding
        self._enabled = True
        self._is_on, self._visible_when_on = False, True
        for event in self._events():
            event.connect(self.update)

    def close(self) -> None:
        """Take the words away, and say nothing any more."""
        for event in self._events():
            event.disconnect(self.update)
        try:
            self.set_enabled(False)
        except EmitLoopError:  # Qt has destroyed the window, its canvas first: they are gone
            return

    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.dims.events
        return events.current_step, events.order, events.ndisplay

    @property
    def enabled(self) -> bool:
        """Whether the words are shown."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Show the words, or take them away."""
        self._enabled = self._visible_when_on = enabled
        self.update()

    def update(self) -> None:
        """Say where the sliders stand now."""
        overlay = self._viewer.canvas.overlays.text
        text = self.describe() if self._enabled else ""
        # Hidden, never emptied: vispy crashes the process if it draws words that were taken
        # away. And a user who hides it in napari's own menu means it.
        if text and overlay.text != text:
            overlay.text = text
        if text and not self._is_on:
            overlay.position, overlay.visible = "top_left", self._visible_when_on
        elif self._is_on and not text:
            self._visible_when_on = self._visible_when_on and overlay.visible
            overlay.visible = False
        self._is_on = bool(text)

    def describe(self) -> str:
        """Return the coordinates of all layers that are on show, in words."""
        fixed, sliders = self._coordinates()
        words = [say(name, value) for name, value in fixed.items()]
        return " · ".join([*words, *(say(*sliders[axis]) for axis in sorted(sliders))])

    def sliders(self) -> dict[str, Coordinate]:
        """Return the coordinates at the sliders, of all layers that are on show."""
        _, sliders = self._coordinates()
        return dict(sliders[axis] for axis in sorted(sliders))

    def _coordinates(self) -> tuple[dict[str, Coordinate], dict[int, tuple[str, Coordinate]]]:
        """Return what no slider changes, and what stands at each axis that has one."""
        dims = self._viewer.dims
        fixed, sliders = dict(self._binding.window), dict[int, tuple[str, Coordinate]]()
        for view, layer in self._binding.shown():
            if not layer.visible:
                continue
            in_its_name = dict(view.place.layer)
            fixed |= {n: v for n, v in view.fixed.items() if n not in in_its_name}
            for back, name in enumerate(reversed(view.axes), 1):
                axis = dims.ndim - back
                if name not in view.own_axes or axis < 0 or axis in dims.displayed:
                    continue
                value = view.value_at(name, dims.current_step[axis])
                if value is not None:
                    sliders.setdefault(axis, (name, value))
        return fixed, sliders


def say(name: str, value: Coordinate) -> str:
    """Return one coordinate as a person would write it."""
    number = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{name[:1].upper()}{name[1:]} {number}"
