"""The viewers of a run: started where there is none, and never a reason to fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from napari_streaming.errors import StreamingError
from napari_streaming.pipeline.plan import NeededViewer
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.publish.viewer_process import start_viewer
from napari_streaming.uri import parse_url

__all__ = ["await_viewers", "start_viewers"]

logger = logging.getLogger(__name__)

_POLL_S = 0.05


def start_viewers(needed: Sequence[NeededViewer]) -> tuple[str, ...]:
    """Start the viewers that are not there, without waiting for them.

    Parameters
    ----------
    needed : sequence of NeededViewer
        On other machines, and where the run listens, viewers are their users' affair.

    Returns
    -------
    tuple of str
        URLs of those that were started.
    """
    started = []
    for viewer in needed:
        url = parse_url(viewer.url)
        if url.listen or not url.is_local or url.scheme == "memory":
            continue
        try:
            if start_viewer(url):
                started.append(viewer.url)
        except (StreamingError, OSError) as error:
            logger.warning("no viewer is started at %s: %s", url.redacted(), error)
    return tuple(started)


def await_viewers(urls: Sequence[str], streams: Streams, timeout: float) -> None:
    """Wait until viewers that were started are there: else a short run would be over before."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and not all(map(streams.is_heard, urls)):
        time.sleep(_POLL_S)
