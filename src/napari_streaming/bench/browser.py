"""How many planes a second a browser shows, with its graphics computed by the processor.

The program publishes as fast as a screen shows pictures; what the browser does not get to is
given up. What counts is what was drawn, by the page's own clock.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_streaming.bench.chromium import Chromium
from napari_streaming.publish.publisher import Publisher
from napari_streaming.settings import PublisherSettings

__all__ = ["Effort", "measure"]

_LOOK = (
    "(async () => {{ const {{ canvas, store }} = (await import('/main.js')).viewer; "
    "const start = performance.now(), before = canvas.renewed; "
    "await new Promise((done) => setTimeout(done, {0})); "
    "return [(canvas.renewed - before) / (performance.now() - start) * 1000, "
    "canvas.latency * 1000, store.dropped]; }})()"
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Parameters
    ----------
    side : int
        Pixels along each side of a plane; they are uint16.
    pace : float
        Planes a second that are published.
    seconds : float
        For how long the browser is watched.
    width, height : int
        Of the page, in pixels.
    """

    side: int = 1024
    pace: float = 60.0
    seconds: float = 5.0
    width: int = 1280
    height: int = 800


def measure(effort: Effort | None = None) -> dict[str, Any]:
    """Show planes in a Chromium without a window.

    Parameters
    ----------
    effort : Effort, optional

    Returns
    -------
    dict
        ``browser_fps``: planes drawn a second; ``browser_latency_ms``: from the program's call
        to the screen, of the last one; ``browser_dropped``: planes given up.

    Raises
    ------
    StreamingError
        There is no Chromium, or it does not work.
    """
    effort = effort or Effort()
    ended = threading.Event()
    settings = PublisherSettings(memory=64 * effort.side**2)  # of 32 planes
    with Publisher("ws://127.0.0.1:0?listen", name="bench", settings=settings) as publisher:
        thread = threading.Thread(target=_publish, args=(publisher, effort, ended))
        thread.start()
        try:
            with Chromium(publisher.pages[0], width=effort.width, height=effort.height) as page:
                page.until("(async () => (await import('/main.js')).viewer.canvas.renewed > 10)()")
                fps, latency, dropped = page.run(_LOOK.format(1000 * effort.seconds))
        finally:
            ended.set()
            thread.join()
    return {
        "browser_fps": round(fps, 1),
        "browser_latency_ms": round(latency, 1),
        "browser_dropped": dropped,
    }


def _publish(publisher: Publisher, effort: Effort, ended: threading.Event) -> None:
    """Publish noise until the end, each plane another one than that before."""
    planes = np.random.default_rng(0).integers(
        0, 65536, (8, effort.side, effort.side), dtype=np.uint16
    )
    number, start = 0, time.monotonic()
    while not ended.wait(max(0.0, start + number / effort.pace - time.monotonic())):
        publisher.image("noise", planes[number % len(planes)], contrast_limits=(0, 65535))
        number += 1
