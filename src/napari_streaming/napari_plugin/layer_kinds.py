"""A napari layer of points, shapes, tracks, vectors or a surface: made, and given new data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Layer, Points, Shapes, Surface, Tracks, Vectors

from napari_streaming.wire.messages import FEATURE_PREFIX, SHAPE_TYPES, LayerKind

__all__ = ["MAKE", "PUT"]

logger = logging.getLogger(__name__)

_TYPE_NAMES = np.array(list(SHAPE_TYPES))

Arrays = Mapping[str, np.ndarray]


def _make_points(arrays: Arrays, **about: Any) -> Layer:
    return Points(
        arrays["data"],
        features=_table(arrays),
        size=8,
        face_color="transparent",
        border_color="yellow",
        border_width=0.15,
        **about,
    )


def _put_points(layer: Layer, arrays: Arrays, before: Arrays) -> None:
    layer.selected_data = set()
    layer.data = arrays["data"]
    layer.features = _table(arrays)


def _make_shapes(arrays: Arrays, **about: Any) -> Layer:
    layer = Shapes(
        ndim=arrays["data"].shape[1], edge_color="yellow", face_color="transparent", **about
    )
    _add_shapes(layer, arrays, 0)
    layer.editable = False
    layer.events.editable.connect(_not_by_hand)
    return layer


def _not_by_hand(event: Any) -> None:
    """Undo what napari allows with each view in 2-D: a drawn shape would go with the next data."""
    event.source.editable = False


def _put_shapes(layer: Layer, arrays: Arrays, before: Arrays) -> None:
    """Build only what is new: each polygon costs napari more than all else together."""
    same = _same_shapes(before, arrays) if layer.nshapes == len(before["types"]) else 0
    layer.selected_data = set()
    if same < layer.nshapes:
        layer.remove(list(range(same, layer.nshapes)))
    _add_shapes(layer, arrays, same)


def _add_shapes(layer: Layer, arrays: Arrays, first: int) -> None:
    """Add shapes from the first one on, which look like those that are there."""
    vertices = np.split(arrays["data"], arrays["offsets"][1:-1])[first:]
    types = _TYPE_NAMES[arrays["types"][first:]].tolist()
    if types:
        with layer.block_thumbnail_update():
            try:
                layer.add(vertices, shape_type=types)
            except RuntimeError:  # an outline that napari cannot fill
                vertices, types = _outlined(vertices, types)
                layer.add(vertices, shape_type=types)
    layer.features = _table(arrays)
    if layer.edge_color_mode != "direct" or layer.face_color_mode != "direct":
        layer.refresh_colors()


def _outlined(vertices: list[np.ndarray], types: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Return shapes with closed paths in the place of polygons that napari cannot fill."""
    for index, (outline, kind) in enumerate(zip(vertices, types, strict=True)):
        if kind != "polygon":
            continue
        try:
            Shapes([outline], shape_type="polygon")
        except RuntimeError:
            logger.warning("a polygon that napari cannot fill is shown as a path")
            vertices[index], types[index] = np.vstack([outline, outline[:1]]), "path"
    return vertices, types


def _same_shapes(before: Arrays, after: Arrays) -> int:
    """Return how many shapes, from the first on, are what they were."""
    count = min(len(before["types"]), len(after["types"]))
    same = (before["types"][:count] == after["types"][:count]) & (
        before["offsets"][1 : count + 1] == after["offsets"][1 : count + 1]
    )
    count = count if same.all() else int(same.argmin())
    end = after["offsets"][count]
    moved = (before["data"][:end] != after["data"][:end]).any(axis=1)
    if not moved.any():
        return count
    return int(np.searchsorted(after["offsets"], moved.argmax(), side="right")) - 1


def _make_vectors(arrays: Arrays, **about: Any) -> Layer:
    return Vectors(
        arrays["data"],
        features=_table(arrays),
        edge_color="yellow",
        vector_style="arrow",
        **about,
    )


def _put_vectors(layer: Layer, arrays: Arrays, before: Arrays) -> None:
    layer.data = arrays["data"]
    layer.features = _table(arrays)
    if layer.edge_color_mode != "direct":
        layer.refresh_colors()


def _make_surface(arrays: Arrays, **about: Any) -> Layer:
    data = _surface(arrays)
    return Surface(data, contrast_limits=_limits(data[2]), colormap="viridis", **about)


def _put_surface(layer: Layer, arrays: Arrays, before: Arrays) -> None:
    untouched = tuple(layer.contrast_limits) == _limits(_surface(before)[2])
    layer.data = data = _surface(arrays)
    if untouched:
        low, high = limits = _limits(data[2])
        range_low, range_high = layer.contrast_limits_range
        layer.contrast_limits_range = min(low, range_low), max(high, range_high)
        layer.contrast_limits = limits


def _surface(arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what napari calls a surface; one vertex without a face if there is none."""
    vertices, faces, values = arrays["data"], arrays["faces"], arrays["values"]
    if len(vertices):
        return vertices, faces, values
    return np.zeros((1, vertices.shape[1]), np.float32), faces, np.ones(1, np.float32)


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def _make_tracks(arrays: Arrays, **about: Any) -> Layer:
    layer = Tracks(arrays["data"], features=_table(arrays), **about)
    layer.graph = _graph(arrays)
    return layer


def _put_tracks(layer: Layer, arrays: Arrays, before: Arrays) -> None:
    colour = layer.color_by
    if colour != "track_id":  # napari would warn that the features are gone for a moment
        layer.color_by = "track_id"
    layer.data = arrays["data"]
    layer.features = _table(arrays)
    layer.graph = _graph(arrays)
    if colour != "track_id":
        layer.color_by = colour


def _graph(arrays: Arrays) -> dict[int, list[int]]:
    graph: dict[int, list[int]] = {}
    for child, parent in arrays["graph"].tolist():
        graph.setdefault(child, []).append(parent)
    return graph


def _table(arrays: Arrays) -> pd.DataFrame:
    """Return the features as napari wants them."""
    return pd.DataFrame(
        {
            name.removeprefix(FEATURE_PREFIX): column
            for name, column in arrays.items()
            if name.startswith(FEATURE_PREFIX)
        }
    )


MAKE: dict[LayerKind, Callable[..., Layer]] = {
    "points": _make_points,
    "shapes": _make_shapes,
    "vectors": _make_vectors,
    "surface": _make_surface,
    "tracks": _make_tracks,
}
"""Make a layer of a kind from arrays, and from what napari is told of its axes."""

PUT: dict[LayerKind, Callable[[Layer, Arrays, Arrays], None]] = {
    "points": _put_points,
    "shapes": _put_shapes,
    "vectors": _put_vectors,
    "surface": _put_surface,
    "tracks": _put_tracks,
}
"""Give a layer of a kind arrays in the place of those that it was given before."""
