"""A recording that is opened: its timeline, and layers that read their planes when looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.errors import DataError, StorageError
from napari_streaming.record.recorder import INDEX, data_folder
from napari_streaming.record.rows import read_rows
from napari_streaming.record.shards import decompress
from napari_streaming.record.timeline import Chunk, Entry, read_timeline
from napari_streaming.wire.messages import PLANE_KINDS, Declare, Item

__all__ = ["OpenRecording", "StoredItem", "plane_shape"]

TIMELINE = "timeline.jsonl"


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item of a recording.

    Parameters
    ----------
    entry : Entry
    item : Item
    declare : Declare
    """

    entry: Entry
    item: Item
    declare: Declare


class OpenRecording:
    """A recording, also one that is still written to, or whose program was killed.

    Parameters
    ----------
    path : str or Path
        ``run.nstream``, or the folder ``run.ome.zarr``.

    Attributes
    ----------
    folder : Path
        Where its data is.
    began : float
        When, in seconds since the epoch.
    entries : list of Entry
        The timeline, as far as it was written when it was opened.

    Raises
    ------
    DataError
        It is none, or damaged.
    StorageError
        It cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = _folder(Path(path))
        try:
            header, entries = read_timeline(self.folder / TIMELINE)
            self.began, self.entries = header.began, list(entries)
        except OSError as error:
            raise StorageError(f"{path}: the recording cannot be read: {error}") from error
        self._declares: dict[tuple[str, int], Declare] = {}
        for entry in self.entries:
            if isinstance(entry.message, Declare):
                self._declares[entry.run, entry.message.stream] = entry.message

    @property
    def duration(self) -> float:
        """Seconds from its beginning to what came last."""
        return self.entries[-1].t if self.entries else 0.0

    def item_of(self, entry: Entry) -> StoredItem | None:
        """Return the item of an entry, if it has one."""
        if not isinstance(entry.message, Item):
            return None
        declare = self._declares.get((entry.run, entry.message.stream))
        if declare is None:
            raise DataError(f"{self.folder}: an item of a stream that was never declared")
        return StoredItem(entry, entry.message, declare)

    def declare_of(self, run: str, stream: int) -> Declare:
        """Return the declaration of a stream."""
        return self._declares[run, stream]

    def arrays(self, stored: StoredItem) -> dict[str, np.ndarray]:
        """Read an item's arrays, with the shapes that they had when they came.

        Raises
        ------
        StorageError
            They cannot be read, or are damaged.
        """
        entry, item = stored.entry, stored.item
        if stored.declare.kind in PLANE_KINDS:
            array = item.arrays[0]
            shape = plane_shape(item)
            planes = [self.read(one, shape, np.dtype(array.dtype)) for one in entry.planes]
            return {"data": planes[0] if not item.along else np.stack(planes).reshape(array.shape)}
        read: dict[str, np.ndarray] = {}
        for about in item.arrays:
            dtype = np.dtype(about.dtype)
            if about.name in entry.words:
                read[about.name] = np.array(entry.words[about.name], dtype).reshape(about.shape)
                continue
            try:
                read[about.name] = read_rows(
                    self.folder, entry.rows[about.name], about.shape[1:], dtype
                )
            except (OSError, ValueError, KeyError) as error:
                raise StorageError(f"{self.folder}: {error}") from error
        return read

    def read(self, chunk: Chunk, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """Read a plane, or a part of one.

        Raises
        ------
        StorageError
            It cannot be read, or is damaged.
        """
        try:
            with (self.folder / chunk.path).open("rb") as file:
                file.seek(chunk.offset)
                return decompress(file.read(chunk.nbytes), shape, dtype)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.folder / chunk.path}: {error}") from error


def plane_shape(item: Item) -> tuple[int, ...]:
    """Return the shape of each plane, or part of one, in an item of planes."""
    return item.arrays[0].shape[len(item.along) :]


def _folder(path: Path) -> Path:
    """Return where a recording's data is."""
    if path.suffix != INDEX:
        return path if path.is_dir() else data_folder(path)
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["data"]
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is no recording") from None
    if not isinstance(name, str) or name != Path(name).name:
        raise DataError(f"{path} does not lead to a folder beside it")
    return path.with_name(name)
