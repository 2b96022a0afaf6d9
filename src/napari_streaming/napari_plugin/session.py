"""A receiver bound to a viewer: what the dock widget shows and drives."""

from __future__ import annotations

from typing import Any

from psygnal import Signal

from napari_streaming.napari_plugin.binding import LayerBinding
from napari_streaming.napari_plugin.home_key import HomeKey
from napari_streaming.napari_plugin.overlay import DimensionOverlay
from napari_streaming.receive.batching import BatchingPolicy
from napari_streaming.receive.receiver import Receiver

__all__ = ["ReceiverSession", "warm_up"]


class ReceiverSession:
    """Owns a receiver and the layers it makes in a viewer. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel

    Attributes
    ----------
    receiver : Receiver
    overlay : DimensionOverlay
        The words on the canvas.
    follow_changed : Signal(bool)
        Whether the viewer follows the newest item.
    """

    follow_changed = Signal(bool)

    def __init__(self, viewer: Any) -> None:
        self.receiver = Receiver()
        self._binding = LayerBinding(viewer, self.receiver.layers, self.follow_changed.emit)
        self.overlay = DimensionOverlay(viewer, self._binding)
        self._home_key = HomeKey(viewer, self._go_live)

    def tick(self) -> None:
        """Bring the viewer up to date."""
        if self._binding.tick():
            self.overlay.update()

    @property
    def follow(self) -> bool:
        """Whether the viewer follows the newest item."""
        return self._binding.follow

    def set_follow(self, follow: bool) -> None:
        """Follow the newest item from now on, or stop to."""
        self._binding.set_follow(follow)

    def _go_live(self) -> None:
        self.set_follow(True)

    @property
    def policy(self) -> BatchingPolicy:
        """How often layers are updated."""
        return self._binding.policy

    def set_policy(self, policy: BatchingPolicy) -> None:
        """Update layers as often as this from now on."""
        self._binding.set_policy(policy)

    def close(self) -> None:
        """Disconnect; the layers stay."""
        self._home_key.close()
        self.overlay.close()
        self._binding.close()
        self.receiver.close()


def warm_up(viewer: Any) -> None:
    """Pay for napari's first image now: a second that the first plane would wait for.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Left alone if it shows layers already: then it is warm.
    """
    import numpy as np

    if viewer.layers:
        return
    overlay = viewer.canvas.overlays.text
    was_visible, text = overlay.visible, overlay.text
    layer = viewer.add_image(np.zeros((2, 8, 8), np.uint16), name="napari-streaming")
    overlay.text, overlay.visible = "T 0", True
    viewer.screenshot(canvas_only=True, flash=False)  # the shaders and the font, too
    viewer.layers.remove(layer)
    # Not empty: vispy crashes the process if it draws words that were taken away.
    overlay.visible, overlay.text = was_visible, text or " "
