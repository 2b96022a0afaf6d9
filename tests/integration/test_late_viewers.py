"""Metrics and lines of the past, over real sockets: for who comes late, and who comes back."""

from __future__ import annotations

import contextlib
import csv
import socket
import threading

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.receive.receiver import Receiver
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.recording import Recording
from napari_streaming.record.replay import Replay
from napari_streaming.relay import Relay
from napari_streaming.settings import PublisherSettings, ReceiverSettings
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Metric, Status

URLS = ["tcp://127.0.0.1:0?listen", "ws://127.0.0.1:0?listen", "ipc://late?listen"]


@pytest.fixture
def watch():
    """Make receivers that connect."""
    made = []

    def start(url, **settings):
        made.append(Receiver(url, settings=ReceiverSettings(warm=0, **settings)))
        return made[-1]

    yield start
    for one in made:
        one.close()


class Wire:
    """A way to a port that can be cut, with whatever is under way."""

    def __init__(self, url):
        self._there = parse_url(url)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open = []
        port = self._server.getsockname()[1]
        self.url = f"{self._there.scheme}://127.0.0.1:{port}#{self._there.token}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._there.port))
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                sink.sendall(data)

    def cut(self):
        while self._open:
            with contextlib.suppress(OSError):
                self._open[-1].shutdown(socket.SHUT_RDWR)
            self._open.pop().close()

    def close(self):
        self._server.close()
        self.cut()


@pytest.fixture
def wire():
    """Make wires."""
    with contextlib.ExitStack() as undo:

        def lay(url):
            made = Wire(url)
            undo.callback(made.close)
            return made

        yield lay


def run(pub, steps, first=0):
    for step in range(first, first + steps):
        pub.metric("energy", step, step)
        pub.status("info", f"step {step}")


def energy(rec):
    series = rec.layers.metrics.get("energy")
    return [] if series is None else series.values.tolist()


def count(rec, text):
    """Return how many lines have a text in them."""
    return sum(text in line.text for line in list(rec.layers.log))


def lines(rec):
    """Return the numbers of the steps that the log has."""
    said = [line.text.split() for line in list(rec.layers.log)]
    return [int(words[1]) for words in said if words[0] == "step"]


@pytest.mark.parametrize("url", URLS)
def test_who_comes_late_gets_what_was_said(publisher, watch, until, url):
    pub = publisher(url)
    run(pub, 30)
    late = watch(pub.urls[0])
    until(lambda: len(lines(late)) == 30 and len(energy(late)) == 30)
    run(pub, 10, 30)
    frugal = watch(pub.urls[0], history=0)
    until(lambda: energy(frugal) and lines(frugal))
    run(pub, 10, 40)
    for rec, first in ((late, 0), (frugal, 39)):
        until(lambda rec=rec: energy(rec)[-1:] == [49] and lines(rec)[-1:] == [49])
        assert energy(rec) == lines(rec) == list(range(first, 50))
    assert late.layers.metrics["energy"].steps.tolist() == list(range(50))
    assert np.all(np.diff(late.layers.metrics["energy"].times) >= 0)


@pytest.mark.parametrize("url", URLS[:2])
def test_who_comes_back_gets_nothing_twice_and_misses_nothing(publisher, watch, until, wire, url):
    pub = publisher(url)
    way = wire(pub.urls[0])
    rec = watch(way.url)
    for turn in range(10):
        until(lambda: rec.sources[0].publishers)
        run(pub, 30, 30 * turn)
        way.cut()
        until(lambda turn=turn: count(rec, "is gone") > turn)
    until(lambda: energy(rec)[-1:] == [299] and lines(rec)[-1:] == [299])
    assert energy(rec) == lines(rec) == list(range(300))


def test_the_same_program_at_another_url_says_nothing_twice(publisher, watch, until):
    pub = publisher(*URLS[:2])
    run(pub, 20)
    rec = watch(pub.urls[0])
    until(lambda: len(lines(rec)) == 20)
    rec.shut(pub.urls[0])
    run(pub, 20, 20)
    for url in pub.urls:  # at once
        rec.open(url)
    run(pub, 20, 40)
    until(lambda: energy(rec)[-1:] == [59] and lines(rec)[-1:] == [59])
    assert sorted(energy(rec)) == sorted(lines(rec)) == list(range(60))


def test_a_new_run_is_news(publisher, watch, until):
    rec = watch("tcp://127.0.0.1:0?listen")
    for _ in range(2):
        with ns.Publisher(rec.urls[0]) as pub:
            run(pub, 10)
            assert pub.flush(15)
        until(lambda: not rec.sources[0].publishers)
    assert energy(rec) == lines(rec) == [*range(10), *range(10)]


def test_a_recording_that_begins_late_has_all_of_it_once(publisher, tmp_path, watch, until, wire):
    pub = publisher(URLS[0])
    run(pub, 20)
    way = wire(pub.urls[0])
    with Recording(tmp_path / "there.ome.zarr", way.url) as there:
        here = Recording(tmp_path / "here.ome.zarr")
        pub.open(here)
        for turn in range(1, 6):
            until(lambda: there.receiver.sources[0].publishers)
            run(pub, 20, 20 * turn)
            way.cut()
            until(lambda turn=turn: count(there.receiver, "is gone") == turn)
        for rec in (there.receiver, here.receiver):
            until(lambda rec=rec: lines(rec)[-1:] == [119] and energy(rec)[-1:] == [119])
        pub.shut(here)
    for name in ("here", "there"):
        with (tmp_path / f"{name}.ome.zarr/tables/metrics.csv").open() as file:
            assert [float(row["value"]) for row in csv.DictReader(file)] == list(range(120))
        messages = [entry.message for entry in OpenRecording(tmp_path / f"{name}.nstream").entries]
        said = [m.text for m in messages if isinstance(m, Status) and m.text.startswith("step")]
        assert said == [f"step {number}" for number in range(120)]
        assert sum(len(m.values) for m in messages if isinstance(m, Metric)) == 120
    with ns.Publisher(URLS[1]) as again:
        Replay(OpenRecording(tmp_path / "there.nstream"), again, speed=1000.0).run()
        late = watch(again.urls[0])
        until(lambda: energy(late)[-1:] == [119] and lines(late)[-1:] == [119])
        assert energy(late) == lines(late) == list(range(120))


def test_a_relay_passes_the_past_on_and_nothing_twice(publisher, watch, until, wire):
    pub = publisher(URLS[0])
    run(pub, 20)
    way = wire(pub.urls[0])
    relay = Relay(way.url, "ws://127.0.0.1:0", PublisherSettings())
    try:
        first = watch(relay.urls[0])
        until(lambda: lines(first)[-1:] == [19] and energy(first)[-1:] == [19])
        for turn in range(1, 6):
            run(pub, 20, 20 * turn)
            way.cut()
            until(lambda turn=turn: count(first, "connected to") == turn + 1)
        late = watch(relay.urls[0])
        for rec in (first, late):
            until(lambda rec=rec: lines(rec)[-1:] == [119] and energy(rec)[-1:] == [119])
            assert energy(rec) == lines(rec) == list(range(120))
    finally:
        relay.close()
