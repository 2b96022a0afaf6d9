"""Pause, step, stop and parameters: what viewers want of the program, and what it grants them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from napari_streaming.errors import DataError, ProtocolError, StopRequested
from napari_streaming.wire.codec import pack, unpack
from napari_streaming.wire.messages import (
    Control,
    Message,
    Parameter,
    ParameterKind,
    ParameterValue,
    Peer,
    Progress,
    Running,
    RunState,
    SetParameter,
    Status,
)

__all__ = ["RefusedError", "Steering"]


class RefusedError(Exception):
    """What a viewer wants cannot be done; says why."""


@dataclass(slots=True)
class _Pause:
    """Who paused, and until when the program waits for them if they are gone."""

    viewer: str
    name: str
    until: float = math.inf


class Steering:
    """Whether the program is to go on, and the values that viewers have set. Thread-safe.

    Parameters
    ----------
    tell : callable
        Gets each message that every viewer is to know of.
    lease : float
        Seconds that the program stays paused when the viewer that paused it is gone.
    clock : callable, optional
        Returns the time in seconds; never goes back.
    """

    def __init__(
        self,
        tell: Callable[[Message], None],
        lease: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._lease, self._clock = tell, lease, clock
        self._changed = threading.Condition(threading.RLock())
        self._is_steered = False  # nobody sees buttons that do nothing
        self._state: RunState = "running"
        self._by = ""
        self._pause: _Pause | None = None
        self._steps = 0  # that a paused program may go
        self._parameters: dict[str, Parameter] = {}
        self._pressed: dict[str, int] = {}
        self._progress: Progress | None = None
        self._watchers: list[Callable[[], object]] = []
        self._standing: tuple[Message, ...] = ()

    # ---- the program's side ----------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether the program is to wait."""
        with self._changed:
            self._show_itself()
            self._check_lease()
            return self._state == "paused"

    @property
    def stop_requested(self) -> bool:
        """Whether the program is to end."""
        with self._changed:
            self._show_itself()
            return self._state == "stopping"

    def may_go(self) -> bool | None:
        """Take a step if one may be taken now: True; None while paused, False to end."""
        with self._changed:
            self._show_itself()
            self._check_lease()
            if self._state != "paused":
                return self._state == "running"
            if self._steps:
                self._steps -= 1
                return True
            return None

    def wait(self) -> bool:
        """Wait while paused; return whether the program may go on, else it is to end."""
        with self._changed:
            while (may_go := self.may_go()) is None:
                self._changed.wait(self.patience())
            return may_go

    def patience(self) -> float | None:
        """Return after how many seconds a pause ends by itself; None: it does not."""
        pause = self._pause
        if pause is None or math.isinf(pause.until):
            return None
        return max(0.0, pause.until - self._clock())

    def checkpoint(self) -> None:
        """Wait while paused.

        Raises
        ------
        StopRequested
            The program is to end.
        """
        if not self.wait():
            raise StopRequested(f"stopped by {self._by}")

    def watch(self, call: Callable[[], object]) -> Callable[[], None]:
        """Have a function called, in any thread, when :meth:`may_go` may say something else.

        Returns
        -------
        callable
            Ends it.
        """
        with self._changed:
            self._watchers.append(call)
        return lambda: self._watchers.remove(call)

    def parameter(
        self,
        name: str,
        value: ParameterValue,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: Sequence[str] = (),
        kind: ParameterKind | None = None,
    ) -> ParameterValue:
        """Declare a parameter the first time; return its value now.

        Raises
        ------
        DataError
            Its value is none that it may have.
        """
        with self._changed:
            known = self._parameters.get(name)
            if known is None:
                known = Parameter(
                    name=name,
                    kind=kind or _kind_of(value, choices),
                    value=value,
                    minimum=minimum,
                    maximum=maximum,
                    choices=tuple(choices),
                )
                try:
                    known = _with_value(known, value, "")
                except RefusedError as error:
                    raise DataError(str(error)) from None
                self._parameters[name] = known
                self._say(known)
            return known.value

    def put(
        self, name: str, value: ParameterValue, instead_of: ParameterValue | None = None
    ) -> bool:
        """Set a parameter's value from the program's side, if it still is what it was.

        Raises
        ------
        DataError
            There is no such parameter, or its value is none that it may have.
        """
        with self._changed:
            try:
                changed = _with_value(self._parameters[name], value, "")
                if instead_of not in (None, self._parameters[name].value):
                    return False
            except KeyError:
                raise DataError(f"there is no parameter {name!r} yet") from None
            except RefusedError as error:
                raise DataError(str(error)) from None
            if changed != self._parameters[name]:
                self._parameters[name] = changed
                self._say(changed)
            return True

    def press_count(self, name: str) -> int:
        """Return how often a button was pressed since the last call; the first call makes it."""
        count = int(self.parameter(name, 0, kind="button"))
        with self._changed:
            fresh = count - self._pressed.get(name, 0)
            self._pressed[name] = count
            return fresh

    def progress(self, progress: Progress) -> None:
        """Say how far the program is."""
        with self._changed:
            self._progress = progress
            self._say(progress)

    def _show_itself(self) -> None:
        if not self._is_steered:
            self._is_steered = True
            self._say(Running(self._state, self._by))

    # ---- the viewers' side -----------------------------------------------------------

    @property
    def standing(self) -> tuple[Message, ...]:
        """What a viewer that just came is to know. Asked for without any lock."""
        return self._standing

    def _say(self, message: Message) -> None:
        """Tell every viewer, those yet to come first: one that comes just now hears it too."""
        standing: list[Message] = [*self._parameters.values()]
        if self._is_steered:
            standing.append(Running(self._state, self._by))
        if self._progress is not None:
            standing.append(self._progress)
        self._standing = tuple(standing)
        self._tell(message)

    def take(self, wish: Control | SetParameter, viewer: Peer) -> None:
        """Do what a viewer wants.

        Raises
        ------
        RefusedError
            It cannot be done.
        """
        with self._changed:
            if isinstance(wish, SetParameter):
                self._set(wish, _name_of(viewer))
            else:
                self._control(wish, viewer)

    def _set(self, wish: SetParameter, by: str) -> None:
        known = self._parameters.get(wish.name)
        if known is None:
            raise RefusedError(f"there is no parameter {wish.name!r}")
        value = known.value + 1 if known.kind == "button" else wish.value  # type: ignore[operator]
        changed = self._parameters[wish.name] = _with_value(known, value, by)
        self._say(changed)
        self._notify()

    def _control(self, wish: Control, viewer: Peer) -> None:
        if not self._is_steered:
            raise RefusedError("this program cannot be paused or stopped: it never asks")
        if self._state == "stopping":
            raise RefusedError("the program is stopping")
        by = _name_of(viewer)
        if wish.action == "stop":
            self._go("stopping", by)
        elif wish.action == "resume":
            self._go("running", by)
        else:
            self._steps += wish.action == "step"
            self._pause = _Pause(viewer.run, by)
            self._go("paused", by)

    def _go(self, state: RunState, by: str, note: str = "") -> None:
        self._state, self._by = state, by
        if state != "paused":
            self._pause, self._steps = None, 0
        self._say(Running(state, by, note))
        self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for call in list(self._watchers):
            call()

    def viewer_came(self, viewer: str) -> None:
        """Note that a viewer is there (again)."""
        with self._changed:
            if self._pause is not None and self._pause.viewer == viewer:
                self._pause.until = math.inf
                self._notify()

    def viewer_left(self, viewer: str) -> None:
        """Note that a viewer is gone: what it paused does not wait for it for ever."""
        with self._changed:
            if self._pause is not None and self._pause.viewer == viewer:
                self._pause.until = self._clock() + self._lease
                text = f"{self._pause.name}, which paused this, is gone: going on in "
                self._tell(Status("warning", f"{text}{self._lease:g} s", time.time()))
                self._notify()

    def end(self) -> None:
        """Note that nobody can steer any more: a program that is paused goes on."""
        with self._changed:
            if self._state == "paused":
                self._go("running", "")

    def _check_lease(self) -> None:
        pause = self._pause
        if pause is not None and self._clock() >= pause.until:
            note = f"{pause.name}, which had paused this, has not come back for {self._lease:g} s"
            self._go("running", "", note)


