"""Who gets which pictures: clients in step share an encoder, one that lags gets its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from napari_streaming.errors import EncoderError

if TYPE_CHECKING:
    from napari_streaming.remote.server.capture import Picture
    from napari_streaming.remote.server.encoders import AccessUnit, Encoder

__all__ = ["ChooseEncoder", "Pace", "Sink", "Stream", "Streams"]

_log = logging.getLogger(__name__)
_PATIENCE = 0.1  # seconds that clients in step wait for the slowest of them
_BITRATE_STEP = 0.02  # smaller changes are not worth a call


class Pace(Protocol):
    """When a client may get a picture, and how large; belongs to the loop's thread.

    Attributes
    ----------
    fps : float
        The most pictures per second that the client wants.
    """

    fps: float

    def may_send(self, now: float) -> bool:
        """Return whether a picture may be drawn for it."""

    def sent(self, sequence: int, nbytes: int, now: float) -> None:
        """Note that a picture was handed over."""

    def bitrate(self, now: float) -> float:
        """Return how many bits per second pictures may take."""


ChooseEncoder = Callable[[int, int, int, int, Literal["420", "444"], Collection[str]], "Encoder"]
"""Makes an encoder of a width, height, fps, bitrate and chroma, none of those that failed."""


@dataclass(frozen=True)
class Sink:
    """A client that gets pictures.

    Parameters
    ----------
    client : int
        Its number.
    pace : Pace
    chroma : {"420", "444"}
    refine : bool
        Whether it wants a still scene once more, without any loss.
    """

    client: int
    pace: Pace
    chroma: Literal["420", "444"] = "420"
    refine: bool = True


class Stream:
    """Clients that get the same access units.

    Parameters
    ----------
    chroma : {"420", "444"}
    choose : callable
        Makes its encoder.
    failed : set of str
        The encoders that failed in this session; added to.

    Attributes
    ----------
    sinks : dict of int to Sink
    chroma : str
    shown : int
        The last drawing that was handed over.
    refined : int
        The last that was handed over without loss.
    began : float
        When work on the last began.
    keyframe : bool
        Whether the next must decode by itself.
    """

    def __init__(
        self, chroma: Literal["420", "444"], choose: ChooseEncoder, failed: set[str]
    ) -> None:
        self.chroma = chroma
        self.sinks: dict[int, Sink] = {}
        self.shown = self.refined = -1
        self.began = float("-inf")
        self.keyframe = True
        self._choose, self._failed = choose, failed
        self._encoder: Encoder | None = None
        self._size = (0, 0)
        self._bitrate = 0.0
        self._ready_since: float | None = None

    @property
    def encoder(self) -> str:
        """The name of its encoder; empty before the first picture."""
        return self._encoder.name if self._encoder else ""

    @property
    def next_at(self) -> float:
        """When the wanted rate allows the next picture."""
        return self.began + 1 / min(sink.pace.fps for sink in self.sinks.values())

    def ready(self, now: float) -> tuple[bool, list[int]]:
        """Return whether a picture may be sent, and who kept the others waiting for too long."""
        slow = [n for n, sink in self.sinks.items() if not sink.pace.may_send(now)]
        if not slow or len(slow) == len(self.sinks):
            self._ready_since = None
            return not slow, []
        if self._ready_since is None:
            self._ready_since = now
        if now - self._ready_since < _PATIENCE:
            return False, []
        self._ready_since = None
        return True, slow

    def encode(self, picture: Picture, now: float) -> AccessUnit:
        """Encode a picture with an encoder that works.

        Raises
        ------
        EncoderError
            When none is left.
        """
        fps = int(max(sink.pace.fps for sink in self.sinks.values()))
        bitrate = min(sink.pace.bitrate(now) for sink in self.sinks.values())
        while True:
            if self._encoder is None or self._size != (picture.width, picture.height):
                self.close()
                self._encoder = self._choose(
                    picture.width, picture.height, fps, int(bitrate), self.chroma, self._failed
                )
                self._size, self._bitrate = (picture.width, picture.height), bitrate
                self.keyframe = True
            try:
                if abs(bitrate - self._bitrate) > _BITRATE_STEP * self._bitrate:
                    self._encoder.set_bitrate(int(bitrate))
                    self._bitrate = bitrate
                unit = self._encoder.encode(picture, keyframe=self.keyframe)
            except EncoderError as error:
                _log.warning("The encoder %s failed: %s. The next is tried.", self.encoder, error)
                self._failed.add(self._encoder.name)
                self.close()
            else:
                self.keyframe = False
                return unit

    def close(self) -> None:
        """Free the encoder; the next picture gets another."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


class Streams:
    """All clients, each in a stream.

    A client that keeps others waiting is put into a stream of its own. Streams of the same
    chroma meet again when a client joins, which costs them all a keyframe anyway.

    Parameters
    ----------
    choose : callable
        Makes encoders.
    """

    def __init__(self, choose: ChooseEncoder) -> None:
        self._choose = choose
        self._failed: set[str] = set()
        self._streams: list[Stream] = []

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._streams))

    def __bool__(self) -> bool:
        return bool(self._streams)

    @property
    def encoders(self) -> dict[int, str]:
        """The names of the encoders, by client."""
        return {n: stream.encoder for stream in self._streams for n in stream.sinks}

    def add(self, sink: Sink) -> None:
        """Take in a client, or the new wishes of one; it gets a keyframe."""
        self.remove(sink.client)
        stream = next((s for s in self._streams if s.chroma == sink.chroma), None)
        if stream is None:
            stream = Stream(sink.chroma, self._choose, self._failed)
            self._streams.append(stream)
        for other in list(self._streams):
            if other is not stream and other.chroma == sink.chroma:
                stream.sinks |= other.sinks
                other.close()
                self._streams.remove(other)
        stream.sinks[sink.client] = sink
        stream.keyframe = True

    def remove(self, client: int) -> None:
        """Forget a client, if it is here."""
        for stream in list(self._streams):
            stream.sinks.pop(client, None)
            if not stream.sinks:
                stream.close()
                self._streams.remove(stream)

    def want_keyframe(self, client: int) -> None:
        """Make the next picture of a client decode by itself."""
        for stream in self._streams:
            if client in stream.sinks:
                stream.keyframe = True

    def split(self, stream: Stream, slow: Collection[int]) -> None:
        """Put clients into a stream of their own."""
        other = Stream(stream.chroma, self._choose, self._failed)
        for client in slow:
            other.sinks[client] = stream.sinks.pop(client)
        self._streams.append(other)

    def close(self) -> None:
        """Forget all clients and free the encoders."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()
