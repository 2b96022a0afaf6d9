from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import struct
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from napari_streaming.errors import AddressInUseError, TransportError
from napari_streaming.transport import websocket, ws_connection, ws_limits
from napari_streaming.transport.base import Connected, HttpResponse, Lost, Received, Refused
from napari_streaming.transport.websocket import ConnectingEndpoint, ListeningEndpoint
from napari_streaming.uri import parse_url
from napari_streaming.wire.codec import pack
from napari_streaming.wire.envelope import seal
from napari_streaming.wire.messages import Ack, Array, Hello, Item, Peer, Status

HERE = "ws://127.0.0.1:0?listen"


@pytest.fixture
def endpoint():
    made = []

    def make(text, *, opened=True, http=None):
        url = parse_url(text)
        made.append(ListeningEndpoint(url, http) if url.listen else ConnectingEndpoint(url))
        if opened:
            made[-1].open()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def turning():
    """Have an endpoint polled in a thread; return the events so far."""
    stop, threads = threading.Event(), []

    def start(endpoint):
        events = []

        def turn():
            while not stop.is_set():
                events.extend(endpoint.poll(0.05))

        threads.append(threading.Thread(target=turn))
        threads[-1].start()
        return events

    yield start
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def raw():
    """Clients of the library's."""
    with contextlib.ExitStack() as stack:

        def make(url, **options):
            options = {"compression": None, "max_size": None, "proxy": None} | options
            return stack.enter_context(connect(url, **options))

        yield make


def events(endpoint, kind, count=1, timeout=10.0):
    """Return the first events of a kind."""
    found, deadline = [], time.monotonic() + timeout
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} events"
        found += [event for event in endpoint.poll(0.05) if isinstance(event, kind)]
    return found


def frames_of(event):
    return [bytes(frame) for frame in event.frames]


def message(*frames):
    return b"".join(seal(frames))


def reached(endpoint):
    return endpoint.url.address


def pair(endpoint, url=HERE, admitted=True):
    """Return both ends of an open connection, and the name that the client has."""
    server = endpoint(url)
    client = endpoint(reached(server))
    found = []
    while not found:
        server.poll(0.01)
        found = [event for event in client.poll(0.01) if isinstance(event, Connected)]
    client.send(b"server", [b"first"])
    (event,) = events(server, Received)
    if admitted:
        server.admit(event.peer)
        client.admit(b"server")
    return server, client, event.peer


# ---- messages --------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_frames_go_both_ways(endpoint, turning, until, host):
    server, client, peer = pair(endpoint, f"ws://{host}:0?listen")
    big = np.random.default_rng(0).bytes(3_000_001)
    arrived = turning(client)
    server.send(peer, [b"hello", big, b"", b"end"])
    until(lambda: server.poll(0) or arrived)
    assert frames_of(arrived[0]) == [b"hello", big, b"", b"end"]


def test_frames_of_who_connects_are_masked_and_arrive(endpoint, turning, until):
    server, client, _ = pair(endpoint)
    heard = turning(server)
    random = np.random.default_rng(0)
    sent = [[random.bytes(size), random.bytes(7 * size)] for size in (1, 50, 300, 9_000, 700_001)]
    for frames in sent:
        until(lambda frames=frames: client.send(b"server", frames) or client.poll(0))
    until(lambda: client.poll(0) or len(heard) == len(sent))
    assert [frames_of(event) for event in heard] == sent


def test_planes_are_not_copied_on_their_way_out(endpoint):
    server, _, peer = pair(endpoint)
    plane = bytearray(64 * 1024 * 1024)  # more than any socket takes
    delivery = server.send(peer, [b"header", plane])
    assert not delivery.done
    with pytest.raises(BufferError):
        plane.append(0)  # somebody still looks at it
    server.close()
    assert delivery.done
    plane.append(0)


def test_a_delivery_is_done_once_the_kernel_has_it(endpoint, turning, until):
    server, client, peer = pair(endpoint)
    delivery = server.send(peer, [b"header", bytes(64 * 1024 * 1024)])
    assert not delivery.done
    arrived = turning(client)
    until(lambda: server.poll(0) or delivery.done)
    until(lambda: arrived)


