"""Layers of a catalog under one budget: what the user is told, and when memory goes."""

from __future__ import annotations

import errno
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.spill import SpilledPlanes
from napari_streaming.wire.messages import Declare

SHAPE = (64, 64)
BUDGET = 16 * 64 * 64


@pytest.fixture
def catalog(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Catalog(Arena(), BUDGET)


def declare(name="a"):
    return Declare(stream=0, name=name, kind="image", dtype="|u1", shape=SHAPE, axes=("y", "x"))


def plane(value):
    return np.full(SHAPE, value, np.uint8)


def test_beyond_the_budget_all_is_still_there(catalog):
    layers = [catalog.declare(declare(name)) for name in "ab"]
    for t in range(50):
        for layer in layers:
            layer.put_plane({"t": t}, plane(t))
    for layer in layers:
        assert (np.asarray(layer.data) == np.arange(50)[:, None, None]).all()
    assert catalog._memory.held <= BUDGET
    assert not catalog.log


def test_what_another_layer_has_is_missing_here(catalog):
    a, b = catalog.declare(declare("a")), catalog.declare(declare("b"))
    a.put_plane({"t": 3}, plane(3))
    b.put_plane({"t": 1}, plane(1))
    assert [a.data.is_present((t,)) for t in range(2)] == [False, True]
    assert a.data.count_missing() == b.data.count_missing() == 1
    assert not a.data[0].any()


def test_a_discarded_layer_takes_no_memory_and_no_more_planes(catalog):
    layer = catalog.declare(declare())
    for t in range(5):
        layer.put_plane({"t": t}, plane(t))
    gone = weakref.ref(layer.planes.get({"t": 4}))
    layer.discard()
    assert not layer.put_plane({"t": 9}, plane(9))
    assert gone() is None
    assert catalog._memory.held == 0
    assert not np.asarray(layer.data).any()
    assert layer.data.count_missing() == 5


def test_a_full_disk_is_said_once(catalog, monkeypatch, until):
    def full(self, plane):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpilledPlanes, "write", full)
    layer = catalog.declare(declare())
    for t in range(100):
        layer.put_plane({"t": t}, plane(1))
    until(lambda: catalog.log)
    (line,) = catalog.log
    assert line.level == "warning"
    assert "No space left" in line.text
    assert (layer.data[99] == 1).all()
    assert layer.data.count_missing() == 84


def test_nobody_waits_for_the_disk_with_the_lock_held(catalog, monkeypatch, in_thread, until):
    gate, write = threading.Event(), SpilledPlanes.write

    def wait_and_write(self, plane):
        gate.wait(5)
        return write(self, plane)

    monkeypatch.setattr(SpilledPlanes, "write", wait_and_write)
    monkeypatch.setattr("napari_streaming.receive.plane_memory._SHORTEST_WAIT", 5.0)
    layer = catalog.declare(declare())
    putting = threading.Thread(
        target=lambda: [layer.put_plane({"t": t}, plane(t)) for t in range(20)]
    )
    putting.start()
    until(lambda: len(layer.planes) == 16)
    time.sleep(0.05)
    assert in_thread(lambda: layer.data.shape, timeout=1.0) == (16, *SHAPE)
    gate.set()
    putting.join()
    assert layer.data.count_missing() == 0


def test_planes_go_with_the_catalog_at_once():
    gone = Catalog(Arena(), BUDGET)
    reference = weakref.ref(gone)
    gc.disable()
    try:
        del gone
        assert reference() is None, "it is part of a cycle"
    finally:
        gc.enable()
