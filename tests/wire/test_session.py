from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import MalformedError, ProtocolError, StateError
from napari_streaming.wire.messages import (
    Ack,
    Array,
    Attached,
    Declare,
    End,
    Gap,
    Hello,
    Item,
    Metric,
    Peer,
    Ping,
    Pong,
    Problem,
    Reject,
    Segment,
    Status,
    Subscribe,
    Welcome,
)
from napari_streaming.wire.session import PING_INTERVAL, TRANSITIONS, Session, State

KEY = "6c1b-tøken"
ROLES = ("publish", "view")


def peer(role, **changes):
    return Peer(role=role, program="p", software="s", host="h", pid=1, run="r", **changes)


def session(role="publish", *, listen, token=KEY, now=0.0):
    return Session(peer(role), listen=listen, token=token, now=now)


def open_session(role, *, listen):
    other = peer("view" if role == "publish" else "publish")
    made = session(role, listen=listen)
    made.receive(Hello(other, KEY) if listen else Welcome(other), 0.0)
    made.to_send()
    return made


def said(some):
    return [type(m).__name__ for m in some.to_send()]


ONE_OF_EACH = [
    Hello(peer("view"), KEY),
    Welcome(peer("view")),
    Reject("state", "no"),
    Declare(stream=0, name="a", kind="image", dtype="<u2", shape=(2, 2), axes=("y", "x")),
    Item(0, 0, 0.0, {}, (Array("data", "|u1", (1,)),)),
    Metric("loss", [0.0], [1.0], [2.0]),
    Status("info", "hi", 0.0),
    Gap(0, 1, 2, 2, "full"),
    Segment("s", "memfd:1:2", 4096),
    Attached("s", True),
    Ack(1, 1),
    Problem("axes", "no such axis"),
    Ping(0.0),
    Pong(0.0, 0.0),
    End("done"),
]
FOR_VIEWERS = {Declare, Item, Metric, Status, Gap, Segment, End, Problem}
FOR_PUBLISHERS = {Ack, Attached, Problem}


@pytest.mark.parametrize("listener", ROLES)
def test_a_handshake_opens_both_sides_and_measures_both_clocks(listener):
    connector = ROLES[1 - ROLES.index(listener)]
    server, client = session(listener, listen=True), session(connector, listen=False)
    assert (server.state, client.state) == (State.NEW, State.GREETING)
    (hello,) = client.to_send()
    assert hello == Hello(peer(connector), KEY)
    assert server.receive(hello, 5.0) is None
    assert server.is_open and not client.is_open
    welcome, ping = server.to_send()
    assert (welcome, ping) == (Welcome(peer(listener)), Ping(5.0))
    assert client.receive(welcome, 6.0) is None
    assert client.is_open
    assert client.to_send() == [Ping(6.0)]
    assert (server.peer, client.peer) == (peer(connector), peer(listener))


def test_a_listener_says_nothing_before_the_hello():
    assert said(session(listen=True)) == []


@pytest.mark.parametrize("token", ["", "wrong", KEY[:-1], KEY + "x"])
def test_a_wrong_token_is_rejected(token):
    server = session("view", listen=True)
    with pytest.raises(ProtocolError, match="token") as caught:
        server.receive(Hello(peer("publish"), token), 0.0)
    assert caught.value.code == "token"
    assert (server.state, server.peer) == (State.CLOSED, None)
    (reject,) = server.to_send()
    assert (reject.code, KEY in reject.reason) == ("token", False)


@pytest.mark.parametrize("listen", [True, False])
@pytest.mark.parametrize("role", ROLES)
def test_two_of_the_same_role_reject_each_other(role, listen):
    one = session(role, listen=listen)
    one.to_send()
    with pytest.raises(ProtocolError) as caught:
        one.receive(Hello(peer(role), KEY) if listen else Welcome(peer(role)), 0.0)
    assert caught.value.code == "role"
    assert (one.state, one.peer) == (State.CLOSED, None)
    (reject,) = one.to_send()
    assert reject.code == "role"


def test_a_wrong_token_is_told_before_a_wrong_role():
    server = session("view", listen=True)
    with pytest.raises(ProtocolError, match="token"):
        server.receive(Hello(peer("view"), ""), 0.0)


HANDSHAKE = {(True, Hello): State.OPEN, (False, Welcome): State.OPEN, (False, Reject): State.CLOSED}


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("listen", [True, False])
def test_before_the_handshake_only_the_handshake_is_allowed(listen, message):
    one = session("publish", listen=listen)
    one.to_send()
    following = HANDSHAKE.get((listen, type(message)))
    if following is not None:
        assert one.receive(message, 0.0) is None
        assert one.state is following
        return
    with pytest.raises(StateError, match="before the handshake"):
        one.receive(message, 0.0)
    assert one.state is State.CLOSED
    (reject,) = one.to_send()
    assert reject.code == "state"


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("listen", [True, False])
def test_on_an_open_session_each_says_what_its_role_allows(listen, role, message):
    one = open_session(role, listen=listen)
    if role == "publish" and not isinstance(message, Subscribe):
        assert one.receive(Subscribe(), 1.0) == Subscribe()
    for_us = FOR_VIEWERS if role == "view" else FOR_PUBLISHERS
    if type(message) in for_us:
        assert one.receive(message, 1.0) is message
        assert (one.state, said(one)) == (State.OPEN, [])
    elif isinstance(message, Ping | Pong):
        assert one.receive(message, 1.0) is None
        assert one.is_open
    elif isinstance(message, Reject):
        assert one.receive(message, 1.0) is None
        assert (one.state, said(one)) == (State.CLOSED, [])
        assert one.closed_because == "state: no"
    else:
        with pytest.raises(StateError, match=type(message).__name__):
            one.receive(message, 1.0)
        assert (one.state, said(one)) == (State.CLOSED, ["Reject"])


