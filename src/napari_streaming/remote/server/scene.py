"""The truth of a remote session: a viewer without a window, as a snapshot and its changes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from napari_streaming.errors import DataError, IntentError
from napari_streaming.remote.layer_attributes import kind_of, read, read_all
from napari_streaming.remote.server.answers import Answers
from napari_streaming.remote.server.commands import Commands
from napari_streaming.remote.server.intents import apply_changes
from napari_streaming.remote.server.under_cursor import UnderCursor
from napari_streaming.remote.server.watch import Watch
from napari_streaming.remote.view_attributes import camera_of, canvas_of, check_view, dims_of
from napari_streaming.wire.attributes import Changes, Value
from napari_streaming.wire.messages import LayerKind
from napari_streaming.wire.remote import (
    Accepted,
    CameraChanged,
    Canvas,
    CanvasChanged,
    Command,
    DimsChanged,
    Intent,
    Layer,
    LayerAdded,
    LayerChanged,
    LayerRemoved,
    LayerReshaped,
    LayersReordered,
    Rejected,
    Reply,
    SceneChanged,
    SceneDelta,
    Snapshot,
    StatusText,
    Thumbnail,
    Tooltip,
)

__all__ = ["Delta", "Scene"]

Delta = SceneDelta | StatusText | Tooltip

_INTERVAL_S = 0.016  # one message for all changes of a slider within a frame
_THUMBNAILS_S = 1.0


class Scene:
    """A viewer that clients look at and change. Only in the thread that owns the viewer.

    Changes are collected until `flush`, which says each once, however often something changed.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    root : Path, optional
        The folder of which clients may open files; none: they may not.
    on_delta : callable
        Called with a message for every client, and the number of the client that knows it
        already from the answer to its intent; 0: all are to get it.
    on_dirty : callable
        Called with nothing when there is something to flush.
    screenshot : callable, optional
        Returns what the canvas shows: ndarray, uint8, shape (height, width, 4).
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        viewer: Any,
        root: Path | None = None,
        *,
        on_delta: Callable[[Delta, int], object] = lambda message, client: None,
        on_dirty: Callable[[], object] = lambda: None,
        screenshot: Callable[[], np.ndarray] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._viewer, self._clock = viewer, clock
        self._on_delta: Callable[[Delta, int], object] = lambda message, client: None
        self._ids: dict[Any, int] = {}
        self._next_id = 1
        self._told: dict[int, Layer] = {}  # the layers as clients know them, from the bottom
        self._canvas, self._canvas_told = Canvas(width=1024, height=768), True
        self._answers = Answers()
        self._under_cursor = UnderCursor(viewer, clock)
        self._commands = Commands(viewer, root, self._ids, screenshot)
        self._flush_at = self._thumbnails_at = -math.inf
        self._watch = Watch(viewer, on_dirty)
        self._watch.order = True
        self._tell_layers()
        self._dims, self._camera = dims_of(viewer), camera_of(viewer)
        self._scene = self._read_scene()
        self._on_delta = on_delta  # only now: what is there already is no change

    def close(self) -> None:
        """Let go of the viewer."""
        self._watch.close()

    # ---- what clients are told -----------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the scene as it is; everything that changed before is flushed first."""
        self._flush_at = -math.inf
        self.flush()
        return Snapshot(
            layers=tuple(self._told.values()),
            dims=self._dims,
            camera=self._camera,
            canvas=self._canvas,
            scene=self._scene,
        )

    def thumbnails(self) -> list[Thumbnail]:
        """Return the thumbnails of all layers, for a client that joins."""
        return [_thumbnail(layer, id_) for layer, id_ in self._ids.items()]

    def set_canvas(self, width: int, height: int, ratio: float) -> None:
        """Note the size of all pictures from now on, in device pixels."""
        canvas = Canvas(width=width, height=height, ratio=ratio)
        if canvas != self._canvas:
            self._canvas, self._canvas_told = canvas, False

    def flush(self) -> float:
        """Tell clients what changed since the last time.

        Returns
        -------
        float
            Seconds until there is more to tell without a further change; inf: there is not.
        """
        now = self._clock()
        if now < self._flush_at + _INTERVAL_S:
            return self._flush_at + _INTERVAL_S - now
        self._flush_at = now
        self._tell_layers()
        self._tell_attributes()
        self._tell_view()
        self._answers.clear()
        for message in self._under_cursor.look(self._watch.pointed):
            self._on_delta(message, 0)
        self._watch.pointed = False
        return min(self._tell_thumbnails(now), self._under_cursor.waits())

    def _tell(self, message: Delta) -> None:
        self._on_delta(message, 0)

    def _tell_layers(self) -> None:
        if not (self._watch.order or self._watch.data):
            return
        self._watch.order = False
        reshaped = self._renew_reshaped()
        present = [layer for layer in self._viewer.layers if kind_of(layer) is not None]
        for layer in [layer for layer in self._ids if layer not in present]:
            self._forget(layer)
        for index, layer in enumerate(present):
            if layer not in self._ids:
                self._add(layer, index)
        order = [self._ids[layer] for layer in present]
        if order != list(self._told):
            self._told = {id_: self._told[id_] for id_ in order}
            self._tell(LayersReordered(tuple(order)))
        for message in reshaped:
            self._tell(message)

    def _renew_reshaped(self) -> list[LayerReshaped]:
        """Return new shapes; what is another array altogether becomes another layer."""
        messages = []
        for layer in self._watch.data & self._ids.keys():
            id_ = self._ids[layer]
            before, after = self._told[id_], self._describe(layer, id_)
            if _array_of(before) != _array_of(after):
                self._forget(layer)
            elif (before.shape, before.low, before.high) != (after.shape, after.low, after.high):
                self._told[id_] = replace(before, shape=after.shape, low=after.low, high=after.high)
                messages.append(LayerReshaped(id_, after.shape, after.low, after.high))
        self._watch.data.clear()
        return messages

    def _forget(self, layer: Any) -> None:
        id_ = self._ids.pop(layer)
        del self._told[id_]
        self._tell(LayerRemoved(id_))

    def _add(self, layer: Any, index: int) -> None:
        id_, self._next_id = self._next_id, self._next_id + 1
        self._ids[layer] = id_
        described = self._describe(layer, id_)
        told = list(self._told.items())
        told.insert(index, (id_, described))
        self._told = dict(told)
        self._watch.attributes.discard(layer)
        self._watch.thumbnails.add(layer)
        self._tell(LayerAdded(described, index))

    def _describe(self, layer: Any, id_: int) -> Layer:
        kind: LayerKind = kind_of(layer) or "image"
        shape, dtype = _shape_of(layer, kind)
        low, high = (np.nan_to_num(corner).tolist() for corner in layer.extent.data)
        return Layer(
            id=id_,
            kind=kind,
            ndim=layer.ndim,
            shape=shape,
            dtype=dtype,
            low=tuple(low),
            high=tuple(high),
            rgb=kind == "image" and bool(layer.rgb),
            multiscale=kind in ("image", "labels") and bool(layer.multiscale),
            features=_features_of(layer),
            attributes=read_all(layer, kind),
        )

    def _tell_attributes(self) -> None:
        for layer in self._watch.attributes & self._ids.keys():
            id_ = self._ids[layer]
            told = self._told[id_]
            now = read_all(layer, told.kind)
            self._told[id_] = replace(told, attributes=now)
            for client, changes in self._answers.sort(id_, told.attributes, now).items():
                self._on_delta(LayerChanged(id_, changes), client)
        self._watch.attributes.clear()

    def _tell_view(self) -> None:
        if not self._canvas_told:
            self._canvas_told = True
            self._on_delta(CanvasChanged(self._canvas), 0)
        if self._watch.dims:
            self._watch.dims, before, self._dims = False, self._dims, dims_of(self._viewer)
            clients = self._answers.sort("dims", _fields(before), _fields(self._dims))
            if clients:
                self._on_delta(DimsChanged(self._dims), _only(clients))
        if self._watch.camera:
            self._watch.camera, last, self._camera = False, self._camera, camera_of(self._viewer)
            clients = self._answers.sort("camera", _fields(last), _fields(self._camera))
            if clients:
                self._on_delta(CameraChanged(self._camera), _only(clients))
        if self._watch.canvas:
            self._watch.canvas, scene, self._scene = False, self._scene, self._read_scene()
            for client, changes in self._answers.sort("scene", scene, self._scene).items():
                self._on_delta(SceneChanged(changes), client)

    def _read_scene(self) -> Changes:
        selection = self._viewer.layers.selection
        said: Changes = canvas_of(self._viewer)
        said["selected"] = [*sorted(self._ids[one] for one in selection if one in self._ids)]
        said["active"] = self._ids.get(selection.active)
        return check_view("scene", said)

    def _tell_thumbnails(self, now: float) -> float:
        if not self._watch.thumbnails:
            return math.inf
        if now < self._thumbnails_at + _THUMBNAILS_S:
            return self._thumbnails_at + _THUMBNAILS_S - now
        self._thumbnails_at = now
        for layer in self._watch.thumbnails & self._ids.keys():
            self._on_delta(_thumbnail(layer, self._ids[layer]), 0)
        self._watch.thumbnails.clear()
        return math.inf

    # ---- what clients want ---------------------------------------------------------------

    def answer(self, intent: Intent) -> Accepted | Rejected:
        """Carry out an intent, or say why not."""
        try:
            return Accepted(intent.id, self.apply(intent))
        except IntentError as error:
            return Rejected(intent.id, str(error), self._actual(intent))

    def apply(self, intent: Intent) -> Changes:
        """Carry out an intent, all of it or nothing.

        Returns
        -------
        dict
            What the attributes are now: napari may have made something else of them.

        Raises
        ------
        IntentError
            There is no such layer or attribute, or napari does not take the value: says why.
        """
        self._tell_layers()
        layer = self._layer_of(intent)
        apply_changes(self._viewer, self._ids, intent.target, intent.changes, layer)
        if layer is not None:
            self._watch.mark(layer)
        elif intent.target == "scene":
            self._watch.mark_canvas()
        applied = self._actual(intent)
        place = intent.layer if layer is not None else intent.target
        self._answers.note(intent.id >> 32, place, applied)
        return applied

    def execute(self, command: Command) -> Reply:
        """Carry out a command, or say why not.

        The reply to "open" names the layers that came; they are told before it is sent.
        """
        self._tell_layers()
        try:
            reply = self._commands.execute(command)
        except IntentError as error:
            return Reply(id=command.id, error=str(error))
        self._tell_layers()
        if command.name == "open":
            ids: Value = [self._ids[one] for one in self._commands.opened if one in self._ids]
            return Reply(id=command.id, values={"layers": ids})
        return reply

    def point_at(self, position: tuple[float, ...]) -> None:
        """Have the next flush say what is at a position in world coordinates."""
        self._under_cursor.point_at(position)

    def _layer_of(self, intent: Intent) -> Any:
        if intent.target != "layer":
            return None
        for layer, id_ in self._ids.items():
            if id_ == intent.layer:
                return layer
        raise IntentError(f"there is no layer {intent.layer} (any more)")

    def _actual(self, intent: Intent) -> Changes:
        """Return what the attributes are that an intent is about, as far as there are any."""
        actual: Changes = {}
        if intent.target == "layer":
            told = self._told.get(intent.layer)
            layer = next((one for one, id_ in self._ids.items() if id_ == intent.layer), None)
            for name in intent.changes if told is not None else ():
                try:
                    actual[name] = read(layer, told.kind, name)
                except DataError:  # there is no such attribute
                    continue
            return actual
        views: dict[str, Changes] = {
            "dims": _fields(dims_of(self._viewer)),
            "camera": _fields(camera_of(self._viewer)),
            "scene": self._read_scene(),
        }
        values = views[intent.target]
        return {name: values[name] for name in intent.changes if name in values}


def _fields(struct: Any) -> Changes:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _array_of(layer: Layer) -> tuple[int, str, bool, bool]:
    """Return what a layer keeps while its data grow or shrink."""
    return layer.ndim, layer.dtype, layer.rgb, layer.multiscale


def _only(clients: dict[int, Changes]) -> int:
    """Return the client that knows everything; 0: none does."""
    return next(iter(clients)) if len(clients) == 1 else 0


def _shape_of(layer: Any, kind: LayerKind) -> tuple[tuple[int, ...], str]:
    data = layer.data[0] if kind == "surface" or getattr(layer, "multiscale", False) else layer.data
    if kind == "shapes":
        return (len(data), layer.ndim), "float32"
    return tuple(int(size) for size in data.shape), np.dtype(data.dtype).name


def _features_of(layer: Any) -> tuple[str, ...]:
    names = getattr(layer, "properties", None) or {}
    return tuple(str(name)[:256] for name in list(names)[:16])


def _thumbnail(layer: Any, id_: int) -> Thumbnail:
    picture = np.ascontiguousarray(layer.thumbnail, np.uint8)
    height, width = picture.shape[:2]
    return Thumbnail(id_, width, height, picture.tobytes())
