"""A real `napari-streaming serve` and a real napari: a session from its beginning to its end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import imageio.v3 as imageio
import napari
import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QTreeWidget,
)

from napari_streaming.bench.sequences import psnr
from napari_streaming.remote.client.client import SessionClient
from napari_streaming.uri import parse_session_url
from napari_streaming.widgets.remote_files import RemoteFiles
from napari_streaming.wire import remote as wire
from napari_streaming.wire.session import view_token

pytestmark = pytest.mark.napari

CELLS = np.add.outer(np.arange(200), np.arange(300)).astype("u2")


class Served:
    """A server process, as a user starts it on a machine without a screen."""

    def __init__(self, folder, port: int = 0) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        command = [sys.executable, "-m", "napari_streaming", "serve", folder / "cells.tif"]
        options = ["--root", folder, "--listen", f"ws://127.0.0.1:{port}#secret"]
        self._process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, text=True, env=environment
        )
        self.said = self._process.stdout.readline()
        self.url = self.said.split()[1]

    @property
    def port(self) -> int:
        return parse_session_url(self.url).port

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def end(self) -> int:
        self._process.terminate()
        self.said += self._process.stdout.read()
        self._process.stdout.close()
        return self._process.wait(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    tifffile.imwrite(folder / "cells.tif", CELLS)
    tifffile.imwrite(folder / "more.tif", CELLS[::-1])
    return folder


@pytest.fixture(scope="module")
def served(folder):
    server = Served(folder)
    yield server
    assert server.end() == 0
    assert f"napari --plugin napari-streaming '{server.url}'" in server.said
    assert f"ssh -L {server.port}:127.0.0.1:{server.port}" in server.said


@pytest.fixture(scope="module")
def window(qapp):
    viewer = napari.Viewer()
    viewer.window.resize(1200, 700)
    _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Remote GPU Session")
    yield viewer, dock
    viewer.close()
    del viewer, dock
    QApplication.processEvents()
    gc.collect()  # or the next test with a window finds it


@pytest.fixture
def viewer(window):
    yield window[0]
    window[0].layers.clear()


@pytest.fixture
def dock(window):
    yield window[1]
    window[1].close_session()


@pytest.fixture
def shown(viewer, dock, served, until):
    """The dock, with the server's picture in it."""
    dock.open(served.url)
    until(lambda: dock.canvas.pixels is not None and "cells" in viewer.layers)
    return dock


def names(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers]


def words(dock) -> str:
    return " ".join(label.text() for label in dock.findChildren(QLabel))


def button(dock, text: str) -> QPushButton | None:
    return next((one for one in dock.findChildren(QPushButton) if one.text() == text), None)


def test_the_users_own_layers_come_back_as_they_were(viewer, dock, served, until):
    own = [viewer.add_image(np.ones((3, 8, 9)), name="mine"), viewer.add_points([[1, 2, 3]])]
    viewer.layers.selection = {own[0]}
    viewer.dims.set_point(0, 2)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 3.5, (0, 4, 2)
    until(lambda: viewer.dims.point[0] == 2)
    before = (viewer.dims.point, viewer.scene.camera.zoom, viewer.scene.camera.center)
    dock.open(served.url)
    until(lambda: dock.canvas.pixels is not None)
    assert names(viewer) == ["cells"]
    dock.close_session()
    assert list(viewer.layers) == own and viewer.layers.selection == {own[0]}
    assert (viewer.dims.point, viewer.scene.camera.zoom, viewer.scene.camera.center) == before
    assert dock.canvas is None and own[0].data.sum() == 216


def test_the_status_bar_says_what_is_under_the_cursor(viewer, shown, until):
    canvas = shown.canvas
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)

    def has_value() -> bool:
        QTest.mouseMove(canvas, middle)
        middle.setX(middle.x() ^ 1)  # only what moves is an event
        return "cells" in str(viewer.status) and "[" in str(viewer.status)

    until(has_value)
    row, column = map(int, str(viewer.status).split("[")[1].split("]")[0].split(","))
    assert abs(row - 100) <= 2 and abs(column - 150) <= 2
    assert f"{CELLS[row, column]}" in str(viewer.status)


