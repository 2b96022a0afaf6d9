"""Zarr arrays that grow plane by plane, in files that are never written twice.

Each plane is an inner chunk of a shard. The index stands at the start of a shard, so that
planes are appended in the order in which they come: first the plane's bytes, then the index, in
one write of less than a page. Whenever the process is killed, the file is whole. A plane that is
written again is appended, too: the index points to the newer one, and a timeline to both.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c  # zarr needs it for the same
import numpy as np
from numcodecs import blosc  # type: ignore[import-untyped]

from napari_streaming.record.documents import write_json
from napari_streaming.record.timeline import Chunk

__all__ = ["GrowingArray", "ShardFiles", "decompress"]

_LARGEST_SHARD = 2**31
_BLOSC_LIMIT = 2**31 - 64
_NOTHING = 2**64 - 1
_BLOCKS = {0: (), 1: (128,), 2: (16, 8), 3: (8, 4, 4)}


class _Shard:
    """A file of chunks behind their index."""

    def __init__(self, path: Path, count: int) -> None:
        self._index = np.full((count, 2), _NOTHING, "<u8")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            draft.write_bytes(self._packed())
            os.replace(draft, path)
        self._fd = os.open(path, os.O_RDWR)
        packed = os.pread(self._fd, self._index.nbytes, 0)
        self._index = np.frombuffer(packed, "<u8").reshape(count, 2).copy()
        self._end = os.fstat(self._fd).st_size

    def _packed(self) -> bytes:
        index = self._index.tobytes()
        return index + int(google_crc32c.value(index)).to_bytes(4, "little")

    def append(self, data: memoryview) -> int:
        """Write bytes behind all others; return where."""
        start, done = self._end, 0
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], start + done)
        self._end = start + done
        return start

    def point(self, number: int, offset: int, nbytes: int) -> None:
        """Have a chunk be these bytes."""
        self._index[number] = offset, nbytes
        os.pwrite(self._fd, self._packed(), 0)

    def read(self, number: int) -> bytes | None:
        """Return the bytes of a chunk, if there are any."""
        offset, nbytes = self._index[number].tolist()
        return None if offset == _NOTHING else os.pread(self._fd, nbytes, offset)

    def close(self) -> None:
        os.close(self._fd)


class ShardFiles:
    """The shards that were written to last stay open.

    Parameters
    ----------
    root : Path
        Where paths begin.
    limit : int
        How many stay open.
    """

    def __init__(self, root: Path, limit: int = 64) -> None:
        self.root, self._limit = root, limit
        self._open: OrderedDict[str, _Shard] = OrderedDict()

    def get(self, path: str, count: int) -> _Shard:
        """Return a shard of so many chunks, opened or made if need be."""
        shard = self._open.pop(path, None) or _Shard(self.root / path, count)
        self._open[path] = shard
        if len(self._open) > self._limit:
            self._open.popitem(last=False)[1].close()
        return shard

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()


class GrowingArray:
    """A zarr array that planes are written to.

    Parameters
    ----------
    files : ShardFiles
    path : str
        Of the array, from the root.
    names : sequence of str
        Of its dimensions.
    order : sequence of int
        The dimensions as they lie in memory: the stack's, of which a plane is one position,
        then the plane's.
    plane_shape : tuple of int
    dtype : dtype
        Little endian.
    """

    def __init__(
        self,
        files: ShardFiles,
        path: str,
        names: Sequence[str],
        order: Sequence[int],
        plane_shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._files, self._path, self._names = files, path, tuple(names)
        self._order, self._plane_shape, self._dtype = tuple(order), plane_shape, dtype
        self._stacked = len(order) - len(plane_shape)
        nbytes = math.prod(plane_shape) * dtype.itemsize
        self._is_compressed = nbytes < _BLOSC_LIMIT
        self._block = _block(self._stacked, nbytes)
        self._count = math.prod(self._block)
        self._lengths = [0] * self._stacked
        self._is_described = False

    def write(self, position: tuple[int, ...], plane: np.ndarray) -> Chunk:
        """Write the plane at a position along the stack's dimensions.

        Raises
        ------
        OSError
            It cannot be written; what was there is still there.
        """
        chunk = self.append(position, plane)
        self._shard(position).point(self._number(position), chunk.offset, chunk.nbytes)
        lengths = [max(n, p + 1) for n, p in zip(self._lengths, position, strict=True)]
        if lengths != self._lengths:
            self._lengths, self._is_described = lengths, False
        return chunk

    def append(self, position: tuple[int, ...], part: np.ndarray) -> Chunk:
        """Write a part of a plane beside it: only the returned place leads there.

        Raises
        ------
        OSError
            It cannot be written.
        """
        part = np.ascontiguousarray(part)
        data = self._compressed(part)
        offset = self._shard(position).append(data)
        return Chunk(self._key(position), offset, len(data))

    def read(self, position: tuple[int, ...]) -> np.ndarray | None:
        """Return the plane that was written last at a position, if there is one.

        Raises
        ------
        OSError, ValueError
            It cannot be read.
        """
        data = self._shard(position).read(self._number(position))
        return None if data is None else decompress(data, self._plane_shape, self._dtype)

    def _number(self, position: tuple[int, ...]) -> int:
        """Return which chunk of its shard a plane is."""
        within = tuple(p % b for p, b in zip(position, self._block, strict=True))
        return int(np.ravel_multi_index(within, self._block)) if within else 0

    def _compressed(self, array: np.ndarray) -> memoryview:
        if array.nbytes >= _BLOSC_LIMIT:
            return array.reshape(-1).view(np.uint8).data
        # Of what blosc has, the least work: it is faster than most disks, and what it saves
        # makes a slow one faster.
        return memoryview(blosc.compress(array, b"lz4", 1, blosc.SHUFFLE, 0))

    def _key(self, position: tuple[int, ...]) -> str:
        grid = [0] * len(self._order)
        for dimension, p, b in zip(self._order, position, self._block, strict=False):
            grid[dimension] = p // b
        return "/".join((self._path, "c", *map(str, grid)))

    def _shard(self, position: tuple[int, ...]) -> _Shard:
        return self._files.get(self._key(position), self._count)

    def describe(self) -> bool:
        """Say in the array's document how long it is now; return whether that was new.

        Raises
        ------
        OSError
            It cannot be written; the old document is still there.
        """
        if self._is_described:
            return False
        path = self._files.root / self._path / "zarr.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self._document())
        self._is_described = True
        return True

    def _document(self) -> dict[str, Any]:
        chunks: list[dict[str, Any]] = []
        if self._order != tuple(range(len(self._order))):
            chunks.append({"name": "transpose", "configuration": {"order": list(self._order)}})
        chunks.append({"name": "bytes", "configuration": {"endian": "little"}})
        if self._is_compressed:
            blosc_options = {
                "cname": "lz4", "clevel": 1, "shuffle": "shuffle",
                "typesize": self._dtype.itemsize, "blocksize": 0,
            }  # fmt: skip
            chunks.append({"name": "blosc", "configuration": blosc_options})
        sharding = {
            "chunk_shape": self._logical((1,) * self._stacked),
            "codecs": chunks,
            "index_codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "index_location": "start",
        }
        shard_shape = self._logical(self._block)
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": self._logical(tuple(self._lengths)),
            "data_type": "bool" if self._dtype.kind == "b" else self._dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard_shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if self._dtype.kind == "b" else 0,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "dimension_names": list(self._names),
            "attributes": {},
        }

    def _logical(self, stacked: tuple[int, ...]) -> list[int]:
        """Return lengths in the order of the array's dimensions."""
        lengths = [0] * len(self._order)
        for dimension, length in zip(self._order, (*stacked, *self._plane_shape), strict=True):
            lengths[dimension] = length
        return lengths


def _block(stacked: int, nbytes: int) -> tuple[int, ...]:
    """Return how many planes of so many bytes a shard has along each stack dimension."""
    block = list(_BLOCKS.get(stacked, (*(1,) * (stacked - 3), 8, 4, 4)))
    while block and max(block) > 1 and math.prod(block) * nbytes > _LARGEST_SHARD:
        longest = block.index(max(block))
        block[longest] //= 2
    return tuple(block)


def decompress(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return the plane, or the part of one, that was written as these bytes.

    Raises
    ------
    ValueError
        They are damaged.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    array = np.empty(shape, dtype)
    if nbytes >= _BLOSC_LIMIT:
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)
        return array
    try:
        blosc.decompress(data, array)
    except RuntimeError as error:
        raise ValueError(f"a plane is damaged: {error}") from None
    return array
