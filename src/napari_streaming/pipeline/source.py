"""Where the first values of a pipeline come from, well by well, read where they are needed."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.items import Content, Entry
from napari_streaming.pipeline.patterns import parse_pattern
from napari_streaming.wire.messages import Coordinate
from napari_streaming.wording import counted

__all__ = ["Source", "as_source", "plain"]

_SUFFIX = re.compile(r"(\.ome)?\.[A-Za-z]{3,4}$")


class Source(ABC):
    """What a pipeline starts from. Nothing is read before a well is processed.

    ``pipeline.compile`` also takes a mapping, for :meth:`mapping`, and the path of a zarr
    group, for :meth:`zarr`.
    """

    @abstractmethod
    def entries(self, axes: Sequence[str]) -> Sequence[Entry]:
        """Return all that there is; each entry has a coordinate for the first of `axes`.

        Raises
        ------
        DataError
            The source does not fit these axes.
        """

    @staticmethod
    def mapping(
        contents: Mapping[Any, Content],
        *,
        axes: Sequence[str] = (),
        labels: Mapping[str, Sequence[Coordinate]] | None = None,
    ) -> Source:
        """Return a source of contents by well, or by a tuple of coordinates.

        Parameters
        ----------
        contents : mapping of str, int or tuple to content
            A tuple holds coordinates for the first axes of the pipeline. A content is an
            array, Points, a number, the path of an image file, or a callable without
            arguments that returns one of the former.
        axes : sequence of str, optional
            Names of all axes of each array, colour aside. Those that are axes of the
            pipeline become coordinates; the others stay axes of the planes.
        labels : mapping of str to sequence of coordinates, optional
            Coordinates along such an axis: ``{"channel": ["DAPI", "GFP"]}``. By default
            0, 1, 2, ...
        """
        return _Mapping(dict(contents), tuple(axes), dict(labels or {}))

    @staticmethod
    def array(
        array: Any,
        *,
        axes: Sequence[str],
        labels: Mapping[str, Sequence[Coordinate]] | None = None,
    ) -> Source:
        """Return a source of one array (numpy, zarr, dask, ...) that holds all wells.

        Parameters
        ----------
        array : array
        axes, labels
            As for :meth:`mapping`; the pipeline's first axis must be among them.
        """
        return _Array(array, tuple(axes), dict(labels or {}))

    @staticmethod
    def folder(path: str | Path, pattern: str) -> Source:
        """Return a source of image files whose names hold coordinates.

        Parameters
        ----------
        path : str or Path
        pattern : str
            Like ``"{well}_s{site}_w{channel}.tif"``.
        """
        return _Folder(Path(path), pattern)

    @staticmethod
    def zarr(path: str | Path) -> Source:
        """Return a source of an OME-Zarr plate, an OME-Zarr image, or a group of images.

        Parameters
        ----------
        path : str or Path
            Fields of a plate's wells get the coordinate ``site``. Of a group, each member
            is a well.
        """
        return _Zarr(Path(path))


def as_source(given: Any) -> Source:
    """Return what somebody gave to ``compile`` as a source.

    Raises
    ------
    DataError
        It is none.
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, Mapping):
        return Source.mapping(given)
    if isinstance(given, str | Path):
        path = Path(given)
        if path.is_dir() and not _is_zarr(path):
            raise DataError(
                f'{path} is a folder: use Source.folder("{path}", "{{well}}_w{{channel}}.tif")'
            )
        return Source.zarr(path) if path.is_dir() else Source.mapping({_bare(path.name): path})
    if hasattr(given, "shape"):
        raise DataError(
            f"an array of shape {tuple(given.shape)}: say what its axes are, with "
            'Source.array(array, axes=("well", "channel", "y", "x"))'
        )
    raise DataError(
        f"a {type(given).__name__} is no source: use a mapping of wells to arrays or paths, or "
        "Source.array, Source.folder or Source.zarr"
    )


@dataclass(frozen=True)
class _Mapping(Source):
    contents: Mapping[Any, Content]
    axes: tuple[str, ...]
    labels: Mapping[str, Sequence[Coordinate]]

    def entries(self, axes: Sequence[str]) -> Sequence[Entry]:
        return [self._entry(key, content, axes) for key, content in self.contents.items()]

    def _entry(self, key: Any, content: Content, axes: Sequence[str]) -> Entry:
        values = key if isinstance(key, tuple) else (key,)
        if not 0 < len(values) <= len(axes):
            raise DataError(
                f"the source's key {key!r} has {counted(len(values), 'coordinate')}, and the "
                f"pipeline's axes are {', '.join(axes)}"
            )
        at = dict(zip(axes, map(plain, values), strict=False))
        if isinstance(content, str | Path):
            return Entry(at, Path(content), None)
        if self.axes and hasattr(content, "shape"):
            outer = [axis for axis in self.axes if axis in axes and axis not in at]
            along, order = _leading(content, self.axes, outer, self.labels)
            return Entry(at, content, along, order)
        return Entry(at, content, {})


