"""The Stream Receiver as its user meets it: buttons, messages, reopening, URLs."""

from __future__ import annotations

import gc
import socket

import napari
import numpy as np
import pytest
from qtpy.QtWidgets import QLineEdit, QPushButton, QSpinBox

import napari_streaming as ns
from napari_streaming.transport import runtime
from napari_streaming.uri import parse_url

pytestmark = pytest.mark.napari


def press(dock, text: str) -> None:
    next(b for b in dock.findChildren(QPushButton) if b.text() == text).click()


def type_address(dock, text: str) -> None:
    dock.findChild(QLineEdit).setText(text)


def texts(dock) -> str:
    from qtpy.QtWidgets import QLabel

    return "\n".join(label.text() for label in dock.findChildren(QLabel))


@pytest.fixture
def idle_dock(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    yield widget
    widget.session.close()


def test_listen_then_stop(idle_dock, until):
    type_address(idle_dock, "tcp://127.0.0.1:0")
    press(idle_dock, "Listen")
    assert "listening" in texts(idle_dock)
    (url,) = idle_dock.session.receiver.urls
    with ns.Publisher(url) as pub:
        pub.image("a", np.ones((8, 8)))
        assert pub.flush(10)
        until(lambda: "connected to" in texts(idle_dock))
        press(idle_dock, "Stop")
        assert "Not receiving" in texts(idle_dock)
        until(lambda: pub.stats().sinks[0].viewers == 0)


def test_connect_to_a_publisher_that_listens(idle_dock, viewer, until):
    with ns.Publisher("tcp://127.0.0.1:0?listen") as pub:
        pub.image("a", np.full((8, 8), 7, np.uint8))
        type_address(idle_dock, pub.urls[0])
        press(idle_dock, "Connect")
        until(lambda: "a" in viewer.layers)
    np.testing.assert_array_equal(np.asarray(viewer.layers["a"].data), 7)
    until(lambda: "waiting for a publisher" in texts(idle_dock))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "starts with one of"),
        ("tcp://127.0.0.1", "port"),
        ("tcp://10.255.255.1:5555", "no token"),
    ],
)
def test_a_bad_address_is_said_in_the_dock(idle_dock, address, said):
    type_address(idle_dock, address)
    press(idle_dock, "Connect")
    assert said in texts(idle_dock)


def test_a_taken_port_is_said_in_the_dock(idle_dock):
    with socket.create_server(("127.0.0.1", 0)) as server:
        type_address(idle_dock, f"tcp://127.0.0.1:{server.getsockname()[1]}")
        press(idle_dock, "Listen")
        assert "already taken" in texts(idle_dock)


def test_closing_the_dock_frees_the_port_and_a_new_one_goes_on(viewer, until):
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    dock.open("tcp://127.0.0.1:0?listen")
    url = parse_url(dock.session.receiver.urls[0])
    viewer.window.remove_dock_widget(dock_widget)
    del dock, dock_widget
    gc.collect()
    until(lambda: gc.collect() is not None and runtime.find_listing(url) is None)

    _, again = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    again.open(f"{url.address}?listen")
    with ns.Publisher(url.address) as pub:
        pub.image("a", np.ones((8, 8)))
        until(lambda: "a" in viewer.layers)
    again.session.close()


def test_a_wrong_token_is_said_on_both_sides(dock, until):
    url = parse_url(dock.session.receiver.urls[0]).with_token("guess")
    with ns.Publisher(str(url)) as pub:
        until(lambda: "token" in pub.stats().sinks[0].state)
        until(lambda: "refused" in texts(dock))


def test_opening_a_url_opens_the_dock(viewer, until):
    with ns.Publisher("tcp://127.0.0.1:0?listen") as pub:
        pub.image("a", np.ones((8, 8)))
        assert viewer.open(pub.urls[0], plugin="napari-streaming") == []
        until(lambda: "a" in viewer.layers)
        _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
        dock.session.close()


def test_a_bad_url_does_not_raise(viewer):
    assert viewer.open("tcp://nowhere", plugin="napari-streaming") == []
    _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    assert "port" in texts(dock)
    dock.session.close()


def test_the_widget_is_in_both_menus(viewer):
    assert napari.current_viewer() is not None
    from npe2 import PluginManager

    manager = PluginManager.instance()
    titles = [widget.display_name for widget in manager.iter_widgets()]
    assert "Stream Receiver" in titles
    acquire = [item.command for item in manager.iter_menu("napari/file/acquire")]
    assert "napari-streaming.receiver" in acquire


def test_the_policy_can_be_changed_in_the_dock(idle_dock):
    most, least, layers = idle_dock.findChildren(QSpinBox)
    most.setValue(200)
    layers.setValue(3)
    policy = idle_dock.session.policy
    assert (policy.min_interval, policy.max_wait, policy.max_layers) == (0.2, 0.2, 3)
    least.setValue(500)
    assert idle_dock.session.policy.max_wait == 0.5
