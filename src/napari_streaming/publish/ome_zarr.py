"""What OME-Zarr metadata, of any version, says of an image: which array it is, and its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from napari_streaming.errors import DataError

__all__ = ["OmeImage", "distinct", "image_of", "is_plate"]


@dataclass(frozen=True, slots=True)
class OmeImage:
    """An image in a group.

    Parameters
    ----------
    paths : tuple of str
        Of the arrays in the group that are the image's resolutions, the full one first.
    axes : tuple of str
        Names of the array's dimensions; empty: not said.
    labels : mapping of str to sequence of str
        For the channel axis, the names of the channels, if they can be told apart.
    scale : mapping of str to float
        Of the full resolution, for each axis.
    units : mapping of str to str
        For each axis that has one.
    is_labels : bool
        Whether its values are labels.
    """

    paths: tuple[str, ...]
    axes: tuple[str, ...]
    labels: Mapping[str, Sequence[str]]
    scale: Mapping[str, float]
    units: Mapping[str, str]
    is_labels: bool


def distinct(names: Sequence[str]) -> Sequence[str]:
    """Return the names if they can tell things apart, else none."""
    return names if all(names) and len(set(names)) == len(names) else ()


class _Axis(msgspec.Struct):
    name: str
    type: str | None = None
    unit: str | None = None


class _Transformation(msgspec.Struct):
    scale: list[float] = []


class _Dataset(msgspec.Struct, rename="camel"):
    path: str
    coordinate_transformations: list[_Transformation] = []


class _Multiscale(msgspec.Struct, rename="camel"):
    datasets: Annotated[list[_Dataset], msgspec.Meta(min_length=1)]
    axes: list[_Axis | str] = []
    coordinate_transformations: list[_Transformation] = []


class _Channel(msgspec.Struct):
    label: str | None = None


class _Omero(msgspec.Struct):
    channels: list[_Channel] = []


class _Ome(msgspec.Struct):
    multiscales: list[_Multiscale] = []
    omero: _Omero = msgspec.field(default_factory=_Omero)
    image_label: dict[str, Any] | None = msgspec.field(default=None, name="image-label")


def is_plate(attributes: Mapping[str, Any]) -> bool:
    """Whether a group's attributes say that it holds the wells of a plate."""
    ome = attributes.get("ome", attributes)
    return isinstance(ome, Mapping) and ome.get("plate") is not None


def image_of(attributes: Mapping[str, Any]) -> OmeImage | None:
    """Return what a group's attributes say of the image in it; None if there is none.

    Raises
    ------
    DataError
        The metadata is damaged.
    """
    try:
        ome = msgspec.convert(attributes.get("ome", attributes), _Ome)  # 0.5, or 0.4
    except msgspec.ValidationError as error:
        raise DataError(f"its OME-Zarr metadata is damaged: {error}") from error
    if not ome.multiscales:
        return None
    image = ome.multiscales[0]
    full = image.datasets[0]
    axes = [_Axis(axis) if isinstance(axis, str) else axis for axis in image.axes]
    names = tuple(axis.name for axis in axes)
    scale: dict[str, float] = {}
    for step in (*full.coordinate_transformations, *image.coordinate_transformations):
        for name, factor in zip(names, step.scale, strict=False):
            scale[name] = scale.get(name, 1.0) * factor
    channel = next((axis.name for axis in axes if axis.type == "channel"), "c")
    return OmeImage(
        paths=tuple(dataset.path for dataset in image.datasets),
        axes=names,
        labels={channel: distinct([channel.label or "" for channel in ome.omero.channels])},
        scale=scale,
        units={axis.name: axis.unit for axis in axes if axis.unit},
        is_labels=ome.image_label is not None,
    )
