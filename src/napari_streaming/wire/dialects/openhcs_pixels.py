"""Pixels as OpenHCS senders have them: how they lie in memory, and where in the picture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.dialects.openhcs_messages import Image
from napari_streaming.wire.messages import Coordinate

__all__ = ["Layout", "Shared", "pixels", "region", "spacing", "spread"]

_MOST_PLANES = 65536
_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|[<>=|]?(b1|[iu][1248]|f[248])")


@dataclass(frozen=True, slots=True)
class Layout:
    """How pixels lie there: in C order.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
        Of any byte order.
    color : int or None
        The axis of the colours.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    color: int | None

    @property
    def nbytes(self) -> int:
        """How much there must be."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def sent(self) -> tuple[int, ...]:
        """The shape that an Item has them in: colour last."""
        if self.color is None:
            return self.shape
        rest = self.shape[: self.color] + self.shape[self.color + 1 :]
        return (*rest, self.shape[self.color])

    def buffer(self, pixels: Buffer | np.ndarray) -> memoryview:
        """Return pixels as an Item has them: little endian, colour last. Copied if need be."""
        array = np.ndarray(self.shape, self.dtype, pixels)
        if self.color is not None:
            array = np.moveaxis(array, self.color, -1)
        array = np.ascontiguousarray(array, self.dtype.newbyteorder("<"))
        return array.data.cast("B")


@dataclass(frozen=True, slots=True)
class Shared:
    """Pixels in shared memory of the sender's, which goes with the reply.

    Parameters
    ----------
    name : str
        As :mod:`multiprocessing.shared_memory` has it.
    layout : Layout
    """

    name: str
    layout: Layout


def pixels(image: Image) -> tuple[Layout, str | np.ndarray]:
    """Return how an image's pixels lie, and themselves or the name of their memory."""
    if image.shm_name is not None:
        missing = [what for what in ("shape", "dtype") if getattr(image, what) is None]
        if missing or image.shape is None or image.dtype is None:
            raise MalformedError(f"shared memory without {missing[0]!r}")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,250}", image.shm_name):
            raise MalformedError(f"{image.shm_name[:100]!r} is no name of shared memory")
        dtype = _dtype(image.dtype)
        return Layout(image.shape, dtype, _color(image, image.shape)), image.shm_name
    if image.data is None:
        raise MalformedError("neither 'shm_name' nor 'data' nor 'shapes'")
    try:
        wanted = None if image.dtype is None else _dtype(image.dtype)
        array = np.ascontiguousarray(np.array(image.data, wanted))
        array = array.reshape(array.shape if image.shape is None else image.shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise MalformedError(f"data: {error}"[:500]) from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or 0 in array.shape:
        raise MalformedError(f"data of dtype {array.dtype} and shape {array.shape}")
    return Layout(array.shape, array.dtype, _color(image, array.shape)), array


def _dtype(text: str) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(text):
        raise MalformedError(f"dtype {text[:100]!r}: bools, integers and floats can be shown")
    return np.dtype(text)


def _color(image: Image, shape: Sequence[int]) -> int | None:
    axis = image.source_channel_axis
    if axis is None:
        return None
    if not -len(shape) <= axis < len(shape) or shape[axis] not in (3, 4):
        raise MalformedError(f"source_channel_axis {axis} of shape {tuple(shape)}: 3 or 4 needed")
    return axis % len(shape)


def spread(
    at: dict[str, Coordinate],
    along: dict[str, tuple[Coordinate, ...]],
    lead: tuple[int, ...],
    unnamed: str,
) -> tuple[dict[str, Coordinate], dict[str, tuple[Coordinate, ...]]]:
    """Return what a payload's leading axes are; those that nobody named are numbered."""
    if not lead:
        if several := [name for name, values in along.items() if len(values) != 1]:
            raise MalformedError(f"{several[0]!r} has several values for a single plane")
        return at | {name: values[0] for name, values in along.items()}, {}
    if len(along) > len(lead):
        raise MalformedError(f"{len(along)} components for {len(lead)} leading axes")
    if max(lead) > _MOST_PLANES:
        raise MalformedError(f"{max(lead)} planes in one payload, at most {_MOST_PLANES} allowed")
    for number, length in enumerate(lead[len(along) :]):
        name = unnamed if number == 0 else f"{unnamed} {number + 1}"
        along = along | {name: tuple(range(length))}
    for (name, values), length in zip(along.items(), lead, strict=True):
        if len(values) != length or len(set(values)) != length:
            raise MalformedError(f"{name!r} has {len(values)} values for {length} planes")
    return at, along


def region(
    image: Image, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Return the shape of the whole plane, where in it the pixels lie, and where it begins."""
    origin, source = image.spatial_origin_yx, image.source_spatial_shape_yx
    if origin is None or (source is None and not any(origin)):
        return shape, (), ()
    if source is None:
        return shape, (), tuple(map(float, origin))
    inside = [o >= 0 and o + n <= m for o, n, m in zip(origin, shape, source, strict=False)]
    if not all(inside):
        raise MalformedError(f"{shape[:2]} pixels at {origin} do not lie within {source}")
    whole = (*source, *shape[2:])
    return whole, () if whole == shape else origin, ()


def spacing(metadata: Mapping[str, Any]) -> tuple[tuple[float, ...], str]:
    """Return the size of a pixel and its unit; nothing where the sender says none."""
    spacing = metadata.get("source_voxel_spacing")
    if not isinstance(spacing, dict):
        return (), ""
    values, unit = spacing.get("values_zyx"), spacing.get("unit")
    if not isinstance(values, list | tuple) or len(values) not in (2, 3):
        return (), ""
    if not all(isinstance(v, int | float) and 0 < v < math.inf for v in values):
        return (), ""
    return tuple(map(float, values[-2:])), "micrometer" if unit == "micrometers" else ""
