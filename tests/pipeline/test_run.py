"""Runs in this process: what is written, what is streamed, and what may go wrong."""

from __future__ import annotations

import logging
import socket
import threading
import weakref

import numpy as np
import pytest
import tifffile

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline import Materialize, Pipeline, Points, Source, Step, Storage, Stream
from napari_streaming.pipeline.run import Progress
from napari_streaming.wire.messages import Item, Metric, Outline, Status

URL = "memory://test"
OUT = Materialize("out")


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def of_well(received, name):
    return received.layers[name].stats().received


@pytest.fixture
def run(tmp_path):
    """Run steps on the wells of a test."""

    def run(*steps, source, executor="serial", axes=("well",), wells=None, stream=None, **options):
        stream = stream or Stream(url=URL)
        plan = Pipeline(steps, axes, stream=stream).compile(source, root=tmp_path, wells=wells)
        return plan.run(executor, **options)

    return run


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_what_is_written_is_streamed_and_nothing_else(run, steps, receiver, tmp_path, executor):
    viewer = receiver()
    result = run(
        Step("denoise", steps.double, stream=Stream()),
        Step("segment", steps.threshold, materialize=OUT, stream=Stream(wells=["A01", "A03"])),
        Step(
            "measure", steps.double, output=Materialize("z", "zarr"), stream=Stream(layer="labels")
        ),
        Step("secret", steps.double, output=OUT, stream=Stream(enabled=False)),
        source=steps.wells(3),
        executor=executor,
    )
    assert result.ok
    result.raise_for_failures()
    assert set(result.done) == {"A01", "A02", "A03"}
    assert {name: of_well(viewer, name) for name in viewer.layers} == {"segment": 2, "measure": 3}
    assert viewer.layers["measure"].kind == "labels"
    wells = ("A01", "A02", "A03")
    assert set(result.written) == {
        *(f"out/segment/{well}.ome.tif" for well in wells),
        *(f"z/measure/{well}.ome.zarr" for well in wells),
        *(f"out/secret/{well}.ome.tif" for well in wells),
    }
    mask = tifffile.imread(tmp_path / "out/segment/A02.ome.tif")
    np.testing.assert_array_equal(mask, np.ones((64, 64)))


def test_written_as_both_it_is_streamed_once(run, steps, receiver, tmp_path):
    viewer = receiver()
    step = Step("a", steps.double, output=OUT, materialize=Materialize("check"))
    run(step, source=steps.wells(1))
    assert files(tmp_path) == ["check/a/A01.ome.tif", "out/a/A01.ome.tif"]
    assert of_well(viewer, "a") == 1


def test_what_is_there_is_neither_written_nor_streamed(run, steps, receiver, tmp_path):
    viewer = receiver()
    old = np.full((64, 64), 99, np.uint16)
    with Storage(tmp_path) as store:
        store.save_batch([old], ["out/a/A01.ome.tif"], "disk", at=[{"well": "A01"}])
    keep = Step("a", steps.double, output=Materialize("out", overwrite=False))
    result = run(keep, source=steps.wells(2))
    assert result.ok and result.written == ("out/a/A02.ome.tif",)
    assert of_well(viewer, "a") == 1
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/a/A01.ome.tif"), old)
    again = run(Step("a", steps.double, output=OUT), source=steps.wells(1))
    assert again.written == ("out/a/A01.ome.tif",)
    assert tifffile.imread(tmp_path / "out/a/A01.ome.tif")[0, 0] == 2


def test_it_is_in_the_file_before_it_is_in_the_viewer(run, steps, party, tmp_path):
    seen = []
    viewer = party(URL + "?listen", "view")
    path = tmp_path / "out/a/A01.ome.tif"
    viewer.on_received = lambda _, message: (
        isinstance(message, Item) and seen.append(tifffile.imread(path)[0, 0])
    )
    run(Step("a", steps.double, output=OUT), source=steps.wells(1))
    assert seen == [2]


def test_planes_of_a_well_share_a_file_as_far_as_ome_has_axes(run, receiver, tmp_path):
    viewer = receiver()
    array = np.arange(2 * 2 * 3 * 8 * 8, dtype=np.uint16).reshape(2, 2, 3, 8, 8)
    source = Source.mapping(
        {"A01": array},
        axes=("site", "channel", "z", "y", "x"),
        labels={"site": [1, 2], "channel": ["DAPI", "GFP"]},
    )
    result = run(
        Step("copy", np.copy, output=OUT), source=source, axes=("well", "site", "channel", "z")
    )
    assert result.written == ("out/copy/A01_site-1.ome.tif", "out/copy/A01_site-2.ome.tif")
    with tifffile.TiffFile(tmp_path / "out/copy/A01_site-2.ome.tif") as file:
        assert file.series[0].axes in ("CZYX", "ZCYX")
        whole = file.series[0].asarray()
    whole = whole if whole.shape[0] == 2 else whole.swapaxes(0, 1)
    np.testing.assert_array_equal(whole, array[1])
    assert viewer.layers["copy"].data.shape == (1, 2, 2, 3, 8, 8)


