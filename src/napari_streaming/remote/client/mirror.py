"""A remote scene as plain data: what the server said, and what was wished for since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from psygnal import Signal

from napari_streaming.errors import DataError
from napari_streaming.wire.attributes import (
    CAMERA_ATTRIBUTES,
    DIMS_ATTRIBUTES,
    LAYER_ATTRIBUTES,
    SCENE_ATTRIBUTES,
    Changes,
    Value,
    check_changes,
)
from napari_streaming.wire.messages import LayerKind
from napari_streaming.wire.remote import (
    Accepted,
    CameraChanged,
    Canvas,
    CanvasChanged,
    DimsChanged,
    IntentTarget,
    Layer,
    LayerAdded,
    LayerChanged,
    LayerRemoved,
    LayerReshaped,
    LayersReordered,
    Rejected,
    SceneChanged,
    SceneDelta,
    Snapshot,
    Thumbnail,
)

__all__ = ["Mirror", "RemoteLayer", "SceneMessage", "Target"]

Target = int | Literal["dims", "camera", "scene"]
SceneMessage = Snapshot | SceneDelta | Accepted | Rejected
_VIEWS: dict[Any, dict[str, Any]] = {
    "dims": DIMS_ATTRIBUTES,
    "camera": CAMERA_ATTRIBUTES,
    "scene": SCENE_ATTRIBUTES,
}
_FIXED: dict[Any, tuple[str, ...]] = {"dims": ("ndim", "range", "axis_labels")}


@dataclass
class RemoteLayer:
    """A layer of the server's; `attributes` are what is to be shown."""

    id: int
    kind: LayerKind
    ndim: int
    shape: tuple[int, ...]
    dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    rgb: bool
    multiscale: bool
    features: tuple[str, ...]
    attributes: dict[str, Any]
    thumbnail: Thumbnail | None = None


@dataclass
class _Wish:
    """An intent that is not answered yet."""

    target: Target
    changes: Changes


@dataclass
class _Place:
    """What the server says of one place, and what is shown there."""

    said: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)


