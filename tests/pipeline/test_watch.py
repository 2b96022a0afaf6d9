"""Real files in a real folder, watched, and a real receiver."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import tifffile
import zarr

from napari_streaming.errors import DataError
from napari_streaming.pipeline import outlet
from napari_streaming.pipeline import watch as watch_module
from napari_streaming.pipeline.patterns import parse_pattern
from napari_streaming.pipeline.watch import WatchOptions, watch_folder
from napari_streaming.publish.publisher import Publisher
from napari_streaming.receive.catalog import StreamedLayer
from napari_streaming.receive.receiver import Receiver

NEVER = 1000.0


def plane(value=1, shape=(6, 8), dtype="uint16"):
    return np.full(shape, value, dtype)


def tiff_bytes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("made") / "a.tif"
    tifffile.imwrite(path, data, compression="zlib", photometric="minisblack")
    return path.read_bytes()


# ---- files -------------------------------------------------------------------------------


def test_files_there_and_files_to_come_are_streamed(tmp_path, watching, until):
    tifffile.imwrite(tmp_path / "early.tif", plane(1))
    watch = watching()
    until(lambda: watch.shows("early", 1))
    tifffile.imwrite(tmp_path / "late.ome.tif", plane(2, (3, 6, 8)), metadata={"axes": "TYX"})
    until(lambda: watch.shows("late", 2, t=2))
    stats = watch.end()
    assert (stats.files, stats.planes, stats.failed, stats.unfinished) == (2, 4, 0, 0)
    assert watch.lines == []


def test_only_what_is_new(tmp_path, watching, until):
    tifffile.imwrite(tmp_path / "old.tif", plane(1))
    old = zarr.create_array(tmp_path / "old.zarr", shape=(2, 6, 8), chunks=(1, 6, 8), dtype="u2")
    old[0] = 1
    (tmp_path / "cue").mkdir()
    watch = watching(existing=False)
    number = 0

    def a_new_file_comes():  # the first ones may still be there before the watch is
        nonlocal number
        number += 1
        tifffile.imwrite(tmp_path / "cue" / f"{number}.tif", plane(3))
        return watch.layers

    until(a_new_file_comes)
    old[1] = 5
    until(lambda: watch.shows("old", 5, z=1))
    tifffile.imwrite(tmp_path / "old.tif", plane(4, (7, 8)))
    until(lambda: any(layer.data.shape[-2:] == (7, 8) for layer in watch.layers.values()))
    assert watch.layers["old"].coordinates["z"] == [1]


def test_what_is_overwritten_takes_its_place(tmp_path, watching, until):
    tifffile.imwrite(tmp_path / "a.tif", plane(1))
    watch = watching()
    until(lambda: watch.shows("a", 1))
    tifffile.imwrite(tmp_path / "a.tif", plane(2))
    until(lambda: watch.shows("a", 2))
    assert list(watch.layers) == ["a"]


def test_what_is_overwritten_with_another_size_is_another_layer_and_says_why(
    tmp_path, watching, until, viewer
):
    tifffile.imwrite(tmp_path / "a.tif", plane(1))
    watch = watching()
    until(lambda: watch.shows("a", 1))
    for value, shape in [(2, (7, 8)), (3, (6, 8)), (4, (7, 8))]:
        tifffile.imwrite(tmp_path / "a.tif", plane(value, shape))
        until(lambda: watch.shows("a" if shape == (6, 8) else "a [2]", value))  # noqa: B023
    assert watch.lines == [
        "a is 7 x 8 uint16 now, and was 6 x 8 uint16: viewers show that as another layer, "
        '"a [2]", beside the first one'
    ]
    (line,) = (line.text for line in viewer.layers.log if "[2]" in line.text)
    assert line == "'a' is shown as 'a [2]' from now on: shape 7 x 8, before 6 x 8"


def test_a_file_that_is_renamed_into_place_is_streamed_at_once(tmp_path, watching, until):
    watch = watching(settle=NEVER)
    ends = [tmp_path / ".a.tif", tmp_path / ".b.tif"]
    tifffile.imwrite(ends[0], plane(1))

    def is_later():  # the clock of files may stand still for some milliseconds
        ends.reverse()
        os.rename(ends[1], ends[0])
        about = ends[0].stat()
        return about.st_ctime_ns > about.st_mtime_ns

    until(is_later)
    os.rename(ends[0], tmp_path / "done.tif")
    until(lambda: watch.shows("done", 1))


def test_a_file_that_may_be_written_to_waits(tmp_path, watching, until):
    watch = watching(settle=NEVER)
    (tmp_path / "slow.tif").write_bytes(b"II*\0")
    tifffile.imwrite(tmp_path / "done.tif", plane())
    os.utime(tmp_path / "done.tif", (1, 1))
    until(lambda: watch.received("done"))
    stats = watch.end()
    assert (stats.files, stats.failed, stats.unfinished) == (1, 0, 1)
    assert watch.lines == ["not streamed: slow.tif"]


def test_half_a_file_is_told_once_and_streamed_when_it_is_whole(
    tmp_path, tmp_path_factory, watching, until, viewer
):
    data = np.arange(64 * 64, dtype="u2").reshape(64, 64)
    content = tiff_bytes(tmp_path_factory, data)
    watch = watching(settle=0.05)
    (tmp_path / "cut.tif").write_bytes(content[: len(content) - 100])
    until(lambda: watch.said("cut.tif"))
    tifffile.imwrite(tmp_path / "other.tif", plane())
    until(lambda: watch.received("other"))
    assert len(watch.said("cut.tif cannot be read: it is incomplete or damaged")) == 1
    assert len(watch.said("cut.tif")) == 1
    assert [line.level for line in viewer.layers.log if "cut.tif" in line.text] == ["warning"]
    with (tmp_path / "cut.tif").open("ab") as file:
        file.write(content[len(content) - 100 :])
    until(lambda: watch.received("cut"))
    np.testing.assert_array_equal(watch.plane("cut"), data)
    assert watch.end().failed == 1


def test_a_file_of_which_a_part_cannot_be_read_is_not_streamed_in_part(
    tmp_path, tmp_path_factory, watching, until
):
    data = np.random.default_rng(0).integers(0, 999, (3, 32, 32), "u2")
    content = tiff_bytes(tmp_path_factory, data)
    (tmp_path / "cut.tif").write_bytes(content[:-50])
    watch = watching(settle=0.05)
    until(lambda: watch.said("cut.tif"))
    assert watch.end().planes == 0


def test_names_that_say_unfinished_are_left_alone(tmp_path, watching, until):
    watch = watching()
    for name in (".a.tif", "b.tif.part", "c.tmp.tif", "d.tif~", "log.txt"):
        (tmp_path / name).write_bytes(b"nothing")
    tifffile.imwrite(tmp_path / "z.tif", plane())
    until(lambda: watch.received("z"))
    stats = watch.end()
    assert (stats.files, stats.failed, stats.unfinished, stats.unmatched) == (1, 0, 0, 0)
    assert watch.lines == []


def test_files_in_folders_that_come_at_once(tmp_path, watching, until):
    watch = watching()
    (tmp_path / "a" / "b").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "a" / "b" / "first.tif", plane(1))
    tifffile.imwrite(tmp_path / "a" / "second.tif", plane(2))
    until(lambda: watch.shows("a/b/first", 1) and watch.shows("a/second", 2))


def test_folders_can_be_left_out(tmp_path, watching, until):
    (tmp_path / "inner").mkdir()
    watch = watching(recursive=False)
    tifffile.imwrite(tmp_path / "inner" / "a.tif", plane())
    tifffile.imwrite(tmp_path / "z.tif", plane())
    until(lambda: watch.received("z"))
    assert list(watch.layers) == ["z"]


def test_links_and_loops(tmp_path, tmp_path_factory, watching, until):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    tifffile.imwrite(elsewhere / "a.tif", plane(1))
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere.tif").symlink_to(elsewhere / "nope.tif")
    watch = watching()
    (tmp_path / "published.tif").symlink_to(elsewhere / "a.tif")
    until(lambda: watch.shows("published", 1))
    (tmp_path / "folder").symlink_to(elsewhere)
    until(lambda: watch.shows("folder/a", 1))
    assert not watch.said("nowhere")


def test_looking_again_and_again_sees_the_same(tmp_path, watching, until):
    watch = watching(poll=True)
    tifffile.imwrite(tmp_path / "a.tif", plane(1))
    until(lambda: watch.shows("a", 1))
    array = zarr.create_array(tmp_path / "b.zarr", shape=(2, 6, 8), chunks=(1, 6, 8), dtype="u2")
    array[1] = 7
    until(lambda: watch.shows("b", 7, z=1))
    assert watch.end().failed == 0


# ---- names -------------------------------------------------------------------------------


def test_a_pattern_gives_coordinates(tmp_path, watching, until):
    watch = watching(pattern="{well}_s{site}_w{channel}.tif")
    tifffile.imwrite(tmp_path / "A01_s2_wDAPI.tif", plane(1))
    tifffile.imwrite(tmp_path / "B01_s2_wGFP.tif", plane(2))
    tifffile.imwrite(tmp_path / "thumbnail.tif", plane(3))
    tifffile.imwrite(tmp_path / "thumbnail2.tif", plane(3))
    name = tmp_path.name
    until(lambda: watch.shows(name, 1, well="A01", site=2, channel="DAPI"))
    until(lambda: watch.shows(name, 2, well="B01", site=2, channel="GFP"))
    until(lambda: watch.said("does not fit"))
    stats = watch.end()
    assert (stats.files, stats.unmatched, len(watch.said("does not fit"))) == (2, 2, 1)


def test_a_pattern_and_a_file_that_say_the_same_twice(tmp_path, watching, until):
    watch = watching(pattern="{well}_t{t}.tif", settle=0.05)
    metadata = {"axes": "TYX"}
    tifffile.imwrite(tmp_path / "A_t5.tif", plane(1, (1, 6, 8)), metadata=metadata)
    tifffile.imwrite(tmp_path / "A_t6.tif", plane(1, (2, 6, 8)), metadata=metadata)
    until(lambda: watch.shows(tmp_path.name, 1, well="A", t=5))
    until(lambda: watch.said("has an axis 't' itself, 2 long"))
    assert watch.end().failed == 1


@pytest.mark.parametrize("options", [{}, {"name": "all"}])
def test_many_layers_are_not_what_was_meant(tmp_path, watching, until, options):
    for number in range(18):
        tifffile.imwrite(tmp_path / f"{number}.tif", plane(number))
    watch = watching(**options)
    until(lambda: sum(watch.received(name) for name in watch.layers) == 18)
    assert len(watch.said("each file is a layer of its own; --pattern")) == (not options)


def test_masks_become_labels(tmp_path, watching, until):
    watch = watching()
    tifffile.imwrite(tmp_path / "a_mask.tif", plane(1))
    tifffile.imwrite(tmp_path / "b_mask.tif", plane(1, dtype="f4"))
    until(lambda: watch.received("a_mask") and watch.received("b_mask"))
    assert watch.layers["a_mask"].kind == "labels"
    assert watch.layers["b_mask"].kind == "image"


def test_globs_say_what_is_labels(tmp_path, watching, until):
    watch = watching(labels=["*_cells.tif"], settle=0.05)
    tifffile.imwrite(tmp_path / "a_cells.tif", plane(1))
    tifffile.imwrite(tmp_path / "a_mask.tif", plane(1))
    tifffile.imwrite(tmp_path / "b_cells.tif", plane(1, dtype="f4"))
    until(lambda: watch.received("a_cells") and watch.received("a_mask"))
    assert watch.layers["a_cells"].kind == "labels"
    assert watch.layers["a_mask"].kind == "image"
    until(lambda: watch.said("labels are integers"))


# ---- the folder and the viewer -----------------------------------------------------------


def test_a_folder_may_come_later_and_go_meanwhile(tmp_path, watching, until):
    folder = tmp_path / "results"
    watch = watching(folder)
    until(lambda: watch.said("no such folder yet"))
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", plane(1))
    until(lambda: watch.shows("a", 1))
    (folder / "a.tif").unlink()
    folder.rmdir()
    until(lambda: watch.said("was removed") and len(watch.said("no such folder")) == 2)
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", plane(2))
    until(lambda: watch.shows("a", 2))


def test_a_file_is_no_folder(tmp_path, publisher):
    path = tmp_path / "a.tif"
    path.touch()
    with pytest.raises(DataError, match="is a file; name the folder"):
        watch_folder(path, publisher(), stop=threading.Event())


def test_without_a_viewer_it_waits_and_loses_nothing(tmp_path, request, until):
    url = f"memory://{request.node.name}"
    for t in range(20):
        tifffile.imwrite(tmp_path / f"t{t}.tif", plane(t))
    with Publisher(url) as pub:
        stop, lines, done = threading.Event(), [], []
        options = WatchOptions(pattern=parse_pattern("t{t}.tif"), settle=0.05)
        thread = threading.Thread(
            target=lambda: done.append(
                watch_folder(tmp_path, pub, options, stop=stop, tell=lines.append)
            )
        )
        thread.start()
        until(lambda: lines)
        with Receiver(f"{url}?listen") as viewer:
            until(lambda: viewer.layers and viewer.layers[tmp_path.name].stats().received == 20)
        stop.set()
        thread.join(15)
    assert done[0].planes == 20
    assert ["no viewer is there" in line for line in lines] == [True, False]
    assert lines[1] == "a viewer is there"


def test_no_more_is_read_than_the_viewer_takes(tmp_path, watching, until, monkeypatch):
    put, queued = StreamedLayer.put_plane, []
    lock = threading.Lock()
    monkeypatch.setattr(outlet, "_UNDER_WAY", 2**20)

    def put_slowly(layer, at, plane, *more):
        until(lambda: not lock.locked())
        return put(layer, at, plane, *more)

    monkeypatch.setattr(StreamedLayer, "put_plane", put_slowly)
    stats = Publisher.stats

    def note(pub):  # it looks before each plane
        found = stats(pub)
        queued.append(found.sinks[0].queued_bytes)
        return found

    monkeypatch.setattr(Publisher, "stats", note)
    with lock:
        watch = watching(pattern="t{t}.tif", settle=0.05)
        for t in range(300):
            tifffile.imwrite(tmp_path / f"t{t}.tif", plane(t, (512, 512)))
        until(lambda: queued.count(2**20) > 5)
    until(lambda: watch.received(tmp_path.name) == 300)
    assert max(queued) <= 2**20
    assert watch.end().planes == 300


def test_a_file_too_large_to_hold_is_read_twice(tmp_path, watching, until, monkeypatch):
    monkeypatch.setattr(watch_module, "_AT_ONCE", 0)
    tifffile.imwrite(tmp_path / "a.tif", plane(2, (5, 6, 8)), metadata={"axes": "TYX"})
    watch = watching()
    until(lambda: watch.shows("a", 2, t=4))
    assert watch.end().planes == 5


def test_it_ends_although_there_is_no_viewer(tmp_path, publisher, in_thread, until):
    tifffile.imwrite(tmp_path / "a.tif", plane())
    stop, lines = threading.Event(), []

    def tell(line):
        lines.append(line)
        stop.set()

    options = WatchOptions(settle=0.05)
    stats = in_thread(lambda: watch_folder(tmp_path, publisher(), options, stop=stop, tell=tell))
    assert "no viewer is there" in lines[0]
    assert (stats.planes, stats.unfinished) == (0, 1)
