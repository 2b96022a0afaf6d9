from __future__ import annotations

import os
import sys
from multiprocessing import shared_memory

import pytest

from napari_streaming.errors import TransportError
from napari_streaming.transport.foreign_memory import foreign_memory


@pytest.fixture
def theirs():
    memory = shared_memory.SharedMemory(create=True, size=5000)
    memory.buf[:4] = b"abcd"
    yield memory
    memory.close()
    memory.unlink()


def test_it_can_be_read_and_not_written(theirs):
    view = foreign_memory(theirs.name, 4)
    assert bytes(view) == b"abcd"
    with pytest.raises(TypeError):
        view[0] = 1


def test_what_is_missing_or_too_small_is_named(theirs):
    with pytest.raises(TransportError, match="has 5000 bytes, needed are 5001"):
        foreign_memory(theirs.name, 5001)
    with pytest.raises(TransportError, match="'napari_gone' cannot be read"):
        foreign_memory("napari_gone", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
def test_memory_without_content_is_refused_and_left_where_it_is():
    path = "/dev/shm/napari_streaming_empty"  # noqa: S108
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        with pytest.raises(TransportError, match="cannot be read"):
            foreign_memory("napari_streaming_empty", 1)
        assert os.path.exists(path)
    finally:
        os.unlink(path)


def test_a_reader_that_ends_leaves_it_to_its_owner(theirs, remote):
    reader = remote()
    reader("from napari_streaming.transport.foreign_memory import foreign_memory")
    assert reader(f"bytes(foreign_memory({theirs.name!r}, 4)).decode()") == "abcd"
    reader.end()
    shared_memory.SharedMemory(theirs.name).close()  # it is still there
