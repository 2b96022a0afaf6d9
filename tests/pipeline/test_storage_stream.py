"""Saving to viewers."""

from __future__ import annotations

import doctest
import threading

import numpy as np
import pytest

from napari_streaming.errors import StorageError
from napari_streaming.pipeline import About, Points, Storage, storage
from napari_streaming.pipeline.backends.stream import read_name
from napari_streaming.wire.messages import Item

URL = "memory://test"
BACKEND = "napari_stream"


@pytest.fixture
def store(tmp_path):
    with Storage(tmp_path, url=URL) as store:
        yield store


@pytest.mark.parametrize(
    ("path", "layer", "at"),
    [
        ("A01_s1_w2_z3_t4.tif", "values", {"well": "A01", "site": 1, "channel": 2, "z": 3, "t": 4}),
        ("segment/A01_s1.ome.tif", "segment", {"well": "A01", "site": 1}),
        ("run/segment/B12.ome.zarr", "run/segment", {"well": "B12"}),
        ("out/exp_A01_nuclei_t007.csv", "exp_nuclei", {"well": "A01", "t": 7}),
        ("AF48_T2_c01.png", "values", {"well": "AF48", "t": 2, "channel": 1}),
        ("A01_A02.tif", "A02", {"well": "A01"}),
        ("nuclei.ome.tif", "nuclei", {}),
        ("out/v1.2_final", "out/v1.2_final", {}),
        ("stack_zoom_test.tif", "stack_zoom_test", {}),
    ],
)
def test_what_a_path_speaks_of(path, layer, at):
    assert read_name(path) == (layer, at)


def test_all_kinds_reach_a_viewer(store, receiver, until):
    viewer = receiver(f"{URL}?listen")
    planes = [np.full((4, 5), n, np.uint16) for n in range(4)]
    at = [{"well": w, "t": t} for w in ("A01", "A02") for t in range(2)]
    about = About(scale=(9, 0.5, 0.25), units="um", contrast_limits=(1, 2), colormap="green")
    store.save_batch(
        planes, [f"cells/{a['well']}.ome.tif" for a in at], BACKEND, at=at, about=about
    )
    mask = np.ones((4, 5), bool)
    store.save_batch([mask], ["A01_t1.ome.tif"], BACKEND, about=About(kind="labels", name="mask"))
    points = [Points([[1, n]], {"area": [n]}) for n in range(4)]
    store.save_batch(points, ["spots/p.csv"] * 4, BACKEND, at=at, about=About(name="spots"))
    store.save_batch([3, 5.5], ["count/A01_t0.csv", "count/A01_t1.csv"], BACKEND)
    store.save_batch([1.5], ["score.csv"], BACKEND, at=[{"well": "A01"}])
    colour = np.zeros((4, 5, 3), np.uint8)
    store.save_batch([colour], ["rgb/A01.tif"], BACKEND, about=About(axes=("y", "x")))
    layers = viewer.layers
    until(lambda: {"cells", "mask", "spots", "rgb"} <= set(layers) and "score" in layers.metrics)
    cells = layers["cells"]
    until(lambda: cells.stats().received == 4)
    assert cells.data.shape == (2, 2, 4, 5) and np.asarray(cells.data)[1, 0, 0, 0] == 2
    assert cells.coordinates == {"well": ["A01", "A02"], "t": [0, 1]}
    said = cells.declare
    assert (said.scale, said.units) == ((0.5, 0.25), ("um", "um"))
    assert (said.contrast_limits, said.colormap) == ((1, 2), "green")
    assert layers["mask"].declare.kind == "labels"
    until(lambda: np.asarray(layers["mask"].data)[0, 1].all())  # A01 at t=1
    assert layers["rgb"].declare.rgb
    until(lambda: layers["spots"].stats().received == 4)
    assert sorted(layers["spots"].features["area"]) == [0, 1, 2, 3]
    assert list(layers.metrics["count/A01"].values) == [3, 5.5]
    assert list(layers.metrics["count/A01"].steps) == [0, 1]
    assert list(layers.metrics["score"].steps) == [1]


