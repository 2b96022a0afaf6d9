"""Where the value of an item is written: ``folder/STEP/WELL.ome.tif``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from napari_streaming.pipeline.backends.stack import axis_of
from napari_streaming.pipeline.values import ValueKind
from napari_streaming.wire.messages import Coordinate

__all__ = ["item_path", "safe_name"]

_UNSAFE = re.compile(r"[^\w.+ -]")
_SUFFIXES = {"disk": ".ome.tif", "zarr": ".ome.zarr"}


def safe_name(text: str) -> str:
    """Return a text as a part of a path that every file system takes."""
    return _UNSAFE.sub("_", text).strip(". ") or "_"


def item_path(
    folder: str,
    backend: str,
    kind: ValueKind,
    at: Mapping[str, Coordinate],
    axes: Sequence[str],
) -> str:
    """Return the path of an item, the same for all items that share a file.

    Parameters
    ----------
    folder : str
        The step's own.
    backend : {"disk", "zarr"}
    kind : {"image", "labels", "points", "metric"}
    at : mapping of str to coordinate
        Those that OME has no axis for go into the name: ``A01_site-2.ome.tif``.
    axes : sequence of str
        Of the pipeline, the unit of work first.
    """
    unit, *others = axes
    further = [f"{name}-{at[name]}" for name in others if name in at and axis_of(name) is None]
    stem = "_".join(safe_name(part) for part in (str(at[unit]), *further))
    suffix = _SUFFIXES[backend] if kind in ("image", "labels") else ".csv"
    return f"{folder}/{stem}{suffix}"
