"""OME-Zarr images as napari layers that read what is looked at, from the level that suffices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.publish.files import stem
from napari_streaming.publish.ome_zarr import OmeImage, image_of, is_plate

if TYPE_CHECKING:
    import zarr

__all__ = ["ChannelView", "is_zarr", "layers_of_zarr"]

_MARKS = ("zarr.json", ".zarray", ".zgroup")
_LOOKED_AT = 4_000_000  # pixels read for the contrast limits, at most


class _Window(msgspec.Struct):
    start: float | None = None
    end: float | None = None


class _Channel(msgspec.Struct):
    label: str | None = None
    color: str | None = None
    window: _Window = msgspec.field(default_factory=_Window)
    active: bool = True


class _Omero(msgspec.Struct):
    channels: list[_Channel] = []


class ChannelView:
    """One channel of an array, as an array: nothing is read until it is indexed.

    Parameters
    ----------
    array : array
        Of ``ndim`` dimensions, to be indexed with integers and slices.
    axis, index : int
        Which dimension is left out, and at which position.
    """

    def __init__(self, array: Any, axis: int, index: int) -> None:
        self._array, self._axis, self._index = array, axis, index
        self.shape = (*array.shape[:axis], *array.shape[axis + 1 :])
        self.dtype, self.ndim = np.dtype(array.dtype), array.ndim - 1
        self.size = int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        keys.insert(self._axis, self._index)
        return np.asarray(self._array[tuple(keys)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


def is_zarr(path: Path) -> bool:
    """Whether a path is a zarr array or group."""
    return path.is_dir() and any((path / mark).exists() for mark in _MARKS)


def layers_of_zarr(path: Path) -> list[Any]:
    """Return napari layers for a zarr array, or for an OME-Zarr image and its labels.

    Raises
    ------
    DataError
        It holds no image, or cannot be read: says which path, and why.
    """
    import zarr

    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            return [_plain(node, stem(path))]
        return _layers_of_group(path, node)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _plain(array: Any, name: str) -> Any:
    from napari.layers import Image

    if array.ndim < 2 or 0 in array.shape:
        raise DataError(f"an array of shape {array.shape} is no image")
    return Image(array, name=name, contrast_limits=_limits(array), multiscale=False)


def _layers_of_group(path: Path, group: zarr.Group) -> list[Any]:
    attributes = dict(group.attrs)
    image = image_of(attributes)
    if image is None:
        what = "a plate; open one of the images in it" if is_plate(attributes) else "no image"
        raise DataError(f"it holds {what}")
    layers = list(_layers_of_image(group, image, stem(path)))
    labels = group.get("labels")
    names = _names_of_labels(dict(labels.attrs)) if labels is not None else []
    for name in names:
        labelled = labels[name]  # type: ignore[index]
        found = image_of(dict(labelled.attrs))
        if found is not None:
            layers.append(_labels_layer(labelled, found, name))
    return layers


def _names_of_labels(attributes: dict[str, Any]) -> list[str]:
    said = attributes.get("ome", attributes)
    names = said.get("labels", []) if isinstance(said, dict) else []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _levels(group: Any, image: OmeImage) -> list[Any]:
    levels = [group[path] for path in image.paths]
    for level in levels:
        if level.ndim != levels[0].ndim or level.ndim < 2 or 0 in level.shape:
            raise DataError(f"a level of shape {level.shape} in an image of {levels[0].shape}")
    return levels


def _layers_of_image(group: Any, image: OmeImage, name: str) -> Iterator[Any]:
    from napari.layers import Image

    if image.is_labels:
        yield _labels_layer(group, image, name)
        return
    levels = _levels(group, image)
    axes = image.axes if len(image.axes) == levels[0].ndim else ()
    channel = next((name for name in image.labels if name in axes), None)
    if channel is None:
        yield Image(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=name,
            contrast_limits=_limits(levels[-1]),
            **_placed(image, axes, levels[0].ndim),
        )
        return
    axis = axes.index(channel)
    count = levels[0].shape[axis]
    rest = (*axes[:axis], *axes[axis + 1 :])
    said = _channels(dict(group.attrs), count)
    for index, about in enumerate(said):
        views = [ChannelView(level, axis, index) for level in levels]
        yield Image(
            views if len(views) > 1 else views[0],
            multiscale=len(views) > 1,
            name=about.label or (name if count == 1 else f"{name} {index}"),
            colormap=_colormap(about, index, count),
            blending="additive" if count > 1 else "translucent_no_depth",
            contrast_limits=_window(about) or _limits(views[-1]),
            visible=about.active,
            **_placed(image, rest, levels[0].ndim - 1),
        )


def _labels_layer(group: Any, image: OmeImage, name: str) -> Any:
    from napari.layers import Labels

    levels: list[Any] = _levels(group, image)
    axes = image.axes if len(image.axes) == levels[0].ndim else ()
    if np.dtype(levels[0].dtype).kind not in "iub":
        raise DataError(f"labels of {levels[0].dtype}")
    channel = next((name for name in image.labels if name in axes), None)
    if channel is not None:
        axis = axes.index(channel)
        axes = (*axes[:axis], *axes[axis + 1 :])
        levels = [ChannelView(level, axis, 0) for level in levels]
    layer = Labels(
        levels if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=name,
        **_placed(image, axes, levels[0].ndim),
    )
    layer.editable = False
    return layer


def _placed(image: OmeImage, axes: Sequence[str], ndim: int) -> dict[str, Any]:
    """Return what napari is told of the axes; units only if it knows all of them."""
    if len(axes) != ndim:
        return {}
    placed: dict[str, Any] = {
        "scale": [image.scale.get(name, 1.0) or 1.0 for name in axes],
        "axis_labels": tuple(axes),
    }
    units = tuple(image.units.get(name) or "pixel" for name in axes)
    return placed | ({"units": units} if _known_units(units) else {})


def _known_units(units: Sequence[str]) -> bool:
    """Whether napari can understand these units; it refuses a layer with others."""
    import pint

    try:
        return all(pint.get_application_registry().Unit(unit) is not None for unit in units)
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, ValueError):
        return False


def _channels(attributes: dict[str, Any], count: int) -> list[_Channel]:
    ome = attributes.get("ome", attributes)
    try:
        said = msgspec.convert(ome.get("omero", {}), _Omero).channels
    except msgspec.ValidationError:
        said = []  # what it says beside the pixels is damaged; the pixels are not
    return said if len(said) == count else [_Channel() for _ in range(count)]


def _colormap(channel: _Channel, index: int, count: int) -> Any:
    from napari.utils.colormaps import CYMRGB, MAGENTA_GREEN, Colormap

    color = (channel.color or "").removeprefix("#")
    if len(color) == 6 and all(letter in "0123456789abcdefABCDEF" for letter in color):
        end = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        return Colormap([[0, 0, 0, 1], [*end, 1]], name=f"#{color.lower()}")
    if count == 1:
        return "gray"
    names = MAGENTA_GREEN if count == 2 else CYMRGB
    return names[index % len(names)]


def _window(channel: _Channel) -> tuple[float, float] | None:
    low, high = channel.window.start, channel.window.end
    return (low, high) if low is not None and high is not None and low < high else None


def _limits(level: Any) -> tuple[float, float]:
    """Return the range of the middle of an array, of which no more than a little is read."""
    shape, key = level.shape, []
    size = int(np.prod(shape))
    for length in shape[:-2]:
        if size <= _LOOKED_AT:
            key.append(slice(None))
        else:
            key.append(slice(length // 2, length // 2 + 1))
            size //= length
    for length in shape[-2:]:
        kept = length if size <= _LOOKED_AT else min(length, int(_LOOKED_AT**0.5))
        start = (length - kept) // 2
        key.append(slice(start, start + kept))
    values = np.asarray(level[tuple(key)])
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0