def test_what_a_reader_does_not_take_is_not_hoarded(endpoint):
    server, _, peer = pair(endpoint)
    plane = bytes(8 * 1024 * 1024)
    planes = [server.send(peer, [b"header", plane]) for _ in range(10)]
    assert 1 <= sum(delivery is not None for delivery in planes) <= 3
    small = [server.send(peer, [bytes(1000)]) for _ in range(5000)]
    assert small[0] is not None and not small[0].done  # behind the plane
    assert small[-1] is None
    assert sum(delivery is not None for delivery in small) < 1200


def test_fragments_and_pings_between_them(endpoint, raw, turning, until):
    server = endpoint(HERE)
    heard = turning(server)
    client = raw(reached(server))
    whole = message(b"header", bytes(range(200)))
    client.send([whole[:5], whole[5:9], b"", whole[9:100], whole[100:]])
    assert client.ping(b"there?").wait(10)
    until(lambda: heard)
    assert frames_of(heard[0]) == [b"header", bytes(range(200))]
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        shake_hands(sock)
        half = len(whole) // 2
        sock.sendall(frame(0x02, whole[:half]) + frame(0x89, b"ping") + frame(0x80, whole[half:]))
        assert sock.recv(100) == b"\x8a\x04ping"
        until(lambda: len(heard) == 2)
    assert frames_of(heard[1]) == frames_of(heard[0])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_bytes_that_trickle_in(endpoint, turning, until, size):
    server = endpoint(HERE)
    heard = turning(server)
    text = b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n"
    data = text + frame(0x82, message(b"header", b"plane"))
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), size):
            if at < len(text) <= at + size:  # a client has to wait for the answer
                sock.sendall(data[at : len(text)])
                assert sock.recv(4096).startswith(b"HTTP/1.1 101")
                sock.sendall(data[len(text) : at + size])
            else:
                sock.sendall(data[at : at + size])
        until(lambda: heard)
    assert frames_of(heard[0]) == [b"header", b"plane"]


def test_what_follows_the_handshake_without_a_pause_is_heard(endpoint):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = endpoint(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        client.poll(0.1)
        with listener.accept()[0] as sock:
            events_, request = [], b""
            while b"\r\n\r\n" not in request:
                client.poll(0.01)
                request += sock.recv(4096)
            sock.sendall(accept(request) + plain_frame(0x82, message(b"hi")))
            while len(events_) < 2:
                events_ += client.poll(0.05)
    assert events_[0] == Connected(b"server")
    assert frames_of(events_[1]) == [b"hi"]


# ---- raw bytes -------------------------------------------------------------------------

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def shake_hands(sock, more=b""):
    """Send a handshake; return the answer."""
    sock.settimeout(10)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + UPGRADE + more + b"\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = sock.recv(4096)
        if not part:
            break
        answer += part
    return answer


def accept(request):
    from websockets.utils import accept_key

    (line,) = [line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:")]
    key = accept_key(line.split(b": ")[1].decode())
    return (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {key}\r\n\r\n"
    ).encode()


def head(first, length, bit):
    if length < 126:
        return struct.pack("!BB", first, bit | length)
    if length < 65536:
        return struct.pack("!BBH", first, bit | 126, length)
    return struct.pack("!BBQ", first, bit | 127, length)


def frame(first, payload, key=b"\x01\x02\x03\x04"):
    masked = bytes(byte ^ key[n % 4] for n, byte in enumerate(payload))
    return head(first, len(payload), 0x80) + key + masked


def plain_frame(first, payload):
    return head(first, len(payload), 0) + payload


def close_code(sock):
    """Return the code of the close frame with which a connection ends."""
    data = b""
    while part := sock.recv(4096):
        data += part
    assert data[0] == 0x88, data[:20]
    return int.from_bytes(data[2:4], "big")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"junk" * 10, 1002),
        (plain_frame(0x82, message(b"not masked")), 1002),
        (frame(0xC2, message(b"compressed")), 1002),
        (frame(0x83, b"no such opcode"), 1002),
        (frame(0x80, b"a continuation of nothing"), 1002),
        (frame(0x02, message(b"a")) + frame(0x82, message(b"b")), 1002),
        (frame(0x09, b"a ping in fragments"), 1002),
        (frame(0x89, bytes(126)), 1002),
        (frame(0x81, b"text"), 1003),
        (frame(0x82, b""), 1007),
        (frame(0x82, b"short"), 1007),
        (frame(0x82, message(b"a")[:-1]), 1007),
        (frame(0x82, message(b"a") + b"more"), 1007),
        (frame(0x82, struct.pack("<Q", 0)), 1007),
        (frame(0x82, struct.pack("<Q", 262)), 1007),
        (frame(0x82, struct.pack("<2Q", 1, 2**63)), 1007),
        (frame(0x82, bytes(65537)), 1009),
        (head(0x82, 2**63 - 1, 0x80) + bytes(4), 1009),
        (frame(0x02, message(b"", b"", b"")) + frame(0x80, bytes(65530)), 1009),
        (frame(0x88, struct.pack("!H", 1000)), 1001),
        (frame(0x88, b""), 1001),
    ],
)
def test_what_is_no_message_closes_the_connection(endpoint, turning, until, data, code):
    server = endpoint(HERE)
    heard = turning(server)
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        assert shake_hands(sock).startswith(b"HTTP/1.1 101")
        sock.sendall(data)
        assert close_code(sock) == code
        until(lambda: [event for event in heard if isinstance(event, Lost)])
    assert not [event for event in heard if isinstance(event, Received)]


