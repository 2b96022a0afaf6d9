"""Workers of a Dask cluster. They publish straight to viewers; the scheduler sees no pixels.

What does pass the scheduler is small: the steps, where wells are to be found, reports, and, as
events of a topic, which step a worker is at and where it listens. Arrays in memory that a
source consists of go from this process straight to the worker.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import psutil
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    WorkerPlugin,
    as_completed,
    get_worker,
)
from distributed import Worker as DaskWorker
from distributed.comm.addressing import get_address_host
from distributed.protocol.pickle import dumps

from napari_streaming.errors import PipelineError
from napari_streaming.pipeline.compile import SOURCE
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.work import Failure, Job, Report, Task, Worker
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Coordinate
from napari_streaming.wording import counted

__all__ = ["DaskCluster", "check_cluster"]

logger = logging.getLogger(__name__)

_LARGE = 64 * 1024
_AHEAD = 2  # wells that wait at each thread
_TRIES = 2
_CLOSING_S = 10.0


def check_cluster(job: Job, client: Client) -> None:
    """See that the workers of a cluster can do a job.

    Raises
    ------
    PipelineError
        A step's function cannot be sent to them, a viewer cannot be reached from there, or
        the client cannot be used.
    """
    if client.asynchronous or client.status != "running":
        state = "is asynchronous" if client.asynchronous else f"is {client.status}"
        raise PipelineError(f"the Dask client {state}: use distributed.Client(address)")
    for step in job.steps:
        try:
            dumps(step)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PipelineError(
                f"step {step.name!r}: its function cannot be sent to another process ({error}); "
                'use one that holds plain data only, or run(executor="threads")'
            ) from None
    hosts = {get_address_host(address) for address in client.nthreads()}
    foreign = sorted(hosts - _own_addresses())
    for text in job.urls:
        url = parse_url(text)
        if url.scheme == "memory":
            raise PipelineError(
                f"{text}: workers cannot reach the memory of this process; use a url like "
                'tcp://127.0.0.1:5555, or run(executor="threads")'
            )
        if url.is_local and foreign and text not in job.listening:
            logger.warning(
                "%s is this machine only, and workers at %s stream nothing: use the address that "
                'the viewer shows for others, or Stream(workers="listen")',
                url.redacted(),
                ", ".join(foreign[:3]),
            )


def _own_addresses() -> set[str]:
    addresses = {a.address for several in psutil.net_if_addrs().values() for a in several}
    return addresses | {"localhost", ""}


class DaskCluster:
    """An executor of a Dask cluster's workers, each with publishers of its own.

    A well whose worker dies is tried again, as often as Dask has it (its setting
    ``distributed.scheduler.allowed-failures``).

    Parameters
    ----------
    job : Job
    streams : Streams
        Of this process, closed while the workers close theirs.
    client : Client
        Stays open.
    """

    def __init__(self, job: Job, streams: Streams, client: Client) -> None:
        self._job, self._streams, self._client = job, streams, client
        self._name = f"napari-streaming-{job.run}"
        self._steps: dict[Coordinate, str] = {}
        self._pending: dict[Future[Report], Task] = {}

    def process(self, tasks: Sequence[Task]) -> Iterator[Report]:
        """Process tasks, and yield a report of each as soon as it is there.

        Raises
        ------
        PipelineError
            The cluster is gone.
        """
        waiting = deque(tasks)
        lost: Counter[Coordinate] = Counter()
        finished = as_completed(loop=self._client.loop)
        while waiting or self._pending:
            while waiting and len(self._pending) < self._room():
                task = waiting.popleft()
                begun = self._submit(task)
                if isinstance(begun, Failure):
                    yield Report(task.well, (), (), begun)
                else:
                    self._pending[begun] = task
                    finished.add(begun)
            if not self._pending:
                continue
            future = next(finished)
            task = self._pending.pop(future)
            try:
                report = future.result()
            except CancelledError as error:  # what it needed died with a worker
                lost[task.well] += 1
                if lost[task.well] < _TRIES:
                    waiting.appendleft(task)
                    continue
                report = self._lost(task, str(error))
            except KilledWorker as error:
                deaths = counted(error.allowed_failures + 1, "time")
                report = self._lost(
                    task,
                    f"its worker died here or soon after, {deaths}. If "
                    "memory ran out, use fewer threads for each worker or smaller pieces; if the "
                    "step ends its process, have it raise an error instead",
                )
            yield report

    def _room(self) -> int:
        """Return how many wells may be with the workers at a time."""
        return max(8, _AHEAD * int(sum(self._client.nthreads().values())))

    def _submit(self, task: Task) -> Future[Report] | Failure:
        """Send a task; return why it cannot be."""
        if self._client.status != "running":
            raise PipelineError(f"the Dask client is {self._client.status}: the cluster is gone")
        try:
            packed: Any = dumps(task)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            return Failure(
                task.well,
                SOURCE,
                f"it cannot be sent to a worker ({error}); use paths, arrays, or functions",
            )
        if len(packed) > _LARGE:
            try:
                packed = self._client.scatter(packed, direct=True, hash=False)
            except (OSError, TimeoutError) as error:
                return Failure(
                    task.well,
                    SOURCE,
                    f"its {len(packed)} bytes cannot be sent from here straight to a worker "
                    f"({error}); use files that the workers can read",
                )
        return self._client.submit(_process, self._name, task.well, packed, pure=False)

    def _lost(self, task: Task, why: str) -> Report:
        step = self._steps.get(task.well, SOURCE)
        return Report(task.well, (), (), Failure(task.well, step, why))

    def _told(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take note of what a worker says of itself; in a thread of the client's."""
        _, said = event
        if "step" in said:
            self._steps[said["well"]] = said["step"]
        for url, there in said.get("listens", {}).items():
            self._streams.refer(url, there)

    def __enter__(self) -> DaskCluster:
        self._client.subscribe_topic(self._name, self._told)
        try:
            self._client.register_plugin(_Outpost(self._job, self._name), self._name)
        except Exception as error:  # people's modules may raise anything
            self._client.unsubscribe_topic(self._name)
            raise PipelineError(
                "a worker cannot load the pipeline; functions must be importable there: "
                f"{type(error).__name__}: {error}"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have the workers close their publishers; if the run was broken off, cancel it."""
        if self._client.status == "running":
            self._client.cancel(list(self._pending))
            dismissing = threading.Thread(target=self._dismiss, daemon=True)
            dismissing.start()
            self._streams.close()
            dismissing.join(_CLOSING_S)
        self._pending.clear()

    def _dismiss(self) -> None:
        try:
            self._client.unsubscribe_topic(self._name)
            self._client.unregister_worker_plugin(self._name)
        except (OSError, ValueError) as error:
            logger.warning("the workers were not told that the run is over: %s", error)


# ---- in the worker -----------------------------------------------------------------------


class _Outpost(WorkerPlugin):
    """What a run has at each worker of a cluster: its publishers."""

    def __init__(self, job: Job, name: str) -> None:
        self._job, self._name = job, name
        self._streams: Streams | None = None
        self._worker: Worker | None = None

    def setup(self, worker: DaskWorker) -> None:
        """Open the publishers, and tell where they listen, if they do."""
        self._streams = self._job.open_streams(get_address_host(worker.address))
        self._worker = Worker(self._job, self._streams)
        if listens := self._streams.listens:
            worker.log_event(self._name, {"listens": listens})

    async def teardown(self, worker: DaskWorker) -> None:
        """Close the publishers, while the worker goes on."""
        if self._streams is not None and self._worker is not None:
            await asyncio.to_thread(self._streams.close)
            self._worker.close()

    def process(self, well: Coordinate, packed: bytes, worker: DaskWorker) -> Report:
        """Process a task, and tell at which step it is."""
        try:
            task: Task = pickle.loads(packed)  # noqa: S301  # the client's
        except Exception as error:  # noqa: BLE001  # people's modules may raise anything
            failure = Failure(well, SOURCE, f"it cannot be loaded: {error}", traceback.format_exc())
            return Report(well, (), (), failure)
        assert self._worker is not None
        return self._worker.process(
            task, lambda step: worker.log_event(self._name, {"well": well, "step": step})
        )


def _process(name: str, well: Coordinate, packed: bytes) -> Report:
    worker = get_worker()
    outpost = worker.plugins[name]
    assert isinstance(outpost, _Outpost)
    return outpost.process(well, packed, worker)
