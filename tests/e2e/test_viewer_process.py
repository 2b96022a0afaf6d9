"""A viewer of its own process: started, found again, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import time

import numpy as np
import psutil
import pytest

import napari_streaming as ns
from napari_streaming.errors import ViewerError
from napari_streaming.transport.runtime import find_listing, runtime_folder
from napari_streaming.uri import parse_url

pytestmark = pytest.mark.napari


@pytest.fixture
def url():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    yield address
    listing = find_listing(parse_url(address))
    if listing is not None:
        os.kill(listing.pid, signal.SIGKILL)


def viewer_pid(url: str) -> int:
    deadline = time.monotonic() + 60
    while (listing := find_listing(parse_url(url))) is None:
        assert time.monotonic() < deadline, "no viewer came up"
        time.sleep(0.05)
    return listing.pid


def test_spawned_reused_killed_and_spawned_again(url):
    plane = np.ones((64, 64), np.uint8)
    with ns.Publisher(url, spawn=True) as pub:
        pub.image("a", plane, at={"t": 0})
        first = viewer_pid(url)
        assert pub.flush(60), pub.stats()

        with ns.Publisher(url, spawn=True) as other:
            other.image("b", plane)
            assert other.flush(60), other.stats()
            assert viewer_pid(url) == first

        os.kill(first, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], 10)
        start = time.perf_counter()
        pub.image("a", plane, at={"t": 1})
        assert time.perf_counter() - start < 1, "a dead viewer never blocks"
        with ns.Publisher(url, spawn=True) as third:
            third.image("b", plane)
            assert viewer_pid(url) != first
            assert third.flush(60), third.stats()
            assert pub.flush(60), pub.stats()
    assert psutil.pid_exists(viewer_pid(url)), "the viewer outlives its publishers"


def test_a_window_is_found_again_stopped_and_outlives_its_starter(url, run):
    script = """
        import sys
        import napari_streaming as ns
        viewer = ns.Viewer(sys.argv[1]).start()
        print(viewer.pid, viewer.is_ours, viewer.started_in > 0, flush=True)
    """
    for ours in (True, False):
        output, _ = run(script, url).communicate(timeout=90)
        assert output.split()[-3:] == [str(viewer_pid(url)), str(ours), "True"]
    found = ns.Viewer(url).start()
    assert not found.is_ours and not found.stop() and found.is_running

    os.kill(found.pid, signal.SIGKILL)
    while found.is_running:
        time.sleep(0.01)
    mine = ns.Viewer(url, persistent=False).start()
    with ns.Publisher(url) as pub:
        pub.image("a", np.ones((64, 64), np.uint8))
        assert pub.flush(60), pub.stats()
    pid = mine.pid
    assert mine.is_ours and mine.stop(timeout=60)
    assert not psutil.pid_exists(pid)
    assert not list(runtime_folder().glob("*.json")), "napari was closed, not killed"


def test_a_window_without_a_screen_says_why_it_ended(url, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    with pytest.raises(ViewerError, match="could not connect to display"):
        ns.Viewer(url).start()
