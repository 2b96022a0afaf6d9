from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
import zmq

from napari_streaming.errors import AddressInUseError, StateError, TransportError
from napari_streaming.transport import runtime
from napari_streaming.transport.memory import MemoryEndpoint
from napari_streaming.uri import parse_url
from napari_streaming.wire.codec import MAX_HEADER, VERSION, pack, unpack
from napari_streaming.wire.messages import (
    Ack,
    Array,
    Declare,
    Hello,
    Item,
    Peer,
    Reject,
    Status,
    Welcome,
)

URLS = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0?curve", "ws://127.0.0.1:0", "ipc://a", "memory://a"]
WITH_PORT = ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"]


def listening(url):
    return url + ("&listen" if "?" in url else "?listen")


def some_peer(role="publish", **changes):
    return Peer(role=role, program="p", software="s", host="h", pid=1, run="r", **changes)


def token_of(party):
    return party.channel.url.token


@pytest.fixture
def raw():
    """A plain DEALER, connected to a party."""
    context, made = zmq.Context(), []

    def make(party):
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.rcvtimeo = 10_000
        dealer.connect(party.url)
        made.append(dealer)
        return dealer

    yield make
    for one in made:
        one.close()
    context.term()


def hear(dealer, kind):
    while True:
        message, _ = unpack(dealer.recv_multipart())
        if isinstance(message, kind):
            return message


# ---- the handshake ---------------------------------------------------------------------


@pytest.mark.parametrize("listener", ["publish", "view"])
@pytest.mark.parametrize("url", URLS)
def test_either_side_listens(party, until, url, listener):
    connector = "view" if listener == "publish" else "publish"
    one = party(listening(url), listener)
    other = party(one.url, connector)
    until(lambda: one.links and other.links)
    assert (one.links[0].peer.role, other.links[0].peer.role) == (connector, listener)
    assert one.links[0].is_local
    publisher, viewer = (one, other) if listener == "publish" else (other, one)
    plane = np.arange(100_000, dtype="<u2").tobytes()
    publisher.say(Status("info", "hi", 1.0))
    publisher.say(Item(0, 0, 1.0, {}, (Array("data", "<u2", (100, 1000)),)), plane)
    until(lambda: len(viewer.got) == 2)
    assert viewer.got[0][0] == Status("info", "hi", 1.0)
    assert viewer.got[1][1] == [plane]
    until(lambda: publisher.messages(Ack)[-1:] == [Ack(1, 1)])
    assert not one.refusals and not other.refusals


def test_a_memory_stream_needs_no_token(party, until):
    one = party("memory://a?listen", "view")
    other = party("memory://a", "publish")
    until(lambda: one.links and other.links)


@pytest.mark.parametrize("url", [*WITH_PORT, "ipc://a", "memory://a"])
def test_the_wrong_token_opens_nothing(party, until, url):
    server = party(listening(url) + "#right", "view")
    client = party(server.url + "#wrong", "publish")
    until(lambda: server.refusals and client.refusals)
    assert "token" in client.refusals[0]
    assert "right" not in "".join(client.refusals + server.refusals)
    assert not server.links and not client.links
    assert len(server.refusals) <= len(client.refusals) + 1


@pytest.mark.parametrize("url", WITH_PORT)
def test_a_refused_side_tries_again_but_not_wildly(party, until, url):
    server = party(listening(url), "view")
    client = party(server.url + "#wrong", "publish")
    until(lambda: len(client.refusals) >= 3)
    time.sleep(0.5)
    assert len(client.refusals) < 8


@pytest.mark.parametrize("url", WITH_PORT)
def test_two_of_the_same_role_are_refused(party, until, url):
    server = party(listening(url), "publish")
    client = party(server.url, "publish")
    until(lambda: client.refusals)
    assert "a publisher needs a viewer" in client.refusals[0]


def test_it_connects_before_anybody_listens(party, until):
    client = party("ipc://later", "publish")
    server = party("ipc://later?listen", "view")
    until(lambda: server.links and client.links)


