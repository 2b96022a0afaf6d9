"""napari layers that stand for a server's: of the same kind and extent, with next to no data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer, Points, Shapes, Surface, Tracks, Vectors

from napari_streaming.remote.client.mirror import RemoteLayer
from napari_streaming.wire.messages import LayerKind

__all__ = ["Nothing", "make_stand_in", "reshape"]

_MOST = 4  # elements along each axis of what numpy ever gets: a colour has as many


class Nothing:
    """An array of any shape that takes no memory; a part of it is another such array.

    As numpy's it has a few zeros, whatever its shape: napari copies and maps what it slices even
    when nobody sees it, so that the true size would cost what the layer itself costs.

    Parameters
    ----------
    shape : sequence of int
    dtype : dtype
    """

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype, self.ndim = np.dtype(dtype), len(self.shape)
        self._zeros = np.broadcast_to(np.zeros((), self.dtype), self.shape)

    @property
    def size(self) -> int:
        """How many elements the shape stands for."""
        return prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Nothing:
        return Nothing(self._zeros[key].shape, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros([min(size, _MOST) for size in self.shape], dtype or self.dtype)


def make_stand_in(remote: RemoteLayer) -> Layer:
    """Return a napari layer for one of the server's; its attributes are still to be set."""
    layer = _MAKE[remote.kind](remote)
    if remote.kind in ("labels", "points", "shapes"):
        _forbid_edits(layer)
    return layer


def reshape(layer: Layer, remote: RemoteLayer) -> None:
    """Give a stand-in the shape and the extent that its layer has now."""
    layer.data = _DATA[remote.kind](remote)


# ---- data ------------------------------------------------------------------------------------


def _planes(remote: RemoteLayer) -> Any:
    full = Nothing(remote.shape, _dtype(remote.dtype))
    if not remote.multiscale:
        return full
    colour = remote.shape[-1:] if remote.rgb else ()
    plane = remote.shape[:-1] if remote.rgb else remote.shape
    coarse = (*plane[:-2], *(max(1, size // 16) for size in plane[-2:]), *colour)
    return [full] if coarse == full.shape else [full, Nothing(coarse, full.dtype)]


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        return np.dtype(np.uint8)


def _corners(remote: RemoteLayer) -> np.ndarray:
    """Return the two corners of the extent: shape (2, ndim)."""
    low = remote.low or (0.0,) * remote.ndim
    return np.array([low, remote.high or low], float)


def _vectors(remote: RemoteLayer) -> np.ndarray:
    starts = _corners(remote)
    return np.stack([starts, np.zeros_like(starts)], axis=1)


def _surface(remote: RemoteLayer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = _corners(remote)
    return np.array([low, high, low]), np.array([[0, 1, 2]]), np.zeros(3)


def _tracks(remote: RemoteLayer) -> np.ndarray:
    return np.column_stack([[0.0, 1.0], _corners(remote)])


_DATA: dict[LayerKind, Callable[[RemoteLayer], Any]] = {
    "image": _planes,
    "labels": _planes,
    "points": _corners,
    "shapes": lambda remote: [_corners(remote)],
    "tracks": _tracks,
    "vectors": _vectors,
    "surface": _surface,
}

# ---- layers ----------------------------------------------------------------------------------


def _make_image(remote: RemoteLayer) -> Layer:
    limits = None if remote.rgb else (0.0, 1.0)
    about = {"rgb": remote.rgb, "multiscale": remote.multiscale, "contrast_limits": limits}
    return Image(_planes(remote), **about)


def _table(remote: RemoteLayer) -> pd.DataFrame:
    """Return what the two points or tracks can be coloured by."""
    return pd.DataFrame({name: np.zeros(2) for name in remote.features if name != "track_id"})


_MAKE: dict[LayerKind, Callable[[RemoteLayer], Layer]] = {
    "image": _make_image,
    "labels": lambda remote: Labels(_planes(remote), multiscale=remote.multiscale),
    "points": lambda remote: Points(_corners(remote), features=_table(remote)),
    "shapes": lambda remote: Shapes([_corners(remote)], shape_type="line"),
    "tracks": lambda remote: Tracks(_tracks(remote), features=_table(remote)),
    "vectors": lambda remote: Vectors(_vectors(remote), features=_table(remote)),
    "surface": lambda remote: Surface(_surface(remote), contrast_limits=(0.0, 1.0)),
}


def _forbid_edits(layer: Layer) -> None:
    """Let nobody edit what is not there; napari allows it again with each view in 2-D."""
    layer.editable = False
    layer.events.editable.connect(_forbid_again)


def _forbid_again(event: Any) -> None:
    event.source.editable = False
