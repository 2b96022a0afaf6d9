"""A zarr array that grows: which of its planes are there, and which of them changed.

Chunks are counted by their files' names. Only what came is read: a *block*, the planes that
lie in the same chunks. That is one plane, unless a chunk (or a shard) holds several.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import TypeAlias

import numpy as np

from napari_streaming.pipeline.notices import walk
from napari_streaming.pipeline.zarr_images import ZARR_METADATA, ZarrImage
from napari_streaming.publish.files import ImageFile, open_file

__all__ = ["Block", "GrowingArray"]

Block: TypeAlias = tuple[int, ...]
"""Where chunks are along the axes that planes stack along."""

_AT_ONCE = 256 * 1024 * 1024
_ZERO = re.compile("0")


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the planes of an array lie in its chunks."""

    key: str  # a regular expression: what the files of chunks are called
    axes: tuple[str, ...]  # of the array
    stack: tuple[int, ...]  # which of them planes stack along
    chunks: tuple[int, ...]  # lengths along the axes of the array, as they are stored
    plane: tuple[int, ...]  # lengths along the other axes
    dtype: str

    @classmethod
    def of(cls, image: ImageFile) -> _Layout:
        array = image.array
        sample = array.metadata.encode_chunk_key((0,) * len(array.shape))
        stack = tuple(image.array_axes.index(name) for name in image.axes)
        return cls(
            key=_ZERO.sub("([0-9]+)", re.escape(sample)),
            axes=image.array_axes,
            stack=stack,
            chunks=tuple(array.shards or array.chunks),
            plane=tuple(n for axis, n in enumerate(array.shape) if axis not in stack),
            dtype=str(array.dtype),
        )

    @property
    def chunks_of_a_plane(self) -> int:
        sizes = [c for axis, c in enumerate(self.chunks) if axis not in self.stack]
        return prod(-(-n // c) for n, c in zip(self.plane, sizes, strict=True))

    @property
    def planes_of_a_block(self) -> int:
        return prod(self.chunks[axis] for axis in self.stack)


@dataclass(slots=True)
class _Chunks:
    """The chunks of a block that are there."""

    stamps: dict[tuple[int, ...], int] = field(default_factory=dict)
    stamp: int = 0  # of all together

    def put(self, chunk: tuple[int, ...], stamp: int | None) -> bool:
        """Take note of a chunk, or that it is gone; return whether anything changed."""
        before = self.stamps.pop(chunk, None)
        if stamp is not None:
            self.stamps[chunk] = stamp
        for one in (before, stamp):
            if one is not None:
                self.stamp ^= hash((chunk, one))
        return before != stamp


class GrowingArray:
    """An array of a zarr image, as far as it is written.

    Parameters
    ----------
    image : ZarrImage

    Attributes
    ----------
    about : ZarrImage
        The image.

    Raises
    ------
    DataError
        It cannot be read (yet).
    """

    def __init__(self, image: ZarrImage) -> None:
        self.about = image
        self._blocks: dict[Block, _Chunks] = {}
        self._beyond: set[Block] = set()  # that are there before the array is so long
        self._sent: dict[tuple[int, ...], bytes] = {}
        self._metadata = self._metadata_stamp()
        self._open()

    def _open(self) -> None:
        self._image = open_file(self.about.path)
        self._layout = _Layout.of(self._image)
        self._key = re.compile(self._layout.key)

    @property
    def image(self) -> ImageFile:
        """The image as it is now."""
        return self._image

    def refresh(self) -> Iterator[Block]:
        """Look at the metadata again, if it changed; return the blocks that look different.

        Raises
        ------
        DataError
            It cannot be read any more.
        """
        stamp = self._metadata_stamp()
        if stamp == self._metadata:
            return
        before, shape = self._layout, self._image.shape
        self._open()
        self._metadata = stamp
        if self._layout != before:  # another array
            self._blocks, self._sent = {}, {}
            yield from self.scan()
        elif self._image.shape == shape:  # it may be a copy with other chunks
            yield from self.scan()
        elif self._layout.planes_of_a_block > 1:
            yield from list(self._blocks)  # the last ones hold more planes now
        else:
            yield from self._beyond
        self._beyond = set()

    def _metadata_stamp(self) -> Hashable:
        folders = {self.about.path, self.about.array}
        return tuple(_stamp(folder / name) for folder in sorted(folders) for name in ZARR_METADATA)

    # ---- which chunks are there --------------------------------------------------------

    def scan(self, folder: Path | None = None) -> Iterator[Block]:
        """Look at all chunks, or at those in a folder; return the blocks that changed."""
        root = self.about.array
        seen: set[tuple[Block, tuple[int, ...]]] = set()
        for path in walk(folder or root, recursive=True):
            where = self._where(path)
            if where:
                seen.add(where)
                yield from self._put(*where, _stamp(path))
        if folder is None:
            known = {(block, chunk) for block, had in self._blocks.items() for chunk in had.stamps}
            for where in known - seen:
                yield from self._put(*where, None)

    def note(self, path: Path) -> Iterator[Block]:
        """Look at the file of a chunk; return the block that changed, if any."""
        where = self._where(path)
        if where:
            yield from self._put(*where, _stamp(path))

    def look_again(self, block: Block) -> None:
        """Look at the files of a block again, in case nobody told of a change."""
        for chunk in list(self._blocks[block].stamps):
            path = self.about.array / self._image.array.metadata.encode_chunk_key(chunk)
            self._blocks[block].put(chunk, _stamp(path))

    def _put(self, block: Block, chunk: tuple[int, ...], stamp: int | None) -> Iterator[Block]:
        if self._blocks.setdefault(block, _Chunks()).put(chunk, stamp):
            yield block

    def _where(self, path: Path) -> tuple[Block, tuple[int, ...]] | None:
        """Return the block and the chunk that a file holds; None: it is something else."""
        found = self._key.fullmatch(path.relative_to(self.about.array).as_posix())
        if not found:
            return None
        chunk = tuple(map(int, found.groups()))
        return tuple(chunk[axis] for axis in self._layout.stack), chunk

    # ---- blocks ------------------------------------------------------------------------

    def stamp(self, block: Block) -> Hashable:
        """Return what is equal as long as the planes of a block are the same."""
        ranges = tuple(self._ranges(block)) if self._layout.planes_of_a_block > 1 else ()
        return self._blocks[block].stamp, ranges

    def __contains__(self, block: Block) -> bool:
        """Whether chunks of a block were ever there; another array has other ones."""
        return block in self._blocks

    def is_complete(self, block: Block) -> bool:
        """Whether all chunks of a block are there. Those that are empty may never come."""
        return len(self._blocks[block].stamps) >= self._layout.chunks_of_a_plane

    def is_within(self, block: Block) -> bool:
        """Whether the array is long enough yet for a block that is there."""
        if all(self._ranges(block)):
            return True
        self._beyond.add(block)
        return False

    def has_data(self, block: Block) -> bool:
        """Whether any chunk of a block is there."""
        return bool(self._blocks[block].stamps)

    def _ranges(self, block: Block) -> list[range]:
        lengths = [self._layout.chunks[axis] for axis in self._layout.stack]
        return [
            range(i * c, min((i + 1) * c, n))
            for i, c, n in zip(block, lengths, self._image.shape, strict=True)
        ]

    def planes(self, block: Block) -> Iterator[tuple[dict[str, int | str], np.ndarray]]:
        """Read the planes of a block that changed since they were last asked for.

        Where a chunk holds several planes, those with nothing but the fill value are
        taken for such that are yet to be written.

        Yields
        ------
        coordinates : dict of str to int or str
        plane : ndarray

        Raises
        ------
        DataError
            They cannot be read.
        """
        image, ranges = self._image, self._ranges(block)
        if self._layout.planes_of_a_block == 1:
            position = tuple(r.start for r in ranges)
            yield image.coordinates(position), image.read(*position)
            return
        at_once = None
        if prod(map(len, ranges)) * image.nbytes <= _AT_ONCE:
            at_once = image.read(*(slice(r.start, r.stop) for r in ranges))
        for position in product(*ranges):
            if at_once is None:
                plane = image.read(*position)
            else:
                plane = at_once[tuple(p - r.start for p, r in zip(position, ranges, strict=True))]
            digest = hashlib.blake2b(plane.tobytes(), digest_size=8).digest()
            sent = self._sent.get(position)
            if digest == sent or (sent is None and _is_fill(plane, image.array.fill_value)):
                continue
            yield image.coordinates(position), plane
            self._sent[position] = digest


def _is_fill(plane: np.ndarray, fill: object) -> bool:
    value = np.asarray(0 if fill is None else fill, plane.dtype)
    empty = plane == value
    if plane.dtype.kind == "f" and np.isnan(value):
        empty = np.isnan(plane)
    return bool(np.all(empty))


def _stamp(path: Path) -> int | None:
    """Return what is equal as long as a file is the same; None if there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return hash((about.st_size, about.st_mtime_ns, about.st_ino))
