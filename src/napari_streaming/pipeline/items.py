"""What a source lists, and the items that this becomes where it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.values import Points, Value
from napari_streaming.publish.files import open_file
from napari_streaming.wire.messages import Coordinate

__all__ = ["Content", "Entry", "Item", "load"]

Content = Any
"""An array (numpy, zarr, dask, ...), Points, a number, a path, or a callable that returns one."""

_FILE_AXES = {"c": "channel", "t": "time"}
"""Our names for what files call c and t, where a pipeline has no axis of the short name."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A value with its named coordinates."""

    at: Mapping[str, Coordinate]
    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Something that becomes one item or several when it is loaded.

    Parameters
    ----------
    at : mapping of str to coordinate
        What all its items have in common.
    content : array, Points, number, str, Path, or callable
        What holds them.
    along : mapping of str to sequence of coordinate, or None
        Coordinates along the leading axes of the content. None: a file, which says it itself.
    order : tuple of int
        How to transpose the content first, so that these axes lead; empty: they do.
    """

    at: Mapping[str, Coordinate]
    content: Content
    along: Mapping[str, Sequence[Coordinate]] | None
    order: tuple[int, ...] = ()


def load(entries: Sequence[Entry], axes: Sequence[str]) -> Iterator[Item]:
    """Read entries.

    Parameters
    ----------
    entries : sequence of Entry
    axes : sequence of str
        Of the pipeline: what a file calls the same becomes a coordinate.

    Yields
    ------
    Item
        Its arrays are read-only, or copies.

    Raises
    ------
    DataError
        Something cannot be read, or is nothing that a pipeline can start from.
    """
    for entry in entries:
        content = entry.content() if callable(entry.content) else entry.content
        if isinstance(content, str | Path):
            yield from _load_file(Path(content), entry.at, axes)
        elif isinstance(content, Points | int | float):
            yield Item(entry.at, content)
        elif hasattr(content, "shape"):
            yield from _unstack(entry, np.asarray(content))
        else:
            raise DataError(
                f"the source has a {type(content).__name__} at {dict(entry.at)}: use an array, "
                "Points, a number or the path of an image file"
            )


def _unstack(entry: Entry, array: np.ndarray) -> Iterator[Item]:
    along = entry.along or {}
    ordered = array.transpose(entry.order) if entry.order else array
    for place in np.ndindex(*(len(values) for values in along.values())):
        at = {name: values[i] for (name, values), i in zip(along.items(), place, strict=True)}
        yield Item({**entry.at, **at}, ordered[place])


def _load_file(path: Path, at: Mapping[str, Coordinate], axes: Sequence[str]) -> Iterator[Item]:
    """Read a file; what the pipeline has no axis for stays an axis of its items."""
    with open_file(path) as file:
        names = [_pipeline_axis(name, axes) for name in file.axes]
        outer = [i for i, name in enumerate(names) if name in axes and name not in at]
        planes: dict[tuple[Coordinate, ...], list[np.ndarray]] = {}
        inner = tuple(n for i, n in enumerate(file.shape) if i not in outer)
        for coordinates, plane in file.planes():
            values = tuple(coordinates.values())
            planes.setdefault(tuple(values[i] for i in outer), []).append(plane)
    for key, several in planes.items():
        value = np.stack(several).reshape(*inner, *several[0].shape) if inner else several[0]
        yield Item({**at, **{names[i]: v for i, v in zip(outer, key, strict=True)}}, value)


def _pipeline_axis(name: str, axes: Sequence[str]) -> str:
    return name if name in axes else _FILE_AXES.get(name, name)
