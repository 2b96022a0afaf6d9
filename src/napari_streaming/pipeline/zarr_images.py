"""The images in a zarr hierarchy, from its metadata alone: OME-Zarr images, labels, plates, arrays.

It may be half-written: what is not there yet is left out, to be found later.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_streaming.errors import DataError
from napari_streaming.publish.ome_zarr import OmeImage, image_of, is_plate

__all__ = ["ZARR_METADATA", "ZarrImage", "find_images", "is_zarr"]

ZARR_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_NODES = ("zarr.json", ".zgroup", ".zarray")
_LEVEL = re.compile(r"(s|scale|level|res)?_?\d+")


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """An image in a zarr hierarchy.

    Parameters
    ----------
    path : Path
        Of the image: a group, or an array.
    array : Path
        Of the array with its full resolution.
    inner : tuple of str
        Where it lies in what is one layer for people: the hierarchy, or its plate.
    at : mapping of str to int or str
        Its well and field in a plate.
    is_labels : bool
        Whether it is kept as labels.
    is_certain : bool
        False if it may be a level of a pyramid whose metadata is yet to come.
    """

    path: Path
    array: Path
    inner: tuple[str, ...] = ()
    at: Mapping[str, int | str] = field(default_factory=dict)
    is_labels: bool = False
    is_certain: bool = True


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return any(os.path.isfile(folder / name) for name in _NODES)


def find_images(root: Path) -> Iterator[ZarrImage]:
    """Find the images in a zarr hierarchy.

    Raises
    ------
    DataError
        Some metadata is damaged, or half-written.
    """
    yield from _find(root, ZarrImage(root, root))


def _find(folder: Path, here: ZarrImage) -> Iterator[ZarrImage]:
    """Find the images in a folder, of which is known already what its place says of it."""
    kind, attributes = _read_node(folder)
    if kind == "array":
        yield replace(here, path=folder, array=folder)
    if kind != "group":
        return
    image = _image_of(folder, attributes)
    levels = {path.split("/")[0] for path in image.paths} if image else set()
    if image and _read_node(full := folder / image.paths[0])[0] == "array":
        is_labels = here.is_labels or image.is_labels
        yield replace(here, path=folder, array=full, is_labels=is_labels, is_certain=True)
    if is_plate(attributes):
        yield from _find_wells(folder, here)
        return
    for child in _folders(folder):
        if child.name not in levels:
            yield from _find(child, _place(folder, child, here, is_image=image is not None))


def _image_of(folder: Path, attributes: Mapping[str, Any]) -> OmeImage | None:
    try:
        return image_of(attributes)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def _place(folder: Path, child: Path, here: ZarrImage, *, is_image: bool) -> ZarrImage:
    """Return what a child's name says of it."""
    may_be_level = not is_image and bool(_LEVEL.fullmatch(child.name))
    return replace(
        here,
        inner=(*here.inner, child.name),
        is_labels=folder.name == "labels" and bool(here.inner),
        is_certain=not may_be_level,
    )


def _find_wells(plate: Path, here: ZarrImage) -> Iterator[ZarrImage]:
    for row in _folders(plate):
        for column in _folders(row):
            for site in _folders(column):
                at = {"well": row.name + column.name, "field": _number(site.name)}
                yield from _find(site, replace(here, at={**here.at, **at}))


def _number(name: str) -> int | str:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 10 else name


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, those with a number in their order."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}") from error
    found = [path for path in found if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _read_node(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """Return whether a folder is an array or a group, if so, and its attributes."""
    if (about := _read_json(folder / "zarr.json")) is not None:
        return str(about.get("node_type", "")), about.get("attributes") or {}
    if os.path.isfile(folder / ".zarray"):
        return "array", {}
    if os.path.isfile(folder / ".zgroup"):
        return "group", _read_json(folder / ".zattrs") or {}
    return "", {}


def _read_json(path: Path) -> Mapping[str, Any] | None:
    """Return what a file says; None if there is no such file."""
    try:
        said = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise DataError(f"{path} is no zarr metadata")
    return said
