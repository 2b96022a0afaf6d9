"""The benchmarks run and tell what they promise; how fast is for a quiet machine to say."""

import json
import math

import pytest

from napari_streaming import bench
from napari_streaming.bench.local import Effort, measure
from napari_streaming.errors import DataError

TINY = Effort(side=256, memory=4 * 1024 * 1024, pairs=5, pace=0.001, planes=20)
QUANTITIES = {
    "publish_over_memcpy",
    "publish_over_memcpy_frozen",
    "allocated_us",
    "allocate_us",
    "memcpy_spread",
}
NUMBERS = {
    "shm_gb_s",
    "ipc_gb_s",
    "tcp_gb_s",
    "shm_over_two_memcpy_bound",
    "memcpy_ms",
    "memcpy_back_to_back_ms",
    "dropped_frozen",
}


@pytest.fixture(scope="module")
def result():
    return measure(TINY)


def test_local_measures_everything(result):
    assert result.keys() == QUANTITIES | NUMBERS
    for name in NUMBERS:
        assert math.isfinite(result[name]) and result[name] > 0, name
    for name in QUANTITIES:
        assert result[name]["n"] == TINY.pairs
        quantiles = [result[name][quantile] for quantile in ("p10", "median", "p90", "p99")]
        assert quantiles == sorted(quantiles) and quantiles[0] > 0, name
        assert all(map(math.isfinite, quantiles)), name


def test_the_numbers_go_to_a_file_and_the_table_to_a_person(result, tmp_path, capsys):
    path = tmp_path / "numbers.json"
    bench.report(result, str(path))
    written = json.loads(path.read_text())
    assert written.pop("machine").keys() == {"cpus", "python", "numpy", "platform"}
    assert written == result
    shown = capsys.readouterr().out
    assert all(name in shown for name in QUANTITIES | NUMBERS)


def test_the_numbers_go_to_stdout_alone(result, capsys):
    bench.report(result, "-")
    out, err = capsys.readouterr()
    assert json.loads(out)["shm_gb_s"] == result["shm_gb_s"]
    assert "shm_gb_s" in err


def test_what_cannot_be_run_is_said_at_once(tmp_path):
    with pytest.raises(DataError, match="local"):
        bench.run("nothing", "-")
    with pytest.raises(DataError, match="folder"):
        bench.run("local", str(tmp_path / "nowhere" / "numbers.json"))
