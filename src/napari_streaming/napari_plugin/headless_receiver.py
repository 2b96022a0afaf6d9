"""A receiver bound to a viewer that has no window: what a remote server shows."""

from __future__ import annotations

from typing import Any

from napari_streaming.napari_plugin.binding import LayerBinding
from napari_streaming.napari_plugin.overlay import DimensionOverlay
from napari_streaming.receive.receiver import Receiver

__all__ = ["HeadlessReceiver"]


class HeadlessReceiver:
    """Owns a receiver and the layers it makes in a viewer. Only in the viewer's thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel

    Attributes
    ----------
    receiver : Receiver
    """

    def __init__(self, viewer: Any) -> None:
        self.receiver = Receiver()
        self._binding = LayerBinding(viewer, self.receiver.layers, lambda follow: None)
        self._overlay = DimensionOverlay(viewer, self._binding)

    def open(self, url: str) -> str:
        """Listen at, or connect to, a URL; return what publishers are given.

        Raises
        ------
        URLError, TransportError
            It cannot be used.
        """
        return self.receiver.open(url)

    def tick(self) -> None:
        """Bring the viewer up to date."""
        self._binding.changed(self.receiver.layers.take_dirty())
        if self._binding.tick():
            self._overlay.update()

    def close(self) -> None:
        """Disconnect."""
        self._overlay.close()
        self._binding.close()
        self.receiver.close()
