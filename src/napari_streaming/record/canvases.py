"""Planes that come in parts, put together before they are written as a whole.

The parts are written as they come, and the timeline leads to them. A whole plane is written
when as much of it was painted as it has pixels, when nobody has painted it for a second, or when
memory is short: so a mosaic costs the disk twice its size, however small its tiles are.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_streaming.record.image import RecordedImage
from napari_streaming.record.timeline import Canvas
from napari_streaming.wire.messages import Coordinate, Declare

__all__ = ["Canvases"]

_MEMORY = 2**28
_IDLE = 1.0

Stream = tuple[str, int]
At = Mapping[str, Coordinate]
_Place = tuple[Stream, frozenset[tuple[str, Coordinate]]]


@dataclass(slots=True)
class _Canvas:
    at: At
    plane: np.ndarray
    image: RecordedImage
    fresh: int = 0  # pixels that were painted since it was written
    painted: float = field(default_factory=time.monotonic)


class Canvases:
    """The planes that are being put together."""

    def __init__(self) -> None:
        self._canvases: OrderedDict[_Place, _Canvas] = OrderedDict()  # painted last, last

    def paint(
        self,
        stream: Stream,
        declare: Declare,
        at: At,
        offset: Sequence[int],
        part: np.ndarray,
        image: RecordedImage,
    ) -> None:
        """Replace a part of a plane.

        Raises
        ------
        OSError, ValueError
            What was there before cannot be read.
        """
        place = (stream, frozenset(at.items()))
        canvas = self._canvases.pop(place, None)
        if canvas is None:
            before = image.read(at)
            plane = np.zeros(declare.shape, declare.dtype) if before is None else before
            canvas = _Canvas(at, plane, image)
        self._canvases[place] = canvas
        canvas.plane[tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=False))] = (
            part
        )
        canvas.fresh += part.size
        canvas.painted = time.monotonic()

    def forget(self, stream: Stream, at: At) -> None:
        """Let go of a plane that came as a whole."""
        if self._canvases:
            self._canvases.pop((stream, frozenset(at.items())), None)

    def finish(self, *, every: bool = False) -> Iterator[tuple[Stream, Canvas]]:
        """Write the planes whose time has come, or every one; return where they are now.

        Raises
        ------
        OSError
            One cannot be written.
        """
        held = sum(canvas.plane.nbytes for canvas in self._canvases.values())
        for (stream, place), canvas in list(self._canvases.items()):
            is_idle = time.monotonic() - canvas.painted > _IDLE
            is_full = canvas.fresh >= canvas.plane.size
            if canvas.fresh and (every or is_idle or is_full or held > _MEMORY):
                chunk = canvas.image.write(canvas.at, canvas.plane)
                canvas.fresh = 0
                yield stream, Canvas(canvas.image.stream, dict(canvas.at), chunk)
            if every or is_idle or held > _MEMORY:
                del self._canvases[stream, place]
                held -= canvas.plane.nbytes
