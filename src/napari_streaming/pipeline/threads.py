"""Workers that are threads of this process; one of them is a run without concurrency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import TracebackType

from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.work import Job, Report, Task, Worker

__all__ = ["Threads"]


class Threads:
    """An executor of threads, which all publish with the publishers of this process.

    Parameters
    ----------
    job : Job
    streams : Streams
    count : int
    """

    def __init__(self, job: Job, streams: Streams, count: int) -> None:
        self._worker = Worker(job, streams)
        self._pool = ThreadPoolExecutor(count, "napari-streaming-step")

    def process(self, tasks: Sequence[Task]) -> Iterator[Report]:
        """Process tasks, and yield a report of each as soon as it is there."""
        futures = [self._pool.submit(self._worker.process, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()

    def __enter__(self) -> Threads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._worker.close()
