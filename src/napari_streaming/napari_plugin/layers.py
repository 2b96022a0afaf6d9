"""The napari layer that shows planes, as it is at first; and where any layer lies."""

from __future__ import annotations

import logging
from typing import Any

from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import ensure_colormap

from napari_streaming.receive.layer_view import LayerView, Transform
from napari_streaming.receive.placement import InnerAxis

__all__ = ["geometry", "limits_of", "make_layer", "position"]

logger = logging.getLogger(__name__)

# Along an axis of this scale position 0 is half a pixel away from every slider's position: what
# lies there is shown at all of them.
_EVERYWHERE = 1e9


def make_layer(view: LayerView, data: Any) -> Layer:
    """Return a layer of images or labels for what has come so far."""
    common = {"name": view.name, "metadata": {"stream": view.streamed.name}}
    common |= geometry(view)
    if view.kind == "labels":
        layer: Layer = Labels(data, **common)
        layer.editable = False
    else:
        layer = Image(
            data,
            rgb=view.declare.rgb,
            multiscale=False,
            contrast_limits=None if view.declare.rgb else limits_of(view),
            colormap=None if view.declare.rgb else _colormap(view),
            blending="translucent_no_depth" if view.declare.rgb else "additive",
            **common,
        )
    return layer


def geometry(view: LayerView) -> dict[str, Any]:
    """Return what a napari layer is told of its axes."""
    declare, stacked = view.declare, view.stack_axes
    said = {"axis_labels": view.axes, **position(view, Transform(declare.scale, declare.translate))}
    if declare.units and _known_units(declare.units):
        # Also of points, which stand everywhere: napari wants the same units of all layers.
        lacking = view.lacking
        outer = tuple((lacking[n].unit if n in lacking else "") or "pixel" for n in stacked)
        said["units"] = outer + tuple(declare.units[i] for i in _own(view))
    return said


def position(view: LayerView, transform: Transform) -> dict[str, tuple[float, ...]]:
    """Return scale and translate of a napari layer whose plane on show lies somewhere."""
    lacking, unplaced, own = _lacking(view), view.unplaced, _own(view)
    scale, translate = [], []
    for name in view.stack_axes:
        inner = lacking.get(name)
        scale.append(_EVERYWHERE if name in unplaced else inner.scale if inner else 1.0)
        translate.append(inner.translate if inner else 0.0)
    return {
        "scale": (*scale, *(transform.scale[i] if transform.scale else 1.0 for i in own)),
        "translate": (
            *translate,
            *(transform.translate[i] if transform.translate else 0.0 for i in own),
        ),
    }


def _lacking(view: LayerView) -> dict[str, InnerAxis]:
    """Return the axes of volumes along which planes are the same; points stand everywhere."""
    return view.lacking if view.has_planes else {}


def _own(view: LayerView) -> list[int]:
    """Return which of a layer's own axes have a scale.

    One of the points' own axes that is a stack axis has positions now, without a scale.
    """
    stacked = view.stack_axes
    return [i for i, n in enumerate(view.declare.axes) if view.has_planes or n not in stacked]


def _known_units(units: tuple[str, ...]) -> bool:
    """Whether napari can understand these units; it refuses a layer with others."""
    import pint

    try:
        return all(pint.get_application_registry().Unit(unit) is not None for unit in units)
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, ValueError) as error:
        logger.warning("units %s are shown as pixels: %s", units, error)
        return False


def _colormap(view: LayerView) -> Any:
    """Return the declared colormap, or gray where napari does not know it."""
    try:
        return ensure_colormap(view.declare.colormap or "gray")
    except KeyError:
        logger.warning("%r: unknown colormap %r", view.name, view.declare.colormap)
        return ensure_colormap("gray")


def limits_of(view: LayerView) -> tuple[float, float] | None:
    """Return the contrast limits that an image has as long as nobody has set others."""
    if view.kind != "image" or view.declare.rgb:
        return None
    return view.contrast_limits or (0.0, 1.0)
