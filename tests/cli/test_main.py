from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_streaming import bench, demo
from napari_streaming.cli import publish
from napari_streaming.cli.main import app
from napari_streaming.demo import __main__ as demo_program
from napari_streaming.receive.catalog import StreamedLayer
from napari_streaming.receive.receiver import Receiver
from napari_streaming.uri import SCHEMES


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    iio.imwrite(path, np.full((4, 5, 3), 7, np.uint8))
    return path


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.ome.tif"
    data = np.arange(6 * 64 * 64, dtype="uint16").reshape(3, 2, 64, 64)
    metadata = {
        "axes": "TCYX",
        "Channel": {"Name": ["DAPI", "GFP"]},
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
    }
    tifffile.imwrite(path, data, metadata=metadata)
    return path


@pytest.fixture
def viewer(request):
    url = f"memory://{request.node.name}"
    with Receiver(f"{url}?listen") as receiver:
        receiver.url = url
        yield receiver


# ---- the command line --------------------------------------------------------------------


def test_help_lists_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    for command in ("view", "viewers", "publish", "watch", "demo", "bench"):
        assert command in result.stdout


@pytest.mark.parametrize("command", ["view", "viewers", "publish", "watch", "demo", "bench"])
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.strip()


def test_version():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (
        0,
        f"napari-streaming {version('napari-streaming')}\n",
    )


def test_what_a_command_needs_is_not_imported_for_help():
    code = """
import sys
from typer.testing import CliRunner
from napari_streaming.cli.main import app
assert CliRunner().invoke(app, ["publish", "--help"]).exit_code == 0
heavy = {"napari", "qtpy", "vispy", "skimage", "scipy", "tifffile", "zarr", "imageio"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_is_one_line_and_no_traceback(picture):
    done = subprocess.run(
        [sys.executable, "-m", "napari_streaming", "publish", picture, "--to", "http://h:1#s3cret"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "napari-streaming: 'http://h:1': a stream URL starts with one of "
        f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}\n"
    )


def test_ctrl_c_has_its_own_exit_code(monkeypatch):
    def interrupted(name, json_path):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    assert run("bench", "local").exit_code == 130


def test_the_benchmark_gets_its_name_and_file(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(bench, "run", lambda *arguments: calls.append(arguments))
    assert run("bench", "local").exit_code == 0
    assert run("bench", "local", "--json", tmp_path / "numbers.json").exit_code == 0
    assert calls == [("local", "-"), ("local", str(tmp_path / "numbers.json"))]


# ---- publish -----------------------------------------------------------------------------


def test_publish_sends_every_plane_with_its_coordinates(viewer, stack, picture):
    result = run("publish", stack, picture, "--to", viewer.url)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "stack: plane 6 of 6",
        "picture: plane 1 of 1",
        "7 planes, 0.0 MB sent, 0 dropped; the viewer acknowledged all.",
    ]
    assert [layer.stats().received for layer in viewer.layers.values()] == [6, 1]
    np.testing.assert_array_equal(viewer.layers["stack"].data[2, 1], tifffile.imread(stack)[2, 1])
    np.testing.assert_array_equal(viewer.layers["picture"].data, iio.imread(picture))


def test_files_under_one_name_stack_along_an_axis(viewer, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for value, path in enumerate(paths):
        iio.imwrite(path, np.full((4, 5), value, np.uint8))
    result = run("publish", *paths, "--to", viewer.url, "--name", "both")
    assert result.exit_code == 0, result.output
    assert list(viewer.layers) == ["both"]
    assert np.asarray(viewer.layers["both"].data).tolist() == [[[0] * 5] * 4, [[1] * 5] * 4]


def test_files_of_the_same_name_keep_apart(viewer, tmp_path):
    paths = [tmp_path / folder / "image.png" for folder in ("day1", "day2")]
    for path in paths:
        path.parent.mkdir()
        iio.imwrite(path, np.zeros((4, 5), np.uint8))
    assert run("publish", *paths, "--to", viewer.url).exit_code == 0
    assert list(viewer.layers) == [str(path) for path in paths]


def test_a_viewer_slower_than_the_disk_misses_nothing(viewer, tmp_path, monkeypatch):
    put = StreamedLayer.put_plane

    def put_slowly(layer, at, plane, *more):
        time.sleep(0.005)
        return put(layer, at, plane, *more)

    monkeypatch.setattr(StreamedLayer, "put_plane", put_slowly)
    monkeypatch.setattr(publish, "_MEMORY", 4 * 1024 * 1024)
    tifffile.imwrite(tmp_path / "long.tif", np.zeros((100, 512, 512), np.uint8))
    result = run("publish", tmp_path / "long.tif", "--to", viewer.url)
    assert "100 planes, 26.2 MB sent, 0 dropped" in result.stdout, result.output
    assert viewer.layers["long"].stats().received == 100


@pytest.mark.parametrize("listen", ["", "?listen"])
def test_publish_gives_up_when_there_is_no_viewer(picture, listen):
    result = run("publish", picture, "--to", f"memory://nobody{listen}", "--timeout", 0.2)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no viewer took the data within 0.2 s" in result.stderr
    assert "napari-streaming view" in result.stderr


def test_publish_looks_at_all_files_before_it_sends_one(viewer, picture, tmp_path):
    result = run("publish", picture, tmp_path / "nope.tif", "--to", viewer.url)
    assert result.exit_code == 1
    assert "nope.tif: there is no such file" in result.stderr
    assert not viewer.layers


# ---- the demo's pipeline -----------------------------------------------------------------


def test_the_demo_publishes_every_well(viewer):
    demo_program.run(viewer.url)
    layers = viewer.layers
    counts = [len(np.unique(labels)) - 1 for labels in np.asarray(layers["nuclei"].data)]
    assert list(layers.metrics["nuclei count"].values) == counts
    lines = {(line.level, line.text) for line in layers.log}
    assert ("complete", "nuclei demo: 6 wells done") in lines
    assert set(layers) == {"tissue", "hematoxylin", "DAB", "nuclei", "centroids"}
    assert {layer.stats().received for layer in layers.values()} == {6}
    assert layers["nuclei"].data.shape[:3] == (6, 256, 170)
    outline = layers.outlines["nuclei demo"]
    assert [step.name for step in outline.steps if not step.streamed] == ["unmix", "mask"]
    assert "stays in memory" in outline.steps[1].why and "switched off" in outline.steps[4].why
    assert {(step.done, step.total) for step in outline.steps} == {(6, 6)}


def test_the_demo_does_without_a_viewer(capsys):
    demo_program.run("memory://nobody")
    assert "2. unmix\n     written:  nowhere\n     streamed: no" in capsys.readouterr().out


def test_the_demo_pipeline_needs_neither_napari_nor_qt():
    code = (
        f"import sys, {demo.__name__}.__main__\n"
        "print(sorted({'napari', 'qtpy', 'vispy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
