"""What a publisher says, held against itself: declarations, and items against them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from napari_streaming.wire.messages import FEATURE_PREFIX, Declare, Item

__all__ = ["contradiction", "garbled", "mismatch"]


def contradiction(declare: Declare) -> str:
    """Return what in a declaration contradicts the rest of it, or nothing."""
    kind, ndim, dtype = declare.kind, len(declare.axes), np.dtype(declare.dtype)
    if ndim < 2 or len(set(declare.axes)) != ndim:
        return f"axes {declare.axes}: at least two different ones are needed"
    if kind == "points":
        if declare.shape != (ndim,):
            return f"points of shape {declare.shape} for axes {declare.axes}"
    elif len(declare.shape) != ndim + declare.rgb or 0 in declare.shape:
        return f"planes of shape {declare.shape} for axes {declare.axes}"
    if declare.rgb and (kind != "image" or declare.shape[-1] not in (3, 4)):
        return f"{kind} of shape {declare.shape} cannot be rgb"
    if dtype.kind not in ("iu" if kind == "labels" else "biuf"):
        return f"{kind} of dtype {declare.dtype}"
    for what in ("scale", "translate", "units"):
        if len(getattr(declare, what)) not in (0, ndim):
            return f"{what} {getattr(declare, what)} for axes {declare.axes}"
    limits = declare.contrast_limits or (0.0, 1.0)
    if not (0.0 not in declare.scale and np.isfinite(declare.scale + declare.translate).all()):
        return f"scale {declare.scale}, translate {declare.translate}"
    if not (np.isfinite(limits).all() and limits[0] < limits[1]):
        return f"contrast limits {limits}"
    return ""


def garbled(arrays: Mapping[str, np.ndarray]) -> str:
    """Return which array holds what is no text although it says so, if one does."""
    for name, array in arrays.items():
        if array.dtype.kind == "U" and array.nbytes and array.view("<u4").max() > sys.maxunicode:
            return f"array {name!r} holds what is no text"
    return ""


def mismatch(item: Item, declare: Declare) -> str:
    """Return what is wrong with an item in the light of its declaration, or nothing."""
    arrays = {array.name: array for array in item.arrays}
    data = arrays.get("data")
    if data is None or len(arrays) != len(item.arrays):
        return "exactly one array must be called 'data'"
    if clash := set(item.at) & set(declare.axes):
        return f"coordinate {sorted(clash)[0]!r} is an axis of the plane"
    if data.dtype != declare.dtype:
        return f"dtype {data.dtype}, declared {declare.dtype}"
    if declare.kind != "points":
        if data.shape != declare.shape or len(arrays) > 1:
            return f"shape {data.shape}, declared {declare.shape}"
        return ""
    if len(data.shape) != 2 or data.shape[1:] != declare.shape:
        return f"shape {data.shape}, declared (n, {declare.shape[0]})"
    given = {name.removeprefix(FEATURE_PREFIX) for name in arrays} - {"data"}
    if given != declare.features.keys():
        return f"features {sorted(given)}, declared {sorted(declare.features)}"
    for name, dtype in declare.features.items():
        column = arrays.get(FEATURE_PREFIX + name)
        if column is None or column.shape != data.shape[:1]:
            return f"feature {name!r} must have a value for each of {data.shape[0]} points"
        if column.dtype != dtype and not (dtype == "U" and column.dtype.startswith("<U")):
            return f"feature {name!r} of dtype {column.dtype}, declared {dtype}"
    return ""
