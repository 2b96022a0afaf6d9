"""The user's own layers and view, put away while something else is shown, and brought back."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from napari.experimental import link_layers
from napari.layers import Layer
from napari.layers.utils._link_layers import get_linked_layers

from napari_streaming.remote.view_attributes import CANVAS_ATTRIBUTES, canvas_place

__all__ = ["PutAway", "is_put_away"]

_away: WeakSet[Layer] = WeakSet()
_DIMS = ("order", "margin_left", "margin_right", "rollable", "axis_labels", "point", "last_used")
_CAMERA = ("center", "zoom", "angles", "perspective")


def is_put_away(layer: Layer) -> bool:
    """Whether a layer is in no viewer only until it is brought back: nobody removed it."""
    return layer in _away


class PutAway:
    """Takes all layers out of a viewer; the layers themselves stay as they are.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layers = list(viewer.layers)
        self._links = [(layer, get_linked_layers(layer)) for layer in self._layers]
        self._selection = set(viewer.layers.selection)
        self._active = viewer.layers.selection.active
        self._ndisplay = viewer.dims.ndisplay
        self._values = [
            (owner, name, getattr(owner, name)) for owner, names in self._kept() for name in names
        ]
        _away.update(self._layers)
        for layer in reversed(self._layers):
            viewer.layers.remove(layer)

    def bring_back(self) -> None:
        """Put all back, below what is in the viewer now, and look at it as before."""
        viewer = self._viewer
        for index, layer in enumerate(self._layers):
            if layer not in viewer.layers:
                viewer.layers.insert(index, layer)
            _away.discard(layer)
        for layer, others in self._links:
            if others:
                link_layers([layer, *others])
        viewer.layers.selection = self._selection
        viewer.layers.selection.active = self._active
        viewer.dims.ndisplay = self._ndisplay
        for owner, name, value in self._values:
            setattr(owner, name, value)

    def _kept(self) -> list[tuple[Any, tuple[str, ...]]]:
        viewer = self._viewer
        places = [canvas_place(viewer, name) for name in CANVAS_ATTRIBUTES]
        return [
            (viewer.dims, _DIMS),
            (viewer.scene.camera, _CAMERA),
            *((owner, (name,)) for owner, name in places),
        ]