def test_what_came_before_the_junk_is_heard(endpoint, turning, until):
    server = endpoint(HERE)
    heard = turning(server)
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        shake_hands(sock)
        sock.sendall(frame(0x82, message(b"good")) + b"junk" * 10)
        until(lambda: len(heard) == 2)
    assert frames_of(heard[0]) == [b"good"]
    assert isinstance(heard[1], Lost)


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        (b"GET /stream HTTP/1.1", UPGRADE, b"404"),
        (b"GET /?token=secret HTTP/1.1", UPGRADE, b"404"),
        (b"GET / HTTP/1.1", UPGRADE.replace(b"13", b"8"), b"400"),
        (b"GET / HTTP/1.1", UPGRADE.replace(b"A==", b""), b"400"),
        (b"GET / HTTP/1.1", UPGRADE.replace(b"websocket", b"h2c"), b"426"),
        (b"POST / HTTP/1.1", UPGRADE, b"405"),
        (b"GET / HTTP/1.1", b"", b"426"),
        (b"GET /index.html HTTP/1.1", b"", b"404"),
        (b"POST / HTTP/1.1", b"", b"405"),
        (b"\x16\x03\x01 hello TLS", b"", b"400"),
        (b"GET / HTTP/1.1", b"no header\r\n", b"400"),
        (b"GET /" + bytes(10000).replace(b"\0", b"x") + b" HTTP/1.1", b"", b"4"),
    ],
)
def test_a_request_that_opens_nothing_is_told_why(endpoint, turning, request_line, more, status):
    server = endpoint(HERE)
    turning(server)
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        sock.settimeout(10)
        sock.sendall(request_line + b"\r\nHost: 127.0.0.1\r\n" + more + b"\r\n")
        answer = b""
        while part := sock.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"secret" not in answer


def test_who_goes_on_talking_hears_the_answer_all_the_same(endpoint, turning):
    server = endpoint(HERE)
    turning(server)
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        sock.settimeout(10)
        sock.sendall(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(200_000))
        answer = b""
        while part := sock.recv(4096):  # and no reset
            answer += part
    assert answer.startswith(b"HTTP/1.1 404")


def test_a_request_without_an_end_is_cut_off(endpoint, turning):
    server = endpoint(HERE)
    turning(server)
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        sock.settimeout(10)
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                sock.sendall(b"X" * 1000)
                time.sleep(0.001)


