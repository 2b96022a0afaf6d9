"""A real window that shows a remote scene: how it looks, and what the user's clicks become."""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import Future
from typing import Any

import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes, Surface, Tracks, Vectors
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QTimer

import napari_streaming as ns
from napari_streaming.napari_plugin.remote_layers import RemoteLayers
from napari_streaming.napari_plugin.stand_in import Nothing
from napari_streaming.remote.client.mirror import Mirror
from napari_streaming.remote.layer_attributes import read_all
from napari_streaming.remote.server.scene import Scene
from napari_streaming.remote.view_attributes import canvas_of, write_canvas
from napari_streaming.wire.remote import (
    Command,
    Intent,
    Reply,
    StatusText,
    Tooltip,
    pack,
    unpack_from_client,
    unpack_from_server,
)

pytestmark = [
    pytest.mark.napari,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

CORNERS = np.array([[0, 0, 0], [0, 0, 9], [0, 9, 9], [0, 9, 0.0]])


def make(kind: str) -> Layer:
    if kind == "image":
        return Image(np.arange(5 * 16 * 16, dtype=np.uint16).reshape(5, 16, 16), scale=[2, 1, 1])
    if kind == "multiscale":
        levels = [np.ones((5, 64 >> level, 64 >> level)) for level in range(3)]
        return Image(levels, multiscale=True, contrast_limits=(0, 2))
    if kind == "colour":
        return Image(np.ones((16, 20, 3), np.uint8))
    if kind == "labels":
        return Labels(np.ones((16, 16), np.int32), translate=[3, 4])
    if kind == "points":
        return Points(np.array([[0, 1, 2], [4, 5, 6.0]]), features={"speed": [1.0, 2.0]})
    if kind == "shapes":
        return Shapes([CORNERS, CORNERS + 3])
    if kind == "tracks":
        data = np.array([[0, 0, 1, 1], [0, 1, 2, 2.0], [1, 1, 3, 3]])
        return Tracks(data, features={"speed": [1.0, 2.0, 3.0]})
    if kind == "vectors":
        return Vectors(np.array([[[0, 0, 0], [1, 1, 1.0]], [[0, 3, 3], [2, 1, 1]]]))
    return Surface((CORNERS, np.array([[0, 1, 2], [0, 2, 3]]), np.arange(4.0)))


KINDS = (
    "image",
    "multiscale",
    "colour",
    "labels",
    "points",
    "shapes",
    "tracks",
    "vectors",
    "surface",
)


class Server:
    """A scene on the other side of a wire that delivers when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.viewer = ViewerModel()
        self.down: deque[bytes] = deque()
        self.up: deque[bytes] = deque()
        self.asked: list[Any] = []
        self.scene = Scene(self.viewer, on_delta=self._tell, clock=lambda: self.now)
        self._ids = itertools.count(1 << 32)
        self._replies: dict[int, Future[Reply]] = {}
        self.mirror = Mirror(self._ask)

    def _ask(self, target: Any, changes: Any, layer: int) -> int:
        intent = Intent(next(self._ids), target, changes, layer)
        self.up.append(pack(intent))
        return intent.id

    def command(self, name: Any, **arguments: Any) -> Future[Reply]:
        command = Command(next(self._ids), name, arguments)
        self.up.append(pack(command))
        self._replies[command.id] = Future()
        return self._replies[command.id]

    def _tell(self, message: Any, knows: int) -> None:
        if knows != 1:
            self.down.append(pack(message))

    def join(self) -> None:
        self.down.append(pack(self.scene.snapshot()))
        self.settle()

    def settle(self) -> None:
        """Carry out all that was asked, and tell all that came of it."""
        for _ in range(2):
            while self.up:
                message = unpack_from_client(self.up.popleft())
                self.asked.append(message)
                if isinstance(message, Intent):
                    self.down.append(pack(self.scene.answer(message)))
                elif isinstance(message, Command):
                    self.down.append(pack(self.scene.execute(message)))
            self.now += 10
            self.scene.flush()
            while self.down:
                answer = unpack_from_server(self.down.popleft())
                if isinstance(answer, Reply):
                    self._replies.pop(answer.id).set_result(answer)
                elif not isinstance(answer, StatusText | Tooltip):
                    self.mirror.apply(answer)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def shown(viewer: napari.Viewer, server: Server, until):
    """Return what shows a server's scene in the window, once that has layers."""
    made: list[RemoteLayers] = []

    def show(*kinds: str) -> RemoteLayers:
        for kind in kinds:
            server.viewer.add_layer(make(kind))
        # As a plugin gets it.
        made.append(RemoteLayers(PublicOnlyProxy(viewer), server.mirror, server.command))
        server.join()
        return made[0]

    yield show
    for layers in made:
        layers.close()


@pytest.fixture
def idle(server: Server, until):
    """Let the window say what was done in it, and the server answer."""

    def wait() -> None:
        for _ in range(3):
            done: list[bool] = []
            QTimer.singleShot(5, lambda done=done: done.append(True))
            until(lambda done=done: done)
            server.settle()

    return wait


def plain(value: Any) -> Any:
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def same_view(viewer: napari.Viewer, server: Server) -> None:
    there = server.viewer
    assert [layer.name for layer in viewer.layers] == [layer.name for layer in there.layers]
    for name in ("ndim", "ndisplay", "point", "range", "order", "nsteps", "axis_labels"):
        assert getattr(viewer.dims, name) == getattr(there.dims, name), name
    for name in ("center", "zoom", "angles", "perspective"):
        assert getattr(viewer.scene.camera, name) == getattr(there.scene.camera, name), name
    selected = {layer.name for layer in there.layers.selection}
    assert {layer.name for layer in viewer.layers.selection} == selected


def test_a_layer_of_each_kind_looks_as_the_servers_and_sliders_match(viewer, idle):
    for kind in KINDS:
        server = Server()
        server.viewer.add_layer(make(kind))
        layers = RemoteLayers(viewer, server.mirror, server.command)
        server.join()
        remote = server.mirror.layers[1]
        (here,), (there,) = viewer.layers, server.viewer.layers
        assert type(here) is type(there)
        assert plain(read_all(here, remote.kind)) == plain(dict(remote.attributes))
        np.testing.assert_allclose(here.extent.world, there.extent.world, atol=1e-6)
        same_view(viewer, server)
        idle()
        server.settle()
        assert server.asked == [], "showing it is no wish"
        layers.close()
        assert not viewer.layers


def test_all_kinds_in_one_scene(viewer, server, shown, idle):
    shown(*KINDS)
    same_view(viewer, server)
    viewer.dims.ndisplay = 3
    idle()
    same_view(viewer, server)
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 3)
    idle()
    same_view(viewer, server)
    assert server.viewer.dims.order == (1, 0, 2)
    assert server.mirror.is_settled


