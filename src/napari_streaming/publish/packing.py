"""What is made of the parcel that one viewer is sent next: smaller, off the disk, compressed.

All of that is slow, so that it is done while nobody holds the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from napari_streaming.publish.pace import Mark
from napari_streaming.publish.reduce import Cut, Reducer
from napari_streaming.publish.squeeze import Packed, Squeeze, describe
from napari_streaming.publish.staging import Parcel
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.messages import Item

__all__ = ["Packing", "Ready", "Task"]


class Task(NamedTuple):
    """A parcel, and what of it is to be sent; None: all of it."""

    parcel: Parcel
    cut: Cut | None


class Ready(NamedTuple):
    """A parcel as it is sent, and its buffers; None: as they lie in memory."""

    parcel: Parcel
    packed: Sequence[Packed] | None

    def message(self, mark: Mark, *, shared: bool) -> tuple[Item, list[Buffer]]:
        """Return what a viewer is sent, who may share memory."""
        one = self.parcel
        arrays, buffers = describe(one, self.packed, shared=shared)
        extra = {**one.extra, mark: True} if mark else one.extra
        return Item(one.stream, one.sequence, one.time, one.at, arrays, **extra), buffers


class Packing:
    """Makes parcels ready, one ahead.

    Parameters
    ----------
    reducer : Reducer

    Attributes
    ----------
    squeeze : Squeeze
        How fast the viewer's link is; replaced with each one.
    """

    def __init__(self, reducer: Reducer) -> None:
        self.squeeze = Squeeze()
        self._reducer = reducer
        self._task: Task | None = None
        self._done: tuple[Task, Ready] | None = None

    def begin(self, squeeze: Squeeze) -> None:
        """Start afresh with another link."""
        self.squeeze, self._done = squeeze, None

    def take(self, task: Task) -> Ready | None:
        """Return how a parcel is sent; None: :meth:`do` must make it ready first."""
        if self._done is not None and self._done[0] == task:
            return self._done[1]
        parcel, cut = task
        if cut is None and not parcel.is_on_disk and not self.squeeze.wants(parcel):
            return Ready(parcel, None)
        parcel.retain()
        self._task = task
        return None

    def sent(self, parcel: Parcel, nbytes: int) -> None:
        """Note that a parcel is under way, as so many bytes, and let go of what was made ready."""
        self._done = None
        self.squeeze.sent(parcel, nbytes)

    def next(self) -> Task | None:
        """Return what :meth:`take` left to do, once, with a hold of its parcel."""
        task, self._task = self._task, None
        return task

    def do(self, task: Task) -> Ready:
        """Make a parcel ready; without any lock.

        Raises
        ------
        OSError
            It is on disk, which does not give it back.
        """
        parcel, cut = task
        if cut is not None:
            parcel = self._reducer.reduce(parcel, cut)
        if self.squeeze.wants(parcel):
            return Ready(parcel, self.squeeze.pack(parcel))
        return Ready(parcel, [Packed("", array.buffer()) for array in parcel.arrays])

    def done(self, task: Task, ready: Ready) -> None:
        """Take in what :meth:`do` made."""
        self._done = task, ready