# ---- pages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin", "may"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", True),
        ("localhost:{port}", "http://localhost:{port}", True),
        ("[::1]:{port}", "http://[::1]:{port}", True),
        ("localhost:9999", "http://localhost:9999", True),  # through a tunnel
        ("127.0.0.1:{port}", None, True),
        ("evil.example.org:{port}", None, True),  # no browser
        ("127.0.0.1:{port}", "http://evil.example.org", False),
        ("127.0.0.1:{port}", "http://127.0.0.1:8888", False),
        ("127.0.0.1:{port}", "http://127.0.0.1", False),
        ("127.0.0.1:{port}", "http://localhost:{port}", False),
        ("127.0.0.1:{port}", "https://127.0.0.1:{port}", False),
        ("127.0.0.1:{port}", "null", False),
        ("127.0.0.1:{port}", "", False),
        # A name of a stranger's that leads here: his page is of the same origin as we are.
        ("evil.example.org:{port}", "http://evil.example.org:{port}", False),
        ("127.0.0.1.example.org:{port}", "http://127.0.0.1.example.org:{port}", False),
        ("[:{port}", "http://[:{port}", False),
    ],
)
def test_only_pages_of_this_server_may_connect(endpoint, turning, until, host, origin, may):
    server = endpoint(HERE)
    heard = turning(server)
    port = server.url.port
    lines = [f"Host: {host.format(port=port)}"]
    lines += [] if origin is None else [f"Origin: {origin.format(port=port)}"]
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(10)
        sock.sendall("\r\n".join(["GET / HTTP/1.1", *lines, ""]).encode() + UPGRADE + b"\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 101" if may else b"HTTP/1.1 403")
        if not may:
            until(lambda: heard)
            assert isinstance(heard[0], Refused) and "may not connect" in heard[0].reason


def test_a_browser_is_given_pages(endpoint, turning):
    asked = []

    def pages(path, headers):
        asked.append((path, headers["User-Agent"]))
        if path == "/":
            return HttpResponse(200, b"<p>hi</p>", {"Content-Type": "text/html"})
        return None

    server = endpoint(HERE, http=pages)
    heard = turning(server)

    def get(path, host="127.0.0.1"):
        with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: me\r\n\r\n"
            sock.sendall(request.encode())
            sock.settimeout(10)
            answer = b""
            while part := sock.recv(4096):
                answer += part
            return answer

    page = get("/")
    assert page.startswith(b"HTTP/1.1 200 OK\r\n") and page.endswith(b"\r\n\r\n<p>hi</p>")
    assert b"Content-Type: text/html\r\n" in page
    assert get("/other").startswith(b"HTTP/1.1 404")
    assert get("/", "evil.example.org").startswith(b"HTTP/1.1 426")
    assert asked == [("/", "me"), ("/other", "me")]
    for _ in range(ws_limits._MOST):  # pages are no failures
        assert get("/").startswith(b"HTTP/1.1 200")
    assert heard == []


# ---- strangers -------------------------------------------------------------------------


def test_who_says_nothing_is_left(endpoint, turning, monkeypatch, raw, until):
    monkeypatch.setattr(ws_connection, "_ADMISSION", 0.3)
    server = endpoint(HERE)
    turning(server)
    silent = socket.create_connection(("127.0.0.1", server.url.port))
    silent.settimeout(10)
    assert silent.recv(10) == b""
    silent.close()
    client = raw(reached(server))
    with pytest.raises(ConnectionClosed, match=r"1008.*no Hello in time"):
        client.recv(10)


def test_only_so_many_strangers_are_let_in(endpoint, turning, until, monkeypatch):
    monkeypatch.setattr(ws_connection, "_ADMISSION", 100.0)
    server = endpoint(HERE)
    turning(server)
    with contextlib.ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.url.port)))
            for _ in range(websocket._MAX_STRANGERS + 30)
        ]
        socks[0].settimeout(10)
        assert socks[0].recv(10) == b""  # the oldest goes
        assert shake_hands(socks[-1]).startswith(b"HTTP/1.1 101")
        until(lambda: len(server._connections) <= websocket._MAX_STRANGERS)


def test_who_fails_again_and_again_has_to_wait(endpoint, turning, until, monkeypatch):
    monkeypatch.setattr(ws_limits, "_FORGIVEN", 0.0)
    server, client, _ = pair(endpoint)
    heard = turning(server)
    refused = 0
    for _ in range(ws_limits._MOST + 20):
        with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
            try:
                refused += shake_hands(sock, b"Origin: http://evil\r\n").startswith(b"HTTP/1.1 403")
            except ConnectionError:
                break
    assert refused <= ws_limits._MOST
    client.send(b"server", [b"who is in stays in"])
    until(lambda: [event for event in heard if isinstance(event, Received)])


