"""It runs and tells what it promises; how fast is for a quiet machine to say."""

import math

from napari_streaming.bench.web import Effort, measure


def test_it_measures_what_it_promises():
    effort = Effort(viewers=4, stalled=1, churning=1, side=64, seconds=2.0, stay=0.1, parts=())
    result = measure(effort)
    for name in ("publish_p99_over_memcpy", "newest_ms", "received_per_s"):
        assert math.isfinite(result[name]) and result[name] > 0, name
    assert result["newest"]["median"] <= result["newest_ms"] == result["newest"]["p95"]


def test_parts_that_are_not_there_are_left_out():
    effort = Effort(viewers=1, stalled=0, churning=0, side=64, seconds=0.5, parts=("no_such",))
    assert "newest_ms" in measure(effort)
