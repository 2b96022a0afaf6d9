"""Who else gets what a receiver takes in, besides its layers: a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

import numpy as np

from napari_streaming.wire.messages import Declare, Message, Peer

__all__ = ["NO_ARRAYS", "Arrays", "Tap", "Taps"]

Arrays: TypeAlias = Mapping[str, Sequence[np.ndarray]]
"""Of an item by name: each plane of images and labels, else one array. Nobody writes to them."""
NO_ARRAYS: Arrays = MappingProxyType({})


class Tap(Protocol):
    """What gets everything that is taken in. Called by the threads that receive."""

    def heard(
        self,
        peer: Peer,
        message: Message,
        declare: Declare | None = None,
        arrays: Arrays = NO_ARRAYS,
    ) -> None:
        """Take a message; of an item or a gap with the stream's declaration."""

    def left(self, peer: Peer, reason: str) -> None:
        """Take note that a publisher is gone."""


class Taps:
    """The taps of a receiver. Safe in any thread."""

    def __init__(self) -> None:
        self._taps: tuple[Tap, ...] = ()  # replaced as a whole: others go through it

    def add(self, tap: Tap) -> None:
        """Have a tap get what comes from now on."""
        self._taps = (*self._taps, tap)

    def remove(self, tap: Tap) -> None:
        """Let a tap get nothing any more."""
        self._taps = tuple(one for one in self._taps if one is not tap)

    def __bool__(self) -> bool:
        return bool(self._taps)

    def heard(
        self,
        peer: Peer,
        message: Message,
        declare: Declare | None = None,
        arrays: Arrays = NO_ARRAYS,
    ) -> None:
        """Pass a message on."""
        for tap in self._taps:
            tap.heard(peer, message, declare, arrays)

    def left(self, peer: Peer, reason: str) -> None:
        """Pass on that a publisher is gone."""
        for tap in self._taps:
            tap.left(peer, reason)
