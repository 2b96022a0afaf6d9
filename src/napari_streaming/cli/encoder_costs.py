"""What an encoder costs on this machine, and what it makes of a picture."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from napari_streaming.bench.sequences import SEQUENCES, planes_of, psnr, rgb_of
from napari_streaming.errors import EncoderError
from napari_streaming.remote.client.decoder import Decoder, Frame
from napari_streaming.remote.server.capture import Picture
from napari_streaming.remote.server.encoders import AccessUnit, encode_still, open_rung
from napari_streaming.wire.frames import Chroma, FrameHeader

__all__ = ["SIZES", "Cost", "Film", "cost", "cost_of_still"]

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
_FRAMES = {"720p": 30, "1080p": 24, "4K": 6}
_FPS = 60
# As much for each pixel as 20 Mb/s give one of 1080p.
_BITS_PER_PIXEL = 20e6 / _FPS / (1920 * 1080)
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What frames of one size took, in the median.

    Parameters
    ----------
    size, chroma : str
        Of the pictures.
    encode_ms, decode_ms : float
        A frame.
    fps : float
        Frames a second that the encoder would make if it did nothing else.
    bytes_per_frame : int
        The mean.
    psnr_db : float
        Of the last frame's RGB, colour lost to 4:2:0 included; 100 where nothing is lost.
    """

    size: str
    chroma: str
    encode_ms: float
    decode_ms: float
    fps: float
    bytes_per_frame: int
    psnr_db: float


class Film:
    """Cells that are dragged through a picture of one size, made once for all encoders."""

    def __init__(self, size: str) -> None:
        self.size = size
        self.width, self.height = SIZES[size]
        frames = SEQUENCES["pan"](self.width, self.height)
        self.frames = [frame.copy() for frame in islice(frames, _FRAMES[size])]
        self._pictures: dict[str, list[Picture]] = {}

    @property
    def bitrate(self) -> int:
        """Bits a second that are fair for this size."""
        return int(_BITS_PER_PIXEL * self.width * self.height * _FPS)

    def pictures(self, chroma: str) -> list[Picture]:
        """Return the frames as encoders take them."""
        if chroma not in self._pictures:
            self._pictures[chroma] = [
                Picture(planes_of(frame, chroma), self.width, self.height, 0.0)
                for frame in self.frames
            ]
        return self._pictures[chroma]


def cost(name: str, film: Film, chroma: Chroma) -> Cost:
    """Measure a rung.

    Raises
    ------
    EncoderError
        It does not open at this size, or fails; or what it made cannot be decoded.
    """
    encoder = open_rung(name, film.width, film.height, _FPS, film.bitrate, chroma)
    try:
        return _measure(film, map(encoder.encode, film.pictures(chroma)))
    finally:
        encoder.close()


def cost_of_still(film: Film) -> Cost:
    """Measure the lossless still."""
    return _measure(film, map(encode_still, film.frames[:3]))


def _measure(film: Film, units: Iterator[AccessUnit]) -> Cost:
    arrived = threading.Event()
    decoder = Decoder(arrived.set, arrived.set)
    encoding, decoding, sizes = [], [], []
    frame: Frame | None = None
    try:
        for unit in units:
            arrived.clear()
            decoder.put(_header(film, unit), unit.data)
            if not arrived.wait(_PATIENCE_S) or (frame := decoder.take()) is None:
                raise EncoderError("what it makes cannot be decoded")
            encoding.append(unit.milliseconds)
            decoding.append(frame.milliseconds)
            sizes.append(len(unit.data))
    finally:
        decoder.close()
    assert frame is not None
    seen = frame.planes[0] if len(frame.planes) == 1 else rgb_of(frame.planes)
    encode_ms = statistics.median(encoding)
    return Cost(
        film.size,
        unit.chroma,
        round(encode_ms, 2),
        round(statistics.median(decoding), 2),
        round(1e3 / encode_ms, 1),
        round(statistics.mean(sizes)),
        round(psnr(film.frames[len(sizes) - 1], seen), 1),
    )


def _header(film: Film, unit: AccessUnit) -> FrameHeader:
    return FrameHeader(
        sequence=0,
        width=film.width,
        height=film.height,
        codec=unit.codec,
        chroma=unit.chroma,
        keyframe=unit.keyframe,
    )
