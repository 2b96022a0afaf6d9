"""Publishers and receivers in processes of their own, which are killed, frozen and restarted.

A plane is filled with its own number, so that a torn or mixed-up one shows.
"""

from __future__ import annotations

import random
import socket
import time

import pytest

URLS = ["tcp", "ipc"]
WAYS = [("tcp", False), ("tcp", True), ("ipc", False)]

PUBLISH = """
import threading, time
import numpy as np
import napari_streaming as ns
from napari_streaming.transport import runtime
if {elsewhere}:
    import napari_streaming.publish.publisher as module
    module.host_identity = lambda: "another machine"  # so that planes go inline
settings = ns.PublisherSettings(memory={memory}, close_timeout=0.3, history=0)
pub = ns.Publisher({url!r}, settings=settings)
count, slowest, stop = 0, 0.0, threading.Event()
def publish(n, pause=0.0):
    global count, slowest
    for _ in range(n):
        plane = np.full((512, 512), count, np.uint16)
        start = time.perf_counter()
        pub.image("a", plane, at={{"t": count}})
        slowest = max(slowest, time.perf_counter() - start)
        count += 1
        if stop.is_set():
            return
        time.sleep(pause)
def publish_behind(n, pause):
    global thread
    thread = threading.Thread(target=publish, args=(n, pause))
    thread.start()
def halt():
    stop.set()
    thread.join()
    stop.clear()
"""

RECEIVE = """
import collections, gc, os
import numpy as np
import napari_streaming as ns
from napari_streaming.receive import source
from napari_streaming.receive.receiver import Receiver
rec = Receiver({url!r}, settings=ns.ReceiverSettings(warm=0))
def check():
    layer = rec.layers.get("a")
    if layer is None:
        return 0, []
    data, steps = layer.data, layer.coordinates.get("t", [])
    wrong = [t for i, t in enumerate(steps) if set(np.unique(np.asarray(data[i]))) != {{t}}]
    return len(steps), wrong
def steps():
    return rec.layers["a"].coordinates.get("t", []) if "a" in rec.layers else []
def stats():
    s = rec.layers["a"].stats()
    return dict(received=s.received, dropped=s.dropped, refused=s.refused)
def said(text):
    return [line.text for line in rec.layers.log if text in line.text]
def open_files():
    gc.collect()
    maps = open("/proc/self/maps").read().count("memfd:napari-streaming")
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
    return maps, sum("memfd:napari-streaming" in name for name in names)
def fds():
    return len(os.listdir("/proc/self/fd"))
"""


@pytest.fixture
def address():
    """Return an address of a scheme that is free now and later."""

    def make(scheme):
        if scheme == "ipc":
            return "ipc://test"
        # Not one that the system gives to those who connect: they would take it.
        ports = random.sample(range(15_000, 30_000), 100)
        return next(f"tcp://127.0.0.1:{port}" for port in ports if is_free(port))

    return make


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def pipeline(remote):
    def start(url, memory=64 * 2**20, *, inline=False):
        process = remote()
        process(PUBLISH.format(url=url, memory=memory, elsewhere=inline))
        return process

    return start


@pytest.fixture
def viewer(remote):
    def start(url):
        process = remote()
        process(RECEIVE.format(url=url))
        return process

    return start


def dropped(pipe):
    return pipe("pub.stats().dropped")


# ---- publishers die --------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "inline"), WAYS)
def test_a_publisher_is_killed_in_the_middle(pipeline, viewer, address, scheme, inline):
    """What it sent stays, nothing is torn, its memory is let go, and another one may come."""
    url = address(scheme)
    view = viewer(url + "?listen")
    before = view("fds()")
    for attempt in range(2):
        pipe = pipeline(url, inline=inline)
        pipe("publish(20)")
        assert pipe("pub.flush(10)")
        assert pipe("pub.stats().sinks[0].tally.acknowledged") == 20
        assert view("open_files()") == ([0, 0] if inline else [1, 1])
        pipe("publish_behind(10**6, 0)")
        view.until(f"stats()['received'] > {(attempt + 1) * 40}")
        pipe.kill()
        view.until(f"len(said('is gone')) == {attempt + 1}")
        count, wrong = view("check()")
        assert count >= 20 and not wrong
        assert view("open_files()") == [0, 0]
        assert view("rec.sources[0].state") == "listening"
    assert view("stats()['refused']") == 0 and view("rec.sources[0].refused") == 0
    assert view("fds()") <= before + 3


