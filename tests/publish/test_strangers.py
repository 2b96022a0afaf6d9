"""What else may listen where a publisher looks for a viewer: it goes on, and says why."""

from __future__ import annotations

import pytest

from napari_streaming.transport import zmq as transport
from napari_streaming.wire.codec import MAGIC

CLOSES = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
kept = []
def serve():
    while True:
        peer, _ = server.accept()
        peer.close()
threading.Thread(target=serve, daemon=True).start()
"""
BABBLES = CLOSES.replace("peer.close()", r"kept.append((peer, peer.sendall(b'\0junk\r\n' * 99)))")
IS_MUTE = CLOSES.replace("peer.close()", "kept.append(peer)")
HTTP = """
import http.server, threading
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
port = server.server_port
threading.Thread(target=server.serve_forever, daemon=True).start()
"""
ZEROMQ = """
import zmq
server = zmq.Context().socket(zmq.{})
port = server.bind_to_random_port("tcp://127.0.0.1")
"""
OTHER_VERSION = f"""
import threading, zmq
server = zmq.Context().socket(zmq.ROUTER)
port = server.bind_to_random_port("tcp://127.0.0.1")
def serve():
    while True:
        peer, hello = server.recv_multipart()
        server.send_multipart([peer, {MAGIC!r} + (7).to_bytes(2, "little") + b"whatever"])
threading.Thread(target=serve, daemon=True).start()
"""


@pytest.fixture
def stranger(remote):
    """Start a program; return its process id and the port where it listens."""

    def start(code):
        program = remote()
        program(code)
        return program.pid, program("port")

    return start


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (CLOSES, "is no napari-streaming"),
        (BABBLES, "is no napari-streaming"),
        (IS_MUTE, "is no napari-streaming"),
        (HTTP, "is no napari-streaming"),
        (ZEROMQ.format("PUB"), "is no napari-streaming"),
        (ZEROMQ.format("REP"), "whose token is not known here"),
    ],
    ids=["closes", "babbles", "mute", "http", "pub", "rep"],
)
def test_a_program_that_is_none_of_ours_is_named(
    publisher, stranger, until, monkeypatch, caplog, code, said
):
    monkeypatch.setattr(transport, "_HANDSHAKE_TIMEOUT", 300)
    pid, port = stranger(code)
    pub = publisher(f"tcp://127.0.0.1:{port}")
    for step in range(100):
        pub.metric("a", 1.0, step)
    until(lambda: "refused" in pub.stats().sinks[0].state)
    assert said in pub.stats().sinks[0].state and f"(process {pid})" in pub.stats().sinks[0].state
    refused = counted_refusals(pub, monkeypatch)
    until(lambda: len(refused) >= 2)
    assert len([r for r in caplog.records if said in r.message]) == 1, "said once"
    pub.metric("a", 2.0)
    assert not pub.flush(0)


def counted_refusals(pub, monkeypatch):
    (sink,) = pub._engine._sinks
    refused, before = [], sink.refused

    def count(reason):
        refused.append(reason)
        before(reason)

    monkeypatch.setattr(sink, "refused", count)
    return refused


def test_a_viewer_of_another_version_is_said_once(publisher, stranger, until, monkeypatch, caplog):
    _, port = stranger(OTHER_VERSION)
    pub = publisher(f"tcp://127.0.0.1:{port}#token")
    refused = counted_refusals(pub, monkeypatch)
    until(lambda: len(refused) >= 3)
    state = pub.stats().sinks[0].state
    for part in ("version 7", "version 1", "install the same version", "here is napari-streaming/"):
        assert part in state
    assert len([r for r in caplog.records if "version 7" in r.message]) == 1


def test_a_frozen_viewer_is_called_by_its_process(publisher, remote, until, monkeypatch):
    monkeypatch.setattr(transport, "_HANDSHAKE_TIMEOUT", 300)
    viewer = remote()
    viewer("from napari_streaming.receive.receiver import Receiver")
    viewer("rec = Receiver('tcp://127.0.0.1:0?listen')")
    url = viewer("rec.urls[0]").partition("#")[0]
    viewer.freeze()
    pub = publisher(url)
    until(lambda: "does not answer" in pub.stats().sinks[0].state)
    assert f"process {viewer.pid} " in pub.stats().sinks[0].state
    viewer.thaw()
    until(lambda: pub.stats().sinks[0].state == "connected")
