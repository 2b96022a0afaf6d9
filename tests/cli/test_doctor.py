from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from napari_streaming.cli import doctor as doctor_module
from napari_streaming.cli import encoder_costs, installation
from napari_streaming.cli.encoder_costs import Film, cost, cost_of_still
from napari_streaming.cli.main import app
from napari_streaming.errors import EncoderError
from napari_streaming.remote.server import ladder
from napari_streaming.remote.server.encoders import RUNGS
from napari_streaming.remote.server.gpus import GPU
from napari_streaming.remote.server.ladder import Trial


@pytest.fixture(autouse=True)
def short_and_private(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(encoder_costs, "SIZES", {"720p": (320, 240)})
    monkeypatch.setattr(encoder_costs, "_FRAMES", {"720p": 4})
    monkeypatch.setattr(doctor_module, "_MEASURED", (("720p", "420"), ("720p", "444")))


def doctor(*arguments):
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def test_it_says_what_works_and_what_it_costs():
    said = doctor().stdout
    for word in ("Python", "napari 0.", "ZeroMQ", "PyAV", "GPUs", *RUNGS):
        assert word in said
    assert "4:2:0 and 4:4:4" in said
    (row,) = [line for line in said.splitlines() if line.split()[:3] == ["libx264", "720p", "444"]]
    assert row.split()[4::2][:2] == ["ms", "ms"]


def test_it_says_the_same_as_json(tmp_path):
    said = doctor("--json", "-")
    found = json.loads(said.stdout)
    assert "Installation" in said.stderr
    assert {check["name"] for check in found["checks"]} > {"Python", "Qt", "shared memory"}
    assert list(found["encoders"]) == list(RUNGS)
    assert found["encoders"]["libx264"] == {"420": "", "444": ""}
    (x264,) = [
        row for row in found["costs"] if (row["encoder"], row["chroma"]) == ("libx264", "420")
    ]
    assert x264["encode_ms"] > 0
    assert x264["decode_ms"] > 0
    doctor("--json", tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["encoders"] == found["encoders"]


def test_a_folder_that_is_not_there_is_said_first(tmp_path):
    result = CliRunner().invoke(app, ["doctor", "--json", str(tmp_path / "no" / "found.json")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no such folder" in result.stderr


def test_encoders_are_tried_again_on_demand(monkeypatch):
    tried = []
    real = ladder._try
    monkeypatch.setattr(ladder, "_try", lambda name: tried.append(name) or real(name))
    doctor()
    doctor()
    assert tried == list(RUNGS)
    doctor("--fresh")
    assert tried == 2 * list(RUNGS)


def test_an_encoder_that_fails_at_a_size_costs_only_its_row(monkeypatch):
    def fail(name, film, chroma):
        raise EncoderError(f"{name} does not like {film.size}")

    monkeypatch.setattr(encoder_costs, "cost", fail)
    assert "libx264 does not like 720p" in doctor().stdout


def test_without_pyav_it_says_so():
    """Its absence is played in a process that cannot find it."""
    code = """
import sys
from importlib.machinery import PathFinder
real = PathFinder.find_spec
def find(name, path=None, target=None):
    return None if name == "av" else real(name, path, target)
PathFinder.find_spec = find
from napari_streaming.cli.main import app
app(["doctor", "--fresh"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("PyAV is not installed") == len(RUNGS)
    assert "PyAV: pip install 'napari-streaming[server]'" in done.stdout


@pytest.mark.parametrize(
    ("change", "value", "name", "found"),
    [
        ("_BINDINGS", ("NoSuchQt",), "Qt", "no binding installed"),
        ("_OLDEST_NAPARI", (99,), "napari", "older than 99"),
    ],
)
def test_what_is_missing_is_named_and_how_to_get_it(monkeypatch, change, value, name, found):
    monkeypatch.setattr(installation, change, value)
    said = doctor().stdout
    (row,) = [line for line in said.splitlines() if line.split()[:2] == ["NO", name]]
    assert found in row
    assert f"{name}: pip install 'napari-streaming[viewer]'" in said


def test_forbidden_shared_memory_is_seen(monkeypatch):
    def forbidden(*arguments):
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(installation.os, "memfd_create", forbidden)
    (check,) = [check for check in installation.checks() if check.name == "shared memory"]
    assert check.works is False
    assert "not in this sandbox" in check.found


@pytest.mark.skipif(sys.platform != "linux", reason="memfd is Linux'")
def test_shared_memory_works_here():
    (check,) = [check for check in installation.checks() if check.name == "shared memory"]
    assert check.works, check.found


@pytest.mark.parametrize(
    ("gpu", "advised"),
    [
        (GPU("Tesla T4", "NVIDIA driver 550.1"), "pip install PyNvVideoCodec"),
        (GPU("8086:1234", "i915, Linux 6"), "--no-binary av"),
        (GPU("1a03:2000", "ast, Linux 6"), ""),
    ],
)
def test_advice_follows_the_gpu(gpu, advised):
    no_hardware = [Trial(name, {"420": "no", "444": "no"}) for name in RUNGS[:-2]]
    software = [Trial(name, {"420": "", "444": ""}) for name in RUNGS[-2:]]
    said = " ".join(doctor_module._advice([], [gpu], no_hardware + software))
    assert advised in said
    assert bool(said) == bool(advised)


def test_costs_are_of_the_pictures_that_were_encoded(monkeypatch):
    monkeypatch.setattr(encoder_costs, "_BITS_PER_PIXEL", 4.0)
    film = Film("720p")
    video, still = cost("libx264", film, "444"), cost_of_still(film)
    assert still.psnr_db == 100
    assert 30 < video.psnr_db < 60
    assert video.bytes_per_frame < still.bytes_per_frame
