from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from napari_streaming.bench.chromium import Chromium, find_chromium

_VIEWER = "(async () => {{ const {{ viewer }} = await import('/main.js'); return {0}; }})()"
# Everything that came is drawn, and stands on the screen.
_DRAWN = (
    "viewer.canvas.asked === undefined && await new Promise((done) => "
    "requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
)
_GEOMETRY = (
    "(({ top, left }) => { const [y, x] = viewer.canvas.camera.onCanvas(0, 0); "
    "return [top + y, left + x, viewer.canvas.camera.zoom]; })"
    "(document.getElementById('view').getBoundingClientRect())"
)


class Page:
    """The browser viewer, as a test sees it: the screen, and what the page knows."""

    def __init__(self, chromium: Chromium) -> None:
        self.chromium = chromium

    def open(self, url: str) -> None:
        """Open a publisher's page and wait for the session."""
        self.chromium.complaints.clear()
        self.chromium.go(url)
        self.until("viewer.session.isOpen")

    def __call__(self, script: str) -> Any:
        """Return what an expression says, in which `viewer` is known."""
        return self.chromium.run(_VIEWER.format(script))

    def until(self, script: str) -> None:
        self.chromium.until(_VIEWER.format(f"Boolean({script})"))

    def text(self, selector: str) -> str:
        return self(f"document.querySelector({selector!r})?.textContent")

    def wait_for_items(self, count: int) -> None:
        """Wait until so many items came, of whatever stream, and all is drawn."""
        self.until(f"viewer.session.items >= {count}")
        self.until(_DRAWN)

    def screen(self) -> np.ndarray:
        return iio.imread(io.BytesIO(self.chromium.picture()))[..., :3]

    def pixels(self, rows: int, columns: int) -> np.ndarray:
        """Return the colours on the screen at the centres of a plane's pixels: (y, x, 3)."""
        self.until(_DRAWN)
        top, left, zoom = self(_GEOMETRY)
        y = np.round(top + zoom * np.arange(rows) - 0.5).astype(int)
        x = np.round(left + zoom * np.arange(columns) - 0.5).astype(int)
        return self.screen()[np.ix_(y, x)].astype(int)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    if not find_chromium():
        pytest.skip("no Chromium is installed, and none could be: apt-get install chromium")
    with Chromium("about:blank", width=1000, height=700) as browser:
        yield browser


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    chromium.resize(1000, 700)
    yield Page(chromium)
    complaints = list(chromium.complaints)
    chromium.go("about:blank")  # or it would try to connect for ever
    assert not [text for text in complaints if "WebSocket" not in text]
