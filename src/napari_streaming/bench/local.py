"""What publishing costs the program, and what each way to a viewer on this machine carries.

Every number stands beside a plain memcpy of the same plane, measured in the same run: the
machine's speed and its noise are in both.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.bench.consumer import Consumer
from napari_streaming.bench.quantiles import quantiles
from napari_streaming.errors import StreamingError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.settings import PublisherSettings

__all__ = ["Effort", "measure"]

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Parameters
    ----------
    side : int
        Pixels along each side of a plane; they are uint16.
    memory : int
        Bytes of the publisher's pool.
    pairs : int
        Calls of each kind that are timed.
    pace : float
        Seconds from the start of one timed call to that of the next.
    planes : int
        Planes sent for each throughput.
    under_way : int
        Planes that may wait there before the producer waits, so that none is dropped.
    """

    side: int = 2048
    memory: int = PublisherSettings().memory
    pairs: int = 400
    pace: float = 0.01
    planes: int = 800
    under_way: int = 4


class _Bench:
    """One plane, a ring of warm buffers to copy it to, and the clock."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        shape = (effort.side, effort.side)
        self.plane = np.random.default_rng(0).integers(0, 4000, shape, np.uint16)
        self._ring = itertools.cycle([self.plane.copy() for _ in range(8)])

    @property
    def settings(self) -> PublisherSettings:
        return PublisherSettings(memory=self.effort.memory)

    @property
    def pool_planes(self) -> int:
        return self.effort.memory // self.plane.nbytes

    def memcpy(self) -> float:
        """Copy the plane; return the seconds it took."""
        target = next(self._ring)
        start = time.perf_counter()
        np.copyto(target, self.plane)
        return time.perf_counter() - start

    def publish(self, publisher: Publisher) -> float:
        start = time.perf_counter()
        publisher.image("plane", self.plane)
        return time.perf_counter() - start

    def publish_allocated(self, publisher: Publisher) -> tuple[float, float]:
        """Compute into memory of the publisher's; return what publishing and lending took."""
        start = time.perf_counter()
        with publisher.allocate(self.plane.shape, self.plane.dtype) as plane:
            lent = time.perf_counter()
            np.copyto(plane, self.plane)
            filled = time.perf_counter()
            publisher.image("plane", plane)
            published = time.perf_counter()
        returned = time.perf_counter()
        return published - filled, lent - start + returned - published

    def in_turn(self, *calls: Callable[[], Any]) -> list[np.ndarray]:
        """Return what calls return that take turns at a steady pace."""
        times: list[list[Any]] = [[] for _ in calls]
        due = time.perf_counter()
        for _ in range(self.effort.pairs):
            for call, spent in zip(calls, times, strict=True):
                due += self.effort.pace
                time.sleep(max(0.0, due - time.perf_counter()))
                spent.append(call())
        return [np.array(spent) for spent in times]

    def warm(self, publisher: Publisher) -> None:
        """Publish until a consumer is there and memory is touched everywhere it will be."""
        for _ in range(2 * self.effort.under_way):
            self.publish(publisher)
            time.sleep(self.effort.pace)
        if not publisher.flush(_PATIENCE):
            raise StreamingError(f"the consumer does not answer: {publisher.stats().sinks}")


