from __future__ import annotations

import socket
import threading
import time

import pytest
import zmq

from napari_streaming.errors import AddressInUseError, TransportError
from napari_streaming.transport.base import Connected, Lost, Received
from napari_streaming.transport.runtime import runtime_folder
from napari_streaming.transport.zmq import ConnectingEndpoint, ListeningEndpoint
from napari_streaming.uri import parse_url


@pytest.fixture
def endpoint():
    made = []

    def make(text, *, opened=True):
        url = parse_url(text)
        made.append((ListeningEndpoint if url.listen else ConnectingEndpoint)(url))
        if opened:
            made[-1].open()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def raw():
    """Plain ZeroMQ sockets."""
    context, made = zmq.Context(), []

    def make(kind):
        made.append(context.socket(kind))
        made[-1].linger = 0
        return made[-1]

    yield make
    for one in made:
        one.close()
    context.term()


def events(endpoint, kind, count=1, timeout=10.0):
    """Return the first events of a kind."""
    found, deadline = [], time.monotonic() + timeout
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} events"
        found += [event for event in endpoint.poll(0.05) if isinstance(event, kind)]
    return found


def frames_of(event):
    return [bytes(frame) for frame in event.frames]


@pytest.mark.parametrize(
    "url", ["tcp://127.0.0.1:0", "tcp://localhost:0", "tcp://[::1]:0", "ipc://a"]
)
def test_frames_go_both_ways(endpoint, url):
    server = endpoint(url + "?listen")
    client = endpoint(server.url.address)
    big = bytes(200_000)
    events(client, Connected)
    client.send(b"server", [b"hello", big, b""])
    (event,) = events(server, Received)
    assert frames_of(event) == [b"hello", big, b""]
    server.send(event.peer, [b"welcome", big])
    assert frames_of(events(client, Received)[0]) == [b"welcome", big]


def test_no_buffer_is_done_while_one_of_its_message_waits(endpoint, until):
    """pyzmq's own tracker of a message only knows of its last frame."""
    client = endpoint("tcp://127.0.0.1:9")  # where nobody listens
    delivery = client.send(b"server", [b"header", bytes(1_000_000), b"small"])
    assert not delivery.done
    assert client.send(b"server", [b"header", b"small"]).done
    client.close()
    until(lambda: delivery.done)


def test_a_full_transport_says_so(endpoint):
    client = endpoint("tcp://127.0.0.1:9")
    sent = 0
    while client.send(b"server", [b"x"]) is not None:
        sent += 1
        assert sent < 10_000
    assert sent > 100


def test_a_peer_that_went_away_is_lost_once_it_is_sent_something(endpoint, until):
    server = endpoint("tcp://127.0.0.1:0?listen")
    gone, there = endpoint(server.url.address), endpoint(server.url.address)
    for client in (gone, there):
        events(client, Connected)
        client.send(b"server", [b"hello"])
    peers = {event.peer for event in events(server, Received, 2)}
    gone.close()
    until(lambda: None in [server.send(peer, [b"x"]) for peer in peers])
    (event,) = events(server, Lost)
    (other,) = peers - {event.peer}
    assert server.send(other, [b"x"]).done
    assert server.send(b"nobody", [b"x"]) is None
    assert events(server, Lost) == [Lost(b"nobody", event.reason)]
    assert server.poll(0) == []


def test_what_a_peer_sent_before_it_died_is_received_before_its_loss(endpoint, raw, until):
    server = endpoint("tcp://127.0.0.1:0?listen")
    dealer = raw(zmq.DEALER)
    dealer.linger = -1
    dealer.connect(server.url.address)
    for number in range(1000):
        dealer.send(b"%d" % number)
    first = events(server, Received)
    dealer.close()
    time.sleep(0.2)
    seen = []
    while not any(isinstance(event, Lost) for event in seen):
        server.send(first[0].peer, [b"are you there?"])
        seen += events(server, Received | Lost)
    words = [frames_of(event)[0] for event in first + seen if isinstance(event, Received)]
    assert words == [b"%d" % number for number in range(1000)]
    assert isinstance(seen[-1], Lost)


