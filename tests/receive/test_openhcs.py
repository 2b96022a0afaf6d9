from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import zmq

from napari_streaming.errors import AddressInUseError, TransportError, URLError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.receiver import Receiver
from napari_streaming.transport.openhcs import OpenHcsSockets
from napari_streaming.uri import parse_url

FREE = "openhcs+tcp://127.0.0.1:0?listen"


@pytest.fixture(autouse=True)
def home(monkeypatch, private_runtime):
    monkeypatch.setenv("HOME", private_runtime)
    return private_runtime


@pytest.fixture
def open_sockets():
    made = []

    def make(url=FREE):
        made.append(OpenHcsSockets(parse_url(url)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_two_ports_that_belong_together_are_found(open_sockets):
    one, other = open_sockets(), open_sockets()
    assert 0 < one.url.port <= 64535
    assert one.url.port != other.url.port


def test_a_taken_port_is_named_be_it_that_of_data_or_control(open_sockets):
    port = open_sockets().url.port
    with pytest.raises(AddressInUseError, match=f":{port} is already taken"):
        open_sockets(f"openhcs+tcp://127.0.0.1:{port}?listen")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        control = server.getsockname()[1]
        with pytest.raises(AddressInUseError, match=f":{control} is already taken"):
            open_sockets(f"openhcs+tcp://127.0.0.1:{control - 1000}?listen")


def test_a_socket_of_a_live_viewer_is_not_taken_over_and_one_of_a_dead_is(home, open_sockets):
    first = open_sockets("openhcs+ipc://5555?listen")
    with pytest.raises(AddressInUseError):
        open_sockets("openhcs+ipc://5555?listen")
    first.close()
    path = Path(home, ".openhcs", "ipc", "openhcs-zmq-5555.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    open_sockets("openhcs+ipc://5555?listen")


def test_what_is_no_socket_is_left_alone(home, open_sockets):
    path = Path(home, "notes-5555.sock")
    path.write_text("precious")
    with pytest.raises(TransportError, match="is not a socket"):
        open_sockets(f"openhcs+ipc://{path}?listen")
    assert path.read_text() == "precious"


def test_a_request_can_be_answered_when_who_asked_is_gone(open_sockets, until):
    ours = open_sockets()
    with zmq.Context() as context:
        for answered in (False, True):
            with context.socket(zmq.REQ) as asking:
                asking.linger = 0 if answered else -1
                asking.connect(f"tcp://127.0.0.1:{ours.url.port}")
                asking.send(b"hello")
                (request,) = until(lambda: ours.poll(0.1))
                if answered:
                    ours.answer(request, b"yes")
                    assert asking.poll(15_000) and asking.recv() == b"yes"
            if not answered:
                ours.answer(request, b"nobody hears this")


def test_acknowledgements_that_nobody_wants_do_not_pile_up(open_sockets, until):
    ours = open_sockets("openhcs+ipc://5555?listen")
    ours.acknowledge([b"ack"] * 10)
    until(lambda: ours.poll(0.1) or not ours._acks)


def test_a_dialect_is_listened_to_and_never_spoken():
    with pytest.raises(URLError, match=r"add \?listen"):
        Receiver("openhcs+tcp://127.0.0.1:5555")
    for spawn in (False, True):
        with pytest.raises(URLError, match="the dialect of openhcs is for viewers"):
            Publisher("openhcs+tcp://127.0.0.1:5555", spawn=spawn)


def test_a_receiver_takes_both_kinds_at_once(receiver):
    rec = receiver(FREE)
    rec.open("tcp://127.0.0.1:0?listen")
    with Publisher(rec.urls[1]) as pub:
        pub.status("info", "hello")
        assert rec.wait(lambda: rec.layers.log, 15)
    assert len(rec.sources) == 2
    rec.shut(rec.sources[0].url)
    assert len(rec.sources) == 1


def test_a_user_s_choice_is_stronger_than_a_proposal():
    catalog = Catalog()
    catalog.propose_mode("channel", "split")
    catalog.propose_mode("channel", "window")  # the first stays
    assert catalog.mode("channel") == "split"
    catalog.set_mode("well", "stack")
    catalog.propose_mode("well", "split")
    assert catalog.mode("well") == "stack"
    catalog.propose_sizes("pad")
    catalog.set_sizes("split")
    catalog.propose_sizes("pad")
    assert catalog.sizes == "split"
    with pytest.raises(ValueError, match="mode"):
        catalog.propose_mode("z", "sideways")


def test_no_socket_is_made_where_the_folder_cannot_be(home, open_sockets):
    Path(home, ".openhcs").write_text("a file")
    with pytest.raises(TransportError):
        open_sockets("openhcs+ipc://5555?listen")
    assert os.listdir(home)
