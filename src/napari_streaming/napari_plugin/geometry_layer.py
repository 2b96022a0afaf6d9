"""A streamed layer of points and the like, and the napari layer that shows it.

What the user changes stays changed. The rows come and go, so colours, sizes and widths that all
rows have in common are kept as those of the layer; those of single rows are napari's to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.layers import Layer
from napari.utils.colormaps.standardize_color import transform_color

from napari_streaming.napari_plugin.layer_kinds import MAKE, PUT
from napari_streaming.napari_plugin.layers import geometry
from napari_streaming.napari_plugin.track_view import TrackView, track_view, tracks_in
from napari_streaming.receive.layer_view import LayerView
from napari_streaming.wire.messages import LayerKind

__all__ = ["GeometryLayer"]

_FURTHEST = 1e8  # positions that napari's sliders can count

_OF_ROWS: dict[LayerKind, tuple[str, ...]] = {
    "points": ("face_color", "border_color", "border_width", "size", "symbol"),
    "shapes": ("face_color", "edge_color", "edge_width"),
    "vectors": ("edge_color",),
}
_OF_THE_LAYER: dict[LayerKind, tuple[str, ...]] = {
    "points": ("shading", "antialiasing", "canvas_size_limits", "border_width_is_relative"),
    "shapes": (),
    "vectors": ("edge_width", "length", "vector_style"),
}
_OF_EVERY_LAYER = ("visible", "opacity", "blending")


class GeometryLayer:
    """Keeps one napari layer in step with a streamed one. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
        Gets the layer.
    view : LayerView
        Of points, shapes, tracks, vectors or a surface.

    Attributes
    ----------
    layer : napari.layers.Layer
        Another one after an update that brought a new axis, which napari cannot add to every
        kind of layer.
    """

    def __init__(self, viewer: Any, view: LayerView) -> None:
        self._viewer, self._view = viewer, view
        self._tracks: TrackView | None = None
        self._is_updating = False  # napari moves sliders while a layer changes
        self._looks: dict[str, Any] = {}
        self._current: dict[str, Any] = {}
        self._arrays, self._about = self._moment()
        self.layer = viewer.add_layer(self._make())
        self._note_looks()

    def update(self) -> None:
        """Show what has come since."""
        self._is_updating = True
        try:
            self._update()
        finally:
            self._is_updating = False

    def follow_sliders(self) -> bool:
        """Show other tracks if the sliders stand where others belong; return whether they do."""
        if self._is_updating or self._view.kind != "tracks":
            return False
        if self._tracks == self._tracks_on_show():
            return False
        self.update()
        return True

    def _update(self) -> None:
        before, about_before = self._arrays, self._about
        self._arrays, self._about = self._moment()
        moved = {k: v for k, v in self._about.items() if v != about_before.get(k)}
        if not moved and _equal(before, self._arrays):
            return
        self._note_looks()
        if len(self._about["scale"]) == self.layer.ndim:
            self._place(moved)  # first: what leaves position 0 must not be at all positions
            PUT[self._view.kind](self.layer, self._arrays, before)
        elif self._view.kind in _OF_THE_LAYER:
            self._replace()
        else:
            self.layer.scale = (1.0,) * self.layer.ndim
            PUT[self._view.kind](self.layer, self._arrays, before)
            self._place(self._about)
        self._apply_looks()

    def _make(self) -> Layer:
        stream = self._view.streamed.name
        about = self._about | {"name": self._view.name, "metadata": {"stream": stream}}
        return MAKE[self._view.kind](self._arrays, **about)

    def _place(self, about: Mapping[str, Any]) -> None:
        for name, value in about.items():
            setattr(self.layer, name, value)

    def _replace(self) -> None:
        """Put a new layer in the place of one that cannot get another axis."""
        old, layers = self.layer, self._viewer.layers
        position = layers.index(old)
        selected = [index for index, one in enumerate(layers) if one in layers.selection]
        self.layer = self._make()
        for name in (*_OF_EVERY_LAYER, *_OF_THE_LAYER[self._view.kind]):
            setattr(self.layer, name, getattr(old, name))
        layers.insert(position, self.layer)
        layers.remove(old)
        self.layer.name = old.name
        layers.selection.clear()
        for index in selected:
            layers.selection.add(layers[index])

    # ---- what is shown, and where ------------------------------------------------------

    def _moment(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays to show and what napari is told of their axes, of one moment."""
        with self._view.held_still():
            about = geometry(self._view)
            if self._view.kind == "tracks":
                self._tracks = self._tracks_on_show()
                arrays = tracks_in(self._view, self._tracks)
                about = _only(about, self._tracks.axes)
            else:
                arrays = self._view.geometry()
        on_sliders = arrays["data"][..., :-2]
        if self._view.kind == "tracks":
            on_sliders = on_sliders[:, 1:]
        np.clip(on_sliders, -_FURTHEST, _FURTHEST, out=on_sliders)
        return arrays, about

    def _tracks_on_show(self) -> TrackView:
        layer = getattr(self, "layer", None)
        tail, head = (layer.tail_length, layer.head_length) if layer else (30, 0)
        return track_view(self._view, self._viewer.dims, tail, head)

    # ---- how it looks ------------------------------------------------------------------

    def _note_looks(self) -> None:
        """Note what all rows have in common, or what the user wants the next ones to have."""
        for name in _OF_ROWS.get(self._view.kind, ()):
            rows = np.asarray(getattr(self.layer, name))
            current: Any = getattr(self.layer, f"current_{name}", None)
            is_mapped = getattr(self.layer, f"{name}_mode", "direct") != "direct"
            if is_mapped or (len(rows) and not (rows == rows[0]).all()):
                self._looks.pop(name, None)
            elif name in self._current and not np.array_equal(current, self._current[name]):
                self._looks[name] = current  # in napari's controls, where no row can be selected
            elif len(rows):
                self._looks[name] = rows[0]
        self._make_current()

    def _make_current(self) -> None:
        """Have napari give the next rows the looks that all have."""
        for name in _OF_ROWS.get(self._view.kind, ()):
            if hasattr(self.layer, f"current_{name}"):
                if name in self._looks:
                    setattr(self.layer, f"current_{name}", self._looks[name])
                self._current[name] = getattr(self.layer, f"current_{name}")

    def _apply_looks(self) -> None:
        for name, value in self._looks.items():
            rows = np.asarray(getattr(self.layer, name))
            wanted = transform_color(value)[0] if name.endswith("color") else value
            if len(rows) and not (rows == wanted).all():
                setattr(self.layer, name, value)
        self._make_current()


def _only(about: dict[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """Return what is said of these axes alone."""
    chosen = [about["axis_labels"].index(axis) for axis in axes]
    return {name: tuple(values[i] for i in chosen) for name, values in about.items()}


def _equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one
    )