def test_failures_are_forgiven():
    failures = ws_limits.Failures()
    for _ in range(ws_limits._MOST):
        failures.add("a", 1.0)
    assert failures.is_too_many("a", 1.0) and not failures.is_too_many("b", 1.0)
    assert not failures.is_too_many("a", 1.2)
    for n in range(3000):
        failures.add(str(n), 2.0)
    assert len(failures._counts) <= 1024


def test_a_limit_holds_until_the_session_is_open(endpoint, turning, until):
    server, client, _ = pair(endpoint, admitted=False)
    heard = turning(server)
    client.send(b"server", [bytes(70_000)])
    told: list[object] = []
    until(lambda: told.extend(client.poll(0.01)) or (told and heard))
    assert isinstance(heard[0], Lost) and "at most 65536" in heard[0].reason


# ---- coming and going ------------------------------------------------------------------


def test_a_peer_that_goes_is_lost_after_its_last_words(endpoint):
    server, client, peer = pair(endpoint)
    for number in range(1000):
        server.send(peer, [b"%d" % number])
    server.close()
    seen = []
    while not any(isinstance(event, Lost) for event in seen):
        seen += events(client, Received | Lost)
    words = [frames_of(event)[0] for event in seen if isinstance(event, Received)]
    assert words == [b"%d" % number for number in range(1000)]
    assert seen[-1] == Lost(b"server", "the other side was closed")


def test_a_dismissed_peer_hears_what_was_sent_and_is_not_lost(endpoint):
    server, client, peer = pair(endpoint)
    server.send(peer, [b"last words"])
    server.dismiss(peer)
    assert server.send(peer, [b"more"]) is None
    heard = []
    while len(heard) < 2:
        heard += client.poll(0.01)
        assert server.poll(0.01) == []
    assert frames_of(heard[0]) == [b"last words"]
    assert isinstance(heard[1], Lost)
    until_gone = time.monotonic() + 10
    while server._connections:
        assert server.poll(0.01) == []
        assert time.monotonic() < until_gone


def test_a_lost_connection_is_only_made_anew_when_asked_for(endpoint):
    server, client, _ = pair(endpoint)
    server.close()
    events(client, Lost)
    assert client.send(b"server", [b"x"]) is None
    again = endpoint(reached(server) + "?listen")
    assert client.poll(0.3) == again.poll(0.1) == []
    client.reconnect(client.url)
    found = []
    while not found:
        again.poll(0.01)
        found = client.poll(0.01)
    assert found == [Connected(b"server")]


def test_a_peer_that_is_not_heard_of_is_lost(endpoint, monkeypatch):
    monkeypatch.setattr(ws_connection, "_SILENCE", 0.3)
    server, _, _ = pair(endpoint)
    (lost,) = events(server, Lost)
    assert "nothing was heard" in lost.reason
    assert server.poll(0) == []


def test_another_thread_wakes_a_poll_up(endpoint):
    client = endpoint("ws://127.0.0.1:9")
    client.poll(0)
    threading.Timer(0.05, client.wake).start()
    start = time.monotonic()
    while time.monotonic() - start < 0.04:
        client.poll(10)
    assert time.monotonic() - start < 5
    for _ in range(100_000):
        client.wake()  # never blocks
    client.close()
    client.wake()


