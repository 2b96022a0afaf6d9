"""What a call to the publisher says of points, shapes, tracks, vectors or a surface, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from napari_streaming.errors import DataError
from napari_streaming.publish.layers import LayerSpec, checked_axes, checked_qos, dtype_name
from napari_streaming.publish.staging import check_dtype, clean_name, to_array
from napari_streaming.wire.messages import (
    FEATURE_PREFIX,
    SHAPE_TYPES,
    LayerKind,
    QualityOfService,
)

__all__ = [
    "AxesAndQos",
    "points_spec",
    "set_fields",
    "shapes_spec",
    "surface_spec",
    "tracks_spec",
    "vectors_spec",
]

_MAX_FEATURES = 256
_WIDEST_TEXT = 9999 * 4
_MAX_TRACK = 2**53  # above, not every integer is a float64
_NUMBERS = {name: number for number, name in enumerate(SHAPE_TYPES)}
_BOXES = (_NUMBERS["rectangle"], _NUMBERS["ellipse"])

_Spec = tuple[LayerSpec, dict[str, np.ndarray]]


class AxesAndQos(TypedDict):
    """What every layer may say of its axes, and how it wants to be delivered."""

    axes: Sequence[str] | None
    scale: Sequence[float]
    translate: Sequence[float]
    units: str | Sequence[str]
    qos: QualityOfService


def points_spec(
    coordinates: ArrayLike, features: Mapping[str, ArrayLike], **said: Unpack[AxesAndQos]
) -> _Spec:
    """Return the spec and the arrays of points; parameters as in ``Publisher.points``."""
    array = to_array("points", coordinates)
    if array.size == 0 and array.ndim < 2:
        array = np.empty((0, _own(said)))
    if array.ndim != 2 or not 2 <= array.shape[1] <= 16:
        raise DataError(f"points of shape {array.shape}: use (n, d), a row for each point")
    arrays = {"data": array.astype(np.float64, copy=False)}
    arrays |= _columns("points", features, len(array))
    return _spec("points", array.shape[1], arrays, said), arrays


def shapes_spec(
    shapes: Sequence[ArrayLike] | np.ndarray,
    shape_type: str | Sequence[str],
    features: Mapping[str, ArrayLike],
    **said: Unpack[AxesAndQos],
) -> _Spec:
    """Return the spec and the arrays of shapes; parameters as in ``Publisher.shapes``."""
    vertices, counts = _vertices(shapes, _own(said))
    types = _types(shape_type, len(counts))
    vertices, counts = _with_four_corners(vertices, counts, types)
    fewest, most = np.array(list(SHAPE_TYPES.values()))[types].T
    if len(wrong := np.flatnonzero((counts < fewest) | (counts > most))):
        number, name = wrong[0], list(SHAPE_TYPES)[types[wrong[0]]]
        needed = {"polygon": "at least 3", "path": "at least 2", "line": "2"}.get(name, "4, or 2")
        raise DataError(f"shape {number}, {name}: {counts[number]} vertices, use {needed}")
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if (bad := _not_finite(vertices)) is not None:
        number = int(np.searchsorted(offsets, bad, side="right")) - 1
        raise DataError(
            f"shape {number} has a vertex at {vertices[bad]}: leave out what is not finite"
        )
    arrays = {"data": vertices, "offsets": offsets, "types": types}
    arrays |= _columns("shapes", features, len(types))
    return _spec("shapes", vertices.shape[1], arrays, said), arrays


def tracks_spec(
    rows: ArrayLike,
    graph: Mapping[int, int | Sequence[int]],
    features: Mapping[str, ArrayLike],
    **said: Unpack[AxesAndQos],
) -> _Spec:
    """Return the spec and the arrays of tracks; parameters as in ``Publisher.tracks``."""
    array = to_array("tracks", rows)
    if array.size == 0 and array.ndim < 2:
        array = np.empty((0, 1 + _own(said, default=3)))
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise DataError(
            f"tracks of shape {array.shape}: use (n, 4) or (n, 5), rows of a track's number, "
            "time, and two or three coordinates"
        )
    array = array.astype(np.float64, copy=False)
    _check_finite("tracks", array)
    numbers = array[:, 0]
    wrong = np.flatnonzero((numbers != np.floor(numbers)) | (abs(numbers) > _MAX_TRACK))
    if len(wrong):
        raise DataError(
            f"tracks, row {wrong[0]}: {numbers[wrong[0]]} is no track number, use an integer"
        )
    ndim = array.shape[1] - 1
    if said["axes"] is None:
        said["axes"] = ("t", *("z", "y", "x")[1 - ndim :])
    arrays = {"data": array} | _columns("tracks", features, len(array))
    if graph:
        arrays["graph"] = _edges(graph)
    return _spec("tracks", ndim, arrays, said), arrays


def vectors_spec(
    vectors: ArrayLike, features: Mapping[str, ArrayLike], **said: Unpack[AxesAndQos]
) -> _Spec:
    """Return the spec and the arrays of vectors; parameters as in ``Publisher.vectors``."""
    array = to_array("vectors", vectors)
    if array.size == 0 and array.ndim < 3:
        array = np.empty((0, 2, _own(said)))
    if array.ndim != 3 or array.shape[1] != 2 or not 2 <= array.shape[2] <= 16:
        raise DataError(
            f"vectors of shape {array.shape}: use (n, 2, d), the start and the extent of each"
        )
    array = _as_float32(array)
    _check_finite("vectors", array)
    arrays = {"data": array} | _columns("vectors", features, len(array))
    return _spec("vectors", array.shape[2], arrays, said), arrays


def surface_spec(
    vertices: ArrayLike,
    faces: ArrayLike,
    values: ArrayLike | None,
    **said: Unpack[AxesAndQos],
) -> _Spec:
    """Return the spec and the arrays of a surface; parameters as in ``Publisher.surface``."""
    array, indices = to_array("vertices", vertices), to_array("faces", faces)
    if array.size == 0 and array.ndim < 2:
        array = np.empty((0, _own(said, default=3)))
    if array.ndim != 2 or not 2 <= array.shape[1] <= 16:
        raise DataError(f"vertices of shape {array.shape}: use (v, d), a row for each vertex")
    array = _as_float32(array)
    _check_finite("vertices", array)
    if indices.size == 0:
        indices = np.empty((0, 3), np.int32)
    if indices.ndim != 2 or indices.shape[1] != 3 or indices.dtype.kind not in "iu":
        raise DataError(
            f"faces of {indices.dtype} and shape {indices.shape}: use integers (f, 3), the "
            "indices of three vertices each"
        )
    outside = np.flatnonzero(((indices < 0) | (indices >= len(array))).any(axis=1))
    if len(outside):
        face = indices[outside[0]].tolist()
        raise DataError(f"face {outside[0]} is of vertices {face}: there are {len(array)}, from 0")
    arrays = {"data": array, "faces": indices.astype(np.int32, copy=False)}
    if values is not None:
        column = to_array("values", values)
        if column.shape != array.shape[:1]:
            raise DataError(
                f"values of shape {column.shape} for {len(array)} vertices: one for each is needed"
            )
        arrays["values"] = _as_float32(column)
    return _spec("surface", array.shape[1], arrays, said), arrays


def set_fields(key: str, append: bool) -> dict[str, Any]:
    """Return the fields of an Item that place a set among others, where they say something.

    Raises
    ------
    DataError
        The key cannot be sent.
    """
    if key != "":
        key = clean_name(key)
    return ({"key": key} if key else {}) | ({"append": True} if append else {})


def _spec(
    kind: LayerKind, ndim: int, arrays: Mapping[str, np.ndarray], said: AxesAndQos
) -> LayerSpec:
    columns = {
        name.removeprefix(FEATURE_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(FEATURE_PREFIX)
    }
    axes = checked_axes(ndim, said["axes"], said["scale"], said["translate"], said["units"])
    return LayerSpec(
        kind=kind,
        dtype=dtype_name(arrays["data"].dtype),
        shape=(ndim,),
        qos=checked_qos(said["qos"]),
        # A column of strings is as wide as its longest value: no part of the structure.
        features={
            name: "U" if column.dtype.kind == "U" else dtype_name(column.dtype)
            for name, column in columns.items()
        },
        **axes,
    )


def _own(said: AxesAndQos, default: int = 2) -> int:
    """Return how many coordinates there are where no row says it."""
    return len(said["axes"] or range(default))


def _columns(
    kind: LayerKind, features: Mapping[str, ArrayLike], count: int
) -> dict[str, np.ndarray]:
    """Return the arrays of features."""
    columns: dict[str, np.ndarray] = {}
    for name, column in features.items():
        values = to_array(f"feature {name!r}", column, kinds="biufU")
        if values.shape != (count,):
            raise DataError(
                f"feature {name!r} of shape {values.shape} for {count} "
                f"{'rows of ' if kind == 'tracks' else ''}{kind}: one value for each is needed"
            )
        if values.dtype.itemsize > _WIDEST_TEXT:
            raise DataError(f"feature {name!r}: a text is too long, cut it to 9999 characters")
        key = FEATURE_PREFIX + clean_name(name)
        if len(key) > 256:
            raise DataError(f"feature name {name!r} is too long")
        if key in columns:
            raise DataError(f"feature {name!r}: another one has the same name once it is sent")
        columns[key] = values
    if len(features) > _MAX_FEATURES:
        raise DataError(f"{len(features)} features, at most {_MAX_FEATURES} are possible")
    return columns


def _vertices(shapes: Sequence[ArrayLike] | np.ndarray, own: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices of all shapes (v, d), and how many each has (n)."""
    if isinstance(shapes, np.ndarray) and shapes.dtype != object:
        if shapes.ndim != 3:
            raise DataError(f"shapes of shape {shapes.shape}: use a list of (v, d) arrays")
        check_dtype("shapes", shapes.dtype)
        count, each, own = shapes.shape
        parts, counts = [shapes.reshape(count * each, own)], np.full(count, each, np.int64)
    else:
        try:
            parts = [np.asarray(shape) for shape in shapes]
        except (TypeError, ValueError) as error:  # no list, ragged rows, a GPU's tensor
            raise DataError(f"shapes: use a list of (v, d) arrays: {error}") from None
        for number, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != parts[0].shape[1]:
                raise DataError(
                    f"shape {number} of shape {part.shape}: use (v, d), d being the same of all"
                )
        for dtype in {part.dtype for part in parts}:
            check_dtype("shapes", dtype)
        counts = np.array([len(part) for part in parts], np.int64)
        parts = parts or [np.empty((0, own))]
    with np.errstate(over="ignore"):  # what is too large is infinite, and refused as that
        vertices = np.concatenate(parts, dtype=np.float32, casting="same_kind")
    if not 2 <= vertices.shape[1] <= 16:
        raise DataError(f"shapes of {vertices.shape[1]} coordinates: use 2 to 16 for a vertex")
    return vertices, counts


