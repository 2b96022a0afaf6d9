"""A viewer's dimensions, camera and overlays as plain values, read and written, on either side."""

from __future__ import annotations

from typing import Any, Literal

from napari_streaming.errors import DataError
from napari_streaming.remote.layer_attributes import REFUSALS, short_reason
from napari_streaming.wire.attributes import (
    CAMERA_ATTRIBUTES,
    DIMS_ATTRIBUTES,
    SCENE_ATTRIBUTES,
    Changes,
    Value,
    check_changes,
)
from napari_streaming.wire.scene import Camera, Dims

__all__ = [
    "CANVAS_ATTRIBUTES",
    "ViewTarget",
    "camera_of",
    "canvas_of",
    "canvas_owners",
    "canvas_place",
    "check_view",
    "dims_of",
    "write_camera",
    "write_canvas",
    "write_dims",
]

_LONGEST_TEXT = 65536
ViewTarget = Literal["dims", "camera", "scene"]
_ATTRIBUTES = {"dims": DIMS_ATTRIBUTES, "camera": CAMERA_ATTRIBUTES, "scene": SCENE_ATTRIBUTES}
CANVAS_ATTRIBUTES = tuple(name for name in SCENE_ATTRIBUTES if name not in ("selected", "active"))


def check_view(target: ViewTarget, changes: Changes) -> Changes:
    """Return changes with each value of its attribute's type; raises DataError."""
    return check_changes(_ATTRIBUTES[target], changes)


# ---- reading ---------------------------------------------------------------------------------


def dims_of(viewer: Any) -> Dims:
    """Return what is sliced where."""
    dims = viewer.dims
    return Dims(
        ndim=dims.ndim,
        ndisplay=dims.ndisplay,
        point=tuple(float(value) for value in dims.point),
        range=tuple((float(r.start), float(r.stop), float(r.step)) for r in dims.range),
        order=tuple(int(axis) for axis in dims.order),
        axis_labels=tuple(str(label)[:256] for label in dims.axis_labels),
    )


def camera_of(viewer: Any) -> Camera:
    """Return where the scene is looked at from."""
    camera = viewer.scene.camera
    z, y, x = (float(value) for value in camera.center)
    first, second, third = (float(value) for value in camera.angles)
    return Camera(
        center=(z, y, x),
        zoom=float(camera.zoom),
        angles=(first, second, third),
        perspective=float(camera.perspective),
    )


def canvas_of(viewer: Any) -> Changes:
    """Return what is drawn beside the layers."""
    return {name: _plain(getattr(*canvas_place(viewer, name))) for name in CANVAS_ATTRIBUTES}


def canvas_owners(viewer: Any) -> dict[str, Any]:
    """Return what of napari has `CANVAS_ATTRIBUTES`, by how their names begin."""
    overlays = viewer.canvas.overlays
    return {
        "axes": viewer.scene.overlays.axes,
        "canvas_axes": overlays.axes,
        "scale_bar": overlays.scale_bar,
        "text_overlay": overlays.text,
        "current_slice": overlays.current_slice,
        "grid": viewer.canvas.grid,
    }


def canvas_place(viewer: Any, name: str) -> tuple[Any, str]:
    """Return what of napari has one of `CANVAS_ATTRIBUTES`, and how it calls it."""
    owner, _, attribute = name.rpartition("_")
    return canvas_owners(viewer)[owner], attribute


def _plain(value: Any) -> Value:
    if isinstance(value, tuple):
        return [int(one) for one in value]
    return value[:_LONGEST_TEXT] if isinstance(value, str) else value


# ---- writing ---------------------------------------------------------------------------------


def write_dims(viewer: Any, name: str, value: Value) -> None:
    """Set one of `DIMS_ATTRIBUTES`; napari moves a point that is out of range to its end.

    Raises
    ------
    DataError
        There is no such attribute, or the value is none for it.
    """
    value = check_view("dims", {name: value})[name]
    dims = viewer.dims
    if name == "point" and len(value) != dims.ndim:  # type: ignore[arg-type]
        raise DataError(f"point: {len(value)} values for {dims.ndim} dimensions")  # type: ignore[arg-type]
    if name == "order" and sorted(value) != list(range(dims.ndim)):  # type: ignore[arg-type,type-var]
        raise DataError(f"order: {value} are not the {dims.ndim} dimensions")
    _set(dims, name, value)


def write_camera(viewer: Any, name: str, value: Value) -> None:
    """Set one of `CAMERA_ATTRIBUTES`; raises DataError."""
    _set(viewer.scene.camera, name, check_view("camera", {name: value})[name])


def write_canvas(viewer: Any, name: str, value: Value) -> None:
    """Set one of `CANVAS_ATTRIBUTES`; raises DataError."""
    value = check_view("scene", {name: value})[name]
    _set(*canvas_place(viewer, name), value)


def _set(owner: Any, name: str, value: Any) -> None:
    try:
        setattr(owner, name, value)
    except REFUSALS as error:
        raise DataError(f"{name}: {short_reason(error)}") from error
