"""What a call to the publisher says of its layer, checked, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from napari_streaming.errors import DataError
from napari_streaming.publish.staging import check_dtype, clean_name, to_array
from napari_streaming.wire.codec import MAX_BUFFER
from napari_streaming.wire.messages import PLANE_KINDS, Declare, LayerKind, QualityOfService

__all__ = [
    "WHOLE",
    "LayerSpec",
    "Part",
    "checked_axes",
    "checked_qos",
    "dtype_name",
    "image_spec",
    "labels_spec",
]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """The structure of a layer's planes, and how it wants to be shown at first.

    The last two are told once and never compared: they are the viewer's user's afterwards.
    Nor are scale and translate: where they change, items carry their own.
    """

    kind: LayerKind
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    rgb: bool = False
    scale: tuple[float, ...] = field(default=(), compare=False)
    translate: tuple[float, ...] = field(default=(), compare=False)
    units: tuple[str, ...] = ()
    features: Mapping[str, str] = field(default_factory=dict)
    qos: QualityOfService = "latest"
    colormap: str = field(default="", compare=False)
    contrast_limits: tuple[float, float] | None = field(default=None, compare=False)

    @classmethod
    def declared(cls, declare: Declare) -> LayerSpec:
        """Return what a message declares as a stream: the way back from :meth:`declare`."""
        return cls(
            kind=declare.kind,
            dtype=declare.dtype,
            shape=declare.shape,
            axes=declare.axes,
            rgb=declare.rgb,
            scale=declare.scale,
            translate=declare.translate,
            units=declare.units,
            features=declare.features,
            qos=declare.qos,
            colormap=declare.colormap,
            contrast_limits=declare.contrast_limits,
        )

    def same_structure(self, other: LayerSpec) -> bool:
        """Whether items of both belong to one layer."""
        return self is other or (
            self == other and (self.has_planes or self.transform == other.transform)
        )

    @property
    def has_planes(self) -> bool:
        """Whether it is of planes, each of which may lie somewhere else."""
        return self.kind in PLANE_KINDS

    @property
    def transform(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scale and translate."""
        return self.scale, self.translate

    def declare(self, stream: int, name: str) -> Declare:
        """Return the message that declares this as a stream."""
        return Declare(
            stream=stream,
            name=name,
            kind=self.kind,
            dtype=self.dtype,
            shape=self.shape,
            axes=self.axes,
            scale=self.scale,
            translate=self.translate,
            units=self.units,
            rgb=self.rgb,
            colormap=self.colormap,
            contrast_limits=self.contrast_limits,
            features=dict(self.features),
            qos=self.qos,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What of a layer's planes an array holds: one, several, or a part of each.

    Parameters
    ----------
    planes : tuple of int
        Lengths of the leading axes that several planes lie along.
    offset : tuple of int
        Where in its plane the array lies; empty: it is a whole one.
    plane_shape : tuple of int
        Of the whole plane, if the array is a part of it.
    """

    planes: tuple[int, ...] = ()
    offset: tuple[int, ...] = ()
    plane_shape: tuple[int, ...] = ()

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a whole plane, of which an array has this shape.

        Raises
        ------
        DataError
            They do not fit.
        """
        lead, own = shape[: len(self.planes)], shape[len(self.planes) :]
        if lead != self.planes:
            raise DataError(
                f"shape {shape}: {self.planes} coordinates need leading axes of these lengths"
            )
        if not (self.offset or self.plane_shape):
            return own
        ndim = len(self.offset)
        if not ndim or not len(own) == len(self.plane_shape) >= ndim:
            raise DataError(
                f"offset={self.offset}, plane_shape={self.plane_shape} for an array of shape "
                f"{own}: give both, with a number for each axis"
            )
        ends = tuple(o + n for o, n in zip(self.offset, own, strict=False)) + own[ndim:]
        if min(self.offset) < 0 or any(e > n for e, n in zip(ends, self.plane_shape, strict=True)):
            raise DataError(
                f"offset={self.offset}: an array of shape {own} does not fit there into "
                f"plane_shape={self.plane_shape}"
            )
        return self.plane_shape


WHOLE = Part()
"""One whole plane."""


def image_spec(
    plane: ArrayLike,
    *,
    axes: Sequence[str] | None,
    rgb: bool | None,
    scale: Sequence[float],
    translate: Sequence[float],
    units: str | Sequence[str],
    colormap: str,
    contrast_limits: Sequence[float] | None,
    qos: QualityOfService,
    part: Part,
) -> tuple[LayerSpec, np.ndarray]:
    """Return the spec and the array of an image; parameters as in ``Publisher.image``."""
    is_plain = type(plane) is np.ndarray and plane.nbytes <= MAX_BUFFER  # `_image_spec` checks it
    array: np.ndarray = plane if is_plain else to_array("image", plane)  # type: ignore[assignment]
    shape = array.shape if part is WHOLE else part.whole(array.shape)
    said = (axes, rgb, scale, translate, units, colormap, contrast_limits, qos)
    try:
        return _image_spec(shape, array.dtype, *said), array
    except TypeError:  # a list cannot be looked up
        return _image_spec.__wrapped__(shape, array.dtype, *said), array


# A live stream says the same with every plane: checking it again would cost more than the
# rest of a call that copies nothing.
@lru_cache(maxsize=256)
def _image_spec(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: Sequence[str] | None,
    rgb: bool | None,
    scale: Sequence[float],
    translate: Sequence[float],
    units: str | Sequence[str],
    colormap: str,
    contrast_limits: Sequence[float] | None,
    qos: QualityOfService,
) -> LayerSpec:
    check_dtype("image", dtype)
    if rgb is None:
        rgb = len(shape) >= 3 and shape[-1] in (3, 4) and dtype == np.uint8
    if rgb and (len(shape) < 3 or shape[-1] not in (3, 4)):
        raise DataError(f"image of shape {shape}: rgb needs a last axis of length 3 or 4")
    limits = None
    if contrast_limits is not None:
        given = _numbers("contrast_limits", contrast_limits)
        if len(given) != 2 or not given[0] < given[1]:
            raise DataError(f"contrast_limits={given}: use two numbers, the lower one first")
        limits = (given[0], given[1])
    ndim = len(shape) - 1 if rgb else len(shape)
    return LayerSpec(
        kind="image",
        dtype=dtype_name(dtype),
        shape=_plane_shape(shape, ndim),
        rgb=rgb,
        colormap=clean_name(colormap) if colormap else "",
        contrast_limits=limits,
        qos=checked_qos(qos),
        **checked_axes(ndim, axes, scale, translate, units),
    )


def labels_spec(
    mask: ArrayLike,
    *,
    axes: Sequence[str] | None,
    scale: Sequence[float],
    translate: Sequence[float],
    units: str | Sequence[str],
    qos: QualityOfService,
    part: Part,
) -> tuple[LayerSpec, np.ndarray]:
    """Return the spec and the array of labels; parameters as in ``Publisher.labels``."""
    array = to_array("labels", mask)
    if array.dtype.kind == "f":
        raise DataError(f"labels of {array.dtype}: labels are integers, use mask.astype('int32')")
    if array.dtype.kind == "b":
        array = array.view(np.uint8)
    shape = part.whole(array.shape)
    return LayerSpec(
        kind="labels",
        dtype=dtype_name(array.dtype),
        shape=_plane_shape(shape, len(shape)),
        qos=checked_qos(qos),
        **checked_axes(len(shape), axes, scale, translate, units),
    ), array


def checked_qos(qos: QualityOfService) -> QualityOfService:
    """Return a quality of service, which must be one that there is."""
    if qos not in get_args(QualityOfService):
        raise DataError(f"qos={qos!r}: use one of {', '.join(get_args(QualityOfService))}")
    return qos


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name under which a dtype is sent."""
    return dtype.newbyteorder("<").str


def _plane_shape(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if ndim < 2 or len(shape) > 16:
        raise DataError(f"a plane of shape {shape}: at least (y, x) is needed")
    if 0 in shape:
        raise DataError(f"a plane of shape {shape} has no pixels")
    return shape


def checked_axes(
    ndim: int,
    axes: Sequence[str] | None,
    scale: Sequence[float],
    translate: Sequence[float],
    units: str | Sequence[str],
) -> dict[str, Any]:
    """Return axes, scale, translate and units, each of the right length."""
    spatial = ("z", "y", "x")
    default = [f"axis_{i}" for i in range(ndim - 3)] + list(spatial[-min(ndim, 3) :])
    names = tuple(clean_name(axis) for axis in (axes or default))
    if len(names) != ndim or len(set(names)) != ndim:
        raise DataError(f"axes={names}: {ndim} different names are needed")
    numbers = {}
    for what, values in (("scale", scale), ("translate", translate)):
        numbers[what] = _numbers(what, values)
        if numbers[what] and len(numbers[what]) != ndim:
            raise DataError(f"{what}={numbers[what]}: one number for each of {names} is needed")
    if any(value == 0 for value in numbers["scale"]):
        raise DataError(f"scale={numbers['scale']}: no axis may have scale 0")
    given = (units,) * ndim if isinstance(units, str) else tuple(units)
    many = tuple(clean_name(unit) if unit else "" for unit in given)
    if many and len(many) != ndim:
        raise DataError(f"units={many}: one for each of {names} is needed")
    return {"axes": names, "units": many, **numbers}


def _numbers(what: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise DataError(f"{what}={values!r}: use a sequence of numbers") from None
    if not all(math.isfinite(value) for value in numbers):
        raise DataError(f"{what}={numbers}: only finite numbers are possible")
    return numbers
