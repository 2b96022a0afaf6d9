"""The zarr hierarchies in a folder that is watched: their arrays, and the planes that came."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeAlias

from napari_streaming.errors import DataError
from napari_streaming.pipeline.growing import Block, GrowingArray
from napari_streaming.pipeline.settling import Settling
from napari_streaming.pipeline.zarr_images import ZARR_METADATA, ZarrImage, find_images, is_zarr

__all__ = ["Key", "WatchedZarrs"]

Key: TypeAlias = Path | tuple[Path, Block]
"""What settles: a file, the structure of a zarr hierarchy, or a block of an array."""


@dataclass(slots=True)
class _Zarr:
    arrays: dict[Path, GrowingArray] = field(default_factory=dict)
    changed: float = 0.0


class WatchedZarrs:
    """Finds out which arrays there are, and has their blocks settle.

    Parameters
    ----------
    settling : Settling
        It learns of what changes.
    patience : float
        Seconds to wait for a chunk that may never come because it is empty, or for metadata
        that make an array a level of an image.
    is_wanted : callable
        Whether an image of a hierarchy is to be streamed.
    """

    def __init__(
        self,
        settling: Settling[Key],
        patience: float,
        is_wanted: Callable[[Path, ZarrImage], bool],
    ) -> None:
        self._settling, self._patience, self._is_wanted = settling, patience, is_wanted
        self._zarrs: dict[Path, _Zarr] = {}
        self._numbers = count()

    def __contains__(self, path: object) -> bool:
        """Whether a folder is the root of a hierarchy."""
        return path in self._zarrs

    def discover(self, folder: Path) -> bool:
        """Return whether a folder, which is in no hierarchy, is the root of one."""
        if folder in self._zarrs:
            return True
        if not is_zarr(folder):
            return False
        for inner in [known for known in self._zarrs if known.is_relative_to(folder)]:
            self._forget(inner)
        self._zarrs[folder] = _Zarr(changed=time.monotonic())
        self._ask_for(folder)
        return True

    def _ask_for(self, root: Path) -> None:
        self._settling.note(root, next(self._numbers), time.monotonic(), wait=0.0)

    def note(self, root: Path, path: Path) -> None:
        """Take note that something in a hierarchy may have changed."""
        zarr = self._zarrs[root]
        if path == root:  # it is found again, or was replaced: its metadata tell
            self._ask_for(root)
            return
        zarr.changed = time.monotonic()
        array = next((zarr.arrays[p] for p in (path, *path.parents) if p in zarr.arrays), None)
        is_folder = os.path.isdir(path)
        if array is not None:
            self._note_blocks(array, array.scan(path) if is_folder else array.note(path))
        if path.name in ZARR_METADATA or (is_folder and array is None):
            self._ask_for(root)

    def scan(self) -> None:
        """Look at all chunks, in case nobody told of a change."""
        for zarr in self._zarrs.values():
            for array in zarr.arrays.values():
                self._note_blocks(array, array.scan())

    def _note_blocks(self, array: GrowingArray, blocks: Iterator[Block]) -> None:
        for block in list(blocks):
            key = (array.about.array, block)
            if not array.has_data(block) and not self._settling.is_done(key):
                self._settling.forget(key)
                continue
            wait = None if array.is_complete(block) else self._patience
            self._settling.note(key, array.stamp(block), time.monotonic(), wait)

    @property
    def roots(self) -> list[Path]:
        """The roots of all hierarchies."""
        return list(self._zarrs)

    def explore(self, root: Path, *, hurry: bool = False) -> None:
        """Look for the arrays in a hierarchy that settled, and for what is new in its metadata.

        Parameters
        ----------
        root : Path
        hurry : bool
            Whether not to wait for metadata that may be yet to come.

        Raises
        ------
        DataError
            Some metadata is damaged, or half-written. What else there is, is found.
        """
        if not is_zarr(root):
            self._forget(root)
            return
        zarr, now = self._zarrs[root], time.monotonic()
        found = {image.array: image for image in find_images(root)}
        is_quiet = hurry or now - zarr.changed >= self._patience
        ready = [image for image in found.values() if image.is_certain or is_quiet]
        for gone in zarr.arrays.keys() - found.keys():
            del zarr.arrays[gone]
            self._forget_blocks(gone)
        damaged: DataError | None = None
        for image in ready:
            try:
                if self._is_wanted(root, image):
                    self._look_at(zarr, image)
            except DataError as error:
                damaged = error
        if damaged is not None:
            raise damaged
        if len(ready) < len(found):
            self._settling.postpone(root, now, self._patience)
        else:
            self._settling.finish(root)

    def _look_at(self, zarr: _Zarr, image: ZarrImage) -> None:
        array = zarr.arrays.get(image.array)
        if array is not None and array.about == image:
            self._note_blocks(array, array.refresh())
            return
        if array is not None:
            self._forget_blocks(image.array)
        zarr.arrays[image.array] = array = GrowingArray(image)
        self._note_blocks(array, array.scan())

    def _forget(self, root: Path) -> None:
        for array in list(self._zarrs.pop(root).arrays):
            self._forget_blocks(array)
        self._settling.forget(root)

    def _forget_blocks(self, array: Path) -> None:
        self._settling.forget_all(lambda key: isinstance(key, tuple) and key[0] == array)

    def ready(self, path: Path, block: Block) -> tuple[Path, GrowingArray] | None:
        """Return the root and the array of a block that settled, if it can be read now."""
        key = (path, block)
        root = next((r for r, zarr in self._zarrs.items() if path in zarr.arrays), None)
        if root is None or block not in self._zarrs[root].arrays[path]:
            self._settling.forget(key)
            return None
        array = self._zarrs[root].arrays[path]
        array.look_again(block)
        if not self._settling.is_same(key, array.stamp(block)):
            self._note_blocks(array, iter([block]))
            return None
        if not array.is_within(block):
            self._settling.postpone(key, time.monotonic(), self._patience)
            return None
        return root, array