class Mirror:
    """The scene as a client has it.

    A change is shown at once, and stays until the server has answered; the answer is what stays
    then. Only in one thread.

    Parameters
    ----------
    ask : callable
        Sends an intent: called with its target, its changes, and the number of the layer or 0.
        Returns its id, 0: there is no connection. `SessionClient.send_intent`.

    Attributes
    ----------
    reset : Signal()
        Everything is another: a snapshot came.
    layer_added, layer_removed, layer_reshaped : Signal(int)
        The number of a layer.
    layers_reordered : Signal()
    thumbnail_changed : Signal(int)
        The number of a layer.
    changed : Signal(object, dict)
        What is to be shown changed other than by `change`: the number of a layer, "dims",
        "camera" or "scene", and the values by attribute.
    canvas_changed : Signal()
    rejected : Signal(str)
        Why the server did not do what was wished for.
    """

    reset = Signal()
    layer_added = Signal(int)
    layer_removed = Signal(int)
    layer_reshaped = Signal(int)
    layers_reordered = Signal()
    thumbnail_changed = Signal(int)
    changed = Signal(object, dict)
    canvas_changed = Signal()
    rejected = Signal(str)

    def __init__(self, ask: Callable[[IntentTarget, Changes, int], int]) -> None:
        self._ask = ask
        self._wishes: dict[int, _Wish] = {}
        self._late: dict[int, Target] = {}  # wishes from before a snapshot, by target
        self._places: dict[Target, _Place] = {}
        self._layers: dict[int, RemoteLayer] = {}
        self._apply: dict[type, Callable[[Any], None]] = {
            Snapshot: self._on_snapshot,
            LayerAdded: self._on_added,
            LayerRemoved: self._on_removed,
            LayersReordered: self._on_reordered,
            LayerChanged: lambda message: self._take_in(message.layer, message.changes),
            LayerReshaped: self._on_reshaped,
            Thumbnail: self._on_thumbnail,
            DimsChanged: lambda message: self._take_in("dims", _fields(message.dims)),
            CameraChanged: lambda message: self._take_in("camera", _fields(message.camera)),
            CanvasChanged: self._on_canvas,
            SceneChanged: lambda message: self._take_in("scene", message.changes),
            Accepted: self._on_accepted,
            Rejected: self._on_rejected,
        }
        self.canvas = Canvas(width=1, height=1)
        self._has_joined = False
        self._clear()

    # ---- what is to be shown -------------------------------------------------------------

    @property
    def layers(self) -> Mapping[int, RemoteLayer]:
        """The layers by number, from the bottom."""
        return self._layers

    @property
    def dims(self) -> Mapping[str, Any]:
        """The dimensions: `ndim`, `ndisplay`, `point`, `range`, `order`, `axis_labels`."""
        return self._places["dims"].shown

    @property
    def camera(self) -> Mapping[str, Any]:
        """The camera: `center`, `zoom`, `angles`, `perspective`."""
        return self._places["camera"].shown

    @property
    def scene(self) -> Mapping[str, Any]:
        """The selection and the overlays, as in `SCENE_ATTRIBUTES`."""
        return self._places["scene"].shown

    @property
    def is_settled(self) -> bool:
        """Whether every wish has been answered."""
        return not self._wishes

    # ---- what the user wants -------------------------------------------------------------

    def change(self, target: Target, key: str, value: Value) -> int:
        """Show a new value, and ask the server for it.

        Parameters
        ----------
        target : int or str
            The number of a layer, "dims", "camera" or "scene".
        key : str
        value : object

        Returns
        -------
        int
            The id of the intent; 0: there is no connection, and what was shown is shown again.

        Raises
        ------
        DataError
            There is no such layer or attribute, or the value is not of its type.
        """
        if target not in self._places:
            raise DataError(f"there is no layer {target} (any more)")
        changes = check_changes(self._attributes(target), {key: value})
        layer = target if isinstance(target, int) else 0
        number = self._ask("layer" if isinstance(target, int) else target, changes, layer)
        if number:
            self._wishes[number] = _Wish(target, changes)
            self._places[target].shown.update(changes)
        else:
            self.changed.emit(target, {key: self._places[target].shown.get(key)})
        return number

    # ---- what the server says ------------------------------------------------------------

    def apply(self, message: SceneMessage) -> None:
        """Take in a message of the server's; before the first snapshot none means anything.

        Raises
        ------
        DataError
            It is about a layer or an attribute that does not exist, or a value of another type.
        """
        if self._has_joined or isinstance(message, Snapshot):
            self._apply[type(message)](message)

    def _clear(self) -> None:
        self._wishes.clear()
        self._layers = {}
        self._places = {name: _Place() for name in _VIEWS}

    def _on_snapshot(self, message: Snapshot) -> None:
        # Of a connection that broke nobody may ever answer: nothing waits for these any more.
        self._late |= {number: wish.target for number, wish in self._wishes.items()}
        self._clear()
        for layer in message.layers:
            self._insert(layer, len(self._layers))
        self._say("dims", _fields(message.dims))
        self._say("camera", _fields(message.camera))
        self._say("scene", message.scene)
        self.canvas = message.canvas
        self._has_joined = True
        self.reset.emit()

    def _say(self, target: Target, values: dict[str, Any]) -> None:
        values = self._checked(target, values)
        self._places[target].said.update(values)
        self._places[target].shown.update(values)

    def _insert(self, layer: Layer, index: int) -> None:
        if layer.id in self._layers:
            raise DataError(f"layer {layer.id} comes twice")
        attributes = check_changes(LAYER_ATTRIBUTES[layer.kind], layer.attributes)
        place = self._places[layer.id] = _Place(dict(attributes), dict(attributes))
        about = _fields(layer) | {"attributes": place.shown}
        order = [*self._layers]
        order.insert(index, layer.id)
        self._layers[layer.id] = RemoteLayer(**about)
        self._sort(order)

    def _sort(self, order: Iterable[int]) -> None:
        self._layers = {number: self._layers[number] for number in order}

    def _on_added(self, message: LayerAdded) -> None:
        self._insert(message.layer, message.index)
        self.layer_added.emit(message.layer.id)

    def _on_removed(self, message: LayerRemoved) -> None:
        self._known(message.layer)
        del self._layers[message.layer], self._places[message.layer]
        for number in [n for n, wish in self._wishes.items() if wish.target == message.layer]:
            del self._wishes[number]
        self.layer_removed.emit(message.layer)

    def _on_reordered(self, message: LayersReordered) -> None:
        if sorted(message.layers) != sorted(self._layers):
            raise DataError("an order of other layers")
        self._sort(message.layers)
        self.layers_reordered.emit()

    def _on_reshaped(self, message: LayerReshaped) -> None:
        layer = self._known(message.layer)
        layer.shape, layer.low, layer.high = message.shape, message.low, message.high
        self.layer_reshaped.emit(layer.id)

    def _on_thumbnail(self, message: Thumbnail) -> None:
        self._known(message.layer).thumbnail = message
        self.thumbnail_changed.emit(message.layer)

    def _on_canvas(self, message: CanvasChanged) -> None:
        self.canvas = message.canvas
        self.canvas_changed.emit()

    def _on_accepted(self, message: Accepted) -> None:
        wish = self._wishes.pop(message.id, None)
        target = wish.target if wish is not None else self._late.pop(message.id, None)
        if target in self._places:
            self._take_in(target, message.applied)

    def _on_rejected(self, message: Rejected) -> None:
        wish = self._wishes.pop(message.id, None)
        if wish is None:
            return
        said = self._places[wish.target].said
        before = {name: said[name] for name in wish.changes if name in said}
        self._take_in(wish.target, before | message.actual)
        self.rejected.emit(message.reason)

    def _take_in(self, target: Target, values: Mapping[str, Any]) -> None:
        """Note what the server says, and show it unless something else is wished for."""
        values = self._checked(target, values)
        place = self._places[target]
        place.said.update(values)
        waiting = {
            name for wish in self._wishes.values() if wish.target == target for name in wish.changes
        }
        news = {
            name: value
            for name, value in values.items()
            if name not in waiting and place.shown.get(name) != value
        }
        place.shown.update(news)
        if news:
            self.changed.emit(target, news)

    def _checked(self, target: Target, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of their types; what nobody can set has them by the message."""
        if isinstance(target, int):
            self._known(target)
        attributes = self._attributes(target)
        fixed = _FIXED.get(target, ())
        checked = check_changes(
            attributes, {name: value for name, value in values.items() if name not in fixed}
        )
        return {name: checked.get(name, value) for name, value in values.items()}

    def _attributes(self, target: Target) -> dict[str, Any]:
        if isinstance(target, int):
            return LAYER_ATTRIBUTES[self._layers[target].kind]
        return _VIEWS[target]

    def _known(self, number: int) -> RemoteLayer:
        if number not in self._layers:
            raise DataError(f"there is no layer {number}")
        return self._layers[number]


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