def test_what_a_killed_publisher_had_sent_arrives_although_nobody_looked(pipeline, viewer, address):
    """The viewer is frozen meanwhile: all that was under way is there afterwards."""
    url = address("tcp")
    view, pipe = viewer(url + "?listen"), pipeline(url, 512 * 2**20)
    pipe("publish(1)")
    assert pipe("pub.flush(10)")
    view.freeze()
    pipe("publish(199)")
    pipe.until("pub.stats().sent == 200")
    time.sleep(0.3)  # until it lies in the viewer's socket
    pipe.kill()
    view.thaw()
    view.until("said('is gone')")
    assert view("check()") == [200, []]
    assert view("stats()") == {"received": 200, "dropped": 0, "refused": 0}


# ---- receivers die ---------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "inline"), WAYS)
def test_a_receiver_is_killed_and_restarted(pipeline, viewer, address, scheme, inline):
    """The publisher finds the new one, and nothing that was not acknowledged is lost."""
    url = address(scheme)
    first, pipe = viewer(url + "?listen"), pipeline(url, 256 * 2**20, inline=inline)
    pipe("publish_behind(300, 0.001)")
    first.until("stats()['received'] > 20 if 'a' in rec.layers else 0")
    first.kill()
    pipe.until("pub.stats().sinks[0].viewers == 0")
    acknowledged = pipe("pub.stats().sinks[0].tally.acknowledged")
    pipe("thread.join()")
    assert dropped(pipe) == 0
    second = viewer(url + "?listen")
    assert pipe("pub.flush(15)")
    steps = second("steps()")
    assert steps == list(range(steps[0], 300)) and steps[0] <= acknowledged
    assert second("check()") == [len(steps), []]
    assert second("stats()") == {"received": len(steps), "dropped": 0, "refused": 0}
    assert pipe("slowest") < 1.0
    assert pipe("pub.stats().memory") <= 512 * 512 * 2 + 2 * 4096


def test_a_publisher_connects_before_anybody_listens(pipeline, viewer, address):
    for scheme in URLS:
        url = address(scheme)
        pipe = pipeline(url)
        pipe("publish(20)")
        view = viewer(url + "?listen")
        assert pipe("pub.flush(15)")
        assert view("check()") == [20, []]


# ---- receivers freeze ------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "inline"), WAYS)
def test_a_receiver_freezes_for_some_seconds(pipeline, viewer, address, scheme, inline):
    url = address(scheme)
    view, pipe = viewer(url + "?listen"), pipeline(url, 16 * 2**20, inline=inline)
    pipe("publish(5)")
    assert pipe("pub.flush(10)")
    view.freeze()
    pipe("slowest = 0.0")
    pipe("publish(300, 0.005)")
    assert pipe("slowest") < 0.5
    assert dropped(pipe) > 200 and not pipe("pub.flush(0)")
    assert pipe("pub.stats().memory") <= 16 * 2**20
    view.thaw()
    assert pipe("pub.flush(15)")
    count, wrong = view("check()")
    assert not wrong
    assert view("stats()") == {"received": count, "dropped": 305 - count, "refused": 0}
    assert view("steps()")[-1] == 304 and view("rec.layers['a'].latest['t']") == count - 1
    assert dropped(pipe) == 305 - count


