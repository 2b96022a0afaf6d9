"""What stores in files have in common: where they lie, what they are called, all or nothing."""

from __future__ import annotations

from abc import abstractmethod
from errno import EISDIR
from pathlib import Path
from typing import ClassVar

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.atomic import replacing, tidy
from napari_streaming.pipeline.backends.base import Backend, Batch
from napari_streaming.pipeline.backends.stack import Record, Stack, stack, take_apart
from napari_streaming.pipeline.backends.table import read_table, write_table
from napari_streaming.pipeline.values import Value

__all__ = ["FileBackend"]

_DTYPES = {
    np.dtype(name)
    for name in ("bool", "f2", "f4", "f8", "c8", "c16", *(f"{k}{n}" for k in "iu" for n in "1248"))
}


class FileBackend(Backend):
    """Keeps images as files of one format, points and numbers as CSV.

    Parameters
    ----------
    root : Path
        Where paths begin.
    """

    format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    colour: ClassVar[str]  # what the format calls a plane's axis of colour

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tidied: set[Path] = set()

    def save(self, batch: Batch) -> None:  # noqa: D102  # documented by the base class
        path = self._find(batch.path)
        if batch.kind in ("points", "metric"):
            if path.suffix.lower() != ".csv":
                raise DataError(f"{batch.kind} are saved as CSV; end the path in .csv")
            with replacing(path) as draft:
                write_table(draft, batch)
            return
        if not path.name.lower().endswith(self.suffixes):
            raise DataError(
                f"an array is saved as {self.format}; end the path in {self.suffixes[0]}"
            )
        stacked = stack(batch, self.colour)
        if not stacked.array.size:
            raise DataError(f"an array of shape {stacked.array.shape} has no pixels; leave it out")
        if stacked.array.dtype.newbyteorder("=") not in _DTYPES:
            raise DataError(
                f"an array of {stacked.array.dtype}: use integers, floats or complex numbers of up "
                "to 64 bits"
            )
        self.check_replaceable(path)
        with replacing(path) as draft:
            self.write(draft, stacked, batch)

    def load(self, path: str, *, whole: bool) -> list[Value]:  # noqa: D102
        file = self._find(path)
        if not file.exists():
            raise DataError("there is nothing; check the path, or save it first")
        if file.suffix.lower() == ".csv":
            return read_table(file)
        array, record = self.read(file)
        if record is None:
            return [array]
        array = array.reshape(record.shape).astype(record.dtype, copy=False)
        if whole and len(record.index) > 1:
            return [array]
        return list(take_apart(array, record))

    def exists(self, path: str) -> bool:  # noqa: D102
        return self._find(path).exists()

    @abstractmethod
    def write(self, draft: Path, stacked: Stack, batch: Batch) -> None:
        """Write a stack to a path at which nothing is."""

    @abstractmethod
    def read(self, path: Path) -> tuple[np.ndarray, Record | None]:
        """Return an array, and its record if we wrote it.

        Axes of length 1 may be missing then, and the dtype may be a wider one.

        Raises
        ------
        DataError
            It cannot be read.
        """

    def check_replaceable(self, path: Path) -> None:
        """Refuse to put something in the place of what is not ours to remove.

        Raises
        ------
        OSError
            With the reason.
        """
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "there is a folder of this name")

    def _find(self, path: str) -> Path:
        """Return where a path lies, what dead processes left there being removed."""
        place = self._root / path
        if place.parent not in self._tidied:
            tidy(place.parent)
            self._tidied.add(place.parent)
        return place
