"""``napari-streaming watch``: what other programs write in a folder, streamed as it is finished."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType

from napari_streaming.errors import DataError, TransportError
from napari_streaming.pipeline.patterns import parse_pattern
from napari_streaming.pipeline.watch import WatchOptions, WatchStats, watch_folder
from napari_streaming.publish.publisher import Publisher
from napari_streaming.settings import PublisherSettings
from napari_streaming.wording import counted

__all__ = ["watch"]


def watch(
    folder: Path,
    to: str,
    *,
    pattern: str | None = None,
    name: str | None = None,
    labels: Sequence[str] = (),
    existing: bool = True,
    recursive: bool = True,
    settle: float = 0.5,
    poll: bool = False,
    timeout: float = 10.0,
) -> None:
    """Stream the images in a folder until Ctrl+C.

    Parameters
    ----------
    folder : Path
        It need not be there yet.
    to : str
        The viewer's URL; with ``?listen`` one is waited for there.
    pattern : str, optional
        Of the names of files; see :func:`~napari_streaming.pipeline.patterns.parse_pattern`.
    name, labels, existing, recursive, settle, poll
        As in :class:`~napari_streaming.pipeline.watch.WatchOptions`.
    timeout : float
        Seconds to wait at the end for a viewer that takes nothing.

    Raises
    ------
    DataError
        The pattern is none, or the folder a file.
    URLError
        `to` cannot be used as given.
    TransportError
        A viewer did not take all that was read.
    """
    options = WatchOptions(
        pattern=parse_pattern(pattern) if pattern else None,
        name=name or "",
        labels=tuple(labels) or None,
        existing=existing,
        recursive=recursive,
        settle=settle,
        poll=poll,
    )
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name the folder that it is in")
    settings = PublisherSettings(close_timeout=0.5)
    with (
        _ended_by_signals() as stop,
        Publisher(to, name="napari-streaming watch", settings=settings) as pub,
    ):
        _tell(f"watching {folder}; Ctrl+C ends it")
        stats = watch_folder(folder, pub, options, stop=stop, tell=_tell)
        waiting = _wait_for_viewer(pub, timeout)
        summary = _summary(stats)
        pub.status("info", summary)
        pub.flush(0.5)
        url = pub.stats().sinks[0].url
    print(summary, flush=True)
    if waiting:
        raise TransportError(
            f"{url}: {waiting} of these planes were not taken by a viewer; "
            "run it again when one is there"
        )


@contextmanager
def _ended_by_signals() -> Iterator[Event]:
    """Give an event that Ctrl+C or a polite kill sets; the second Ctrl+C ends it at once."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_viewer(pub: Publisher, timeout: float) -> int:
    """Wait until the viewer has all, as long as it takes any; return how many planes it lacks."""
    taken, since = -1, time.monotonic()
    while not pub.flush(0.1):
        stats = pub.stats()
        tally = stats.sinks[0].tally
        if tally.acknowledged > taken:
            taken, since = tally.acknowledged, time.monotonic()
        elif time.monotonic() - since > timeout:
            return max(1, stats.published - tally.acknowledged)
    return 0


def _tell(line: str) -> None:
    print(f"napari-streaming: {line}", file=sys.stderr, flush=True)


def _summary(stats: WatchStats) -> str:
    said = [f"{counted(stats.files, 'file')}, {counted(stats.arrays, 'zarr array')}"]
    said.append(f"{counted(stats.planes, 'plane')} streamed")
    if stats.failed:
        said.append(f"{stats.failed} could not be read or shown")
    if stats.unfinished:
        said.append(f"{stats.unfinished} not finished or not taken")
    if stats.unmatched:
        said.append(f"{counted(stats.unmatched, 'file')} did not fit the pattern")
    return "; ".join([": ".join(said[:2]), *said[2:]])
