"""The benchmark of pipelines runs and tells what it promises."""

import math

from napari_streaming.bench.pipeline import Effort, measure


def test_it_measures_everything():
    result = measure(Effort(wells=4, side=64, turns=1, window=False))
    names = {f"overhead_{what}" for what in ("viewer", "frozen", "killed")}
    assert result.keys() == names | {"run_s", "first_plane_ms"}
    for name, value in result.items():
        assert math.isfinite(value["median"]) and value["median"] > 0, name
        assert value["min"] <= value["median"] <= value["max"]
