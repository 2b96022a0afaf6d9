"""A real server process and a real napari: the client sees what napari would draw itself."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import napari
import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_streaming.bench.sequences import psnr
from napari_streaming.widgets.canvas_swap import find_canvas

sys.path.insert(0, str(Path(__file__).parents[2] / "remote"))
from scenes import SCENES, clear

HERE = Path(__file__).parents[1]
ALIKE_DB = 40
"""Pictures rest: they come without loss, and only two drivers' rounding is between them."""

pytestmark = pytest.mark.napari


class Scenes:
    """The process that shows scenes."""

    def __init__(self) -> None:
        without_screen = {
            name: value for name, value in os.environ.items() if name != "DISPLAY"
        } | {"QT_QPA_PLATFORM": "offscreen"}
        self._process = subprocess.Popen(
            [sys.executable, HERE / "serve_scenes.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=without_screen,
        )
        self.url = self._process.stdout.readline().strip()

    def show(self, name: str) -> None:
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == name

    def end(self) -> int:
        self._process.stdin.close()
        status = self._process.wait(30)
        self._process.stdout.close()
        return status


@pytest.fixture(scope="module")
def scenes():
    process = Scenes()
    yield process
    assert process.end() == 0


class Client:
    """A napari that shows a session, and another that draws the same by itself."""

    def __init__(self, viewer, local, dock, until) -> None:
        self.viewer, self.local, self.dock, self._until = viewer, local, dock, until

    @property
    def canvas(self):
        return self.dock.canvas

    def picture(self) -> np.ndarray | None:
        pixels = self.canvas.pixels
        return None if pixels is None else pixels[..., 2::-1]

    def drawn_here(self) -> np.ndarray:
        """Return what the other napari draws of its own layers, seen from the same place."""
        native = find_canvas(self.local.window._qt_window)
        window = self.local.window._qt_window
        while native.size() != self.canvas.size():
            missing = self.canvas.size() - native.size()
            window.resize(window.size() + missing)
            QApplication.processEvents()
        theirs, ours = self.viewer.scene.camera, self.local.scene.camera
        ours.angles, ours.center, ours.zoom = theirs.angles, theirs.center, theirs.zoom
        QApplication.processEvents()
        return self.local.screenshot(canvas_only=True, flash=False)[..., :3]

    def quality(self) -> float:
        """Return how alike both are, in dB."""
        drawn, shown = self.drawn_here(), self.picture()
        return psnr(drawn, shown) if shown is not None and shown.shape == drawn.shape else 0.0

    def sees_the_same(self) -> None:
        """Wait until the last picture has come, and compare it."""
        quality = 0.0

        def alike() -> bool:
            nonlocal quality
            if self.dock.session.stats().codec == "zstd rgb":  # drawing here costs its pace
                quality = self.quality()
            return quality >= ALIKE_DB

        try:
            self._until(alike)
        except AssertionError:
            pytest.fail(f"the pictures differ: {quality:.1f} dB")
        assert len(np.unique(self.picture())) > 2, "nothing is to be seen"

    def differs(self) -> None:
        """Check that what was just done here is to be seen: not yet in the client's picture."""
        assert self.quality() < ALIKE_DB


@pytest.fixture(scope="module")
def windows(qapp):
    """Two windows for all tests: opening them takes longer than most tests do."""
    viewer, local = napari.Viewer(), napari.Viewer()
    viewer.window.resize(1200, 700)
    local.window.resize(1100, 700)
    yield viewer, local
    viewer.close()
    local.close()
    del viewer, local
    QApplication.processEvents()
    gc.collect()  # or the next test with a window finds them


@pytest.fixture(scope="module")
def connected(windows, scenes):
    _, dock = windows[0].window.add_plugin_dock_widget("napari-streaming", "Remote GPU Session")
    dock.open(scenes.url)
    yield dock
    dock.close_session()


@pytest.fixture
def client(windows, connected, until):
    until(lambda: connected.session.state == "connected")
    return Client(*windows, connected, until)


def see(client, scenes, until, name: str) -> None:
    """Have the server and the napari beside it show a scene."""
    scenes.show(name)
    clear(client.local)
    SCENES[name](client.local)
    until(
        lambda: (
            [one.name for one in client.viewer.layers] == [one.name for one in client.local.layers]
        )
    )
    until(lambda: client.viewer.dims.point == client.local.dims.point)


def test_every_kind_of_layer_looks_as_drawn_here(client, scenes, until):
    for name in SCENES:
        see(client, scenes, until, name)
        client.sees_the_same()


def test_what_the_user_changes_is_what_is_seen(client, scenes, until):
    see(client, scenes, until, "image")
    client.sees_the_same()
    for name, value in (
        ("contrast_limits", [-1, 1]),
        ("colormap", "magma"),
        ("gamma", 0.5),
        ("opacity", 0.6),
    ):
        setattr(client.local.layers[0], name, value)
        client.differs()
        setattr(client.viewer.layers[0], name, value)
        client.sees_the_same()
    client.local.dims.set_point(0, 4)
    client.differs()
    client.viewer.dims.set_point(0, 4)
    client.sees_the_same()


def test_overlays_are_drawn_there_and_toggled_here(client, scenes, until):
    see(client, scenes, until, "image")
    client.sees_the_same()

    def overlays(viewer) -> list:
        canvas = viewer.canvas.overlays
        canvas.text.text = "day 3"
        return [canvas.scale_bar, canvas.text, viewer.scene.overlays.axes, canvas.axes]

    for ours, theirs in zip(overlays(client.local), overlays(client.viewer), strict=True):
        for visible in (True, False):
            ours.visible = visible
            client.differs()
            theirs.visible = visible
            client.sees_the_same()


def drag(canvas, begin: QPoint, end: QPoint, button=Qt.MouseButton.LeftButton) -> None:
    """Move the mouse with a button held, as fast as a hand does."""
    QTest.mousePress(canvas, button, pos=begin)
    for step in range(1, 6):
        where = QPointF(begin + (end - begin) * step / 5)
        move = QMouseEvent(
            QEvent.Type.MouseMove,
            where,
            QPointF(canvas.mapToGlobal(where.toPoint())),
            Qt.MouseButton.NoButton,
            button,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(canvas, move)
        QTest.qWait(20)
    QTest.mouseRelease(canvas, button, pos=end)


def turn_wheel(canvas, where: QPoint, notches: int) -> None:
    event = QWheelEvent(
        QPointF(where),
        QPointF(canvas.mapToGlobal(where)),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, event)


def test_the_mouse_moves_the_scene_there(client, scenes, until):
    see(client, scenes, until, "multiscale")
    client.sees_the_same()
    camera = client.viewer.scene.camera
    before, zoom = camera.center, camera.zoom
    drag(client.canvas, QPoint(200, 200), QPoint(260, 240))
    moved = (-40 / zoom, -60 / zoom)
    until(lambda: np.allclose(np.subtract(camera.center, before)[1:], moved, atol=2 / zoom))
    client.sees_the_same()
    turn_wheel(client.canvas, QPoint(150, 150), 5)
    until(lambda: camera.zoom > 1.5 * zoom)
    client.sees_the_same()


def test_two_and_three_dimensions(client, scenes, until):
    see(client, scenes, until, "volume")
    client.sees_the_same()
    camera = client.viewer.scene.camera
    angles = camera.angles
    drag(client.canvas, QPoint(200, 200), QPoint(280, 230))
    until(lambda: not np.allclose(camera.angles, angles, atol=3))
    client.sees_the_same()
    client.local.dims.ndisplay = client.viewer.dims.ndisplay = 2
    client.sees_the_same()
    client.local.dims.ndisplay = client.viewer.dims.ndisplay = 3
    client.sees_the_same()
