"""The publisher's tee: what a program writes to files anyway is streamed as it is written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from napari_streaming.errors import DataError
from napari_streaming.publish.outlet import Kind, Publishes, TeeOptions
from napari_streaming.wire.messages import Coordinate, QualityOfService

__all__ = ["TeeCalls"]

Target = TypeVar("Target")


class TeeCalls:
    """What a :class:`Publisher` has for programs that write files."""

    def tee(
        self: Publishes,
        target: Target,
        *,
        name: str | None = None,
        at: Mapping[str, Coordinate] | None = None,
        axes: Sequence[str] | None = None,
        labels: Mapping[str, Sequence[Coordinate]] | None = None,
        kind: Kind | None = None,
        qos: QualityOfService = "latest",
    ) -> Target:
        """Return a stand-in for something to write to, that streams what is written to it.

        Use it in place of `target`: it writes first, and streams what was written once the
        write has returned; a write that raises streams nothing. Streaming costs the write one
        copy, and never fails it: what cannot be streamed is logged, once for each array.

        Of arrays, the region written is streamed: axes before y and x become coordinates. What
        was written to single elements, to every other one or by a mask is read back first. Of
        a pyramid only the full resolution is streamed. OME-Zarr metadata says names of axes and
        channels, scale and units, and what is labels; else the ``dimension_names`` of an array
        do, and without any, the last axes are ``t, c, z, y, x``.

        Parameters
        ----------
        target : zarr.Array, zarr.Group or tifffile.TiffWriter
            Of a group all arrays are streamed, those too that are made later, in groups within
            it too. What is written in other processes, through ``async_array`` or straight to
            the ``store``, is not.
        name : str, optional
            The layer; of a group, its own image, and a prefix for the others in it. By default
            the name of the file, the array or the group around an OME-Zarr image.
        at : mapping of str to int, float or str, optional
            Coordinates that everything has: ``{"well": "A01"}``.
        axes : sequence of str, optional
            Names of the array's axes: ``"tcyx"``; ``s`` is colour. In a group, of the arrays
            that have as many.
        labels : mapping of str to sequence of int, float or str, optional
            Coordinates along axes, instead of numbers from 0: ``{"c": ["DAPI", "GFP"]}``.
        kind : {"image", "labels"}, optional
            Of all layers; by default labels where OME-Zarr has labels, else images.
        qos : {"latest", "reliable"}
            As for :meth:`image`.

        Returns
        -------
        zarr.Array, zarr.Group or tifffile.TiffWriter
            What does the same, and streams. It is a zarr.Array or a zarr.Group itself; of a
            TiffWriter, which is final, it is none but has all that one has.

        Raises
        ------
        DataError
            Nothing can be streamed of this target, or in this way.

        Examples
        --------
        >>> array = pub.tee(zarr.create_array("out.zarr", shape=(9, 512, 512), dtype="u2"))
        >>> array[3] = plane  # written, and shown in the layer "out" at t=3
        >>> with pub.tee(tifffile.TiffWriter("out.ome.tif"), at={"well": "A01"}) as tif:
        ...     tif.write(stack, metadata={"axes": "TYX"})
        """
        options = TeeOptions(
            name=name,
            at=dict(at or {}),
            axes=None if axes is None else tuple(axes),
            labels=dict(labels or {}),
            kind=kind,
            qos=qos,
        )
        teed: Any = None
        # What the target is an instance of has been imported.
        if "zarr" in sys.modules:
            from napari_streaming.publish.tee_zarr import tee_zarr

            teed = tee_zarr(self, target, options)
        if teed is None and "tifffile" in sys.modules:
            from napari_streaming.publish.tee_tiff import tee_tiff

            teed = tee_tiff(self, target, options)
        if teed is None:
            raise DataError(
                f"tee: a {type(target).__name__} cannot be streamed; "
                "use a zarr.Array, a zarr.Group or a tifffile.TiffWriter"
            )
        return cast(Target, teed)
