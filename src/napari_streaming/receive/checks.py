"""What a publisher says, held against itself: declarations, and items against them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from napari_streaming.wire.messages import FEATURE_PREFIX, Array, Declare, Item

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
    if clash := (item.at.keys() | item.along.keys()) & set(declare.axes):
        return f"coordinate {sorted(clash)[0]!r} is an axis of the plane"
    if problem := _misplaced(item, declare):
        return problem
    if data.dtype != declare.dtype:
        return f"dtype {data.dtype}, declared {declare.dtype}"
    if declare.kind != "points":
        return "more than one array" if len(arrays) > 1 else _ill_shaped(item, data, declare)
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


def _misplaced(item: Item, declare: Declare) -> str:
    """Return what is wrong with where an item says that it lies, or nothing."""
    ndim = len(declare.axes)
    for what in ("scale", "translate"):
        numbers = getattr(item, what)
        if len(numbers) not in (0, ndim) or not np.isfinite(numbers).all():
            return f"{what} {numbers} for axes {declare.axes}"
    if declare.kind not in ("image", "labels"):
        for what in ("along", "offset", "scale", "translate"):
            if getattr(item, what):
                return f"an item of {declare.kind} has no {what!r} of its own"
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
    if not item.offset:
        return "" if shape == declare.shape else f"shape {shape}, declared {declare.shape}"
    ends = [offset + n for offset, n in zip(item.offset, shape, strict=False)]
    fits = len(shape) == len(declare.shape) and 0 not in shape
    fits = fits and len(item.offset) == len(declare.axes)
    fits = fits and all(end <= n for end, n in zip(ends, declare.shape, strict=False))
    if not fits or shape[len(ends) :] != declare.shape[len(ends) :]:
        return f"a part of shape {shape} at {item.offset}, the plane has {declare.shape}"
    return ""
