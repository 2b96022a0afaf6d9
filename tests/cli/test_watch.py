"""The command ``napari-streaming watch`` as a process, and a writer that is one of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from napari_streaming.receive.receiver import Receiver

WRITER = """
import os, pathlib, time
import numpy as np, tifffile, zarr
def start(path):
    global folder, made
    folder = pathlib.Path(path)
    made = folder.parent / "made.tif"
def tiff(name, value, shape=(32, 32)):
    tifffile.imwrite(folder / name, np.full(shape, value, "u2"))
def write_slowly(name, value, pause):
    tifffile.imwrite(made, np.full((64, 64), value, "u2"))
    content = made.read_bytes()
    with open(folder / name, "wb", buffering=0) as file:
        for start in range(0, len(content), 512):
            file.write(content[start : start + 512])
            time.sleep(pause)
def rename(name, value):
    tifffile.imwrite(made, np.full((32, 32), value, "u2"))
    os.rename(made, folder / name)
def grow(name, planes):
    axes = [{"name": axis} for axis in "tyx"]
    image = {"axes": axes, "datasets": [{"path": "0"}]}
    said = {"ome": {"version": "0.5", "multiscales": [image]}}
    group = zarr.create_group(folder / name, attributes=said)
    array = group.create_array("0", shape=(0, 32, 32), chunks=(1, 16, 16), dtype="u2")
    for t in range(planes):
        array.resize((t + 1, 32, 32))
        array[t] = t + 1
