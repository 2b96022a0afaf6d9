"""The Home key of a viewer, as long as nobody else has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["HomeKey"]

_HOME = "Home"


class HomeKey:
    """Has the Home key do something in a viewer.

    napari 0.9 has no use for it, but the user may (*Preferences → Shortcuts*), or another
    plugin: then it stays theirs.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
    pressed : callable
        Without arguments.
    """

    def __init__(self, viewer: Any, pressed: Callable[[], None]) -> None:
        self._viewer, self._pressed = viewer, pressed
        taken = [viewer.keymap, *(vars(cls).get("class_keymap", {}) for cls in _classes(viewer))]
        self._ours = not any(_HOME in map(str, keymap) for keymap in taken)
        if self._ours:
            viewer.bind_key(_HOME, self._on_press)

    def close(self) -> None:
        """Give it back."""
        if self._ours:
            self._ours = False
            self._viewer.bind_key(_HOME, None)

    def _on_press(self, _viewer: Any) -> None:
        self._pressed()


def _classes(viewer: Any) -> tuple[type, ...]:
    """Return the classes of a viewer, which may hide behind napari's proxy."""
    return tuple(viewer.__class__.__mro__)
