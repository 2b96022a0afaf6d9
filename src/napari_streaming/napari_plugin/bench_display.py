"""How soon, how often and how evenly what is published stands in a real napari window."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import psutil
from qtpy.QtWidgets import QApplication

from napari_streaming.errors import StreamingError
from napari_streaming.napari_plugin.window import open_window
from napari_streaming.receive.catalog import Catalog
from napari_streaming.settings import ReceiverSettings

__all__ = ["Effort", "measure"]

_LIMIT_S = 120.0
_WARM_S = 2.0
_BUDGET = 1 << 30


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Parameters
    ----------
    side : int
        Pixels along each side of a large plane; they are uint16.
    repeats : int
        How often what happens once is done anew.
    load : float
        Seconds for which planes come as fast as they can.
    large, small : int
        How many planes there are in the end, of the large and of the small ones.
    sample : int
        How many of them a median is of.
    """

    side: int = 2048
    repeats: int = 5
    load: float = 5.0
    large: int = 1000  # 8.4 GB
    small: int = 100_000
    sample: int = 100


# Does what the lines on its standard input say, and answers when each was begun.
_PRODUCER = """
import sys, time
import numpy as np
import napari_streaming as ns

side = int(sys.argv[2])
big = np.random.default_rng(0).integers(1000, 4000, (side, side)).astype("uint16")
small = np.random.default_rng(0).integers(0, 255, (64, 64)).astype("uint8")
planes = [big + np.uint16(i) for i in range(50)]
angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
outline = 5 * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
polygons = outline + np.random.default_rng(0).uniform(0, 2048, (5000, 1, 2))
with ns.Publisher(sys.argv[1]) as pub:
    pub.status("info", "ready")
    assert pub.flush(30)
    for line in sys.stdin:
        what, name, first, count = line.split()
        first, count = int(first), int(count)
        start = time.time()
        if what == "big":
            for t in range(first, first + count):
                pub.image(name, planes[t % 50], at={"t": t})
                if t % 10 == 9 and count > 50:
                    pub.flush(30)  # so that none is given up
        elif what == "small":
            for t in range(first, first + count):
                pub.image(name, small, at={"t": t})
                if t % 1000 == 999:
                    pub.flush(30)
        elif what == "flat-out":
            t = 0
            while time.time() < start + count:
                pub.image(name, planes[t % 50], at={"t": t % 20})
                t += 1
        elif what == "polygons":
            sent = pub.stats().sent
            start = time.time()
            pub.shapes(name, polygons)
            while pub.stats().sent == sent:
                time.sleep(0.0002)
        elif what == "metrics":
            for t in range(count):
                pub.metric(name, t, step=t)
        print(start, time.time(), flush=True)
        pub.flush(30)
"""


