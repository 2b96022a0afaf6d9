"""The programs that publish: whether they run, how far they are, and what can be set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from napari_streaming.wire.messages import Parameter, Progress, Running

__all__ = ["Program", "tell_apart"]

_MAX_PARAMETERS = 1024


@dataclass(frozen=True, slots=True)
class Program:
    """What a publisher said of itself, as of now.

    Parameters
    ----------
    run : str
        Tells it from all other publishers that ever were.
    name : str
        For people.
    pid : int
        0: not known.
    is_here : bool
        Whether it runs on this host, as ``Peer.host`` has it.
    is_connected : bool
        Whether it is there now.
    running : Running or None
        None: it cannot be paused or stopped.
    progress : Progress or None
    may_steer : bool
        Whether it does what this viewer wants: not if the viewer's address is only to look on.
    parameters : dict of str to Parameter
        By name.
    """

    run: str
    name: str
    pid: int = 0
    is_here: bool = True
    is_connected: bool = True
    running: Running | None = None
    progress: Progress | None = None
    may_steer: bool = True
    parameters: dict[str, Parameter] = field(default_factory=dict)

    @property
    def is_steered(self) -> bool:
        """Whether there is anything that a viewer may do."""
        return self.running is not None or bool(self.parameters)

    def told(self, message: Running | Progress | Parameter) -> Program:
        """Return the program as it is after a message of its own."""
        if isinstance(message, Running):
            return replace(self, running=message)
        if isinstance(message, Progress):
            return replace(self, progress=message)
        if message.name not in self.parameters and len(self.parameters) >= _MAX_PARAMETERS:
            return self
        return replace(self, parameters={**self.parameters, message.name: message})


def tell_apart(programs: Iterable[Program]) -> dict[str, str]:
    """Return what to call each program, by run: its name, and more where others have it, too.

    That is its process, and that it is on another host; if even that is the same (a process may
    publish twice), what its run begins with as well.
    """
    programs = list(programs)
    called = {program.run: program.name for program in programs}
    for more in (_where, _which):
        count = Counter(called.values())
        for program in programs:
            if count[called[program.run]] > 1:
                called[program.run] = f"{program.name} ({more(program)})"
    return called


def _where(program: Program) -> str:
    process = str(program.pid) if program.pid else "process unknown"
    return process if program.is_here else f"{process}, another host"


def _which(program: Program) -> str:
    return f"{_where(program)}, run {program.run[:6]}"
