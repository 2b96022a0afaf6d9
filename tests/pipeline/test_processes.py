"""Runs in other processes: planes of all of them in one layer, and processes that die."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline import Materialize, Pipeline, Source, Step, Stream
from napari_streaming.wire.messages import Item, Outline

OUT = Materialize("out")
STEPS = Path(__file__).parent / "importable"


@pytest.fixture
def run(tmp_path):
    """Run steps in two processes; none of them is left in the end."""

    def run(*steps, source, url="", workers=2, **options):
        plan = Pipeline(steps, stream=Stream(url=url)).compile(source, root=tmp_path)
        return plan.run("processes", workers=workers, **options)

    yield run
    assert not multiprocessing.active_children()


@pytest.fixture
def viewer(party):
    return party("tcp://127.0.0.1:0?listen", "view")


def shown(viewer):
    """Return the wells of the planes that a viewer got, of each layer."""
    return sorted(item.at["well"] for item in viewer.messages(Item))


def test_numbers_of_all_processes_are_one_curve(run, steps, receiver, tmp_path, until):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    (tmp_path / "met").mkdir()
    run(
        Step("meet", steps.Meet(tmp_path / "met", 2)),
        Step("mean", np.mean, output=OUT),
        source=steps.wells(6),
        url=viewer.urls[0].partition("#")[0],
    )
    until(lambda: len(viewer.layers.metrics.get("mean", ())) == 6)
    mean = viewer.layers.metrics["mean"]
    assert dict(zip(mean.steps, mean.values, strict=True)) == {n: n for n in range(1, 7)}
    until(lambda: any("1 to 6 are A01 to A06" in line.text for line in viewer.layers.log))


def test_planes_of_all_processes_fill_one_layer(run, steps, receiver, tmp_path, until):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    (tmp_path / "met").mkdir()
    told = []
    result = run(
        Step("meet", steps.Meet(tmp_path / "met", 2)),
        Step("double", steps.double, output=OUT),
        source=steps.wells(6),
        url=viewer.urls[0].partition("#")[0],
        on_progress=told.append,
    )
    assert result.ok and len(result.written) == 6 and [p.done for p in told] == [*range(1, 7)]
    until(lambda: viewer.layers["double"].stats().received == 6)
    assert list(viewer.layers) == ["double"]
    assert viewer.layers["double"].data.shape == (6, 64, 64)
    assert len(list((tmp_path / "met").iterdir())) == 2
    until(lambda: viewer.layers.outlines["pipeline"].steps[0].done == 6)


def test_a_step_that_raises_in_a_process(run, steps):
    result = run(Step("bad", steps.fail_on_two, output=OUT), source=steps.wells(3))
    (failure,) = result.failures
    assert str(failure) == "step 'bad', well A02: ValueError: no focus"
    assert 'raise ValueError("no focus")' in failure.traceback
    assert set(result.done) == {"A01", "A03"}


@pytest.mark.parametrize(("how", "said"), [("exit", "ended with 3"), ("kill", "killed by SIGKILL")])
def test_a_process_that_dies_takes_only_its_well_along(run, steps, viewer, tmp_path, how, said):
    others = {"A01", "A03", "A04", "A05"}
    mark = tmp_path / "others are on show"  # what a process sent in its last moment may be lost
    viewer.on_received = lambda *_: others <= set(shown(viewer)) and mark.touch()
    result = run(
        Step("first", steps.double, inputs=["source"], output=OUT),
        Step("deadly", steps.DieLast(mark, how), inputs=["source"]),
        source=steps.wells(5),
        url=viewer.url,
    )
    (failure,) = result.failures
    assert (failure.well, failure.step) == ("A02", "deadly")
    assert said in failure.error and "twice" in failure.error
    assert set(result.done) == others
    last = viewer.messages(Outline)[-1].steps[1]
    assert (last.done, last.failed) == (4, 1)


def test_a_well_whose_process_was_killed_once_is_done_by_another(
    run, steps, viewer, tmp_path, until
):
    result = run(
        Step("unlucky", steps.KillOnce(tmp_path / "killed")),
        Step("double", steps.double, output=OUT),
        source=steps.wells(4),
        url=viewer.url,
    )
    assert result.ok and (tmp_path / "killed").exists()
    until(lambda: shown(viewer) == ["A01", "A02", "A03", "A04"])


def test_a_disk_that_fills_up_costs_the_wells_it_has_no_room_for(run, steps, viewer, tmp_path):
    source = steps.wells(3, (256, 256))
    result = run(
        Step("fill", steps.fill_the_disk),
        Step("double", steps.double, output=OUT),
        source=source,
        url=viewer.url,
        workers=1,
    )
    assert result.done == ("A01",)
    assert [(f.well, f.step) for f in result.failures] == [("A02", "double"), ("A03", "double")]
    assert "out/double/A02.ome.tif (disk): " in result.failures[0].error
    assert [path.name for path in (tmp_path / "out/double").iterdir()] == ["A01.ome.tif"]
    assert shown(viewer) == ["A01"]


def test_a_frozen_viewer_and_a_killed_one_change_nothing(run, steps, remote, tmp_path):
    viewer = remote()
    viewer(
        "from napari_streaming.receive.receiver import Receiver\n"
        "from napari_streaming.settings import ReceiverSettings\n"
        "viewer = Receiver('tcp://127.0.0.1:0?listen', settings=ReceiverSettings(warm=0))"
    )
    url = viewer("viewer.urls[0].partition('#')[0]")
    mark = tmp_path / "go"

    def meanwhile(act):
        while not mark.with_suffix(".waiting").exists():
            pass
        act()
        mark.touch()

    for act in (viewer.freeze, viewer.kill):
        mark.unlink(missing_ok=True)
        mark.with_suffix(".waiting").unlink(missing_ok=True)
        thread = threading.Thread(target=meanwhile, args=(act,))
        thread.start()
        result = run(
            Step("wait", steps.WaitFor(mark)),
            Step("double", steps.double, output=OUT),
            source=steps.wells(4),
            url=url,
        )
        thread.join()
        assert result.ok and len(result.written) == 4


def test_functions_that_no_other_process_can_be_sent(run, steps):
    with pytest.raises(
        PipelineError, match=r"step 'b'.*cannot be sent.*def at the top of a module"
    ):
        run(Step("a", steps.double), Step("b", lambda plane: plane), source=steps.wells(1))


def test_functions_that_another_process_cannot_find(run, steps, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(STEPS)])
    with pytest.raises(PipelineError, match=r"cannot load the pipeline(.|\n)*pipeline_steps"):
        run(Step("a", steps.double), source=steps.wells(1))


def test_a_source_that_no_other_process_can_be_sent(run, steps):
    plane = steps.wells(1)["A01"]
    result = run(Step("a", steps.double), source={"A01": lambda: plane, "A02": plane})
    assert result.done == ("A02",)
    assert result.failures[0].step == "source" and "cannot be sent" in result.failures[0].error


@pytest.mark.parametrize("url", ["memory://test", "tcp://127.0.0.1:0?listen"])
def test_all_processes_have_to_connect(run, steps, url):
    with pytest.raises(PipelineError, match="has to connect to the viewer"):
        run(Step("a", steps.double, output=OUT), source=steps.wells(1), url=url)


def test_a_run_that_is_broken_off_leaves_no_process(run, steps):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Step("a", steps.double), source=steps.wells(9), on_progress=stop)


def test_no_wells_no_processes(steps, tmp_path):
    plan = Pipeline([Step("a", steps.double)]).compile(steps.wells(2), root=tmp_path, wells=0)
    assert plan.run("processes").ok


def test_wells_in_a_file_are_read_by_the_worker(run, steps, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "A01_w1.tif", steps.wells(1)["A01"])
    plan = Pipeline([Step("a", steps.double, output=OUT)], ["well", "channel"]).compile(
        Source.folder(tmp_path, "{well}_w{channel}.tif"), root=tmp_path
    )
    assert plan.run("processes", workers=1).written == ("out/a/A01.ome.tif",)


def test_a_script_without_its_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "from napari_streaming.pipeline import Pipeline, Step\n"
        "plan = Pipeline([Step('sum', np.sum)]).compile({'A01': np.ones((2, 2))})\n"
        "plan.run('processes')\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert run.returncode == 1
    assert 'needs its last lines under: if __name__ == "__main__":' in run.stderr
    assert run.stderr.count("Traceback") == 1
