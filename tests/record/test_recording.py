"""Recordings of live streams: killed, full, removed, slow."""

from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
import zarr

import napari_streaming as ns
from napari_streaming.errors import DataError
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.recorder import Recorder
from napari_streaming.record.stored_layers import stored_layers
from napari_streaming.record.tape import Tape
from napari_streaming.wire.messages import Array, Declare, Gap, Item, Peer, Status

PEER = Peer(role="publish", program="p", software="s", host="h", pid=1, run="R")
PLANE = Declare(stream=0, name="live", kind="image", dtype="|u1", shape=(256, 256), axes=("y", "x"))

PUBLISHING = """
import threading, time
import numpy as np
import napari_streaming as ns

said = [0, 0.0]

def go(path):
    pub = ns.Publisher(ns.Recording(path))
    n = 0
    while True:
        pub.image("live", np.full((256, 256), n % 251, np.uint8), at={"t": n})
        pub.points("spots", [[n, n]], append=True)
        pub.metric("n", n, n)
        said[:] = n, time.time()
        n += 1
        time.sleep(0.002)
"""


def test_after_a_kill_all_but_the_last_second_is_there(tmp_path, remote, until):
    """And what is there is whole: for us, for zarr, and to be replayed."""
    process = remote()
    process(PUBLISHING)
    path = tmp_path / "run.ome.zarr"
    process(f"threading.Thread(target=go, args=({str(path)!r},), daemon=True).start()")
    process.until("said[0] > 300")
    a_second_ago, since = process("said")
    until(lambda: time.time() > since + 1.0)
    process.kill()

    array = zarr.open_array(path / "live/0", mode="r")
    assert array.shape[0] > a_second_ago
    assert np.array_equal(array[:, 5, 5], np.arange(array.shape[0]) % 251)
    spots = zarr.open_array(path / "sets/spots/data", mode="r")[:]
    assert np.array_equal(spots[:, 0], np.arange(len(spots)))
    assert len(spots) > a_second_ago
    rows = (path / "tables/metrics.csv").read_text().splitlines()
    assert len(rows) > a_second_ago

    layer = stored_layers(OpenRecording(path.with_name("run.nstream")))["live"]
    assert len(layer.data) > a_second_ago
    assert np.asarray(layer.data[a_second_ago]).max() == a_second_ago % 251


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3])
def test_a_kill_at_any_time_leaves_what_opens(tmp_path, remote, after):
    process = remote()
    process(PUBLISHING)
    path = tmp_path / "run.ome.zarr"
    process(f"threading.Thread(target=go, args=({str(path)!r},), daemon=True).start()")
    process.until(f"__import__('os').path.exists({str(path.with_name('run.nstream'))!r})")
    time.sleep(after)  # any moment will do
    process.kill()
    layers = stored_layers(OpenRecording(path.with_name("run.nstream")))
    for layer in layers.values():
        if layer.has_planes:
            planes = np.asarray(layer.data)
            assert np.array_equal(planes[:, 0, 0], np.arange(len(planes)) % 251)


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path, remote, receiver):
    viewer = receiver("ipc://full?listen")
    process = remote()
    process("import resource, numpy as np, napari_streaming as ns")
    path = tmp_path / "run.ome.zarr"
    process(f"recording = ns.Recording({str(path)!r})")
    process("pub = ns.Publisher('ipc://full', recording)")
    process("plane = lambda n: np.random.default_rng(n).integers(0, 255, (256, 256), np.uint8)")
    process("[pub.image('live', plane(n), at={'t': n}) for n in range(20)]")
    process.until("recording.stats().items == 20")
    size = process(f"(__import__('os').stat({str(path / 'live/0/c/0/0/0')!r}).st_size)")
    process(
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 300_000}, resource.RLIM_INFINITY))"
    )
    process("[pub.image('live', plane(n), at={'t': n}) for n in range(20, 60)]")
    process.until("bool(recording.stats().error)")
    process("pub.image('live', plane(60), at={'t': 60})")
    process("pub.flush(15)")

    assert viewer.wait(
        lambda: "live" in viewer.layers and viewer.layers["live"].stats().received == 61, 15
    )
    said = [line for line in viewer.layers.log if line.level == "error"]
    assert len(said) == 1
    assert "run.ome.zarr has ended" in said[0].text
    array = zarr.open_array(path / "live/0", mode="r")
    assert 20 <= array.shape[0] < 30
    layer = stored_layers(OpenRecording(path))["live"]
    for n in range(len(layer.data)):
        plane = np.random.default_rng(n).integers(0, 255, (256, 256), np.uint8)
        assert np.array_equal(array[n], plane)
        assert np.array_equal(np.asarray(layer.data[n]), plane)
    # It can be ended, and another one begun.
    process("pub.shut(recording)")
    process("resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)")
    process(f"again = ns.Recording({str(tmp_path / 'again.ome.zarr')!r})")
    process("pub.open(again)")
    process("pub.image('live', plane(61), at={'t': 61})")
    process("pub.shut(again)")
    assert process("again.stats().error") == ""
    assert 61 in stored_layers(OpenRecording(tmp_path / "again.nstream"))["live"].coordinates["t"]


