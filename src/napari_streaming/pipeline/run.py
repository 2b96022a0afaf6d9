"""Runs a plan: viewers, workers, what they report, and what is left to say of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline.graphs import plate_order
from napari_streaming.pipeline.outlining import Outliner
from napari_streaming.pipeline.plan import Explanation, Plan
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.viewers import Viewers
from napari_streaming.pipeline.work import Failure, Job, Report, Task
from napari_streaming.transport.runtime import new_token
from napari_streaming.wire.messages import Coordinate
from napari_streaming.wording import counted

__all__ = ["Executor", "OnProgress", "Progress", "Result", "run_plan"]

_VIEWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    well : coordinate
        The one that was finished last.
    done, failed, total : int
        Numbers of wells.
    """

    well: Coordinate
    done: int
    failed: int
    total: int


OnProgress = Callable[[Progress], object]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a run.

    Parameters
    ----------
    done : tuple of coordinate
        Wells for which all steps ran, in the order in which they were finished.
    failures : tuple of Failure
        One for each well that failed: with step, error and traceback.
    written : tuple of str
        Paths relative to the root. They are complete, those of failed wells too.
    dry : Explanation, optional
        What would have been done: it was a dry run, and nothing was.
    """

    done: tuple[Coordinate, ...] = ()
    failures: tuple[Failure, ...] = ()
    written: tuple[str, ...] = ()
    dry: Explanation | None = None

    def __str__(self) -> str:
        if self.dry is not None:
            return f"dry run, nothing was done; a run does this:\n{self.dry}"
        total = len(self.done) + len(self.failures)
        lines = [f"{len(self.done)} of {counted(total, 'well')} done"]
        lines[0] += f", {counted(len(self.written), 'file')} written"
        return "\n".join([*lines, *(f"  {failure}" for failure in self.failures)])

    @property
    def ok(self) -> bool:
        """Whether no well failed: ``sys.exit(not result.ok)``. In a dry run, none can."""
        return not self.failures

    def raise_for_failures(self) -> None:
        """Raise an error that names what failed, if anything did.

        Raises
        ------
        PipelineError
        """
        if self.failures:
            lines = "\n".join(f"  {failure}" for failure in self.failures)
            total = len(self.done) + len(self.failures)
            raise PipelineError(
                f"{len(self.failures)} of {counted(total, 'well')} failed:\n{lines}"
            )


class Executor(Protocol):
    """The workers of a run. A context manager: when it is left, their publishers are closed."""

    def process(self, tasks: Sequence[Task]) -> Iterator[Report]:
        """Process tasks, and yield a report of each as soon as it is there."""

    def __enter__(self) -> Executor: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def run_plan(
    plan: Plan,
    executor: Any,
    *,
    workers: int,
    dry_run: bool,
    on_progress: OnProgress | None,
) -> Result:
    """Run a plan; parameters, result and errors as of ``Plan.run``."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise PipelineError(f"workers={workers!r}: use a number from 1")
    job = Job(
        run=new_token(),
        title=plan.title,
        axes=plan.axes,
        root=plan.root.absolute(),
        steps=plan.steps,
        wells=plate_order(plan.wells),
        urls=tuple(viewer.url for viewer in plan.viewers),
        listening=tuple(viewer.url for viewer in plan.viewers if viewer.comes),
    )
    make_executor = _executor(executor, job, workers)
    if dry_run:
        return Result(dry=plan.explain())
    _check_folders(job)
    with (
        Viewers(plan.viewers) as viewers,
        Streams(job.urls, run=job.run, name=plan.title, awaited=viewers.awaited) as streams,
        make_executor(replace(job, awaited=viewers.awaited), streams) as running,
    ):
        result = _follow(plan, running, Outliner(plan, streams), on_progress)
        viewers.wait(_VIEWER_S)
    return result


def _follow(
    plan: Plan, running: Executor, outliner: Outliner, on_progress: OnProgress | None
) -> Result:
    """Have all wells processed, and gather the reports."""
    done: list[Coordinate] = []
    failures: list[Failure] = []
    written: list[str] = []
    for report in running.process([Task(well, plan.entries[well]) for well in plan.wells]):
        written += report.written
        if report.failure is None:
            done.append(report.well)
        else:
            failures.append(report.failure)
        outliner.count(report)
        if on_progress is not None:
            on_progress(Progress(report.well, len(done), len(failures), len(plan.wells)))
    outliner.finish(len(failures))
    return Result(tuple(done), tuple(failures), tuple(written))


_MakeExecutor = Callable[[Job, Streams], Executor]


def _executor(executor: Any, job: Job, workers: int) -> _MakeExecutor:
    """Return what makes the workers, once it is sure that they can be made."""
    if executor in ("threads", "serial"):
        from napari_streaming.pipeline.threads import Threads

        count = workers if executor == "threads" else 1
        return lambda job, streams: Threads(job, streams, count)
    if executor == "processes":
        from napari_streaming.pipeline.processes import Processes, check_job

        check_job(job)
        return lambda job, streams: Processes(job, streams, workers)
    distributed = sys.modules.get("distributed")  # who has a client has imported it
    if distributed is not None and isinstance(executor, distributed.Client):
        from napari_streaming.pipeline.dask import DaskCluster, check_cluster

        check_cluster(job, executor)
        return lambda job, streams: DaskCluster(job, streams, executor)
    raise PipelineError(
        f'executor={executor!r}: use "threads", "processes", "serial", or a Dask cluster\'s '
        'distributed.Client (pip install "napari-streaming[dask]")'
    )


def _check_folders(job: Job) -> None:
    """Make the folders that steps write to, and see that they can be written to."""
    for step in job.steps:
        for target in step.targets:
            folder = job.root / target.folder
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
                    pass
            except OSError as error:
                reason = error.strerror or error
                raise PipelineError(
                    f"step {step.name!r}: its {target.role} cannot be written to {folder}: "
                    f"{reason}; choose another folder, or compile(source, root=...)"
                ) from None
