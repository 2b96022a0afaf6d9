"""``napari-streaming record`` and ``replay``: keep a stream, and play it again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from napari_streaming.errors import StorageError, TransportError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.recording import Recording
from napari_streaming.record.replay import Replay
from napari_streaming.uri import parse_url
from napari_streaming.wording import counted

__all__ = ["record", "replay"]

_POLL = 0.2


def record(url: str, out: Path, timeout: float) -> None:
    """Record until every publisher that was there has gone.

    Parameters
    ----------
    url : str
    out : Path
    timeout : float
        Seconds to wait for the first publisher; 0: for ever.

    Raises
    ------
    StreamingError
        The URL cannot be used, nobody came, or the recording ended before its time.
    """
    parsed = parse_url(url)
    with Recording(out, str(parsed)) as recording:
        for shown in recording.receiver.urls or [parsed.redacted()]:
            print(f"Recording what comes {'to' if parsed.listen else 'from'} {shown}", flush=True)
        try:
            _wait(recording, parsed.redacted(), timeout)
        except KeyboardInterrupt:
            print(file=sys.stderr)
    stats = recording.stats()
    lost = f", {stats.lost} lost" if stats.lost else ""
    print(f"{recording.index}: {counted(stats.items, 'item')}, {stats.bytes / 1e6:.1f} MB{lost}")
    if stats.error:
        raise StorageError(stats.error)


def _wait(recording: Recording, url: str, timeout: float) -> None:
    layers, began = recording.receiver.layers, time.monotonic()
    while not recording.stats().error:
        programs = list(layers.programs.values())
        if programs and not any(program.is_connected for program in programs):
            return
        if not programs and timeout and time.monotonic() - began > timeout:
            raise TransportError(f"{url}: no publisher came within {timeout:g} s")
        layers.wait(layers.version, _POLL)


def _await_viewer(pub: Publisher, to: str) -> None:
    """Wait for a viewer: what is played without one is played for nobody."""
    shown = False
    while not any(sink.viewers for sink in pub.stats().sinks):
        if not shown:
            print(f"Waiting for a viewer: {' '.join(pub.urls) or to}", flush=True)
            shown = True
        time.sleep(_POLL)


def replay(path: Path, speed: float, to: str, loop: bool, stay: bool) -> None:
    """Play a recording in a viewer.

    Parameters
    ----------
    path : Path
    speed : float
    to : str
    loop, stay : bool
        As for :class:`Replay`.

    Raises
    ------
    StreamingError
        It cannot be read, or the URL cannot be used.
    """
    recording = OpenRecording(path)
    url = parse_url(to)
    name = f"replay of {recording.folder.name}"
    with Publisher(str(url), name=name, spawn=url.is_local and not url.listen) as pub:
        try:
            _await_viewer(pub, to)
            is_over = Replay(recording, pub, speed=speed, loop=loop).run(stay=stay)
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return
        pub.flush(timeout=10)
    print("Played to its end" if is_over else "Stopped by a viewer")
