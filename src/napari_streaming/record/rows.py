"""Zarr arrays that grow row by row: the coordinates of points and the like.

Chunks are not compressed and have their full size from the start, sparse: rows are written to
their place, so that the file is whole whenever the process is killed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.record.documents import write_json
from napari_streaming.record.timeline import Rows

__all__ = ["GrowingRows", "read_rows"]

_CHUNK = 4 * 2**20


class GrowingRows:
    """A zarr array, the first dimension of which grows.

    Parameters
    ----------
    root : Path
    path : str
        Of the array, from the root.
    shape : tuple of int
        Of a row.
    dtype : dtype
        Little endian.
    """

    def __init__(self, root: Path, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._root, self._path, self._shape, self._dtype = root, path, shape, dtype
        self._rows, self._described = 0, -1

    def append(self, rows: np.ndarray) -> Rows:
        """Write rows behind all others.

        Raises
        ------
        OSError
            They cannot be written.
        """
        rows = np.ascontiguousarray(rows)
        data = rows.reshape(-1).view(np.uint8).data if rows.size else memoryview(b"")
        size = math.prod(self._shape) * self._dtype.itemsize
        per_chunk = _rows_in_chunk(size)
        done = 0
        while done < len(rows):
            number, within = divmod(self._rows + done, per_chunk)
            count = min(len(rows) - done, per_chunk - within)
            path = self._root / self._path / _chunk_key(number, self._shape)
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                os.ftruncate(fd, per_chunk * size)
                _write(fd, data[done * size : (done + count) * size], within * size)
            finally:
                os.close(fd)
            done += count
        first = self._rows
        self._rows += len(rows)
        return Rows(self._path, first, len(rows))

    def describe(self) -> None:
        """Say in the array's document how long it is now.

        Raises
        ------
        OSError
            It cannot be written; the old document is still there.
        """
        if self._described == self._rows:
            return
        per_chunk = _rows_in_chunk(math.prod(self._shape) * self._dtype.itemsize)
        path = self._root / self._path / "zarr.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self._rows, *self._shape],
            "data_type": "bool" if self._dtype.kind == "b" else self._dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [per_chunk, *self._shape]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if self._dtype.kind == "b" else 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {},
        }
        write_json(path, document)
        self._described = self._rows


def read_rows(root: Path, rows: Rows, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return rows that were written.

    Raises
    ------
    OSError
        They cannot be read.
    ValueError
        They are not there.
    """
    out = np.empty((rows.count, *shape), dtype)
    size = math.prod(shape) * dtype.itemsize
    per_chunk = _rows_in_chunk(size)
    done = 0
    while done < rows.count:
        number, within = divmod(rows.first + done, per_chunk)
        count = min(rows.count - done, per_chunk - within)
        with (root / rows.path / _chunk_key(number, shape)).open("rb") as file:
            file.seek(within * size)
            data = file.read(count * size)
        out[done : done + count] = np.frombuffer(data, dtype).reshape(count, *shape)
        done += count
    return out


def _rows_in_chunk(size: int) -> int:
    return max(1, _CHUNK // max(1, size))


def _chunk_key(number: int, shape: tuple[int, ...]) -> str:
    return "/".join(["c", str(number), *["0"] * len(shape)])


def _write(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
