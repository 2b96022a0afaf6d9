"""What of a remote layer travels: a closed list of attributes for each kind, with their types.

An attribute is called as in napari. A value that differs between the points or shapes of a layer
travels as None, and is then nothing that can be set.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from napari_streaming.errors import DataError
from napari_streaming.wire.messages import LayerKind

__all__ = [
    "CAMERA_ATTRIBUTES",
    "DIMS_ATTRIBUTES",
    "LAYER_ATTRIBUTES",
    "SCENE_ATTRIBUTES",
    "Changes",
    "Finite",
    "Value",
    "check_changes",
]

Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=65536)]
Scalar = bool | Int | float | Text | None
Value = (
    Scalar
    | Annotated[
        list[
            Scalar
            | Annotated[
                list[Scalar | Annotated[list[Scalar], Meta(max_length=1024)]],
                Meta(max_length=1024),
            ]
        ],
        Meta(max_length=1024),
    ]
)
"""What an attribute may hold: at most three lists inside each other."""
Changes = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Value], Meta(max_length=64)
]
"""Attributes and their new values."""

Short = Annotated[str, Meta(max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Finite = Annotated[float, Meta(ge=-1e100, le=1e100)]  # bounds leave NaN out, too
Positive = Annotated[float, Meta(gt=0, le=1e100)]
Amount = Annotated[float, Meta(ge=0, le=1e100)]
Unit = Annotated[float, Meta(ge=0, le=1)]
Limits = tuple[Finite, Finite]
Point = tuple[Finite, Finite, Finite]
Numbers = Annotated[list[Finite], Meta(max_length=16)]
Matrix = Annotated[list[Numbers], Meta(max_length=17)]
Texts = Annotated[list[Short], Meta(max_length=16)]
Axes = Annotated[list[Annotated[int, Meta(ge=0, lt=16)]], Meta(max_length=16)]
LayerIds = Annotated[list[Annotated[int, Meta(ge=1, le=2**32 - 1)]], Meta(max_length=1024)]
LayerId = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Color = tuple[Unit, Unit, Unit, Unit]
Stop = tuple[Unit, Unit, Unit, Unit, Unit]
Stops = Annotated[list[Stop], Meta(min_length=2, max_length=1024)]
Colormap = Name | Stops
Length = Annotated[int, Meta(ge=0, le=2**31 - 1)]

_COMMON: dict[str, Any] = {
    "name": Name,
    "visible": bool,
    "opacity": Unit,
    "blending": Short,
    "scale": Numbers,
    "translate": Numbers,
    "rotate": Matrix,
    "shear": Numbers,
    "affine": Matrix,
    "units": Texts,
    "axis_labels": Texts,
    "projection_mode": Short,
}
_VOLUME: dict[str, Any] = {
    "rendering": Short,
    "depiction": Short,
    "plane_position": Point,
    "plane_normal": Point,
    "plane_thickness": Positive,
}
_SCALED: dict[str, Any] = {
    "colormap": Colormap,
    "contrast_limits": Limits,
    "contrast_limits_range": Limits,
    "gamma": Positive,
}
LAYER_ATTRIBUTES: dict[LayerKind, dict[str, Any]] = {
    "image": {
        **_COMMON,
        **_SCALED,
        **_VOLUME,
        "interpolation2d": Short,
        "interpolation3d": Short,
        "iso_threshold": Finite,
        "attenuation": Finite,
    },
    "labels": {
        **_COMMON,
        **_VOLUME,
        "selected_label": Int,
        "show_selected_label": bool,
        "contour": Length,
        "iso_gradient_mode": Short,
    },
    "points": {
        **_COMMON,
        "size": Amount | None,
        "symbol": Short | None,
        "face_color": Color | None,
        "border_color": Color | None,
        "border_width": Amount | None,
        "border_width_is_relative": bool,
        "antialiasing": Amount,
        "shading": Short,
        "canvas_size_limits": Limits,
    },
    "shapes": {
        **_COMMON,
        "face_color": Color | None,
        "edge_color": Color | None,
        "edge_width": Amount | None,
    },
    "tracks": {
        **_COMMON,
        "colormap": Name,
        "color_by": Short,
        "tail_width": Amount,
        "tail_length": Length,
        "head_length": Length,
        "display_id": bool,
        "display_tail": bool,
        "display_graph": bool,
        "hide_completed_tracks": bool,
    },
    "vectors": {
        **_COMMON,
        "edge_color": Color | None,
        "edge_width": Amount,
        "length": Finite,
        "vector_style": Short,
    },
    "surface": {**_COMMON, **_SCALED, "shading": Short, "wireframe_visible": bool},
}
"""The attributes of each kind of layer, and the type of each value."""
DIMS_ATTRIBUTES: dict[str, Any] = {
    "point": Numbers,
    "order": Axes,
    "ndisplay": Annotated[int, Meta(ge=2, le=3)],
}
CAMERA_ATTRIBUTES: dict[str, Any] = {
    "center": Point,
    "zoom": Positive,
    "angles": Point,
    "perspective": Amount,
}
_AXES = ("colored", "labels", "dashed", "arrows")
SCENE_ATTRIBUTES: dict[str, Any] = {
    "selected": LayerIds,
    "active": LayerId | None,
    **{f"axes_{name}": bool for name in ("visible", *_AXES)},
    **{f"canvas_axes_{name}": bool for name in ("visible", *_AXES, "box")},
    **{f"scale_bar_{name}": bool for name in ("visible", "colored", "ticks", "box")},
    "text_overlay_visible": bool,
    "text_overlay_text": Text,
    "current_slice_visible": bool,
    "grid_enabled": bool,
    "grid_stride": Int,
    "grid_shape": tuple[Int, Int],
}


def check_changes(attributes: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with each value of its attribute's type.

    Parameters
    ----------
    attributes : dict
        What there is: `LAYER_ATTRIBUTES` of a kind, `DIMS_ATTRIBUTES` and so on.
    changes : dict
        Values by attribute.

    Returns
    -------
    dict
        The same, with pairs, points and colours as tuples and ints as floats where these are due.

    Raises
    ------
    DataError
        There is no such attribute, or the value is none for it; says which and why.
    """
    checked = {}
    for name, value in changes.items():
        if name not in attributes:
            raise DataError(f"there is no attribute {name[:64]!r} here")
        try:
            checked[name] = msgspec.convert(value, attributes[name])
        except msgspec.ValidationError as error:
            raise DataError(f"{name}: {error}") from None
    return checked