def test_layers_are_opened_renamed_moved_and_removed_there(viewer, shown, served, until):
    mirror = shown.session.mirror
    there = []
    other = SessionClient(
        parse_session_url(served.url),
        on_snapshot=there.append,
        on_message=there.append,
        on_frame=lambda header, payload: None,
        on_state=lambda state: None,
    )
    shown.session.command("open", paths=["more.tif"])
    until(lambda: names(viewer) == ["cells", "more"])
    viewer.layers["more"].name = "turned"
    viewer.layers.move(1, 0)
    other.start()  # after all that
    try:

        def order() -> list[str]:
            return [layer.attributes["name"] for layer in mirror.layers.values()]

        until(lambda: order() == ["turned", "cells"] == names(viewer))
        until(lambda: any(isinstance(message, wire.Snapshot) for message in there))
        viewer.layers.remove("turned")
        until(lambda: any(isinstance(message, wire.LayerRemoved) for message in there))
        until(lambda: order() == names(viewer) == ["cells"])
    finally:
        other.close()


def test_a_file_of_the_server_is_chosen_in_a_dialog(viewer, shown, until):
    until(lambda: button(shown, "Open on the server…").isEnabled())
    button(shown, "Open on the server…").click()
    dialog = shown.findChild(RemoteFiles)
    tree = dialog.findChild(QTreeWidget)
    until(lambda: tree.topLevelItemCount() == 2)
    assert tree.topLevelItem(1).text(0) == "more.tif"
    tree.setCurrentItem(tree.topLevelItem(1))
    dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Open).click()
    until(lambda: names(viewer) == ["cells", "more"])
    until(lambda: shown.findChild(RemoteFiles) is None)
    viewer.layers.remove("more")
    until(lambda: len(shown.session.mirror.layers) == 1)


def test_a_screenshot_is_the_server_s_picture(viewer, shown, served, until, tmp_path, monkeypatch):
    until(lambda: shown.session.stats().codec == "zstd rgb")  # it rests, and came without loss
    seen = shown.canvas.pixels[..., 2::-1]
    taken = viewer.screenshot(flash=False)
    assert taken.shape[:2] == seen.shape[:2] and len(np.unique(seen)) > 20
    assert (taken[..., :3] == seen).all()
    viewer.layers["cells"].colormap = "magma"  # what is asked for now is in it already
    coloured = viewer.screenshot(str(tmp_path / "shot.png"), flash=False)
    assert psnr(coloured[..., :3], taken[..., :3]) < 20
    whole = viewer.screenshot(canvas_only=False, flash=False)
    assert whole.shape[0] > taken.shape[0] and whole.shape[1] > taken.shape[1]
    for wanted in ({"size": (100, 100)}, {"scale": 2}):
        with pytest.raises(ValueError, match="remote session"):
            viewer.screenshot(flash=False, **wanted)
    with pytest.raises(ValueError, match="remote session"):
        viewer.export_figure(flash=False)
    viewer.window._qt_viewer.clipboard(flash=False)
    assert QApplication.clipboard().image().width() == seen.shape[1]
    path = tmp_path / "saved.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    button(shown, "Save picture…").click()
    assert (imageio.imread(path)[..., :3] == coloured[..., :3]).all()
    viewer.layers["cells"].colormap = "gray"
    until(lambda: shown.session.mirror.layers[1].attributes["colormap"] == "gray")


def test_napari_takes_its_own_screenshots_again_afterwards(viewer, dock, served, until):
    viewer.add_image(np.full((64, 64), 200, "u1"), contrast_limits=(0, 255), name="mine")
    QApplication.processEvents()
    before = viewer.screenshot(flash=False)
    dock.open(served.url)
    until(lambda: dock.canvas.pixels is not None and "cells" in viewer.layers)
    assert "_screenshot" in vars(viewer.window._qt_viewer)
    assert (
        viewer.screenshot(flash=False).shape != before.shape
        or (viewer.screenshot(flash=False) != before).any()
    )
    dock.close_session()
    assert "_screenshot" not in vars(viewer.window._qt_viewer)
    QApplication.processEvents()
    assert (viewer.screenshot(flash=False) == before).all()
    assert viewer.screenshot(size=(100, 100), flash=False).shape == (100, 100, 4)


def test_nothing_outside_the_folder_is_opened(viewer, shown, until):
    reply = shown.session.command("open", paths=["../../../etc/hosts"])
    until(reply.done)
    assert "no such file" in reply.result().error
    assert names(viewer) == ["cells"]


def test_a_wrong_token_is_refused_with_words(dock, served, until):
    dock.open(served.url.partition("#")[0] + "#wrong")
    until(lambda: "efused" in words(dock))
    assert "token" in words(dock)
    assert dock.session.state.startswith("refused")


def test_what_is_no_session_is_said_and_changes_nothing(viewer, dock):
    viewer.add_image(np.ones((8, 9)), name="mine")
    viewer.open("ws://127.0.0.1:8766/session", plugin="napari-streaming")  # without a token
    assert "token" in words(dock)
    assert dock.session is None and names(viewer) == ["mine"]


