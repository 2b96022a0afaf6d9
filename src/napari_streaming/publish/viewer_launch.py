"""What it takes to have one viewer at an address: look who is there, and start a process."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from napari_streaming.errors import AddressInUseError, VersionError, ViewerError
from napari_streaming.transport.runtime import (
    Listing,
    find_listing,
    locked,
    path_of,
    runtime_folder,
)
from napari_streaming.transport.starting import note_starting, stage_of
from napari_streaming.transport.stranger import is_answered, who_listens
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import VERSION

__all__ = [
    "find_viewer",
    "has_screen",
    "last_words",
    "launch",
    "log_of",
    "report_its_end",
    "software",
]

logger = logging.getLogger(__name__)

_POLL = 0.02
_ANNOUNCE_S = 0.3  # from when a viewer takes connections until it left word of it
_LAST_LINES = 8


def find_viewer(url: StreamURL) -> Listing | None:
    """Return the viewer that listens at a URL, if one does.

    Raises
    ------
    AddressInUseError
        It is a publisher that listens there.
    VersionError
        The viewer speaks another protocol. (One of another release is as good as ours.)
    """
    listing = find_listing(url)
    if listing is None:
        return None
    if listing.role != "view":
        raise AddressInUseError(
            f"{url.address}: a publisher listens there (process {listing.pid}), not a viewer; use "
            f"another port or name, or look at it with: napari-streaming view {url.address}"
        )
    if listing.protocol != VERSION:
        raise VersionError(
            f"{url.address}: the viewer there (process {listing.pid}, {listing.software}) speaks "
            f"protocol version {listing.protocol}, this program ({software()}) version "
            f"{VERSION}: close that viewer and start anew, or use another port or name"
        )
    return listing


def launch(url: StreamURL) -> subprocess.Popen[bytes] | None:
    """Start a viewer, and wait for nothing.

    Returns
    -------
    subprocess.Popen or None
        None: somebody else started one meanwhile.

    Raises
    ------
    AddressInUseError
        Another program listens there.
    ViewerError
        There is no screen.
    """
    _refuse_strangers(url)
    with locked():
        if find_listing(url) is not None or stage_of(url) is not None:
            return None
        if not has_screen() and not os.environ.get("QT_QPA_PLATFORM"):
            raise ViewerError(
                f"{url.address}: no viewer can be started, because there is no screen (neither "
                "DISPLAY nor WAYLAND_DISPLAY is set). Publish anyway and start the viewer where "
                "there is one, or run the program with: xvfb-run -a"
            )
        with log_of(url).open("wb") as output:
            process = subprocess.Popen(
                _command(url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **_apart(),
            )
        note_starting(url, process.pid)
    return process


def _refuse_strangers(url: StreamURL) -> None:
    """Name who listens at a port without being one of us."""
    deadline = time.monotonic() + _ANNOUNCE_S
    while find_listing(url) is None and stage_of(url) is None and is_answered(url):
        if time.monotonic() > deadline:
            raise AddressInUseError(
                f"{url.address} is taken by {who_listens(url)}, which is no napari-streaming of "
                "yours: close it, or use another port"
            )
        time.sleep(_POLL)


def software() -> str:
    """Return what a viewer that is started here says it is."""
    return f"napari-streaming/{version('napari-streaming')}"


def has_screen() -> bool:
    """Whether a window can be opened."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _command(url: StreamURL) -> list[str]:
    return [sys.executable, "-m", "napari_streaming", "view", str(replace(url, listen=True))]


def _apart() -> dict[str, Any]:
    """Return what makes a process independent: Ctrl+C in our terminal is not for it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def log_of(url: StreamURL) -> Path:
    """Return where the viewer at a URL writes what it has to say."""
    return runtime_folder() / f"viewer-{path_of(url).stem}.log"


def last_words(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return how a viewer ended, with the end of its log."""
    ended = f"the viewer ended with code {process.returncode}"
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError as error:
        return f"{ended}, and its log cannot be read: {error}"
    return f"{ended}. From {log}:\n" + "\n".join(lines[-_LAST_LINES:] or ["nothing"])


def report_its_end(process: subprocess.Popen[bytes], url: StreamURL) -> None:
    """Have a thread reap a viewer that this process started, and say so if it failed."""
    log = log_of(url)

    def wait() -> None:
        if process.wait() not in (0, -signal.SIGTERM):
            words = last_words(process, log)
            logger.warning("%s: the program goes on without a viewer: %s", url.address, words)

    threading.Thread(target=wait, name="napari-streaming-viewer", daemon=True).start()
