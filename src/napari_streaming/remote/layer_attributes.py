"""A napari layer's attributes as plain values, read and written, on either side of a session."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.wire.attributes import LAYER_ATTRIBUTES, Changes, Value
from napari_streaming.wire.messages import LayerKind

__all__ = ["EVENTS", "REFUSALS", "kind_of", "read", "read_all", "short_reason", "write"]

REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What napari and its libraries raise for a value that they cannot take."""

_PER_ITEM: dict[LayerKind, dict[str, str]] = {
    "points": {
        "size": "current_size",
        "symbol": "current_symbol",
        "face_color": "current_face_color",
        "border_color": "current_border_color",
        "border_width": "current_border_width",
    },
    "shapes": {
        "face_color": "current_face_color",
        "edge_color": "current_edge_color",
        "edge_width": "current_edge_width",
    },
    "vectors": {"edge_color": "edge_color"},
}
"""What each point or shape has one of, and what napari calls the value for new ones."""
_NESTED = {
    "plane_position": ("plane", "position"),
    "plane_normal": ("plane", "normal"),
    "plane_thickness": ("plane", "thickness"),
    "wireframe_visible": ("wireframe", "visible"),
}
_PER_AXIS = ("scale", "translate", "units", "axis_labels")
_MATRICES = ("rotate", "affine")
_COLOR_STEPS = 256


def _events(kind: LayerKind) -> dict[str, tuple[str, ...]]:
    events: dict[str, tuple[str, ...]] = {}
    for name in LAYER_ATTRIBUTES[kind]:
        event = _NESTED[name][0] if name in _NESTED else name
        events[event] = (*events.get(event, ()), name)
    for name, current in _PER_ITEM.get(kind, {}).items():
        events[current] = (name,)
    return events


EVENTS: dict[LayerKind, dict[str, tuple[str, ...]]] = {
    kind: _events(kind) for kind in LAYER_ATTRIBUTES
}
"""Which attributes an event of a napari layer is about, by the event's type."""


def kind_of(layer: Any) -> LayerKind | None:
    """Return what kind of layer this is; None if it is none that travels."""
    names = [base.__name__.lower() for base in type(layer).__mro__]
    return next((kind for kind in LAYER_ATTRIBUTES if kind in names), None)


def read_all(layer: Any, kind: LayerKind) -> Changes:
    """Return every attribute that can travel; a few values have no room in a message."""
    values = {}
    for name in LAYER_ATTRIBUTES[kind]:
        try:
            values[name] = read(layer, kind, name)
        except DataError:  # a colour or a matrix too large: the other side has its own
            continue
    return values


def read(layer: Any, kind: LayerKind, name: str, *, current: bool = False) -> Value:
    """Return one attribute.

    Parameters
    ----------
    layer : napari.layers.Layer
    kind : str
    name : str
        One of `LAYER_ATTRIBUTES` of the kind.
    current : bool
        Of points and shapes what napari's controls show, instead of what all of them have in
        common (None: nothing).

    Raises
    ------
    DataError
        There is no such attribute, or its value cannot travel.
    """
    if name not in LAYER_ATTRIBUTES[kind]:
        raise DataError(f"{kind} have no attribute {name[:64]!r}")
    try:
        value: Value = _as_said(kind, name, _plain(layer, kind, name, current))
    except (*REFUSALS, msgspec.ValidationError) as error:
        raise DataError(f"{name}: {error}") from error
    return value


def write(layer: Any, kind: LayerKind, name: str, value: Value) -> None:
    """Set one attribute, for all points or shapes of the layer if each has one.

    Raises
    ------
    DataError
        There is no such attribute, or the value is none for it.
    """
    if name not in LAYER_ATTRIBUTES[kind]:
        raise DataError(f"{kind} have no attribute {name[:64]!r}")
    if value is None:
        raise DataError(f"{name}: None says that it differs, and cannot be set")
    try:
        value = _as_said(kind, name, value)
        _check(layer, name, value)
        _write(layer, kind, name, value)
    except msgspec.ValidationError as error:
        raise DataError(f"{name}: {error}") from None
    except REFUSALS as error:
        raise DataError(f"{name}: {short_reason(error)}") from error


def _as_said(kind: LayerKind, name: str, value: Any) -> Any:
    return msgspec.convert(value, LAYER_ATTRIBUTES[kind][name])


def short_reason(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0][:500]


# ---- reading ---------------------------------------------------------------------------------


