"""One image of a recording: an OME-Zarr group with one growing array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_streaming.record.documents import KEY, group, write_json
from napari_streaming.record.layout import Layout, Positions
from napari_streaming.record.shards import GrowingArray, ShardFiles
from napari_streaming.record.timeline import Chunk
from napari_streaming.wire.messages import Coordinate, Declare

__all__ = ["RecordedImage", "free_name"]

At = Mapping[str, Coordinate]

_UNITS = {
    "nm": "nanometer", "um": "micrometer", "µm": "micrometer", "\u03bcm": "micrometer",
    "micron": "micrometer", "mm": "millimeter", "cm": "centimeter", "m": "meter",
    "ms": "millisecond", "s": "second", "min": "minute", "h": "hour",
}  # fmt: skip
_COLOURS = {
    "red": "FF0000", "green": "00FF00", "blue": "0000FF",
    "cyan": "00FFFF", "magenta": "FF00FF", "yellow": "FFFF00",
}  # fmt: skip


class RecordedImage:
    """Planes of one stream whose coordinates OME-Zarr can hold together.

    Parameters
    ----------
    files : ShardFiles
    path : str
        Of the group, from the root.
    declare : Declare
    layout : Layout
    at : mapping of str to Coordinate
        Of the first plane.
    """

    def __init__(
        self, files: ShardFiles, path: str, declare: Declare, layout: Layout, at: At
    ) -> None:
        self.path, self._declare, self._layout = path, declare, layout
        self._folder = files.root / path
        self._split = {name: at[name] for name in layout.split}
        self._positions = {name: Positions(at[name]) for name in layout.stacked}
        self._limits: tuple[float, float] | None = None
        names = [one.name for one in layout.dimensions]
        self._array = GrowingArray(
            files, f"{path}/0", names, layout.order, declare.shape, np.dtype(declare.dtype)
        )

    @property
    def stream(self) -> int:
        """Whose planes these are."""
        return self._declare.stream

    @property
    def ome(self) -> bool:
        """Whether it is an image in the sense of OME-Zarr."""
        return self._layout.is_ome

    def takes(self, at: At) -> bool:
        """Whether the plane at coordinates of the right names has a place here."""
        return all(at[name] == value for name, value in self._split.items()) and all(
            known.takes(at[name]) for name, known in self._positions.items()
        )

    def is_home_for(self, labels: Declare, at: At) -> bool:
        """Whether labels at coordinates can be labels of this image, of all its channels."""
        ours = self._declare
        names = {*self._split, *self._positions}
        channels = {one.name for one in self._layout.dimensions if one.role == "channel"}
        return (
            self.ome
            and ours.kind == "image"
            and not ours.rgb
            and (ours.shape, ours.axes) == (labels.shape, labels.axes)
            and names - channels == at.keys() - channels
            and all(at[name] == value for name, value in self._split.items())
        )

    def write(self, at: At, plane: np.ndarray) -> Chunk:
        """Write a plane, instead of what was at these coordinates.

        Raises
        ------
        OSError
            It cannot be written.
        """
        self._note_range(plane)
        return self._array.write(self._position(at), plane)

    def append(self, at: At, part: np.ndarray) -> Chunk:
        """Write a part of a plane, which does not show in the image yet.

        Raises
        ------
        OSError
            It cannot be written.
        """
        return self._array.append(self._position(at), part)

    def read(self, at: At) -> np.ndarray | None:
        """Return the plane that was written last at coordinates, writable.

        Raises
        ------
        OSError, ValueError
            It cannot be read.
        """
        return self._array.read(self._position(at))

    def _position(self, at: At) -> tuple[int, ...]:
        return tuple(known.index(at[name]) for name, known in self._positions.items())

    def _note_range(self, plane: np.ndarray) -> None:
        few = plane[..., ::8, ::8]
        few = few[np.isfinite(few)] if few.dtype.kind == "f" else few
        if few.size and few.dtype.kind != "b":
            low, high = self._limits or (np.inf, -np.inf)
            self._limits = min(low, float(few.min())), max(high, float(few.max()))

    def describe(self) -> None:
        """Say in the documents what there is now.

        Raises
        ------
        OSError
            They cannot be written; the old ones are still there.
        """
        if self._array.describe():
            attributes: dict[str, Any] = {KEY: self._about()}
            if self.ome:
                attributes["ome"] = self._ome()
            write_json(self._folder / "zarr.json", group(**attributes))

    def _about(self) -> dict[str, Any]:
        return {
            "layer": self._declare.name,
            "kind": self._declare.kind,
            "stream": self._declare.stream,
            "at": self._split,
            "coordinates": {name: known.values for name, known in self._positions.items()},
        }

    def _ome(self) -> dict[str, Any]:
        from yaozarrs import v05  # 0.2 s: only who records pays

        declare, axes = self._declare, list[Any]()
        scale, translate = list[float](), list[float]()
        for one in self._layout.dimensions:
            inner = 0 <= one.plane_axis < len(declare.axes)
            unit = declare.units[one.plane_axis] if inner and declare.units else ""
            axes.append(_axis(one.name, one.role, unit))
            scale.append(declare.scale[one.plane_axis] if inner and declare.scale else 1.0)
            translate.append(
                declare.translate[one.plane_axis] if inner and declare.translate else 0.0
            )
        steps: list[Any] = [v05.ScaleTransformation(scale=scale)]
        if any(translate):
            steps.append(v05.TranslationTransformation(translation=translate))
        datasets = [v05.Dataset(path="0", coordinateTransformations=steps)]
        multiscales = [v05.Multiscale(name=self._name(), axes=axes, datasets=datasets)]
        image: Any
        if declare.kind == "labels":
            image = v05.LabelImage.model_validate({"multiscales": multiscales, "image-label": {}})
        else:
            image = v05.Image(multiscales=multiscales, omero=self._omero())
        document: dict[str, Any] = image.model_dump(mode="json", by_alias=True, exclude_none=True)
        return document

    def _name(self) -> str:
        split = ", ".join(f"{name} {value}" for name, value in self._split.items())
        return f"{self._declare.name} ({split})" if split else self._declare.name

    def _omero(self) -> Any:
        """Return names, colours and contrast of the channels."""
        from yaozarrs import v05

        if self._declare.rgb:
            colours = ["red", "green", "blue", "alpha"][: self._declare.shape[-1]]
            names: list[str] = colours
        else:
            channel = next((d.name for d in self._layout.dimensions if d.role == "channel"), "")
            known = self._positions.get(channel)
            if known is None and channel:
                return None
            names = [str(value) for value in known.values] if known else [self._declare.name]
            colours = [self._declare.colormap] * len(names)
        low, high = self._declare.contrast_limits or self._limits or (0.0, 1.0)
        high = high if high > low else low + 1
        window = v05.OmeroWindow(start=low, min=low, end=high, max=high)
        channels = [
            v05.OmeroChannel(
                window=window, label=name, color=_COLOURS.get(colour, "FFFFFF"), active=True
            )
            for name, colour in zip(names, colours, strict=True)
        ]
        return v05.Omero(channels=channels)


def _axis(name: str, role: str, unit: str) -> Any:
    from yaozarrs import v05

    if role == "channel":
        return v05.ChannelAxis(name=name)
    if role == "other":
        return v05.CustomAxis(name=name)
    word = _UNITS.get(unit, unit if unit in _UNITS.values() else None)
    return (v05.TimeAxis if role == "time" else v05.SpaceAxis)(name=name, unit=word)


def folder_name(text: str) -> str:
    """Return text as a file's name may be."""
    clean = "".join(c if c.isalnum() or c in "-_=+@" else "_" for c in text)[:80]
    return clean.strip("_") or "layer"


def free_name(text: str, folder: str, taken: set[str]) -> str:
    """Return a name like the text for something in a folder, none of those that are taken.

    Case does not count: it does not in every file system.
    """
    name, number = folder_name(text), 1
    while f"{folder}/{name}".lower() in taken:
        number += 1
        name = f"{folder_name(text)}-{number}"
    taken.add(f"{folder}/{name}".lower())
    return name
