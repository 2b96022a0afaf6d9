"""The napari layer of each kind that shows a streamed layer, as it is at first."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
from napari.layers import Image, Labels, Layer, Points
from napari.utils.colormaps import ensure_colormap

from napari_streaming.receive.catalog import StreamedLayer

__all__ = ["geometry", "limits_of", "make_layer"]

logger = logging.getLogger(__name__)


def make_layer(streamed: StreamedLayer, data: Any) -> Layer:
    """Return a layer for what has come so far."""
    common = {"name": streamed.name, "metadata": {"stream": streamed.name}}
    common |= geometry(streamed)
    if streamed.kind == "points":
        points, columns = streamed.points()
        layer: Layer = Points(
            points,
            features=pd.DataFrame(columns),
            size=8,
            face_color="transparent",
            border_color="yellow",
            border_width=0.15,
            **common,
        )
    elif streamed.kind == "labels":
        layer = Labels(data, **common)
        layer.editable = False
    else:
        layer = Image(
            data,
            rgb=streamed.declare.rgb,
            multiscale=False,
            contrast_limits=None if streamed.declare.rgb else limits_of(streamed),
            colormap=None if streamed.declare.rgb else _colormap(streamed),
            blending="translucent_no_depth" if streamed.declare.rgb else "additive",
            **common,
        )
    return layer


def geometry(streamed: StreamedLayer) -> dict[str, Any]:
    """Return what a napari layer is told of its axes."""
    declare, stacked = streamed.declare, len(streamed.stack_axes)
    own = len(declare.axes)
    geometry: dict[str, Any] = {
        "axis_labels": streamed.axes,
        "scale": (1.0,) * stacked + (declare.scale or (1.0,) * own),
        "translate": (0.0,) * stacked + (declare.translate or (0.0,) * own),
    }
    if declare.units and _known_units(declare.units):
        geometry["units"] = ("pixel",) * stacked + declare.units
    return geometry


def _known_units(units: tuple[str, ...]) -> bool:
    """Whether napari can understand these units; it refuses a layer with others."""
    import pint

    try:
        return all(pint.get_application_registry().Unit(unit) is not None for unit in units)
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, ValueError) as error:
        logger.warning("units %s are shown as pixels: %s", units, error)
        return False


def _colormap(streamed: StreamedLayer) -> Any:
    """Return the declared colormap, or gray where napari does not know it."""
    try:
        return ensure_colormap(streamed.declare.colormap or "gray")
    except KeyError:
        logger.warning("%r: unknown colormap %r", streamed.name, streamed.declare.colormap)
        return ensure_colormap("gray")


def limits_of(streamed: StreamedLayer) -> tuple[float, float] | None:
    """Return the contrast limits that an image has as long as nobody has set others."""
    if streamed.kind != "image" or streamed.declare.rgb:
        return None
    return streamed.contrast_limits or (0.0, 1.0)
