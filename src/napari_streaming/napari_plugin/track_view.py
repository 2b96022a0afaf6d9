"""Tracks as napari can show them: those at the sliders' positions, with time as the first axis.

napari knows tracks along time and two or three more axes, and slices them by nothing: it draws
all of them, and fades what is far from the time shown. So of tracks at further coordinates, a
well say, only those are given to it that belong to where the sliders stand, or to the newest
coordinate where there is no such slider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_streaming.receive.layer_view import LayerView
from napari_streaming.wire.messages import FEATURE_PREFIX, Coordinate

__all__ = ["TrackView", "track_view", "tracks_in"]

_MOST_AXES = 4
_LARGEST_NUMBER = 1_000_000  # napari makes room for every number up to the largest
_TRACK_ID = FEATURE_PREFIX + "track_id"  # the numbers that napari colours by


@dataclass(frozen=True, slots=True)
class TrackView:
    """What of a layer of tracks is on show.

    Parameters
    ----------
    axes : tuple of str
        Those of the napari layer; the first is time, unless there is a `window`.
    at : dict of str to Coordinate or None
        Values of the stack axes that the tracks have coordinates of; None where there is none.
    filler : dict of str to float
        Positions along those of the `axes` that the tracks do not run along.
    window : (float, float) or None
        The times on show, where time is none of the `axes`.
    """

    axes: tuple[str, ...]
    at: dict[str, Coordinate | None]
    filler: dict[str, float]
    window: tuple[float, float] | None = None


def track_view(layer: LayerView, dims: Any, tail: float, head: float) -> TrackView:
    """Return what is on show where a viewer's sliders stand.

    The axes of layers line up from the last one, so the napari layer must have all axes from
    time on. Where these are too many (with planes stacked along t, c and z: five), it has as many
    as the tracks themselves, and time is none of them: then only what lies no more than
    `tail` before and `head` behind the time slider is on show.
    """
    declared, axes = layer.declare.axes, layer.axes
    stands = {
        name: _position(layer, dims, name, len(axes) - index)
        for index, name in enumerate(layer.stack_axes)
    }
    at = {name: layer.value_at(name, stands[name]) for name in stands.keys() & layer.own_axes}
    shown, window = axes[axes.index(declared[0]) :], None
    if len(shown) > _MOST_AXES:
        shown = axes[-len(declared) :]
        window = stands[declared[0]] - tail, stands[declared[0]] + head
    filler = {name: float(stands[name]) for name in shown if name not in declared}
    return TrackView(shown, at, filler, window)


def _position(layer: LayerView, dims: Any, name: str, back: int) -> int:
    """Return where the slider of an axis stands, the `back`-th from the last."""
    if back > dims.ndim:
        return layer.latest.get(name, 0)
    return int(dims.current_step[dims.ndim - back])


def tracks_in(layer: LayerView, view: TrackView) -> dict[str, np.ndarray]:
    """Return the tracks of a view, as arrays like those of an Item.

    Numbers that are negative or very large are replaced by small ones; the feature `track_id`
    has the true ones. If there is no track at all, there is one of a single point: napari
    has no empty ones.
    """
    arrays = layer.geometry(view.at)
    axes = [name for name in layer.axes if name not in view.at]
    numbers, time_axis = arrays["data"][:, 0], layer.declare.axes[0]
    positions = dict(zip(axes, arrays["data"][:, 1:].T, strict=True))
    time = positions[time_axis]
    if time_axis not in layer.stack_axes:
        time = positions[time_axis] = time - min(0.0, time.min(initial=0.0))
    columns = [
        np.full(len(numbers), view.filler[name]) if name in view.filler else positions[name]
        for name in view.axes
    ]
    columns[0] = np.maximum(columns[0], 0)  # napari knows no time before
    arrays["data"] = np.column_stack([numbers, *columns])
    if view.window is not None:
        first, last = view.window
        order = np.lexsort((time, numbers))  # napari keeps it, as all times are one to it
        arrays = _rows(arrays, order[(time[order] >= first) & (time[order] <= last)])
    if not len(arrays["data"]):
        arrays = {name: np.zeros((1, *a.shape[1:]), a.dtype) for name, a in arrays.items()}
    return _with_small_numbers(arrays)


def _rows(arrays: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array if name == "graph" else array[rows] for name, array in arrays.items()}


def _with_small_numbers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tracks with numbers that napari can take, and a graph of no others."""
    known, index = np.unique(arrays["data"][:, 0], return_inverse=True)
    graph = arrays["graph"][np.isin(arrays["graph"], known).all(axis=1)]
    if known[0] < 0 or known[-1] > _LARGEST_NUMBER:
        arrays = {_TRACK_ID: arrays["data"][:, 0]} | arrays
        arrays["data"] = np.column_stack([index, arrays["data"][:, 1:]])
        graph = np.searchsorted(known, graph)
    return arrays | {"graph": graph}
