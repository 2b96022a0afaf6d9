"""A recording played again: the same things, in the same order, however viewers steer."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import napari_streaming as ns
from napari_streaming.receive.receiver import Receiver
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.replay import Replay
from napari_streaming.settings import PublisherSettings, ReceiverSettings
from napari_streaming.wire.messages import Declare, Item

NUMBERS = itertools.count()
FEW = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


def publish_everything(pub, steps=6):
    random = np.random.default_rng(0)
    pub.image("mosaic", np.full((8, 8), 9, np.uint8))
    for t in range(steps):
        at = {"well": "AB"[t % 2], "t": t}
        pub.image("live", np.full((8, 8), t + 1, np.uint16), at=at, scale=(0.5, 0.5), units="um")
        pub.image("latest", np.full((8, 8, 3), t + 1, np.uint8))
        pub.image("two", np.full((2, 8, 8), t, np.uint8), at={"z": [0, 1 + t % 2]})
        pub.labels("cells", np.full((8, 8), t + 1), at=at)
        tile = np.full((4, 4), t + 1, np.uint8)
        pub.image("tiles", tile, offset=(4 * (t % 2), 2), plane_shape=(8, 8))
        pub.image("mosaic", tile, offset=(4 * (t % 2), 2), plane_shape=(8, 8))
        pub.points("spots", random.random((2, 2)), at=at, features={"word": ["a", f"é{t}"]})
        pub.points("trail", [[t, t]], append=True)
        pub.shapes("rings", [random.random((5, 2)), random.random((4, 2))], at={"t": t})
        pub.shapes("rings", [], at={"t": t}, key="none")
        pub.tracks("paths", [[1, t, 2, 3]], append=t > 0, graph={1: [7]} if t == 3 else None)
        pub.vectors("flow", random.random((3, 2, 2)), at={"t": t}, key=f"k{t % 2}")
        pub.surface("skin", random.random((4, 3)), [[0, 1, 2]], at={"t": t})
        pub.metric("energy", float("inf") if t == 2 else t, t)
        pub.status("info", f"step {t}")


@pytest.fixture
def recording(tmp_path):
    with ns.Publisher(ns.Recording(tmp_path / "run")) as pub:
        publish_everything(pub)
        assert pub.flush(15)
    return OpenRecording(tmp_path / "run.nstream")


def wait_for_viewer(pub):
    """Else the last item is sent ahead, and the order of the axes is another one."""
    pub.status("info", "are you there?")
    assert pub.flush(15)


class Stage:
    """A replay and who looks at it."""

    def __init__(self, recording, **options):
        url = f"memory://stage-{next(NUMBERS)}"
        self.receiver = Receiver(f"{url}?listen", settings=ReceiverSettings(warm=0))
        self.pub = ns.Publisher(url, settings=PublisherSettings(memory=2**24))
        wait_for_viewer(self.pub)
        self.replay = Replay(recording, self.pub, **options)

    def seen(self) -> dict:
        """Return all that a viewer has."""
        assert self.pub.flush(15)
        seen = {}
        for name, layer in self.receiver.layers.items():
            if layer.has_planes:
                seen[name] = (layer.coordinates, np.asarray(layer.data).tolist())
            else:
                arrays = {n: a.tolist() for n, a in layer.geometry().items()}
                seen[name] = (layer.coordinates, arrays)
        return seen

    def at_one_place(self) -> dict:
        """Return what has no coordinates."""
        assert self.pub.flush(15)
        seen = {}
        for name, layer in self.receiver.layers.items():
            if layer.has_planes and (plane := layer.planes.get_exactly({})) is not None:
                seen[name] = plane.tolist()
            elif {} in layer.sets.coordinates():
                seen[name] = {n: a.tolist() for n, a in layer.sets.join([]).items()}
        return seen

    def close(self):
        self.pub.close(0.3)
        self.receiver.close()


@pytest.fixture
def stage(recording):
    made = []

    def make(**options):
        made.append(Stage(recording, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def contents(path) -> list:
    """Return what a recording holds, without times."""
    recording = OpenRecording(path)
    held = []
    for entry in recording.entries:
        stored = recording.item_of(entry)
        if stored is not None:
            arrays = {n: a.tolist() for n, a in recording.arrays(stored).items()}
            item = stored.item
            held.append(
                (stored.declare.name, item.at, item.along, item.key, item.append, item.offset,
                 item.scale or stored.declare.scale, arrays)
            )  # fmt: skip
    return held


def declares(recording) -> list[tuple]:
    return [
        (d.name, d.kind, d.dtype, d.shape, d.axes, d.scale, d.units, d.rgb, d.features)
        for entry in recording.entries
        if isinstance(d := entry.message, Declare)
    ]


def test_a_replay_that_is_recorded_is_the_recording(recording, tmp_path):
    with ns.Publisher(ns.Recording(tmp_path / "again")) as pub:
        assert Replay(recording, pub, speed=1000).run()
        assert pub.flush(15)
    again = OpenRecording(tmp_path / "again.nstream")
    # The first tile of a plane, and the first rows that are appended, come as a whole.
    first, second = contents(recording.folder), contents(again.folder)
    assert len(first) == len(second)
    same = [one == other for one, other in zip(first, second, strict=True)]
    assert same.count(False) == 2
    assert declares(again) == declares(recording)


def test_a_viewer_sees_what_it_would_have_seen(recording, stage, tmp_path):
    one = stage(speed=1000)
    assert one.replay.run()
    with Receiver("memory://direct?listen", settings=ReceiverSettings(warm=0)) as direct:
        with ns.Publisher("memory://direct", settings=PublisherSettings(memory=2**24)) as pub:
            wait_for_viewer(pub)
            publish_everything(pub)
            assert pub.flush(15)
        seen = one.seen()
        for name, layer in direct.layers.items():
            assert seen[name][0] == layer.coordinates, name
            if layer.has_planes:
                assert seen[name][1] == np.asarray(layer.data).tolist(), name
            else:
                assert seen[name][1] == {n: a.tolist() for n, a in layer.geometry().items()}, name
        metrics = one.receiver.layers.metrics["energy"]
        assert metrics.values.tolist() == direct.layers.metrics["energy"].values.tolist()
        assert metrics.steps.tolist() == direct.layers.metrics["energy"].steps.tolist()


@FEW
@given(st.lists(st.floats(-0.1, 1.1), min_size=1, max_size=5))
def test_where_one_is_does_not_depend_on_the_way_there(recording, jumps):
    """Of all that has come by then, a jump shows the same as playing up to there."""
    jumped, played = Stage(recording), Stage(recording)
    try:
        end = recording.duration
        jumped.replay.seek(end)  # everything is there once, so that coordinates are the same
        for jump in jumps:
            jumped.replay.seek(jump * end)
        count = jumped.replay._next
        while played.replay._next < count:
            played.replay._play(played.replay._next)
        before, after = played.at_one_place(), jumped.at_one_place()
        assert {name: after[name] for name in before} == before
        assert after.keys() == {"latest", "mosaic", "tiles", "trail", "paths"}
    finally:
        jumped.close()
        played.close()


def test_metrics_and_status_are_said_once(recording, stage):
    one = stage()
    for seconds in (9e9, 0.0, 9e9, 0.0, 9e9):
        one.replay.seek(seconds)
    one.seen()
    assert len(one.receiver.layers.metrics["energy"]) == 6
    assert sum(line.text.startswith("step") for line in one.receiver.layers.log) == 6


@pytest.fixture
def playing(stage):
    """A replay in a thread, paused before its first item; how to look at it and to steer it."""
    one = stage(speed=1000)
    one.pub.may_go()
    one.receiver.wait(lambda: one.receiver.layers.programs, 15)
    (run,) = one.receiver.layers.programs
    one.run = run
    one.program = lambda: one.receiver.layers.programs[run]
    one.receiver.wait(lambda: one.program().running, 15)
    one.receiver.control(run, "pause")
    one.receiver.wait(lambda: one.program().running.state == "paused", 15)
    one.results = []
    thread = threading.Thread(target=lambda: one.results.append(one.replay.run(stay=True)))
    thread.start()
    yield one
    one.receiver.control(run, "stop")
    thread.join(15)
    assert not thread.is_alive()


def received(one) -> int:
    return sum(layer.stats().received for layer in one.receiver.layers.values())


def test_it_goes_step_by_step(playing):
    one = playing
    for number in range(1, 6):
        one.receiver.control(one.run, "step")
        assert one.receiver.wait(lambda n=number: received(one) == n, 15)
    assert one.program().running.state == "paused"


def test_the_slider_goes_there_while_it_is_paused(playing, recording):
    one = playing
    assert one.receiver.wait(lambda: "position" in one.program().parameters, 15)
    layers = one.receiver.layers
    slider = one.program().parameters["position"]
    one.receiver.set_parameter(one.run, "position", slider.maximum)
    items = sum(isinstance(entry.message, Item) for entry in recording.entries)
    assert one.receiver.wait(lambda: "live" in layers and len(layers["live"].data) == 2, 15)
    assert layers.dimensions[-2:] == ("well", "t")
    assert one.receiver.wait(lambda: one.program().progress.done == slider.maximum, 15)
    assert np.asarray(one.receiver.layers["latest"].data).max() == 6
    one.receiver.set_parameter(one.run, "position", 0.0)
    assert one.receiver.wait(lambda: one.program().progress.done == 0.0, 15)
    assert np.asarray(one.receiver.layers["mosaic"].data).max() == 9
    assert received(one) < 2 * items


def test_it_plays_on_shows_where_and_ends_when_stopped(playing):
    one = playing
    one.receiver.control(one.run, "resume")
    assert one.receiver.wait(
        lambda: (p := one.program().progress) is not None and p.done == p.total, 15
    )
    parameters = one.program().parameters
    assert parameters["position"].value == parameters["position"].maximum
    one.receiver.control(one.run, "stop")
    assert one.receiver.wait(lambda: one.results == [False], 15)


def test_it_begins_again(playing):
    one = playing
    assert one.receiver.wait(lambda: "loop" in one.program().parameters, 15)
    one.receiver.set_parameter(one.run, "loop", True)
    one.receiver.control(one.run, "resume")
    layers = one.receiver.layers
    assert one.receiver.wait(
        lambda: "latest" in layers and layers["latest"].stats().received > 30, 30
    )
    assert len(layers["trail"].data) <= 6


def test_it_takes_the_time_that_it_took(tmp_path, publisher, receiver):
    """By a clock of the test's own."""
    now = [100.0]
    with ns.Publisher(ns.Recording(tmp_path / "run")) as pub:
        for t in range(4):
            pub.image("live", np.zeros((4, 4), np.uint8), at={"t": t})
            assert pub.flush(15)
    recording, viewer = OpenRecording(tmp_path / "run.nstream"), receiver()
    replay = Replay(recording, publisher(), speed=2.0, clock=lambda: now[0])
    done = []
    thread = threading.Thread(target=lambda: done.append(replay.run()))
    thread.start()
    viewer.wait_for("live", 15)
    thread.join(0.3)
    assert not done  # the clock stands still
    now[0] += recording.duration / 2 + 1e-6
    thread.join(15)
    assert done == [True]


def test_an_empty_recording_is_over_at_once(tmp_path, publisher):
    ns.Recording(tmp_path / "run").close()
    assert Replay(OpenRecording(tmp_path / "run"), publisher()).run()
