"""Points and numbers as CSV: coordinates of the set, of its points, and features.

Points have the columns ``index, axis-0, axis-1, …``, which napari opens as points; before
them stand the named coordinates of the set, after them the features. A set without points has a
row without an index. Strings are quoted and numbers are not, so that "1" stays a string.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.base import Batch
from napari_streaming.pipeline.backends.stack import positions
from napari_streaming.pipeline.values import Points, Value
from napari_streaming.wording import counted

__all__ = ["read_table", "write_table"]

_Row = Sequence[object]
_CELL = re.compile(r'("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|\Z)')
_AXIS = re.compile(r"axis-[0-9]+")
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], object]], ...] = (
    (re.compile(r"[+-]?[0-9]+"), int),
    (re.compile(r"True|False"), lambda text: text == "True"),
    (re.compile(r"[+-]?([0-9]+[.]?[0-9]*([eE][+-]?[0-9]+)?|nan|inf)"), float),
)


def write_table(path: Path, batch: Batch) -> None:
    """Write sets of points, or numbers.

    Raises
    ------
    DataError
        They do not fit into one table.
    """
    positions(batch.at)
    names = list(batch.at[0])
    if batch.kind == "metric":
        header = [*names, "value"]
        rows: Iterator[_Row] = (
            [*here.values(), value.item() if isinstance(value, np.generic) else value]
            for here, value in zip(_in_order(batch, names), batch.values, strict=True)
        )
    else:
        header, rows = _table_of_points(batch, names)
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            # None is quoted too; an empty cell is what nothing looks like.
            file.write(_with_gaps(row)) if None in row else writer.writerow(row)


def read_table(path: Path) -> list[Value]:
    """Read what :func:`write_table` wrote.

    Raises
    ------
    DataError
        It is no such table.
    OSError
        It cannot be read.
    """
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    header, *rows = list(_cells(text)) or [[]]
    if header and header[-1] == "value" and "index" not in header:
        return [row[-1] for row in rows]  # type: ignore[misc]
    if "index" not in header:
        raise DataError(
            "it is no table of points or numbers: its columns are "
            f"{', '.join(map(str, header[:5]))}, and not index, axis-0, axis-1, …"
        )
    return list(_read_points([str(name) for name in header], rows))


def _in_order(batch: Batch, names: Sequence[str]) -> Iterator[dict[str, object]]:
    return ({name: here[name] for name in names} for here in batch.at)


def _table_of_points(batch: Batch, names: Sequence[str]) -> tuple[list[str], Iterator[_Row]]:
    sets = [value for value in batch.values if isinstance(value, Points)]
    ndim, features = sets[0].coordinates.shape[1], list(sets[0].features)
    for one in sets[1:]:
        if (one.coordinates.shape[1], list(one.features)) != (ndim, features):
            raise DataError(
                f"its sets of points differ: {counted(ndim, 'coordinate')} and the features "
                f"{features}, and {one.coordinates.shape[1]} and {list(one.features)}; "
                "give each its own path"
            )
    if taken := [n for n in (*names, *features) if n == "index" or _AXIS.fullmatch(n)]:
        raise DataError(f"{taken[0]!r} is the name of a column of its own; use another name")

    def rows() -> Iterator[_Row]:
        for here, one in zip(_in_order(batch, names), sets, strict=True):
            before = list(here.values())
            columns = [column.tolist() for column in one.features.values()]
            for index, (point, *after) in enumerate(
                zip(one.coordinates.tolist(), *columns, strict=True)
            ):
                yield [*before, index, *point, *after]
            if not len(one) and before:
                yield [*before, *[None] * (1 + ndim + len(features))]

    return [*names, "index", *(f"axis-{i}" for i in range(ndim)), *features], rows()


def _with_gaps(row: _Row) -> str:
    """Return a row as text in which None is an empty cell."""
    line = StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="")
    writer.writerow([cell for cell in row if cell is not None])
    return line.getvalue() + "," * sum(cell is None for cell in row) + "\n"


def _cells(text: str) -> Iterator[list[object]]:
    row: list[object] = []
    position = 0
    while position < len(text):
        cell = _CELL.match(text, position)
        if cell is None:
            raise DataError(f"it is no table: {text[position : position + 40]!r}")
        row.append(_value(cell[1]))
        position = cell.end()
        if cell[2] != ",":
            yield row
            row = []


def _value(text: str) -> object:
    if text.startswith('"'):
        return text[1:-1].replace('""', '"')
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            return convert(text)
    return text or None


def _read_points(header: Sequence[str], rows: Sequence[_Row]) -> Iterator[Points]:
    start = header.index("index") + 1
    axes = sum(1 for name in header[start:] if _AXIS.fullmatch(name))
    features = header[start + axes :]
    if any(len(row) != len(header) for row in rows):
        raise DataError(f"it is damaged: not all of its rows have {len(header)} cells")
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row[: start - 1])] or [[]]
    for group in groups:
        points = [tuple(row[start:]) for row in group if row[start - 1] is not None]
        columns: list[Any] = list(zip(*points, strict=True)) or [()] * (axes + len(features))
        coordinates = np.array(columns[:axes], np.float64).reshape(axes, len(points)).T
        yield Points(coordinates, dict(zip(features, columns[axes:], strict=True)))
