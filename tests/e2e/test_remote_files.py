"""The dialog that opens files on the server, over a real folder."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDialogButtonBox, QLabel, QTreeWidget, QWidget

from napari_streaming.errors import ClosedError
from napari_streaming.remote.server import folder as folder_module
from napari_streaming.remote.server.scene import Scene
from napari_streaming.widgets.remote_files import RemoteFiles
from napari_streaming.wire.remote import Command, Reply, pack, unpack_from_server


class Server:
    """A scene with a folder; every reply goes over the wire's bytes."""

    def __init__(self, root: Path | None) -> None:
        self.viewer = ViewerModel()
        self.scene = Scene(self.viewer, root)
        self.is_lost = False
        self.says: Reply | None = None

    def command(self, name: Any, **arguments: Any) -> Future[Reply]:
        future: Future[Reply] = Future()
        if self.is_lost:
            future.set_exception(ClosedError("the session is not connected"))
        else:
            reply = self.says or self.scene.execute(Command(1, name, arguments))
            future.set_result(unpack_from_server(pack(reply)))
        return future


@pytest.fixture
def server(tmp_path):
    (tmp_path / "outside.tif").touch()
    root = tmp_path / "root"
    (root / "plates" / "day 3").mkdir(parents=True)
    (root / "cells.zarr").mkdir()
    (root / "cells.zarr" / "zarr.json").write_text("{}")
    tifffile.imwrite(root / "b.tif", np.ones((4, 5), "u1"))
    tifffile.imwrite(root / "plates" / "day 3" / "c.tif", np.ones((4, 5), "u1"))
    made = Server(root)
    yield made
    made.scene.close()


class Shown:
    """A dialog, as a user sees it."""

    def __init__(self, dialog: RemoteFiles, parent: QWidget) -> None:
        self.dialog, self._parent = dialog, parent
        self.tree = dialog.findChild(QTreeWidget)
        buttons = dialog.findChild(QDialogButtonBox)
        self.open = buttons.button(QDialogButtonBox.StandardButton.Open)

    @property
    def names(self) -> list[str]:
        return [self.tree.topLevelItem(i).text(0) for i in range(self.tree.topLevelItemCount())]

    @property
    def words(self) -> str:
        return "\n".join(label.text() for label in self.dialog.findChildren(QLabel))

    def choose(self, name: str) -> None:
        self.tree.setCurrentItem(self.tree.topLevelItem(self.names.index(name)))

    def press(self, key: Qt.Key) -> None:
        QTest.keyClick(self.tree, key)


@pytest.fixture
def shown(qtbot, server):
    def show() -> Shown:
        parent = QWidget()
        qtbot.addWidget(parent)
        dialog = RemoteFiles(server.command, parent)
        dialog.show()
        qtbot.waitExposed(dialog)
        return Shown(dialog, parent)

    return show


def test_folders_zarrs_and_files_are_listed_with_their_sizes(shown, server):
    one = shown()
    assert one.names == ["plates", "b.tif", "cells.zarr"]
    sizes = [one.tree.topLevelItem(i).text(1) for i in range(3)]
    assert sizes[0] == sizes[2] == "" and sizes[1].endswith("bytes")


def test_the_keyboard_is_enough(shown, server):
    one = shown()
    one.press(Qt.Key.Key_Return)
    assert one.names == ["day 3"]
    one.press(Qt.Key.Key_Return)
    assert one.names == ["c.tif"] and "/plates/day 3" in one.words
    one.press(Qt.Key.Key_Backspace)
    one.press(Qt.Key.Key_Backspace)
    one.press(Qt.Key.Key_Backspace)  # above the root there is nothing
    assert one.names == ["plates", "b.tif", "cells.zarr"]
    assert one.tree.currentItem().text(0) == "plates"  # where one came from
    one.press(Qt.Key.Key_Down)
    one.press(Qt.Key.Key_Return)
    assert [layer.name for layer in server.viewer.layers] == ["b"]
    assert one.dialog.result() == RemoteFiles.DialogCode.Accepted


def test_a_double_click_opens(qtbot, shown, server):
    one = shown()
    one.choose("b.tif")
    where = one.tree.visualItemRect(one.tree.currentItem()).center()
    QTest.mouseClick(one.tree.viewport(), Qt.MouseButton.LeftButton, pos=where)
    QTest.mouseDClick(one.tree.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert [layer.name for layer in server.viewer.layers] == ["b"]
    assert not one.dialog.isVisible()


def test_the_button_opens_all_that_is_chosen(shown, server):
    one = shown()
    one.choose("plates")
    one.open.click()
    one.open.click()  # "day 3"
    one.open.click()
    assert [layer.name for layer in server.viewer.layers] == ["c"]


def test_a_file_that_is_no_image_is_said_so_and_the_dialog_stays(shown, server):
    one = shown()
    one.choose("cells.zarr")
    one.open.click()
    assert one.dialog.isVisible() and "cells.zarr cannot be" in one.words
    assert not server.viewer.layers and one.open.isEnabled()


def test_long_folders_come_in_pieces(monkeypatch, shown, server):
    monkeypatch.setattr(folder_module, "_AT_ONCE", 2)
    one = shown()
    assert one.names == ["plates", "b.tif", "More…"]
    one.choose("More…")
    one.press(Qt.Key.Key_Return)
    assert one.names == ["plates", "b.tif", "cells.zarr"]


def test_a_server_without_a_folder_says_so(qtbot, shown, server):
    server.scene.close()
    server.scene = Scene(server.viewer)
    one = shown()
    assert "was given no folder" in one.words and one.names == []
    assert not one.open.isEnabled()


def test_a_session_that_breaks_is_said_and_can_be_tried_again(shown, server):
    one = shown()
    server.is_lost = True
    one.choose("b.tif")
    one.open.click()
    assert "not connected" in one.words and one.dialog.isVisible()
    server.is_lost = False
    one.open.click()
    assert not one.dialog.isVisible()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"path": "", "entries": 3, "more": False},
        {"path": "", "entries": [["a", "device", 1]], "more": False},
        {"path": "", "entries": [["a", "file", "big"]], "more": False},
        {"path": 1, "entries": [], "more": False},
    ],
)
def test_a_list_that_makes_no_sense_changes_nothing(shown, server, values):
    one = shown()
    one.choose("plates")
    server.says = Reply(id=1, values=values)
    one.press(Qt.Key.Key_Return)
    assert "makes no sense" in one.words
    assert one.names == ["plates", "b.tif", "cells.zarr"]


def test_names_are_no_markup(shown, server):
    server.says = Reply(
        id=1, values={"path": "<b>x</b>", "entries": [["<i>a</i>", "file", 1]], "more": False}
    )
    one = shown()
    assert "<b>x</b>" in one.words and one.names == ["<i>a</i>"]
    assert all(
        label.textFormat() == Qt.TextFormat.PlainText for label in one.dialog.findChildren(QLabel)
    )
