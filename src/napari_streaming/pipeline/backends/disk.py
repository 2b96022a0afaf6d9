"""Files that every microscopy program opens: OME-TIFF."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import msgspec
import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.base import Batch
from napari_streaming.pipeline.backends.files import FileBackend
from napari_streaming.pipeline.backends.stack import Record, Stack
from napari_streaming.pipeline.backends.units import ome_symbol

__all__ = ["DiskBackend"]

_NAMESPACE = "napari-streaming"
# OME-XML has no name for these; what they were stands in the record.
_STORED_AS = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}


class DiskBackend(FileBackend):
    """Keeps images as OME-TIFF. Labels are compressed; images, which hardly shrink, are not."""

    format: ClassVar[str] = "OME-TIFF"
    suffixes: ClassVar[tuple[str, ...]] = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
    colour: ClassVar[str] = "s"

    def write(self, draft: Path, stacked: Stack, batch: Batch) -> None:  # noqa: D102
        import tifffile

        tifffile.imwrite(
            draft,
            _storable(stacked.array),
            ome=True,
            photometric="rgb" if "s" in stacked.axes else "minisblack",
            compression="zlib" if batch.kind == "labels" else None,
            metadata=_metadata(stacked, batch),
        )

    def read(self, path: Path) -> tuple[np.ndarray, Record | None]:  # noqa: D102
        import tifffile

        try:
            with tifffile.TiffFile(path) as file:
                if not file.series:
                    raise DataError("it has no images; save it again")
                record = _record(file.ome_metadata) if file.is_ome else None
                return file.series[0].asarray(), record
        except (
            ValueError,
            RuntimeError,
            struct.error,
            zlib.error,
            ElementTree.ParseError,
        ) as error:
            raise DataError(f"it is damaged or no TIFF ({error}); save it again") from error


def _storable(array: np.ndarray) -> np.ndarray:
    """Return an array of a dtype that OME-XML has a name for."""
    name = _STORED_AS.get(array.dtype.name)
    if name is None:
        return array
    stored = array.astype(name)
    if array.dtype.kind in "iu" and not np.array_equal(stored, array):
        raise DataError(
            f"{array.dtype} beyond the range of {name}, the largest integers of OME-TIFF: use the "
            "zarr backend, or other numbers"
        )
    return stored


def _metadata(stacked: Stack, batch: Batch) -> dict[str, Any]:
    record = msgspec.json.encode(stacked.record).decode()
    metadata: dict[str, Any] = {
        "axes": "".join(stacked.axes).upper(),
        "MapAnnotation": {"Namespace": _NAMESPACE, "record": record},
    }
    if batch.about.name:
        metadata["Name"] = batch.about.name
    if stacked.channels:
        metadata["Channel"] = {"Name": list(stacked.channels)}
    for axis, size in stacked.scale.items():
        key = "TimeIncrement" if axis == "t" else f"PhysicalSize{axis.upper()}"
        metadata[key] = size
        if unit := stacked.units.get(axis):
            metadata[f"{key}Unit"] = ome_symbol(unit)
    return metadata


def _record(xml: str | None) -> Record | None:
    """Return what :func:`_metadata` noted, if it was us."""
    for annotation in ElementTree.fromstring(xml or "<OME/>").iter():  # noqa: S314  # as in files.py
        if annotation.get("Namespace") == _NAMESPACE:
            text = annotation.findtext("{*}Value/{*}M")
            return msgspec.json.decode(text or "", type=Record)
    return None