"""


class Command:
    """The console command, and what it says."""

    def __init__(self, *arguments, under=()):
        program = shutil.which("napari-streaming", path=os.path.dirname(sys.executable))
        self._process = subprocess.Popen(
            [*under, program, "watch", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stderr:
            self.lines.append(line.rstrip())

    def said(self, text):
        return [line for line in self.lines if text in line]

    def end(self, number=signal.SIGINT):
        """Interrupt it; return its exit code and the last line of its output."""
        self._process.send_signal(number)
        code = self._process.wait(30)
        self._reader.join()
        return code, self._process.stdout.read().strip()

    def clean_up(self):
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._process.stderr.close()


@pytest.fixture
def command():
    made = []

    def start(*arguments, **options):
        made.append(Command(*arguments, **options))
        return made[-1]

    yield start
    for one in made:
        one.clean_up()


@pytest.fixture
def writer(remote, tmp_path):
    """Start a process that writes files in the folder that is watched."""
    (tmp_path / "results").mkdir()
    process = remote()
    process(WRITER)
    process(f"start({str(tmp_path / 'results')!r})")
    return process


@pytest.fixture
def viewer():
    with Receiver("tcp://127.0.0.1:0?listen") as receiver:
        yield receiver


def address(urls):
    """Return the only URL without its token, which is found on this machine."""
    return urls[0].split("#")[0]


def first_pixels(viewer, name):
    """Return the first pixel of each plane of a layer."""
    layer = viewer.layers.get(name)
    return [] if layer is None else np.asarray(layer.data)[..., 0, 0].reshape(-1).tolist()


def test_a_writer_that_is_slow_renames_overwrites_and_grows(
    command, writer, viewer, tmp_path, until
):
    watch = command(tmp_path / "results", "--to", address(viewer.urls), "--settle", 0.2)
    until(lambda: watch.said("watching"))
    writer.tell("write_slowly('slow.tif', 7, 0.02)")
    writer.answer()
    until(lambda: first_pixels(viewer, "slow") == [7])
    writer("rename('renamed.tif', 3)")
    until(lambda: first_pixels(viewer, "renamed") == [3])
    writer("tiff('renamed.tif', 4)")
    until(lambda: first_pixels(viewer, "renamed") == [4])
    writer("grow('run.ome.zarr', 10)")
    until(lambda: first_pixels(viewer, "run") == list(range(1, 11)))
    code, summary = watch.end()
    assert code == 0, watch.lines
    assert summary == "3 files, 1 zarr array: 13 planes streamed"
    assert not watch.said("cannot be read")


def test_a_pattern_and_files_that_cannot_be_read(command, writer, viewer, tmp_path, until):
    (tmp_path / "results" / "A01_s9.tif").write_bytes(b"rubbish")
    watch = command(
        tmp_path / "results", "--to", address(viewer.urls),
        "--pattern", "{well}_s{site}.tif", "--name", "raw", "--settle", 0.05,
    )  # fmt: skip
    for number, well in enumerate(("A01", "B01", "C01")):
        writer(f"tiff('{well}_s1.tif', {number})")
    writer("tiff('preview.tif', 1)")
    until(lambda: watch.said("A01_s9.tif"))
    until(lambda: sorted(first_pixels(viewer, "raw")) == [0, 1, 2])
    until(lambda: watch.said("preview.tif does not fit"))
    assert set(viewer.layers["raw"].coordinates["well"]) == {"A01", "B01", "C01"}
    until(lambda: any("A01_s9.tif" in line.text for line in viewer.layers.log))
    code, summary = watch.end(signal.SIGTERM)
    assert code == 0
    assert "1 could not be read or shown; 1 file did not fit the pattern" in summary


def test_a_viewer_that_is_killed_and_started_again_has_everything(
    command, writer, remote, tmp_path, until
):
    def start(url):
        process = remote()
        process("from napari_streaming.receive.receiver import Receiver")
        process(f"rec = Receiver({url!r})")
        return process

    first = start("tcp://127.0.0.1:0?listen")
    url = address(first("rec.urls"))
    watch = command(tmp_path / "results", "--to", url, "--pattern", "t{t}.tif", "--settle", 0.1)
    for t in range(5):
        writer(f"tiff('t{t}.tif', {t})")
    first.until("bool(rec.layers) and rec.layers['results'].stats().received == 5")
    first.kill()
    for t in range(5, 10):
        writer(f"tiff('t{t}.tif', {t})")
    until(lambda: watch.said("no viewer is there"))
    second = start(url + "?listen")
    second.until("bool(rec.layers) and rec.layers['results'].stats().received == 10")
    assert watch.said("a viewer is there")
    code, summary = watch.end()
    assert (code, summary) == (0, "10 files, 0 zarr arrays: 10 planes streamed")


def test_the_system_may_refuse_to_tell(command, viewer, tmp_path, until):
    """In a user namespace, which has a limit of its own."""
    folder = tmp_path / "results"
    (folder / "inner").mkdir(parents=True)
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    limit = "echo 1 > /proc/sys/user/max_inotify_watches"
    if subprocess.run([*limited, limit], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    watch = command(
        folder, "--to", address(viewer.urls), under=[*limited, f'{limit}; exec "$@"', "sh"]
    )
    until(lambda: watch.said("fs.inotify.max_user_watches"))
    (folder / "inner" / "log.txt").write_text("no image")
    shutil.copy(make_picture(tmp_path), folder / "inner" / "a.png")
    until(lambda: "inner/a" in viewer.layers)
    assert watch.end()[0] == 0


def make_picture(folder):
    import imageio.v3 as iio

    iio.imwrite(folder / "a.png", np.zeros((8, 8), np.uint8))
    return folder / "a.png"


def test_bad_arguments_are_one_line(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "napari_streaming", "watch", *map(str, arguments)],
            capture_output=True,
            text=True,
        )

    done = run(tmp_path, "--pattern", "cells.tif")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("napari-streaming: pattern 'cells.tif' has no fields; write")
    (tmp_path / "a.tif").touch()
    done = run(tmp_path / "a.tif")
    assert done.returncode == 1
    assert "is a file; name the folder that it is in" in done.stderr


def test_it_ends_well_where_no_viewer_ever_was(command, tmp_path, until):
    (tmp_path / "results").mkdir()
    with Receiver("tcp://127.0.0.1:0?listen") as viewer:
        url = address(viewer.urls)
    make_picture(tmp_path / "results")
    watch = command(tmp_path / "results", "--to", url, "--timeout", 0.2)
    until(lambda: watch.said("no viewer is there"))
    code, summary = watch.end()
    assert code == 0  # nothing was read, so nothing is lost
    assert summary == "0 files, 0 zarr arrays: 0 planes streamed; 1 not finished or not taken"


def test_what_may_not_be_read_is_told(command, viewer, tmp_path, until):
    """As a user who may not read everything; root may, unless it gives that right up."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if os.getuid():
        drop = []
    elif subprocess.run([*drop, "true"], capture_output=True).returncode:
        pytest.skip("root may read everything here")
    (tmp_path / "secret").mkdir()
    shutil.copy(make_picture(tmp_path), tmp_path / "b.png")
    os.chmod(tmp_path / "secret", 0)
    os.chmod(tmp_path / "b.png", 0)
    watch = command(tmp_path, "--to", address(viewer.urls), "--settle", 0.05, under=drop)
    until(lambda: "a" in viewer.layers)
    until(lambda: watch.said("b.png cannot be read"))
    assert any("secret" in line for line in watch.said("is left out"))
    assert watch.end()[0] == 0
    os.chmod(tmp_path / "secret", 0o700)