def test_a_second_client_looks_on_until_it_may_steer(viewer, shown, served, until):
    got = []
    other = SessionClient(
        parse_session_url(served.url),
        on_snapshot=got.append,
        on_message=got.append,
        on_frame=lambda header, payload: other.shown(header.sequence),
        on_state=lambda state: None,
        hello=wire.Hello(token="", name="a colleague"),
    )
    other.start()
    try:
        until(lambda: any(isinstance(message, wire.Snapshot) for message in got))
        (layer,) = shown.session.mirror.layers
        other.send_intent("layer", {"opacity": 0.5}, layer=layer)
        until(lambda: any(isinstance(message, wire.Rejected) for message in got))
        other.take_control()
        until(lambda: button(shown, "Let a colleague steer"))
        button(shown, "Let a colleague steer").click()
        until(lambda: "a colleague may steer" in words(shown))
        other.send_intent("layer", {"opacity": 0.5}, layer=layer)
        until(lambda: viewer.layers["cells"].opacity == 0.5)
        viewer.layers["cells"].opacity = 0.9  # who looks on changes nothing
        until(lambda: viewer.layers["cells"].opacity == 0.5)
        other.send_intent("layer", {"opacity": 1.0}, layer=layer)
        until(lambda: viewer.layers["cells"].opacity == 1.0)
    finally:
        other.close()
    button(shown, "Take control").click()
    until(lambda: "you may steer" in words(shown))


def test_the_other_address_is_for_looking_on(viewer, dock, served, until):
    dock.open(served.url.replace("#secret", f"#{view_token('secret')}"))
    until(lambda: dock.canvas.pixels is not None and "cells" in viewer.layers)
    assert "nobody may steer" in words(dock)
    viewer.layers["cells"].opacity = 0.5
    until(lambda: viewer.layers["cells"].opacity == 1.0)


def test_a_server_that_dies_is_missed_and_found_again(viewer, dock, folder, until):
    own = viewer.add_image(np.ones((8, 9)), name="mine")
    first = Served(folder)
    dock.open(first.url)
    until(lambda: dock.canvas.pixels is not None)
    canvas = dock.canvas
    where = QPoint(canvas.width() // 3, canvas.height() // 3)  # beside the words
    bright = canvas.grab().toImage().pixelColor(where).lightness()
    port = first.port
    first.kill()
    until(lambda: dock.session.state.startswith("lost"))
    last = canvas.pixels  # a frame may have been under way when the server died
    assert "lost" in words(dock).lower()
    assert last is not None and last[..., :3].any()
    assert canvas.grab().toImage().pixelColor(where).lightness() < bright
    assert (viewer.screenshot(flash=False)[..., :3] == last[..., 2::-1]).all()
    second = Served(folder, port)
    try:
        until(lambda: dock.session.state == "connected" and canvas.pixels is not last)
        assert names(viewer) == ["cells"]
    finally:
        second.kill()
    until(lambda: dock.session.state.startswith("lost"))
    button(dock, "Disconnect").click()
    assert dock.session is None and list(viewer.layers) == [own]


SHELL = """
import sys
from napari.__main__ import main
from napari.qt import get_qapp
from qtpy.QtCore import QTimer
import napari
from napari_streaming.widgets.remote_dock import RemoteDock

def look():
    viewer = napari.current_viewer()
    docks = [one for one in app.topLevelWidgets() for one in one.findChildren(RemoteDock)]
    if viewer is None or not docks:
        return
    session = docks[0].session
    if session is None or session.state.startswith("lost") or docks[0].canvas.pixels is not None:
        timer.stop()
        print(docks[0].findChildren(QLabel)[0].text(), [one.name for one in viewer.layers])
        viewer.close()

from qtpy.QtWidgets import QLabel
app, timer = get_qapp(), QTimer()
timer.timeout.connect(look)
timer.start(50)
sys.argv = ["napari", "--plugin", "napari-streaming", sys.argv[1]]
main()
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("all", "Connected"),
        ("no token", "the token is missing"),
        ("nobody there", "Lost"),
    ],
)
def test_napari_opens_a_session_from_a_shell(run, served, what, said):
    url = {
        "all": served.url,
        "no token": served.url.partition("#")[0],
        "nobody there": "ws://127.0.0.1:1/session#x",
    }[what]
    process = run(SHELL, url)
    output, _ = process.communicate(timeout=60)
    assert said in output
    assert "Traceback" not in output and "RuntimeError" not in output
    assert process.returncode == 0
    assert ("cells" in output) == (what == "all")
