"""The byte budget over memory and disk, and the spill folder."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_streaming.receive import spill
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.placement import Axis
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.plane_stack import PlaneStack, StackView
from napari_streaming.receive.spill import SpilledPlanes, SpillFolder, spill_root, sweep

SHAPE, DTYPE = (64, 64), np.dtype("<u2")
SIZE = 64 * 64 * 2


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


class Run:
    """A stack over t, and what the user is told."""

    def __init__(self, planes: int):
        self.warnings: list[str] = []
        self.memory = PlaneMemory(planes * SIZE, Arena(), self.warnings.append)
        self.stack = PlaneStack(SHAPE, DTYPE, self.memory)
        self.axis = Axis("t")

    def put(self, t, stack=None):
        plane = np.full(SHAPE, t, DTYPE)
        stack = self.stack if stack is None else stack
        stack.make_room()
        stack.put({"t": t}, plane)
        self.axis.add(t)

    @property
    def view(self):
        return StackView(self.stack, [self.axis.view()])

    @property
    def files(self):
        home = self.stack._homes[self.stack.shape].path
        return [] if home is None else list(home.glob("c.*"))


@pytest.fixture
def slow_disk(monkeypatch):
    """The gate that each write waits at."""
    gate = threading.Event()
    write = SpilledPlanes.write

    def wait_and_write(self, plane):
        gate.wait(10)
        return write(self, plane)

    monkeypatch.setattr(SpilledPlanes, "write", wait_and_write)
    yield gate
    gate.set()


def test_nothing_is_written_while_the_budget_lasts():
    run = Run(100)
    for t in range(70):
        run.put(t)
    time.sleep(0.05)
    assert not spill_root().exists()


def test_the_budget_holds_and_every_plane_stays_readable():
    run = Run(20)
    most = 0
    for t in range(200):
        run.put(t)
        most = max(most, run.memory.held)
    assert most <= 20 * SIZE
    for t in [*range(200), *range(199, -1, -7)]:
        assert (run.view[t] == t).all()
        assert run.memory.held <= 20 * SIZE
    assert run.view.count_missing() == 0
    assert not run.warnings


def test_all_layers_share_the_budget_and_keep_their_newest_plane():
    run = Run(20)
    quiet = PlaneStack(SHAPE, DTYPE, run.memory)
    run.put(1000, quiet)
    newest = quiet.get({"t": 1000})
    for t in range(100):
        run.put(t)
    assert run.memory.held <= 20 * SIZE
    assert np.shares_memory(quiet.get({"t": 1000}), newest)


def test_what_was_read_lately_stays(until):
    run = Run(20)
    for t in range(200):
        run.put(t)
    until(lambda: len(run.files) == 185)
    first = run.view[3]
    assert np.shares_memory(run.view[3], first)
    for t in range(50, 53):
        run.view[t]
    assert np.shares_memory(run.view[3], first), "still in the quarter for reading"
    newest = run.view[190]
    np.asarray(run.view[:150])
    assert np.shares_memory(run.view[190], newest), "a look through the past pushed it out"


def test_a_smaller_budget_holds_from_now_on(until):
    run = Run(100)
    for t in range(60):
        run.put(t)
    run.memory.set_budget(20 * SIZE)
    until(lambda: run.memory.held - run.memory._saved_bytes <= 15 * SIZE)
    run.put(60)
    assert run.memory.held <= 20 * SIZE
    assert all((run.view[t] == t).all() for t in range(60))
    run.memory.set_budget(100 * SIZE)
    written = len(run.files)
    for t in range(61, 80):
        run.put(t)
    assert len(run.files) == written


def test_a_budget_smaller_than_a_plane():
    run = Run(0)
    for t in range(10):
        run.put(t)
    assert (np.asarray(run.view) == np.arange(10)[:, None, None]).all()


def test_what_lies_on_the_disk_is_a_zarr_array(until):
    run = Run(8)
    for t in range(20):
        run.put(t)
    until(lambda: len(run.files) >= 12)
    array = zarr.open_array(run.stack._homes[run.stack.shape].path, mode="r")
    assert array.shape[1:] == SHAPE
    assert array.dtype == DTYPE
    assert (array[5] == 5).all()
    assert not array[10**6].any()


@pytest.mark.parametrize("dtype", ["|b1", "|u1", "<i8", "<f2", "<f8"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (5, 6, 3)])
@pytest.mark.parametrize("limit", [0, 2**31], ids=["raw", "compressed"])
def test_dtypes_and_shapes_round_trip(monkeypatch, dtype, shape, limit):
    monkeypatch.setattr(spill, "_COMPRESSIBLE", limit)
    planes = SpilledPlanes(SpillFolder(), shape, np.dtype(dtype))
    plane = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    slot, back = planes.write(plane), np.empty_like(plane)
    planes.read(slot, back)
    np.testing.assert_array_equal(back, plane)
    np.testing.assert_array_equal(zarr.open_array(planes.path, mode="r")[slot], plane)
    chunk = next(planes.path.glob("c.*"))
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with pytest.raises(OSError, match="plane on the disk"):
        planes.read(slot, back)
    planes.delete(slot)
    with pytest.raises(FileNotFoundError):
        planes.read(slot, back)


def test_replaced_and_discarded_planes_leave_the_disk(until):
    run = Run(4)
    for _ in range(5):
        for t in range(20):
            run.put(t)
    until(lambda: len(run.files) <= 20)
    assert (np.asarray(run.view) == np.arange(20)[:, None, None]).all()
    run.stack.clear()
    until(lambda: not run.files)
    assert run.memory.held == 0


def test_a_slow_disk_is_waited_for(slow_disk):
    run = Run(8)
    threading.Timer(0.1, slow_disk.set).start()
    for t in range(40):
        run.put(t)
    assert not run.warnings
    assert run.view.count_missing() == 0


def test_a_stuck_disk_costs_the_oldest_planes_and_never_memory(slow_disk, monkeypatch):
    monkeypatch.setattr("napari_streaming.receive.plane_memory._SHORTEST_WAIT", 0.01)
    run = Run(8)
    for t in range(40):
        start = time.monotonic()
        run.put(t)
        assert time.monotonic() - start < 1.0
        assert run.memory.held <= 8 * SIZE
    view = run.view
    assert not view[20].any()
    assert not view.is_present((20,))
    assert all(view.is_present((t,)) for t in range(34, 40))
    assert len(run.warnings) == 1
    assert "faster than the disk" in run.warnings[0]


def _full(self, plane):
    raise OSError(errno.ENOSPC, "No space left on device")


def _check_memory_only(run, until):
    start = time.monotonic()
    for t in range(100):
        run.put(t)
        assert run.memory.held <= 20 * SIZE
    assert time.monotonic() - start < 5.0
    until(lambda: run.warnings)
    for t in range(100, 120):
        run.put(t)
    view = run.view
    assert not view[30].any()
    assert view.count_missing() == 100
    for t in range(100, 120):
        assert (view[t] == t).all()
    assert len(run.warnings) == 1
    assert "No space left" in run.warnings[0] or "nearly full" in run.warnings[0]


def test_a_full_disk_leaves_the_newest_in_memory(monkeypatch, until):
    monkeypatch.setattr(SpilledPlanes, "write", _full)
    _check_memory_only(Run(20), until)


def test_the_last_of_the_disk_is_left_to_others(monkeypatch, until):
    usage = namedtuple("usage", "free")(2**29)
    monkeypatch.setattr(spill.shutil, "disk_usage", lambda path: usage)
    _check_memory_only(Run(20), until)


def test_a_cache_folder_that_cannot_be_made(cache, until):
    (cache / "napari-streaming").write_text("in the way")
    run = Run(4)
    for t in range(20):
        run.put(t)
    until(lambda: run.warnings)
    assert (run.view[19] == 19).all()


def test_what_was_spilled_stays_readable_when_the_disk_fills_up(monkeypatch, until):
    run = Run(8)
    for t in range(20):
        run.put(t)
    until(lambda: len(run.files) == 14)
    monkeypatch.setattr(SpilledPlanes, "write", _full)
    for t in range(20, 40):
        run.put(t)
    assert all(run.view.is_present((t,)) for t in range(14))
    assert (run.view[5] == 5).all()


def test_a_plane_that_vanished_from_the_disk_is_missing(until):
    run = Run(4)
    for t in range(20):
        run.put(t)
    until(lambda: len(run.files) >= 16)
    for file in run.files:
        file.unlink()
    assert not run.view[2].any()
    assert not run.view.is_present((2,))
    assert len(run.warnings) == 1
    run.view[3]
    assert len([text for text in run.warnings if "cannot be read" in text]) <= 2


def test_many_read_and_replace_while_one_puts():
    run = Run(6)
    for t in range(30):
        run.put(t)
    wrong, done = [], threading.Event()

    def read(seed):
        rng = np.random.default_rng(seed)
        while not done.is_set():
            t = int(rng.integers(30))
            plane = run.view[t]
            if not (plane[0, 0] == t and (plane == plane[0, 0]).all()):
                wrong.append((t, plane.copy()))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 1.5
    t = 0
    while time.monotonic() < end:
        run.put(t % 30)
        t += 1
        assert run.memory.held <= 7 * SIZE
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not run.warnings


def test_the_folder_goes_with_the_memory(until):
    run = Run(2)
    for t in range(10):
        run.put(t)
    assert len(list(spill_root().iterdir())) == 1
    del run
    gc.collect()
    until(lambda: not list(spill_root().iterdir()))


_SPILL = """
import os, sys, numpy as np
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.plane_stack import PlaneStack
memory = PlaneMemory(8192, Arena(), print)
stack = PlaneStack((64, 64), np.dtype("<u2"), memory)
for t in range(50):
    stack.make_room()
    stack.put({"t": t}, np.zeros((64, 64), "<u2"))
