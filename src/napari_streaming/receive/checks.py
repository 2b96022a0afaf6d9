"""What a publisher says, held against itself: declarations, and items against them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from napari_streaming.wire.messages import (
    FEATURE_PREFIX,
    PLANE_KINDS,
    SHAPE_TYPES,
    Array,
    Declare,
    Item,
    LayerKind,
)

__all__ = ["contradiction", "garbled", "mismatch"]

_OPTIONAL = ("graph", "values")
_MAX_TRACK = 2**53  # above, not every integer is a float64


def contradiction(declare: Declare) -> str:
    """Return what in a declaration contradicts the rest of it, or nothing."""
    kind, ndim, dtype = declare.kind, len(declare.axes), np.dtype(declare.dtype)
    if ndim < 2 or len(set(declare.axes)) != ndim:
        return f"axes {declare.axes}: at least two different ones are needed"
    if kind not in PLANE_KINDS:
        if declare.shape != (ndim,):
            return f"{kind} of shape {declare.shape} for axes {declare.axes}"
        if kind == "tracks" and ndim not in (3, 4):
            return f"tracks along axes {declare.axes}: time and two or three more are needed"
    elif len(declare.shape) != ndim + declare.rgb or 0 in declare.shape:
        return f"planes of shape {declare.shape} for axes {declare.axes}"
    if declare.rgb and (kind != "image" or declare.shape[-1] not in (3, 4)):
        return f"{kind} of shape {declare.shape} cannot be rgb"
    if dtype.kind not in ("iu" if kind == "labels" else "biuf"):
        return f"{kind} of dtype {declare.dtype}"
    if declare.features and kind in (*PLANE_KINDS, "surface"):
        return f"{kind} with features"
    for what in ("scale", "translate", "units"):
        if len(getattr(declare, what)) not in (0, ndim):
            return f"{what} {getattr(declare, what)} for axes {declare.axes}"
    limits = declare.contrast_limits or (0.0, 1.0)
    if not (0.0 not in declare.scale and np.isfinite(declare.scale + declare.translate).all()):
        return f"scale {declare.scale}, translate {declare.translate}"
    if not (np.isfinite(limits).all() and limits[0] < limits[1]):
        return f"contrast limits {limits}"
    return ""


def garbled(arrays: Mapping[str, np.ndarray], kind: LayerKind) -> str:
    """Return what in the arrays of an item cannot be shown, whoever sent it, or nothing."""
    for name, array in arrays.items():
        if array.dtype.kind == "U" and array.nbytes and array.view("<u4").max() > sys.maxunicode:
            return f"array {name!r} holds what is no text"
    if not arrays or kind in (*PLANE_KINDS, "points"):
        return ""
    if not np.isfinite(arrays["data"]).all():
        return f"{kind} whose coordinates are not finite"
    further = {"shapes": _garbled_shapes, "tracks": _garbled_tracks, "surface": _garbled_surface}
    return further[kind](arrays) if kind in further else ""


def _garbled_shapes(arrays: Mapping[str, np.ndarray]) -> str:
    offsets, types = arrays["offsets"], arrays["types"]
    # Compared, not subtracted: the difference of two such numbers may be none any more.
    in_order = (offsets[1:] >= offsets[:-1]).all()
    if offsets[0] != 0 or offsets[-1] != len(arrays["data"]) or not in_order:
        return f"offsets that do not lead from 0 to {len(arrays['data'])}"
    if len(types) and types.max() >= len(SHAPE_TYPES):
        return f"a shape of type {types.max()}"
    fewest, most = np.array(list(SHAPE_TYPES.values()))[types].T
    counts = np.diff(offsets)
    if len(wrong := np.flatnonzero((counts < fewest) | (counts > most))):
        return f"a shape of type {types[wrong[0]]} with {counts[wrong[0]]} vertices"
    return ""


def _garbled_tracks(arrays: Mapping[str, np.ndarray]) -> str:
    numbers, graph = arrays["data"][:, 0], arrays.get("graph", np.empty((0, 2), np.int64))
    if (numbers != np.floor(numbers)).any():
        return "track numbers that are no integers"
    for array in (numbers, graph):
        if ((array < -_MAX_TRACK) | (array > _MAX_TRACK)).any():
            return f"track numbers beyond {_MAX_TRACK}"
    return ""


def _garbled_surface(arrays: Mapping[str, np.ndarray]) -> str:
    faces, vertices = arrays["faces"], len(arrays["data"])
    if faces.size and not (faces.min() >= 0 and faces.max() < vertices):
        return f"faces of vertices {faces.min()} to {faces.max()}, there are {vertices}"
    return ""


def mismatch(item: Item, declare: Declare) -> str:
    """Return what is wrong with an item in the light of its declaration, or nothing."""
    arrays = {array.name: array for array in item.arrays}
    data = arrays.get("data")
    if data is None or len(arrays) != len(item.arrays):
        return "exactly one array must be called 'data'"
    if clash := (item.at.keys() | item.along.keys()) & set(declare.axes):
        return f"coordinate {sorted(clash)[0]!r} is an axis of the plane"
    if problem := _misplaced(item, declare):
        return problem
    if data.dtype != declare.dtype:
        return f"dtype {data.dtype}, declared {declare.dtype}"
    if declare.kind not in PLANE_KINDS:
        return _mismatch_of_set(item, arrays, declare)
    if item.key or item.append:
        return f"{declare.kind} with a key, or appended"
    return "more than one array" if len(arrays) > 1 else _ill_shaped(item, data, declare)


def _mismatch_of_set(item: Item, arrays: Mapping[str, Array], declare: Declare) -> str:
    layout = _layout(arrays, declare)
    unknown = arrays.keys() - layout.keys() - {FEATURE_PREFIX + name for name in declare.features}
    if unknown:
        return f"{declare.kind} with array {min(unknown)!r}"
    for name, (dtype, shape) in layout.items():
        array = arrays.get(name)
        if array is None and name not in _OPTIONAL:
            return f"{declare.kind} without array {name!r}"
        if array is not None and not (array.dtype == dtype and _fits(array.shape, shape)):
            return f"array {name!r} of {array.dtype} {array.shape}, needed is {dtype} {shape}"
    rows = _rows(arrays, declare)
    for name, dtype in declare.features.items():
        column = arrays.get(FEATURE_PREFIX + name)
        if column is None or column.shape != (rows,):
            return f"feature {name!r} must have a value for each of {rows} {declare.kind}"
        if column.dtype != dtype and not (dtype == "U" and column.dtype.startswith("<U")):
            return f"feature {name!r} of dtype {column.dtype}, declared {dtype}"
    return ""


def _layout(
    arrays: Mapping[str, Array], declare: Declare
) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Return dtype and shape of each array that a set has besides features; None is any length."""
    dtype, own, length = declare.dtype, len(declare.axes), arrays["data"].shape[:1]
    layouts: dict[str, dict[str, tuple[str, tuple[int | None, ...]]]] = {
        "points": {"data": (dtype, (None, own))},
        "vectors": {"data": (dtype, (None, 2, own))},
        "tracks": {"data": (dtype, (None, 1 + own)), "graph": ("<i8", (None, 2))},
        "shapes": {
            "data": (dtype, (None, own)),
            "types": ("|u1", (None,)),
            "offsets": ("<i8", (_rows(arrays, declare) + 1,)),
        },
        "surface": {
            "data": (dtype, (None, own)),
            "faces": ("<i4", (None, 3)),
            "values": ("<f4", length),
        },
    }
    return layouts[declare.kind]


