"""The demo's window: a viewer that listens, and a pipeline in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QTimer

from napari_streaming.errors import StreamingError
from napari_streaming.napari_plugin.window import open_window

__all__ = ["run_demo"]

_LAYERS = ("tissue", "hematoxylin", "DAB", "nuclei", "centroids")
_SIDE_BY_SIDE = ("tissue", "hematoxylin", "DAB")
_LIMIT_S = 120.0
_SETTLE_MS = 1000


class _Demo:
    """Watches the pipeline from the GUI thread, and arranges its layers as they come.

    Parameters
    ----------
    picture : Path or None
        Where to save the window once the pipeline is done; the window closes then. Without
        it the window stays.
    """

    def __init__(self, picture: Path | None) -> None:
        self.error = ""
        self._picture = picture
        self._viewer, self._dock = open_window(
            "tcp://127.0.0.1:0?listen", title="napari-streaming demo"
        )
        self._viewer.window.resize(1560, 860)
        self._viewer.layers.events.inserted.connect(self._arrange)
        url = self._dock.session.receiver.urls[0]
        self._pipeline = subprocess.Popen([sys.executable, "-m", "napari_streaming.demo", url])
        self._started = time.monotonic()
        self._timer = QTimer()
        self._timer.timeout.connect(self._look)
        self._timer.start(100)

    def stop(self) -> None:
        """End the pipeline if it still runs."""
        self._pipeline.terminate()
        self._pipeline.wait()

    def _arrange(self, event: Any) -> None:
        """Put the stains beside the tissue, and outline the nuclei on it."""
        layer = event.value
        if layer.name in _SIDE_BY_SIDE:
            width = layer.extent.world[1, 2] - layer.extent.world[0, 2]
            layer.translate = (0, 0, _SIDE_BY_SIDE.index(layer.name) * 1.05 * width)
        elif layer.name == "nuclei":
            layer.contour = 1
        elif layer.name == "centroids":
            layer.size = 3
        self._viewer.reset_view()

    def _look(self) -> None:
        code = self._pipeline.poll()
        if code is None and time.monotonic() - self._started < _LIMIT_S:
            return
        streams = self._dock.session.receiver.layers
        waiting = [name for name in _LAYERS if not _is_shown(streams.get(name))]
        if code == 0 and waiting and time.monotonic() - self._started < _LIMIT_S:
            return
        self._timer.stop()
        if code != 0:
            self.error = "the demo's pipeline failed" if code else "the demo's pipeline hangs"
        elif waiting:
            self.error = f"the demo's pipeline ended, but nothing came for {', '.join(waiting)}"
        if self._picture is not None:
            self._viewer.dims.set_current_step(0, 4)
            self._viewer.reset_view()  # its own size is final only now
            QTimer.singleShot(_SETTLE_MS, self._finish)

    def _finish(self) -> None:
        """Save the window and close it."""
        if self._picture is not None and not self.error:
            self._viewer.window.screenshot(str(self._picture), canvas_only=False, flash=False)
        self._viewer.close()


def _is_shown(layer: Any) -> bool:
    if layer is None:
        return False
    stats = layer.stats()
    return bool(stats.received and stats.shown == stats.received)


def run_demo(picture: Path | None) -> None:
    """Run the demo until its window is closed.

    Parameters
    ----------
    picture : Path or None
        Save the window there once the pipeline is done, and close it.

    Raises
    ------
    StreamingError
        The pipeline failed.
    """
    demo = _Demo(picture)
    try:
        napari.run()
    finally:
        demo.stop()
    if demo.error:
        raise StreamingError(demo.error)