def controls_of(viewer: napari.Viewer, layer: Layer) -> Any:
    return viewer.window._qt_viewer.controls.widgets[layer]


def test_napari_s_own_controls_change_the_server_s_layer(viewer, server, shown, idle):
    shown("image", "points", "shapes")
    image, points, shapes = viewer.layers
    controls_of(viewer, image)._opacity_blending_controls.opacity_slider.setValue(0.25)
    image.contrast_limits = (100, 300)
    image.colormap = "viridis"
    points.current_size = 33
    points.current_face_color = "red"
    shapes.current_edge_width = 4
    shapes.visible = False
    points.name = "spots"
    idle()
    there = server.viewer.layers
    assert there[0].opacity == 0.25
    assert there[0].contrast_limits == [100, 300]
    assert there[0].colormap.name == "viridis"
    assert set(there[1].size) == {33}
    assert there[1].face_color.tolist() == [[1, 0, 0, 1]] * 2
    assert set(there[2].edge_width) == {4}
    assert not there[2].visible
    assert there[1].name == "spots"
    same_view(viewer, server)


def test_what_another_client_does_is_shown_and_asked_of_nobody(viewer, server, shown, idle):
    layers = shown("image", "labels")
    server.scene.apply(Intent(2 << 32, "layer", {"gamma": 0.5, "opacity": 0.5}, 1))
    server.scene.apply(Intent(2 << 32, "dims", {"point": [4, 3, 3]}))
    server.viewer.layers.move(0, 2)
    server.viewer.add_layer(make("points"))
    server.viewer.layers[0].translate = [7, 7]
    server.viewer.scene.camera.zoom = 7.5
    idle()
    assert layers.layer(1).gamma == 0.5
    assert viewer.layers[0].translate.tolist() == [7, 7]
    same_view(viewer, server)
    server.viewer.layers.remove(server.viewer.layers[1])
    server.viewer.layers[1].data = np.array([[0, 1, 2], [9, 9, 9.0]])
    idle()
    same_view(viewer, server)
    assert server.asked == []


