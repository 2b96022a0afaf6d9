"""What the name of a file says of how it is shown: its layer, its coordinates, and as what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import PurePosixPath

from napari_streaming.pipeline.patterns import Pattern

__all__ = ["Naming", "Shown", "is_ignored"]

_IMAGES = {".tif", ".tiff", ".ome", ".btf", ".tf8", ".zarr"} | {
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"
}  # fmt: skip
_UNFINISHED = {".tmp", ".temp", ".part", ".partial", ".filepart", ".incomplete"} | {
    ".crdownload", ".download", ".lock", ".swp", ".bak"
}  # fmt: skip
_LABEL_WORDS = {"mask", "masks", "label", "labels", "seg", "segmentation"}
_WORD = re.compile(r"[a-z]{2,}")  # single letters announce a coordinate: s1, t03


def is_ignored(relative: PurePosixPath) -> bool:
    """Whether a name means that a file is hidden, temporary or unfinished, or its folder is."""
    return any(
        part.startswith((".", "~")) or part.endswith("~") or _has_suffix(part, _UNFINISHED)
        for part in relative.parts
    )


def _has_suffix(name: str, suffixes: set[str]) -> bool:
    return any(suffix.lower() in suffixes for suffix in PurePosixPath(name).suffixes)


@dataclass(frozen=True, slots=True)
class Shown:
    """How a file is shown.

    Parameters
    ----------
    layer : str
    at : mapping of str to int or str
        What its name says of where it belongs.
    as_labels : bool or None
        None: if its pixels are integers.
    """

    layer: str
    at: Mapping[str, int | str] = field(default_factory=dict)
    as_labels: bool | None = False


@dataclass(frozen=True, slots=True)
class Naming:
    """The rules that names are read by.

    Parameters
    ----------
    folder : str
        The name of the folder that is watched.
    pattern : Pattern, optional
        Names that do not fit it are nothing to be shown.
    name : str
        One layer for all files, except labels in an OME-Zarr, which keep their own name.
    labels : sequence of str, optional
        Globs: files whose name or path fits one are labels, and no others are. By default
        it is those whose name ends in a word like *mask*, *labels* or *seg*, numbers and
        single letters aside, if their pixels are integers.
    """

    folder: str
    pattern: Pattern | None = None
    name: str = ""
    labels: Sequence[str] | None = None

    def is_wanted(self, relative: PurePosixPath) -> bool:
        """Whether a file that is no zarr may be an image that is to be shown."""
        if self.pattern is not None:
            return self._coordinates(relative) is not None
        return relative.suffix.lower() in _IMAGES

    def shown(self, relative: PurePosixPath, inner: Sequence[str] = ()) -> Shown | None:
        """Return how a file is shown; None: it does not fit the pattern.

        Parameters
        ----------
        relative : PurePosixPath
            Its path in the folder that is watched.
        inner : sequence of str
            The path of an image in a zarr hierarchy.
        """
        at = None
        if self.pattern is not None and self.pattern.has_folders:
            at = self._coordinates(relative.joinpath(*inner))
        if at is not None:
            inner = ()
        elif (at := self._coordinates(relative)) is None:
            return None
        layer = "/".join([self.name or self._layer(relative), *inner])
        return Shown(layer, at, self._as_labels(layer, relative.joinpath(*inner)))

    def _coordinates(self, relative: PurePosixPath) -> dict[str, int | str] | None:
        if self.pattern is None:
            return {"file": str(_stem(relative))} if self.name else {}
        return self.pattern.coordinates(
            str(relative) if self.pattern.has_folders else relative.name
        )

    def _layer(self, relative: PurePosixPath) -> str:
        if self.pattern is None:
            return str(_stem(relative))
        folders = () if self.pattern.has_folders else relative.parent.parts
        return "/".join(filter(None, [*folders, self.pattern.words])) or self.folder

    def _as_labels(self, layer: str, relative: PurePosixPath) -> bool | None:
        if self.labels is not None:
            return any(
                fnmatch(text, glob)
                for glob in self.labels
                for text in (relative.name, str(relative))
            )
        says = _stem(relative).name if self.pattern is None else layer
        words = _WORD.findall(says.lower())
        return None if words and words[-1] in _LABEL_WORDS else False


def _stem(relative: PurePosixPath) -> PurePosixPath:
    """Return a path without the extensions of images, like ``.ome.zarr``."""
    while relative.suffix.lower() in _IMAGES and relative.stem:
        relative = relative.with_suffix("")
    return relative
