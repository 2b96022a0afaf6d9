"""What a worker does for one well. All of it can be pickled, and runs anywhere."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_streaming.errors import StreamingError
from napari_streaming.pipeline.apply import apply_step
from napari_streaming.pipeline.compile import SOURCE
from napari_streaming.pipeline.graphs import is_numbered
from napari_streaming.pipeline.items import Entry, Item, load
from napari_streaming.pipeline.paths import item_path
from napari_streaming.pipeline.plan import CompiledStep, CompiledTarget
from napari_streaming.pipeline.storage import Storage
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.values import About, kind_of
from napari_streaming.wire.messages import Coordinate

__all__ = ["Failure", "Job", "Report", "Task", "Worker"]


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a run are told.

    Parameters
    ----------
    run : str
        Differs for each run.
    title : str
    axes : tuple of str
    root : Path
    steps : tuple of CompiledStep
    wells : tuple of coordinate
        In the order in which they lie along graphs.
    urls : tuple of str
        Of the viewers.
    awaited : tuple of str
        Those of `urls` whose viewers were started for this run.
    listening : tuple of str
        Those of `urls` whose viewers connect to the workers of a cluster.
    """

    run: str
    title: str
    axes: tuple[str, ...]
    root: Path
    steps: tuple[CompiledStep, ...]
    wells: tuple[Coordinate, ...] = ()
    urls: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()
    listening: tuple[str, ...] = ()

    def open_streams(self, host: str = "") -> Streams:
        """Return the publishers that a process of this run has; `host` is where it may listen."""
        return Streams(
            self.urls,
            run=self.run,
            name=self.title,
            awaited=self.awaited,
            listen_at=host,
            listening=self.listening if host else (),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One well, and what it starts from."""

    well: Coordinate
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a well failed.

    Parameters
    ----------
    well : coordinate
    step : str
        ``"source"`` if its first values could not be read.
    error : str
        For people.
    traceback : str
        Empty if the worker died.
    """

    well: Coordinate
    step: str
    error: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"step {self.step!r}, well {self.well}: {self.error}"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one well.

    Parameters
    ----------
    well : coordinate
    done : tuple of str
        The steps that are done.
    written : tuple of str
        Paths, relative to the root; what is written is complete, whatever failed later.
    failure : Failure, optional
    graphs : tuple of str
        On which the well now has a number.
    """

    well: Coordinate
    done: tuple[str, ...]
    written: tuple[str, ...]
    failure: Failure | None = None
    graphs: tuple[str, ...] = ()


class Worker:
    """Processes wells, one after the other or in several threads.

    Parameters
    ----------
    job : Job
    streams : Streams
        Of this process; the caller closes them.
    """

    def __init__(self, job: Job, streams: Streams) -> None:
        self._job, self._streams = job, streams
        self._storage = Storage(job.root)
        self._last_use = {name: step.name for step in job.steps for name in step.inputs}

    def process(self, task: Task, on_step: Callable[[str], object] = lambda step: None) -> Report:
        """Run all steps for a well, and write and stream what is to be.

        Parameters
        ----------
        task : Task
        on_step : callable
            Called with the name of each step before it begins.

        Returns
        -------
        Report
            Whatever the steps raise is in it.
        """
        held: dict[str, list[Item]] = {}
        done: list[str] = []
        written: list[str] = []
        graphs: list[str] = []
        now = SOURCE
        try:
            held[SOURCE] = list(load(task.entries, self._job.axes))
            for step in self._job.steps:
                now = step.name
                on_step(now)
                items = apply_step(step, [held[name] for name in step.inputs])
                graphs += self._keep(step, task.well, items, written)
                done.append(now)
                held[now] = items
                for name in {*step.inputs, now}:
                    if self._last_use.get(name, now) == now:
                        del held[name]
        except (Exception, SystemExit) as error:  # noqa: BLE001  # people's code may raise anything
            failure = Failure(task.well, now, _described(error), traceback.format_exc())
            return Report(task.well, tuple(done), tuple(written), failure, tuple(graphs))
        # A well that is reported as done is not done again if this process is killed.
        self._streams.settle()
        return Report(task.well, tuple(done), tuple(written), graphs=tuple(graphs))

    def _keep(
        self, step: CompiledStep, well: Coordinate, items: Sequence[Item], written: list[str]
    ) -> list[str]:
        """Write what is to be written, and stream what was written; return its new graphs."""
        if not step.targets:
            return []
        there: dict[tuple[CompiledTarget, str], bool] = {}
        paths: list[dict[CompiledTarget, str]] = []
        decisions = []
        for item in items:
            kind = kind_of(item.value, step.stream.layer)
            mine = {
                t: item_path(t.folder, t.backend, kind, item.at, self._job.axes)
                for t in step.targets
            }
            for target, path in mine.items():
                if not target.overwrite and (target, path) not in there:
                    there[target, path] = self._storage.exists(path, target.backend)
            paths.append(mine)
            decisions.append(
                step.decide(well, frozenset(t for t in mine if there.get((t, mine[t]))))
            )
        about = _about(step, self._job.wells)
        for target in step.targets:
            chosen = [
                i for i, d in enumerate(decisions) if any(t.role == target.role for t in d.written)
            ]
            if not chosen:
                continue
            names = [paths[i][target] for i in chosen]
            self._storage.save_batch(
                [items[i].value for i in chosen],
                names,
                target.backend,
                at=[items[i].at for i in chosen],
                about=about,
            )
            written += dict.fromkeys(names)
        shown = [i for i, decision in enumerate(decisions) if decision.streamed]
        if shown:
            self._streams.show(
                step.stream.url or "",
                [items[i].value for i in shown],
                [next(iter(paths[i].values())) for i in shown],
                [items[i].at for i in shown],
                about,
            )
        is_graph = any(
            kind_of(items[i].value, about.kind) == "metric" and is_numbered(items[i].at)
            for i in shown
        )
        return [about.name] * is_graph

    def close(self) -> None:
        """Let go of the storage."""
        self._storage.close()


def _about(step: CompiledStep, wells: Sequence[Coordinate]) -> About:
    stream = step.stream
    return About(
        kind=stream.layer,
        name=stream.name or step.name,
        scale=() if stream.scale is None else tuple(stream.scale),
        units=stream.units or (),
        colormap=stream.colormap or "",
        contrast_limits=stream.contrast_limits,
        qos=stream.qos or "latest",
        order=wells,
    )


def _described(error: BaseException) -> str:
    """Return an error for people: our own say all that there is to say."""
    if isinstance(error, StreamingError):
        return str(error)
    return f"{type(error).__name__}: {error}"