@pytest.mark.parametrize("before", [[], [Ping(1.0), Pong(0.5, 1.0)]])
@pytest.mark.parametrize("message", [Ack(0, 0), Attached("00", True), Problem("x", "y")])
def test_a_viewer_says_first_what_it_wants(before, message):
    one = open_session("publish", listen=True)
    for other in before:
        one.receive(other, 1.0)
    with pytest.raises(StateError, match="Subscribe first"):
        one.receive(message, 1.0)
    assert one.state is State.CLOSED


def test_a_viewer_may_say_again_what_it_wants():
    one = open_session("publish", listen=True)
    for message in (Subscribe(3), Ack(0, 0), Subscribe(streams=("cells",), max_fps=2.0)):
        assert one.receive(message, 1.0) == message
    assert one.is_open


def test_the_table_has_no_other_transitions():
    states, sides = (State.NEW, State.GREETING), (True, False)
    assert {k for k in TRANSITIONS if k[0] in states} == {
        (State.NEW if listen else State.GREETING, listen, kind) for listen, kind in HANDSHAKE
    }
    assert {k for k in TRANSITIONS if k[0] not in states} == {
        (State.OPEN, listen, Reject) for listen in sides
    }


def test_a_ping_is_answered_with_both_clocks():
    one = open_session("view", listen=True)
    assert one.receive(Ping(12.5), 99.0) is None
    assert one.to_send() == [Pong(12.5, 99.0)]


def test_an_open_session_pings_each_second():
    one = session("view", listen=True, now=10.0)
    one.tick(20.0)
    assert said(one) == []
    one.receive(Hello(peer("publish"), KEY), 20.0)
    one.to_send()
    pings = []
    for quarter in range(80, 100):
        one.tick(quarter / 4)
        pings += one.to_send()
    assert pings == [Ping(20.0 + n * PING_INTERVAL) for n in range(5)]
    one.fail(StateError("enough"))
    one.to_send()
    one.tick(50.0)
    assert said(one) == []


@pytest.mark.parametrize("offset", [0.0, 3600.0, -0.25])
def test_the_clock_offset_comes_from_the_shortest_round_trip(offset):
    one = open_session("view", listen=True)
    assert (one.clock_offset, one.round_trip) == (0.0, float("inf"))
    now = 100.0
    for there, back in [(0.5, 0.125), (0.0625, 0.0625), (0.25, 0.75)]:
        one.receive(Pong(now, now + there + offset), now + there + back)
        now += 10
    assert (one.clock_offset, one.round_trip) == (offset, 0.125)


def test_of_equal_round_trips_the_latest_counts():
    one = open_session("view", listen=True)
    one.receive(Pong(1.0, 6.0), 2.0)
    one.receive(Pong(3.0, 9.0), 4.0)
    assert one.clock_offset == 5.5


def test_an_answer_from_before_the_question_is_ignored():
    one = open_session("view", listen=True)
    one.receive(Pong(10.0, 10.0), 9.0)
    assert (one.clock_offset, one.round_trip) == (0.0, float("inf"))


def test_an_error_found_elsewhere_closes_the_session_too():
    one = open_session("view", listen=True)
    one.fail(MalformedError("a coordinate of nan"))
    assert (one.state, one.is_open) == (State.CLOSED, False)
    assert one.to_send() == [Reject("malformed", "a coordinate of nan")]
    assert one.closed_because == "a coordinate of nan"


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda m: type(m).__name__)
def test_a_closed_session_ignores_everything(message):
    one = open_session("view", listen=True)
    one.receive(Reject("state", "no"), 1.0)
    assert one.receive(message, 2.0) is None
    assert (one.state, said(one), one.heard_at) == (State.CLOSED, [], 1.0)


def test_every_message_is_a_sign_of_life():
    one = session("view", listen=True, now=1.0)
    assert one.heard_at == 1.0
    one.receive(Hello(peer("publish"), KEY), 2.0)
    assert one.heard_at == 2.0
    one.receive(Ping(0.0), 3.0)
    assert one.heard_at == 3.0


@settings(deadline=None)
@given(st.booleans(), st.sampled_from(ROLES), st.lists(st.sampled_from(ONE_OF_EACH), max_size=8))
def test_whatever_is_said_a_session_opens_once_and_rejects_once(listen, role, talk):
    one = session(role, listen=listen)
    states, answers = [one.state], one.to_send()
    for message, now in zip(talk, itertools.count(), strict=False):
        try:
            heard = one.receive(message, float(now))
        except ProtocolError:
            heard = None
            assert one.state is State.CLOSED
        assert heard is None or states[-1] is State.OPEN
        states.append(one.state)
        answers += one.to_send()
    assert [s.value for s in states] == sorted(s.value for s in states)
    assert sum(isinstance(a, Reject) for a in answers) <= (one.state is State.CLOSED)
    assert sum(isinstance(a, Welcome) for a in answers) == (listen and State.OPEN in states)
