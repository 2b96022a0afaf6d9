"""A viewer window of its own for one value of a dimension: "Well A01"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QApplication, QMainWindow

from napari_streaming.napari_plugin.binding import LayerBinding
from napari_streaming.napari_plugin.home_key import HomeKey
from napari_streaming.napari_plugin.overlay import DimensionOverlay, say
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.placement import Fixed

__all__ = ["ValueWindow", "title_of"]


def title_of(window: Fixed) -> str:
    """Return a window's coordinates in words."""
    return " · ".join(say(name, value) for name, value in window)


class ValueWindow:
    """Opens a viewer that shows one window of the placement. Only in the GUI thread.

    Parameters
    ----------
    catalog : Catalog
    window : Fixed
        The coordinates that are shown in it.
    on_follow : callable
        Called with whether this window follows the newest item, when that changes.
    go_live : callable
        Called without arguments when its user presses Home.

    Attributes
    ----------
    binding : LayerBinding
    overlay : DimensionOverlay
    """

    def __init__(
        self,
        catalog: Catalog,
        window: Fixed,
        on_follow: Callable[[bool], None],
        go_live: Callable[[], None],
    ) -> None:
        import napari

        before = QApplication.topLevelWidgets()
        self._viewer: Any = napari.Viewer(title=title_of(window))
        # napari tells nobody when a window is closed: we look whether Qt still shows it.
        self._windows = [
            widget
            for widget in QApplication.topLevelWidgets()
            if isinstance(widget, QMainWindow) and widget not in before
        ]
        self.binding = LayerBinding(self._viewer, catalog, on_follow, window)
        self.overlay = DimensionOverlay(self._viewer, self.binding)
        self._home_key = HomeKey(self._viewer, go_live)

    @property
    def is_open(self) -> bool:
        """Whether the user has not closed it."""
        try:
            return any(widget.isVisible() for widget in self._windows)
        except RuntimeError:  # Qt has deleted it
            return False

    def tick(self) -> None:
        """Bring the viewer up to date."""
        if self.binding.tick():
            self.overlay.update()

    def close(self) -> None:
        """Close the window, if the user has not."""
        self._home_key.close()
        self.overlay.close()
        self.binding.close()
        # Not `Viewer.close()`: after it vispy draws into the other viewers with the wrong context.
        for widget in self._windows if self.is_open else ():
            widget.close()
