"""The benchmark of what is seen, with little effort: all that it says is there."""

from __future__ import annotations

import pytest

from napari_streaming.napari_plugin.bench_display import Effort, measure

pytestmark = pytest.mark.napari


def test_everything_is_measured():
    result = measure(Effort(side=64, repeats=1, load=1.0, large=60, small=200, sample=10))
    assert all(
        result[name]["median"] > 0
        for name in ("first_pixel_ms", "add_image_ms", "fifty_planes_s", "polygons_5000x60_ms")
    )
    assert all(
        result[name] > 0
        for name in ("hz_under_load", "stall_ms", "metrics_per_s", "flatness", "flatness_2048")
    )
    assert "rss_over_budget" in result