def test_points_and_numbers(run, steps, party, tmp_path):
    viewer = party(URL + "?listen", "view")

    def spots(plane):
        return Points(np.argwhere(plane > 1), {"size": np.ones(plane.size)})

    result = run(
        Step("spots", spots, output=OUT),
        Step("mean", np.mean, inputs=["source"], output=OUT),
        source={"A01": np.full((2, 2), 7)},
    )
    assert result.written == ("out/spots/A01.csv", "out/mean/A01.csv")
    assert (tmp_path / "out/mean/A01.csv").read_text().split()[-1].split(",")[-1] == "7.0"
    (metric,) = viewer.messages(Metric)
    assert (metric.name, metric.steps, metric.values) == ("mean", [1.0], [7.0])
    (item,) = viewer.messages(Item)
    assert item.at == {"well": "A01"}


def test_numbers_lie_along_their_graph_in_the_order_of_the_plate(run, receiver, until):
    viewer = receiver()
    values = {"B01": 3.0, "A02": 2.0, "A01": 1.0}
    source = {(w, c): np.full((2, 2), v) for w, v in values.items() for c in ("DAPI", "GFP")}
    mean = Step("mean", np.mean, output=OUT, stream=Stream(name="brightness"))
    run(mean, source=source, axes=("well", "channel"))
    until(lambda: all(len(series) == 3 for series in viewer.layers.metrics.values()))
    assert {
        name: dict(zip(series.steps, series.values, strict=True))
        for name, series in viewer.layers.metrics.items()
    } == {f"brightness/{channel}": {1: 1, 2: 2, 3: 3} for channel in ("DAPI", "GFP")}
    said = [line.text for line in viewer.layers.log if "graph" in line.text]
    assert said == ["graph brightness: along it 1 to 2 are A01 to A02, 3 is B01"]


def test_a_step_that_raises_costs_its_well_and_viewers_are_told(run, steps, party):
    viewer = party(URL + "?listen", "view")
    ran = []
    result = run(
        Step("good", steps.double, inputs=["source"], output=OUT),
        Step("bad", steps.fail_on_two, inputs=["source"]),
        Step("after", lambda plane: ran.append(plane[0, 0]) or plane),
        source=steps.wells(3),
    )
    assert not result.ok and result.done == ("A01", "A03") and ran == [1, 3]
    (failure,) = result.failures
    assert (failure.well, failure.step, failure.error) == ("A02", "bad", "ValueError: no focus")
    assert "fail_on_two" in failure.traceback
    assert "out/good/A02.ome.tif" in result.written  # what was written before stays
    with pytest.raises(
        PipelineError, match="1 of 3 wells failed:\n  step 'bad', well A02: ValueError"
    ):
        result.raise_for_failures()
    said = [(status.level, status.text) for status in viewer.messages(Status)]
    assert said[0] == ("error", "step 'bad', well A02: ValueError: no focus")
    assert said[-1] == ("error", "pipeline: 1 of 3 wells failed")
    last = viewer.messages(Outline)[-1]
    assert [(s.name, s.done, s.failed, s.total) for s in last.steps] == [
        ("good", 3, 0, 3),
        ("bad", 2, 1, 3),
        ("after", 2, 0, 3),
    ]
    assert [s.streamed for s in last.steps] == [True, False, False]
    assert last.steps[0].written == "main output: out/good (disk)"
    assert "stays in memory" in last.steps[1].why


def test_sys_exit_in_a_step_is_its_wells_affair(run, steps):
    result = run(Step("quit", lambda plane: exit(3)), source=steps.wells(1))
    assert result.failures[0].error == "SystemExit: 3"


def test_a_source_that_cannot_be_read(run, steps, tmp_path):
    result = run(
        Step("a", steps.double), source={"A01": tmp_path / "no.tif", **steps.wells(1), "B": "x.tif"}
    )
    assert [failure.step for failure in result.failures] == ["source"]
    assert "no such file" in result.failures[0].error


