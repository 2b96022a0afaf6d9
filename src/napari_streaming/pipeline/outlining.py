"""What viewers are told of a run: its steps and why they are streamed, counts, and failures."""

from __future__ import annotations

import time

from napari_streaming.pipeline.graphs import legend, plate_order
from napari_streaming.pipeline.plan import Plan
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.work import Report
from napari_streaming.wire.messages import Outline, OutlineStep
from napari_streaming.wording import counted

__all__ = ["Outliner"]

_INTERVAL_S = 0.25
_SHORT = 256  # what the protocol calls so
_MOST_STEPS = 1024


class Outliner:
    """Keeps viewers up to date, some times a second at the most.

    Parameters
    ----------
    plan : Plan
    streams : Streams
    """

    def __init__(self, plan: Plan, streams: Streams) -> None:
        self._streams = streams
        self._title, self._total = plan.title[:_SHORT] or "pipeline", len(plan.wells)
        self._explained = plan.explain().steps[:_MOST_STEPS]
        self._done = dict.fromkeys((step.name for step in plan.steps), 0)
        self._failed = dict(self._done)
        self._wells, self._graphs = plate_order(plan.wells), set[str]()
        self._told = float("-inf")
        self._tell()

    def count(self, report: Report) -> None:
        """Take note of what became of a well."""
        for name in report.done:
            self._done[name] += 1
        for name in report.graphs:
            if name not in self._graphs:
                self._graphs.add(name)
                self._streams.status("info", f"graph {name}: along it {legend(self._wells)}")
        failure = report.failure
        if failure is not None:
            if failure.step in self._failed:
                self._failed[failure.step] += 1
            self._streams.status("error", str(failure))
        if time.monotonic() - self._told >= _INTERVAL_S:
            self._tell()

    def finish(self, failed: int) -> None:
        """Say how it ended."""
        self._tell()
        wells = counted(self._total, "well")
        if failed:
            self._streams.status("error", f"{self._title}: {failed} of {wells} failed")
        else:
            self._streams.status("complete", f"{self._title}: {wells} done")

    def _tell(self) -> None:
        self._told = time.monotonic()
        steps = tuple(
            OutlineStep(
                name=step.name[:_SHORT],
                written="; ".join(step.written)[:_SHORT],
                streamed=step.streamed > 0,
                why="; ".join(step.why)[:_SHORT],
                done=self._done[step.name],
                failed=self._failed[step.name],
                total=self._total,
            )
            for step in self._explained
        )
        self._streams.outline(Outline(self._title, steps))
