"""A client's wish to change attributes: carried out as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_streaming.errors import DataError, IntentError
from napari_streaming.remote.layer_attributes import kind_of, read, write
from napari_streaming.remote.view_attributes import (
    camera_of,
    canvas_of,
    check_view,
    dims_of,
    write_camera,
    write_canvas,
    write_dims,
)
from napari_streaming.wire.attributes import Changes, Value
from napari_streaming.wire.remote import IntentTarget

__all__ = ["apply_changes"]


def apply_changes(
    viewer: Any, ids: Mapping[Any, int], target: IntentTarget, changes: Changes, layer: Any = None
) -> None:
    """Change attributes; if one of them cannot be, all are what they were.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    ids : mapping of napari.layers.Layer to int
    target : str
    changes : dict
        Values by attribute.
    layer : napari.layers.Layer, optional
        If the target is "layer".

    Raises
    ------
    IntentError
        Says which value was refused, and why.
    """
    done: Changes = {}
    try:
        for name, value in changes.items():
            before = _read(viewer, ids, target, name, layer)
            # Before it is tried: napari may raise when half of it is done.
            done[name] = before
            _write(viewer, ids, target, name, value, layer)
    except DataError as error:
        for name, value in reversed(done.items()):
            if value is not None:
                _write(viewer, ids, target, name, value, layer)
        raise IntentError(str(error)) from error


def _read(
    viewer: Any, ids: Mapping[Any, int], target: IntentTarget, name: str, layer: Any
) -> Value:
    if target == "layer":
        kind = kind_of(layer)
        assert kind is not None
        return read(layer, kind, name)
    if target == "dims":
        return _get({"point": None, "order": None, "ndisplay": None}, dims_of(viewer), name)
    if target == "camera":
        camera = camera_of(viewer)
        return _get(dict.fromkeys(camera.__struct_fields__), camera, name)
    if name in ("selected", "active"):
        selection = viewer.layers.selection
        if name == "active":
            return ids.get(selection.active)
        return [ids[layer] for layer in selection if layer in ids]
    values = canvas_of(viewer)
    if name not in values:
        raise DataError(f"there is no attribute {name[:64]!r} here")
    return values[name]


def _get(names: Mapping[str, None], struct: Any, name: str) -> Value:
    if name not in names:
        raise DataError(f"there is no attribute {name[:64]!r} here")
    value: Value = getattr(struct, name)
    return value


def _write(
    viewer: Any, ids: Mapping[Any, int], target: IntentTarget, name: str, value: Value, layer: Any
) -> None:
    if target == "layer":
        kind = kind_of(layer)
        assert kind is not None
        write(layer, kind, name, value)
    elif target == "dims":
        write_dims(viewer, name, value)
    elif target == "camera":
        write_camera(viewer, name, value)
    elif name in ("selected", "active"):
        _select(viewer, ids, name, value)
    else:
        write_canvas(viewer, name, value)


def _select(viewer: Any, ids: Mapping[Any, int], name: str, value: Value) -> None:
    checked: Any = check_view("scene", {name: value})[name]
    wanted = checked if name == "selected" else [] if checked is None else [checked]
    layers = {id_: layer for layer, id_ in ids.items()}
    missing = [id_ for id_ in wanted if id_ not in layers]
    if missing:
        raise DataError(f"there is no layer {missing[0]} (any more)")
    selection = viewer.layers.selection
    if name == "selected":
        selection.symmetric_difference_update(selection ^ {layers[id_] for id_ in wanted})
    else:
        selection.active = layers[wanted[0]] if wanted else None
