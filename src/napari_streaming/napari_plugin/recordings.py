"""Recordings in napari: opened as layers, and written from layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.errors import DataError, StorageError
from napari_streaming.napari_plugin.geometry_layer import GeometryLayer
from napari_streaming.napari_plugin.layers import make_layer
from napari_streaming.publish.publisher import Publisher
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.recorder import INDEX
from napari_streaming.record.recording import Recording
from napari_streaming.record.stored_layers import stored_layers

__all__ = ["get_reader", "read", "write"]

LayerData = tuple[Any, dict[str, Any], str]

_PATIENCE = 600.0
_UNNAMED = ("c", "t", "z")  # before y and x, from the last
_KEPT = ("scale", "translate")


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return a reader if the path is a recording's file (or a list of them)."""
    paths = path if isinstance(path, list) else [path]
    return _read_all if paths and all(str(one).endswith(INDEX) for one in paths) else None


def _read_all(path: str | list[str]) -> list[LayerData]:
    return [layer for one in (path if isinstance(path, list) else [path]) for layer in read(one)]


def read(path: str | Path) -> list[LayerData]:
    """Return the layers of a recording; planes are read when they are looked at.

    Parameters
    ----------
    path : str or Path
        ``run.nstream``.

    Returns
    -------
    list of (data, dict, str)
        As napari takes them. Their metadata have the ``coordinates`` along each slider.

    Raises
    ------
    DataError, StorageError
        It cannot be read.
    """
    from napari.components import ViewerModel

    layers: list[LayerData] = []
    for stored in stored_layers(OpenRecording(path)).values():
        if stored.has_planes:
            layer = make_layer(stored, stored.data)
        else:
            layer = GeometryLayer(ViewerModel(), stored).layer
        data, about, kind = layer.as_layer_data_tuple()
        about["metadata"] = {"recording": str(path), "coordinates": stored.coordinates}
        layers.append((stored.data if stored.has_planes else data, about, kind))
    return layers


def write(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write layers as a recording.

    Names, axes, colormaps, contrast, features, and the scale and units of the spatial axes are
    kept. Of a pyramid the full resolution is written.

    Parameters
    ----------
    path : str
        ``run.nstream``; the data go to ``run.ome.zarr`` beside it.
    layers : sequence of (data, dict, str)
        As napari gives them.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    StorageError
        There is something of this name, a layer cannot be written, or the disk does not take it.
    """
    try:
        recording = Recording(path)
        with Publisher(recording, name="napari") as pub:
            for data, about, kind in layers:
                _WRITE[kind](pub, about["name"], data, about)
            if not pub.flush(_PATIENCE):
                raise StorageError(f"{path}: {recording.stats().error or 'the disk is too slow'}")
    except DataError as error:  # napari takes a ValueError for "no writer"
        raise StorageError(str(error)) from error
    if error := recording.stats().error:
        raise StorageError(error)
    return [str(recording.index), str(recording.path)]


def _write_planes(
    pub: Publisher, name: str, data: Any, about: Mapping[str, Any], kind: str
) -> None:
    if about.get("multiscale") or isinstance(data, list | tuple):
        data = data[0]
    rgb = bool(about.get("rgb"))
    names = _axes(len(data.shape) - rgb, about)
    inner = 3 if names[-3:-2] == ("z",) else 2
    said: dict[str, Any] = _of_axes(about, names, inner) | {"qos": "reliable"}
    if kind == "image":
        said |= {"rgb": rgb, "colormap": "" if rgb else _colormap(about)}
        said["contrast_limits"] = None if rgb else about.get("contrast_limits")
    put = pub.image if kind == "image" else pub.labels
    for at, plane in _planes(data, names[:-inner]):
        put(name, plane, at=at, **said)


def _planes(data: Any, outer: Sequence[str]) -> Iterator[tuple[dict[str, int], np.ndarray]]:
    for position in itertools.product(*map(range, data.shape[: len(outer)])):
        yield dict(zip(outer, position, strict=True)), np.asarray(data[position])


def _write_image(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    _write_planes(pub, name, data, about, "image")


def _write_labels(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    _write_planes(pub, name, data, about, "labels")


def _write_points(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    pub.points(name, data, **_of_rows(np.shape(data)[1], about))


def _write_vectors(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    pub.vectors(name, data, **_of_rows(np.shape(data)[2], about))


def _write_tracks(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    pub.tracks(name, data, graph=about.get("graph"), **_of_rows(np.shape(data)[1] - 1, about))


def _write_shapes(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    ndim = data[0].shape[1] if len(data) else 2
    types = list(about["shape_type"]) if len(data) else "polygon"
    pub.shapes(name, data, shape_type=types, **_of_rows(ndim, about))


def _write_surface(pub: Publisher, name: str, data: Any, about: Mapping[str, Any]) -> None:
    ndim = np.shape(data[0])[1]
    pub.surface(name, *data[:3], qos="reliable", **_of_axes(about, _axes(ndim, about), ndim))


_WRITE: dict[str, Callable[[Publisher, str, Any, Mapping[str, Any]], None]] = {
    "image": _write_image,
    "labels": _write_labels,
    "points": _write_points,
    "shapes": _write_shapes,
    "surface": _write_surface,
    "tracks": _write_tracks,
    "vectors": _write_vectors,
}


def _of_rows(ndim: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what points and the like say of their axes, with their features."""
    features = {}
    for name, column in dict(about.get("features", {})).items():
        values = np.asarray(column)
        features[str(name)] = values.astype(str) if values.dtype.kind == "O" else values
    said = _of_axes(about, _axes(ndim, about), ndim)
    return said | {"features": features, "qos": "reliable"}


def _axes(ndim: int, about: Mapping[str, Any]) -> tuple[str, ...]:
    """Return names of a layer's axes: as napari has them, or the usual ones."""
    names = tuple(str(name) for name in about.get("axis_labels", ()))
    if len(names) == ndim == len(set(names)) and not any(n.startswith("-") or not n for n in names):
        return names
    if ndim > len(_UNNAMED) + 2:
        raise DataError(f"{about['name']!r} has {ndim} axes: name them (axis_labels) to save it")
    return ("y", "x") if ndim == 2 else (*_UNNAMED[-(ndim - 2) :], "y", "x")


def _of_axes(about: Mapping[str, Any], names: tuple[str, ...], inner: int) -> dict[str, Any]:
    """Return what is said of the last axes, so many."""
    said: dict[str, Any] = {"axes": names[-inner:]}
    for what in _KEPT:
        values = [float(value) for value in about.get(what, ())]
        said[what] = values[-inner:] if len(values) >= inner else ()
    units = [str(unit) for unit in about.get("units", ())][-inner:]
    said["units"] = units if len(units) == inner and set(units) != {"pixel"} else ()
    return said


def _colormap(about: Mapping[str, Any]) -> str:
    colormap = about.get("colormap", "")
    return str(colormap.get("name", "") if isinstance(colormap, Mapping) else colormap)
