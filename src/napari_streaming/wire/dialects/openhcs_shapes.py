"""Shapes and points as OpenHCS senders write them, as arrays like those of an Item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_streaming.errors import MalformedError
from napari_streaming.wire.dialects.openhcs_messages import Figure
from napari_streaming.wire.messages import FEATURE_PREFIX, SHAPE_TYPES, FeatureDtype, LayerKind

__all__ = ["FEATURES", "figure_sets"]

FEATURES: dict[str, FeatureDtype] = {"label": "U", "area": "<f8"}
"""The columns of all shapes and points."""
_NUMBERS = {name: number for number, name in enumerate(SHAPE_TYPES)}
_ALIASES = {"polyline": "path", "point": "points"}
_LONGEST_LABEL = 256


def figure_sets(
    figures: Sequence[Figure], wanted: LayerKind
) -> dict[LayerKind, dict[str, np.ndarray]]:
    """Return the arrays of shapes, and those of points, by kind.

    Points among shapes are a set of their own: a shape is no point. A polygon or a path of
    fewer vertices than it needs, which OpenHCS's own clean-up leaves of tiny ones, is
    shown as the line that it is.

    Parameters
    ----------
    figures : sequence of Figure
    wanted : {"shapes", "points"}
        What the sender calls them; a set of this kind is there, be it empty.

    Raises
    ------
    MalformedError
        One of them is no shape; the message says which and why.
    """
    vertices: list[np.ndarray] = [np.empty((0, 2))]
    types, of_shapes, of_points = list[int](), list[Figure](), list[Figure]()
    points: list[np.ndarray] = [np.empty((0, 2))]
    for number, figure in enumerate(figures):
        try:
            kind, coordinates = _outline(figure)
        except (ValueError, TypeError, OverflowError) as error:
            raise MalformedError(f"shapes[{number}]: {error}"[:500]) from None
        if kind == "points":
            points.append(coordinates)
            of_points += [figure] * len(coordinates)
        else:
            vertices.append(coordinates)
            types.append(_NUMBERS[kind])
            of_shapes.append(figure)
    sets: dict[LayerKind, dict[str, np.ndarray]] = {}
    if types or wanted == "shapes":
        ends = np.cumsum([len(outline) for outline in vertices])
        sets["shapes"] = {
            "data": np.concatenate(vertices),
            "offsets": ends.astype("<i8"),
            "types": np.array(types, np.uint8),
        } | _features(of_shapes)
    if of_points or wanted == "points":
        sets["points"] = {"data": np.concatenate(points)} | _features(of_points)
    return sets


def _outline(figure: Figure) -> tuple[str, np.ndarray]:
    """Return the type and the vertices of one shape; `ValueError` if it is none."""
    kind = _ALIASES.get(figure.type, figure.type)
    if kind != "points" and kind not in SHAPE_TYPES:
        raise ValueError(f"type {figure.type!r} is not known")
    if figure.coordinates is None and kind == "ellipse" and figure.center and figure.radii:
        corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], float)
        coordinates = np.array(figure.center) + corners * np.array(figure.radii)
    elif figure.coordinates is None:
        raise ValueError(f"a {kind} without 'coordinates'")
    else:
        coordinates = np.array(figure.coordinates, float)
    if kind == "points":
        coordinates = coordinates.reshape(-1, 2) if coordinates.ndim == 1 else coordinates
    if coordinates.ndim != 2 or coordinates.shape[1] != 2:
        raise ValueError(f"coordinates of shape {coordinates.shape}, needed are pairs (y, x)")
    if not np.isfinite(coordinates).all():
        raise ValueError("coordinates that are not finite")
    if kind == "points":
        return kind, coordinates
    if kind in ("polygon", "path") and 0 < len(coordinates) < 3:
        return "line", coordinates[[0, -1]]
    fewest, most = SHAPE_TYPES[kind]
    if not fewest <= len(coordinates) <= most:
        raise ValueError(f"a {kind} with {len(coordinates)} vertices")
    return kind, coordinates


def _features(figures: Sequence[Figure]) -> dict[str, np.ndarray]:
    labels = [_label(figure.metadata) for figure in figures]
    areas = [_number(figure.metadata.get("area")) for figure in figures]
    return {
        f"{FEATURE_PREFIX}label": np.array(labels or [""], "U")[: len(labels)],
        f"{FEATURE_PREFIX}area": np.array(areas, float),
    }


def _label(metadata: Mapping[str, Any]) -> str:
    label = metadata.get("label")
    return "" if label is None else str(label)[:_LONGEST_LABEL]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