def _name_of(viewer: Peer) -> str:
    """Return what to call a viewer; a browser's has no process that is known."""
    return f"{viewer.program} ({viewer.pid})" if viewer.pid else viewer.program


def _kind_of(value: ParameterValue, choices: Sequence[str]) -> ParameterKind:
    if choices:
        return "choice"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "text"


def _with_value(parameter: Parameter, value: ParameterValue, by: str) -> Parameter:
    """Return a parameter with another value.

    Raises
    ------
    RefusedError
        It may not have this value.
    """
    name, kind = parameter.name, parameter.kind
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not _TYPES[kind]:
        raise RefusedError(f"parameter {name!r} is of kind {kind}, not {value!r}")
    if kind == "choice" and value not in parameter.choices:
        raise RefusedError(f"parameter {name!r}: {value!r} is none of {parameter.choices}")
    if kind in ("float", "int"):
        assert isinstance(value, int | float)
        low, high = parameter.minimum, parameter.maximum
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        if not (math.isfinite(value) and low <= value <= high):
            raise RefusedError(f"parameter {name!r}: {value!r} is not in {low:g} to {high:g}")
    changed = replace(parameter, value=value, by=by)
    try:
        unpack([pack(changed)])
    except (ProtocolError, OverflowError, UnicodeEncodeError) as error:
        # Said here once; viewers would refuse it for ever.
        raise RefusedError(f"parameter {name!r}: {error}") from None
    return changed


_TYPES: dict[ParameterKind, type] = {
    "float": float,
    "int": int,
    "choice": str,
    "bool": bool,
    "button": int,
    "text": str,
}
