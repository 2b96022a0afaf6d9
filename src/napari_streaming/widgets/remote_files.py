"""A dialog that shows what lies on the server of a session, and has it opened there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal

import msgspec
from qtpy.QtCore import QLocale, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QStyle,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_streaming.napari_plugin.replies import Replies
from napari_streaming.wire.remote import Reply

__all__ = ["RemoteFiles"]

_KIND = Qt.ItemDataRole.UserRole
_FOLDER, _MORE = "folder", "more"
_ICONS = {
    _FOLDER: QStyle.StandardPixmap.SP_DirIcon,
    "zarr": QStyle.StandardPixmap.SP_FileDialogDetailedView,
    "file": QStyle.StandardPixmap.SP_FileIcon,
}


class _Listing(msgspec.Struct):
    path: str
    entries: list[tuple[str, Literal["folder", "zarr", "file"], int]]
    more: bool


class RemoteFiles(QDialog):
    """The folder of which the server opens files: look around in it, choose, open.

    Enter or a double click opens a file and enters a folder, Backspace leaves it. An OME-Zarr
    folder is opened like a file. Where the folder ends is the server's to say.

    Parameters
    ----------
    command : callable
        Has the server do something: called with the name of a command and its arguments,
        returns a Future of the Reply. `RemoteSession.command`.
    parent : QWidget
    """

    def __init__(self, command: Callable[..., Future[Reply]], parent: QWidget) -> None:
        super().__init__(parent)
        self._command = command
        self._asked: Future[Reply] | None = None
        self._path = self._left = ""
        self._start = 0
        self._lists, self._opens = Replies(), Replies()
        self.setWindowTitle("Open on the server")
        self._up = QToolButton(self)
        self._up.setIcon(self.style().standardIcon(QStyle.StandardPixmap.SP_FileDialogToParent))
        self._up.setToolTip("To the folder that this one is in (Backspace)")
        self._up.setAccessibleName("Up")
        self._where, self._words = _plain_label(self), _plain_label(self)
        self._tree = QTreeWidget(self)
        choices = QDialogButtonBox.StandardButton
        self._buttons = QDialogButtonBox(choices.Open | choices.Cancel, self)
        self._open = self._buttons.button(choices.Open)
        self._open.setDefault(True)  # the tree lets Enter through to it
        self._lay_out()
        self._wire()
        self._list("", 0)

    # ---- building --------------------------------------------------------------------

    def _lay_out(self) -> None:
        tree = self._tree
        tree.setHeaderLabels(["Name", "Size"])
        tree.setRootIsDecorated(False)
        tree.setUniformRowHeights(True)
        tree.setAllColumnsShowFocus(True)
        tree.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        tree.header().setStretchLastSection(False)
        tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        top = QHBoxLayout()
        top.addWidget(self._up)
        top.addWidget(self._where, 1)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(tree, 1)
        layout.addWidget(self._words)
        layout.addWidget(self._buttons)
        tree.setFocus()
        self.resize(520, 420)

    def _wire(self) -> None:
        self._up.clicked.connect(self._go_up)
        self._tree.itemDoubleClicked.connect(self._activate)
        self._tree.itemSelectionChanged.connect(self._refresh)
        self._buttons.accepted.connect(self._open_chosen)
        self._buttons.rejected.connect(self.reject)
        self._lists.done.connect(self._show)
        self._lists.failed.connect(self._say)
        self._opens.done.connect(self.accept)
        self._opens.failed.connect(self._say)

    # ---- doing -----------------------------------------------------------------------

    def _list(self, path: str, start: int) -> None:
        self._start = start
        self._ask(self._lists, "Looking…", "list", path=path, start=start)

    def _ask(self, replies: Replies, words: str, name: str, **arguments: Any) -> None:
        self._say(words)
        self._asked = self._command(name, **arguments)
        self._asked.add_done_callback(replies.take)
        self._refresh()

    @property
    def _is_waiting(self) -> bool:
        return self._asked is not None and not self._asked.done()

    def _activate(self, item: QTreeWidgetItem) -> None:
        kind = item.data(0, _KIND)
        if self._is_waiting:
            return
        if kind == _MORE:
            self._list(self._path, self._tree.topLevelItemCount() - 1)
        elif kind == _FOLDER:
            self._left = ""
            self._list(self._path_of(item), 0)
        else:
            self._open_chosen()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave the folder with Backspace, which the tree has no use for."""
        if event.key() == Qt.Key.Key_Backspace:
            self._go_up()
        else:
            super().keyPressEvent(event)

    def _go_up(self) -> None:
        if self._path and not self._is_waiting:
            above, _, self._left = self._path.rpartition("/")
            self._list(above, 0)

    def _open_chosen(self) -> None:
        items = self._tree.selectedItems()
        if self._is_waiting or not items:
            return
        if len(items) == 1 and items[0].data(0, _KIND) in (_FOLDER, _MORE):
            self._activate(items[0])
            return
        files = [self._path_of(one) for one in items if one.data(0, _KIND) in ("file", "zarr")]
        if files:
            self._ask(self._opens, "Opening…", "open", paths=files)

    def _path_of(self, item: QTreeWidgetItem) -> str:
        name = item.text(0)
        return f"{self._path}/{name}" if self._path else name

    # ---- what the server says --------------------------------------------------------

    def _show(self, values: object) -> None:
        try:
            listing = msgspec.convert(values, _Listing)
        except msgspec.ValidationError as error:
            self._say(f"the server says what makes no sense here: {error}")
            return
        tree = self._tree
        if self._start:
            tree.takeTopLevelItem(tree.topLevelItemCount() - 1)  # the row that asked for more
        else:
            tree.clear()
        self._path = listing.path
        self._where.setText(f"/{listing.path}")
        items = [self._item(*entry) for entry in listing.entries]
        if listing.more:
            items.append(_item("More…", _MORE))
        tree.addTopLevelItems(items)
        current = next((one for one in items if one.text(0) == self._left), None)
        if current or items:
            tree.setCurrentItem(current or items[0])
        self._say("" if tree.topLevelItemCount() else "There is nothing here to open")

    def _item(self, name: str, kind: str, nbytes: int) -> QTreeWidgetItem:
        size = QLocale.c().formattedDataSize(nbytes) if kind == "file" else ""
        item = _item(name, kind, size)
        item.setIcon(0, self.style().standardIcon(_ICONS[kind]))
        return item

    def _say(self, words: str) -> None:
        self._words.setText(words)
        self._refresh()

    def _refresh(self) -> None:
        free = not self._is_waiting
        self._up.setEnabled(free and bool(self._path))
        self._open.setEnabled(free and bool(self._tree.selectedItems()))


def _item(name: str, kind: str, size: str = "") -> QTreeWidgetItem:
    item = QTreeWidgetItem([name, size])
    item.setData(0, _KIND, kind)
    item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item


def _plain_label(parent: QWidget) -> QLabel:
    """Return a label for words of the server's."""
    label = QLabel(parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label