def test_who_speaks_no_websocket_is_named(endpoint):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = endpoint(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        client.poll(0.1)
        with listener.accept()[0] as sock:
            sock.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")
            (refused,) = events(client, Refused)
    assert "does not speak WebSocket with us: HTTP/1.1 404 Not Found" in refused.reason


def test_an_answer_to_another_key_opens_nothing(endpoint):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = endpoint(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        client.poll(0.1)
        with listener.accept()[0] as sock:
            sock.sendall(accept(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"))
            (refused,) = events(client, Refused)
    assert "no valid WebSocket handshake" in refused.reason


# ---- addresses -------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken(endpoint, host):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressInUseError, match="close it, or use another port"):
            endpoint(f"ws://{host}:{port}?listen")


def test_an_address_that_is_not_here(endpoint):
    with pytest.raises(TransportError, match="cannot listen"):
        endpoint("ws://192.0.2.1:5555?listen&insecure")


@pytest.mark.parametrize("url", ["ws://0.0.0.0:0?listen", "ws://*:0?listen", "ws://gpu1:8765#s3"])
def test_nothing_goes_through_a_network_in_plain_text(endpoint, url):
    with pytest.raises(TransportError) as caught:
        endpoint(url)
    said = str(caught.value)
    assert "ssh -L" in said and "wss://" in said and "?insecure" in said
    assert "s3" not in said


def test_unless_somebody_says_so(endpoint):
    endpoint("ws://0.0.0.0:0?listen&insecure")


# ---- TLS -------------------------------------------------------------------------------


@pytest.fixture
def secure(certificate):
    return f"wss://127.0.0.1:0?listen&{'&'.join(certificate)}"


@pytest.mark.parametrize("how", ["insecure", "cert"])
def test_planes_go_through_tls(party, until, secure, certificate, how):
    viewer_side = certificate[0] if how == "cert" else how
    publisher = party(secure, "publish")
    viewer = party(f"{publisher.url}?{viewer_side}", "view")
    until(lambda: publisher.links and viewer.links)
    plane = np.random.default_rng(0).bytes(8_000_000)
    for number in range(5):
        item = Item(0, number, 1.0, {}, (Array("data", "|u1", (len(plane),)),))
        until(lambda item=item: publisher.say(item, plane))
    until(lambda: len(viewer.messages(Item)) == 5)
    assert all(buffers == [plane] for message, buffers in viewer.got if isinstance(message, Item))
    until(lambda: publisher.messages(Ack)[-1:] == [Ack(5, 0)])


def test_on_one_machine_the_certificate_is_found_like_the_token(party, until, secure):
    server = party(secure, "publish")
    client = party(server.url, "view")
    until(lambda: server.links and client.links)


def test_a_certificate_that_nobody_vouches_for_is_refused(endpoint, turning, secure):
    server = endpoint(secure)
    turning(server)
    client = endpoint(reached(server))
    (refused,) = events(client, Refused)
    assert "certificate" in refused.reason.lower()


def test_who_speaks_no_tls_disturbs_nobody(endpoint, turning, secure):
    server = endpoint(secure)
    turning(server)
    with socket.create_connection(("127.0.0.1", server.url.port)) as sock:
        sock.settimeout(10)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sock.recv(100):
                pass
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", server.url.port)) as sock,
        context.wrap_socket(sock) as secured,
    ):
        assert shake_hands(secured).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("wss://127.0.0.1:0?listen", "a certificate is needed"),
        ("wss://127.0.0.1:0?listen&cert=/nowhere.pem", "/nowhere.pem"),
        ("wss://127.0.0.1:1?cert=/nowhere.pem", "/nowhere.pem"),
    ],
)
def test_a_certificate_that_is_missing(endpoint, url, said):
    with pytest.raises(TransportError, match=said):
        endpoint(url)


# ---- with sessions ---------------------------------------------------------------------


def peer(role="view"):
    return Peer(role=role, program="p", software="s", host="h", pid=1, run="r", window=1 << 30)


def test_a_wrong_token_is_rejected_and_the_connection_closed(party, raw, until):
    server = party(HERE, "publish")
    client = raw(server.url)
    client.send(message(pack(Hello(peer(), "wrong"))))
    assert b"reject" in client.recv(10)
    with pytest.raises(ConnectionClosed, match="1008"):
        client.recv(10)
    assert server.refusals == ["wrong or missing token"] or "token" in server.refusals[0]


def test_a_foreign_page_is_refused_and_the_user_is_told(party, raw, until):
    server = party(HERE, "publish")
    with pytest.raises(InvalidStatus, match="403"):
        raw(server.url, origin="http://evil.example.org")
    until(lambda: server.refusals)
    assert "http://evil.example.org" in server.refusals[0]


def test_a_frozen_viewer_costs_the_others_nothing(publisher, receiver, remote, until):
    pub = publisher(HERE, memory=64 * 2**20)
    url = pub.urls[0]
    frozen = remote()
    frozen("from msgspec import structs")
    frozen("from napari_streaming.receive.receiver import Receiver")
    frozen("r = Receiver()")
    frozen("r._me = structs.replace(r._me, host='elsewhere')")  # so that planes come inline
    frozen(f"r.open({url!r})")
    until(lambda: pub.stats().sinks[0].viewers == 1)
    frozen.freeze()
    healthy = receiver(url)
    until(lambda: pub.stats().sinks[0].viewers == 2)
    plane = np.zeros((512, 512), "u2")
    slowest = 0.0
    for t in range(300):
        plane[:] = t
        start = time.perf_counter()
        pub.image("a", plane, at={"t": 0})
        slowest = max(slowest, time.perf_counter() - start)
        time.sleep(0.001)
    until(lambda: healthy.layers["a"].stats().received + healthy.layers["a"].stats().dropped == 300)
    assert slowest < 2
    frozen.thaw()
    frozen.until(
        "'a' in r.layers and r.layers['a'].stats().received + r.layers['a'].stats().dropped == 300"
    )


def test_a_publisher_that_is_killed_is_missed_at_once_and_found_again(remote, receiver, until):
    first = remote()
    first("import napari_streaming as ns, numpy as np")
    first("p = ns.Publisher('ws://127.0.0.1:0?listen')")
    url = first("p.urls[0]").partition("#")[0]
    view = receiver(url)
    first("p.image('a', np.ones((4, 4), 'u2'), at={'t': 0})")
    until(lambda: "a" in view.layers and view.layers["a"].stats().received == 1)
    first.kill()
    until(lambda: not view.sources[0].publishers, timeout=5)
    second = remote()
    second("import napari_streaming as ns, numpy as np")
    second(f"p = ns.Publisher('{url}?listen')")
    until(lambda: view.sources[0].publishers)


def test_viewers_that_come_and_go(publisher, receiver, until):
    pub = publisher(HERE)
    url = pub.urls[0]
    stop = threading.Event()

    def publish():
        t = 0
        while not stop.is_set():
            pub.image("a", np.full((64, 64), t, "u2"), at={"t": t % 50})
            t += 1
            time.sleep(0.002)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        staying = [receiver(url, budget=2**24) for _ in range(10)]
        for _ in range(5):
            churning = [receiver(url, budget=2**24) for _ in range(10)]
            until(lambda churning=churning: all("a" in view.layers for view in churning))
            for view in churning:
                view.close()
        until(lambda: pub.stats().sinks[0].viewers == 10)
        before = [view.layers["a"].stats().received for view in staying]
        until(
            lambda: all(
                view.layers["a"].stats().received > n
                for view, n in zip(staying, before, strict=True)
            )
        )
    finally:
        stop.set()
        thread.join()
    assert pub.stats().sinks[0].viewers == 10


@pytest.mark.skipif(os.name != "posix", reason="memory of another process")
def test_on_one_machine_pixels_go_through_shared_memory(publisher, remote, until):
    pub = publisher(HERE)
    url = pub.urls[0]
    other = remote()
    other("from napari_streaming.receive.receiver import Receiver")
    other(f"r = Receiver({url!r})")
    until(lambda: pub.stats().sinks[0].viewers == 1)
    plane = np.random.default_rng(0).integers(0, 60_000, (300, 400), "u2")
    pub.image("a", plane, at={"t": 0})
    assert pub.flush(10)
    other.until("'a' in r.layers and r.layers['a'].stats().received == 1")
    other("(source,) = r._sources.values()")
    assert other("[list(p.segments) for p in source._publishers.values()]") == [
        [pub._engine.segment.segment]
    ]


def test_a_frozen_process_is_lost_and_comes_back(remote, party, until, monkeypatch):
    monkeypatch.setattr(ws_connection, "_SILENCE", 2.5)
    server = party(HERE, "publish")
    other = remote()
    other("from napari_streaming.receive.receiver import Receiver")
    other(f"r = Receiver({server.url!r})")
    until(lambda: server.links)
    other.freeze()
    until(lambda: server.lost_because)
    assert "nothing was heard" in server.lost_because[0]
    os.kill(other.pid, signal.SIGCONT)
    until(lambda: server.links)
    server.say(Status("info", "back", 1.0))
