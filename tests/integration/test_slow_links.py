"""A link that is slower than the codec: a relay between two real sides, with a bound rate."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from msgspec import structs

from napari_streaming.receive.receiver import Receiver
from napari_streaming.settings import ReceiverSettings
from napari_streaming.uri import parse_url

SIDE = 512


class Relay:
    """Passes bytes between whoever connects and a port, so many in a second, after a delay."""

    def __init__(self, port: int, rate: float, delay: float) -> None:
        self._port, self._rate, self._delay = port, rate, delay
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open = [self._server]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass_on, args=pair, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                due = max(due, time.monotonic()) + len(data) / self._rate
                time.sleep(max(0.0, due - time.monotonic()) + self._delay)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)


def planes():
    """Smooth pictures with the noise of a camera: they get half as big."""
    y, x = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0)
    while True:
        yield noise.poisson(100 + 50 * np.sin(x / 40) * np.cos(y / 60)).astype(np.uint16)


@pytest.fixture
def far_away(publisher):
    """Make a publisher, and a receiver that has reason to think that it is far away."""
    with contextlib.ExitStack() as undo:

        def make(scheme: str, rate: float, *, host: str = "elsewhere"):
            pub = publisher(f"{scheme}://127.0.0.1:0?listen", memory=64 * 2**20)
            url = parse_url(pub.urls[0])
            relay = Relay(url.port, rate, 0.001)
            undo.callback(relay.close)
            rec = undo.enter_context(Receiver(settings=ReceiverSettings(warm=0)))
            if host:
                rec._me = structs.replace(rec._me, host=host)
            rec.open(f"{scheme}://127.0.0.1:{relay.port}#{url.token}")
            return pub, rec

        yield make


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_pixels_are_compressed_for_a_slow_link_and_arrive_as_they_were(far_away, until, scheme):
    pub, rec = far_away(scheme, 8e6)
    until(lambda: pub.stats().sinks[0].viewers)
    for number, plane in enumerate(planes()):
        pub.image("cells", plane, at={"t": number})
        tally = pub.stats().sinks[0].tally
        if tally.inline < 0.9 * tally.bytes:
            break
        time.sleep(0.01)  # a pace, not a wait
    pub.image("cells", plane, at={"t": -1})
    assert pub.flush(15)
    assert pub.stats().sinks[0].link < 50e6
    layer = rec.layers["cells"]
    until(lambda: layer.stats().received + layer.stats().dropped == number + 2)
    shown = np.asarray(layer.data)
    assert layer.stats().received and (shown[0] == plane).all()  # t = -1 is the first


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_nothing_is_compressed_on_one_machine(far_away, until, scheme):
    pub, rec = far_away(scheme, 8e6, host="")
    until(lambda: pub.stats().sinks[0].viewers)
    for _, plane in zip(range(30), planes(), strict=False):
        pub.image("small", plane[:100, :100])
        pub.image("big", plane)
    assert pub.flush(15)
    small = rec.layers["small"].stats()
    assert pub.stats().sinks[0].tally.inline == small.received * 20000 and not small.refused
