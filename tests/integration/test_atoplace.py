from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("atoplace_server.py")


@pytest.fixture
def serve():
    """Start servers; each says its port."""
    with contextlib.ExitStack() as undo:

        def start(port=0):
            process = subprocess.Popen(
                [sys.executable, str(SERVER), str(port)], stdout=subprocess.PIPE, text=True
            )
            undo.callback(process.stdout.close)
            undo.callback(process.wait)
            undo.callback(process.kill)
            return process, int(process.stdout.readline())

        yield start


def program(rec):
    (one,) = rec.layers.programs.values()
    return one


def test_a_placement_is_shown_and_steered(serve, receiver, until):
    process, port = serve()
    rec = receiver(f"atoplace+ws://127.0.0.1:{port}")
    layers = rec.layers
    until(lambda: "movement" in layers and layers["movement"].stats().received > 5)
    assert {layer.name: layer.kind for layer in layers.values()} == {
        "components": "points", "forces": "vectors", "movement": "vectors",
    }  # fmt: skip
    assert list(layers["components"].coordinates) == ["frame"]
    assert program(rec).running.state == "running" and program(rec).progress.done > 0
    energy = layers.metrics["energy"]
    assert energy.values[0] == 100.0 and math.isnan(energy.values[2])
    assert {"max_move", "overlap_count", "total_wire_length", "server uptime"} <= {*layers.metrics}
    assert any(line.level == "warning" and line.text == "at 3" for line in layers.log)
    run = program(rec).run
    rec.control(run, "pause")
    until(lambda: program(rec).running.state == "paused")
    rec.control(run, "step")
    until(lambda: any("can only be paused" in line.text for line in layers.log))
    rec.control(run, "resume")
    until(lambda: program(rec).running.state == "running")
    rec.control(run, "stop")
    until(lambda: program(rec).running.state == "stopping")
    assert process.wait(10) == 0
    until(lambda: not program(rec).is_connected)
    assert not [line for line in layers.log if line.level == "error"]


def test_it_waits_for_a_server_and_comes_back(serve, receiver, until):
    process, port = serve()
    process.kill()
    process.wait()
    rec = receiver(f"atoplace+ws://127.0.0.1:{port}")
    until(lambda: "waiting for atoplace" in rec.sources[0].state)
    for _ in range(2):
        process, _ = serve(port)
        until(lambda: rec.sources[0].publishers == ("atoplace",))
        until(lambda: "components" in rec.layers)
        process.kill()
        until(lambda: not rec.sources[0].publishers)
    rec.close()
