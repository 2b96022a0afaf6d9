"""What is under a path is complete, and stays so: full disks, crashes, and who comes later."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_streaming.errors import StorageError
from napari_streaming.pipeline import Storage
from napari_streaming.pipeline.backends import atomic
from napari_streaming.pipeline.backends.atomic import replacing, tidy

FILES = [("disk", "w/A01.ome.tif"), ("zarr", "w/A01.ome.zarr")]
OLD, NEW = np.full((64, 64), 1, np.uint16), np.full((64, 64), 2, np.uint16)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def named(path: Path, pid: int, what: str) -> Path:
    """The name that another process would have for what it writes or sets aside."""
    return path.with_name(f".{path.name}.{atomic._host()}-{pid}-0123abcd.{what}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few hundred kilobytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("may not mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(("backend", "path"), [*FILES, ("disk", "w/p.csv")])
def test_a_full_disk_leaves_what_was_there(small_disk, backend, path):
    store = Storage(small_disk)
    old, large = (1.5, 2.5) if path.endswith("csv") else (OLD, noise())
    store.save_batch([old], [path], backend)
    if path.endswith("csv"):
        (small_disk / "filler").write_bytes(bytes(small_disk_left(small_disk)))
    with pytest.raises(StorageError) as raised:
        store.save_batch([large], [path], backend)
    said = str(raised.value)
    assert said.startswith(f"{path} ({backend}): ") and said.endswith(
        "; make room there, or save to another disk"
    )
    assert "No space left on device" in said or "not all could be written" in said
    assert np.array_equal(store.load_batch([path], backend)[0], old)
    assert left_over(small_disk) == []


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (1000, 1000)).astype(np.uint16)


def small_disk_left(folder: Path) -> int:
    free = os.statvfs(folder)
    return free.f_bavail * free.f_bsize


@pytest.mark.parametrize(("backend", "path"), FILES)
def test_a_file_that_may_not_grow_leaves_what_was_there(remote, tmp_path, backend, path):
    other = remote()
    other(
        "import numpy as np, resource; from napari_streaming.pipeline import Storage\n"
        f"store = Storage({str(tmp_path)!r})\n"
        f"store.save_batch([np.full((64, 64), 1, np.uint16)], [{path!r}], {backend!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "noise = np.random.default_rng(0).integers(0, 2**16, (1000, 1000)).astype(np.uint16)\n"
        "try:\n"
        f"    store.save_batch([noise], [{path!r}], {backend!r})\n"
        "except Exception as error:\n"
        "    said = type(error).__name__ + ': ' + str(error)\n"
    )
    said = other("said")
    assert said.startswith(f"StorageError: {path} ({backend}): ")
    assert "File too large; save to a disk" in said or "not all could be written" in said
    assert np.array_equal(Storage(tmp_path).load_batch([path], backend)[0], OLD)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(("backend", "path"), FILES)
def test_a_folder_that_may_not_be_written_to(tmp_path, backend, path):
    (tmp_path / "w").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"a part of the path is a file|choose another path"):
        Storage(tmp_path).save_batch([OLD], [path], backend)
    if os.getuid() == 0:
        return  # nothing is forbidden to root
    (tmp_path / "w").unlink()
    (tmp_path / "w").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied; choose a folder"):
        Storage(tmp_path).save_batch([OLD], [path], backend)


def test_a_folder_that_nobody_may_write_to():
    for backend, path in FILES:
        with pytest.raises(StorageError, match=r"choose a folder that you may write to|check the"):
            Storage("/proc/self/attr").save_batch([OLD], [path], backend)


def test_what_is_no_result_of_ours_is_not_replaced(tmp_path):
    for name in ("mine.ome.tif", "mine.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("three years")
    (tmp_path / "file.zarr").write_text("text")
    store = Storage(tmp_path)
    for backend, path, says in [
        ("disk", "mine.ome.tif", "there is a folder of this name"),
        ("zarr", "mine.zarr", "a folder that is no zarr"),
        ("zarr", "file.zarr", "a file of this name"),
    ]:
        with pytest.raises(StorageError, match=says):
            store.save_batch([OLD], [path], backend)
    assert (tmp_path / "mine.zarr/thesis.txt").read_text() == "three years"
    assert left_over(tmp_path) == []


PUT = """
import os, signal
from pathlib import Path
from napari_streaming.pipeline.backends import atomic

