"""What a client has done beyond attributes: open, list, remove, reorder, screenshot, reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from napari_streaming.errors import DataError, IntentError
from napari_streaming.remote.layer_attributes import REFUSALS, short_reason
from napari_streaming.remote.server.folder import Folder
from napari_streaming.remote.server.opening import open_paths
from napari_streaming.wire.remote import MAX_DATA, Command, CommandName, Reply

__all__ = ["Commands"]

S = TypeVar("S", bound=Struct)
Path_ = Annotated[str, Meta(max_length=4096)]
Ids = Annotated[list[int], Meta(max_length=1024)]


class _Open(Struct, forbid_unknown_fields=True):
    paths: Annotated[list[Path_], Meta(min_length=1, max_length=64)]


class _List(Struct, forbid_unknown_fields=True):
    path: Path_ = ""
    start: Annotated[int, Meta(ge=0)] = 0


class _Layers(Struct, forbid_unknown_fields=True):
    layers: Ids


class _Nothing(Struct, forbid_unknown_fields=True):
    pass


class Commands:
    """Carries out commands on a viewer.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    root : Path or None
        The folder of which files may be opened.
    ids : mapping of napari.layers.Layer to int
        The numbers of all layers.
    screenshot : callable or None
        Returns what the canvas shows: uint8, shape (height, width, 3 or 4).

    Attributes
    ----------
    opened : list of napari.layers.Layer
        What came with the last "open".
    """

    def __init__(
        self,
        viewer: Any,
        root: Path | None,
        ids: Mapping[Any, int],
        screenshot: Callable[[], np.ndarray] | None,
    ) -> None:
        self._viewer, self._ids, self._screenshot_of = viewer, ids, screenshot
        self._folder = None if root is None else Folder(root)
        self.opened: list[Any] = []
        self._all: dict[CommandName, Callable[[Command], Reply]] = {
            "open": self._open,
            "list": self._list,
            "remove": self._remove,
            "reorder": self._reorder,
            "screenshot": self._screenshot,
            "reset_view": self._reset_view,
        }

    def execute(self, command: Command) -> Reply:
        """Carry out a command; raises IntentError if it cannot be."""
        try:
            return self._all[command.name](command)
        except (*REFUSALS, OSError) as error:
            raise IntentError(f"{command.name}: {short_reason(error)}") from error

    def _open(self, command: Command) -> Reply:
        folder = self._the_folder()
        paths = [folder.path_of(name) for name in _arguments(command, _Open).paths]
        try:
            self.opened = open_paths(self._viewer, paths)
        except DataError as error:
            raise IntentError(folder.without_root(str(error))) from error
        return Reply(id=command.id)

    def _list(self, command: Command) -> Reply:
        wanted = _arguments(command, _List)
        return Reply(id=command.id, values=self._the_folder().list(wanted.path, wanted.start))

    def _the_folder(self) -> Folder:
        if self._folder is None:
            raise IntentError("this server opens no files for clients: it was given no folder")
        return self._folder

    def _remove(self, command: Command) -> Reply:
        for layer in self._layers(_arguments(command, _Layers).layers):
            self._viewer.layers.remove(layer)
        return Reply(id=command.id)

    def _reorder(self, command: Command) -> Reply:
        wanted = self._layers(_arguments(command, _Layers).layers)
        present = [layer for layer in self._viewer.layers if layer in self._ids]
        if len(wanted) != len(present) or set(wanted) != set(present):
            raise IntentError("the order must name every layer once; others came or went")
        for index, layer in enumerate(wanted):
            now = self._viewer.layers.index(layer)
            if now != index:
                self._viewer.layers.move(now, index)
        return Reply(id=command.id)

    def _layers(self, ids: list[int]) -> list[Any]:
        layers = {id_: layer for layer, id_ in self._ids.items()}
        missing = [id_ for id_ in ids if id_ not in layers]
        if missing:
            raise IntentError(f"there is no layer {missing[0]} (any more)")
        return [layers[id_] for id_ in dict.fromkeys(ids)]

    def _screenshot(self, command: Command) -> Reply:
        _arguments(command, _Nothing)
        if self._screenshot_of is None:
            raise IntentError("this server has no canvas")
        import imageio.v3 as imageio

        png = imageio.imwrite("<bytes>", self._screenshot_of(), extension=".png")
        if len(png) > MAX_DATA:
            raise IntentError(f"the picture has {len(png)} bytes, more than can be sent")
        return Reply(id=command.id, data=png)

    def _reset_view(self, command: Command) -> Reply:
        _arguments(command, _Nothing)
        self._viewer.reset_view()
        return Reply(id=command.id)


def _arguments(command: Command, kind: type[S]) -> S:
    try:
        return msgspec.convert(command.arguments, kind)
    except msgspec.ValidationError as error:
        raise IntentError(f"{command.name}: {str(error)[:500]}") from None
