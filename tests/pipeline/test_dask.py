"""Runs on a real Dask cluster of two worker processes, one of which is killed."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading

import numpy as np
import pytest
from distributed import Client, LocalCluster

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline import Materialize, Pipeline, Step, Stream
from napari_streaming.receive.receiver import Receiver

pytestmark = pytest.mark.timeout(180)
OUT = Materialize("out")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        memory_limit=0,
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def steps(steps, client):
    """Steps that workers which were there before the test can import, too."""
    folder = os.path.dirname(steps.__file__)
    client.run(lambda: __import__("sys").path.append(folder))
    return steps


@pytest.fixture
def plan(tmp_path):
    def plan(*steps, source, stream):
        return Pipeline(steps, stream=stream).compile(source, root=tmp_path)

    return plan


def left_behind(client):
    """Return what of runs is still at the workers."""
    found = client.run(lambda dask_worker: [*dask_worker.plugins])
    return [name for names in found.values() for name in names if "napari-streaming" in name]


@pytest.mark.parametrize("side", [64, 512], ids=["small", "large"])
def test_a_worker_that_is_killed_costs_nothing(
    plan, steps, receiver, client, tmp_path, until, side
):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    mark = tmp_path / "go"
    done = []

    def kill():
        """Kill the worker that waits at well A02, once what it had done before is on show."""
        until(mark.with_suffix(".pid").exists, timeout=60)
        until(lambda: len(done) == 5, timeout=60)
        until(lambda: viewer.layers["double"].stats().received == 5)
        os.kill(int(mark.with_suffix(".pid").read_text()), signal.SIGKILL)
        mark.touch()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    result = plan(
        Step("wait", steps.TellPid(mark)),
        Step("double", steps.double, output=OUT),
        source=steps.wells(6, (side, side)),
        stream=Stream(url=viewer.urls[0]),
    ).run(client, on_progress=done.append)
    killing.join()
    assert result.ok and sorted(result.done) == [f"A{n:02}" for n in range(1, 7)]
    assert [p.done for p in done] == [*range(1, 7)]
    layer = viewer.layers["double"]
    until(lambda: layer.stats().received == 6)
    assert list(viewer.layers) == ["double"] and layer.stats().dropped == 0
    assert layer.data.shape == (6, side, side)
    assert sorted(np.asarray(layer.data[i]).max() for i in range(6)) == [2, 4, 6, 8, 10, 12]
    until(lambda: viewer.layers.outlines["pipeline"].steps[0].done == 6)
    assert not left_behind(client)


def test_pixels_never_pass_the_scheduler(plan, steps, receiver, client, cluster, monkeypatch):
    monkeypatch.setitem(cluster.scheduler.handlers, "scatter", None)
    viewer = receiver("tcp://127.0.0.1:0?listen")
    result = plan(
        Step("mean", lambda plane: plane[:64, :64] + 1, output=OUT),
        # What is embedded in a task that the scheduler is sent is an error beyond 10 MB.
        source=steps.wells(2, (4096, 4096)),
        stream=Stream(url=viewer.urls[0]),
    ).run(client)
    assert result.ok and len(result.written) == 2


def test_viewers_are_led_to_workers_that_listen(plan, steps, receiver, client, until):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    stream = Stream(url=viewer.urls[0], workers="listen")
    step = Step("double", steps.double, output=OUT)
    assert plan(step, source=steps.wells(6), stream=stream).run(client).ok
    until(lambda: viewer.layers["double"].stats().received == 6)
    assert viewer.layers["double"].data.shape == (6, 64, 64)
    until(lambda: len(viewer.sources) == 1)  # the workers said that it is over


def test_a_run_that_listens_leads_its_viewer_to_the_workers(plan, steps, client, tmp_path, until):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    mark = tmp_path / "go"
    wait, double = Step("wait", steps.WaitFor(mark)), Step("double", steps.double, output=OUT)
    with Receiver(url) as viewer:

        def let_go():
            """Go on when the viewer knows of both workers."""
            until(lambda: len(viewer.sources) == 3, timeout=60)
            mark.touch()

        threading.Thread(target=let_go, daemon=True).start()
        there = plan(wait, double, source=steps.wells(6), stream=Stream(url=f"{url}?listen"))
        assert there.run(client).ok
        until(lambda: "double" in viewer.layers and viewer.layers["double"].stats().received == 6)


def test_what_goes_wrong_names_the_step_and_the_well(plan, steps, client, cluster, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    result = plan(
        Step("first", steps.fail_on_two, output=OUT),
        Step("deadly", steps.kill_on_three),
        source=steps.wells(4) | {"A09": open},
        stream=Stream(),
    ).run(client)
    # A04 may have waited on the worker that died, and is then under the same suspicion.
    failed = {failure.well: failure for failure in result.failures}
    assert {*result.done} | {*failed} == {"A01", "A02", "A03", "A04", "A09"}
    assert "A01" in result.done
    bad, dead, unreadable = failed["A02"], failed["A03"], failed["A09"]
    assert str(bad) == "step 'first', well A02: ValueError: no focus"
    assert dead.well == "A03" and "its worker died here or soon after, 1 time" in dead.error
    assert unreadable.step == "source"


def test_functions_that_workers_cannot_find(plan, client, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def copy(plane): return plane.copy()")
    monkeypatch.syspath_prepend(tmp_path)
    step = Step("a", importlib.import_module("only_here").copy)
    with pytest.raises(PipelineError, match=r"cannot load the pipeline.*only_here"):
        plan(step, source={"A01": np.ones((4, 4))}, stream=Stream()).run(client)


def test_what_cannot_be_sent_or_reached_is_said_before_anything_runs(plan, steps, client):
    lock = threading.Lock()
    with pytest.raises(PipelineError, match=r"step 'a'.*cannot be sent"):
        plan(Step("a", lambda _: lock), source=steps.wells(1), stream=Stream()).run(client)
    step = Step("a", steps.double, output=OUT)
    with pytest.raises(PipelineError, match="memory of this process"):
        plan(step, source=steps.wells(1), stream=Stream(url="memory://test")).run(client)


def test_a_run_that_is_broken_off_leaves_nothing_at_the_workers(plan, steps, client):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(Step("a", steps.double), source=steps.wells(9), stream=Stream()).run(
            client, on_progress=stop
        )
    assert not left_behind(client)


def test_a_closed_client(plan, steps, cluster):
    client = Client(cluster)
    client.close()
    with pytest.raises(PipelineError, match="the Dask client is closed"):
        plan(Step("a", abs), source={"A01": np.ones((4, 4))}, stream=Stream()).run(client)


def test_without_dask_it_is_said_what_to_install(plan):
    with pytest.raises(PipelineError, match=r'pip install "napari-streaming\[dask\]"'):
        plan(Step("a", abs), source={"A01": np.ones((4, 4))}, stream=Stream()).run("dask")


def test_workers_elsewhere_and_a_viewer_here(plan, steps, client, monkeypatch, caplog):
    monkeypatch.setattr("napari_streaming.pipeline.dask._own_addresses", set)
    step = Step("a", steps.double, output=OUT)
    stream = Stream(url="tcp://127.0.0.1:1#token")
    assert plan(step, source=steps.wells(1), stream=stream).run(client).ok
    assert "workers at 127.0.0.1 stream nothing" in caplog.text and "token" not in caplog.text