def test_who_connects_between_bind_and_listing_is_not_refused(party, until, monkeypatch):
    announce = runtime.announce

    def late(*what):
        time.sleep(0.3)
        return announce(*what)

    client = party("ipc://late", "publish")
    monkeypatch.setattr(runtime, "announce", late)
    server = party("ipc://late?listen", "view")
    until(lambda: client.links and server.links)
    assert not server.refusals and not client.refusals


def test_who_has_no_token_for_the_end_of_a_tunnel_is_told_so(party, until):
    server = party("ipc://here?listen", "view")
    (listing,) = runtime.runtime_folder().glob("*.json")
    listing.unlink()
    client = party("ipc://here", "publish")
    until(lambda: client.refusals)
    assert "paste the whole URL" in client.refusals[0]
    assert not server.refusals


# ---- junk ------------------------------------------------------------------------------

ITEM = pack(Item(0, 0, 0.0, {}, (Array("data", "|u1", (1,)),)))
HELLO = pack(Hello(some_peer(), "wrong"))


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"junk"], "malformed"),
        ([b""], "malformed"),
        ([b"NPST"], "version"),
        ([pack(Status("info", "", 0.0))[:4] + (VERSION + 1).to_bytes(2, "little")], "version"),
        ([pack(Status("info", "", 0.0)) + bytes(MAX_HEADER)], "malformed"),
        ([HELLO, b"surplus"], "malformed"),
        ([ITEM, b"x"], "state"),
        ([pack(Welcome(some_peer()))], "state"),
        ([HELLO], "token"),
        ([b"", HELLO], "malformed"),
    ],
)
def test_junk_is_rejected_and_nobody_else_is_disturbed(party, until, raw, frames, code):
    server = party("tcp://127.0.0.1:0?listen", "view")
    client = party(server.url, "publish")
    until(lambda: server.links)
    dealer = raw(server)
    for _ in range(3):
        dealer.send_multipart(frames)
    assert hear(dealer, Reject).code == code
    client.say(Status("info", "still here", 1.0))
    until(lambda: server.got)
    assert len(server.refusals) == 1
    assert not server.lost_because


@pytest.mark.parametrize("url", WITH_PORT)
@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", bytes(4096), b"\xff" * 10 + b"\x7f" + bytes(100), b""]
)
def test_somebody_who_speaks_another_language_disturbs_nobody(party, until, data, url):
    server = party(listening(url), "view")
    with socket.create_connection(("127.0.0.1", server.channel.url.port)) as other:
        other.sendall(data)
        client = party(server.url, "publish")
        until(lambda: server.links and client.links)
        client.say(Status("info", "here", 1.0))
        until(lambda: server.got)


def test_junk_on_an_open_session_closes_it_alone(party, until, raw):
    server = party("tcp://127.0.0.1:0?listen", "view")
    good = party(server.url, "publish")
    until(lambda: good.links)
    bad = raw(server)
    bad.send(pack(Hello(some_peer(), token_of(server))))
    hear(bad, Welcome)
    until(lambda: len(server.links) == 2)
    bad.send(b"junk")
    assert hear(bad, Reject).code == "malformed"
    until(lambda: len(server.links) == 1)
    bad.send_multipart([ITEM, b"x"])
    good.say(Status("info", "still here", 1.0))
    until(lambda: server.got)
    assert not server.messages(Item)


@pytest.mark.parametrize("url", WITH_PORT)
def test_what_a_role_may_not_say_closes_the_session_and_it_opens_again(party, until, url):
    server = party(listening(url), "view")
    client = party(server.url, "publish")
    until(lambda: client.links)
    client.say(Ack(1, 1))
    until(lambda: server.lost_because and client.lost_because)
    assert "role" in server.lost_because[0] and "role" in client.lost_because[0]
    until(lambda: server.links and client.links)


def test_thousands_of_strangers_are_forgotten(party, until):
    server = party("tcp://127.0.0.1:0?listen", "view")
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2000)
    dealers = []
    for _ in range(400):
        dealers.append(context.socket(zmq.DEALER))
        dealers[-1].connect(server.url)
        dealers[-1].send(b"junk")
    until(lambda: len(server.refusals) == 400)
    assert server.do(lambda: len(server.channel._sessions)) <= 257
    assert server.do(lambda: len(server.channel._rejected)) <= 257
    context.destroy(linger=0)


