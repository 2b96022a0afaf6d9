"""``napari-streaming publish``: image files, plane by plane, to a viewer. Nothing is dropped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_streaming.errors import TransportError
from napari_streaming.publish.files import open_file
from napari_streaming.publish.publisher import Publisher, PublisherStats
from napari_streaming.settings import PublisherSettings
from napari_streaming.uri import parse_url
from napari_streaming.wording import counted

__all__ = ["publish"]

_MEMORY = PublisherSettings().memory
_POLL = 0.02


def publish(
    files: Sequence[Path],
    to: str,
    name: str | None = None,
    interval: float = 0.0,
    timeout: float = 30.0,
) -> None:
    """Publish every plane of image files, and wait until a viewer has them all.

    Parameters
    ----------
    files : sequence of Path
        Whatever :func:`napari_streaming.publish.files.open_file` reads.
    to : str
        The viewer's URL; with ``?listen`` one is waited for there.
    name : str, optional
        One layer for all of the files, which then stack along an axis ``file``. By default
        each file is a layer, called like it.
    interval : float
        Seconds between two planes.
    timeout : float
        Seconds to wait for a viewer that takes nothing.

    Raises
    ------
    DataError
        A file cannot be read. All are looked at before anything is sent.
    URLError
        `to` cannot be used as given.
    TransportError
        No viewer took the data.
    """
    shown = parse_url(to).redacted()
    titles, largest = _look_at(files)
    budget = max(_MEMORY, 8 * largest)
    # No history: it would count as memory in use, and the files themselves are there.
    settings = PublisherSettings(memory=budget, history=0, close_timeout=0.5)
    with Publisher(to, name="napari-streaming publish", settings=settings) as pub:

        def has_room(stats: PublisherStats) -> bool:
            # Half of the memory stays free, so that the publisher never gives anything up.
            calm = stats.memory + largest <= budget // 2 or pub.flush(0)
            return calm and stats.sinks[0].viewers > 0

        for path, title in zip(files, titles, strict=True):
            with open_file(path) as image:
                for number, (at, plane) in enumerate(image.planes(), 1):
                    _wait(pub, has_room, timeout)
                    pub.image(
                        name or title,
                        plane,
                        at={"file": title, **at} if name and len(files) > 1 else at,
                        rgb=image.rgb,
                        scale=image.scale,
                        units=image.units,
                    )
                    _show(f"{title}: plane {number} of {len(image)}", last=number == len(image))
                    time.sleep(interval)
        _wait(pub, lambda _: pub.flush(0), timeout)
        stats = pub.stats()
    _conclude(stats, shown)


def _look_at(files: Sequence[Path]) -> tuple[list[str], int]:
    """Return a different title for each file, and the bytes of the largest plane."""
    titles, largest = [], 0
    for path in files:
        with open_file(path) as image:
            titles.append(image.name)
            largest = max(largest, image.nbytes)
    if len(set(titles)) < len(titles):
        titles = [str(path) for path in files]
    return titles, largest


def _wait(pub: Publisher, until: Callable[[PublisherStats], bool], timeout: float) -> None:
    """Wait until something is so, but not for a viewer that takes nothing any more."""
    taken, since = -1, time.monotonic()
    while not until(stats := pub.stats()):
        sink = stats.sinks[0]
        if sink.tally.acknowledged > taken:
            taken, since = sink.tally.acknowledged, time.monotonic()
        elif time.monotonic() - since > timeout:
            raise TransportError(
                f"{sink.url}: no viewer took the data within {timeout:g} s ({sink.state}). "
                f"Start one with: napari-streaming view, or wait longer with --timeout"
            )
        time.sleep(_POLL)


def _show(progress: str, *, last: bool) -> None:
    """Show progress in place on a terminal, and only its end anywhere else."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{progress}", end="\n" if last else "", flush=True)
    elif last:
        print(progress, flush=True)


def _conclude(stats: PublisherStats, to: str) -> None:
    """Say what became of the planes.

    Raises
    ------
    TransportError
        Not all of them arrived.
    """
    tally = stats.sinks[0].tally
    planes = counted(stats.published, "plane")
    sent = f"{planes}, {tally.bytes / 1e6:.1f} MB sent, {tally.dropped} dropped"
    if tally.dropped or tally.acknowledged < stats.published:
        raise TransportError(
            f"{to}: {sent}, and only {tally.acknowledged} acknowledged: "
            "the viewer went away meanwhile. Publish again when it is back"
        )
    print(f"{sent}; the viewer acknowledged all.")