def _plain(layer: Any, kind: LayerKind, name: str, current: bool) -> Any:
    if name in _PER_ITEM.get(kind, {}):
        return _of_items(layer, kind, name, current)
    if name in _NESTED:
        outer, inner = _NESTED[name]
        return _builtin(getattr(getattr(layer, outer), inner))
    if name == "colormap" and kind != "tracks":
        return _plain_colormap(layer.colormap)
    if name == "affine":
        return np.asarray(layer.affine.affine_matrix, float).tolist()
    if name == "units":
        return [str(unit) for unit in layer.units]
    return _builtin(getattr(layer, name))


def _of_items(layer: Any, kind: LayerKind, name: str, current: bool) -> Any:
    values = getattr(layer, name)
    if not len(values) or (current and kind != "vectors"):
        value = getattr(layer, _PER_ITEM[kind][name])
        if not len(np.atleast_1d(value)):
            return None
    elif len(values) > 1 and not np.all(np.asarray(values) == np.asarray(values)[:1]):
        return None
    else:
        value = values[0]
    return _color(value) if name.endswith("_color") else _builtin(value)


def _color(value: Any) -> Any:
    if isinstance(value, str):
        from napari.utils.colormaps.standardize_color import transform_color

        value = transform_color(value)[0]
    return np.asarray(value, float).reshape(-1)[:4].tolist()


def _plain_colormap(colormap: Any) -> Any:
    """Return the name of a colormap that any napari has, else its colours."""
    from napari.utils.colormaps.colormap_utils import ALL_COLORMAPS

    known = ALL_COLORMAPS.get(str(colormap.name))
    if known is not None and _looks(known) == _looks(colormap):
        return str(colormap.name)
    if colormap.interpolation == "linear":
        return _looks(colormap)
    # Steps become ramps so short that nobody sees them.
    controls = np.linspace(0, 1, _COLOR_STEPS)
    colors = np.asarray(colormap.map(controls), float)
    return np.column_stack([controls, np.clip(colors, 0, 1)]).tolist()


def _looks(colormap: Any) -> Any:
    controls = np.asarray(colormap.controls, float)
    colors = np.asarray(colormap.colors, float)
    count = min(len(controls), len(colors))  # steps have one control more
    return np.column_stack([controls[:count], np.clip(colors[:count], 0, 1)]).tolist()


def _builtin(value: Any) -> Any:
    """Return what msgspec knows: numbers, texts and lists of them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_builtin(one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


# ---- writing ---------------------------------------------------------------------------------


def _check(layer: Any, name: str, value: Any) -> None:
    """Refuse what napari takes, and then fails to draw."""
    ndim = int(layer.ndim)
    size = ndim + 1 if name == "affine" else ndim
    if name in _PER_AXIS and len(value) != ndim:
        raise ValueError(f"{len(value)} values for {ndim} dimensions")
    if name == "shear" and len(value) != ndim * (ndim - 1) // 2:
        raise ValueError(f"{len(value)} values for {ndim} dimensions")
    if name == "scale" and not all(value):
        raise ValueError("a scale of 0 shows nothing")
    if name in _MATRICES:
        matrix = np.array(value, float)
        if matrix.shape != (size, size):
            raise ValueError(f"a matrix of shape {matrix.shape}, {(size, size)} is due")
        if not abs(np.linalg.det(matrix)) > 1e-12:
            raise ValueError("a matrix that has no inverse")
    if name.startswith("contrast_limits") and not value[0] < value[1]:
        raise ValueError(f"{value[0]} is not below {value[1]}")
    if name == "canvas_size_limits" and not value[0] <= value[1]:
        raise ValueError(f"{value[0]} is above {value[1]}")
    if name == "plane_normal" and not any(value):
        raise ValueError("a direction without a length")


def _write(layer: Any, kind: LayerKind, name: str, value: Any) -> None:
    if name in _PER_ITEM.get(kind, {}):
        _write_items(layer, kind, name, value)
    elif name in _NESTED:
        outer, inner = _NESTED[name]
        setattr(getattr(layer, outer), inner, value)
    elif name == "colormap" and not isinstance(value, str):
        layer.colormap = _made_colormap(value)
    elif name == "color_by":
        if value not in layer.properties:
            raise ValueError(f"there is no property {value!r}")
        layer.color_by = value
    elif name in _MATRICES:
        setattr(layer, name, np.array(value, float))
    else:
        setattr(layer, name, value)


def _write_items(layer: Any, kind: LayerKind, name: str, value: Any) -> None:
    given = np.array(value, float) if name.endswith("_color") else value
    if len(getattr(layer, name)):
        setattr(layer, name, given)
    if kind != "vectors":
        setattr(layer, _PER_ITEM[kind][name], given)


def _made_colormap(stops: list[tuple[float, float, float, float, float]]) -> Any:
    from napari.utils.colormaps import Colormap

    table = np.array(stops, float)
    return Colormap(colors=table[:, 1:], controls=table[:, 0], name="of the session")