class _Bench:
    """A window, and a producer in a process of its own that does what it is told."""

    def __init__(self, side: int) -> None:
        self.viewer, self._dock = open_window(
            "tcp://127.0.0.1:0?listen", title="napari-streaming bench"
        )
        self.streams: Catalog = self._dock.session.receiver.layers
        self._producer = subprocess.Popen(
            [sys.executable, "-c", _PRODUCER, self._dock.session.receiver.urls[0], str(side)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.longest_stall = 0.0
        self._last_turn = time.monotonic()
        self.wait(lambda: any(line.text == "ready" for line in self.streams.log))
        self.rest(1.0)  # the window's own warm-up
        self.memory_before = _own_memory()

    def close(self) -> None:
        """End the producer and close the window."""
        self._producer.kill()
        self._producer.communicate()
        self.viewer.close()

    def tell(self, what: str, name: str, first: int = 0, count: int = 1) -> None:
        """Have something published."""
        assert self._producer.stdin is not None
        self._producer.stdin.write(f"{what} {name} {first} {count}\n")
        self._producer.stdin.flush()

    def begun_and_ended(self) -> tuple[float, float]:
        """Return when the producer began, and ended, the oldest thing not asked for yet."""
        assert self._producer.stdout is not None
        begun, ended = self._producer.stdout.readline().split()
        return float(begun), float(ended)

    def seconds_until(self, done: Callable[[], object]) -> float:
        """Return the seconds from the producer's call until a condition holds."""
        self.wait(done)
        end = time.time()
        return end - self.begun_and_ended()[0]

    def shown(self, name: str) -> int:
        """Return how many items of a layer napari has been given."""
        return self.streams[name].stats().shown if name in self.streams else 0

    def wait(self, condition: Callable[[], object]) -> None:
        """Let Qt run until a condition holds, and note its longest pause."""
        deadline = time.monotonic() + _LIMIT_S
        self._last_turn = time.monotonic()
        while not condition():
            if time.monotonic() > deadline:
                raise StreamingError(f"nothing came to the window within {_LIMIT_S:g} s")
            QApplication.processEvents()
            now = time.monotonic()
            self.longest_stall = max(self.longest_stall, now - self._last_turn)
            self._last_turn = now
            time.sleep(0.001)

    def rest(self, seconds: float) -> None:
        """Let Qt run for a while."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def canvas(self) -> np.ndarray:
        """Return the canvas as it is drawn now, colours only."""
        picture: np.ndarray = self.viewer.screenshot(canvas_only=True, flash=False)
        return picture[..., :3]

    def is_drawn(self) -> bool:
        """Whether the canvas shows a plane."""
        return bool(self.viewer.layers) and bool(self.canvas().max() > 100)


def measure(effort: Effort | None = None) -> dict[str, Any]:
    """Measure in a napari window of our own.

    Parameters
    ----------
    effort : Effort, optional
        By default what ``docs/benchmarks.md`` describes.

    Returns
    -------
    dict
        ``first_pixel_ms``: from the call in another process to a picture of the canvas that
        shows it, in milliseconds; the window is up and the connection made.
        ``add_image_ms``: what napari alone takes for the same plane, without any stream.
        ``fifty_planes_s``: from the first of 50 calls, one a 2048×2048 uint16 plane, until
        napari has been given all of them, in seconds.
        ``flatness``: the median seconds from call to layer of planes 99 900 to 100 000 over
        that of planes 100 to 200, 64×64 uint8.
        ``flatness_2048``: the same of planes 900 to 1000 over 20 to 120, 2048×2048 uint16,
        with a budget of 1 GiB, so that most of them are on the disk by then.
        ``rss_over_budget``: by how much the memory of this process grew beyond that budget
        meanwhile, in MB: what was faulted in before the first plane counts, memory that is
        shared with the producer does not.
        ``polygons_5000x60_ms``: from the call with 5000 polygons of 60 vertices until their
        message is sent, and ``polygons_shown_s`` until napari has built their layer.
        ``hz_under_load``: updates of the layer a second while 2048×2048 planes come as fast
        as they can, and ``stall_ms``, the longest pause of the user interface meanwhile.
        ``metrics_per_s``: values a second from the calls to the viewer's graphs, and
        ``metrics_stall_ms``.

    Raises
    ------
    StreamingError
        Nothing came.
    """
    effort = effort or Effort()
    bench = _Bench(effort.side)
    try:
        return (
            _spilling(bench, effort)  # first: nothing else has taken memory yet
            | _first_pixels(bench, effort)
            | {"fifty_planes_s": _spread([_fifty(bench, i) for i in range(effort.repeats)])}
            | _under_load(bench, effort)
            | _polygons(bench, effort)
            | _metrics(bench)
            | {"flatness": _flatness(bench, effort, "small", 100, effort.small)}
        )
    finally:
        bench.close()


def _first_pixels(bench: _Bench, effort: Effort) -> dict[str, Any]:
    """Measure a first plane through the stream and without it, in turns."""
    ours, alone = [], []
    plane = (
        np.random.default_rng(0)
        .integers(1000, 4000, (1, effort.side, effort.side))
        .astype("uint16")
    )
    for i in range(effort.repeats):
        bench.tell("big", f"first-{i}")
        ours.append(1e3 * bench.seconds_until(bench.is_drawn))
        bench.viewer.layers.clear()
        bench.rest(0.3)
        start = time.time()
        bench.viewer.add_image(plane, contrast_limits=(0, 4000))
        bench.wait(bench.is_drawn)
        alone.append(1e3 * (time.time() - start))
        bench.viewer.layers.clear()
        bench.rest(0.3)
    return {"first_pixel_ms": _spread(ours), "add_image_ms": _spread(alone)}


def _fifty(bench: _Bench, i: int) -> float:
    name = f"fifty-{i}"
    bench.tell("big", name, count=50)
    seconds = bench.seconds_until(lambda: bench.shown(name) == 50)
    bench.viewer.layers.clear()
    return seconds


def _under_load(bench: _Bench, effort: Effort) -> dict[str, Any]:
    updates = [0]

    def count() -> None:
        updates[0] += 1

    bench.tell("flat-out", "load", count=round(_WARM_S + effort.load))
    bench.wait(lambda: "load" in bench.viewer.layers)
    bench.viewer.layers["load"].events.set_data.connect(count)
    bench.rest(0.5)
    updates[0], bench.longest_stall = 0, 0.0
    start = time.monotonic()
    bench.rest(effort.load)
    rate, stall = updates[0] / (time.monotonic() - start), bench.longest_stall
    bench.begun_and_ended()
    bench.viewer.layers.clear()
    bench.rest(0.5)
    return {"hz_under_load": rate, "stall_ms": 1e3 * stall}


def _polygons(bench: _Bench, effort: Effort) -> dict[str, Any]:
    sent, shown = [], []
    for i in range(effort.repeats):
        name = f"polygons-{i}"
        bench.tell("polygons", name)
        bench.wait(partial(_grew, bench, name, 0))
        now = time.time()
        begun, ended = bench.begun_and_ended()
        sent.append(1e3 * (ended - begun))
        shown.append(now - begun)
        bench.viewer.layers.clear()
        bench.rest(0.3)
    return {"polygons_5000x60_ms": _spread(sent), "polygons_shown_s": _spread(shown)}


def _metrics(bench: _Bench) -> dict[str, Any]:
    count = 200_000
    bench.longest_stall = 0.0
    bench.tell("metrics", "energy", count=count)

    def all_came() -> object:
        series = bench.streams.metrics.get("energy")
        return series is not None and len(series.values) and series.values[-1] == count - 1

    seconds = bench.seconds_until(all_came)
    came = len(bench.streams.metrics["energy"].values)
    return {"metrics_per_s": came / seconds, "metrics_stall_ms": 1e3 * bench.longest_stall}


def _spilling(bench: _Bench, effort: Effort) -> dict[str, Any]:
    before = bench.streams.memory[1]
    bench.streams.set_budget(_BUDGET)
    most = [0]

    def look() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], _own_memory())

    done = threading.Event()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        flatness = _flatness(bench, effort, "big", 20, effort.large)
    finally:
        done.set()
        watcher.join()
        bench.streams.set_budget(before)
        bench.viewer.layers.clear()
    over = most[0] - bench.memory_before + ReceiverSettings().warm - _BUDGET
    return {"flatness_2048": flatness, "rss_over_budget": over * 1e-6}


def _own_memory() -> int:
    """Return the bytes that are ours alone: not the producer's memory that we map."""
    info = psutil.Process().memory_info()
    return int(info.rss - getattr(info, "shared", 0))


def _flatness(bench: _Bench, effort: Effort, what: str, first: int, last: int) -> float:
    name = f"flat-{what}"

    def up_to(count: int) -> None:
        bench.tell(what, name, bench.shown(name), count - bench.shown(name))
        bench.wait(lambda: bench.shown(name) >= count)
        bench.begun_and_ended()

    def median() -> float:
        spent = []
        for _ in range(effort.sample):
            now = bench.shown(name)
            bench.tell(what, name, now)
            spent.append(bench.seconds_until(partial(_grew, bench, name, now)))
        return float(np.median(spent))

    up_to(first)
    early = median()
    up_to(last - effort.sample)
    return median() / early


def _grew(bench: _Bench, name: str, before: int) -> bool:
    return bench.shown(name) > before


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}