# ---- addresses -------------------------------------------------------------------------


@pytest.mark.parametrize("url", [*WITH_PORT, "ipc://a"])
def test_a_second_listener_is_told_what_to_do(party, url):
    first = party(listening(url), "publish")
    with pytest.raises(AddressInUseError, match=r"process \d+.*use another port or name"):
        party(listening(first.url), "publish")
    first.close()
    party(listening(first.url), "publish")


def test_two_listeners_of_two_processes(party, remote, until):
    other = remote()
    other("import napari_streaming as ns")
    other("p = ns.Publisher('ipc://a?listen')")
    with pytest.raises(AddressInUseError, match=f"process {other.pid}"):
        party("ipc://a?listen", "publish")
    other.kill()
    party("ipc://a?listen", "publish")


def test_a_memory_name_is_taken_once(party):
    party("memory://a?listen", "view")
    with pytest.raises(AddressInUseError):
        party("memory://a?listen", "view")


def test_another_machine_needs_a_token(party):
    with pytest.raises(TransportError, match="paste the whole URL"):
        party("tcp://192.0.2.1:5555", "publish")


def test_the_token_is_in_no_message_about_the_address(party):
    party("ipc://a?listen#topsecret", "view")
    for call in (
        lambda: party("ipc://a?listen#topsecret", "view"),
        lambda: party("tcp://192.0.2.1:5555?listen#topsecret", "view"),
    ):
        with pytest.raises(TransportError) as caught:
            call()
        assert "topsecret" not in str(caught.value)


def test_nothing_is_left_when_a_listener_closes(party):
    one = party("ipc://a?listen", "view")
    assert runtime.find_listing(parse_url("ipc://a"))
    one.close()
    assert not list(runtime.runtime_folder().iterdir())


# ---- encryption ------------------------------------------------------------------------


def test_an_encrypting_listener_hears_nobody_without_its_token(party, until, raw):
    server = party("tcp://127.0.0.1:0?listen&curve", "view")
    wrong = party(server.url + "?curve#wrong", "publish")
    plain = raw(server)
    plain.send(pack(Hello(some_peer(), token_of(server))))
    right = party(server.url, "publish")
    until(lambda: right.links)
    right.say(Status("info", "here", 1.0))
    until(lambda: server.got)
    assert len(server.links) == 1
    assert not server.refusals and not wrong.links
    with pytest.raises(zmq.Again):
        plain.recv(zmq.NOBLOCK)


def test_who_cannot_encrypt_tries_again_but_not_wildly(party, monkeypatch):
    server = party("tcp://127.0.0.1:0?listen&curve", "view")
    wrong = party(server.url + "?curve#wrong", "publish")
    tries = []
    reconnect = wrong.channel.endpoint.reconnect
    monkeypatch.setattr(
        wrong.channel.endpoint, "reconnect", lambda url: (tries.append(url), reconnect(url))
    )
    time.sleep(1.5)
    assert len(tries) <= 6


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_a_port_that_hangs_up_is_not_called_wildly(party, scheme):
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        party(f"{scheme}://127.0.0.1:{server.getsockname()[1]}", "publish")
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                accepted.append(server.accept()[0])
            except TimeoutError:
                continue
            accepted[-1].close()
    assert 2 <= len(accepted) <= 8


# ---- coming back -----------------------------------------------------------------------


@pytest.mark.parametrize("url", URLS)
def test_a_listener_that_restarts_with_another_token_is_found_again(party, until, url):
    first = party(listening(url), "view")
    client = party(first.url, "publish")
    until(lambda: client.links)
    first.close()
    until(lambda: client.lost_because)
    second = party(listening(first.url + ("?curve" if "curve" in url else "")), "view")
    assert url.startswith("memory") or token_of(first) != token_of(second)
    until(lambda: client.links and second.links)
    client.say(Status("info", "back", 1.0))
    until(lambda: second.got)
    assert not second.refusals


