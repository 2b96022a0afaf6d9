"""The viewers of a run: started where there is none, and never a reason to fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from napari_streaming.errors import StreamingError
from napari_streaming.pipeline.plan import NeededViewer
from napari_streaming.publish.viewer_process import Viewer
from napari_streaming.uri import parse_url

__all__ = ["Viewers"]

logger = logging.getLogger(__name__)


class Viewers:
    """Starts viewers while the run begins. A context manager; at its end some are stopped.

    Parameters
    ----------
    needed : sequence of NeededViewer
        On other machines, and where the run listens, viewers are their users' affair.

    Attributes
    ----------
    awaited : tuple of str
        URLs at which no viewer was when the run began.
    """

    def __init__(self, needed: Sequence[NeededViewer]) -> None:
        self._viewers: list[Viewer] = []
        self._passing: list[Viewer] = []
        self._starting: list[threading.Thread] = []
        awaited = []
        for one in needed:
            url = parse_url(one.url)
            # With a token, it is a viewer that somebody started already.
            if url.listen or url.token or not url.is_local or url.scheme == "memory":
                continue
            viewer = Viewer(one.url, persistent=one.persistent)
            if not viewer.is_running:
                awaited.append(one.url)
            self._viewers.append(viewer)
            if not one.persistent:
                self._passing.append(viewer)
        self.awaited = tuple(awaited)

    def __enter__(self) -> Viewers:
        for viewer in self._viewers:
            thread = threading.Thread(
                target=_start, args=(viewer,), name="napari-streaming-viewers", daemon=True
            )
            thread.start()
            self._starting.append(thread)
        return self

    def wait(self, timeout: float) -> None:
        """Wait until all are there, or failed: else a short run would be over before."""
        deadline = time.monotonic() + timeout
        for thread in self._starting:
            thread.join(max(0.0, deadline - time.monotonic()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for viewer in self._passing:
            viewer.stop()


def _start(viewer: Viewer) -> None:
    try:
        viewer.start()
    except (StreamingError, OSError) as error:
        logger.warning("%s; the run goes on without this viewer", error)