def test_a_refused_change_goes_back(viewer, server, shown, idle):
    shown("image")
    reasons: list[str] = []
    server.mirror.rejected.connect(reasons.append)
    viewer.layers[0].scale = [1, 1, 3]
    server.viewer.layers[0].events.scale.connect(_refuse)
    idle()
    assert reasons == ["scale: not here"]
    assert viewer.layers[0].scale.tolist() == [2, 1, 1]
    same_view(viewer, server)


def _refuse(event: Any) -> None:
    if event.source.scale.tolist() == [1, 1, 3]:
        raise ValueError("not here")


def test_layers_are_removed_and_reordered_there(viewer, server, shown, idle):
    shown("image", "labels", "points")
    viewer.layers.move(0, 3)
    idle()
    assert [type(layer) for layer in server.viewer.layers] == [Labels, Points, Image]
    viewer.layers.remove(viewer.layers[0])
    idle()
    assert [type(layer) for layer in server.viewer.layers] == [Points, Image]
    viewer.layers.selection = {viewer.layers[0]}
    idle()
    assert server.viewer.layers.selection.active is server.viewer.layers[0]
    same_view(viewer, server)


def test_what_the_server_does_not_remove_comes_back(viewer, server, shown, idle):
    shown("image", "labels")
    server.viewer.layers.events.removing.connect(_keep)
    viewer.layers.remove(viewer.layers[0])
    idle()
    assert [type(layer) for layer in viewer.layers] == [Image, Labels]
    same_view(viewer, server)


def _keep(_event: Any) -> None:
    raise ValueError("it stays")


def test_home_is_the_server_s_home(viewer, server, shown, idle):
    shown("image")
    server.viewer.scene.camera.zoom = 99
    server.viewer.canvas.size = (300, 300)
    idle()
    viewer.reset_view()
    idle()
    assert [type(message) for message in server.asked] == [Command]
    assert server.viewer.scene.camera.zoom < 50
    same_view(viewer, server)


def test_the_view_s_buttons(viewer, server, shown, idle):
    shown("image", "image")
    viewer.canvas.grid.enabled = True
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.scene.overlays.axes.visible = True
    idle()
    there = server.viewer
    assert there.canvas.grid.enabled
    assert there.canvas.overlays.scale_bar.visible
    assert there.scene.overlays.axes.visible


def test_every_overlay_of_the_canvas_is_toggled_there(viewer, server, shown, idle):
    shown("image")
    wanted = {name: not value for name, value in canvas_of(viewer).items() if value in (0, 1)}
    wanted |= {"text_overlay_text": "day 3", "grid_stride": 1}
    for name, value in wanted.items():
        write_canvas(viewer, name, value)
    idle()
    there = canvas_of(server.viewer)
    assert {name: there[name] for name in wanted} == wanted
    server.viewer.canvas.overlays.text.text = "day 4"
    idle()
    assert viewer.canvas.overlays.text.text == "day 4"