def test_a_folder_that_is_removed_is_noticed(tmp_path, receiver, publisher, until):
    viewer = receiver()
    recording = ns.Recording(tmp_path / "run")
    pub = publisher()
    pub.open(recording)
    pub.image("live", np.zeros((8, 8), np.uint8))
    until(lambda: recording.stats().items)
    shutil.rmtree(recording.path)
    until(lambda: recording.stats().error)
    pub.image("live", np.ones((8, 8), np.uint8))
    assert pub.flush(15)
    assert np.asarray(viewer.layers["live"].data).all()
    until(lambda: any("has ended" in line.text for line in viewer.layers.log))
    pub.shut(recording)


def test_recordings_come_and_go_while_a_program_runs(tmp_path, receiver, publisher):
    viewer = receiver()
    pub = publisher(history=2**20)
    for number in range(3):
        recording = ns.Recording(tmp_path / f"{number}")
        pub.open(recording)
        for t in range(5 * number, 5 * number + 5):
            pub.image("live", np.full((8, 8), t, np.uint8), at={"t": t})
        pub.shut(recording)
        stats = recording.stats()
        assert (stats.lost, stats.error) == (0, "")
    assert pub.flush(15)
    assert len(viewer.layers["live"].data) == 15
    for number in range(3):
        layer = stored_layers(OpenRecording(tmp_path / f"{number}.nstream"))["live"]
        # What was kept for viewers that come late is there, too.
        assert layer.coordinates["t"] == list(range(5 * number + 5))


class Stuck:
    """A disk that takes its time, as long as the test wants."""

    def __init__(self, monkeypatch):
        self.go, self.is_asked = threading.Event(), threading.Event()
        take = Recorder.take

        def slow(recorder, *arguments):
            self.is_asked.set()
            self.go.wait()
            take(recorder, *arguments)

        monkeypatch.setattr(Recorder, "take", slow)


def item(n: int) -> tuple[Item, dict[str, list[np.ndarray]]]:
    arrays = {"data": [np.full((256, 256), n % 256, np.uint8)]}
    about = (Array("data", "|u1", (256, 256)),)
    return Item(stream=0, sequence=n, time=1.0, at={"t": n}, arrays=about), arrays


def test_what_a_slow_disk_does_not_take_is_a_gap(tmp_path, monkeypatch, until):
    monkeypatch.setattr("napari_streaming.record.tape._MOST_QUEUED", 10 * 65536)
    stuck = Stuck(monkeypatch)
    tape = Tape(tmp_path / "run", waits=False, tell=print)
    for n in range(40):
        message, arrays = item(n)
        tape.heard(PEER, message, PLANE, arrays)
        until(stuck.is_asked.is_set)  # what it is at takes no room while others wait
    lost = tape.stats().lost
    assert 28 <= lost <= 30
    stuck.go.set()
    until(lambda: tape.stats().items == 40 - lost)
    message, arrays = item(40)
    tape.heard(PEER, message, PLANE, arrays)
    tape.close()
    entries = OpenRecording(tmp_path / "run.nstream").entries
    (gap,) = [entry.message for entry in entries if isinstance(entry.message, Gap)]
    assert (gap.first, gap.last, gap.count) == (40 - lost, 39, lost)
    assert "disk" in gap.reason
    kept = [entry.message.sequence for entry in entries if isinstance(entry.message, Item)]
    assert kept == [*range(40 - lost), 40]


def test_a_reliable_stream_waits_for_a_slow_disk(tmp_path, monkeypatch, publisher):
    monkeypatch.setattr("napari_streaming.record.tape._MOST_QUEUED", 10 * 65536)
    stuck = Stuck(monkeypatch)
    recording = ns.Recording(tmp_path / "run")
    pub = publisher(memory=2**20)
    pub.open(recording)
    for n in range(60):
        pub.image("live", np.full((256, 256), n, np.uint8), at={"t": n}, qos="reliable")
    stuck.go.set()
    pub.shut(recording, timeout=15)
    layer = stored_layers(OpenRecording(tmp_path / "run.nstream"))["live"]
    assert np.asarray(layer.data)[:, 0, 0].tolist() == list(range(60))


def test_a_stuck_disk_does_not_hold_up_the_end(tmp_path, monkeypatch, in_thread):
    stuck = Stuck(monkeypatch)
    tape = Tape(tmp_path / "run", waits=True, tell=print)
    tape.heard(PEER, Status("info", "a", 1.0))
    in_thread(tape.close, 0.0)
    stuck.go.set()
    tape.close()


def test_two_recordings_of_one_name(tmp_path):
    with ns.Recording(tmp_path / "run"), pytest.raises(DataError):
        ns.Recording(tmp_path / "run")
