"""The command line for recordings, with processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.stored_layers import stored_layers


@pytest.fixture
def command():
    """Run ``napari-streaming``; what is left of it is killed afterwards."""
    made = []

    def start(*arguments):
        line = [sys.executable, "-u", "-m", "napari_streaming", *map(str, arguments)]
        made.append(
            subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


def publish(pub, until, steps=8):
    until(lambda: any(sink.viewers for sink in pub.stats().sinks))
    for t in range(steps):
        pub.image("live", np.full((16, 16), t, np.uint8), at={"t": t}, qos="reliable")
        pub.points("spots", [[t, t]], at={"t": t}, qos="reliable")


def test_a_publisher_is_recorded_until_it_ends(command, tmp_path, until):
    with ns.Publisher("ipc://recorded?listen") as pub:
        recorder = command("record", "ipc://recorded", tmp_path / "run.ome.zarr")
        assert "Recording what comes from ipc://recorded" in recorder.stdout.readline()
        publish(pub, until)
        assert pub.flush(15)
    said, _ = recorder.communicate(timeout=30)
    assert recorder.returncode == 0, said
    assert "16 items" in said
    assert "lost" not in said
    layers = stored_layers(OpenRecording(tmp_path / "run.nstream"))
    assert np.asarray(layers["live"].data)[:, 0, 0].tolist() == list(range(8))
    assert len(layers["spots"].data) == 8


def test_ctrl_c_ends_a_recording(command, tmp_path, until):
    recorder = command("record", "ipc://recorded?listen", tmp_path / "run")
    assert "Recording what comes to ipc://recorded" in recorder.stdout.readline()
    with ns.Publisher("ipc://recorded") as pub:
        publish(pub, until)
        assert pub.flush(15)
        recorder.send_signal(signal.SIGINT)
        said, _ = recorder.communicate(timeout=30)
    assert recorder.returncode == 0, said
    assert "16 items" in said
    assert stored_layers(OpenRecording(tmp_path / "run.nstream"))["live"].data.shape[0] == 8


def test_a_recording_is_replayed_to_a_viewer(command, tmp_path, until, receiver):
    with ns.Publisher(ns.Recording(tmp_path / "run")) as pub:
        publish(pub, until)
    viewer = receiver("tcp://127.0.0.1:0?listen")
    replay = command(
        "replay",
        tmp_path / "run.nstream",
        "--speed",
        "50",
        "--to",
        viewer.sources[0].url.removesuffix("?listen"),
    )
    said, _ = replay.communicate(timeout=30)
    assert replay.returncode == 0, said
    assert "Played to its end" in said
    layers = viewer.layers
    assert np.asarray(layers["live"].data)[:, 0, 0].tolist() == list(range(8))
    (program,) = layers.programs.values()
    assert program.name == "replay of run.ome.zarr"
    assert {*program.parameters} == {"speed", "loop", "position"}


def test_a_replay_is_stopped_by_a_viewer(command, tmp_path, until, receiver):
    with ns.Publisher(ns.Recording(tmp_path / "run")) as pub:
        publish(pub, until)
    replay = command("replay", tmp_path / "run.nstream", "--stay", "--to", "ipc://stage?listen")
    assert "Waiting for a viewer: ipc://stage" in replay.stdout.readline()
    viewer = receiver("ipc://stage")
    assert viewer.wait(lambda: viewer.layers.programs, 15)
    (run,) = viewer.layers.programs
    assert viewer.wait(lambda: viewer.layers.programs[run].running, 15)
    viewer.control(run, "stop")
    said, _ = replay.communicate(timeout=30)
    assert replay.returncode == 0, said
    assert "Stopped by a viewer" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("record", "nowhere", "run"), "a stream URL starts with"),
        (("record", "ipc://nobody", "run", "--timeout", "0.2"), "no publisher came"),
        (("replay", "nothing.nstream"), "No such file"),
        (("record", "ipc://nobody", "no/folder/run"), "no folder"),
    ],
)
def test_mistakes_are_one_line(command, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    process = command(*arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said in output
    lines = output.strip().splitlines()
    assert len([line for line in lines if not line.startswith("Recording what comes from")]) == 1
