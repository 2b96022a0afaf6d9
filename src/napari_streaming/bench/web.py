"""``napari-streaming bench web``: many viewers over WebSocket, a quarter of them stalled."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from msgspec import structs

from napari_streaming.bench.quantiles import quantiles
from napari_streaming.errors import StreamingError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.receive.receiver import Receiver
from napari_streaming.settings import ReceiverSettings
from napari_streaming.transport.runtime import new_token

__all__ = ["Effort", "measure"]

_LATER = ("browser", "record")  # other parts of this benchmark, each with a `measure` of its own
_PATIENCE = 60.0
_SHOWN = {"median": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Parameters
    ----------
    viewers, stalled, churning : int
        How many there are, how many of them are stopped as a debugger does, and how many come
        and go.
    side : int
        Pixels along each side of a plane; they are uint16.
    rate : float
        Planes in a second.
    seconds : float
        How long.
    stay : float
        Seconds that a churning viewer stays.
    parts : tuple of str
        Which of the other parts are run, where they are there.
    """

    viewers: int = 20
    stalled: int = 5
    churning: int = 5
    side: int = 512
    rate: float = 30.0
    seconds: float = 20.0
    stay: float = 0.5
    parts: tuple[str, ...] = _LATER


def measure(effort: Effort | None = None) -> dict[str, Any]:
    """Run the benchmark ``web``.

    Parameters
    ----------
    effort : Effort, optional
        By default what ``docs/benchmarks.md`` describes.

    Returns
    -------
    dict
        ``publish_p99_over_memcpy``
            The 99th percentile of `Publisher.image` by the median memcpy of the same plane,
            which takes turns with it.
        ``publish_us``, ``memcpy_us``
            Both, in microseconds.
        ``newest_ms``
            How long ago the newest plane at a healthy viewer was published, looked at every
            10 ms: the 95th percentile over all. Half of a period is the least there can be.
        ``newest``
            The same in quantiles.
        ``received_per_s``
            Planes in a second at the healthy viewer that got the fewest.
        ``dropped``
            Planes given up for any viewer, those aside that came and went.

        And what the other parts have to say, where they are installed: ``browser_fps``,
        ``record_mb_s`` and ``disk_mb_s``.

    Raises
    ------
    StreamingError
        A viewer did not start.
    """
    effort = effort or Effort()
    result = _many_viewers(effort)
    for name in effort.parts:
        with contextlib.suppress(ModuleNotFoundError):
            part = importlib.import_module(f"napari_streaming.bench.{name}")
            result |= part.measure()
    return result


def _many_viewers(effort: Effort) -> dict[str, Any]:
    healthy = effort.viewers - effort.stalled - effort.churning
    with (
        Publisher("ws://127.0.0.1:0?listen") as publisher,
        _Viewers(publisher.urls[0]) as stalled,
        _Viewers(publisher.urls[0]) as watched,
        _Viewers(publisher.urls[0]) as churning,
    ):
        stalled.start(effort.stalled)
        watched.start(healthy)
        plane = np.random.default_rng(0).integers(0, 4000, (effort.side,) * 2, np.uint16)
        publisher.image("plane", plane)
        for viewers in (stalled, watched):
            viewers.wait()
        stalled.freeze()
        churning.start(effort.churning, stay=effort.stay)
        calls = _publish(publisher, plane, effort)
        dropped = publisher.stats().dropped
        ages, received = watched.finish()
        publisher.close(0)
    memcpy, publish = (np.array(times) * 1e6 for times in calls)
    return {
        "publish_p99_over_memcpy": float(np.percentile(publish, 99) / np.median(memcpy)),
        "publish_us": quantiles(publish, **_SHOWN),
        "memcpy_us": quantiles(memcpy, **_SHOWN),
        "newest_ms": float(np.percentile(ages, 95)),
        "newest": quantiles(ages, **_SHOWN),
        "received_per_s": (min(received) - 1) / effort.seconds,
        "dropped": dropped,
    }


def _publish(
    publisher: Publisher, plane: np.ndarray, effort: Effort
) -> tuple[list[float], list[float]]:
    """Publish at a steady rate, with a memcpy half way between; return what each took."""
    copies = itertools.cycle([plane.copy() for _ in range(8)])
    memcpy, publish = list[float](), list[float]()
    due, half = time.perf_counter(), 0.5 / effort.rate
    for number in range(int(effort.seconds * effort.rate)):
        due = _sleep_until(due + half)
        target = next(copies)
        start = time.perf_counter()
        np.copyto(target, plane)
        memcpy.append(time.perf_counter() - start)
        due = _sleep_until(due + half)
        plane[0, 0] = number
        start = time.perf_counter()
        publisher.image("plane", plane)
        publish.append(time.perf_counter() - start)
    return memcpy, publish


def _sleep_until(due: float) -> float:
    time.sleep(max(0.0, due - time.perf_counter()))
    return due


class _Viewers:
    """Viewers without windows in one process of their own, which share its interpreter."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: subprocess.Popen[str] | None = None

    def start(self, count: int, stay: float = 0.0) -> None:
        """Have so many connect, and come back for as many seconds each time if it is not 0."""
        if count:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._url, str(count), str(stay)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def wait(self) -> None:
        """Wait until all have a plane."""
        if self._process is None:
            return
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise StreamingError("a viewer did not start: its own message says why")

    def freeze(self) -> None:
        """Stop them as a debugger does."""
        if self._process is not None:
            psutil.Process(self._process.pid).suspend()

    def finish(self) -> tuple[list[float], list[int]]:
        """End them; return ages of the newest plane in ms, and how many each received."""
        assert self._process is not None
        said, _ = self._process.communicate(timeout=_PATIENCE)
        ages, received = json.loads(said.splitlines()[-1])
        return ages, received

    def __enter__(self) -> _Viewers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()  # frozen ones, too
            self._process.communicate()


def _open(url: str) -> Receiver:
    """Return a receiver that is sent pixels inside the messages, as one far away is."""
    receiver = Receiver(settings=ReceiverSettings(warm=0))
    receiver._me = structs.replace(receiver._me, host="elsewhere", run=new_token())
    receiver.open(url)
    return receiver


def _look(url: str, count: int, over: threading.Event) -> None:
    """Receive, and look every 10 ms how old the newest plane is."""
    receivers = [_open(url) for _ in range(count)]
    layers = [receiver.wait_for("plane", _PATIENCE) for receiver in receivers]
    print("ready", flush=True)
    ages = []
    while not over.wait(0.01):
        now = time.time()
        ages += [1e3 * (now - one.published) for one in layers if one.stats().received > 1]
    print(json.dumps([ages, [layer.stats().received for layer in layers]]))
    for receiver in receivers:
        receiver.close()


def _come_and_go(url: str, stay: float, over: threading.Event) -> None:
    while not over.is_set():
        receiver = _open(url)
        over.wait(stay)
        receiver.close()


def _view(url: str, count: int, stay: float) -> None:
    over = threading.Event()
    if stay:
        threads = [
            threading.Thread(target=_come_and_go, args=(url, stay, over)) for _ in range(count)
        ]
    else:
        threads = [threading.Thread(target=_look, args=(url, count, over))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    _view(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
