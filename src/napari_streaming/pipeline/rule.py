"""THE rule: an output is streamed if and only if it is written, and somebody wants to see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Decision", "Role", "Target", "decide"]

Role = Literal["main output", "checkpoint"]


@dataclass(frozen=True, slots=True)
class Target:
    """One of the places where a step's output is to be written.

    Parameters
    ----------
    role : {"main output", "checkpoint"}
    overwrite : bool
        Whether what is there already is replaced.
    there : bool
        Whether something is there already.
    """

    role: Role
    overwrite: bool = True
    there: bool = False

    @property
    def is_written(self) -> bool:
        """Whether something is to be done."""
        return self.overwrite or not self.there


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one output of a step.

    Parameters
    ----------
    written : tuple of Target
        To be written, in this order.
    streamed : bool
        Whether it is streamed then, once.
    why : str
        A short sentence for people.
    """

    written: tuple[Target, ...]
    streamed: bool
    why: str


def decide(
    targets: Sequence[Target], *, url: str, enabled: bool = True, selected: bool = True
) -> Decision:
    """Decide what becomes of one output of a step.

    Parameters
    ----------
    targets : sequence of Target
        Where it is materialised; empty: it stays in memory.
    url : str
        Of the viewer; empty: none is known.
    enabled : bool
        Whether the step's streaming is on.
    selected : bool
        Whether the well passes the step's well filter.

    Returns
    -------
    Decision
    """
    written = tuple(target for target in targets if target.is_written)
    if not targets:
        return Decision((), False, "it stays in memory, and only what is written is streamed")
    if not written:
        return Decision((), False, "it is already there, and overwrite is off")
    if not enabled:
        return Decision(written, False, "streaming is switched off for this step")
    if not url:
        return Decision(written, False, "no viewer's url is given")
    if not selected:
        return Decision(written, False, "the well filter leaves it out")
    roles = " and ".join(dict.fromkeys(target.role for target in written))
    return Decision(written, True, f"it is written as {roles}")
