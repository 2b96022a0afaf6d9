from __future__ import annotations

import asyncio
import math
import threading

import pytest
from msgspec.structs import replace

from napari_streaming.errors import DataError, StopRequested
from napari_streaming.publish.control import RefusedError, Steering
from napari_streaming.wire.messages import (
    Control,
    Parameter,
    Peer,
    Progress,
    Running,
    SetParameter,
    Status,
)

ANNA = Peer(role="view", program="napari", software="s", host="h", pid=1, run="anna")
BEN = Peer(role="view", program="napari", software="s", host="h", pid=2, run="ben")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Desk:
    """A steering, what it told viewers, and its time."""

    def __init__(self):
        self.told, self.clock = [], Clock()
        self.steering = Steering(self.told.append, 60.0, self.clock)

    def do(self, action, viewer=ANNA):
        self.steering.take(Control(action), viewer)

    def set(self, name, value, viewer=ANNA):
        self.steering.take(SetParameter(name, value), viewer)


@pytest.fixture
def desk():
    desk = Desk()
    assert desk.steering.may_go() is True
    return desk


def test_nobody_sees_buttons_of_a_program_that_never_asks():
    desk = Desk()
    with pytest.raises(RefusedError, match="never asks"):
        desk.do("pause")
    assert desk.told == [] and desk.steering.standing == ()
    desk.steering.may_go()
    assert desk.told == [Running("running")] == list(desk.steering.standing)


def test_pause_step_resume_stop(desk):
    may_go = desk.steering.may_go
    desk.do("pause")
    assert (may_go(), may_go()) == (None, None)
    desk.do("step")
    desk.do("step")
    assert (may_go(), may_go(), may_go()) == (True, True, None)
    desk.do("resume")
    assert may_go() is True
    desk.do("step")
    assert (may_go(), may_go()) == (True, None), "a step pauses a program that runs"
    desk.do("stop")
    assert (may_go(), desk.steering.stop_requested) == (False, True), "also while it is paused"
    with pytest.raises(RefusedError, match="stopping"):
        desk.do("resume")
    with pytest.raises(StopRequested, match=r"napari \(1\)"):
        desk.steering.checkpoint()


def test_of_two_viewers_the_last_one_has_its_way_and_all_know_who(desk):
    desk.do("pause", ANNA)
    desk.do("resume", BEN)
    assert desk.told[-2:] == [Running("paused", "napari (1)"), Running("running", "napari (2)")]
    assert desk.steering.may_go() is True


def test_a_viewer_without_a_process_is_named_without_one(desk):
    desk.do("pause", replace(ANNA, program="browser on Linux", pid=0))
    assert desk.told[-1] == Running("paused", "browser on Linux")


@pytest.mark.parametrize("ending", ["resume", "stop"])
def test_a_program_that_waits_goes_on_at_once(desk, ending):
    desk.do("pause")
    went: list[bool] = []
    waiting = threading.Thread(target=lambda: went.append(desk.steering.wait()))
    waiting.start()
    desk.do(ending)
    waiting.join(10)
    assert went == [ending == "resume"]


def test_a_viewer_that_paused_and_vanished_does_not_hold_it_for_ever(desk):
    desk.do("pause", ANNA)
    desk.steering.viewer_left("ben")
    assert desk.steering.patience() is None
    desk.steering.viewer_left("anna")
    assert desk.steering.patience() == 60
    assert isinstance(desk.told[-1], Status) and "going on in 60 s" in desk.told[-1].text
    desk.clock.now += 59
    assert desk.steering.may_go() is None
    desk.clock.now += 2
    assert desk.steering.may_go() is True
    assert desk.told[-1].state == "running" and "has not come back" in desk.told[-1].note


def test_a_viewer_that_comes_back_still_holds_it(desk):
    desk.do("pause", ANNA)
    desk.steering.viewer_left("anna")
    desk.clock.now += 59
    desk.steering.viewer_came("anna")
    desk.clock.now += 1000
    assert desk.steering.may_go() is None and desk.steering.patience() is None


def test_the_lease_wakes_a_program_that_waits():
    steering = Steering(lambda message: None, 0.05)
    steering.may_go()
    steering.take(Control("pause"), ANNA)
    steering.viewer_left("anna")
    assert steering.wait() is True


@pytest.mark.parametrize(
    ("value", "options", "good", "bad"),
    [
        (
            0.1,
            {"minimum": 0, "maximum": 1},
            [0.0, 1, 0.5],
            [1.1, -1, math.nan, math.inf, "a", True],
        ),
        (3, {"minimum": 1}, [1, 7.0, 2**40], [0, 1.5, "a", False, math.nan]),
        ("otsu", {"choices": ("otsu", "li")}, ["li"], ["yen", 1, ""]),
        (True, {}, [False], [0, 1.0, "yes"]),
        ("a name", {}, ["", "<b>"], [1, None]),
    ],
)
def test_parameters_take_what_they_may_be(desk, value, options, good, bad):
    assert desk.steering.parameter("p", value, **options) == value
    for one in good:
        desk.set("p", one, BEN)
        now = desk.steering.parameter("p", value, **options)
        assert now == one and type(now) is type(value)
        assert desk.told[-1] == desk.steering.standing[0] and desk.told[-1].by == "napari (2)"
    for one in bad:
        with pytest.raises(RefusedError, match="'p'"):
            desk.set("p", one)
        assert desk.steering.parameter("p", value) == good[-1]


def test_what_is_no_parameter_is_said(desk):
    with pytest.raises(RefusedError, match="no parameter 'q'"):
        desk.set("q", 1)
    with pytest.raises(DataError, match="not in 0 to 1"):
        desk.steering.parameter("p", 7.0, 0, 1)
    assert not [m for m in desk.told if isinstance(m, Parameter)]


def test_a_button_counts_how_often_it_was_pressed(desk):
    assert desk.steering.press_count("snap") == 0
    desk.set("snap", True)
    desk.set("snap", True)
    assert (desk.steering.press_count("snap"), desk.steering.press_count("snap")) == (2, 0)


def test_who_comes_late_is_told_where_things_stand(desk):
    desk.steering.parameter("rate", 0.5)
    desk.steering.progress(Progress(3, 10))
    desk.do("pause")
    parameter, running, progress = desk.steering.standing
    assert (parameter.name, running.state, progress.done) == ("rate", "paused", 3)


def test_a_coroutine_waits_without_holding_up_the_others(desk):
    from napari_streaming.publish.control_calls import Steps

    async def main():
        seen = []

        async def loop():
            async for i in Steps(range(5), desk.steering):
                seen.append(i)
                if i == 1:
                    desk.do("pause")
                await asyncio.sleep(0)

        task = asyncio.create_task(loop())
        while len(seen) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        assert seen == [0, 1], "it is paused, and this goes on"
        await asyncio.to_thread(desk.do, "step")
        while len(seen) < 3:
            await asyncio.sleep(0)
        await asyncio.to_thread(desk.do, "stop")
        await asyncio.wait_for(task, 10)
        assert seen == [0, 1, 2]

    asyncio.run(main())
