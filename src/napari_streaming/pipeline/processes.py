"""Workers that are processes of this machine. One that dies takes nothing but its well along."""

from __future__ import annotations

import contextlib
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline.compile import SOURCE
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.work import Failure, Job, Report, Task, Worker
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Coordinate

__all__ = ["Processes", "check_job"]

_CLOSING_S = 10.0
_FAILED_STARTS = 3
_WORKER = "napari-streaming-step"
_LOOK_S = 1.0
# Fork would carry locks and threads of the parent's along: none of them survives it.
_spawn = get_context("spawn")


def check_job(job: Job) -> None:
    """See that other processes can do a job.

    Raises
    ------
    PipelineError
        A step's function cannot be sent to them, or a viewer cannot be reached from there.
    """
    for step in job.steps:
        try:
            pickle.dumps(step)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PipelineError(
                f"step {step.name!r}: its function cannot be sent to another process ({error}); "
                'define it with def at the top of a module, or run(executor="threads")'
            ) from None
    for text in job.urls:
        url = parse_url(text)
        if url.listen or url.scheme == "memory":
            raise PipelineError(
                f"{url.redacted()}: several processes stream there, so each has to connect to "
                'the viewer; use a url like tcp://127.0.0.1:5555, or run(executor="threads")'
            )


class Processes:
    """An executor of processes, each with publishers of its own. A context manager.

    A well whose process dies is tried once more in a new one.

    Parameters
    ----------
    job : Job
    streams : Streams
        Of this process, closed while the others close theirs.
    count : int
    """

    def __init__(self, job: Job, streams: Streams, count: int) -> None:
        self._streams = streams
        self._packed = pickle.dumps(job)
        self._count = count
        self._workers: list[_Process] = []
        self._ever_ready = False
        self._failed_starts = 0

    def process(self, tasks: Sequence[Task]) -> Iterator[Report]:
        """Process tasks, and yield a report of each as soon as it is there.

        Raises
        ------
        PipelineError
            The processes cannot start.
        """
        waiting = deque(tasks)
        tried: set[Coordinate] = set()
        left = len(tasks)
        while left:
            self._start(min(self._count, left))
            for worker in self._workers:
                if worker.is_idle and waiting:
                    failure = worker.give(waiting.popleft())
                    if failure is not None:
                        left -= 1
                        yield Report(failure.well, (), (), failure)
            for worker in self._ready():
                message = worker.receive()
                if isinstance(message, Report):
                    left -= 1
                    yield message
                elif message is not None:
                    self._ever_ready = True
                else:
                    lost = self._bury(worker)
                    if lost is None:
                        continue
                    if lost.well not in tried:
                        tried.add(lost.well)
                        waiting.appendleft(lost)
                        continue
                    left -= 1
                    yield Report(lost.well, (), (), worker.obituary(lost))

    def _start(self, count: int) -> None:
        while len(self._workers) < count:
            self._workers.append(_Process.start(self._packed))

    def _ready(self) -> list[_Process]:
        """Return the workers that have something to say, or never will again.

        A dead one's pipe is at its end, unless a process that it forked holds it open.
        """
        said = wait([worker.pipe for worker in self._workers], _LOOK_S)
        return [w for w in self._workers if w.pipe in said or w.process.exitcode is not None]

    def _bury(self, worker: _Process) -> Task | None:
        """Forget a dead worker; return the task that it had."""
        self._workers.remove(worker)
        worker.process.join()
        worker.pipe.close()
        if not worker.is_started:
            self._failed_starts += 1
            if not self._ever_ready or self._failed_starts >= _FAILED_STARTS:
                raise PipelineError(worker.why_not_started())
        return worker.task

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the workers close their publishers; if the run was broken off, end them."""
        if kind is not None:
            for worker in self._workers:
                worker.process.terminate()
        for worker in self._workers:
            worker.dismiss()
        self._streams.close()
        deadline = time.monotonic() + _CLOSING_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
            worker.process.close()
        self._workers.clear()


@dataclass(slots=True, eq=False)
class _Process:
    """One worker, as its parent sees it."""

    process: SpawnProcess
    pipe: Connection
    is_started: bool = False
    task: Task | None = None
    step: str = SOURCE
    complaint: str = ""

    @classmethod
    def start(cls, packed: bytes) -> _Process:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(target=_serve, args=(theirs, packed), name=_WORKER)
        try:
            process.start()
        except RuntimeError:
            # A worker that is still importing a script without the guard: its parent explains
            # it, and a traceback of each worker would only hide that.
            if current_process().name != _WORKER:
                raise
            raise SystemExit(1) from None
        theirs.close()  # so that its end shows when the process ends
        return cls(process, ours)

    @property
    def is_idle(self) -> bool:
        return self.is_started and self.task is None

    def give(self, task: Task) -> Failure | None:
        """Send a task; return why it cannot be."""
        try:
            packed = pickle.dumps(task)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            return Failure(
                task.well,
                SOURCE,
                f"it cannot be sent to another process ({error}); use paths, arrays, or functions "
                'defined at the top of a module, or run(executor="threads")',
            )
        self.task, self.step = task, SOURCE
        with contextlib.suppress(OSError):  # it died: its pipe tells soon
            self.pipe.send((task.well, packed))
        return None

    def receive(self) -> Report | str | None:
        """Return a report, or the name of the step that began; None: it is dead."""
        try:
            message = self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            return None
        if message is None:
            return None
        if isinstance(message, _Broken):
            self.complaint = message.traceback
            return None
        if isinstance(message, Report):
            self.task = None
        elif self.is_started:
            self.step = message
        self.is_started = True
        return message  # type: ignore[no-any-return]

    def dismiss(self) -> None:
        """Tell it that there is nothing left to do."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)

    def obituary(self, task: Task) -> Failure:
        """Return how it died, twice."""
        code = self.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return Failure(
            task.well,
            self.step,
            f"its process {how}, twice. If memory ran out, use fewer workers or smaller pieces; "
            "if the step ends its process, have it raise an error instead",
        )

    def why_not_started(self) -> str:
        if self.complaint:
            return (
                "a worker process cannot load the pipeline; functions must be importable there: "
                f"\n{self.complaint}"
            )
        return (
            f"the worker processes end before they begin (code {self.process.exitcode}). A "
            'script needs its last lines under: if __name__ == "__main__":'
        )


# ---- in the worker -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Broken:
    """Said by a worker that cannot begin."""

    traceback: str


def _serve(pipe: Connection, packed: bytes) -> None:
    """Do what comes through the pipe, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's affair
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # it is gone
        try:
            job: Job = pickle.loads(packed)  # noqa: S301  # our parent's
        except Exception:  # noqa: BLE001  # people's modules may raise anything
            pipe.send(_Broken(traceback.format_exc()))
            return
        with job.open_streams() as streams:
            worker = Worker(job, streams)
            pipe.send("")
            while (message := pipe.recv()) is not None:
                well, task = message
                pipe.send(_process(worker, well, task, pipe))
            worker.close()


def _process(worker: Worker, well: Coordinate, packed: bytes, pipe: Connection) -> Report:
    try:
        task: Task = pickle.loads(packed)  # noqa: S301  # our parent's
    except Exception as error:  # noqa: BLE001  # people's modules may raise anything
        failure = Failure(well, SOURCE, f"it cannot be loaded: {error}", traceback.format_exc())
        return Report(well, (), (), failure)
    return worker.process(task, pipe.send)
