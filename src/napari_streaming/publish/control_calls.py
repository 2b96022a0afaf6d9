"""The calls of a publisher that let viewers steer the program."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.publish.control import Steering
from napari_streaming.publish.engine import Engine
from napari_streaming.publish.staging import clean_name, clean_text
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Elsewhere, Outline, ParameterValue, Progress

__all__ = ["ControlCalls", "Steps"]

T = TypeVar("T")
V = TypeVar("V", bool, int, float, str)


class ControlCalls:
    """What a :class:`Publisher` has for programs that are paused, stopped and tuned by viewers.

    Viewers show buttons as soon as the program asks for the first time whether it may go on. A
    viewer that paused the program and is gone does not hold it for ever: after the settings'
    ``lease`` it goes on, and says so.
    """

    _engine: Engine

    def steps(self, iterable: Iterable[T]) -> Steps[T]:
        """Return the same things one by one: waiting while paused, ending on stop.

        Parameters
        ----------
        iterable : iterable
            What the program loops over; ``range(1000)``.

        Returns
        -------
        Steps
            For ``for``, and for ``async for`` in a coroutine.

        Examples
        --------
        >>> for i in pub.steps(range(1000)):
        ...     rate = pub.parameter("learning rate", 0.1, min=0.001, max=1.0)
        """
        self._engine.check_open()
        return Steps(iterable, self._engine.steering)

    def may_go(self) -> bool | None:
        """Return at once whether the program may go on: for one that has else to do while paused.

        Returns
        -------
        bool or None
            True: go on, one step if it is paused; None: wait; False: end.
        """
        return self._engine.steering.may_go()

    async def wait_resumed(self) -> bool:
        """Wait while paused, without holding up other coroutines.

        Returns
        -------
        bool
            Whether the program may go on; else it is to end.
        """
        return await _may_go(self._engine.steering)

    @property
    def paused(self) -> bool:
        """Whether a viewer wants the program to wait."""
        return self._engine.steering.paused

    @property
    def stop_requested(self) -> bool:
        """Whether a viewer wants the program to end."""
        return self._engine.steering.stop_requested

    def parameter(
        self,
        name: str,
        default: V,
        *,
        min: float | None = None,  # noqa: A002  # the words that users expect
        max: float | None = None,  # noqa: A002
        choices: Sequence[str] = (),
    ) -> V:
        """Let viewers set a value; return what it is now.

        Parameters
        ----------
        name : str
            What viewers see; the first call of a name makes the parameter.
        default : bool, int, float or str
            Its value until somebody sets it. Its type says what viewers see: a check box, a
            number, a line of text, or a choice.
        min, max : float, optional
            Of a number. With both, viewers see a slider.
        choices : sequence of str, optional
            All that a str may be.

        Returns
        -------
        bool, int, float or str
            As `default`.

        Raises
        ------
        DataError
            The default is none that it may have, or this is more than a message may hold.
        """
        self._engine.check_open()
        plain: ParameterValue = default.item() if isinstance(default, np.generic) else default
        low, high = (None if bound is None else float(bound) for bound in (min, max))
        words = [str(choice) for choice in choices]
        value = self._engine.steering.parameter(clean_name(name), plain, low, high, words)
        return value  # type: ignore[return-value]  # of the kind that the default has

    def set_parameter(
        self,
        name: str,
        value: bool | int | float | str,
        *,
        instead_of: bool | int | float | str | None = None,
    ) -> bool:
        """Set a parameter's value, and show that to viewers.

        Parameters
        ----------
        name : str
            Of one that there is.
        value : bool, int, float or str
            Of its kind.
        instead_of : bool, int, float or str, optional
            Only if it still has this value, which no viewer has changed meanwhile.

        Returns
        -------
        bool
            Whether it was set.

        Raises
        ------
        DataError
            There is no such parameter, or its value is none that it may have.
        """
        self._engine.check_open()
        return self._engine.steering.put(clean_name(name), value, instead_of)

    def button(self, name: str) -> int:
        """Let viewers press a button; return how often they did since the last call."""
        self._engine.check_open()
        return self._engine.steering.press_count(clean_name(name))

    def progress(self, done: float, total: float = 0, text: str = "") -> None:
        """Say how far the program is.

        Parameters
        ----------
        done, total : float
            So much, of so much; a `total` of 0: nobody knows.
        text : str, optional
            What it does now.

        Raises
        ------
        DataError
            `done` or `total` is negative or NaN.
        """
        self._engine.check_open()
        done, total = float(done), float(total)
        if not (done >= 0 and total >= 0):  # NaN is neither
            raise DataError(f"progress {done:g} of {total:g}: use numbers from 0 on")
        self._engine.steering.progress(Progress(done, total, clean_text(text)[:256]))

    def refer(self, url: str) -> None:
        """Have viewers connect to another publisher as well, one that they could not know of.

        Parameters
        ----------
        url : str
            Where it listens, token included: one of its :attr:`Publisher.urls`.

        Raises
        ------
        URLError
            Nobody can connect there.
        """
        self._engine.check_open()
        there = str(parse_url(url, listen=False))
        self._engine.tell_for_good(there, Elsewhere(there))

    def outline(self, outline: Outline) -> None:
        """Tell viewers what a pipeline does with the output of each step.

        Parameters
        ----------
        outline : Outline
            Takes the place of an earlier one of the same title.
        """
        self._engine.check_open()
        self._engine.tell_for_good(f"outline {outline.title}", outline)


class Steps(Generic[T]):
    """What a program loops over, as viewers let it: for ``for`` and ``async for``."""

    def __init__(self, things: Iterable[T], steering: Steering) -> None:
        self._things, self._steering = things, steering

    def __iter__(self) -> Iterator[T]:
        for thing in self._things:
            if not self._steering.wait():
                return
            yield thing

    async def __aiter__(self) -> AsyncIterator[T]:
        for thing in self._things:
            if not await _may_go(self._steering):
                return
            yield thing


async def _may_go(steering: Steering) -> bool:
    """Wait while paused; return whether the program may go on."""
    import asyncio  # 50 ms: only coroutines pay

    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    end = steering.watch(lambda: loop.call_soon_threadsafe(changed.set))
    try:
        while (may_go := steering.may_go()) is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(steering.patience()):
                    await changed.wait()
            changed.clear()
        return may_go
    finally:
        end()
