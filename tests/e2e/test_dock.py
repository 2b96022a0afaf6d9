"""The Stream Receiver as its user meets it: buttons, messages, reopening, URLs."""

from __future__ import annotations

import gc
import socket
import threading

import napari
import numpy as np
import pytest
from msgspec import structs
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QPushButton,
    QSpinBox,
)

import napari_streaming as ns
from napari_streaming.transport import runtime
from napari_streaming.uri import parse_url
from napari_streaming.widgets.limits import LimitsForm
from napari_streaming.widgets.stats import StreamTable

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
        press(idle_dock, "Copy address")
        assert QApplication.clipboard().text() == pub.view_urls[0], "to look on, for others"
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


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_opening_a_url_opens_the_dock(viewer, until, scheme):
    with ns.Publisher(f"{scheme}://127.0.0.1:0?listen") as pub:
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


# ---- while it streams --------------------------------------------------------------------


class Stream:
    """Publishes planes of 256 KiB, one after the other, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.publisher = ns.Publisher(url)
        self.published = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            t = self.published
            self.publisher.image("a", np.full((512, 512), t % 251, np.uint8), at={"t": t})
            self.published += 1

    @property
    def is_alone(self) -> bool:
        return self.publisher.stats().sinks[0].viewers == 0

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.publisher.close()


@pytest.fixture
def stream(dock, until):
    made = Stream(dock.session.receiver.urls[0])
    until(lambda: "a" in dock.session.receiver.layers and shown(dock) > 3)
    yield made
    made.close()


def shown(dock) -> int:
    return dock.session.receiver.layers["a"].stats().shown


def more(dock, until, count: int = 5) -> None:
    """Wait until more of the stream has been shown."""
    before = shown(dock)
    until(lambda: shown(dock) >= before + count)


def test_a_dock_that_is_hidden_goes_on(viewer, dock, stream, until):
    frame = dock.parent()
    frame.hide()
    assert not dock.isVisible()
    more(dock, until)
    steps = len(viewer.layers["a"].data)
    frame.show()
    more(dock, until)
    assert len(viewer.layers["a"].data) > steps
    table = dock.findChild(StreamTable)
    until(lambda: table.rowCount() and int(table.item(0, 3).text()) > steps)


def test_a_dock_closed_while_it_streams_leaves_the_producer_alone(viewer, until):
    frame, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    dock.open("tcp://127.0.0.1:0?listen")
    address = parse_url(dock.session.receiver.urls[0]).address
    stream = Stream(address)
    try:
        until(lambda: "a" in viewer.layers)
        frame.destroyOnClose()  # what the "x" in its title does
        del dock, frame
        until(lambda: gc.collect() is not None and stream.is_alone)
        published, steps = stream.published, len(viewer.layers["a"].data)
        until(lambda: stream.published > published + 5)
        assert len(viewer.layers["a"].data) == steps, "the layer stays as it was"

        _, again = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
        again.open(f"{address}?listen")
        until(lambda: "a" in again.session.receiver.layers and shown(again) > 5)
        assert len(viewer.layers) == 2
        again.session.close()
    finally:
        stream.close()


def test_a_window_closed_while_it_streams_leaves_the_producer_alone(run, until):
    viewer = run(
        """
        from napari_streaming.napari_plugin.window import open_window, run_window
        from qtpy.QtCore import QTimer

        viewer, dock = open_window("tcp://127.0.0.1:0?listen")
        print(dock.session.receiver.urls[0], flush=True)
        del dock

        def close_when_it_streams():
            if "a" in viewer.layers and len(viewer.layers["a"].data) > 3:
                timer.stop()
                viewer.close()

        timer = QTimer()
        timer.timeout.connect(close_when_it_streams)
        timer.start(10)
        run_window()
        print("closed", flush=True)
        """
    )
    stream = Stream(viewer.stdout.readline().strip())
    try:
        said, _ = viewer.communicate(timeout=60)
        assert (viewer.returncode, said) == (0, "closed\n")
        until(lambda: stream.is_alone)
        published = stream.published
        until(lambda: stream.published > published + 5)
        assert "waiting" in stream.publisher.stats().sinks[0].state
    finally:
        stream.close()


@pytest.mark.parametrize("moment", ["painting", "resting"])
def test_a_viewer_that_is_asked_to_end_closes_its_window_well(run, moment):
    viewer = run(
        """
        import os, signal, sys
        import napari
        from napari_streaming.napari_plugin.window import open_window, run_window
        from qtpy.QtCore import QTimer
        from qtpy.QtWidgets import QWidget

        class Painted(QWidget):
            rested = 0

            def paintEvent(self, event):
                if sys.argv[1] == "painting" and has_come():
                    signal.raise_signal(signal.SIGTERM)

            def look(self):
                self.update()
                self.rested += has_come()
                if sys.argv[1] == "resting" and self.rested == 50:
                    os.kill(os.getpid(), signal.SIGTERM)

        def has_come():
            viewer = napari.current_viewer()
            return viewer is not None and "a" in viewer.layers and len(viewer.layers["a"].data) == 3

        viewer, dock = open_window("tcp://127.0.0.1:0?listen")
        painted = Painted()
        viewer.window.add_dock_widget(painted)
        print(dock.session.receiver.urls[0], flush=True)
        del dock, viewer
        timer = QTimer(painted)
        timer.timeout.connect(painted.look)
        timer.start(10)
        run_window()
        print("closed", flush=True)
        """,
        moment,
    )
    with ns.Publisher(viewer.stdout.readline().strip()) as pub:
        for t in range(3):
            pub.image("a", np.full((64, 64), t, np.uint8), at={"t": t})
        said, _ = viewer.communicate(timeout=60)
    assert (viewer.returncode, said) == (0, "closed\n")


def test_a_viewer_closed_in_a_program_that_lives_on_ends_the_stream(make_napari_viewer, until):
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    dock.open("tcp://127.0.0.1:0?listen")
    stream = Stream(dock.session.receiver.urls[0])
    try:
        until(lambda: "a" in viewer.layers)
        del dock
        viewer.close()
        until(lambda: gc.collect() is not None and stream.is_alone)
        published = stream.published
        until(lambda: stream.published > published + 5)
    finally:
        stream.close()


# ---- what the user does to the layers meanwhile ------------------------------------------


def test_a_layer_deleted_while_it_streams_is_gone_with_its_memory(viewer, dock, stream, until):
    layer = dock.session.receiver.layers["a"]
    assert dock.session.receiver.layers._memory.held > 0
    viewer.layers.remove("a")
    received = layer.stats().received
    until(lambda: layer.stats().received > received + 10)
    assert "a" not in viewer.layers and len(viewer.layers) == 0
    assert dock.session.receiver.layers._memory.held == 0
    assert stream.publisher.stats().sinks[0].viewers == 1


def test_a_layer_renamed_and_moved_while_it_streams_stays_so(viewer, dock, stream, until):
    viewer.add_image(np.zeros((8, 8)), name="mine")
    viewer.layers["a"].name = "renamed"
    viewer.layers.move(1, 0)
    more(dock, until, 10)
    assert [layer.name for layer in viewer.layers] == ["mine", "renamed"]
    layer = viewer.layers["renamed"]
    assert len(layer.data) >= shown(dock)
    np.testing.assert_array_equal(np.asarray(layer.data[2]), 2)


def test_a_duplicate_of_a_layer_that_streams_is_independent(viewer, dock, stream, until):
    from napari._app_model import get_app_model

    viewer.layers.selection = {viewer.layers["a"]}
    get_app_model().commands.execute_command("napari.layer.duplicate").result()
    copy = viewer.layers["a copy"]
    steps = copy.data.shape[0]
    more(dock, until, 10)
    assert copy.data.shape[0] == steps < len(viewer.layers["a"].data)
    viewer.layers.remove("a")  # its planes go, those of the copy stay
    assert [int(np.asarray(copy.data[t]).max()) for t in range(4)] == [0, 1, 2, 3]


def test_what_is_received_can_be_limited_in_the_dock(idle_dock, until):
    type_address(idle_dock, "tcp://127.0.0.1:0")
    press(idle_dock, "Listen")
    layers = idle_dock.session.receiver.layers
    form = idle_dock.findChild(LimitsForm)
    form.findChild(QLineEdit).setText("b, c")
    form.findChild(QLineEdit).editingFinished.emit()
    for spin, most in zip(form.findChildren(QDoubleSpinBox), (7, 3), strict=True):
        spin.setValue(most)
    sides = form.findChild(QComboBox)
    sides.setCurrentIndex(sides.findText("at most 512"))
    wish = idle_dock.session.receiver._settings
    assert (wish.streams, wish.max_fps, wish.max_mb_s) == (("b", "c"), 7.0, 3.0)
    assert wish.max_side == 512
    with ns.Publisher(*idle_dock.session.receiver.urls) as pub:
        until(lambda: pub.stats().sinks[0].viewers)
        for name in "abc":
            pub.image(name, np.ones((8, 8), np.uint8))
        assert pub.flush(10)
        assert [layers[name].stats().received for name in "abc"] == [0, 1, 1]


def test_a_plane_that_is_looked_at_for_a_while_comes_in_full(viewer, idle_dock, until):
    receiver = idle_dock.session.receiver
    receiver._me = structs.replace(receiver._me, host="elsewhere")
    receiver.limit(max_side=16)
    planes = np.random.default_rng(0).integers(0, 255, (4, 60, 50)).astype(np.uint8)
    small = np.repeat(np.repeat(planes[:, ::4, ::4], 4, 1), 4, 2)[:, :60, :50]
    with ns.Publisher("ws://127.0.0.1:0?listen") as pub:
        idle_dock.open(pub.urls[0])
        until(lambda: pub.stats().sinks[0].viewers)
        for t, plane in enumerate(planes):
            pub.image("a", plane, at={"t": t})
        until(lambda: "a" in viewer.layers and len(viewer.layers["a"].data) == 4)
        layer = viewer.layers["a"]
        assert layer.data.shape == (4, 60, 50)

        def shows(wanted, t):
            pixels = [layer.get_value((t, y, x)) for y in range(0, 60, 7) for x in range(0, 50, 3)]
            return pixels == wanted[::7, ::3].ravel().tolist()

        until(lambda: shows(planes[3], 3))  # the newest is looked at
        for t in range(3):
            np.testing.assert_array_equal(layer.data[t], small[t])
        viewer.dims.set_current_step(0, 1)
        until(lambda: shows(planes[1], 1))
        np.testing.assert_array_equal(layer.data[0], small[0])
        # One that is not kept any more is asked for once.
        pub._engine._history.clear()
        viewer.dims.set_current_step(0, 2)
        until(lambda: any("not kept" in line.text for line in receiver.layers.log))
        assert shows(small[2], 2)
