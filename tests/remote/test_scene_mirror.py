"""A scene and the mirrors of two clients, over packed messages, however they are delivered."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Surface, Tracks, Vectors

from napari_streaming.errors import DataError, IntentError
from napari_streaming.remote.client.mirror import Mirror
from napari_streaming.remote.layer_attributes import kind_of
from napari_streaming.remote.server.scene import Scene
from napari_streaming.wire.attributes import LAYER_ATTRIBUTES, Changes
from napari_streaming.wire.remote import (
    Accepted,
    Command,
    CommandName,
    Intent,
    IntentTarget,
    LayerChanged,
    Rejected,
    Reply,
    Snapshot,
    StatusText,
    Thumbnail,
    Tooltip,
    pack,
    unpack_from_client,
    unpack_from_server,
)


def make(kind: str) -> Layer:
    corners = np.array([[0, 0, 0], [0, 0, 9], [0, 9, 9], [0, 9, 0.0]])
    if kind == "image":
        return Image(np.arange(5 * 16 * 16, dtype=np.uint16).reshape(5, 16, 16))
    if kind == "labels":
        return Labels(np.ones((16, 16), np.int32))
    if kind == "points":
        return Points(np.array([[0, 1, 2], [4, 5, 6.0]]), features={"speed": [1.0, 2.0]})
    if kind == "shapes":
        return Shapes([corners, corners + 3])
    if kind == "tracks":
        return Tracks(np.array([[0, 0, 1, 1], [0, 1, 2, 2.0], [1, 1, 3, 3]]))
    if kind == "vectors":
        return Vectors(np.array([[[0, 0, 0], [1, 1, 1.0]], [[0, 3, 3], [2, 1, 1]]]))
    return Surface((corners, np.array([[0, 1, 2], [0, 2, 3]]), np.arange(4.0)))


KINDS = sorted(LAYER_ATTRIBUTES)
NUMBERS: dict[Any, Any] = {
    "opacity": st.floats(0, 1),
    "visible": st.booleans(),
    "name": st.text(min_size=1, max_size=8),
    "blending": st.sampled_from(["additive", "translucent", "opaque", "nonsense"]),
    "scale": st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=2, max_size=3),
    "translate": st.lists(st.integers(-5, 5), min_size=2, max_size=3),
    "gamma": st.floats(0.1, 3),
    "colormap": st.sampled_from(["viridis", "gray", "no such", [[0, 0, 0, 0, 1], [1, 1, 0, 0, 1]]]),
    "contrast_limits": st.sampled_from([[0, 10], [5, 900], [3, 3], [-10, 1e6]]),
    "rendering": st.sampled_from(["mip", "attenuated_mip", "translucent"]),
    "plane_position": st.tuples(*[st.integers(0, 9)] * 3),
    "selected_label": st.integers(0, 9),
    "size": st.floats(1, 50),
    "symbol": st.sampled_from(["disc", "square", "wheel"]),
    "face_color": st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 4),
    "edge_color": st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 4),
    "edge_width": st.floats(0.5, 9),
    "tail_width": st.floats(1, 20),
    "length": st.floats(0.5, 9),
    "wireframe_visible": st.booleans(),
    "shading": st.sampled_from(["none", "spherical", "flat", "smooth"]),
}
VIEWS = st.one_of(
    st.tuples(st.just("dims"), st.just("point"), st.tuples(*[st.integers(-3, 20)] * 3)),
    st.tuples(st.just("dims"), st.just("order"), st.permutations([0, 1, 2])),
    st.tuples(st.just("dims"), st.just("ndisplay"), st.sampled_from([2, 3])),
    st.tuples(st.just("camera"), st.just("zoom"), st.floats(0.1, 99)),
    st.tuples(st.just("camera"), st.just("center"), st.tuples(*[st.integers(-9, 9)] * 3)),
    st.tuples(st.just("camera"), st.just("angles"), st.tuples(*[st.integers(-90, 90)] * 3)),
    st.tuples(st.just("scene"), st.just("axes_visible"), st.booleans()),
    st.tuples(st.just("scene"), st.just("scale_bar_visible"), st.booleans()),
    st.tuples(st.just("scene"), st.just("canvas_axes_labels"), st.booleans()),
    st.tuples(st.just("scene"), st.just("text_overlay_text"), st.text(max_size=9)),
    st.tuples(st.just("scene"), st.just("grid_enabled"), st.booleans()),
    st.tuples(st.just("scene"), st.just("grid_stride"), st.integers(-3, 3)),
)
CHANGES = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda name: st.tuples(st.just(name), NUMBERS[name])
)


class Wire:
    """A server with two clients, whose messages lie in queues until they are delivered."""

    def __init__(self) -> None:
        self.now = 0.0
        self.viewer = ViewerModel()
        self.down: dict[int, deque[bytes]] = {1: deque(), 2: deque()}
        self.up: dict[int, deque[bytes]] = {1: deque(), 2: deque()}
        self.scene = Scene(self.viewer, on_delta=self.broadcast, clock=lambda: self.now)
        self.mirrors = {number: self._mirror(number) for number in (1, 2)}
        for number in self.mirrors:
            self.join(number)

    def _mirror(self, number: int) -> Mirror:
        ids = itertools.count(number << 32)

        def ask(target: IntentTarget, changes: Changes, layer: int) -> int:
            intent = Intent(next(ids), target, changes, layer)
            self.up[number].append(pack(intent))
            return intent.id

        return Mirror(ask)

    def command(self, number: int, name: CommandName, **arguments: Any) -> None:
        self.up[number].append(pack(Command(number << 32, name, arguments)))

    def broadcast(self, message: Any, knows: int) -> None:
        for number, queue in self.down.items():
            if number != knows:
                queue.append(pack(message))

    def join(self, number: int) -> None:
        snapshot = self.scene.snapshot()
        self.down[number].append(pack(snapshot))

    def serve(self, number: int) -> None:
        message = unpack_from_client(self.up[number].popleft())
        if isinstance(message, Intent):
            self.down[number].append(pack(self.scene.answer(message)))
        elif isinstance(message, Command):
            self.down[number].append(pack(self.scene.execute(message)))

    def hear(self, number: int) -> None:
        message = unpack_from_server(self.down[number].popleft())
        if not isinstance(message, StatusText | Tooltip | Reply):
            self.mirrors[number].apply(message)

    def flush(self) -> None:
        self.now += 10.0
        self.scene.flush()

    def settle(self) -> None:
        for number, up in self.up.items():
            while up:
                self.serve(number)
        self.flush()
        for number, down in self.down.items():
            while down:
                self.hear(number)

    def check(self) -> None:
        snapshot = unpack_from_server(pack(self.scene.snapshot()))
        assert isinstance(snapshot, Snapshot)
        fresh = self._mirror(1)
        fresh.apply(snapshot)
        for mirror in self.mirrors.values():
            assert mirror.is_settled
            assert list(mirror.layers) == list(fresh.layers)
            for number, layer in mirror.layers.items():
                layer.thumbnail = None
                assert layer == fresh.layers[number]
            assert mirror.dims == fresh.dims
            assert mirror.camera == fresh.camera
            assert mirror.scene == fresh.scene
            assert mirror.canvas == fresh.canvas


class Session(RuleBasedStateMachine):
    @initialize(kinds=st.lists(st.sampled_from(KINDS), max_size=3))
    def begin(self, kinds: list[str]) -> None:
        self.wire = Wire()
        for kind in kinds:
            self.wire.viewer.add_layer(make(kind))

    @rule(kind=st.sampled_from(KINDS), index=st.integers(0, 3))
    @precondition(lambda self: len(self.wire.viewer.layers) < 6)
    def add(self, kind: str, index: int) -> None:
        layers = self.wire.viewer.layers
        layers.insert(min(index, len(layers)), make(kind))

    @rule(index=st.integers(0, 5), change=CHANGES)
    def change_there(self, index: int, change: tuple[str, Any]) -> None:
        layers, (name, value) = self.wire.viewer.layers, change
        if layers and hasattr(layers[index % len(layers)], name):
            layer = layers[index % len(layers)]
            kind = kind_of(layer)
            assert kind is not None
            try:
                self.wire.scene.apply(Intent(1, "layer", {name: value}, self._id_of(layer)))
            except IntentError:
                return

    def _id_of(self, layer: Layer) -> int:
        self.wire.flush()
        index = list(self.wire.viewer.layers).index(layer)
        return self.wire.scene.snapshot().layers[index].id

    @rule(number=st.sampled_from([1, 2]), index=st.integers(0, 5), change=CHANGES)
    def change_here(self, number: int, index: int, change: tuple[str, Any]) -> None:
        mirror, (name, value) = self.wire.mirrors[number], change
        if not mirror.layers:
            return
        layer = list(mirror.layers)[index % len(mirror.layers)]
        try:
            mirror.change(layer, name, value)
        except DataError:
            return
        assert name in mirror.layers[layer].attributes

    @rule(number=st.sampled_from([1, 2]), change=VIEWS)
    def look_elsewhere(self, number: int, change: tuple[Any, str, Any]) -> None:
        target, name, value = change
        self.wire.mirrors[number].change(target, name, value)

    @rule(number=st.sampled_from([1, 2]), indices=st.sets(st.integers(0, 5)))
    def select(self, number: int, indices: set[int]) -> None:
        mirror = self.wire.mirrors[number]
        ids = [one for index, one in enumerate(mirror.layers) if index in indices]
        mirror.change("scene", "selected", ids)
        mirror.change("scene", "active", ids[0] if ids else None)

    @rule(number=st.sampled_from([1, 2]), by=st.integers(1, 5))
    def reorder(self, number: int, by: int) -> None:
        order = list(self.wire.mirrors[number].layers)
        by %= max(len(order), 1)
        self.wire.command(number, "reorder", layers=order[by:] + order[:by])

    @rule(number=st.sampled_from([1, 2]), index=st.integers(0, 5))
    def remove(self, number: int, index: int) -> None:
        layers = list(self.wire.mirrors[number].layers)
        self.wire.command(number, "remove", layers=layers[index : index + 1])

    @rule(index=st.integers(0, 5), length=st.integers(1, 9))
    def grow(self, index: int, length: int) -> None:
        layers = self.wire.viewer.layers
        layer = layers[index % len(layers)] if layers else None
        if isinstance(layer, Image):
            layer.data = np.ones((length, 16, 16), np.uint16)
        elif isinstance(layer, Labels):
            layer.data = np.ones((length,) * (2 + length % 2), np.int32)
        elif isinstance(layer, Points):
            layer.data = np.zeros((length, 3)) + length

    @rule(number=st.sampled_from([1, 2]), count=st.integers(1, 4))
    def serve(self, number: int, count: int) -> None:
        for _ in range(min(count, len(self.wire.up[number]))):
            self.wire.serve(number)

    @rule(number=st.sampled_from([1, 2]), count=st.integers(1, 4))
    def hear(self, number: int, count: int) -> None:
        for _ in range(min(count, len(self.wire.down[number]))):
            self.wire.hear(number)

    @rule()
    def flush(self) -> None:
        self.wire.flush()

    @rule(number=st.sampled_from([1, 2]))
    def join_again(self, number: int) -> None:
        self.wire.join(number)

    def teardown(self) -> None:
        self.wire.settle()
        self.wire.settle()
        self.wire.check()
        self.wire.scene.close()


TestSession = pytest.mark.filterwarnings("ignore::UserWarning")(Session.TestCase)
TestSession.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_of_a_layer_travels_and_can_be_set_to_what_it_is(wire: Wire, kind: str):
    wire.viewer.add_layer(make(kind))
    wire.settle()
    (number,) = wire.mirrors[1].layers
    layer = wire.mirrors[1].layers[number]
    assert layer.attributes.keys() == LAYER_ATTRIBUTES[layer.kind].keys()
    for name, value in list(layer.attributes.items()):
        wire.mirrors[1].change(number, name, value)
        wire.serve(1)
        answer = unpack_from_server(wire.down[1][-1])
        assert isinstance(answer, Accepted), answer
        assert answer.applied[name] == value or list(answer.applied[name]) == list(value)
    wire.settle()
    wire.check()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("image", "opacity", 2.0),
        ("image", "rendering", "nonsense"),
        ("image", "colormap", "no such colour"),
        ("image", "contrast_limits", [3, 3]),
        ("image", "scale", [1, 0, 1]),
        ("image", "scale", [1, 1]),
        ("image", "affine", [[0.0] * 4] * 4),
        ("image", "units", ["pixel", "pixel", "no such unit"]),
        ("image", "selected_label", 3),
        ("labels", "contour", -1),
        ("points", "symbol", "no such symbol"),
        ("points", "size", None),
        ("tracks", "color_by", "no such property"),
        ("surface", "shading", "no such shading"),
        ("vectors", "edge_color", [1, 2, 3, 4]),
    ],
)
def test_what_napari_does_not_take_is_refused_with_the_reason(
    wire: Wire, kind: str, name: str, value: Any
):
    layer = wire.viewer.add_layer(make(kind))
    number = wire.scene.snapshot().layers[0].id
    before = wire.scene.snapshot().layers[0]
    answer = wire.scene.answer(Intent(9, "layer", {"opacity": 0.5, name: value}, number))
    assert isinstance(answer, Rejected)
    assert name in answer.reason
    assert wire.scene.snapshot().layers[0] == before, "all or nothing"
    assert layer.opacity == before.attributes["opacity"]


def test_a_layer_that_is_gone_cannot_be_changed(wire: Wire):
    layer = wire.viewer.add_layer(make("image"))
    number = wire.scene.snapshot().layers[0].id
    wire.viewer.layers.remove(layer)
    with pytest.raises(IntentError, match="no layer"):
        wire.scene.apply(Intent(1, "layer", {"opacity": 0.5}, number))


def test_a_drag_is_one_message_and_only_for_the_other_client(wire: Wire):
    wire.viewer.add_layer(make("image"))
    wire.settle()
    (number,) = wire.mirrors[1].layers
    for step in range(100):
        wire.mirrors[1].change(number, "opacity", step / 100)
    while wire.up[1]:
        wire.serve(1)
    wire.flush()
    messages = {n: [unpack_from_server(m) for m in queue] for n, queue in wire.down.items()}
    messages[1] = [message for message in messages[1] if not isinstance(message, Thumbnail)]
    messages[2] = [message for message in messages[2] if not isinstance(message, Thumbnail)]
    assert [type(message) for message in messages[1]] == [Accepted] * 100
    assert messages[2] == [LayerChanged(number, {"opacity": 0.99})]


def test_a_new_value_is_shown_until_the_answer_which_stays(wire: Wire):
    wire.viewer.add_layer(make("image"))
    wire.settle()
    mirror = wire.mirrors[1]
    heard: list[Any] = []
    mirror.changed.connect(lambda target, values: heard.append((target, values)))
    mirror.change("dims", "point", (99.0, 1.0, 1.0))
    assert mirror.dims["point"] == [99.0, 1.0, 1.0]
    assert heard == []
    wire.settle()
    assert mirror.dims["point"] == [4.0, 1.0, 1.0]
    assert heard == [("dims", {"point": [4.0, 1.0, 1.0]})]


def test_a_change_that_was_taken_back_is_told_whoever_was_answered_it(wire: Wire):
    wire.viewer.add_layer(make("image"))
    wire.settle()
    (number,) = wire.mirrors[1].layers
    before = wire.mirrors[1].layers[number].attributes["opacity"]
    wire.mirrors[1].change(number, "opacity", 0.25)
    wire.serve(1)
    wire.mirrors[2].change(number, "opacity", before)
    wire.serve(2)
    wire.settle()
    wire.check()
    assert wire.mirrors[1].layers[number].attributes["opacity"] == before


def test_what_others_do_is_not_shown_while_a_wish_is_open(wire: Wire):
    wire.viewer.add_layer(make("image"))
    wire.settle()
    (number,) = wire.mirrors[1].layers
    shown = wire.mirrors[1].layers[number].attributes
    wire.mirrors[2].change(number, "opacity", 0.75)
    wire.serve(2)
    wire.flush()
    wire.mirrors[1].change(number, "opacity", 0.25)
    while wire.down[1]:
        wire.hear(1)
    assert shown["opacity"] == 0.25, "the slider under the user's mouse does not jump"
    wire.settle()
    assert shown["opacity"] == 0.25
    wire.check()


def test_without_a_connection_what_was_shown_stays(wire: Wire):
    wire.viewer.add_layer(make("image"))
    mirror = Mirror(lambda target, changes, layer: 0)
    mirror.apply(wire.scene.snapshot())
    heard: list[Any] = []
    mirror.changed.connect(lambda target, values: heard.append((target, values)))
    assert mirror.change(1, "opacity", 0.5) == 0
    assert heard == [(1, {"opacity": 1.0})]
    assert mirror.layers[1].attributes["opacity"] == 1.0
    assert mirror.is_settled


def test_points_that_differ_have_no_common_size_until_they_are_given_one(wire: Wire):
    layer = wire.viewer.add_layer(make("points"))
    layer.size = [3, 7]
    wire.settle()
    (number,) = wire.mirrors[1].layers
    assert wire.mirrors[1].layers[number].attributes["size"] is None
    wire.mirrors[1].change(number, "size", 5)
    wire.settle()
    assert layer.size.tolist() == [5, 5]
    assert wire.mirrors[2].layers[number].attributes["size"] == 5.0


def test_what_becomes_another_array_becomes_another_layer(wire: Wire):
    layer = wire.viewer.add_layer(make("labels"))
    wire.settle()
    (before,) = wire.mirrors[1].layers
    layer.data = np.ones((3, 4, 5), np.int32)
    wire.settle()
    ((after, remote),) = wire.mirrors[1].layers.items()
    assert after != before
    assert (remote.ndim, remote.shape, remote.high) == (3, (3, 4, 5), (2.0, 3.0, 4.0))


def test_the_value_under_the_cursor_comes_as_text_and_not_too_often(wire: Wire):
    wire.viewer.add_layer(make("image"))
    wire.settle()
    words: list[str] = []
    scene = Scene(
        wire.viewer,
        on_delta=lambda message, _: words.append(getattr(message, "text", "")),
        clock=lambda: wire.now,
    )
    wire.now += 10
    scene.flush()
    words.clear()
    scene.point_at((2.0, 3.0, 4.0))
    wire.now += 1
    scene.flush()
    assert words == [f"Image [2, 3, 4]: {2 * 256 + 3 * 16 + 4}"]
    scene.point_at((2.0, 3.0, 5.0))
    wire.now += 0.02
    assert 0 < scene.flush() < 0.05
    assert len(words) == 1
    wire.now += 1
    scene.flush()
    assert len(words) == 2