@dataclass(frozen=True)
class _Array(Source):
    whole: Any
    axes: tuple[str, ...]
    labels: Mapping[str, Sequence[Coordinate]]

    def entries(self, axes: Sequence[str]) -> Sequence[Entry]:
        unit = axes[0]
        if unit not in self.axes:
            raise DataError(
                f"the array's axes {', '.join(self.axes)} have no {unit!r}, the pipeline's first "
                f'axis: use a mapping, {{"A01": array}}, or name the axis so'
            )
        outer = [axis for axis in self.axes if axis in axes and axis != unit]
        wells, _ = _leading(self.whole, self.axes, [unit], self.labels)
        place = self.axes.index(unit)
        rest = self.axes[:place] + self.axes[place + 1 :]
        made = []
        for i, well in enumerate(wells[unit]):
            part = _Part(self.whole, (slice(None),) * place + (i,))
            along, order = _leading(part, rest, outer, self.labels)
            made.append(Entry({unit: well}, part, along, order))
        return made


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of an array, read where it is needed."""

    whole: Any
    key: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        at = len(self.key) - 1
        return (*self.whole.shape[:at], *self.whole.shape[at + 1 :])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.whole[self.key], dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process is sent this piece of what is in memory, and the path of a zarr."""
        if isinstance(self.whole, np.ndarray):
            return np.asarray, (np.ascontiguousarray(self.whole[self.key]),)
        return _Part, (self.whole, self.key)


@dataclass(frozen=True)
class _Folder(Source):
    path: Path
    pattern: str

    def entries(self, axes: Sequence[str]) -> Sequence[Entry]:
        pattern = parse_pattern(self.pattern)
        if not self.path.is_dir():
            raise DataError(f"{self.path} is no folder; check the path")
        made = []
        for path in sorted(self.path.rglob("*") if "/" in self.pattern else self.path.iterdir()):
            at = pattern.coordinates(path.relative_to(self.path).as_posix())
            if at is None:
                continue
            if unknown := at.keys() - set(axes):
                raise DataError(
                    f"the pattern {self.pattern!r} has {', '.join(sorted(unknown))}, and the "
                    f"pipeline's axes are {', '.join(axes)}; use the same names"
                )
            if axes[0] not in at:
                raise DataError(f"the pattern {self.pattern!r} needs {{{axes[0]}}}")
            made.append(Entry(at, path, None))
        if not made:
            there = ", ".join(sorted(path.name for path in self.path.iterdir())[:3]) or "nothing"
            raise DataError(f"{self.path}: no file's name fits {self.pattern!r}; there is {there}")
        return made


@dataclass(frozen=True)
class _Zarr(Source):
    path: Path

    def entries(self, axes: Sequence[str]) -> Sequence[Entry]:
        import zarr

        unit = axes[0]
        if not self.path.exists():
            raise DataError(f"{self.path}: there is no such zarr; check the path")
        node = zarr.open(str(self.path), mode="r")
        if isinstance(node, zarr.Array):
            return [Entry({unit: _bare(self.path.name)}, self.path, None)]
        ome = _ome(node)
        if "plate" in ome:
            return list(self._fields(node, ome["plate"], unit))
        if "multiscales" in ome:
            return [Entry({unit: _bare(self.path.name)}, self.path, None)]
        return [Entry({unit: _bare(name)}, self.path / name, None) for name in sorted(node)]

    def _fields(self, plate: Any, about: Mapping[str, Any], unit: str) -> Iterator[Entry]:
        for well in about.get("wells", ()):
            folder = str(well["path"])
            row, _, column = folder.partition("/")
            name = f"{row}{int(column):02}" if column.isdigit() else row + column
            images = _ome(plate[folder]).get("well", {}).get("images", ())
            for site, image in enumerate(images):
                at = {unit: name} | ({"site": site} if len(images) > 1 else {})
                yield Entry(at, self.path / folder / str(image["path"]), None)


def _leading(
    array: Any,
    names: Sequence[str],
    outer: Sequence[str],
    labels: Mapping[str, Sequence[Coordinate]],
) -> tuple[dict[str, Sequence[Coordinate]], tuple[int, ...]]:
    """Return the coordinates along some axes of an array, and how to bring these to the front."""
    shape = tuple(array.shape)
    if not len(names) <= len(shape) <= len(names) + 1 or len(set(names)) != len(names):
        raise DataError(
            f"an array of shape {shape} and axes {', '.join(names)}: one name for each axis is "
            "needed, only colour at the end may have none"
        )
    along: dict[str, Sequence[Coordinate]] = {}
    for name in outer:
        size = shape[names.index(name)]
        along[name] = tuple(map(plain, labels.get(name, range(size))))
        if len(along[name]) != size or len(set(along[name])) != size:
            raise DataError(f"the axis {name!r} is {size} long: {size} different labels are needed")
    front = [names.index(name) for name in outer]
    return along, (*front, *(i for i in range(len(shape)) if i not in front))


def plain(value: Any) -> Coordinate:
    """Return a coordinate without numpy, which messages and files know nothing of.

    Raises
    ------
    DataError
        It is none.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float):
        raise DataError(f"{value!r} is no coordinate; use texts or numbers")
    return value


def _bare(name: str) -> str:
    """Return the name of a file or zarr without what says that it is one."""
    return _SUFFIX.sub("", name) or name


def _ome(group: Any) -> Mapping[str, Any]:
    """Return the OME metadata of a zarr group, of version 0.5 or before."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)  # type: ignore[no-any-return]


def _is_zarr(path: Path) -> bool:
    return any((path / mark).exists() for mark in ("zarr.json", ".zgroup", ".zarray"))
