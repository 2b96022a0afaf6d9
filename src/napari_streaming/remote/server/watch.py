"""What of a viewer changed since somebody last looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_streaming.remote.layer_attributes import EVENTS, kind_of
from napari_streaming.remote.view_attributes import canvas_owners

__all__ = ["Watch"]

_DIMS_EVENTS = {"ndim", "ndisplay", "point", "range", "order", "axis_labels"}
_CAMERA_EVENTS = {"center", "zoom", "angles", "perspective"}


class Watch:
    """Listens to a viewer, and keeps what changed until it is taken.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    on_change : callable
        Called with nothing, in the thread of the viewer, with each change.

    Attributes
    ----------
    order, dims, camera, canvas : bool
        Whether layers came, went or moved; whether something of these changed.
    pointed : bool
        Whether something else may be under the cursor.
    attributes, data, thumbnails : set of napari.layers.Layer
        The layers of which an attribute, the data or the thumbnail changed.
    """

    def __init__(self, viewer: Any, on_change: Callable[[], object]) -> None:
        self._viewer, self._on_change = viewer, on_change
        self._watched: set[Any] = set()
        self.order = self.dims = self.camera = self.canvas = self.pointed = False
        self.attributes: set[Any] = set()
        self.data: set[Any] = set()
        self.thumbnails: set[Any] = set()
        self._connections = [
            (viewer.layers.events.inserted, self._on_layers),
            (viewer.layers.events.removed, self._on_layers),
            (viewer.layers.events.reordered, self._on_layers),
            (viewer.layers.selection.events.changed, self._on_canvas),
            (viewer.layers.selection.events.active, self._on_canvas),
            *((owner.events, self._on_canvas) for owner in canvas_owners(viewer).values()),
            (viewer.dims.events, self._on_dims),
            (viewer.scene.camera.events, self._on_camera),
            (viewer.cursor.events.position, self._on_cursor),
        ]
        for emitter, callback in self._connections:
            emitter.connect(callback)
        self._watch_layers()

    def close(self) -> None:
        """Listen no more."""
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        for layer in self._watched:
            layer.events.disconnect(self._on_layer)
        self._watched.clear()

    def mark(self, layer: Any) -> None:
        """Note that attributes of a layer may have changed: napari does not always say so."""
        self.attributes.add(layer)
        self._on_change()

    def mark_canvas(self) -> None:
        """Note the same of the selection and the overlays."""
        self.canvas = True
        self._on_change()

    def _on_layers(self, _event: Any) -> None:
        self._watch_layers()
        self.order = True
        self._on_change()

    def _watch_layers(self) -> None:
        present = set(self._viewer.layers)
        for layer in self._watched - present:
            layer.events.disconnect(self._on_layer)
            for changed in (self.attributes, self.data, self.thumbnails):
                changed.discard(layer)
        for layer in present - self._watched:
            layer.events.connect(self._on_layer)
        self._watched = present

    def _on_layer(self, event: Any) -> None:
        layer, kind = event.source, kind_of(event.source)
        if kind is None:
            return
        if event.type == "thumbnail":
            self.thumbnails.add(layer)
        elif event.type == "data":
            self.data.add(layer)
            self.attributes.add(layer)
        elif event.type in EVENTS[kind]:
            self.attributes.add(layer)
        else:
            return
        self._on_change()

    def _on_canvas(self, _event: Any) -> None:
        self.mark_canvas()

    def _on_dims(self, event: Any) -> None:
        if event.type in _DIMS_EVENTS:
            self.dims = True
            self._on_cursor(event)

    def _on_camera(self, event: Any) -> None:
        if event.type in _CAMERA_EVENTS:
            self.camera = True
            self._on_change()

    def _on_cursor(self, _event: Any) -> None:
        self.pointed = True
        self._on_change()
