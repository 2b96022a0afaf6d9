from __future__ import annotations

import pytest

from napari_streaming.bench.browser import Effort, measure
from napari_streaming.bench.chromium import find_chromium


@pytest.mark.skipif(not find_chromium(), reason="no Chromium is installed")
def test_the_browser_shows_planes():
    numbers = measure(Effort(side=64, pace=30, seconds=0.5, width=400, height=300))
    assert numbers["browser_fps"] > 0
    assert numbers["browser_latency_ms"] > 0
