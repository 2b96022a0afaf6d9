"""How fast a recording is beside the disk that it is on, and what it costs the program.

The disk's speed is that of the same bytes written to one file. Both times end when the disk
has everything, not when the system's cache has.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from napari_streaming.bench.consumer import Consumer
from napari_streaming.errors import StreamingError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.record.recording import Recording

__all__ = ["measure"]

_SIDE = 1024
_PLANES = 512
_ROUNDS = 3
_CALLS = 500
_PACE = 0.01
_MOST_QUEUED = 64 * 2**20


def measure(
    folder: Path | None = None, *, planes: int = _PLANES, rounds: int = _ROUNDS, calls: int = _CALLS
) -> dict[str, Any]:
    """Return the numbers.

    Parameters
    ----------
    folder : Path, optional
        On the disk that is measured; by default where temporary files are.
    planes : int
        Of 2 MiB, in each recording.
    rounds : int
        How often each is measured, in turns; the best counts.
    calls : int
        Calls of ``publish()`` that are timed.

    Returns
    -------
    dict
        ``record_mb_s``, ``disk_mb_s``: 10⁶ bytes a second. ``record_ratio``: how much smaller the
        recording is. ``publish_p50_ms``, ``publish_p99_ms``: of a call, ``alone``,
        with a viewer in another process, and ``recorded``.

    Raises
    ------
    StreamingError
        The disk does not take it.
    """
    images = _images()
    record, disk, ratio = list[float](), list[float](), 0.0
    with tempfile.TemporaryDirectory(dir=folder, prefix="napari-streaming-") as home:
        for number in range(rounds):
            disk.append(_write(Path(home) / f"{number}.raw", images, planes))
            speed, ratio = _record(Path(home) / f"{number}.ome.zarr", images, planes)
            record.append(speed)
        with Publisher() as pub:
            alone = _time_calls(pub, images, calls)
        with Consumer("ipc://bench-record?listen") as consumer, Publisher(consumer.url) as pub:
            viewed = _time_calls(pub, images, calls)
        with Publisher(Recording(Path(home) / "timed.ome.zarr")) as pub:
            recorded = _time_calls(pub, images, calls)
    times = {"alone": alone, "viewed": viewed, "recorded": recorded}
    return {
        "record_mb_s": max(record),
        "disk_mb_s": max(disk),
        "record_ratio": ratio,
        "publish_p50_ms": {name: 1e3 * median(took) for name, took in times.items()},
        "publish_p99_ms": {name: 1e3 * _p99(took) for name, took in times.items()},
    }


def _images() -> list[np.ndarray]:
    """Return planes like those of a camera: 12 bits, all of them noisy."""
    random = np.random.default_rng(0)
    return [random.integers(0, 4096, (_SIDE, _SIDE), np.uint16) for _ in range(8)]


def _write(path: Path, images: list[np.ndarray], planes: int) -> float:
    """Return how fast a file is written; the file is gone afterwards."""
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for number in range(planes):
            file.write(images[number % len(images)].data)
        os.fsync(file.fileno())
    took = time.perf_counter() - start
    path.unlink()
    return planes * images[0].nbytes / took / 1e6


def _record(path: Path, images: list[np.ndarray], planes: int) -> tuple[float, float]:
    """Return how fast a recording is, and how much smaller it is."""
    recording = Recording(path)
    with Publisher(recording) as pub:
        pub.image("warm", images[0])
        pub.flush()
        start = time.perf_counter()
        for number in range(planes):
            pub.image("planes", images[number % len(images)], at={"t": number})
            while number % 8 == 0 and pub.stats().sinks[0].queued_bytes > _MOST_QUEUED:
                time.sleep(0.001)
        pub.flush(timeout=120)
    files = [file for file in (path / "planes").rglob("*") if file.is_file()]
    for file in files:
        _sync(file)
    took = time.perf_counter() - start
    stats = recording.stats()
    if stats.error or stats.items != planes + 1:
        raise StreamingError(f"only {stats.items - 1} of {planes} were recorded: {stats.error}")
    nbytes = planes * images[0].nbytes
    return nbytes / took / 1e6, nbytes / sum(file.stat().st_size for file in files)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _time_calls(pub: Publisher, images: list[np.ndarray], calls: int) -> list[float]:
    """Return the seconds that each call took."""
    for number in range(300):  # until all memory was used once
        pub.image("planes", images[number % len(images)], at={"t": number})
    pub.flush(timeout=60)
    took, due = list[float](), time.perf_counter()
    for number in range(calls):
        due += _PACE
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        pub.image("planes", images[number % len(images)], at={"t": number})
        took.append(time.perf_counter() - start)
    return took


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]