def _rows(arrays: Mapping[str, Array], declare: Declare) -> int:
    """Return how many points, shapes, vectors or rows of tracks an item has."""
    rows = arrays.get("types" if declare.kind == "shapes" else "data")
    return rows.shape[0] if rows and rows.shape else 0


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        length in (given, None) for given, length in zip(shape, wanted, strict=True)
    )


def _misplaced(item: Item, declare: Declare) -> str:
    """Return what is wrong with where an item says that it lies, or nothing."""
    ndim = len(declare.axes)
    for what in ("scale", "translate"):
        numbers = getattr(item, what)
        if len(numbers) not in (0, ndim) or not np.isfinite(numbers).all():
            return f"{what} {numbers} for axes {declare.axes}"
    if declare.kind not in PLANE_KINDS:
        for what in ("along", "offset", "scale", "translate"):
            if getattr(item, what):
                return f"an item of {declare.kind} has no {what!r} of its own"
        if item.step > 1:
            return f"an item of {declare.kind} of every {item.step} pixels"
    if 0.0 in item.scale:
        return f"scale {item.scale}"
    if clash := item.at.keys() & item.along.keys():
        return f"coordinate {sorted(clash)[0]!r} is given twice"
    return ""


def _ill_shaped(item: Item, data: Array, declare: Declare) -> str:
    """Return what is wrong with the shape of planes or of parts of planes, or nothing."""
    lead = tuple(len(values) for values in item.along.values())
    shape = data.shape[len(lead) :]
    if data.shape[: len(lead)] != lead:
        return f"shape {data.shape} for {lead} coordinates along {tuple(item.along)}"
    y = len(declare.axes) - 2
    steps = [item.step if axis in (y, y + 1) else 1 for axis in range(len(declare.shape))]
    if not item.offset:
        wanted = tuple(-(-n // step) for n, step in zip(declare.shape, steps, strict=True))
        if shape == wanted:
            return ""
        said = f" of every {item.step} pixels" if item.step > 1 else ""
        return f"shape {shape}{said}, declared {declare.shape}"
    ends = [
        offset + (n - 1) * step + 1
        for offset, n, step in zip(item.offset, shape, steps, strict=False)
    ]
    fits = len(shape) == len(declare.shape) and 0 not in shape
    fits = fits and len(item.offset) == len(declare.axes)
    fits = fits and all(end <= n for end, n in zip(ends, declare.shape, strict=False))
    if not fits or shape[len(ends) :] != declare.shape[len(ends) :]:
        return f"a part of shape {shape} at {item.offset}, the plane has {declare.shape}"
    return ""
