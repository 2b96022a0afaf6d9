"""Zarr arrays that grow in a folder that is watched."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import zarr

from napari_streaming.pipeline import growing
from napari_streaming.pipeline.settling import Settling
from napari_streaming.pipeline.watched_zarrs import WatchedZarrs
from napari_streaming.pipeline.zarr_images import find_images

AXES = [
    {"name": "t", "type": "time"},
    {"name": "y", "type": "space"},
    {"name": "x", "type": "space"},
]
METADATA = {"version": "0.5", "multiscales": [{"axes": AXES, "datasets": [{"path": "0"}]}]}


def make(path, shape=(4, 8, 8), chunks=(1, 4, 4), dtype="u2", **options):
    return zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"zarr_format": 2},
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"shards": (2, 8, 8)},
        {"chunks": (3, 8, 8)},
    ],
    ids=str,
)
def test_planes_come_one_by_one_however_they_are_stored(tmp_path, watching, until, options):
    array = make(tmp_path / "a.zarr", **options)
    watch = watching()
    array[0] = 1
    until(lambda: watch.shows("a", 1, z=0))
    assert list(watch.layers["a"].coordinates["z"]) == [0]
    array[2] = 3
    until(lambda: watch.shows("a", 3, z=2))
    assert list(watch.layers["a"].coordinates["z"]) == [0, 2]
    array[0] = 7
    until(lambda: watch.shows("a", 7, z=0))
    assert watch.end().failed == 0
    assert watch.received("a") == 3


def test_a_plane_waits_for_all_of_its_chunks(tmp_path, watching, until):
    array = make(tmp_path / "a.zarr", config={"write_empty_chunks": True})
    watch = watching()
    array[0, :4] = 1
    array[1] = 2
    until(lambda: watch.shows("a", 2, z=1))
    array[0, 4:] = 1
    until(lambda: watch.shows("a", 1, z=0))
    plane = watch.plane("a", z=0)
    assert (plane == 1).all()


def test_chunks_that_are_empty_are_not_waited_for_for_ever(tmp_path, watching, until):
    array = make(tmp_path / "a.zarr")
    watch = watching()
    array[1, :4, :4] = 5
    until(lambda: watch.shows("a", 5, z=1))
    assert list(watch.layers["a"].coordinates["z"]) == [1]


def test_an_array_that_gets_longer(tmp_path, watching, until):
    said = {"multiscales": METADATA["multiscales"]}
    group = zarr.create_group(tmp_path / "a.ome.zarr", attributes=said, zarr_format=2)
    array = group.create_array("0", shape=(1, 8, 8), chunks=(1, 8, 8), dtype="u2")
    zarr.consolidate_metadata(group.store)  # which is never told of what comes
    watch = watching()
    for t in range(5):
        array.resize((t + 1, 8, 8))
        array[t] = t + 1
        until(lambda t=t: watch.shows("a", t + 1, t=t))
    assert watch.end().planes == 5


def test_chunks_may_come_before_the_array_is_long_enough(tmp_path, watching, until):
    array = make(tmp_path / "a.zarr", shape=(2, 8, 8), chunks=(1, 8, 8))
    watch = watching()
    array[0] = 1
    until(lambda: watch.shows("a", 1, z=0))
    early = make(tmp_path / ".early.zarr", shape=(3, 8, 8), chunks=(1, 8, 8))
    early[2] = 3
    (tmp_path / "a.zarr" / "c" / "2" / "0").mkdir(parents=True)
    shutil.copy(tmp_path / ".early.zarr/c/2/0/0", tmp_path / "a.zarr/c/2/0/0")
    array[1] = 2
    until(lambda: watch.shows("a", 2, z=1))
    array.resize((3, 8, 8))
    until(lambda: watch.shows("a", 3, z=2))


def test_a_longer_array_whose_last_chunk_was_there(tmp_path, watching, until):
    long = make(tmp_path / ".long.zarr", shape=(2, 8, 8), chunks=(2, 8, 8))
    long[:] = np.arange(1, 3)[:, None, None]
    array = make(tmp_path / "a.zarr", shape=(1, 8, 8), chunks=(2, 8, 8))
    shutil.copytree(tmp_path / ".long.zarr/c", tmp_path / "a.zarr/c")
    watch = watching()
    until(lambda: watch.shows("a", 1, z=0))
    array.resize((2, 8, 8))
    until(lambda: watch.shows("a", 2, z=1))
    assert watch.received("a") == 2


def test_a_folder_that_is_renamed_into_place(tmp_path, watching, until):
    array = make(tmp_path / ".work.zarr")
    array[:] = 4
    watch = watching()
    os.rename(tmp_path / ".work.zarr", tmp_path / "done.zarr")
    until(lambda: watch.received("done") == 4)
    zarr.open_array(tmp_path / "done.zarr")[3] = 9
    until(lambda: watch.shows("done", 9, z=3))


def test_the_folder_itself_may_be_one(tmp_path, watching, until):
    array = make(tmp_path / "a.zarr")
    watch = watching(tmp_path / "a.zarr")
    array[0] = 1
    until(lambda: watch.shows("a", 1, z=0))


def test_another_array_in_its_place(tmp_path, watching, until):
    make(tmp_path / "a.zarr")[:] = 1
    watch = watching()
    until(lambda: watch.received("a") == 4)
    make(tmp_path / "a.zarr", shape=(2, 6, 6), overwrite=True)[:] = 2
    until(lambda: any(layer.data.shape[-2:] == (6, 6) for layer in watch.layers.values()))


def test_blocks_of_an_array_that_was_replaced_are_forgotten(tmp_path):
    settling = Settling(0.0)
    zarrs = WatchedZarrs(settling, 0.0, lambda root, image: True)
    path = tmp_path / "a.zarr"
    make(path)[:] = 1
    assert zarrs.discover(path)
    zarrs.explore(path)
    assert len(settling) == 4
    make(path, shape=(1, 6, 6), overwrite=True)[:] = 1
    zarrs.note(path, path)
    zarrs.explore(path)
    assert zarrs.ready(path, (3,)) is None
    root, array = zarrs.ready(path, (0,))
    assert (root, array.image.shape) == (path, (1,))


def test_a_copy_in_its_place(tmp_path, watching, until):
    make(tmp_path / "a.zarr")[:] = 1
    make(tmp_path / ".b.zarr")[:] = 2
    watch = watching()
    until(lambda: watch.received("a") == 4)
    os.rename(tmp_path / "a.zarr", tmp_path / ".old.zarr")
    os.rename(tmp_path / ".b.zarr", tmp_path / "a.zarr")
    until(lambda: watch.shows("a", 2, z=3))


def test_large_blocks_are_read_plane_by_plane(tmp_path, watching, until, monkeypatch):
    monkeypatch.setattr(growing, "_AT_ONCE", 0)
    array = make(tmp_path / "a.zarr", chunks=(3, 8, 8))
    watch = watching()
    array[1] = 5
    until(lambda: watch.shows("a", 5, z=1))
    assert watch.end().planes == 1


@pytest.mark.parametrize("fill", [7, 0, np.nan])
def test_planes_yet_to_come_in_a_chunk_are_not_streamed(tmp_path, watching, until, fill):
    array = make(tmp_path / "a.zarr", chunks=(4, 8, 8), dtype="f4", fill_value=fill)
    watch = watching()
    array[1] = 5
    until(lambda: watch.shows("a", 5, z=1))
    array[1] = fill
    array[3] = 6
    until(lambda: watch.shows("a", 6, z=3))
    assert watch.end().planes == 3  # what was there and is empty now, is empty


def test_metadata_that_come_last_make_levels_an_image(tmp_path, watching, until):
    group = zarr.create_group(tmp_path / "a.zarr")
    for name, size in (("0", 8), ("1", 4)):
        group.create_array(name, shape=(2, size, size), chunks=(1, 4, 4), dtype="u2")[:] = 1
    make(tmp_path / "b.zarr", dimension_names=["t", "y", "x"])[:] = 1
    watch = watching()
    until(lambda: watch.received("b") == 4)
    assert list(watch.layers) == ["b"]
    group.attrs["ome"] = METADATA | {
        "multiscales": [{"axes": AXES, "datasets": [{"path": "0"}, {"path": "1"}]}]
    }
    until(lambda: watch.shows("a", 1, t=1))
    assert set(watch.layers) == {"a", "b"}


def test_arrays_that_are_no_levels_are_shown_in_the_end(tmp_path, watching, until):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("0", shape=(2, 8, 8), chunks=(1, 8, 8), dtype="u2")[:] = 1
    watch = watching()
    until(lambda: watch.shows("a/0", 1, z=1))


def test_labels_in_an_ome_zarr(tmp_path, watching, until):
    group = zarr.create_group(tmp_path / "a.ome.zarr", attributes={"ome": METADATA})
    group.create_array("0", shape=(1, 8, 8), chunks=(1, 8, 8), dtype="u2")[:] = 1
    watch = watching()
    labels = group.create_group("labels", attributes={"ome": {"labels": ["nuclei"]}})
    nuclei = labels.create_group("nuclei", attributes={"ome": METADATA})
    nuclei.create_array("0", shape=(1, 8, 8), chunks=(1, 8, 8), dtype="u2")[:] = 3
    until(lambda: watch.shows("a", 1, t=0))
    until(lambda: watch.shows("a/labels/nuclei", 3, t=0))
    assert watch.layers["a/labels/nuclei"].kind == "labels"
    assert watch.layers["a"].kind == "image"


def test_a_plate_is_one_layer_with_wells(tmp_path, watching, until):
    plate = zarr.create_group(tmp_path / "p.zarr", attributes={"ome": {"plate": {}}})
    watch = watching()
    for well in ("A/1", "B/2"):
        for site in range(2):
            image = plate.create_group(f"{well}/{site}", attributes={"ome": METADATA})
            image.create_array("0", shape=(1, 8, 8), chunks=(1, 8, 8), dtype="u2")[:] = site + 1
    for well in ("A1", "B2"):
        for site in range(2):
            until(lambda w=well, s=site: watch.shows("p", s + 1, well=w, field=s, t=0))
    assert list(watch.layers) == ["p"]


def test_a_pattern_and_a_zarr(tmp_path, watching, until):
    watch = watching(pattern="{well}_raw.zarr")
    make(tmp_path / "other.zarr")[:] = 1
    make(tmp_path / "A01_raw.zarr")[0] = 2
    until(lambda: watch.shows("raw", 2, well="A01", z=0))
    assert list(watch.layers) == ["raw"]


def test_damaged_metadata_and_damaged_chunks_are_told_once(tmp_path, watching, until):
    bad = make(tmp_path / "bad.zarr", chunks=(1, 8, 8))
    bad[:] = np.random.default_rng(0).integers(0, 999, (4, 8, 8))
    (tmp_path / "bad.zarr/c/1/0/0").write_bytes(b"rubbish")
    (tmp_path / "worse.zarr").mkdir()
    (tmp_path / "worse.zarr/zarr.json").write_text('{"node_type": "arr')
    watch = watching(settle=0.05)
    until(lambda: watch.said("bad.zarr cannot be read"))
    until(lambda: watch.said("worse.zarr/zarr.json cannot be read"))
    assert watch.received("bad") == 3
    make(tmp_path / "worse.zarr", overwrite=True)[0] = 1
    until(lambda: watch.shows("worse", 1, z=0))
    bad[1] = 5
    until(lambda: watch.shows("bad", 5, z=1))
    assert len(watch.said("bad.zarr cannot")) == 1
    assert watch.end().failed == 2


def test_only_what_came_is_read(tmp_path, watching, until, monkeypatch):
    read = []
    get = zarr.Array.__getitem__

    def note(array, key):
        read.append(key)
        return get(array, key)

    monkeypatch.setattr(zarr.Array, "__getitem__", note)
    array = make(tmp_path / "a.zarr", shape=(1000, 8, 8), chunks=(1, 8, 8))
    array[:5] = 1
    watch = watching()
    until(lambda: watch.received("a") == 5)
    array[7] = 1
    until(lambda: watch.shows("a", 1, z=7))
    watch.end()
    assert sorted(key[0] for key in read) == [0, 1, 2, 3, 4, 7]


def test_the_images_of_a_hierarchy(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    zero = root.create_group("0", attributes={"multiscales": [{"datasets": [{"path": "s0"}]}]})
    zero.create_array("s0", shape=(8, 8), chunks=(4, 4), dtype="u2")
    root.create_array("mean", shape=(8, 8), chunks=(4, 4), dtype="u2")
    root.create_array("1", shape=(8, 8), chunks=(4, 4), dtype="u2")
    found = {image.inner: image for image in find_images(tmp_path / "a.zarr")}
    assert set(found) == {("0",), ("mean",), ("1",)}
    assert found[("0",)].array == tmp_path / "a.zarr/0/s0"
    assert [found[key].is_certain for key in (("0",), ("mean",), ("1",))] == [True, True, False]