def test_the_same_lines_save_to_files_and_to_a_viewer(tmp_path, receiver, until):
    viewer = receiver("memory://viewer?listen")
    names = {"Storage": Storage, "folder": tmp_path}
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (test,) = finder.find(storage.Storage, globs=names)
    assert runner.run(test) == (0, 4)
    until(lambda: viewer.layers["cells"].stats().received == 3)
    assert viewer.layers["cells"].coordinates == {"well": ["A01"], "t": [0, 1, 2]}


def test_a_viewer_that_is_missing_holds_nothing_up(tmp_path, in_thread):
    def work():
        with Storage(tmp_path, url="ipc://nobody") as store:
            planes = [np.zeros((256, 256), np.uint16)] * 2000  # 256 MiB, more than it may wait
            paths = [f"a/A01_t{t}.tif" for t in range(2000)]
            store.save_batch(planes, paths, BACKEND)
        return True

    assert in_thread(work, timeout=60)


def test_a_viewer_that_is_frozen_holds_nothing_up(
    tmp_path, remote, in_thread, until, private_runtime
):
    other = remote()
    other("from napari_streaming.receive.receiver import Receiver")
    other("viewer = Receiver('ipc://frozen?listen')")

    def work():
        with Storage(tmp_path, url="ipc://frozen") as store:
            first = np.zeros((256, 256), np.uint16)
            store.save_batch([first], ["a/A01_t0.tif"], BACKEND)
            other.until("'a' in viewer.layers and viewer.layers['a'].stats().received == 1")
            other.freeze()
            paths = [f"a/A01_t{t}.tif" for t in range(1, 2001)]
            store.save_batch([first] * 2000, paths, BACKEND)
        return True

    try:
        assert in_thread(work, timeout=60)
    finally:
        other.thaw()


def test_nothing_comes_back_from_viewers(store):
    store.save_batch([np.zeros((2, 2))], ["a"], BACKEND)
    assert not store.exists("a", BACKEND)
    with pytest.raises(
        StorageError, match=r"a \(napari_stream\): what was streamed is in the viewers"
    ):
        store.load_batch(["a"], BACKEND)


def test_a_publisher_that_is_given_stays_open(tmp_path, publisher):
    mine = publisher(URL)
    asked = []

    def give(url):
        asked.append(url)
        return mine

    with Storage(tmp_path, url=URL, publisher=give) as store:
        threads = [
            threading.Thread(target=store.save_batch, args=([np.zeros((2, 2))], ["a"], BACKEND))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert asked == [URL]
    mine.image("still open", np.zeros((2, 2)))


def test_a_publisher_of_its_own_is_closed_with_the_storage(tmp_path, party, until):
    viewer = party(f"{URL}?listen", "view")
    with Storage(tmp_path, url=URL) as store:
        store.save_batch([np.zeros((2, 2))], ["a"], BACKEND)
        until(lambda: viewer.messages(Item))
    until(lambda: not viewer.links)


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("a.tif", []),
        ("a/A01_t1.tif", []),
        ("a.tif", [{"t": 0}, {"t": 0}]),
        ("a.tif", [{"t": 0, "z": 1}, {"z": 1, "t": 0}]),
    ],
)
def test_arrays_that_would_cover_each_other(store, receiver, path, at):
    viewer = receiver(f"{URL}?listen")
    with pytest.raises(StorageError, match=r"2 values, .* do not tell them apart: say .* with at="):
        store.save_batch([np.zeros((2, 2))] * 2, [path] * 2, BACKEND, at=at)
    assert not viewer.layers


def test_what_cannot_be_streamed(tmp_path):
    for url, value, says in [
        ("", np.zeros((2, 2)), "it is not known where to stream to; say Storage"),
        ("http://nowhere", np.zeros((2, 2)), "a stream URL starts with one of"),
        (URL, np.zeros((2, 2), complex), "complex"),
        (URL, np.zeros((0, 2)), "has no pixels"),
    ]:
        with Storage(tmp_path, url=url) as store, pytest.raises(StorageError) as raised:
            store.save_batch([value], ["a"], BACKEND)
        assert str(raised.value).startswith("a (napari_stream): ") and says in str(raised.value)
