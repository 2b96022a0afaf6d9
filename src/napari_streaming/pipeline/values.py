"""What steps return and stores keep: arrays, points and numbers, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from napari_streaming.errors import DataError
from napari_streaming.wire.messages import Coordinate, QualityOfService
from napari_streaming.wording import counted

__all__ = ["About", "Coordinates", "Points", "Value", "ValueKind", "kind_of"]

ValueKind = Literal["image", "labels", "points", "metric"]
Coordinates = Mapping[str, Coordinate]
"""Where a value belongs: ``{"well": "A01", "channel": "DAPI", "z": 3}``."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points with features.

    Parameters
    ----------
    coordinates : array-like of number, shape (n, d)
        In pixels; kept as float64. `n` may be 0.
    features : mapping of str to array-like, shape (n,)
        Columns of integers, floats, bools or strings, kept as int64, float64, bool and str.

    Raises
    ------
    DataError
        Another shape or dtype.
    """

    coordinates: np.ndarray
    features: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = np.asarray(self.coordinates)
        if rows.ndim != 2 or rows.dtype.kind not in "iuf":
            raise DataError(
                f"points of shape {rows.shape} and dtype {rows.dtype}: use numbers, (n, d)"
            )
        columns = {str(name): _column(str(name), c) for name, c in self.features.items()}
        for name, column in columns.items():
            if column.shape != (len(rows),):
                raise DataError(
                    f"feature {name!r} of shape {column.shape} for {counted(len(rows), 'point')}: "
                    "one value for each is needed"
                )
        object.__setattr__(self, "coordinates", rows.astype(np.float64))
        object.__setattr__(self, "features", columns)

    def __len__(self) -> int:
        return len(self.coordinates)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Points)
            and _same(self.coordinates, other.coordinates)
            and list(self.features) == list(other.features)
            and all(_same(self.features[name], other.features[name]) for name in self.features)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays can change


Value = np.ndarray | Points | float
"""A plane or volume, points, or a number."""


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of its values, and how a viewer shows them at first.

    Parameters
    ----------
    kind : {"image", "labels", "points", "metric"}, optional
        By default what the value's type says; an array is an image.
    name : str
        Of the image in a file, of the layer in a viewer. By default from the path.
    axes : sequence of str
        Names of a plane's own axes, without colour; by default the last of ``z, y, x``.
    scale : sequence of float
        Of the last axes, in `units`. One number more than a plane has axes is the step along
        z of planes that are stacked.
    units : str or sequence of str
        One for all spatial axes, or one for each number of `scale`: ``"um"``.
    colormap : str
        For viewers.
    contrast_limits : (float, float), optional
        For viewers, and OME-Zarr's window.
    qos : {"latest", "reliable"}
        Whether the newest planes win where a viewer is slow, or none may be lost.
    order : sequence of int, float or str
        How wells lie along a viewer's graphs of numbers; by default as they come.
    """

    kind: ValueKind | None = None
    name: str = ""
    axes: Sequence[str] = ()
    scale: Sequence[float] = ()
    units: str | Sequence[str] = ()
    colormap: str = ""
    contrast_limits: tuple[float, float] | None = None
    qos: QualityOfService = "latest"
    order: Sequence[Coordinate] = ()


def kind_of(value: Any, said: ValueKind | None = None) -> ValueKind:
    """Return what kind a value is.

    Parameters
    ----------
    value : ndarray, Points or number
    said : {"image", "labels", "points", "metric"}, optional
        What somebody says that it is.

    Returns
    -------
    {"image", "labels", "points", "metric"}

    Raises
    ------
    DataError
        It is none of them, or not the one that it is said to be.
    """
    if said is not None and said not in get_args(ValueKind):
        raise DataError(f"kind={said!r}: use one of {', '.join(get_args(ValueKind))}")
    if isinstance(value, Points):
        kind: ValueKind = "points"
    elif isinstance(value, int | float | np.integer | np.floating):
        kind = "metric"
    elif isinstance(value, np.ndarray):
        kind = "labels" if said == "labels" else "image"
    else:
        raise DataError(f"a value of type {type(value).__name__}: use an array, Points or a number")
    if said not in (None, kind):
        raise DataError(f"{said} are expected, and this is of the kind {kind}")
    if kind == "labels" and value.dtype.kind not in "biu":
        raise DataError(f"labels of {value.dtype}: labels are integers, use mask.astype('int32')")
    return kind


def _column(name: str, given: ArrayLike) -> np.ndarray:
    column = np.asarray(given)
    kinds = {"b": np.dtype(bool), "i": np.dtype(np.int64), "f": np.dtype(np.float64)}
    kinds |= {"u": kinds["i"], "U": column.dtype}
    if column.dtype.kind not in kinds:
        raise DataError(
            f"feature {name!r} of {column.dtype}: use integers, floats, bools or strings"
        )
    if column.dtype.kind == "u" and column.size and column.max() > np.iinfo(np.int64).max:
        raise DataError(f"feature {name!r}: an integer is larger than 2^63 - 1")
    return column.astype(kinds[column.dtype.kind])


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare arrays, strings of any width, nan being nan."""
    return one.dtype.kind == other.dtype.kind and np.array_equal(
        one, other, equal_nan=one.dtype.kind == "f"
    )
