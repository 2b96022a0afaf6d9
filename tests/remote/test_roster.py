"""Who takes part and who steers, against a model of it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from napari_streaming.errors import ProtocolError, StateError
from napari_streaming.remote.server.inbox import Inbox
from napari_streaming.remote.server.roster import (
    ANSWER_WITHIN,
    KEPT_FOR,
    MOST_CLIENTS,
    Member,
    Roster,
)
from napari_streaming.wire import remote as wire
from napari_streaming.wire.session import view_token

TOKEN = "the-token"  # noqa: S105
PICK = st.integers(0, 100)


def hello(token=TOKEN, **about):
    return wire.Hello(token=token, **about)


class Anybody(RuleBasedStateMachine):
    """Clients come, go and ask in any order."""

    def __init__(self):
        super().__init__()
        self.roster = Roster(TOKEN)
        self.now = 0.0
        self.seen = set()

    def pick(self, number, *, gone=False):
        fit = [m for m in self.roster.members.values() if (m.gone_at is not None) == gone]
        return fit[number % len(fit)] if fit else None

    @rule(steers=st.booleans(), role=st.sampled_from(["control", "view"]))
    def join(self, steers, role):
        before = self.roster.controller
        everybody = list(self.roster.members.values())
        token = TOKEN if steers else view_token(TOKEN)
        try:
            member, is_old = self.roster.admit(hello(token, role=role))
        except ProtocolError:
            assert len(everybody) == MOST_CLIENTS
            assert all(member.gone_at is None for member in everybody)
            return
        assert not is_old
        assert member.number not in self.seen
        self.seen.add(member.number)
        if before is None and steers and role == "control":
            assert self.roster.controller is member

    @rule(number=PICK)
    def lose(self, number):
        if (member := self.pick(number)) is not None:
            self.roster.lose(member, self.now)

    @rule(number=PICK)
    def leave(self, number):
        if (member := self.pick(number)) is not None:
            self.roster.remove(member)

    @rule(number=PICK)
    def come_back(self, number):
        if (member := self.pick(number, gone=True)) is None:
            return
        steered = self.roster.controller is member
        token = TOKEN if member.may_control else view_token(TOKEN)
        same, is_old = self.roster.admit(hello(token, resume=member.session))
        assert (same, is_old) == (member, True)
        assert (self.roster.controller is member) == steered

    @rule(number=PICK)
    def ask(self, number):
        if (member := self.pick(number)) is not None:
            problem = self.roster.take(member, self.now)
            steers = self.roster.controller is member
            asks = self.roster.who().asking == member.number
            assert bool(problem) != (steers or asks)

    @rule(number=PICK, to=PICK)
    def give(self, number, to):
        member, heir = self.pick(number), self.pick(to)
        if member is not None and heir is not None:
            steered = member is self.roster.controller
            problem = self.roster.give(member, heir.number)
            assert (problem == "") == (steered and heir.may_control)
            assert problem or self.roster.controller is heir

    @rule(seconds=st.sampled_from([0.1, ANSWER_WITHIN, KEPT_FOR]))
    def wait(self, seconds):
        self.now += seconds
        self.roster.tick(self.now)
        gone = [m.gone_at for m in self.roster.members.values() if m.gone_at is not None]
        assert all(self.now - since < KEPT_FOR for since in gone)

    @invariant()
    def one_steers_who_is_there_and_may(self):
        controller, who = self.roster.controller, self.roster.who()
        assert len(self.roster.members) <= MOST_CLIENTS
        if controller is not None:
            assert controller.may_control
            assert self.roster.members[controller.number] is controller
            assert controller.gone_at is None or not who.asking
        if who.asking:
            asking = self.roster.members[who.asking]
            assert asking.may_control
            assert asking is not controller
            assert asking.gone_at is None


TestAnybody = Anybody.TestCase
TestAnybody.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_tokens_are_looked_at_first():
    roster = Roster(TOKEN)
    for wrong in ("", "x", TOKEN + "x", "view-"):
        with pytest.raises(ProtocolError, match="token"):
            roster.admit(hello(wrong))
    assert not roster.members


def test_a_session_that_nobody_has_leads_nowhere():
    roster = Roster(TOKEN)
    member, _ = roster.admit(hello())
    assert roster.find("") is None
    assert roster.find(member.session[:-1]) is None
    assert roster.find(member.session) is member


def test_ids_are_of_the_client_and_grow():
    member = Member(3, hello(), may_control=True)
    member.check_id((3 << 32) + 5)
    for wrong in ((3 << 32) + 5, (3 << 32) + 4, (4 << 32) + 6, 6):
        with pytest.raises(StateError):
            member.check_id(wrong)


def move(x, **fields):
    return wire.Pointer(id=x + 1, kind="move", x=x, y=0, **fields)


def test_in_the_inbox_the_newest_of_its_kind_takes_the_place_of_the_one_before():
    inbox = Inbox()
    assert inbox.put(move(0), 0.0)
    assert not inbox.put(move(1), 1.0)
    inbox.put(move(2, buttons=(1,)), 2.0)
    inbox.put(wire.Pointer(id=9, kind="press", x=0, y=0, button=1), 3.0)
    inbox.put(move(3), 4.0)
    inbox.put(wire.Shown(1), 5.0)
    inbox.put(wire.Shown(2), 6.0)
    taken = [inbox.take() for _ in range(len(inbox))]
    assert [when for _, when in taken] == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert inbox.take() is None


def test_an_inbox_has_an_end():
    inbox = Inbox()
    with pytest.raises(StateError):
        for number in range(10_000):
            inbox.put(wire.Intent(number + 1, "dims", {}), 0.0)