def test_the_last_words_of_a_peer_come_before_its_loss(endpoint, raw):
    server = raw(zmq.ROUTER)
    server.linger = -1
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client = endpoint(f"tcp://127.0.0.1:{port}")
    events(client, Connected)
    client.send(b"server", [b"hello"])
    peer, _ = server.recv_multipart()
    for number in range(1000):
        server.send_multipart([peer, b"%d" % number])
    server.close()
    seen = []
    while not any(isinstance(event, Lost) for event in seen):
        seen += events(client, Received | Lost)
    words = [frames_of(event)[0] for event in seen if isinstance(event, Received)]
    assert words == [b"%d" % number for number in range(1000)]
    assert isinstance(seen[-1], Lost)


def test_a_lost_connection_is_only_made_anew_when_asked_for(endpoint, raw):
    server = raw(zmq.ROUTER)
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client = endpoint(f"tcp://127.0.0.1:{port}")
    events(client, Connected)
    server.close()
    events(client, Lost)
    assert client.send(b"server", [b"x"]) is None
    again = raw(zmq.ROUTER)
    again.bind(f"tcp://127.0.0.1:{port}")
    assert client.poll(0.5) == []
    client.reconnect(client.url)
    events(client, Connected)
    client.send(b"server", [b"first"])
    assert again.recv_multipart()[1] == b"first"


def test_another_thread_wakes_a_poll_up(endpoint):
    client = endpoint("tcp://127.0.0.1:9")
    threading.Timer(0.05, client.wake).start()
    start = time.monotonic()
    assert client.poll(10) == []
    assert time.monotonic() - start < 5
    for _ in range(100_000):
        client.wake()  # never blocks
    client.close()
    client.wake()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken(endpoint, host):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressInUseError, match="close it, or use another port"):
            endpoint(f"tcp://{host}:{port}?listen")


def test_an_address_that_is_not_here(endpoint):
    with pytest.raises(TransportError, match="cannot listen"):
        endpoint("tcp://192.0.2.1:5555?listen")


def test_a_host_is_not_localhost_because_of_its_name(endpoint):
    assert "mylocalhost" in endpoint("tcp://mylocalhost:5555", opened=False)._address


# ---- socket files ----------------------------------------------------------------------


def test_a_live_socket_file_is_not_stolen(endpoint):
    server = endpoint("ipc://a?listen")
    with pytest.raises(AddressInUseError, match="another name"):
        endpoint("ipc://a?listen")
    client = endpoint("ipc://a")
    events(client, Connected)
    client.send(b"server", [b"hello"])
    events(server, Received)


def test_the_socket_file_of_a_frozen_listener_is_not_stolen(endpoint, in_thread):
    path = runtime_folder() / "a"
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen(0)
        waiting = []
        for _ in range(3):  # until nobody else is let in
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(str(path))
        other = endpoint("ipc://a?listen", opened=False)
        with pytest.raises(AddressInUseError):
            in_thread(other.open)
        for one in waiting:
            one.close()


def test_the_socket_file_of_a_dead_listener_is_taken_over(endpoint):
    path = runtime_folder() / "a"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.is_socket()
    endpoint("ipc://a?listen")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_never_deleted(endpoint, tmp_path, kind):
    path = tmp_path / "precious"
    path.write_text("data") if kind == "file" else path.mkdir()
    with pytest.raises(TransportError, match="not a socket"):
        endpoint(f"ipc://{path}?listen")
    assert path.exists()


def test_a_socket_path_that_is_too_long(endpoint, tmp_path):
    with pytest.raises(TransportError, match="107"):
        endpoint(f"ipc://{tmp_path}/{'x' * 107}?listen")
