"""A TIFF writer that streams the pages that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_streaming.errors import DataError
from napari_streaming.publish import selections
from napari_streaming.publish.files import stem
from napari_streaming.publish.ome_zarr import distinct
from napari_streaming.publish.outlet import (
    STREAMING_FAILED,
    Layout,
    Outlet,
    Publishes,
    TeeOptions,
    axis_names,
)

__all__ = ["TeeTiffWriter", "tee_tiff"]

_RGB, _SEPARATE = ("rgb", "RGB", 2), ("separate", "SEPARATE", 2)
_REDUCED = 1  # the bit of a page's subfiletype that says that it is a lower resolution


class TeeTiffWriter:
    """A ``tifffile.TiffWriter`` that streams what it has written. A context manager.

    The axes of a stack are those of ``metadata={"axes": "TCYX"}``. Pages that are written one
    by one, and what is written with ``contiguous=True``, get a coordinate of their own that
    counts them: ``page``. A further stack is a layer of its own. Data that is computed while it
    is written, by an iterator or by dask, is not streamed.

    Parameters
    ----------
    publisher : Publisher
    writer : tifffile.TiffWriter
    options : TeeOptions
    """

    def __init__(
        self, publisher: Publishes, writer: tifffile.TiffWriter, options: TeeOptions
    ) -> None:
        self._publisher, self._writer, self._options = publisher, writer, options
        self._name = options.name or stem(Path(writer.filehandle.name)) or "tiff"
        self._pages = self._stacks = 0
        self._reduced = 0  # how many of the next writes are lower resolutions of the last one
        self._outlets: dict[tuple[str, ...], Outlet] = {}
        self._rejects = Outlet(publisher, Layout(self._name, ()), options)

    def write(self, data: Any = None, **how: Any) -> Any:
        """Write as tifffile does, then stream.

        Parameters
        ----------
        data, **how
            As for ``tifffile.TiffWriter.write``.

        Returns
        -------
        (int, int) or None
            As tifffile does.
        """
        offset = self._writer.write(data, **how)
        if self._reduced:
            self._reduced -= 1
        elif not int(how.get("subfiletype") or 0) & _REDUCED:
            levels = how.get("subifds") or 0
            self._reduced = levels if isinstance(levels, int) else len(levels)
            try:
                self._stream(data, how)
            except STREAMING_FAILED as error:
                self._rejects.complain(str(error))
        return offset

    def _stream(self, data: Any, how: Mapping[str, Any]) -> None:
        if not selections.is_at_hand(data):
            raise DataError("it is computed while it is written; give an array, or page by page")
        array = np.asarray(data, how.get("dtype"))
        array = array.reshape(how.get("shape") or array.shape)
        said = how.get("metadata") or {}
        layout = Layout(
            name=self._name,
            axes=axis_names(array.shape, array.dtype, self._axes(array.ndim, how), self._usual()),
            labels={**_channels(said), **self._options.labels},
            **_size(said, how.get("resolution")),
            kind=self._options.kind or "image",
        )
        is_stack = len(layout.plane(array.shape)) < array.ndim
        if is_stack and not how.get("contiguous"):
            if self._stacks:
                layout = replace(layout, name=f"{self._name}/{self._stacks}")
            self._stacks += 1
            start = 0
        else:
            layout = replace(layout, axes=("page", *layout.axes))
            array, start = array[None], self._pages
            self._pages += 1
        first, *rest = array.shape
        region = (range(start, start + first), *map(range, rest))
        outlet = self._outlets.setdefault(
            (layout.name, *layout.axes), Outlet(self._publisher, layout, self._options)
        )
        outlet.write(
            (start + first, *rest), array.dtype, lambda _: [(region, array)], array.__getitem__
        )

    def _axes(self, ndim: int, how: Mapping[str, Any]) -> list[str] | None:
        """Return names of the axes, as far as they are said."""
        said = self._options.axes or str((how.get("metadata") or {}).get("axes") or "").lower()
        if len(said) == ndim:
            return ["" if name in "qi" else name for name in said]
        if how.get("photometric") in _RGB:
            colour = ["s", "y", "x"] if how.get("planarconfig") in _SEPARATE else ["y", "x", "s"]
            return [""] * (ndim - 3) + colour
        return None

    def _usual(self) -> str:
        """Return the axes before y and x where nothing is said, as tifffile has them."""
        return "tzc" if self._writer._ome or self._writer._imagej else "tcz"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def __enter__(self) -> TeeTiffWriter:
        return self

    def __exit__(self, *failure: object) -> None:
        self._writer.close()


def _channels(said: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what OME metadata calls the channels."""
    names = (said.get("Channel") or {}).get("Name") or ()
    return {"c": tuple(distinct([str(name) for name in names]))}


def _size(said: Mapping[str, Any], resolution: Any) -> dict[str, dict[str, Any]]:
    """Return scale and units, as OME or ImageJ metadata has them."""
    scale = {axis: float(said.get(f"PhysicalSize{axis.upper()}") or 0) for axis in "yx"}
    units = {axis: said.get(f"PhysicalSize{axis.upper()}Unit") or "µm" for axis in "yx"}
    if said.get("unit") and resolution:
        per_unit = [np.divide(*one) if np.ndim(one) else one for one in resolution[:2]]
        scale = {axis: float(1 / one) for axis, one in zip("xy", per_unit, strict=True)}
        units = dict.fromkeys("yx", str(said["unit"]))
    return {"scale": scale, "units": units} if all(scale.values()) else {}


def tee_tiff(publisher: Publishes, target: object, options: TeeOptions) -> TeeTiffWriter | None:
    """Return a writer that streams; None: the target is no TIFF writer."""
    if not isinstance(target, tifffile.TiffWriter):
        return None
    return TeeTiffWriter(publisher, target, options)