def measure(effort: Effort | None = None) -> dict[str, Any]:
    """Run the benchmark ``local``.

    Parameters
    ----------
    effort : Effort, optional
        By default what ``docs/benchmarks.md`` describes.

    Returns
    -------
    dict
        ``publish_over_memcpy``, ``publish_over_memcpy_frozen``
            `Publisher.image` by the median memcpy beside it, with a consumer that takes
            everything, and with one that is frozen while the pool is full.
        ``memcpy_ms``, ``memcpy_spread``
            The memcpy beside the first of these, and its own quantiles by its median: how
            noisy the machine was.
        ``allocated_us``
            `Publisher.image` of an array that was computed into memory from
            `Publisher.allocate`.
        ``allocate_us``
            Lending that memory and taking it back, without the computing.
        ``dropped_frozen``
            Planes that were given up for newer ones while the consumer was frozen.
        ``shm_gb_s``, ``ipc_gb_s``, ``tcp_gb_s``
            Rate at which a receiver takes planes into memory of its own, none lost: through
            shared memory (announced over tcp), and inside the messages.
        ``shm_over_two_memcpy_bound``
            `shm_gb_s` by the rate of two memcpys one after the other, plane bytes / (2 ×
            ``memcpy_back_to_back_ms``): a plane must be copied into the shared memory and
            out of it. The two processes copy at the same time where two cores are free, so
            that 2 is the limit, not 1.
        ``memcpy_back_to_back_ms``
            The median of memcpys without a pause, before and after the throughputs.

    Raises
    ------
    StreamingError
        A consumer did not start, or planes were lost where none may be.
    """
    bench = _Bench(effort or Effort())
    result = _calls(bench) | _calls_while_frozen(bench)
    before = _back_to_back(bench)
    with tempfile.TemporaryDirectory() as folder:
        rates = {
            "shm_gb_s": _throughput(bench, "tcp://127.0.0.1:0?listen", inline=False),
            "ipc_gb_s": _throughput(bench, f"ipc://{Path(folder, 'bench')}?listen", inline=True),
            "tcp_gb_s": _throughput(bench, "tcp://127.0.0.1:0?listen", inline=True),
        }
    memcpy = float(np.median([*before, *_back_to_back(bench)]))
    bound = bench.plane.nbytes * 1e-9 / (2 * memcpy)
    return result | {
        "memcpy_back_to_back_ms": memcpy * 1e3,
        **rates,
        "shm_over_two_memcpy_bound": rates["shm_gb_s"] / bound,
    }


def _calls(bench: _Bench) -> dict[str, Any]:
    with (
        Consumer("tcp://127.0.0.1:0?listen") as consumer,
        Publisher(consumer.url, settings=bench.settings) as publisher,
    ):
        bench.warm(publisher)
        memcpy, publish, allocated = bench.in_turn(
            bench.memcpy,
            lambda: bench.publish(publisher),
            lambda: bench.publish_allocated(publisher),
        )
    return {
        "memcpy_ms": float(np.median(memcpy)) * 1e3,
        "memcpy_spread": _quantiles(memcpy / np.median(memcpy)),
        "publish_over_memcpy": _quantiles(publish / np.median(memcpy)),
        "allocated_us": _quantiles(allocated[:, 0] * 1e6),
        "allocate_us": _quantiles(allocated[:, 1] * 1e6),
    }


def _calls_while_frozen(bench: _Bench) -> dict[str, Any]:
    with (
        Consumer("tcp://127.0.0.1:0?listen") as consumer,
        Publisher(consumer.url, settings=bench.settings) as publisher,
    ):
        bench.warm(publisher)
        consumer.freeze()
        for _ in range(2 * bench.pool_planes):
            bench.publish(publisher)
        dropped = publisher.stats().dropped
        memcpy, publish = bench.in_turn(bench.memcpy, lambda: bench.publish(publisher))
        dropped = publisher.stats().dropped - dropped
        publisher.close(0)
    return {
        "publish_over_memcpy_frozen": _quantiles(publish / np.median(memcpy)),
        "dropped_frozen": dropped,
    }


def _throughput(bench: _Bench, url: str, *, inline: bool) -> float:
    """Return the rate to one consumer that loses nothing, in GB/s."""
    planes = bench.effort.planes
    with Consumer(url, inline=inline) as consumer:
        with Publisher(consumer.url, settings=bench.settings) as publisher:
            bench.warm(publisher)
            start = time.perf_counter()
            for _ in range(planes):
                while _under_way(publisher) >= bench.effort.under_way:
                    time.sleep(0.0002)
                bench.publish(publisher)
            arrived = publisher.flush(_PATIENCE)
            spent = time.perf_counter() - start
        received, dropped = consumer.finish()
    if not arrived or dropped or received < planes:
        raise StreamingError(f"{url}: {received} planes arrived, {dropped} were dropped")
    return planes * bench.plane.nbytes * 1e-9 / spent


def _under_way(publisher: Publisher) -> int:
    stats = publisher.stats()
    return stats.published - stats.dropped - stats.sinks[0].tally.acknowledged


def _back_to_back(bench: _Bench) -> list[float]:
    return [bench.memcpy() for _ in range(bench.effort.pairs)]


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return quantiles(values, median=50, p10=10, p90=90, p99=99) | {"n": len(values)}
