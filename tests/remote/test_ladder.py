from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_streaming.errors import EncoderError
from napari_streaming.remote.server import gpus, ladder, trial
from napari_streaming.remote.server.encoders import RUNGS, Encoder, open_rung
from napari_streaming.remote.server.gpus import GPU, find_gpus
from napari_streaming.remote.server.ladder import Trial, cache_file
from napari_streaming.remote.server.trial import try_encoder


@pytest.fixture(autouse=True)
def private_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield
    ladder._machine.cache_clear()


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """Run something else where the trial would run a driver."""

    def set_driver(script, name="driver"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return set_driver


# ---- in a process of its own -----------------------------------------------------------------


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_works_or_has_its_reason(name):
    tried = ladder.trial(name)
    assert set(tried.reasons) == {"420", "444"}
    assert set(tried.works) == {chroma for chroma, reason in tried.reasons.items() if not reason}
    if name in {"libx264", "jpeg"}:
        assert tried.works == ("420", "444")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -SEGV $$", "crashed the process (SIGSEGV)"),
        ("echo some words; echo 'the last of them' >&2; exit 3", "ended with 3: the last of them"),
        ("exit 0", "ended with 0: without a word"),
    ],
)
def test_a_driver_that_dies_does_not_work(driver, script, reason):
    driver(script)
    tried = ladder.trial("libx264")
    assert tried.works == ()
    assert all(reason in said for said in tried.reasons.values())


def test_a_driver_that_hangs_does_not_work(driver, monkeypatch):
    monkeypatch.setattr(ladder, "_LIMIT_S", 0.2)
    driver("exec sleep 60")
    assert "did not answer within 0.2 s" in ladder.trial("libx264").reasons["420"]


def test_what_came_before_the_crash_counts(driver):
    driver("""echo chatter; echo '{"chroma": "420", "reason": ""}'; kill -ABRT $$""")
    tried = ladder.trial("libx264")
    assert tried.works == ("420",)
    assert "SIGABRT" in tried.reasons["444"]


# ---- the comparison --------------------------------------------------------------------------


class Wrapped(Encoder):
    """An encoder that does something to its pictures or units."""

    def __init__(self, before=lambda planes: planes, after=lambda data, key: (data, key)):
        super().__init__("wrapped", 640, 480, "420")
        self._inner = open_rung("libx264", 640, 480, 60, 20_000_000)
        self._before, self._after = before, after

    def _compress(self, planes, keyframe):
        return self._after(*self._inner._compress(self._before(planes), keyframe))

    def set_bitrate(self, bits_per_second):
        self._inner.set_bitrate(bits_per_second)

    def close(self):
        self._inner.close()


@pytest.fixture
def wrapped():
    made = []

    def make(*arguments):
        made.append(Wrapped(*arguments))
        return made[-1]

    yield make
    for encoder in made:
        encoder.close()


def test_a_good_encoder_passes(wrapped):
    assert try_encoder(wrapped()) == ""


@pytest.mark.parametrize(
    ("change", "plane"),
    [
        (lambda planes: tuple(np.zeros_like(plane) for plane in planes), "Y"),
        (lambda planes: (planes[0], planes[2], planes[1]), "U"),
        (lambda planes: (np.roll(planes[0], 24, axis=1), *planes[1:]), "Y"),
        (lambda planes: (planes[0][::-1], *planes[1:]), "Y"),
    ],
    ids=["black", "swapped", "shifted", "upside down"],
)
def test_wrong_pixels_do_not(wrapped, change, plane):
    assert try_encoder(wrapped(change)).startswith(f"{plane} comes back changed")


def test_a_stream_without_its_keyframe_does_not(wrapped):
    assert "keyframe" in try_encoder(
        wrapped(lambda planes: planes, lambda data, key: (data, False))
    )


def test_a_rung_that_refuses_says_why(capsys, monkeypatch):
    def refuse(*arguments):
        raise EncoderError("not on this machine")

    monkeypatch.setattr(trial, "open_rung", refuse)
    trial.main("libx264")
    assert capsys.readouterr().out.count("not on this machine") == 2


# ---- the cache -------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch):
    """The rungs that were really tried."""
    tried = []

    def count(name):
        tried.append(name)
        return Trial(name, {"420": "", "444": "no"})

    monkeypatch.setattr(ladder, "_try", count)
    return tried


def test_each_rung_is_tried_once(runs):
    first = ladder.trial("libx264")
    ladder.trial("jpeg")
    assert ladder.trial("libx264") == first
    assert runs == ["libx264", "jpeg"]
    assert cache_file().exists()


def test_it_may_be_tried_afresh(runs):
    for _ in range(2):
        ladder.trial("libx264", fresh=True)
    assert runs == ["libx264", "libx264"]


def test_another_gpu_or_driver_is_another_machine(runs, monkeypatch):
    files = set()
    for found in ([], [GPU("T4", "1")], [GPU("T4", "2")], [GPU("T4", "2", "uuid")]):
        monkeypatch.setattr(ladder, "find_gpus", lambda found=found: found)
        ladder._machine.cache_clear()
        ladder.trial("libx264")
        files.add(cache_file())
    assert len(files) == len(runs) == 4


@pytest.mark.parametrize("content", [b"", b"{", b'{"libx264": 1}', b"\xff"])
def test_a_cache_that_cannot_be_read_is_none(runs, content):
    ladder.trial("libx264")
    cache_file().write_bytes(content)
    assert ladder.trial("libx264").works == ("420",)
    assert runs == ["libx264", "libx264"]


def test_a_cache_that_cannot_be_written_stops_nothing(runs, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert ladder.trial("libx264").works == ("420",)


# ---- the GPUs --------------------------------------------------------------------------------


def test_gpus_are_found_without_failing():
    assert all(str(gpu) for gpu in find_gpus())


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'Tesla T4, 550.1, GPU-1'", [GPU("Tesla T4", "NVIDIA driver 550.1", "GPU-1")]),
        ("echo 'NVIDIA-SMI has failed'; exit 9", []),
        ("echo 'No devices were found'", []),
        ("exec sleep 60", []),
    ],
)
def test_what_nvidias_tool_says(monkeypatch, tmp_path, script, found):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(gpus, "_ANSWER_S", 5.0 if found else 0.5)
    monkeypatch.setattr(gpus, "_DRM", tmp_path)
    assert find_gpus() == found
