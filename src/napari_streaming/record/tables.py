"""Tables of a recording that any program reads: CSV files that grow."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_streaming.wire.messages import FEATURE_PREFIX, Declare, Item

__all__ = ["GrowingTable", "columns_of"]

_MOST_ROWS = 1_000_000


class GrowingTable:
    """A CSV file. Rows beyond a million are left out: the arrays have them.

    Parameters
    ----------
    path : Path
    header : sequence of str
    """

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self._path, self._rows = path, 0
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(header)

    def add(self, rows: Iterable[Sequence[object]], count: int) -> None:
        """Append rows, so many; they are on their way to the disk after :meth:`flush`."""
        if self._rows < _MOST_ROWS:
            self._writer.writerows(rows)
            self._rows += count

    def flush(self) -> None:
        """Write what was added.

        Raises
        ------
        OSError
            The disk has no room.
        """
        if not self._text.tell():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._text.getvalue())
        self._text.seek(0)
        self._text.truncate()


def columns_of(
    declare: Declare, item: Item, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """Return the table of a set of points or tracks; None of any other set.

    Coordinates of the set stand in each row.
    """
    if declare.kind not in ("points", "tracks"):
        return None
    data = arrays["data"]
    names = (["track"] if declare.kind == "tracks" else []) + list(declare.axes)
    columns: dict[str, np.ndarray] = {"item": np.full(len(data), item.sequence)}
    for name, value in item.at.items():
        columns[name] = np.full(len(data), value)
    if item.key:
        columns["key"] = np.full(len(data), item.key)
    # A track's time may have the name of a coordinate.
    for name, column in zip(names, data.T, strict=True):
        columns[name if name not in columns else f"{name} of the row"] = column
    for name in declare.features:
        columns[name if name not in columns else f"{name} (feature)"] = arrays[
            FEATURE_PREFIX + name
        ]
    return columns
