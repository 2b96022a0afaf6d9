"""Files as napari layers: what any napari reads, and OME-Zarr images without loading them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from napari_streaming.errors import DataError
from napari_streaming.remote.layer_attributes import REFUSALS, short_reason
from napari_streaming.remote.server.zarr_layers import is_zarr, layers_of_zarr

__all__ = ["new_viewer", "open_paths"]


def new_viewer() -> Any:
    """Return a viewer without a window: napari's own model, empty."""
    from napari.components import ViewerModel

    return ViewerModel()


def open_paths(viewer: Any, paths: Sequence[str | Path]) -> list[Any]:
    """Add layers for files or folders to a viewer.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    paths : sequence of str or Path

    Returns
    -------
    list of napari.layers.Layer

    Raises
    ------
    DataError
        One of them cannot be read: says which, and why. Layers of those before it stay.
    """
    added: list[Any] = []
    for path in map(Path, paths):
        added += _open(viewer, path)
    return added


def _open(viewer: Any, path: Path) -> list[Any]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    if is_zarr(path):
        try:
            return [viewer.add_layer(layer) for layer in layers_of_zarr(path)]
        except (*REFUSALS, OSError) as error:
            raise DataError(f"{path} cannot be shown: {short_reason(error)}") from error
    return _open_with_plugins(viewer, path)


def _open_with_plugins(viewer: Any, path: Path) -> list[Any]:
    from napari.errors import MultipleReaderError, NoAvailableReaderError, ReaderPluginError

    _find_plugins()
    try:
        try:
            layers = viewer.open(str(path))
        except MultipleReaderError as error:
            # A window would ask; napari's own reader is what it would offer first.
            own = "napari" if "napari" in error.available_plugins else error.available_plugins[0]
            layers = viewer.open(str(path), plugin=own)
    except NoAvailableReaderError:
        raise DataError(f"{path}: no reader here opens such files") from None
    except ReaderPluginError as error:
        reason = short_reason(error.original_error)
        raise DataError(f"{path} cannot be read: {reason}") from error
    except (*REFUSALS, OSError) as error:
        raise DataError(f"{path} cannot be read: {short_reason(error)}") from error
    if not layers:
        raise DataError(f"{path}: there is nothing in it to show")
    return list(layers)


@cache
def _find_plugins() -> None:
    """Do once what a window does when it opens, and nobody without one."""
    from napari.plugins import _initialize_plugins

    _initialize_plugins()
