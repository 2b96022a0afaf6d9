"""The benchmark of remote sessions runs between real processes and tells what it promises."""

import math

import pytest

from napari_streaming.bench.remote import Effort, measure

TINY = Effort(warm_up=0.2, loop=1.0, drag=0.5, idle=0.5, moves=5)
NUMBERS = {
    "loop_p50_ms",
    "loop_p95_ms",
    "fps",
    "encode_ms",
    "decode_ms",
    "bytes_per_frame",
    "psnr_db",
    "join_ms",
    "napari_fps",
    "napari_input_to_pixels_p50_ms",
    "napari_input_to_pixels_p95_ms",
}
MAY_BE_ZERO = {"idle_frames", "idle_cpu_percent"}


@pytest.mark.timeout(180)
def test_remote_measures_everything():
    result = measure(TINY)
    assert result.keys() == NUMBERS | MAY_BE_ZERO
    for name in NUMBERS:
        assert math.isfinite(result[name]) and result[name] > 0, name
    assert result["idle_frames"] == 0
    assert result["loop_p50_ms"] <= result["loop_p95_ms"]
    assert result["encode_ms"] < result["loop_p50_ms"]
    # Another picture of the same noise is some 15 dB away.
    assert result["psnr_db"] > 20