if os.fork() == 0:
    sys.exit()
os.wait()
from napari_streaming.receive.spill import spill_root
assert list(spill_root().iterdir()), "a fork removed it"
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_folder_goes_at_exit_and_after_a_kill_at_the_next_start(until):
    subprocess.run([sys.executable, "-c", _SPILL, "exit"], check=True)
    assert not list(spill_root().iterdir())
    subprocess.run([sys.executable, "-c", _SPILL, "kill"], check=False)
    assert len(list(spill_root().iterdir())) == 1
    memory = PlaneMemory(2**20, Arena(), pytest.fail)
    until(lambda: not list(spill_root().iterdir()))
    del memory


def test_only_folders_of_dead_processes_of_this_machine_are_swept(monkeypatch):
    planes = SpilledPlanes(SpillFolder(), SHAPE, DTYPE)
    planes.write(np.zeros(SHAPE, DTYPE))
    mine = planes.path.parent
    machine, pid, started, _ = mine.name.split("+")
    elsewhere = spill_root() / f"{machine}x+{pid}+1.00+abc"
    reused = spill_root() / f"{machine}+{pid}+1.00+abc"
    strange = Path(spill_root() / "notes")
    for folder in (elsewhere, reused, strange):
        folder.mkdir()
    sweep()
    assert set(spill_root().iterdir()) == {mine, elsewhere, strange}
    del started