@pytest.mark.parametrize("name", ["out", "out/a"])
def test_a_folder_that_cannot_be_written_to_is_found_first(run, steps, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("a file is in the way")
    ran = []
    with pytest.raises(
        PipelineError, match=r"step 'a': its main output cannot be written to .*out/a"
    ):
        run(Step("a", ran.append, output=OUT), source=steps.wells(1))
    assert not ran


def test_a_write_that_fails_is_not_streamed(run, steps, receiver, tmp_path):
    viewer = receiver()
    (tmp_path / "out/a/A02.ome.tif").mkdir(parents=True)
    (tmp_path / "out/a/A02.ome.tif/x").touch()
    result = run(Step("a", steps.double, output=OUT), source=steps.wells(3))
    (failure,) = result.failures
    assert (failure.well, failure.step) == ("A02", "a")
    assert "out/a/A02.ome.tif (disk): " in failure.error
    assert of_well(viewer, "a") == 2


def test_a_dry_run_touches_nothing(run, steps, tmp_path):
    ran = []
    result = run(
        Step("a", ran.append, output=OUT),
        source={"A01": lambda: ran.append(1)},
        stream=Stream(url="tcp://127.0.0.1:5999"),
        dry_run=True,
    )
    assert result.ok and result.done == () and not ran and files(tmp_path) == []
    assert str(result) == (
        "dry run, nothing was done; a run does this:\n"
        "pipeline: 1 well, 1 step\n"
        "1. a\n"
        "     written:  main output: out/a (disk)\n"
        "     streamed: to tcp://127.0.0.1:5999: it is written as main output"
    )
    assert result.dry.steps[0].streamed == 1
    assert not (tmp_path / "out").exists()


def test_a_result_can_be_printed(run, steps):
    result = run(Step("a", steps.fail_on_two, output=OUT), source=steps.wells(2))
    assert result.dry is None
    assert str(result) == (
        "1 of 2 wells done, 1 file written\n  step 'a', well A02: ValueError: no focus"
    )
    assert str(run(Step("a", np.copy, output=OUT), source=steps.wells(1))).startswith(
        "1 of 1 well "
    )


def test_a_step_that_writes_to_its_input_is_named(run, steps):
    def spoil(plane):
        plane += 1
        return plane

    result = run(Step("spoil", spoil), source=steps.wells(1))
    says = str(result.failures[0])
    assert says.startswith("step 'spoil', well A01: it writes to a read-only array")
    assert "plane = plane.copy()" in says


def test_a_scale_of_too_many_numbers_names_the_step_and_the_well(run, steps):
    step = Step("a", steps.double, output=OUT, stream=Stream(scale=(9, 9, 1, 1)))
    result = run(step, source=steps.wells(1))
    says = str(result.failures[0])
    assert says.startswith("step 'a', well A01: ") and "scale=(9, 9, 1, 1): 4 values for 2" in says


def test_without_a_screen_the_run_goes_on(run, steps, monkeypatch, caplog):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    result = run(
        Step("a", steps.double, output=OUT),
        source=steps.wells(2),
        stream=Stream(url="tcp://127.0.0.1:5998"),
    )
    assert result.ok and len(result.written) == 2
    assert "the run goes on without this viewer" in caplog.text


def test_a_foreign_program_on_the_port_is_a_warning(run, steps, monkeypatch, caplog):
    monkeypatch.setenv("DISPLAY", ":99")  # it is not got that far
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run(
            Step("a", steps.double, output=OUT),
            source=steps.wells(1),
            stream=Stream(url=f"tcp://127.0.0.1:{port}"),
        )
    assert result.ok
    assert f"tcp://127.0.0.1:{port} is taken by" in caplog.text


def test_an_address_that_is_taken_is_a_warning(run, steps, receiver, caplog):
    receiver(URL + "?listen")
    result = run(
        Step("a", steps.double, output=OUT),
        source=steps.wells(1),
        stream=Stream(url=URL + "?listen"),
    )
    assert result.ok and "nothing is streamed to memory://test?listen" in caplog.text


def test_what_cannot_be_streamed_is_written_and_warned_of_once(run, steps, party, caplog):
    viewer = party(URL + "?listen", "view")
    volume = np.ones((3, 4, 5), np.uint8)
    result = run(
        Step("a", np.copy, output=OUT, stream=Stream(name="x" * 300)),
        source={"A01": volume, "A02": volume},
    )
    assert result.ok and len(result.written) == 2
    warned = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1 and "is written, but not streamed" in warned[0].getMessage()
    assert [s.level for s in viewer.messages(Status)] == ["warning", "complete"]


def test_progress_is_told_well_by_well(run, steps):
    told = []
    run(Step("a", steps.fail_on_two), source=steps.wells(3), on_progress=told.append)
    assert told == [Progress("A01", 1, 0, 3), Progress("A02", 1, 1, 3), Progress("A03", 2, 1, 3)]


def test_threads_work_at_the_same_time(run, steps):
    barrier = threading.Barrier(3)
    result = run(
        Step("meet", lambda plane: float(barrier.wait(20))),
        source=steps.wells(3),
        executor="threads",
        workers=3,
    )
    assert result.ok


def test_planes_are_let_go_when_no_step_needs_them_any_more(run):
    made, alive = [], []

    def fresh(plane):
        copy = plane.copy()
        made.append(weakref.ref(copy))
        return copy

    def look(plane):
        alive.extend(one() is not None for one in made)
        return plane

    source = {"A01": np.ones((4, 4))}
    assert run(Step("one", fresh), Step("two", fresh), Step("look", look), source=source).ok
    assert alive == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "cluster"}, "executor='cluster': use"),
        ({"workers": 0}, "workers=0"),
        ({"workers": True}, "workers=True"),
    ],
)
def test_runs_that_there_are_not(run, steps, options, message):
    with pytest.raises(PipelineError, match=message):
        run(Step("a", steps.double), source=steps.wells(1), **options)
