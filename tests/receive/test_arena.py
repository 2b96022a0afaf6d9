from __future__ import annotations

import gc
import os
import sys
import weakref

import numpy as np
import psutil
import pytest

from napari_streaming.receive import arena as arena_module
from napari_streaming.receive.arena import Arena

REGION = 2**20
U1 = np.dtype("u1")


@pytest.fixture
def arena(monkeypatch):
    monkeypatch.setattr(arena_module, "_REGION", REGION)
    return Arena(size=REGION)


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_comes_back_with_the_last_view(arena):
    array = arena.allocate((REGION,), U1)
    was = address(array)
    array[:] = 7
    view = array[10:20].reshape(2, 5)[::-1]
    del array
    other = arena.allocate((REGION,), U1)
    other[:] = 1
    assert (view == 7).all()
    del view
    assert address(arena.allocate((REGION,), U1)) == was


def test_a_memoryview_counts_as_a_view(arena):
    array = arena.allocate((REGION,), U1)
    array[:] = 7
    data = memoryview(array)
    del array
    arena.allocate((REGION,), U1)[:] = 1
    assert data[0] == data[REGION - 1] == 7


@pytest.mark.parametrize("size", [REGION - 1, REGION, REGION + 1, 5 * REGION])
def test_planes_of_any_size(arena, size):
    arrays = [arena.allocate((size,), U1) for _ in range(3)]
    for value, array in enumerate(arrays):
        array[:] = value
    for value, array in enumerate(arrays):
        assert (array == value).all()


def test_more_regions_than_needed_go(arena):
    arrays = [arena.allocate((REGION,), U1) for _ in range(4)]
    regions = [weakref.ref(blocks) for blocks, _ in arena._regions]
    assert len(regions) == 4
    arrays.clear()
    arena.allocate((2 * REGION,), U1)
    del arrays
    gc.collect()
    assert len(arena._regions) == 2
    assert [region() is None for region in regions] == [False, True, True, True]


def test_shapes_and_dtypes(arena):
    for dtype in ("|b1", "<u2", "<f8", "<U5"):
        array = arena.allocate((3, 4, 2), np.dtype(dtype))
        assert (array.shape, array.dtype) == ((3, 4, 2), np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert arena.allocate((0, 4), U1).shape == (0, 4)


def test_an_array_outlives_its_arena(arena):
    array = arena.allocate((REGION,), U1)
    array[:] = 3
    del arena
    gc.collect()
    assert (array == 3).all()


def test_rationed_addresses(monkeypatch):
    real = arena_module.mmap.mmap

    def rationed(fileno, length, **kind):
        if length > 2 * arena_module._REGION:
            raise OSError("no")
        return real(fileno, length, **kind)

    monkeypatch.setattr(arena_module.mmap, "mmap", rationed)
    small = Arena(size=2**40)
    assert small.allocate((10,), U1).shape == (10,)
    with pytest.raises(MemoryError, match="bytes for planes"):
        small.allocate((3 * arena_module._REGION,), U1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory differently")
def test_addresses_are_no_memory_and_a_process_that_holds_many_can_fork():
    nbytes = psutil.virtual_memory().total + psutil.swap_memory().total
    array = Arena(size=2 * nbytes).allocate((2 * nbytes,), U1)
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0 and array.nbytes == 2 * nbytes
