"""How soon what is published stands in a real napari window."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_streaming.errors import StreamingError
from napari_streaming.napari_plugin.window import open_window
from napari_streaming.receive.catalog import Catalog

__all__ = ["measure"]

_LIMIT_S = 60.0
_REPEATS = 5
_PRODUCER = """
import sys, time
import numpy as np
import napari_streaming as ns

plane = np.random.default_rng(0).integers(1000, 4000, (2048, 2048)).astype("uint16")
planes = [plane + np.uint16(i) for i in range(50)]
with ns.Publisher(sys.argv[1]) as pub:
    pub.status("info", "ready")
    assert pub.flush(30)
    for name in sys.stdin:
        start = time.time()
        for i in range(50):
            pub.image(name.strip(), planes[i], at={"t": i})
            if name.startswith("first"):
                break
        print(start, flush=True)
        assert pub.flush(30)
"""


def measure() -> dict[str, Any]:
    """Measure in a napari window of our own.

    Returns
    -------
    dict
        ``first_pixel_ms``: from the call in another process to a picture of the canvas that
        shows it, in milliseconds; the window is up and the connection made.
        ``fifty_planes_s``: from the first of 50 calls, one a 2048×2048 uint16 plane, until
        napari has been given all of them, in seconds. Each with its median and range.

    Raises
    ------
    StreamingError
        Nothing came.
    """
    viewer, dock = open_window("tcp://127.0.0.1:0?listen", title="napari-streaming bench")
    streams = dock.session.receiver.layers
    producer = subprocess.Popen(
        [sys.executable, "-c", _PRODUCER, dock.session.receiver.urls[0]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert producer.stdin is not None and producer.stdout is not None

    def publish(name: str, done: Callable[[], object]) -> float:
        """Return the seconds from the call until a condition holds."""
        assert producer.stdin is not None and producer.stdout is not None
        producer.stdin.write(f"{name}\n")
        producer.stdin.flush()
        _wait(done)
        end = time.time()
        return end - float(producer.stdout.readline())

    def drawn() -> bool:
        return bool(viewer.layers) and _canvas(viewer).max() > 100

    try:
        _wait(lambda: any(line.text == "ready" for line in streams.log))
        _wait_for(1.0)  # the window's own warm-up
        first, fifty = [], []
        for i in range(_REPEATS):
            first.append(publish(f"first {i}", drawn))
            viewer.layers.clear()
            fifty.append(publish(f"fifty {i}", partial(_has_shown, streams, f"fifty {i}", 50)))
            viewer.layers.clear()
    finally:
        producer.kill()
        producer.communicate()
        viewer.close()
    return {
        "first_pixel_ms": _spread([1e3 * seconds for seconds in first]),
        "fifty_planes_s": _spread(fifty),
    }


def _has_shown(streams: Catalog, name: str, count: int) -> bool:
    return name in streams and streams[name].stats().shown == count


def _canvas(viewer: Any) -> np.ndarray:
    """Return the canvas as it is drawn now, colours only."""
    picture: np.ndarray = viewer.screenshot(canvas_only=True, flash=False)
    return picture[..., :3]


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise StreamingError(f"nothing came to the window within {_LIMIT_S:g} s")
        QApplication.processEvents()
        time.sleep(0.001)


def _wait_for(seconds: float) -> None:
    end = time.monotonic() + seconds
    _wait(lambda: time.monotonic() > end)
