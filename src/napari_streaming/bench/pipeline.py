"""What a viewer costs a pipeline: one that takes everything, one that hangs, and one that dies.

The same pipeline runs with each of them and with none, in turns; what counts is a run's
wall-clock time by that of the run without a viewer in the same turn.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.bench.consumer import Consumer
from napari_streaming.bench.quantiles import quantiles
from napari_streaming.pipeline import Materialize, Pipeline, Plan, Step, Stream
from napari_streaming.pipeline.run import Progress
from napari_streaming.publish.viewer_process import Viewer
from napari_streaming.receive.receiver import Receiver
from napari_streaming.settings import ReceiverSettings

__all__ = ["Effort", "measure"]

_PATIENCE = 60.0
_PASSES = 900
_HUGE_PAGE = 2 * 1024 * 1024
_THIRD = np.float32(1 / 3)
_RESULTS = Materialize("results")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Parameters
    ----------
    wells : int
    side : int
        Pixels along each side of a plane; they are uint16.
    turns : int
        Of the four runs each; a first one is not counted.
    workers : int
    window : bool
        Whether napari's cold start is measured.
    """

    wells: int = 96
    side: int = 512
    turns: int = 5
    workers: int = 2
    window: bool = True


def measure(effort: Effort | None = None) -> dict[str, Any]:
    """Run the benchmark ``pipeline``.

    Parameters
    ----------
    effort : Effort, optional
        By default what ``docs/benchmarks.md`` describes.

    Returns
    -------
    dict
        ``overhead_viewer``, ``overhead_frozen``, ``overhead_killed``
            Wall-clock time of a run with a viewer that takes everything, that is frozen when
            the first well is done, and that is killed when half of them are, by that of a run
            without any. The viewer is a `Receiver` in a process of its own.
        ``run_s``
            Of the runs without a viewer.
        ``first_plane_ms``
            From the end of a step's computing until the first plane of a run is in its layer
            in a `Receiver`: writing it, connecting and carrying it there.
        ``viewer_cold_start_s``
            Until napari listens in a process of its own.

    Raises
    ------
    StreamingError
        A consumer or napari did not start, a well failed, or planes did not arrive.
    """
    effort = effort or Effort()
    rng = np.random.default_rng(0)
    shape = (effort.side, effort.side)
    wells = {
        f"{row}{column:02}": rng.integers(0, 4000, shape, np.uint16)
        for row in "ABCDEFGH"
        for column in range(1, 13)
    }
    source = dict(list(wells.items())[: effort.wells])
    acts: dict[str, _Act | None] = {
        "none": None, "viewer": _watch, "frozen": _freeze, "killed": _kill,
    }  # fmt: skip
    spent: dict[str, list[float]] = {name: [] for name in acts}
    _run(source, effort, _watch)  # warms up
    for _ in range(effort.turns):
        for name, act in acts.items():
            spent[name].append(_run(source, effort, act))
    alone = np.array(spent.pop("none"))
    result: dict[str, Any] = {
        f"overhead_{name}": _spread(np.array(times) / alone) for name, times in spent.items()
    }
    result["run_s"] = _spread(alone)
    result["first_plane_ms"] = _spread(
        1e3 * np.array([_first_plane(effort) for _ in range(effort.turns)])
    )
    if effort.window:
        result["viewer_cold_start_s"] = _cold_start()
    return result


_Act = Callable[[Consumer, Progress], object]


def _watch(consumer: Consumer, progress: Progress) -> None:
    """Let it be."""


def _freeze(consumer: Consumer, progress: Progress) -> None:
    if progress.done == 1:
        consumer.freeze()


def _kill(consumer: Consumer, progress: Progress) -> None:
    if progress.done == progress.total // 2:
        consumer.kill()


def _run(source: Mapping[str, np.ndarray], effort: Effort, act: _Act | None) -> float:
    """Return the seconds that a run takes; after each well something is done to its viewer."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Consumer("tcp://127.0.0.1:0?listen") if act else nullcontext() as consumer,
    ):
        plan = _plan(source, consumer.url if consumer else "", Path(folder))
        if consumer:
            consumer.rest()
        start = time.perf_counter()
        result = plan.run(
            "processes",
            workers=effort.workers,
            on_progress=partial(act, consumer) if act and consumer else None,
        )
        spent = time.perf_counter() - start
    result.raise_for_failures()
    return spent


def _plan(source: Mapping[str, np.ndarray], url: str, folder: Path) -> Plan:
    return Pipeline(
        [
            Step("background", _smooth),
            Step("flat", _flatten, inputs=["source", "background"], output=_RESULTS),
            Step("bright", _threshold, output=_RESULTS, stream=Stream(layer="labels")),
        ],
        stream=Stream(url=url or None),
    ).compile(source, root=folder)


def _smooth(plane: np.ndarray) -> np.ndarray:
    """Return the plane's background, by many passes of a small filter: half a second.

    In memory that is asked for once: what it costs to get and to give back, and how well two
    arrays lie for the processor's caches, differs from one process to the next.
    """
    smooth, other = _workspace(plane.shape)
    smooth[:] = other[:] = plane
    for _ in range(_PASSES):
        for before, after in ((smooth, other), (other.T, smooth.T)):
            inner = after[1:-1]
            np.add(before[:-2], before[2:], out=inner)
            inner += before[1:-1]
            inner *= _THIRD
    return smooth.copy()


@cache
def _workspace(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays in huge pages, no multiple of a page apart."""
    nbytes = shape[0] * shape[1] * 4
    stride = -(-2 * nbytes // _HUGE_PAGE) * _HUGE_PAGE
    memory = np.zeros(2 * stride + _HUGE_PAGE, np.uint8)
    start = -memory.ctypes.data % _HUGE_PAGE
    first, second = (
        memory[at : at + nbytes].view(np.float32).reshape(shape)
        for at in (start, start + stride + nbytes // 2 + 2048)
    )
    return first, second


def _flatten(plane: np.ndarray, background: np.ndarray) -> np.ndarray:
    flat: np.ndarray = np.clip(plane - background + 2000, 0, 65535).astype(np.uint16)
    return flat


def _threshold(flat: np.ndarray) -> np.ndarray:
    return (flat > 3000).astype(np.uint8)


def _first_plane(effort: Effort) -> float:
    """Return the seconds from the end of a step to its plane in a viewer that was there."""
    source = {"A01": np.zeros((effort.side, effort.side))}
    with (
        tempfile.TemporaryDirectory() as folder,
        Receiver("tcp://127.0.0.1:0?listen", settings=ReceiverSettings(warm=0)) as receiver,
        ThreadPoolExecutor(1) as aside,
    ):
        stream = Stream(url=receiver.urls[0])
        plan = Pipeline([Step("stamp", _stamp, output=_RESULTS)], stream=stream)
        running = aside.submit(plan.compile(source, root=folder).run, "processes", workers=1)
        plane = np.asarray(receiver.wait_for("stamp", _PATIENCE).data[0])
        spent = time.time() - float(plane[0, 0])
        running.result().raise_for_failures()
    return spent


def _stamp(plane: np.ndarray) -> np.ndarray:
    """Return a plane that says when it was made."""
    return np.full_like(plane, time.time())


def _cold_start() -> float:
    """Return the seconds that napari takes until it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Viewer(f"tcp://127.0.0.1:{port}", persistent=False) as viewer:
        assert viewer.started_in is not None
        return viewer.started_in


def _spread(values: np.ndarray) -> dict[str, float]:
    return quantiles(values, median=50, min=0, max=100)
