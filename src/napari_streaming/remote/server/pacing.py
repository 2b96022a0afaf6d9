"""When a client may get its next picture, and how large: without clocks or sockets of its own.

Pictures under way are bounded by what a round trip needs to be filled, and not by a constant: two
would halve the rate at 50 ms. How large they may be follows from how long they queue: a link that
takes longer than it can gets less.
"""

from __future__ import annotations

import math
from collections import deque

from napari_streaming.errors import StateError

__all__ = ["HIGHEST_BITRATE", "LOWEST_BITRATE", "Pacing"]

LOWEST_BITRATE, HIGHEST_BITRATE = 500_000.0, 80_000_000.0
"""Bits per second."""
_FIRST_WINDOW, _MOST = 2, 120  # pictures
_LATE, _EARLY = 0.030, 0.012  # seconds above the shortest round trip
_DECREASE, _DECREASE_EACH = 0.8, 0.2  # factor; seconds
_INCREASE = 150 * 8  # bits of each picture
_SMOOTHING = 0.2
_MEMORY = 10.0  # seconds; of the shortest round trip


class Pacing:
    """The pace of one client.

    Parameters
    ----------
    fps : float
        The most pictures per second that are wanted.
    bitrate : float
        What to begin with, in bits per second.
    """

    def __init__(self, fps: float = 60.0, bitrate: float = 10e6) -> None:
        self.fps = fps
        self._limit = HIGHEST_BITRATE
        self._bitrate = bitrate
        self._under_way: deque[tuple[int, int, float]] = deque()
        self._last = -1
        self._smooth = 0.0
        # The shortest round trip of this span of time and of the one before.
        self._shortest = [math.inf, math.inf]
        self._span_began = -math.inf
        self._decreased = -math.inf

    @property
    def under_way(self) -> int:
        """Pictures that were sent and not shown yet."""
        return len(self._under_way)

    @property
    def round_trip(self) -> float:
        """The shortest time from sent to shown of late, in seconds; infinite: none yet."""
        return min(self._shortest)

    @property
    def window(self) -> int:
        """The most pictures that may be under way."""
        if math.isinf(self.round_trip):
            return _FIRST_WINDOW
        return min(math.ceil(self.round_trip * self.fps) + 1, _MOST)

    def may_send(self, now: float) -> bool:
        """Return whether a picture may be drawn for this client, at a time in seconds."""
        self._forget(now)
        return len(self._under_way) < self.window

    def sent(self, sequence: int, nbytes: int, now: float) -> None:
        """Note that a picture was sent; sequence numbers only grow."""
        self._last = sequence
        self._under_way.append((sequence, nbytes, now))

    def shown(self, sequence: int, now: float) -> None:
        """Note that the client has shown a picture, and all before it.

        Raises
        ------
        StateError
            No such picture was sent.
        """
        if sequence > self._last:
            raise StateError(f"frame {sequence} is said to be shown, {self._last} was the last")
        size = -1
        while self._under_way and self._under_way[0][0] <= sequence:
            _, size, sent = self._under_way.popleft()
        if size < 0:
            return
        self._learn(now - sent, now)
        self._adapt(size, now)

    def bitrate(self, now: float) -> float:
        """Return how many bits per second pictures may take."""
        # Nothing comes back: what queues is not known to be late yet, but is.
        if self._under_way and now - self._under_way[0][2] > self._smooth + 10 * _LATE:
            self._decrease(now)
        return min(self._bitrate, self._limit)

    def want(self, fps: float, bitrate: float) -> None:
        """Take in a user's wish; a bit rate of 0 is bounded by nothing but the link."""
        self.fps = fps
        self._limit = min(bitrate or HIGHEST_BITRATE, HIGHEST_BITRATE)

    def _learn(self, round_trip: float, now: float) -> None:
        self._forget(now)
        self._shortest[0] = min(self._shortest[0], round_trip)
        step = _SMOOTHING * (round_trip - self._smooth)
        self._smooth = self._smooth + step if self._smooth else round_trip

    def _forget(self, now: float) -> None:
        """Let old round trips go: the way may have become longer."""
        if now - self._span_began < _MEMORY or math.isinf(self._shortest[0]):
            return
        self._shortest = [math.inf, self._shortest[0]]
        self._span_began = now

    def _adapt(self, size: int, now: float) -> None:
        queued = self._smooth - self.round_trip
        if queued > _LATE:
            self._decrease(now)
        # Small pictures prove nothing about a link: a still scene must not lead to a flood.
        elif queued < _EARLY and size * 8 * self.fps > self._bitrate / 2:
            self._bitrate = min(self._bitrate + _INCREASE * self.fps, self._limit)

    def _decrease(self, now: float) -> None:
        if now - self._decreased >= _DECREASE_EACH:
            self._decreased = now
            self._bitrate = max(_DECREASE * min(self._bitrate, self._limit), LOWEST_BITRATE)
