"""What a run will do, resolved and checked: to be read, and to be run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_streaming.pipeline.items import Entry
from napari_streaming.pipeline.model import Stream
from napari_streaming.pipeline.rule import Decision, Role, Target, decide
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Coordinate
from napari_streaming.wording import counted

if TYPE_CHECKING:
    from napari_streaming.pipeline.run import OnProgress, Result

__all__ = [
    "CompiledStep",
    "CompiledTarget",
    "Explanation",
    "NeededViewer",
    "Plan",
    "StepExplanation",
]


@dataclass(frozen=True, slots=True)
class CompiledTarget:
    """One of the places where a step's output is written; `folder` is the step's own."""

    role: Role
    folder: str
    backend: str
    overwrite: bool


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step with nothing left to inherit; `selected` are the wells that may be streamed."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    where: Mapping[str, tuple[Coordinate, ...]]
    over: tuple[str, ...]
    gives: Mapping[str, tuple[Coordinate, ...]] | None
    targets: tuple[CompiledTarget, ...]
    stream: Stream
    selected: frozenset[Coordinate]

    def decide(self, well: Coordinate, there: frozenset[CompiledTarget] = frozenset()) -> Decision:
        """Decide what becomes of an output for a well; `there` is where something is already."""
        return decide(
            [Target(t.role, t.overwrite, t in there) for t in self.targets],
            url=self.stream.url or "",
            enabled=self.stream.enabled is not False,
            selected=well in self.selected,
        )


@dataclass(frozen=True, slots=True)
class NeededViewer:
    """A viewer that steps stream to.

    Parameters
    ----------
    url : str
    steps : tuple of str
    persistent : bool
        Whether it stays when the run is over.
    comes : bool
        Whether it connects to the workers of a cluster, instead of them to it.
    """

    url: str
    steps: tuple[str, ...]
    persistent: bool
    comes: bool


@dataclass(frozen=True, slots=True)
class StepExplanation:
    """What becomes of the output of one step.

    Parameters
    ----------
    name : str
    written : tuple of str
        Where, for people: ``"main output: results/measure (zarr)"``. Empty: nowhere.
    streamed : int
        For how many wells it is streamed.
    total : int
        How many wells there are.
    url : str
        Where to, without its token.
    why : tuple of str
        Reasons, those to stream first, then the most frequent.
    """

    name: str
    written: tuple[str, ...]
    streamed: int
    total: int
    url: str
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """What a run will do, step by step; as a string, and at a prompt, it is for people."""

    title: str
    steps: tuple[StepExplanation, ...]
    wells: int

    def __str__(self) -> str:
        lines = [f"{self.title}: {counted(self.wells, 'well')}, {counted(len(self.steps), 'step')}"]
        for number, step in enumerate(self.steps, 1):
            written = "; ".join(step.written) or "nowhere"
            streamed = f"to {step.url}" if step.streamed else "no"
            lines += [
                f"{number}. {step.name}",
                f"     written:  {written}",
                f"     streamed: {streamed}: {'; '.join(step.why)}",
            ]
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled pipeline; :meth:`napari_streaming.pipeline.Pipeline.compile` makes one.

    Parameters
    ----------
    title : str
    axes : tuple of str
    root : Path
    wells : tuple of coordinate
        To be processed, in this order.
    steps : tuple of CompiledStep
    entries : mapping of coordinate to tuple of Entry
        What each well starts from.
    """

    title: str
    axes: tuple[str, ...]
    root: Path
    wells: tuple[Coordinate, ...]
    steps: tuple[CompiledStep, ...]
    entries: Mapping[Coordinate, tuple[Entry, ...]] = field(repr=False)

    @property
    def viewers(self) -> tuple[NeededViewer, ...]:
        """Which viewers are needed: one for each URL that anything is streamed to."""
        needed: dict[str, list[CompiledStep]] = {}
        for step in self.steps:
            if step.stream.url and any(step.decide(well).streamed for well in self.wells):
                needed.setdefault(step.stream.url, []).append(step)
        return tuple(
            NeededViewer(
                url,
                tuple(step.name for step in steps),
                any(step.stream.persistent is not False for step in steps),
                parse_url(url).listen or any(step.stream.workers == "listen" for step in steps),
            )
            for url, steps in needed.items()
        )

    def explain(self) -> Explanation:
        """Return what will be written, what will be streamed, and why (not)."""
        return Explanation(self.title, tuple(map(self._explain, self.steps)), len(self.wells))

    def _explain(self, step: CompiledStep) -> StepExplanation:
        decisions = [step.decide(well) for well in self.wells]
        # What is streamed comes first: it goes on after "streamed: to ...".
        reasons = Counter((not decision.streamed, decision.why) for decision in decisions)
        # Whether something is there already is looked up by the run, where it writes.
        perhaps = "" if any(t.overwrite for t in step.targets) else ", if not there yet"
        why_so = [
            (why if left_out else why + perhaps)
            + (f" ({count} of {counted(len(decisions), 'well')})" if count < len(decisions) else "")
            for (left_out, why), count in sorted(reasons.items(), key=lambda r: (r[0][0], -r[1]))
        ]
        return StepExplanation(
            name=step.name,
            written=tuple(
                f"{t.role}: {t.folder} ({t.backend}{'' if t.overwrite else ', if not there yet'})"
                for t in step.targets
            ),
            streamed=sum(decision.streamed for decision in decisions),
            total=len(decisions),
            url=parse_url(step.stream.url).redacted() if step.stream.url else "",
            why=tuple(why_so) or ("there are no wells",),
        )

    def run(
        self,
        executor: Any = "threads",
        *,
        workers: int = 2,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Process all wells.

        A well whose step raises fails, and the others go on. Viewers are started or reused,
        and nothing that happens to them fails a well.

        Parameters
        ----------
        executor : {"threads", "processes", "serial"} or distributed.Client
            A client: its cluster's workers. They write to the same folders as this process
            would, so these must be on a disk that all of them have.
        workers : int
            How many wells at a time. A Dask cluster has its own number.
        dry_run : bool
            Do nothing at all but what :meth:`explain` does: nothing is read, written, started
            or streamed.
        on_progress : callable, optional
            Called with a :class:`Progress` after each well, in this thread.

        Returns
        -------
        Result
            What was done, what failed, and what was written; of a dry run in its `dry` what
            would have been done. It can be printed.

        Raises
        ------
        PipelineError
            It cannot run at all: an executor that there is not, a step that no other process
            can be sent, a folder that cannot be written to.
        """
        from napari_streaming.pipeline.run import run_plan

        return run_plan(self, executor, workers=workers, dry_run=dry_run, on_progress=on_progress)
