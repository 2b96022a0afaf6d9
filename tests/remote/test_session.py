"""Servers and clients of a session over real sockets."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import CancelledError

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from napari_streaming.errors import AddressInUseError, ClosedError, TransportError
from napari_streaming.remote.server import door, roster
from napari_streaming.remote.server import server as server_module
from napari_streaming.remote.server.server import SessionServer
from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire

TOKEN, WRONG = "the-token", "wrong"


def move(x, **fields):
    return lambda i: wire.Pointer(id=i, kind="move", x=x, y=0, **fields)


# ---- what a session is for


def test_a_client_gets_the_scene_steers_it_and_sees_it(stage, watcher, until):
    one = watcher(name="ada", width=800, height=600)
    (snapshot,) = one.snapshots
    assert snapshot.layers[0].attributes == {"opacity": 1.0}
    assert one.states == ["connecting", "connected"]
    assert (one.controller.client, one.controller.name) == (one.client.number, "ada")
    intent = one.client.send_intent("layer", {"opacity": 0.75}, layer=1)
    (accepted,) = until(lambda: one.messages(wire.Accepted))
    assert accepted == wire.Accepted(intent, {"opacity": 0.5})
    assert one.messages(wire.LayerChanged) == [wire.LayerChanged(1, {"opacity": 0.5})]
    stage.show(one.client.number, sequence=7, intent=intent)
    ((header, nbytes),) = until(lambda: one.frames)
    assert (header.sequence, header.intent, nbytes) == (7, intent, 1000)
    assert header.sent > 0
    until(lambda: stage.named("credit"))
    assert stage.pacings[one.client.number].under_way == 0
    assert len(stage.threads) == 1


def test_a_wish_that_cannot_be_is_rejected_and_the_session_goes_on(watcher, until):
    one = watcher()
    intent = one.client.send_intent("layer", {"opacity": 1.0}, layer=9)
    (rejected,) = until(lambda: one.messages(wire.Rejected))
    assert rejected == wire.Rejected(intent, "no such layer or attribute")
    one.client.send_intent("layer", {"opacity": 0.1}, layer=1)
    until(lambda: one.messages(wire.Accepted))


def test_inputs_arrive_in_order_and_have_ids_that_grow(stage, watcher, until):
    one = watcher(width=100, height=50)
    ids = [one.client.send_input(lambda i: wire.Key(id=i, kind="press", key="A"))]
    ids.append(one.client.send_input(lambda i: wire.Wheel(id=i, x=1, y=2, dy=1)))
    ids.append(one.client.resize(300, 200, 2.0))
    until(lambda: len(stage.named("input")) == 4)
    first, *others = [message for _, message in stage.named("input")]
    assert (first.width, first.height) == (100, 50)  # who steers has its size from the start
    assert [message.id for message in others] == ids == sorted(ids)
    assert others[-1] == wire.Resize(ids[-1], 300, 200, 2.0)


def test_moves_do_not_pile_up_behind_a_stage_that_is_busy(stage, watcher, until, in_thread):
    one = watcher()
    until(lambda: stage.named("input"))
    go_on = threading.Event()
    stage.post(go_on.wait)
    for x in range(500):
        one.client.send_input(move(x))
    one.client.send_input(lambda i: wire.Pointer(id=i, kind="press", x=0, y=0, button=1))
    reply = one.client.command("list")
    until(lambda: one.client.round_trip < 10)
    go_on.set()
    assert reply.result(10).data == b"picture"
    seen = [message for _, message in stage.named("input") if isinstance(message, wire.Pointer)]
    assert [m.kind for m in seen][-1] == "press"
    assert seen[-2].x == 499
    assert len(seen) < 400


def test_commands_are_answered(stage, watcher):
    one = watcher()
    reply = one.client.command("screenshot", scale=2).result(10)
    assert (reply.values, reply.data, reply.error) == ({"scale": 2}, b"picture", "")


def test_quality_reaches_stage_and_pacing(stage, watcher, until):
    one = watcher()
    until(lambda: one.client.number in stage.pacings)
    wish = wire.Quality(chroma="444", bitrate=1_000_000, fps=30)
    one.client.want(wish)
    assert until(lambda: stage.named("quality")) == [(one.client.number, wish)]
    assert stage.pacings[one.client.number].bitrate(0.0) == 1e6
    assert stage.pacings[one.client.number].fps == 30


def test_a_keyframe_can_be_asked_for(stage, watcher, until):
    one = watcher()
    one.client.need_keyframe()
    assert until(lambda: stage.named("keyframe")) == [(one.client.number,)]


def test_clocks_are_compared(watcher, until):
    one = watcher()
    until(lambda: one.client.round_trip < 10)
    assert abs(one.client.clock_offset) <= one.client.round_trip  # it is the same clock


def test_numbers_come_each_second(server, watcher, until):
    server.describe("x264", 3.0, 5.0)
    one = watcher()
    stats = until(lambda: one.messages(wire.Stats))[0]
    assert (stats.encoder, stats.render_ms, stats.encode_ms, stats.clients) == ("x264", 3, 5, 1)


# ---- who steers


def test_the_second_client_looks_on_until_it_is_given_control(stage, watcher, until):
    first, second = watcher(name="ada"), watcher(name="bob")
    assert second.controller.name == "ada"
    intent = second.client.send_intent("layer", {"opacity": 0.2}, layer=1)
    (rejected,) = until(lambda: second.messages(wire.Rejected))
    assert rejected == wire.Rejected(intent, "ada steers this session")
    assert "ada" in second.client.command("reorder").result(10).error
    assert second.client.command("screenshot").result(10).error == ""
    second.client.take_control()
    until(lambda: first.controller.asking_name == "bob")
    first.client.give_control(first.controller.asking)
    until(lambda: first.controller.name == second.controller.name == "bob")
    assert first.controller.asking == 0
    second.client.send_intent("layer", {"opacity": 0.2}, layer=1)
    until(lambda: first.messages(wire.LayerChanged))
    assert [client for client, _ in stage.named("intent")] == [second.client.number]


def test_all_pictures_take_the_size_of_who_steers_newly(stage, watcher, until):
    first, second = watcher(width=100), watcher(width=200)
    second.client.resize(333, 222)
    first.client.give_control(second.client.number)
    # Its size of before comes between, if that was told after control was given.
    until(lambda: stage.named("input") and stage.named("input")[-1][1].width == 333)
    assert next(message.width for _, message in stage.named("input")) == 100


def test_a_controller_may_decline(watcher, until):
    first, second = watcher(), watcher()
    second.client.take_control()
    until(lambda: first.controller.asking == second.client.number)
    first.client.give_control(0)
    until(lambda: second.controller.asking == 0)
    assert second.controller.client == first.client.number


def test_a_controller_that_does_not_answer_loses_control(monkeypatch, watcher, until):
    monkeypatch.setattr(roster, "ANSWER_WITHIN", 0.0)
    _, second = watcher(), watcher()
    second.client.take_control()
    until(lambda: second.controller.client == second.client.number)


def test_who_leaves_lets_go(stage, watcher, until):
    first, second = watcher(), watcher()
    until(lambda: len(stage.pacings) == 2)
    first.client.close()
    until(lambda: second.controller.client == 0)
    second.client.take_control()
    until(lambda: second.controller.client == second.client.number)
    assert list(stage.pacings) == [second.client.number]


def test_a_view_token_never_steers(watcher, viewer_token, until):
    one = watcher(token=viewer_token)
    assert one.controller.client == 0
    one.client.take_control()
    (notice,) = until(lambda: one.messages(wire.Notice))
    assert "look on" in notice.text
    other = watcher()
    other.client.give_control(one.client.number)
    until(lambda: other.messages(wire.Notice))
    assert other.controller.client == other.client.number


# ---- who may not come in


def test_a_wrong_token_is_refused_and_not_tried_again(watcher, until):
    one = watcher(token=WRONG, wait=False)
    until(lambda: one.state.startswith("refused"))
    assert one.states == ["connecting", "refused: wrong or missing token"]
    assert one.client.send_intent("dims", {"ndisplay": 3}) == 0
    with pytest.raises(ClosedError):
        one.client.command("list").result(10)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (wire.Hello(token=WRONG), "token"),
        (b"\x00" * 100, "malformed"),
        (b"", "malformed"),
        ("text", "malformed"),
        (wire.SESSION_MAGIC + b"\x02\x00\x80", "version"),
        (wire.SESSION_MAGIC + b"\x01\x00\xc1", "malformed"),
        (wire.SESSION_MAGIC + b"\x01\x00" + b"\x91" * 10_000, "malformed"),
        (wire.pack(wire.Hello(token=WRONG))[:-3], "malformed"),
        (wire.Ping(1.0), "state"),
        (wire.Intent(1, "dims", {}), "state"),
    ],
)
def test_strangers_are_told_what_they_do_wrong(stranger, watcher, said, code):
    one = stranger()
    one.say(said)
    assert one.hear().code == code
    with pytest.raises(ConnectionClosed):
        one.hear()
    assert watcher().state == "connected"


@pytest.mark.parametrize("said", [wire.Attach("x"), wire.Attach(""), wire.Shown(1), b"junk"])
def test_pixels_need_a_session(stranger, said):
    one = stranger("pixels")
    one.say(said)
    assert one.hear().code in ("state", "malformed")


def test_pages_of_browsers_are_refused(stranger):
    with pytest.raises(InvalidStatus) as refused:
        stranger(origin="http://127.0.0.1")
    assert refused.value.response.status_code == 403


def test_there_is_nothing_else(stranger):
    for path in ("", "state?token=x", "admin"):
        with pytest.raises(InvalidStatus) as refused:
            stranger(path)
        assert refused.value.response.status_code == 404


def test_who_says_nothing_is_sent_away(monkeypatch, stranger):
    monkeypatch.setattr(door, "HELLO_WITHIN", 0.05)
    rejected = stranger().hear()
    assert (rejected.code, rejected.reason) == ("state", "no Hello in time")


def test_a_message_that_is_too_big_ends_the_connection(stranger):
    one = stranger()
    one.greet()
    with pytest.raises(ConnectionClosed) as closed:
        one.say(b"x" * (wire.MAX_TO_SERVER + 1))
        one.hear_of(wire.Reject)
    assert closed.value.rcvd.code == 1009


def test_too_many_failures_have_to_wait(stranger):
    with pytest.raises(InvalidStatus) as refused:
        for _ in range(500):
            one = stranger()
            one.say(b"junk")
            one.hear()
    assert refused.value.response.status_code == 429


def test_there_is_an_end_to_the_number_of_clients(stranger):
    for _ in range(roster.MOST_CLIENTS):
        stranger().greet()
    one = stranger()
    one.say(wire.Hello(token=TOKEN))
    assert one.hear().code == "full"


@pytest.mark.parametrize(
    "said",
    [
        wire.Hello(token=TOKEN),
        wire.Intent((1 << 32) + 0, "dims", {"ndisplay": 3}),
        wire.Intent((2 << 32) + 1, "dims", {"ndisplay": 3}),
        wire.SESSION_MAGIC + b"\x01\x00" + msgspec.msgpack.encode({"type": "welcome"}),
        wire.SESSION_MAGIC + b"\x01\x00" + msgspec.msgpack.encode({"type": "other"}),
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_and_dropped(stage, stranger, watcher, said):
    one = stranger()
    assert one.greet().client == 1
    one.say(said)
    assert one.hear_of(wire.Reject).code in ("state", "malformed")
    assert not stage.named("intent")
    assert watcher().state == "connected"


def test_a_frame_that_was_never_sent_cannot_be_shown(stage, stranger):
    state, pixels = stranger(), stranger("pixels")
    pixels.say(wire.Attach(state.greet().session))
    pixels.say(wire.Shown(3))
    assert state.hear_of(wire.Reject).code == "state"


def test_a_session_does_not_leave_the_machine_unencrypted(stage, watcher):
    with pytest.raises(TransportError, match="ssh -L"):
        SessionServer(parse_session_url("ws://0.0.0.0:8766", listen=True), "t", stage)
    with pytest.raises(TransportError, match="ssh -L"):
        watcher(url=parse_session_url("ws://192.0.2.1:8766/session#t"))
    with pytest.raises(TransportError, match="certificate"):
        SessionServer(parse_session_url("wss://0.0.0.0:8766", listen=True), "t", stage)


def test_sessions_go_through_tls(stage, watcher, until, certificate):
    where = f"wss://127.0.0.1:0?{'&'.join(certificate)}"
    server = stage.server = SessionServer(parse_session_url(where, listen=True), TOKEN, stage)
    server.start()
    try:
        address = f"wss://127.0.0.1:{server.url.port}/session"
        one = watcher(url=parse_session_url(f"{address}?{certificate[0]}#{TOKEN}"))
        until(lambda: stage.pacings)
        stage.show(one.client.number, sequence=1)
        until(lambda: one.frames)
        other = watcher(url=parse_session_url(f"{address}#{TOKEN}"), wait=False)
        until(lambda: other.state.startswith("refused"))
        assert "certificate" in other.state
    finally:
        server.close()


def test_a_port_that_is_taken_is_said_so(server, stage):
    url = parse_session_url(f"ws://127.0.0.1:{server.url.port}", listen=True)
    with pytest.raises(AddressInUseError):
        SessionServer(url, "t", stage).start()


# ---- when things break


def test_a_broken_connection_is_resumed_with_the_same_role(stage, watcher, until):
    one = watcher(name="ada")
    until(lambda: stage.pacings)
    one.client._loop.call_soon_threadsafe(lambda: one.client._pixels.abort())
    until(lambda: len(one.snapshots) == 2 and stage.pacings)
    assert one.states[2].startswith("lost: ")
    assert one.states[3:] == ["connecting", "connected"]
    until(lambda: one.controller.client == 1 == one.client.number)
    assert one.client.send_intent("layer", {"opacity": 0.2}, layer=1) >> 32 == 1
    until(lambda: one.messages(wire.Accepted))
    one.client.shown(500)  # of the old connection
    stage.show(1, sequence=100)
    until(lambda: stage.named("credit"))
    one.client.send_intent("layer", {"opacity": 0.2}, layer=1)
    until(lambda: len(one.messages(wire.Accepted)) == 2)
    assert one.state == "connected"


def test_when_pictures_break_the_state_is_closed_too(stage, stranger, until):
    state, pixels = stranger(), stranger("pixels")
    session = state.greet().session
    pixels.say(wire.Attach(session))
    until(lambda: stage.pacings)
    pixels.socket.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ConnectionClosed):
        state.hear_of(wire.Reject)
    assert stranger().greet(resume=session).resumed


def test_a_client_may_come_back_before_the_server_knows_it_was_gone(stage, stranger, until):
    first = stranger()
    session = first.greet().session
    second = stranger()
    welcome = second.greet(resume=session)
    assert (welcome.resumed, welcome.client, welcome.role) == (True, 1, "control")
    with pytest.raises(ConnectionClosed):
        first.hear_of(wire.Reject)


def test_who_does_not_come_back_is_forgotten(monkeypatch, stage, stranger, watcher, until):
    one = stranger()
    session = one.greet(name="ada").session
    monkeypatch.setattr(roster, "KEPT_FOR", 0.0)
    one.socket.socket.shutdown(socket.SHUT_RDWR)
    other = watcher(name="bob")
    until(lambda: other.controller.client == 0)
    again = stranger().greet(resume=session)
    assert (again.resumed, again.client) == (False, 3)


def test_a_view_token_resumes_no_one_who_steers(stranger, viewer_token):
    session = stranger().greet().session
    welcome = stranger().greet(resume=session, token=viewer_token)
    assert (welcome.resumed, welcome.role) == (False, "view")


def test_a_server_that_is_not_there_is_waited_for(watcher, until):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = parse_session_url(f"ws://127.0.0.1:{taken.getsockname()[1]}/session#t")
        one = watcher(url=url, wait=False)
        until(lambda: len(one.states) >= 4)
    assert one.states[:3:2] == ["connecting", "connecting"]
    assert one.states[1].startswith("lost: ")


def test_what_is_no_session_server_is_refused(watcher, until):
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = parse_session_url(f"ws://127.0.0.1:{other.getsockname()[1]}/session#t")
        one = watcher(url=url, wait=False)
        for _ in range(2):
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        until(lambda: one.state.startswith("refused"))


def test_a_server_that_ends_says_so(server, watcher, until):
    one = watcher()
    server.close()
    until(lambda: one.state.startswith("refused"))
    assert one.state == "refused: the server ends"
    server.close()


def test_a_command_that_is_not_answered_fails_with_the_connection(stage, watcher, until):
    one = watcher()
    until(lambda: stage.pacings)
    go_on = threading.Event()
    stage.post(go_on.wait)
    reply = one.client.command("list")
    given_up = one.client.command("list")
    given_up.cancel()
    one.client._loop.call_soon_threadsafe(lambda: one.client._pixels.abort())
    with pytest.raises(ClosedError):
        reply.result(10)
    with pytest.raises(CancelledError):
        given_up.result(10)
    go_on.set()


def test_a_slow_client_delays_nobody_and_is_dropped(monkeypatch, stage, stranger, watcher, until):
    monkeypatch.setattr(server_module, "_SILENCE", 1e9)
    state, pixels = stranger(), stranger("pixels")
    pixels.say(wire.Attach(state.greet(role="view").session))
    one = watcher()
    until(lambda: len(stage.pacings) == 2)
    # Nobody reads from `pixels`: what is too much for the buffers of both sides is not taken.
    for sequence in range(300):
        stage.show(1, one.client.number, nbytes=100_000, sequence=sequence)
    until(lambda: len(one.frames) == 300)
    assert [header.sequence for header, _ in one.frames] == list(range(300))
    until(lambda: 1 not in stage.pacings, timeout=60)
    assert one.states == ["connecting", "connected"]
