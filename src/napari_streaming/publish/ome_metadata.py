"""What is read of OME-Zarr metadata, of any version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from napari_streaming.errors import DataError

__all__ = ["Axis", "Ome", "read_ome"]


class Axis(msgspec.Struct):
    """An axis of an image; before 0.4 it was only a name."""

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
    axes: list[Axis | str] = []
    coordinate_transformations: list[_Transformation] = []


class _Channel(msgspec.Struct):
    label: str | None = None


class _Omero(msgspec.Struct):
    channels: list[_Channel] = []


class Ome(msgspec.Struct):
    """The metadata of a group: an image, a plate of images, or neither."""

    multiscales: list[_Multiscale] = []
    omero: _Omero = msgspec.field(default_factory=_Omero)
    image_label: Any = msgspec.field(default=None, name="image-label")
    plate: Any = None


def read_ome(path: Path, attributes: Mapping[str, Any]) -> Ome:
    """Return what the attributes of a group say.

    Parameters
    ----------
    path : Path
        Of the group, for the error.
    attributes : mapping
        From 0.5 on, all of OME is under ``ome``.

    Raises
    ------
    DataError
        They are no OME-Zarr metadata.
    """
    try:
        return msgspec.convert(attributes.get("ome", attributes), Ome)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: its OME-Zarr metadata is damaged: {error}") from error
