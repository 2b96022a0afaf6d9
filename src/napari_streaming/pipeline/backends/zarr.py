"""OME-Zarr 0.5, for what is large or read in pieces."""

from __future__ import annotations

import struct
import zlib
from math import ceil, prod
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.base import Batch
from napari_streaming.pipeline.backends.files import FileBackend
from napari_streaming.pipeline.backends.stack import Record, Stack
from napari_streaming.pipeline.backends.units import ome_word

__all__ = ["ZarrBackend"]

_KEY = "napari_streaming"
_MARKS = ("zarr.json", ".zarray", ".zgroup")
_CHUNK = 1024
_SHARD = 256 * 2**20
_COLOURS = {
    "gray": "FFFFFF", "red": "FF0000", "green": "00FF00", "blue": "0000FF",
    "cyan": "00FFFF", "magenta": "FF00FF", "yellow": "FFFF00",
}  # fmt: skip


class ZarrBackend(FileBackend):
    """Keeps images and labels as OME-Zarr 0.5: a chunk for each plane, few files."""

    format: ClassVar[str] = "OME-Zarr"
    suffixes: ClassVar[tuple[str, ...]] = (".ome.zarr", ".zarr")
    colour: ClassVar[str] = "c"

    def write(self, draft: Path, stacked: Stack, batch: Batch) -> None:  # noqa: D102
        from yaozarrs.write.v05 import write_image

        array = stacked.array
        if batch.kind == "labels" and array.dtype == bool:
            array = array.view(np.uint8)  # labels are integers there
        chunks, shards = _layout(array.shape, array.dtype.itemsize)
        write_image(
            draft,
            _image(stacked, batch),
            array,
            extra_attributes={_KEY: msgspec.to_builtins(stacked.record)},
            writer="zarr",
            chunks=chunks,
            shards=shards,
        )

    def read(self, path: Path) -> tuple[np.ndarray, Record | None]:  # noqa: D102
        import zarr

        try:
            node = zarr.open(str(path), mode="r")
            if isinstance(node, zarr.Array):
                return np.asarray(node[...]), None
            attributes = node.attrs.asdict()
            ome: Any = attributes.get("ome", attributes)
            full: Any = node[ome["multiscales"][0]["datasets"][0]["path"]]
            array = np.asarray(full[...])
            record = attributes.get(_KEY)
            return array, None if record is None else msgspec.convert(record, Record)
        except (KeyError, TypeError, ValueError, RuntimeError, struct.error, zlib.error) as error:
            raise DataError(f"it is damaged or no OME-Zarr ({error}); save it again") from error

    def check_replaceable(self, path: Path) -> None:  # noqa: D102
        if path.is_dir():
            if any(path.iterdir()) and not any((path / mark).exists() for mark in _MARKS):
                raise DataError("there is a folder that is no zarr; choose another path")
        elif path.exists():
            raise DataError("there is a file of this name; choose another path")


def _layout(
    shape: tuple[int, ...], itemsize: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return chunks, tiles of a plane, and shards, each a file of many chunks."""
    chunks = (1,) * (len(shape) - 2) + tuple(min(n, _CHUNK) for n in shape[-2:])
    shards = [1] * (len(shape) - 2) + [ceil(n / c) * c for n, c in zip(shape, chunks, strict=True)][
        -2:
    ]
    for axis in reversed(range(len(shape) - 2)):
        shards[axis] = max(1, min(shape[axis], _SHARD // (prod(shards) * itemsize)))
        if shards[axis] < shape[axis]:
            break
    return chunks, None if tuple(shards) == chunks else tuple(shards)


def _image(stacked: Stack, batch: Batch) -> Any:
    """Return the metadata of an image, or of labels."""
    from yaozarrs import v05

    axes: list[Any] = []
    for axis in stacked.axes:
        unit = ome_word(stacked.units.get(axis, "pixel"))
        if axis == "c":
            axes.append(v05.ChannelAxis(name=axis))
        else:
            axes.append((v05.TimeAxis if axis == "t" else v05.SpaceAxis)(name=axis, unit=unit))
    scale = v05.ScaleTransformation(scale=[stacked.scale.get(axis, 1.0) for axis in stacked.axes])
    multiscale = v05.Multiscale(
        name=batch.about.name or None,
        axes=axes,
        datasets=[v05.Dataset(path="0", coordinateTransformations=[scale])],
    )
    if batch.kind == "labels":
        return v05.LabelImage.model_validate({"multiscales": [multiscale], "image-label": {}})
    return v05.Image(multiscales=[multiscale], omero=_omero(stacked, batch))


def _omero(stacked: Stack, batch: Batch) -> Any:
    """Return names, colours and contrast of the channels, if any are known."""
    from yaozarrs import v05

    count = dict(zip(stacked.axes, stacked.array.shape, strict=True)).get("c", 1)
    names = ["red", "green", "blue", "alpha"] if stacked.rgb else stacked.channels
    if not (names or batch.about.contrast_limits or batch.about.colormap in _COLOURS):
        return None
    low, high = batch.about.contrast_limits or _range(stacked.array)
    window = v05.OmeroWindow(start=low, min=low, end=high, max=high)
    default = _COLOURS.get(batch.about.colormap, "FFFFFF")
    return v05.Omero(
        channels=[
            v05.OmeroChannel(
                window=window,
                label=names[i] if i < len(names) else None,
                color=_COLOURS.get(names[i], default) if stacked.rgb else default,
                active=True,
            )
            for i in range(count)
        ]
    )


def _range(array: np.ndarray) -> tuple[float, float]:
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        return float(info.min), float(info.max)
    real = np.abs(array) if array.dtype.kind in "bc" else array
    finite = real[np.isfinite(real)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
