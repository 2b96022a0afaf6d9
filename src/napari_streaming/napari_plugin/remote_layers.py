"""A remote scene in a napari window: its layers as ordinary ones, what the user does as wishes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Layer
from psygnal import SignalInstance
from qtpy.QtCore import QTimer

from napari_streaming.errors import DataError
from napari_streaming.napari_plugin.put_away import PutAway
from napari_streaming.napari_plugin.replies import Replies
from napari_streaming.napari_plugin.stand_in import make_stand_in, reshape
from napari_streaming.remote.client.mirror import Mirror, Target
from napari_streaming.remote.layer_attributes import EVENTS, read, write
from napari_streaming.remote.view_attributes import (
    CANVAS_ATTRIBUTES,
    camera_of,
    canvas_of,
    canvas_owners,
    dims_of,
    write_camera,
    write_canvas,
)
from napari_streaming.wire.attributes import CAMERA_ATTRIBUTES, DIMS_ATTRIBUTES
from napari_streaming.wire.remote import CommandName, Reply

__all__ = ["RemoteLayers"]

logger = logging.getLogger(__name__)

_PLAY_WAITS_MS = 500


class RemoteLayers:
    """Keeps a viewer in step with a mirror, in both directions. Only in the GUI thread.

    The user's own layers are put away until `close`. What the user changes is collected until
    Qt is idle, so that a drag is one wish each time.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or ViewerModel
    mirror : Mirror
    command : callable
        Has the server do something: called with the name of a command and its arguments,
        returns a Future of the Reply. `SessionClient.command`.
    """

    def __init__(self, viewer: Any, mirror: Mirror, command: Callable[..., Future[Reply]]) -> None:
        # Plugins get a proxy, whose layers are not those that events name.
        self._viewer = viewer = getattr(viewer, "__wrapped__", viewer)
        self._mirror, self._command = mirror, command
        self._stand_ins: dict[int, Layer] = {}
        self._wished: dict[tuple[Target, str], None] = {}
        self._reset_wanted = self._reorder_wanted = False
        self._replies = Replies()
        self._replies.failed.connect(self._on_failed)
        self._is_closed = False
        self._showing = 0
        self._played = 0  # the last wish for a point
        self._put_away = PutAway(viewer)
        self._timer = _timer(0, self.flush)
        self._play_timer = _timer(_PLAY_WAITS_MS, self._play_on)
        self._connections = [
            (viewer.layers.events.removed, self._on_removed),
            (viewer.layers.events.reordered, self._on_reordered),
            (viewer.layers.selection.events.changed, self._on_selection),
            (viewer.layers.selection.events.active, self._on_selection),
            (viewer.dims.events, self._on_dims),
            (viewer.scene.camera.events, self._on_camera),
            *((owner.events, self._on_canvas) for owner in canvas_owners(viewer).values()),
            (viewer.events.reset_view, self._on_reset_view),
        ]
        for emitter, callback in self._connections:
            emitter.connect(callback)
        self._from_mirror: list[tuple[SignalInstance, Callable[..., None]]] = [
            (mirror.reset, self._show_all),
            (mirror.layer_added, self._show_layer),
            (mirror.layer_removed, self._drop_layer),
            (mirror.layers_reordered, self._arrange),
            (mirror.layer_reshaped, self._reshape),
            (mirror.thumbnail_changed, self._show_thumbnail),
            (mirror.changed, self._show),
        ]
        for signal, slot in self._from_mirror:
            signal.connect(slot)
        if mirror.dims:
            self._show_all()

    def close(self) -> None:
        """Take the server's layers away, and bring back the user's; again: nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for signal, slot in self._from_mirror:
            signal.disconnect(slot)
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._replies.failed.disconnect(self._on_failed)
        self._timer.stop()
        self._play_timer.stop()
        for number in list(self._stand_ins):
            self._drop_layer(number)
        self._put_away.bring_back()
        self._play_on()

    def layer(self, number: int) -> Layer:
        """Return the napari layer that stands for one of the server's."""
        return self._stand_ins[number]

    def frame_shown(self, intent: int) -> None:
        """Let a playing slider go on: a picture that contains this intent is to be seen."""
        if intent >= self._played:
            self._play_on()

    # ---- what the server says ------------------------------------------------------------

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Take nothing that napari says for a wish of the user's."""
        self._showing += 1
        try:
            yield
        finally:
            self._showing -= 1

    def _show_all(self) -> None:
        self._wished.clear()
        with self._quietly():
            for number in list(self._stand_ins):
                self._drop_layer(number)
            for number in self._mirror.layers:
                self._add(number)
            self._arrange()
            self._show("scene", dict(self._mirror.scene))
            self._show_view()

    def _show_view(self) -> None:
        """Show dimensions, then the camera, which napari moves with them."""
        self._show("dims", dict(self._mirror.dims))
        self._show("camera", dict(self._mirror.camera))

    def _show_layer(self, number: int) -> None:
        with self._quietly():
            self._add(number)
            self._arrange()
            self._show_view()
            self._show("scene", dict(self._mirror.scene))  # napari selects what is new

    def _add(self, number: int) -> None:
        remote = self._mirror.layers[number]
        layer = make_stand_in(remote)
        self._stand_ins[number] = layer
        self._viewer.layers.append(layer)
        self._show(number, remote.attributes)
        self._show_thumbnail(number)
        layer.events.connect(self._on_layer)

    def _drop_layer(self, number: int) -> None:
        layer = self._stand_ins.pop(number, None)
        if layer is None:
            return
        layer.events.disconnect(self._on_layer)
        with self._quietly():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
            if self._mirror.dims:
                self._show_view()

    def _arrange(self) -> None:
        """Have the stand-ins in the server's order; layers of the user's own come above."""
        with self._quietly():
            wanted = [self._stand_ins[n] for n in self._mirror.layers if n in self._stand_ins]
            for index, layer in enumerate(wanted):
                now = self._viewer.layers.index(layer)
                if now != index:
                    self._viewer.layers.move(now, index)

    def _reshape(self, number: int) -> None:
        if number in self._stand_ins:
            with self._quietly():
                reshape(self._stand_ins[number], self._mirror.layers[number])
                self._show_thumbnail(number)
                self._show_view()

    def _show_thumbnail(self, number: int) -> None:
        layer, said = self._stand_ins.get(number), self._mirror.layers[number].thumbnail
        if layer is None or said is None:
            return
        picture = np.frombuffer(said.pixels, np.uint8).reshape(said.height, said.width, 4)
        if picture.shape == layer.thumbnail.shape:
            with self._quietly():
                layer.thumbnail = picture

    def _show(self, target: Target, values: dict[str, Any]) -> None:
        with self._quietly():
            if target == "dims":
                self._show_dims()
            elif target == "scene":
                self._show_scene(values)
            else:
                for name, value in values.items():
                    self._show_one(target, name, value)

    def _show_one(self, target: Target, name: str, value: Any) -> None:
        try:
            if target == "camera":
                if getattr(camera_of(self._viewer), name) != value:
                    write_camera(self._viewer, name, value)
            elif isinstance(target, int) and target in self._stand_ins and value is not None:
                kind = self._mirror.layers[target].kind
                if read(self._stand_ins[target], kind, name, current=True) != value:
                    write(self._stand_ins[target], kind, name, value)
        except DataError as error:  # the picture is right all the same
            logger.info("%s of %s is not shown: %s", name, target, error)

    def _show_dims(self) -> None:
        wanted, dims = self._mirror.dims, self._viewer.dims
        turned = dims.ndisplay != wanted["ndisplay"]
        if turned:
            dims.ndisplay = wanted["ndisplay"]
        if dims.ndim == wanted["ndim"]:
            for name in ("range", "order", "point", "axis_labels"):
                if _plain(getattr(dims, name)) != _plain(wanted[name]):
                    setattr(dims, name, wanted[name])
        if turned:  # napari moved the camera
            self._show("camera", dict(self._mirror.camera))

    def _show_scene(self, values: dict[str, Any]) -> None:
        shown = canvas_of(self._viewer)
        for name in CANVAS_ATTRIBUTES:
            if name in values and _plain(shown[name]) != _plain(values[name]):
                write_canvas(self._viewer, name, values[name])
        if "selected" not in values and "active" not in values:
            return
        scene, selection = self._mirror.scene, self._viewer.layers.selection
        layers = {self._stand_ins[n] for n in scene["selected"] if n in self._stand_ins}
        if set(selection) != layers:
            self._viewer.layers.selection = layers
        active = self._stand_ins.get(scene["active"] or 0)
        if selection.active is not active and active is not None:
            selection.active = active

    def _do(self, name: CommandName, **arguments: Any) -> None:
        self._command(name, **arguments).add_done_callback(self._replies.take)

    def _on_failed(self) -> None:
        """Show what is still there: the server did not remove or move it."""
        for number in self._mirror.layers:
            if number not in self._stand_ins:
                self._show_layer(number)
        self._arrange()

    # ---- what the user does --------------------------------------------------------------

    def _wish(self, target: Target, name: str) -> None:
        if not self._showing:
            self._wished[target, name] = None
            self._timer.start()

    def _on_layer(self, event: Any) -> None:
        number = next((n for n, layer in self._stand_ins.items() if layer is event.source), None)
        if number is None or number not in self._mirror.layers:
            return
        if event.type == "thumbnail":
            if not self._showing:  # napari drew one of the few zeros
                self._show_thumbnail(number)
            return
        for name in EVENTS[self._mirror.layers[number].kind].get(event.type, ()):
            self._wish(number, name)

    def _on_removed(self, event: Any) -> None:
        number = next((n for n, layer in self._stand_ins.items() if layer is event.value), None)
        if number is not None and not self._showing:
            del self._stand_ins[number]
            event.value.events.disconnect(self._on_layer)
            self._do("remove", layers=[number])

    def _on_reordered(self, _event: Any) -> None:
        if not self._showing:
            self._reorder_wanted = True
            self._timer.start()

    def _on_selection(self, _event: Any) -> None:
        self._wish("scene", "selected")
        self._wish("scene", "active")

    def _on_dims(self, event: Any) -> None:
        if event.type in DIMS_ATTRIBUTES:
            self._wish("dims", event.type)

    def _on_camera(self, event: Any) -> None:
        if event.type in CAMERA_ATTRIBUTES:
            self._wish("camera", event.type)

    def _on_canvas(self, _event: Any) -> None:
        for name in CANVAS_ATTRIBUTES:  # only what differs is asked for
            self._wish("scene", name)

    def _on_reset_view(self, _event: Any) -> None:
        if not self._showing:
            self._reset_wanted = True
            self._timer.start()

    def flush(self) -> None:
        """Ask the server for what the user changed since the last time."""
        wished, self._wished = self._wished, {}
        turned = ("dims", "ndisplay") in wished
        if turned or self._reset_wanted:
            # napari moved the camera for a canvas that nobody sees: the server does it for its own.
            wished = {key: None for key in wished if key[0] != "camera"}
        for target, name in wished:
            self._ask(target, name)
        if self._reset_wanted:
            self._reset_wanted = False
            self._do("reset_view")
        if self._reorder_wanted:
            self._reorder_wanted = False
            self._ask_order()
        if turned or not wished:
            self._show("camera", dict(self._mirror.camera))

    def _ask(self, target: Target, name: str) -> None:
        try:
            value, shown = self._value(target, name)
            if _plain(value) == _plain(shown):
                return
            number = self._mirror.change(target, name, value)
        except DataError as error:
            logger.info("%s of %s is not asked for: %s", name, target, error)
            return
        if (target, name) == ("dims", "point"):
            self._played = number
            self._play_timer.start()

    def _value(self, target: Target, name: str) -> tuple[Any, Any]:
        """Return what the window has, and what it should have as far as the mirror knows."""
        if isinstance(target, int):
            if target not in self._stand_ins or target not in self._mirror.layers:
                raise DataError("the layer is gone")
            remote = self._mirror.layers[target]
            value = read(self._stand_ins[target], remote.kind, name, current=True)
            return value, remote.attributes.get(name)
        if target == "dims":
            return getattr(dims_of(self._viewer), name), self._mirror.dims[name]
        if target == "camera":
            return getattr(camera_of(self._viewer), name), self._mirror.camera[name]
        if name in CANVAS_ATTRIBUTES:
            return canvas_of(self._viewer)[name], self._mirror.scene.get(name)
        numbers = {layer: number for number, layer in self._stand_ins.items()}
        selection = self._viewer.layers.selection
        if name == "active":
            return numbers.get(selection.active), self._mirror.scene.get(name)
        selected = sorted(numbers[layer] for layer in selection if layer in numbers)
        return selected, self._mirror.scene.get(name)

    def _ask_order(self) -> None:
        numbers = {layer: number for number, layer in self._stand_ins.items()}
        order = [numbers[layer] for layer in self._viewer.layers if layer in numbers]
        if order != list(self._mirror.layers):
            self._do("reorder", layers=order)

    def _play_on(self) -> None:
        """Tell napari's player that the step is to be seen, as its canvas does when it draws."""
        self._play_timer.stop()
        self._viewer.dims._play_ready = True


def _timer(milliseconds: int, call: Callable[[], None]) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer


def _plain(value: Any) -> Any:
    """Return sequences as lists, so that they compare by what is in them."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
