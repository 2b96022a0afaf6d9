"""Viewers as a store that nothing is read back from: saving there shows."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.base import Backend, Batch
from napari_streaming.pipeline.backends.stack import check_apart, is_colour
from napari_streaming.pipeline.graphs import Graphs
from napari_streaming.pipeline.values import About, Coordinates, Points, Value
from napari_streaming.publish.publisher import Publisher
from napari_streaming.wire.messages import Coordinate

__all__ = ["StreamBackend", "read_name"]

_WELL = re.compile(r"[A-P][0-9]{1,2}|A[A-F][0-9]{1,2}")
_TOKEN = re.compile(r"(s|site|f|w|c|ch|z|t)([0-9]{1,9})", re.IGNORECASE)
_TOKENS = {
    "s": "site", "site": "site", "f": "site",
    "w": "channel", "c": "channel", "ch": "channel",
    "z": "z", "t": "t",
}  # fmt: skip
_SUFFIX = re.compile(r"(\.ome)?\.(tiff?|zarr|csv|npy|png)$", re.IGNORECASE)


class StreamBackend(Backend):
    """Publishes values to viewers; whether one is there, and how fast it is, changes nothing.

    Parameters
    ----------
    url : str
        Where to.
    make_publisher : callable, optional
        Given `url`, returns a publisher, which stays the giver's to close.
    """

    def __init__(self, url: str, make_publisher: Callable[[str], Publisher] | None = None) -> None:
        self._url, self._make = url, make_publisher
        self._made: Publisher | None = None
        self._lock = threading.Lock()
        self._graphs = Graphs()

    def save(self, batch: Batch) -> None:  # noqa: D102  # documented by the base class
        publisher = self._publisher()
        name, from_path = read_name(batch.path)
        name = batch.about.name or name
        where = [here or from_path for here in batch.at]
        check_apart(where)
        for value, at in zip(batch.values, where, strict=True):
            if batch.kind == "metric":
                metric, step = self._graphs.place(name, at, batch.about.order)
                publisher.metric(metric, float(value), step)  # type: ignore[arg-type]
            else:
                _publish(publisher, name, value, at, batch)

    def load(self, path: str, *, whole: bool) -> list[Value]:  # noqa: D102
        raise DataError(
            "what was streamed is in the viewers, and cannot be loaded from there; save it to "
            "memory, disk or zarr too"
        )

    def exists(self, path: str) -> bool:  # noqa: D102
        return False

    def close(self) -> None:  # noqa: D102
        with self._lock:
            if self._made is not None and self._make is None:
                self._made.close()
            self._made = None

    def _publisher(self) -> Publisher:
        with self._lock:
            if self._made is None:
                if self._make is None and not self._url:
                    raise DataError(
                        "it is not known where to stream to; say Storage(root, "
                        'url="tcp://127.0.0.1:5555")'
                    )
                self._made = (self._make or Publisher)(self._url)
            return self._made


def read_name(path: str) -> tuple[str, dict[str, Coordinate]]:
    """Return the layer and the coordinates that a path speaks of.

    Parameters
    ----------
    path : str
        For example ``"segment/A01_s1_w2_z3_t4.ome.tif"``.

    Returns
    -------
    layer : str
        What is left of the name, else the folder: ``"segment"``. The path without its suffix,
        if nothing in it looks like a coordinate.
    coordinates : dict of str to int or str
        ``{"well": "A01", "site": 1, "channel": 2, "z": 3, "t": 4}``.
    """
    bare = PurePosixPath(_SUFFIX.sub("", path))
    coordinates: dict[str, Coordinate] = {}
    words: list[str] = []
    for word in bare.name.split("_"):
        token = _TOKEN.fullmatch(word)
        if _WELL.fullmatch(word) and "well" not in coordinates:
            coordinates["well"] = word
        elif token and (axis := _TOKENS[token[1].lower()]) not in coordinates:
            coordinates[axis] = int(token[2])
        else:
            words.append(word)
    if not coordinates:
        return str(bare), {}
    folder = "" if bare.parent == PurePosixPath(".") else str(bare.parent)
    return "_".join(words) or folder or "values", coordinates


def _publish(publisher: Publisher, name: str, value: Any, at: Coordinates, batch: Batch) -> None:
    about = batch.about
    if isinstance(value, Points):
        said = _said(about, value.coordinates.shape[1])
        publisher.points(name, value.coordinates, at=at, features=value.features, **said)
    elif batch.kind == "labels":
        publisher.labels(name, value, at=at, **_said(about, value.ndim))
    else:
        ndim = len(about.axes) or value.ndim - is_colour(value)
        publisher.image(
            name, value, at=at, rgb=ndim < value.ndim, colormap=about.colormap,
            contrast_limits=about.contrast_limits, **_said(about, ndim),
        )  # fmt: skip


def _said(about: About, ndim: int) -> dict[str, Any]:
    """Return what a publisher is told, scale and units being of the last axes."""
    missing = max(0, ndim - len(about.scale))
    scale = (*[1.0] * missing, *about.scale)[-ndim:] if about.scale else ()
    units = about.units
    if units and not isinstance(units, str):
        units = (*[""] * max(0, ndim - len(units)), *units)[-ndim:]
    return {"axes": about.axes or None, "scale": scale, "units": units, "qos": about.qos}