def _types(shape_type: str | Sequence[str], count: int) -> np.ndarray:
    """Return the number of each shape's type."""
    names = [shape_type] if isinstance(shape_type, str) else [str(name) for name in shape_type]
    if unknown := set(names) - SHAPE_TYPES.keys():
        raise DataError(f"shape_type={min(unknown)!r}: use one of {', '.join(SHAPE_TYPES)}")
    numbers = np.array([_NUMBERS[name] for name in names], np.uint8)
    if isinstance(shape_type, str):
        return numbers.repeat(count)
    if len(numbers) != count:
        raise DataError(f"{len(names)} shape types for {count} shapes: use one, or one for each")
    return numbers


def _with_four_corners(
    vertices: np.ndarray, counts: np.ndarray, types: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and counts with two opposite corners of a box made all four."""
    pairs = np.flatnonzero(np.isin(types, _BOXES) & (counts == 2))
    if not len(pairs):
        return vertices, counts
    firsts = (np.cumsum(counts) - counts)[pairs]
    first, opposite = vertices[firsts], vertices[firsts + 1]
    second, fourth = first.copy(), opposite.copy()
    second[:, -1], fourth[:, -1] = opposite[:, -1], first[:, -1]
    # A pair (first, opposite) gets its second corner between them and its fourth behind.
    between, behind = firsts + 1, firsts + 2
    spots = np.concatenate([between, behind])
    order = np.argsort(spots, kind="stable")
    grown = np.insert(vertices, spots[order], np.concatenate([second, fourth])[order], axis=0)
    counts = counts.copy()
    counts[pairs] = 4
    return grown, counts


def _edges(graph: Mapping[int, int | Sequence[int]]) -> np.ndarray:
    """Return a graph as rows of a track and one that it came from."""
    edges = []
    for child, parents in graph.items():
        for parent in parents if np.iterable(parents) else [parents]:
            numbers = (child, parent)
            if not all(isinstance(n, int | np.integer) and abs(n) <= _MAX_TRACK for n in numbers):
                raise DataError(f"graph {{{child!r}: {parents!r}}}: track numbers are integers")
            edges.append(numbers)
    return np.array(edges, np.int64).reshape(-1, 2)


def _as_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large is infinite, and refused as that
        return array.astype(np.float32, copy=False)


def _check_finite(what: str, array: np.ndarray) -> None:
    if (bad := _not_finite(array)) is not None:
        raise DataError(f"{what}, row {bad}: {array[bad].tolist()}; leave out what is not finite")


def _not_finite(array: np.ndarray) -> int | None:
    """Return the first row that is not finite, if there is one."""
    finite = np.isfinite(array)
    if finite.all():  # which is asked of all at once in a tenth of the time
        return None
    return int(finite.reshape(len(array), -1).all(axis=1).argmin())
