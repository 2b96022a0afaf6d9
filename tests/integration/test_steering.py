"""A program and its viewers, over real sockets: pause, stop, parameters, and who may."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.errors import ClosedError, DataError
from napari_streaming.receive.receiver import Receiver
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Elsewhere
from napari_streaming.wire.session import view_address, view_token

LISTEN = "tcp://127.0.0.1:0?listen"


class Loop:
    """A program in a thread: it counts the steps that viewers let it take."""

    def __init__(self, publisher):
        self.steps, self.rates = 0, []
        self._publisher = publisher
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._run_until_closed, daemon=True)
        self.thread.start()

    def _run_until_closed(self):
        with contextlib.suppress(ClosedError):
            self._run()

    def _run(self):
        for _ in self._publisher.steps(range(100_000)):
            self.rates.append(self._publisher.parameter("rate", 0.1, min=0, max=1))
            self.steps += 1
            if self.end.wait(0.001):
                return


@pytest.fixture
def program():
    with ns.Publisher(LISTEN, settings=ns.PublisherSettings(lease=0.2)) as publisher:
        loop = Loop(publisher)
        yield publisher, loop
        loop.end.set()
    loop.thread.join(10)
    assert not loop.thread.is_alive(), "a program that is paused goes on when nobody can steer it"


def the_program(viewer):
    (program,) = viewer.layers.programs.values()
    return program


def state(viewer):
    programs = [p for p in viewer.layers.programs.values() if p.running]
    return programs[0].running.state if programs else None


def test_a_viewer_pauses_tunes_and_stops_a_program_and_others_see_it(program, until):
    publisher, loop = program
    with Receiver(publisher.urls[0]) as anna, Receiver(publisher.urls[0]) as ben:
        until(lambda: state(anna) == state(ben) == "running")
        until(lambda: "rate" in the_program(anna).parameters)
        run = the_program(anna).run
        anna.control(run, "pause")
        until(lambda: state(ben) == "paused")
        before = loop.steps
        anna.set_parameter(run, "rate", 0.7)
        until(lambda: the_program(ben).parameters["rate"].value == 0.7)
        ben.control(run, "step")
        until(lambda: loop.steps > before)
        assert loop.steps == before + 1 and loop.rates[-1] == 0.7
        anna.set_parameter(run, "rate", 7)
        until(lambda: any("not in 0 to 1" in line.text for line in anna.layers.log))
        ben.control(run, "stop")
        loop.thread.join(10)
        assert not loop.thread.is_alive() and publisher.stop_requested
        until(lambda: state(anna) == "stopping")


def test_who_may_only_look_on_cannot_steer(program, until):
    publisher, loop = program
    with Receiver(publisher.view_urls[0]) as guest:
        until(lambda: state(guest) == "running")
        assert not the_program(guest).may_steer, "and its user sees so beforehand"
        guest.control(the_program(guest).run, "stop")
        until(lambda: any("only for looking on" in line.text for line in guest.layers.log))
        before = loop.steps
        until(lambda: loop.steps > before + 5)


def test_nobody_steers_with_a_token_that_is_its_own_to_look_on_with(until):
    with ns.Publisher(LISTEN + "#view-only") as publisher:
        assert publisher.view_urls == publisher.urls
        publisher.parameter("rate", 0.1)
        with Receiver(publisher.urls[0]) as guest:
            until(lambda: guest.layers.programs and "rate" in the_program(guest).parameters)
            assert not the_program(guest).may_steer
            guest.set_parameter(the_program(guest).run, "rate", 0.5)
            until(lambda: any("only for looking on" in line.text for line in guest.layers.log))
        assert publisher.parameter("rate", 0.1) == 0.1


def test_who_listens_may_steer(receiver, until):
    viewer = receiver(LISTEN + "#view-mine")
    with ns.Publisher(viewer.urls[0]) as publisher:
        publisher.parameter("rate", 0.1)
        until(lambda: viewer.layers.programs and "rate" in the_program(viewer).parameters)
        assert the_program(viewer).may_steer
        viewer.set_parameter(the_program(viewer).run, "rate", 0.5)
        until(lambda: publisher.parameter("rate", 0.1) == 0.5)


@pytest.mark.parametrize("looks_on", [True, False])
def test_who_is_refused_a_wish_stays_connected(program, until, caplog, looks_on):
    publisher, _ = program
    url = parse_url(publisher.urls[0])
    token = view_token(url.token) if looks_on else url.token
    with Receiver(str(url.with_token(token))) as guest:
        until(lambda: state(guest) == "running")
        until(lambda: "rate" in the_program(guest).parameters)
        for count in (1, 2, 3):
            guest.set_parameter(the_program(guest).run, "rate", 7)
            until(lambda count=count: len(refusals(guest)) == count)
    assert not [line for line in caplog.messages if "were acknowledged" in line]


def test_numpy_bounds_and_choices_reach_viewers(until):
    with ns.Publisher(LISTEN) as publisher, Receiver(publisher.urls[0]) as viewer:
        publisher.parameter("batch", np.int64(5), min=np.int8(1), max=np.float32(9))
        publisher.parameter("kind", np.str_("a"), choices=np.array(["a", "b"]))
        until(lambda: viewer.layers.programs and len(the_program(viewer).parameters) == 2)
        batch, kind = the_program(viewer).parameters.values()
    assert (batch.value, batch.minimum, batch.maximum) == (5, 1.0, 9.0)
    assert (kind.value, kind.choices) == ("a", ("a", "b"))


@pytest.mark.parametrize(
    "say",
    [
        lambda publisher: publisher.progress(np.nan, 10),
        lambda publisher: publisher.progress(1, -1),
        lambda publisher: publisher.parameter("n", 2**70),
        lambda publisher: publisher.parameter("note", "x" * 100_000),
        lambda publisher: publisher.parameter("note", "\ud800"),
        lambda publisher: publisher.parameter("kind", "a", choices=["a", "b" * 300]),
        lambda publisher: publisher.parameter("kind", "0", choices=map(str, range(2000))),
    ],
)
def test_what_viewers_would_refuse_is_refused_at_once(say):
    with ns.Publisher(LISTEN) as publisher, Receiver(publisher.urls[0]) as viewer:
        with pytest.raises(DataError):
            say(publisher)
        publisher.image("plane", np.zeros((4, 4)))
        assert viewer.wait_for("plane", timeout=30)


def refusals(receiver):
    words = ("only for looking on", "not in 0 to 1")
    return [line for line in receiver.layers.log if any(word in line.text for word in words)]


def test_a_program_goes_on_without_the_viewer_that_paused_it(program, until):
    publisher, loop = program
    with Receiver(publisher.urls[0]) as other:
        with Receiver(publisher.urls[0]) as viewer:
            until(lambda: state(viewer) == "running")
            viewer.control(the_program(viewer).run, "pause")
            until(lambda: state(other) == "paused")
            before = loop.steps
        until(lambda: loop.steps > before + 5)
        until(lambda: "has not come back" in the_program(other).running.note)
        assert any("going on in 0.2 s" in line.text for line in other.layers.log)


def test_who_looks_on_over_an_encrypted_connection(until):
    with ns.Publisher("tcp://127.0.0.1:0?listen&curve") as publisher:
        assert parse_url(publisher.urls[0]).curve
        publisher.image("cells", np.ones((4, 4)))
        with Receiver(publisher.view_urls[0]) as guest:
            until(lambda: "cells" in guest.layers)


def test_who_steers_can_pass_on_the_address_to_look_on(program):
    publisher, _ = program
    with Receiver(publisher.urls[0], LISTEN) as viewer:
        assert viewer.view_urls == publisher.view_urls, "and not the one where it listens"
        with Receiver(viewer.view_urls[0]) as guest:
            assert guest.view_urls == viewer.view_urls


def test_who_looks_on_is_sent_elsewhere_to_look_on(program, party, until):
    publisher, _ = program
    guest, viewer = party(publisher.view_urls[0], "view"), party(publisher.urls[0], "view")
    there = "tcp://127.0.0.1:5555#6c1b"
    publisher.refer(there)
    until(lambda: guest.messages(Elsewhere) and viewer.messages(Elsewhere))
    assert viewer.messages(Elsewhere) == [Elsewhere(there)]
    assert guest.messages(Elsewhere) == [Elsewhere(view_address(there))]
