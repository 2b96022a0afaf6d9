from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_streaming.remote.server.canvas import HeadlessCanvas
from napari_streaming.remote.server.capture import Capture
from napari_streaming.remote.server.gl_context import Way, find_way


@pytest.fixture(scope="session")
def way() -> Way:
    return find_way()[0]


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def canvas(viewer, way) -> Iterator[HeadlessCanvas]:
    made = HeadlessCanvas(viewer, (320, 240), way=way)
    yield made
    made.close()


@pytest.fixture
def look(canvas) -> Callable[[], np.ndarray[Any, Any]]:
    """Draw until nothing is left to draw, and return the picture."""
    capture = Capture()

    def draw_and_read() -> np.ndarray[Any, Any]:
        for _ in range(10):
            if not canvas.dirty:
                return capture.read_rgb(canvas.target)
            canvas.draw()
        raise AssertionError("the scene never comes to rest")

    return draw_and_read


@pytest.fixture
def gradient() -> np.ndarray[Any, Any]:
    return np.add.outer(np.arange(60.0), np.arange(80.0))
