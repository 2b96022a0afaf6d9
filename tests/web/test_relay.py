"""A stream passed on: everything arrives, and wishes go back."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from napari_streaming.errors import URLError
from napari_streaming.receive.receiver import Receiver
from napari_streaming.relay import Relay
from napari_streaming.settings import PublisherSettings, ReceiverSettings
from napari_streaming.wire.messages import Ack, Metric, Status, Subscribe


@pytest.fixture
def relayed(publisher, until):
    """A publisher, and a viewer behind a relay of it."""
    program = publisher("tcp://127.0.0.1:0?listen", history=2**20)
    relay = Relay(program.urls[0], "ws://127.0.0.1:0", PublisherSettings(lease=0.3))
    viewer = Receiver(relay.urls[0], settings=ReceiverSettings(warm=0))
    until(lambda: program.stats().sinks[0].viewers and viewer.sources[0].publishers)
    yield program, viewer, relay
    viewer.close()
    relay.close()


def test_all_kinds_of_things_arrive(relayed, until):
    program, viewer, _ = relayed
    plane = np.random.default_rng(0).integers(0, 60000, (2, 5, 6), np.uint16)
    at = {"t": 3, "z": [0, 1]}
    about = {"scale": (0.5, 0.25), "units": "um", "colormap": "green"}
    program.image("cells", plane, at=at, contrast_limits=(1, 9), **about)
    program.image("cells", plane[0], at={"t": 4, "z": 0}, scale=(1, 1), units="um")
    program.labels("nuclei", plane[0])
    program.points("spots", [[1, 2], [3, 4]], features={"name": ["a", "bc"]})
    program.points("spots", [[5, 6]], features={"name": ["d"]}, append=True)
    program.metric("energy", 0.5, step=3)
    program.status("info", "hello")
    until(lambda: {"cells", "nuclei", "spots"} <= viewer.layers.keys())
    until(lambda: viewer.layers["cells"].stats().received == 2)
    until(lambda: viewer.layers["spots"].stats().received == 2)
    cells = viewer.layers["cells"]
    assert (np.asarray(cells.data)[0] == plane).all()
    assert cells.declare.scale == (0.5, 0.25) and cells.declare.colormap == "green"
    until(lambda: "energy" in viewer.layers.metrics)
    until(lambda: any(line.text == "hello" for line in viewer.layers.log))


def test_what_viewers_want_goes_back(relayed, until):
    program, viewer, _ = relayed
    assert program.parameter("rate", 0.5, min=0, max=1) == 0.5
    assert not program.paused
    until(lambda: any(p.running for p in viewer.layers.programs.values()))
    (run,) = viewer.layers.programs
    viewer.set_parameter(run, "rate", 0.75)
    until(lambda: program.parameter("rate", 0.5) == 0.75)
    until(lambda: viewer.layers.programs[run].parameters["rate"].value == 0.75)
    viewer.control(run, "pause")
    until(lambda: program.paused)
    viewer.set_parameter(run, "rate", 7.0)
    until(lambda: any("is not in 0 to 1" in line.text for line in viewer.layers.log))


def test_a_viewer_that_paused_and_left_does_not_hold_the_program(relayed, until):
    program, viewer, _ = relayed
    assert not program.paused
    until(lambda: any(p.running for p in viewer.layers.programs.values()))
    (run,) = viewer.layers.programs
    viewer.control(run, "pause")
    until(lambda: program.paused)
    viewer.close()
    until(lambda: not program.paused)


def test_a_program_that_is_not_there_cannot_be_steered(relayed, until):
    program, viewer, _ = relayed
    assert not program.paused
    until(lambda: any(p.running for p in viewer.layers.programs.values()))
    (run,) = viewer.layers.programs
    program.close()
    until(lambda: any("is gone" in line.text for line in viewer.layers.log))
    viewer.control(run, "pause")
    until(lambda: any("not connected" in line.text for line in viewer.layers.log))


def test_a_program_that_is_gone_has_no_buttons(page, relayed, until):
    program, viewer, relay = relayed
    assert not program.paused
    page.open(relay.pages[0])
    page.until("document.getElementById('pause')?.checkVisibility()")
    program.close()
    page.until("document.getElementById('running').textContent.endsWith(' is gone')")
    able = "[...document.querySelectorAll('#steering button:enabled')]"
    assert page(f"{able}.filter((e) => e.checkVisibility()).length") == 0
    (known,) = viewer.layers.programs.values()
    until(lambda: viewer.layers.programs[known.run].running.state == "stopping")


def test_a_worker_that_is_gone_leaves_the_program_its_buttons(relayed, publisher, until):
    program, viewer, relay = relayed
    worker = publisher("tcp://127.0.0.1:0?listen", history=2**20)
    worker.image("of a worker", np.ones((3, 3)))
    assert not program.paused
    program.refer(worker.urls[0])
    until(lambda: "of a worker" in viewer.layers)
    until(lambda: any(p.running for p in viewer.layers.programs.values()))
    worker.close()
    until(lambda: any("is gone" in line.text for line in viewer.layers.log))
    (known,) = viewer.layers.programs.values()
    assert known.running.state == "running"
    with Receiver(relay.urls[0]) as newcomer:
        until(lambda: any(p.running for p in newcomer.layers.programs.values()))


def test_who_relays_from_where_it_may_only_look_on_lets_nobody_steer(publisher, until):
    program = publisher("tcp://127.0.0.1:0?listen")
    assert not program.paused
    with (
        closing(Relay(program.view_urls[0], "ws://127.0.0.1:0")) as relay,
        Receiver(relay.urls[0]) as viewer,
    ):
        until(lambda: any(p.running for p in viewer.layers.programs.values()))
        assert not any(p.may_steer for p in viewer.layers.programs.values())


def test_programs_that_are_told_of_are_followed(relayed, publisher, until):
    program, viewer, _ = relayed
    worker = publisher("tcp://127.0.0.1:0?listen", history=2**20)
    worker.image("of a worker", np.ones((3, 3)))
    program.refer(worker.urls[0])
    until(lambda: "of a worker" in viewer.layers)


def test_a_program_that_comes_back_is_told_what_is_here(party, until):
    said = [Metric("energy", [1.0, 2.0], [3.0, 4.0], [5.0, 5.0], 1), Status("info", "hi", 5.0, 1)]
    relay = Relay("memory://program?listen", "ws://127.0.0.1:0")
    try:
        for metrics, line in (({}, 0), ({"energy": 2}, 1)):
            program = party("memory://program", "publish", run="the same")
            (wish,) = until(lambda program=program: program.messages(Subscribe))
            assert (wish.metrics, wish.line) == (metrics, line)
            for message in said:
                program.say(message)
            until(lambda program=program: program.messages(Ack)[-1:] == [Ack(0, 2)])
            program.close()
    finally:
        relay.close()


def test_only_streams_of_ours_are_passed_on():
    with pytest.raises(URLError):
        Relay("openhcs+tcp://127.0.0.1:5555?listen", "ws://127.0.0.1:0")


def test_a_relay_has_the_page(page, relayed):
    program, _, relay = relayed
    program.image("cells", np.full((4, 4), 77, np.uint8), contrast_limits=(0, 255))
    page.open(relay.pages[0])
    page.wait_for_items(1)
    assert page.pixels(4, 4)[0, 0].tolist() == [77] * 3


def test_the_command(page, publisher, until):
    program = publisher("tcp://127.0.0.1:0?listen", history=2**20)
    program.image("cells", np.full((4, 4), 99, np.uint8), contrast_limits=(0, 255))
    assert not program.paused  # and it can be steered from now on
    command = [sys.executable, "-m", "napari_streaming", "web", program.urls[0]]
    with subprocess.Popen(
        [*command, "--listen", "ws://127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            page.open(process.stdout.readline().rpartition(" ")[2].strip())
            page.wait_for_items(1)
            assert page.pixels(4, 4)[0, 0].tolist() == [99] * 3
            page.open(process.stdout.readline().rpartition(" ")[2].strip())
            page.until("!document.getElementById('pause').hidden")
            assert page("document.getElementById('pause').matches(':disabled')")
            page("viewer.session.send({ type: 'control', action: 'pause' })")
            page.until("document.getElementById('log').textContent.includes('only for looking on')")
            assert not program.paused
        finally:
            process.terminate()
