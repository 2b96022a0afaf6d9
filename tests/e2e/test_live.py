"""Live or not: the button, the sliders and the Home key."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QPushButton, QScrollBar, QTableWidget, QWidget

import napari_streaming as ns

pytestmark = pytest.mark.napari

HOME = Qt.Key.Key_Home


@pytest.fixture
def stream(viewer, dock, until):
    """Publish five planes into the viewer; return what publishes one more."""
    with ns.Publisher(dock.session.receiver.urls[0]) as pub:
        planes = iter(range(100))

        def publish() -> int:
            t = next(planes)
            pub.image("a", np.full((64, 64), t, np.uint8), at={"t": t})
            layers = dock.session.receiver.layers
            until(lambda: "a" in layers and layers["a"].stats().shown == t + 1)
            return t

        for _ in range(5):
            publish()
        yield publish


def live_button(dock):
    return next(b for b in dock.findChildren(QPushButton) if b.text() == "Live")


def canvas(dock):
    return next(w for w in dock.window().findChildren(QWidget) if "Canvas" in type(w).__name__)


def slider(dock):
    bars = dock.window().findChildren(QScrollBar)
    return next(bar for bar in bars if bar.isVisible() and "Modified" in type(bar).__name__)


def at(viewer):
    return viewer.dims.current_step[0]


def test_the_button_stays_and_goes_back(viewer, dock, stream):
    button = live_button(dock)
    assert button.isCheckable() and button.isChecked() and at(viewer) == 4
    button.click()
    stream()
    assert at(viewer) == 4 and not dock.session.follow
    button.click()
    assert at(viewer) == 5 and dock.session.follow
    stream()
    assert at(viewer) == 6


def test_a_slider_that_the_user_moves_releases_the_button(viewer, dock, stream, qtbot):
    bar = slider(dock)
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=QPoint(5, bar.height() // 2))
    assert at(viewer) == 3
    assert not live_button(dock).isChecked()
    stream()
    assert at(viewer) == 3


def test_home_goes_back_to_live(viewer, dock, stream, qtbot):
    viewer.dims.set_current_step(0, 1)
    assert not live_button(dock).isChecked()
    qtbot.keyClick(canvas(dock), HOME)
    assert at(viewer) == 4
    assert live_button(dock).isChecked()
    qtbot.keyClick(canvas(dock), HOME)  # already there
    assert at(viewer) == 4 and stream() == at(viewer) == 5


def test_home_works_after_a_click_on_a_slider_or_a_table(viewer, dock, stream, qtbot):
    bar = slider(dock)
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=QPoint(5, bar.height() // 2))
    assert at(viewer) == 3
    # None of them takes the keys away from the window.
    tables = dock.findChildren(QTableWidget)
    assert not any(w.focusPolicy() & Qt.FocusPolicy.ClickFocus for w in (bar, *tables))
    qtbot.keyClick(dock.window(), HOME)
    assert at(viewer) == 4
    live_button(dock).click()
    stream()
    qtbot.keyClick(live_button(dock), HOME)
    assert at(viewer) == 5


def test_home_is_given_back_when_the_dock_is_closed(viewer):
    widget, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    assert "Home" in map(str, viewer.keymap)
    viewer.window.remove_dock_widget(widget)
    del widget, dock
    gc.collect()
    assert "Home" not in map(str, viewer.keymap)


def test_a_home_key_that_somebody_else_has_stays_theirs(viewer, qtbot):
    pressed = []
    viewer.bind_key("Home", pressed.append)
    _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    qtbot.keyClick(canvas(dock), HOME)
    dock.session.close()
    qtbot.keyClick(canvas(dock), HOME)
    assert len(pressed) == 2


def test_a_home_key_of_the_users_shortcuts_stays_theirs(viewer, qtbot):
    from napari.components import ViewerModel

    pressed = []
    ViewerModel.bind_key("Home", pressed.append)
    try:
        _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
        qtbot.keyClick(canvas(dock), HOME)
        dock.session.close()
    finally:
        ViewerModel.bind_key("Home", None)
    assert len(pressed) == 1
