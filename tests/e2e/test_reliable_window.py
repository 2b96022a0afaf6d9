"""A reliable stream, and windows that are killed: the last one shows every plane."""

from __future__ import annotations

import os
import signal
import socket

import numpy as np
import psutil
import pytest

import napari_streaming as ns
from napari_streaming.publish.viewer_process import start_viewer
from napari_streaming.transport.runtime import find_listing
from napari_streaming.uri import parse_url

pytestmark = pytest.mark.napari

SHAPE = (300, 400)


@pytest.fixture
def url():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    yield address
    kill_window(address)


def kill_window(url):
    """Kill whoever listens at a URL, unless it is this process."""
    listing = find_listing(parse_url(url))
    if listing is not None and listing.pid != os.getpid():
        process = psutil.Process(listing.pid)
        os.kill(listing.pid, signal.SIGKILL)
        psutil.wait_procs([process], 10)


def make(number):
    return (np.arange(np.prod(SHAPE)) * (2 * number + 1)).astype(np.uint16).reshape(SHAPE)


def test_the_last_of_three_windows_shows_everything(url, viewer, until):
    count = 0
    settings = ns.PublisherSettings(memory=8 * 2**20)
    with ns.Publisher(url, settings=settings) as pub:
        for _ in range(2):
            start_viewer(parse_url(url))
            until(lambda: pub.stats().sinks[0].viewers == 1)
            acknowledged = pub.stats().sinks[0].tally.acknowledged
            for _ in range(30):
                pub.image("a", make(count), at={"t": count}, qos="reliable")
                count += 1
            until(lambda before=acknowledged: pub.stats().sinks[0].tally.acknowledged > before)
            kill_window(url)
            until(lambda: pub.stats().sinks[0].viewers == 0)
        assert pub.stats().spool > 0 and pub.stats().dropped == 0

        _, widget = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
        widget.open(url + "?listen")
        until(lambda: "a" in viewer.layers and viewer.layers["a"].data.shape == (count, *SHAPE))
        until(lambda: pub.flush(0))
        data = viewer.layers["a"].data
        assert all(np.array_equal(np.asarray(data[n]), make(n)) for n in range(count))
        widget.session.close()