@pytest.mark.parametrize("url", [*WITH_PORT, "ipc://a"])
def test_a_connecting_side_that_dies_is_noticed_without_a_word(party, until, url):
    server = party(listening(url), "view")
    client = party(server.url, "publish")
    until(lambda: server.links)
    client.close()
    until(lambda: server.lost_because, timeout=5)


# Only ZeroMQ tells when what was sent has left: a WebSocket that closes drops what it has not.
@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "ipc://a"])
def test_what_a_peer_said_before_it_died_is_heard(party, until, url):
    """Also where an answer shows that it died before all of it was read."""
    server = party(listening(url), "view", ack=True)
    client = party(server.url, "publish")
    until(lambda: server.links and client.links)
    hold = threading.Event()
    server.on_received = lambda link, message: hold.wait(10)
    (link,) = client.links
    # What is long is tracked: once it is on its way, all before it is.
    words = [*map(str, range(500)), "x" * 65536]
    deliveries = client.do(lambda: [link.send(Status("info", word, 1.0)) for word in words])
    until(lambda: server.got and deliveries[-1].done)
    client.close()
    hold.set()
    until(lambda: server.lost_because)
    assert [status.text for status in server.messages(Status)] == words
    assert not server.refusals


@pytest.mark.parametrize("url", WITH_PORT)
def test_a_link_that_the_handler_refuses_is_told_why(party, until, url):
    server = party(listening(url), "view")

    def refuse(link, message):
        raise StateError("not like this")

    server.on_received = refuse
    client = party(server.url, "publish")
    client.say(Status("info", "hi", 1.0))
    until(lambda: client.lost_because)
    assert "not like this" in client.lost_because[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_handler_says_so_instead_of_looking_alive(party, until):
    server = party("ipc://a?listen", "view")

    def break_down(link, message):
        raise ZeroDivisionError("a bug")

    server.on_received = break_down
    client = party("ipc://a", "publish")
    client.say(Status("info", "hi", 1.0))
    until(lambda: server.lost_because)
    assert "a bug" in server.lost_because[0] and "a bug" in server.refusals[-1]
    until(lambda: client.lost_because)
    assert runtime.find_listing(parse_url("ipc://a")) is None


# ---- closing ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", [*WITH_PORT, "memory://a"])
def test_it_closes_while_the_other_side_floods(party, until, url):
    server = party(listening(url), "view", ack=False)
    client = party(server.url, "publish")
    until(lambda: client.links)
    stop = threading.Event()

    def flood():
        link = client.links[0]
        while not stop.is_set() and client.links:
            try:
                link.send(Status("info", "x" * 1000, 1.0))
            except ConnectionError:
                return

    thread = threading.Thread(target=client.do, args=(flood,))
    thread.start()
    until(lambda: len(server.got) > 100)
    start = time.monotonic()
    server.close()
    took = time.monotonic() - start
    stop.set()
    thread.join()
    assert took < 5
    assert not server.channel._thread.is_alive()


def test_one_poll_of_the_memory_transport_ends_whatever_comes():
    url = parse_url("memory://flood?listen")
    server, client = MemoryEndpoint(url), MemoryEndpoint(parse_url("memory://flood"))
    server.open()
    client.open()
    for _ in range(1000):
        client.send(b"server", [b"x"])
    polls = [server.poll(0) for _ in range(100)]
    assert 0 < len(polls[0]) < 1000
    assert sum(map(len, polls)) == 1000
    client.close()
    server.close()


def test_closing_twice_and_before_anybody_came(party):
    one = party("tcp://127.0.0.1:0?listen", "view")
    one.close()
    one.close()
    one.channel.wake()


def test_declare_is_only_for_viewers(party, until):
    server = party("memory://a?listen", "publish")
    client = party("memory://a", "view")
    until(lambda: client.links)
    client.say(
        Declare(stream=0, name="a", kind="image", dtype="|u1", shape=(2, 2), axes=("y", "x"))
    )
    until(lambda: server.lost_because)
    assert "role" in server.lost_because[0]
