"""What a zarr array, its neighbours and the groups around it say of the layer that it makes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import zarr
from zarr.storage import LocalStore

from napari_streaming.errors import DataError
from napari_streaming.publish.files import stem
from napari_streaming.publish.ome_zarr import OmeImage, image_of
from napari_streaming.publish.outlet import Layout, TeeOptions, axis_names

__all__ = ["full_name", "layout_of"]

logger = logging.getLogger(__name__)

_DEEPEST = 2  # groups between an image and the arrays that it is made of, and the image's own


def layout_of(array: zarr.Array[Any], options: TeeOptions, root: str | None) -> Layout | None:
    """Return how an array is streamed; None: it is a lower resolution of another one.

    Parameters
    ----------
    array : zarr.Array
    options : TeeOptions
        What the caller said, which counts more.
    root : str, optional
        Path of the group that is streamed, if it is a whole group.
    """
    where = PurePosixPath(full_name(array))
    image, home = None, where
    for above, attributes in _groups_above(array):
        inside = str(where.relative_to(above))
        image = _image(attributes, above)
        if image is not None and inside in image.paths:
            if inside != image.paths[0]:
                return None
            home = above
            break
    else:
        image = None
        if _is_reduced(array):
            return None
    is_labels = home.parent.name == "labels" or (image is not None and image.is_labels)
    said = getattr(array.metadata, "dimension_names", None)
    axes = options.axes if options.axes and len(options.axes) == array.ndim else None
    names = axis_names(array.shape, array.dtype, axes or (image and image.axes) or said)
    return Layout(
        name=_layer_name(home, options, None if root is None else PurePosixPath(root)),
        axes=names,
        labels={**(image.labels if image else {}), **options.labels},
        scale=image.scale if image else {},
        units=image.units if image else {},
        kind=options.kind or ("labels" if is_labels else "image"),
    )


def full_name(node: zarr.Array[Any] | zarr.Group) -> str:
    """Return where an array or group is: in the file system, if that is its store."""
    store = node.store
    base = store.root.absolute().as_posix() if isinstance(store, LocalStore) else "/"
    return str(PurePosixPath(base) / node.path)


def _groups_above(array: zarr.Array[Any]) -> Iterator[tuple[PurePosixPath, dict[str, Any]]]:
    """Return the groups that an array is in, the nearest first: where, and what they say."""
    where = PurePosixPath(full_name(array))
    for above in list(where.parents)[:_DEEPEST]:
        try:
            if isinstance(array.store, LocalStore):
                group = zarr.open_group(LocalStore(Path(above), read_only=True), mode="r")
            else:
                group = zarr.open_group(array.store, path=str(above)[1:], mode="r+")
        except (OSError, ValueError, KeyError):  # there is none
            continue
        yield above, group.attrs.asdict()


def _image(attributes: dict[str, Any], where: PurePosixPath) -> OmeImage | None:
    try:
        return image_of(attributes)
    except DataError as error:
        logger.warning("%s: %s", where, error)
        return None


def _is_reduced(array: zarr.Array[Any]) -> bool:
    """Whether an array is like its neighbour with the number 0, only smaller.

    Some writers say only afterwards that their arrays are resolutions of one image.
    """
    numbered = re.fullmatch(r"(.*?)([1-9][0-9]*)", array.basename)
    if numbered is None:
        return False
    first = str(PurePosixPath(array.path).with_name(numbered[1] + "0"))
    try:
        full = zarr.open_array(array.store, path=first, mode="r+").shape
    except (OSError, ValueError, KeyError):  # there is none
        return False
    return (
        len(full) == array.ndim
        and full != array.shape
        and all(n <= m for n, m in zip(array.shape, full, strict=True))
    )


def _layer_name(home: PurePosixPath, options: TeeOptions, root: PurePosixPath | None) -> str:
    """Return what an image is called: by the caller, in the streamed group, or by itself."""
    own = stem(Path(home.name or "zarr"))
    if root is None or home == root:
        return options.name or own
    parts = [part for part in home.relative_to(root).parts if part != "labels"]
    return "/".join(([options.name] if options.name else []) + parts) or own
