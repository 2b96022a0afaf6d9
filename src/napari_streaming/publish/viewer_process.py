"""A viewer of its own process: found if it is there, started if not, never waited for."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from napari_streaming.errors import URLError
from napari_streaming.transport.runtime import find_listing, runtime_folder
from napari_streaming.uri import StreamURL

__all__ = ["start_viewer"]

logger = logging.getLogger(__name__)


def start_viewer(url: StreamURL) -> bool:
    """Start a viewer that listens at a URL, unless one does already.

    The viewer outlives this process. What it prints goes to a log file beside its socket in
    the runtime folder; if it fails to start, the end of it is logged as a warning.

    Parameters
    ----------
    url : StreamURL
        On this machine, to be connected to.

    Returns
    -------
    bool
        Whether a viewer was started.

    Raises
    ------
    URLError
        No viewer can be started for this URL.
    """
    if url.listen or not url.is_local or url.scheme == "memory":
        raise URLError(
            f"{url.redacted()}: spawn=True starts a viewer on this machine to connect to; "
            "use a URL like tcp://127.0.0.1:5555, or start the viewer yourself"
        )
    if find_listing(url) is not None:
        return False
    log = runtime_folder() / f"viewer-{url.port or Path(url.path).name}.log"
    command = [sys.executable, "-m", "napari_streaming", "view", str(replace(url, listen=True))]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C in the pipeline's terminal is not for the viewer
        )
    threading.Thread(
        target=_report, args=(process, log), name="napari-streaming-viewer", daemon=True
    ).start()
    return True


def _report(process: subprocess.Popen[bytes], log: Path) -> None:
    """Reap the viewer, and say so if it failed."""
    if process.wait() > 0:
        tail = log.read_text(errors="replace").strip().splitlines()[-5:]
        logger.warning(
            "the viewer ended with code %d; the program goes on without it. From %s:\n%s",
            process.returncode,
            log,
            "\n".join(tail),
        )