def dies_at(number, owner, names):
    calls = 0
    def wrapped(function):
        def call(*arguments, **named):
            nonlocal calls
            if (calls := calls + 1) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)
        return call
    for name in names:
        setattr(owner, name, wrapped(getattr(owner, name)))

def put(path, text, folder):
    with atomic.replacing(Path(path)) as draft:
        if folder:
            draft.mkdir()
        (draft / "0" if folder else draft).write_text(text)
"""


@pytest.mark.parametrize("kind", ["file", "folder", "folder of a system that cannot exchange"])
def test_a_crash_at_any_call_leaves_the_old_or_the_new(remote, tmp_path, kind):
    path, folder = tmp_path / "A01", kind != "file"
    file = path / "0" if folder else path
    seen, number, survived = [], 0, False
    while not survived:
        number += 1
        other = remote()
        other(PUT)
        other(f"put({str(path)!r}, 'old', {folder})")
        if "cannot" in kind:
            other("atomic._exchange = lambda one, other: False")
        # rmdir and unlink stand for the many calls by which the old one goes.
        names = ["rename", "replace", "fsync", "rmdir", "unlink"]
        other(f"dies_at({number}, os, {names})")
        other.tell(f"put({str(path)!r}, 'new', {folder})")
        try:
            other.answer()
            survived = True
        except AssertionError as error:
            assert "the process ended" in str(error)
            other.kill()
        if "cannot" not in kind:
            assert file.read_text() in ("old", "new")  # also before anybody tidies
        tidy(tmp_path)
        seen.append(file.read_text())
        assert left_over(tmp_path) == []
    assert set(seen) == {"old", "new"} and seen == sorted(seen, reverse=True)
    assert number > (5 if folder else 3)


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, texts = tmp_path / "a", ("a" * 300_000, "b" * 200_000)
    stop, halves = threading.Event(), []

    def put(text):
        with replacing(path) as draft:
            draft.write_text(text)

    def look():
        while not stop.is_set():
            if (text := path.read_text()) not in texts:
                halves.append(text)

    put(texts[0])
    reader = threading.Thread(target=look)
    reader.start()
    for number in range(100):
        put(texts[number % 2])
    stop.set()
    reader.join()
    assert not halves


def test_what_dead_processes_left_is_removed_or_put_back_and_nothing_else(tmp_path):
    gone, result = dead_pid(), tmp_path / "A01.zarr"
    kept = [
        named(result, os.getppid(), "new"),  # alive
        tmp_path / f".A01.zarr.00000000-{gone}-0123abcd.new",  # of another machine
        tmp_path / ".hidden.new",
    ]
    for path in (*kept, named(result, gone, "new"), named(tmp_path / "b", gone, "old")):
        path.write_text("x")
    named(tmp_path / "c.zarr", gone, "new").mkdir()
    (named(tmp_path / "c.zarr", gone, "new") / "0").write_text("half")
    tidy(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "b"])
    named(tmp_path / "b", gone, "old").write_text("older")
    tidy(tmp_path)
    assert (tmp_path / "b").read_text() == "x" and not named(tmp_path / "b", gone, "old").exists()


def test_a_number_that_another_process_has_by_now_is_a_dead_one(tmp_path):
    left = named(tmp_path / "a", os.getppid(), "new")
    left.write_text("x")
    os.utime(left, (1000, 1000))  # long before that process began
    tidy(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(("backend", "path"), FILES)
def test_many_threads_save_to_one_path(tmp_path, backend, path):
    store = Storage(tmp_path)
    start = threading.Barrier(4)
    failures = []

    def save(number):
        start.wait()
        try:
            for _ in range(5):
                store.save_batch([np.full((64, 64), number, np.uint16)], [path], backend)
        except StorageError as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (now,) = store.load_batch([path], backend)
    assert not failures and (now == now[0, 0]).all() and left_over(tmp_path) == []
