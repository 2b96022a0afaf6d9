from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.publish.spool import Spool

KIB = 1024


def open_files(folder):
    """Count the files of a folder that this process has open; they have no name there."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:  # the one that lists them
            continue
    return sum(link.startswith(str(folder)) for link in links)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 20_000)),
        st.tuples(st.just("read"), st.integers(0, 50)),
        st.tuples(st.just("release"), st.integers(0, 50)),
    ),
    max_size=80,
)


@given(steps, st.sampled_from([10_000, 64 * KIB, 1024 * KIB]))
@settings(deadline=None, max_examples=100)
def test_what_is_written_is_there_until_it_is_released(tmp_path_factory, todo, limit):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(limit, str(folder))
    held, number = [], 0
    for step, value in todo:
        if step == "write":
            number += 1
            data = bytes([number % 256]) * value
            try:
                held.append((spool.write(data), data))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                assert spool.in_use + max(value, 4096) > limit
        elif held and step == "read":
            record, data = held[value % len(held)]
            assert record.read() == data and record.nbytes == len(data)
        elif held:
            held.pop(value % len(held))[0].release()
        assert sum(max(len(data), 4096) for _, data in held) <= spool.in_use <= limit
        assert not os.listdir(folder)
    for record, data in held:
        assert record.read() == data
        record.release()
    assert spool.in_use == 0 and open_files(folder) == 0


def test_room_comes_back_file_by_file(tmp_path):
    spool = Spool(64 * KIB, str(tmp_path))  # in files of 8 KiB
    records = [spool.write(bytes(4 * KIB)) for _ in range(16)]
    assert open_files(tmp_path) == 8
    with pytest.raises(OSError, match="spool"):
        spool.write(b"x")
    records[0].release()
    with pytest.raises(OSError, match="spool"):
        spool.write(b"x")
    records[1].release()
    assert open_files(tmp_path) == 7
    last = spool.write(b"x")
    assert last.read() == b"x"
    for record in (*records[2:], last):
        record.release()


def test_what_is_larger_than_a_file_has_one_of_its_own(tmp_path):
    spool = Spool(1024 * KIB, str(tmp_path))
    small, large, other = (spool.write(bytes([n]) * n * 200 * KIB) for n in (0, 2, 1))
    assert open_files(tmp_path) == 3
    assert large.read() == b"\2" * 400 * KIB and other.read() == b"\1" * 200 * KIB
    large.release()
    assert open_files(tmp_path) == 2 and small.read() == b""
    for record in (small, other):
        record.release()


def test_memory_of_any_kind_is_written(tmp_path):
    spool = Spool(64 * KIB, str(tmp_path))
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabcx")[1:4]):
        record = spool.write(data)
        assert record.read() == b"abc"
        record.release()


def test_a_folder_that_is_missing_is_made(tmp_path):
    spool = Spool(64 * KIB, str(tmp_path / "not" / "there"))
    record = spool.write(b"x")
    assert record.read() == b"x"
    record.release()


def test_a_folder_that_cannot_be_is_an_error_and_takes_no_room(tmp_path):
    (tmp_path / "file").write_text("")
    spool = Spool(64 * KIB, str(tmp_path / "file"))
    for _ in range(2):
        with pytest.raises(OSError, match="file"):
            spool.write(b"x")
    assert spool.in_use == 0


def test_a_file_that_lost_its_end_is_an_error(tmp_path):
    spool = Spool(64 * KIB, str(tmp_path))
    record = spool.write(bytes(5000))
    record._file.file.truncate(100)
    with pytest.raises(OSError, match="shorter"):
        record.read()
    record.release()


FULL = """
import errno, os, resource, signal
from napari_streaming.publish.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
spool = Spool(2**30, {folder!r})
first = spool.write(b"a" * 60_000)
errors = []
for _ in range(3):
    try:
        spool.write(b"b" * 60_000)
    except OSError as error:
        errors.append(error.errno == errno.EFBIG)
size = os.fstat(first._file.file.fileno()).st_size
second = spool.write(b"c" * 30_000)
good = first.read() == b"a" * 60_000 and second.read() == b"c" * 30_000
first.release()
second.release()
try:
    spool.write(b"d" * 200_000)
except OSError:
    errors.append(spool.in_use == 0)
"""


def test_a_full_disk_is_an_error_and_what_was_there_stays(remote, tmp_path):
    other = remote()
    other(FULL.format(folder=str(tmp_path)))
    assert other("[errors, size, good]") == [[True] * 4, 60_000, True]


FORK = """
import os, sys
from napari_streaming.publish.spool import Spool
spool = Spool(2**30, {folder!r})
record = spool.write(bytes(60_000))
child = os.fork()
if not child:
    sys.stdin.read()
    os._exit(0)
before = os.stat(f"/proc/{{child}}/fd/{{record._file.file.fileno()}}").st_blocks
number = record._file.file.fileno()
record.release()
after = os.stat(f"/proc/{{child}}/fd/{{number}}").st_blocks
os.kill(child, 9)
os.waitpid(child, 0)
"""


def test_a_process_that_was_forked_off_keeps_no_room(remote, tmp_path):
    other = remote()
    other(FORK.format(folder=str(tmp_path)))
    before, after = other("[before, after]")
    assert before > 0 == after


def test_a_killed_process_leaves_nothing(remote, tmp_path):
    other = remote()
    other("from napari_streaming.publish.spool import Spool")
    other(f"spool = Spool(2**20, {str(tmp_path)!r}); record = spool.write(bytes(1000))")
    other.kill()
    assert not os.listdir(tmp_path)
