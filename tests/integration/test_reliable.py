"""Reliable streams between real processes: viewers are killed and frozen, and nothing is lost.

Each plane is made from its own number, so that both sides know every pixel.
"""

from __future__ import annotations

import random
import socket

import pytest

MAKE = """
import threading, time
import numpy as np
import napari_streaming as ns
def make(number, shape):
    plane = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    plane *= np.uint16(2 * number + 1)
    return plane
"""

PUBLISH = """
settings = ns.PublisherSettings(memory={memory}, close_timeout=0.3)
pub = ns.Publisher({url!r}, settings=settings)
thread = None
def publish(count, shape, pause=0.0):
    for number in range(count):
        pub.image("a", make(number, shape), at={{"t": number}}, qos="reliable")
        time.sleep(pause)
def publish_behind(*arguments):
    global thread
    thread = threading.Thread(target=publish, args=arguments)
    thread.start()
"""

RECEIVE = """
from napari_streaming.receive.receiver import Receiver
def open_it(url):
    global rec
    rec = Receiver(url, settings=ns.ReceiverSettings(warm=0))
def received():
    return rec.layers["a"].stats().received if "a" in rec.layers else 0
def counts():
    stats = rec.layers["a"].stats()
    return [stats.received, stats.dropped, stats.refused]
def wrong(count, shape):
    layer = rec.layers["a"]
    steps = layer.coordinates["t"]
    if sorted(steps) != list(range(count)):
        return sorted(set(range(count)) ^ set(steps))
    return [t for i, t in enumerate(steps) if not np.array_equal(layer.data[i], make(t, shape))]
"""


@pytest.fixture
def url():
    """Return an address that is free now and later."""
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return f"tcp://127.0.0.1:{port}"
    raise AssertionError("no port is free")


@pytest.fixture
def pipeline(remote):
    def start(url, memory):
        process = remote()
        process(MAKE + PUBLISH.format(url=url, memory=memory))
        return process

    return start


@pytest.fixture
def prepared(remote):
    """Start a viewer's process, which opens its URL when it is told so."""

    def start():
        process = remote()
        process.tell(MAKE + RECEIVE)
        return process

    return start


@pytest.mark.parametrize("listens", ["viewer", "publisher"])
def test_a_viewer_that_is_killed_twenty_times_has_everything_in_the_end(
    pipeline, prepared, until, url, listens
):
    count, shape = 400, [360, 360]
    viewers_url, publishers_url = url, url + "?listen"
    if listens == "viewer":
        viewers_url, publishers_url = publishers_url, viewers_url
    pipe = pipeline(publishers_url, memory=32 * 2**20)
    pipe(f"publish_behind({count}, {shape}, 0.01)")
    following, dice = prepared(), random.Random(0)  # noqa: S311
    for life in range(20):
        viewer, following = following, prepared()
        assert viewer.answer() is None
        viewer(f"open_it({viewers_url!r})")
        viewer.until(f"received() >= {dice.randrange(10 * life + 1)}")
        viewer.kill()
    pipe("thread.join()")
    assert pipe("pub.stats().spool") > 50 * 2**20
    assert pipe("pub.stats().memory") <= 32 * 2**20
    following.answer()
    following(f"open_it({viewers_url!r})")
    following.until(f"received() == {count}")
    assert following("counts()") == [count, 0, 0]
    assert following(f"wrong({count}, {shape})") == []
    assert pipe("pub.stats().dropped") == 0
    assert pipe("pub.flush(10)")


@pytest.mark.parametrize("listens", ["viewer", "publisher"])
def test_a_frozen_viewer_gets_a_gigabyte_from_small_memory(pipeline, prepared, url, listens):
    count, shape = 128, [2048, 2048]
    viewers_url, publishers_url = url, url + "?listen"
    if listens == "viewer":
        viewers_url, publishers_url = publishers_url, viewers_url
    viewer, pipe = prepared(), pipeline(publishers_url, memory=64 * 2**20)
    viewer.answer()
    viewer(f"open_it({viewers_url!r})")
    pipe.until("pub.stats().sinks[0].viewers == 1")
    viewer.freeze()
    pipe(f"publish({count}, {shape})")
    assert pipe("pub.stats().memory") <= 64 * 2**20
    assert pipe("pub.stats().spool") > 900 * 2**20
    assert not pipe("pub.flush(0)")
    viewer.thaw()
    assert pipe("pub.flush(60)")
    assert viewer("counts()") == [count, 0, 0]
    assert viewer(f"wrong({count}, {shape})") == []
    assert pipe("pub.stats().dropped") == 0
