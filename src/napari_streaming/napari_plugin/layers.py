"""The napari layer that shows planes, as it is at first; and where any layer lies."""

from __future__ import annotations

import logging
from typing import Any

from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import ensure_colormap

from napari_streaming.receive.catalog import StreamedLayer

__all__ = ["geometry", "limits_of", "make_layer"]

logger = logging.getLogger(__name__)

# Along an axis of this scale position 0 is half a pixel away from every slider's position: what
# lies there is shown at all of them.
_EVERYWHERE = 1e9


def make_layer(streamed: StreamedLayer, data: Any) -> Layer:
    """Return a layer of images or labels for what has come so far."""
    common = {"name": streamed.name, "metadata": {"stream": streamed.name}}
    common |= geometry(streamed)
    if streamed.kind == "labels":
        layer: Layer = Labels(data, **common)
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
    declare, stacked = streamed.declare, streamed.stack_axes
    # One of the points' own axes that is a stack axis has positions now, without a scale.
    own = [i for i, n in enumerate(declare.axes) if streamed.has_planes or n not in stacked]
    geometry: dict[str, Any] = {
        "axis_labels": streamed.axes,
        "scale": tuple(_EVERYWHERE if name in streamed.unplaced else 1.0 for name in stacked)
        + tuple(declare.scale[i] if declare.scale else 1.0 for i in own),
        "translate": (0.0,) * len(stacked)
        + tuple(declare.translate[i] if declare.translate else 0.0 for i in own),
    }
    if declare.units and _known_units(declare.units):
        geometry["units"] = ("pixel",) * len(stacked) + tuple(declare.units[i] for i in own)
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