def test_local_layers_come_back_as_they_were(viewer, server, shown, idle):
    image = viewer.add_image(np.random.default_rng(0).random((7, 30, 40)), name="mine")
    hidden = viewer.add_points(np.zeros((1, 3)), name="hidden", visible=False)
    third = viewer.add_labels(np.zeros((7, 30, 40), int))
    linked = viewer.add_image(np.zeros((30, 40)), name="linked")
    viewer.layers.link_layers([image, linked])
    viewer.layers.move(2, 0)
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_current_step(2, 5)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 3.25, (0, 4, 5)
    viewer.layers.selection = {image, hidden}
    viewer.theme = "light"
    before = viewer.layers.copy(), viewer.dims.model_dump(), viewer.scene.camera.model_dump()
    names = [layer.name for layer in viewer.layers]
    layers = shown("image", "points")
    assert [layer.name for layer in viewer.layers] == ["Image", "Points"]
    viewer.dims.ndisplay = 3
    viewer.canvas.grid.enabled = True
    viewer.canvas.overlays.scale_bar.visible = True
    idle()
    layers.close()
    assert [layer.name for layer in viewer.layers] == names
    assert list(viewer.layers) == list(before[0])
    assert viewer.dims.model_dump() == before[1]
    assert viewer.scene.camera.model_dump() == before[2]
    assert set(viewer.layers.selection) == {image, hidden}
    assert viewer.theme == "light"
    assert (image.visible, hidden.visible, third.visible) == (True, False, True)
    assert not viewer.canvas.grid.enabled
    assert not viewer.canvas.overlays.scale_bar.visible
    image.opacity = 0.5
    assert linked.opacity == 0.5
    viewer.layers.move(0, 1)
    viewer.dims.set_current_step(2, 1)
    idle()
    assert not any("reorder" in str(message) for message in server.asked)


def test_a_stream_goes_on_when_its_layers_come_back(viewer, dock, shown, until):
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        pub.image("a", np.zeros((8, 8), np.uint8), at={"t": 0})
        until(lambda: len(viewer.layers) == 1)
        layers = shown("image")
        assert [layer.name for layer in viewer.layers] == ["Image"]
        pub.image("a", np.ones((8, 8), np.uint8), at={"t": 1})
        layers.close()
        assert [layer.name for layer in viewer.layers] == ["a"]
        until(lambda: viewer.layers["a"].data.shape == (2, 8, 8))


def test_a_server_that_comes_back_with_another_scene(viewer, server, shown, idle):
    shown("image", "labels")
    server.viewer.layers.clear()
    server.viewer.add_layer(make("tracks"))
    server.down.clear()
    server.scene.snapshot()
    server.down.clear()
    server.join()
    assert [type(layer) for layer in viewer.layers] == [Tracks]
    same_view(viewer, server)


def test_play_goes_on_when_the_picture_is_shown(viewer, server, shown, idle):
    layers = shown("image")
    viewer.dims._play_ready = False
    viewer.dims.set_current_step(0, 4)
    layers.flush()
    (intent,) = [unpack_from_client(message) for message in server.up]
    layers.frame_shown(intent.id - 1)
    assert not viewer.dims._play_ready
    layers.frame_shown(intent.id)
    assert viewer.dims._play_ready


def test_play_goes_on_when_no_picture_comes(viewer, server, shown, until):
    layers = shown("image")
    viewer.dims._play_ready = False
    viewer.dims.set_current_step(0, 4)
    layers.flush()
    until(lambda: viewer.dims._play_ready)


def test_a_thumbnail_is_the_server_s_also_after_napari_drew_its_own(viewer, server, shown, idle):
    shown("image")
    idle()
    wanted = server.viewer.layers[0].thumbnail
    assert wanted[..., :3].any()
    viewer.dims.set_current_step(0, 1)
    idle()
    np.testing.assert_array_equal(viewer.layers[0].thumbnail, server.viewer.layers[0].thumbnail)


def test_an_image_of_any_size_takes_nothing(viewer):
    layer = viewer.add_image(
        [Nothing((100, 500_000, 500_000), np.uint16), Nothing((100, 31_250, 31_250), np.uint16)],
        multiscale=True,
        contrast_limits=(0, 1),
    )
    volume = viewer.add_image(Nothing((5000, 5000, 5000), np.float32), contrast_limits=(0, 1))
    viewer.add_labels(Nothing((5000, 5000, 5000), np.int32))
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    viewer.dims.set_current_step(0, 50)
    assert layer.extent.data[1].tolist() == [99, 499_999, 499_999]
    assert volume.extent.data[1].tolist() == [4999] * 3
    assert np.asarray(layer.data[0][50, :100, 7:]).size <= 16
