"""The streamed layers, what is known about them, and who wants to know when they change."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.metrics import Metrics
from napari_streaming.receive.placement import Axes, Mode, Placement, check_choice
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.programs import Program
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.receive.taps import Taps
from napari_streaming.settings import ReceiverSettings
from napari_streaming.wire.flow import Heard
from napari_streaming.wire.messages import (
    Declare,
    Metric,
    Outline,
    Parameter,
    Progress,
    Running,
    Status,
)

__all__ = ["Catalog", "LogLine", "NewRun", "Sizes", "StreamedLayer"]

Sizes = Literal["split", "pad"]
NewRun = Literal["continue", "replace", "beside"]

_MAX_LOG = 1000
_MAX_OUTLINES = 64
_MAX_PROGRAMS = 256


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the user, from a publisher or from the receiver itself."""

    time: float
    level: str
    text: str


class Catalog(Mapping[str, StreamedLayer]):
    """The layers by name, the metrics and the log. Safe in any thread.

    Parameters
    ----------
    arena : Arena, optional
        Where planes are read back to, if they went to the disk.
    budget : int, optional
        Bytes of planes in memory; by default as :class:`ReceiverSettings` has it.
    keep : bool
        Whether the layers keep what comes; else only the taps get it.

    Attributes
    ----------
    metrics : Metrics
        A mapping of names to :class:`MetricSeries`.
    outlines : dict of str to Outline
        What pipelines said they do, by title.
    programs : dict of str to Program
        The publishers that are there and those that were there last, by their run.
    log : deque of LogLine
    taps : Taps
        Who else gets what comes.
    """

    def __init__(
        self, arena: Arena | None = None, budget: int | None = None, *, keep: bool = True
    ) -> None:
        self.taps, self._keep = Taps(), keep
        self.metrics = Metrics()
        self.outlines: dict[str, Outline] = {}
        self.programs: dict[str, Program] = {}
        self.log: deque[LogLine] = deque(maxlen=_MAX_LOG)
        self._changed = threading.Condition(threading.RLock())
        self._version = 0
        self._axes, self._placement = Axes(), Placement()
        self._sizes: Sizes = "split"
        self._sizes_chosen = False
        self._new_run: NewRun = "continue"
        self._running: Counter[str] = Counter()  # runs that somebody is connected to
        self._runs: dict[str, set[str]] = {}  # that a layer has items of
        self._heard: dict[str, Heard] = {}  # by run
        self._layers: dict[str, StreamedLayer] = {}
        self._dirty: dict[str, StreamedLayer] = {}
        itself = weakref.ref(self)  # so that all planes go as soon as the catalog goes

        def warn(text: str) -> None:
            if (catalog := itself()) is not None:
                catalog.say("warning", text)

        budget = ReceiverSettings().budget if budget is None else budget
        self._memory = PlaneMemory(budget, arena or Arena(), warn)

    def __getitem__(self, name: str) -> StreamedLayer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._layers))

    def __len__(self) -> int:
        return len(self._layers)

    # ---- what goes where -------------------------------------------------------------

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of planes in memory now, and the budget for them."""
        return self._memory.held, self._memory.budget

    def set_budget(self, budget: int) -> None:
        """Allow planes so many bytes in memory from now on.

        Raises
        ------
        ValueError
            It is less than nothing.
        """
        if budget < 0:
            raise ValueError(f"budget={budget}: at least 0 bytes are needed")
        self._memory.set_budget(budget)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of all coordinates that came, from the slowest axis."""
        with self._changed:
            return self._axes.names()

    def mode(self, dimension: str) -> Mode:
        """Return what becomes of a dimension."""
        return self._placement.mode(dimension)

    def set_mode(self, dimension: str, mode: Mode) -> None:
        """Make a dimension an axis, layers, windows, or its latest value only.

        Raises
        ------
        ValueError
            There is no such mode.
        """
        with self._changed:
            if self._placement.set_mode(dimension, mode):
                for layer in self._layers.values():
                    layer.place_anew()
                self._dirty |= self._layers
                self.notify()

    def propose_mode(self, dimension: str, mode: Mode) -> None:
        """Choose what becomes of a dimension, unless that was chosen or proposed before.

        Raises
        ------
        ValueError
            There is no such mode.
        """
        with self._changed:
            if not self._placement.is_chosen(dimension):
                self.set_mode(dimension, mode)

    @property
    def sizes(self) -> Sizes:
        """Whether planes of other lengths make another layer, or are padded."""
        return self._sizes

    def set_sizes(self, sizes: Sizes) -> None:
        """Have planes of other lengths make another layer from now on, or pad them.

        Raises
        ------
        ValueError
            It is neither.
        """
        check_choice("sizes", sizes, Sizes)
        self._sizes, self._sizes_chosen = sizes, True

    def propose_sizes(self, sizes: Sizes) -> None:
        """Choose what becomes of planes of other lengths, unless that was chosen before.

        Raises
        ------
        ValueError
            There is no such choice.
        """
        if not self._sizes_chosen:
            self.set_sizes(sizes)

    @property
    def new_run(self) -> NewRun:
        """What a program that was started again does to the layers of its last run."""
        return self._new_run

    def set_new_run(self, new_run: NewRun) -> None:
        """Have a program that is started again continue its layers, replace or leave them.

        Raises
        ------
        ValueError
            It is none of these.
        """
        check_choice("new_run", new_run, NewRun)
        self._new_run = new_run

    def run_began(self, run: str) -> None:
        """Note a connection to a publisher's run."""
        with self._changed:
            self._running[run] += 1

    def run_ended(self, run: str) -> None:
        """Note that a connection is gone."""
        with self._changed:
            self._running[run] -= 1

    def declare(self, declare: Declare, run: str = "") -> StreamedLayer:
        """Return the layer that a stream of a publisher's run belongs to, made if need be."""
        with self._changed:
            revision, name, changed = 1, declare.name, ""
            while (layer := self._layers.get(name)) is not None:
                takes = layer.takes(declare, padded=self._sizes == "pad")
                is_new = self._is_new_run(name, run)
                if takes and not (is_new and self._new_run == "beside"):
                    if is_new and self._new_run == "replace":
                        layer.clear()
                        self._runs[name].clear()
                    self._runs[name].add(run)
                    layer.grow(declare)
                    return layer
                changed = changed or ("" if takes else layer.difference(declare))
                revision += 1
                name = f"{declare.name} [{revision}]"
            if changed:
                self.say("info", f"{declare.name!r} is shown as {name!r} from now on: {changed}")
            layer = StreamedLayer(
                name, declare, self._axes, self._placement, self._memory, self._changed
            )
            if not self._keep:
                layer.discard()
            self._layers[name] = layer
            self._runs[name] = {run}
            if layer.has_planes and self._axes.note_volume(declare):
                self._dirty |= self._layers
        return layer

    def _is_new_run(self, name: str, run: str) -> bool:
        """Whether a run is new to a layer, and not one of several that fill it now."""
        runs = self._runs[name]
        is_shared = self._new_run != "beside" and any(self._running[one] for one in runs)
        return run not in runs and not is_shared

    # ---- what changed ----------------------------------------------------------------

    def touch(self, layer: StreamedLayer, *, all_layers: bool) -> None:
        """Note that a layer changed, or all of them: a shared axis grew."""
        with self._changed:
            self._dirty |= self._layers if all_layers else {layer.name: layer}
            self.notify()

    def take_dirty(self) -> list[StreamedLayer]:
        """Return the layers that changed since the last call, in order of their change."""
        with self._changed:
            dirty, self._dirty = self._dirty, {}
        return list(dirty.values())

    def heard(self, run: str) -> Heard:
        """Return which metrics and lines of a publisher's run are here, by whatever URL."""
        with self._changed:
            return self._heard.setdefault(run, Heard())

    def add_metric(self, metric: Metric, run: str = "") -> None:
        """Append values of a publisher's run to a metric."""
        with self._changed:
            self.metrics.add(metric, run, running=self._running, new_run=self._new_run)
            self.notify()

    def set_outline(self, outline: Outline) -> None:
        """Note what a pipeline does, instead of what it said before."""
        with self._changed:
            self.outlines[outline.title] = outline
            if len(self.outlines) > _MAX_OUTLINES:
                del self.outlines[next(iter(self.outlines))]
            self.notify()

    def program_came(
        self, run: str, name: str, pid: int = 0, *, is_here: bool = True, may_steer: bool = True
    ) -> None:
        """Note that a publisher is there, and whether it does what this viewer wants.

        Of those that are gone the first ones are forgotten.
        """
        with self._changed:
            known = self.programs.pop(run, None) or Program(run, name, pid, is_here)
            self.programs[run] = replace(known, is_connected=True, may_steer=may_steer)
            gone = [run for run, program in self.programs.items() if not program.is_connected]
            for one in gone[: max(0, len(self.programs) - _MAX_PROGRAMS)]:
                del self.programs[one]
            self.notify()

    def program_told(self, run: str, message: Running | Progress | Parameter) -> None:
        """Note what a publisher says of itself."""
        with self._changed:
            self.programs[run] = self.programs[run].told(message)
            self.notify()

    def program_left(self, run: str) -> None:
        """Note that a publisher is gone."""
        with self._changed:
            self.programs[run] = replace(self.programs[run], is_connected=False)
            self.notify()

    def add_status(self, status: Status, offset: float) -> None:
        """Append a publisher's line; `offset` takes its time to this side's clock."""
        self._append(LogLine(status.time - offset, status.level, status.text))

    def say(self, level: str, text: str) -> None:
        """Append a line of the receiver's own."""
        self._append(LogLine(time.time(), level, text))

    def _append(self, line: LogLine) -> None:
        with self._changed:
            self.log.append(line)
            self.notify()

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def notify(self) -> None:
        """Wake up who waits for a change."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def wait(self, version: int, timeout: float) -> None:
        """Wait until something has changed since `version`, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout)