def test_a_receiver_is_frozen_for_longer_than_a_connection_lives(viewer, remote, address):
    """ZeroMQ gives the connection up meanwhile; both sides get over it."""
    url = address("tcp")
    view, pipe = remote(), remote()
    for process in (view, pipe):
        process("from napari_streaming.transport import zmq as transport")
        process("transport._HEARTBEAT, transport._HEARTBEAT_TIMEOUT = 100, 500")
    view(RECEIVE.format(url=url + "?listen"))
    pipe(PUBLISH.format(url=url, memory=16 * 2**20, elsewhere=False))
    pipe("publish(5)")
    assert pipe("pub.flush(10)")
    view.freeze()
    pipe("publish(20, 0.02)")
    pipe.until("pub.stats().sinks[0].viewers == 0")
    pipe("publish(50, 0.005)")
    view.thaw()
    assert pipe("pub.flush(20)")
    count, wrong = view("check()")
    assert not wrong and view("steps()")[-1] == 74
    assert view("stats()") == {"received": count, "dropped": 75 - count, "refused": 0}
    assert view("open_files()") == [1, 1]


# ---- publishers that listen ------------------------------------------------------------


@pytest.mark.parametrize("scheme", URLS)
def test_a_listening_publisher_with_no_one_and_three_viewers(pipeline, viewer, address, scheme):
    url = address(scheme)
    pipe = pipeline(url + "?listen")
    pipe("publish(10)")
    assert pipe("pub.flush(0)"), "nobody is owed anything"
    views = [viewer(url)]
    views[0].until("steps() == [9]")
    pipe("publish(10)")
    assert pipe("pub.flush(10)")
    assert views[0]("steps()") == list(range(9, 20))
    views += [viewer(url), viewer(url)]
    for late in views[1:]:
        late.until("steps() == [19]")
    pipe("publish(20, 0.002)")
    assert pipe("pub.flush(10)")
    assert [view("check()") for view in views] == [[31, []], [21, []], [21, []]]
    assert all(view("stats()['dropped']") == 0 for view in views)
    assert pipe("pub.stats().sinks[0].viewers") == 3
    views[0].kill()
    views[1].kill()
    pipe.until("pub.stats().sinks[0].viewers == 1")
    pipe("publish(20)")
    assert pipe("pub.flush(10)")
    assert views[2]("check()") == [41, []]
    assert pipe("pub.stats().memory") <= 512 * 512 * 2 + 2 * 4096


def test_a_frozen_viewer_beside_a_healthy_one(pipeline, viewer, address):
    url = address("ipc")
    pipe = pipeline(url + "?listen", 16 * 2**20)
    frozen, healthy = viewer(url), viewer(url)
    pipe.until("pub.stats().sinks[0].viewers == 2")
    pipe("publish(5)")
    assert pipe("pub.flush(10)")
    frozen.freeze()
    for number in range(1, 11):
        pipe("publish(10, 0.005)")
        healthy.until(f"len(steps()) == {5 + 10 * number}")
    assert healthy("stats()") == {"received": 105, "dropped": 0, "refused": 0}
    assert healthy("check()") == [105, []]
    frozen.thaw()
    assert pipe("pub.flush(15)")
    count, wrong = frozen("check()")
    assert not wrong and frozen("steps()")[-1] == 104
    assert frozen("stats()") == {"received": count, "dropped": 105 - count, "refused": 0}


def test_a_listening_publisher_restarts_with_another_token(pipeline, viewer, address):
    url = address("tcp")
    view = viewer(url)
    for attempt in range(2):
        pipe = pipeline(url + "?listen")
        pipe.until("pub.stats().sinks[0].viewers == 1")
        pipe("publish(10)")
        assert pipe("pub.flush(10)")
        assert view("stats()['received']") == 10 * (attempt + 1)
        pipe.kill()
        view.until("rec.sources[0].publishers == ()")
    assert view("rec.sources[0].refused") == 0 or "token" in view("rec.sources[0].state")


# ---- several at once -------------------------------------------------------------------


def test_three_publishers_and_one_viewer(pipeline, viewer, address):
    url = address("ipc")
    view = viewer(url + "?listen")
    pipes = [pipeline(url, 256 * 2**20, inline=number == 2) for number in range(3)]
    for pipe in pipes:
        pipe("publish_behind(100, 0.001)")
    for pipe in pipes:
        pipe("thread.join()")
        assert pipe("pub.flush(20)")
    assert view("check()") == [100, []]
    assert view("stats()") == {"received": 300, "dropped": 0, "refused": 0}
