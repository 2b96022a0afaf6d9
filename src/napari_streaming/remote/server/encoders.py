"""Encoders: a picture in, its bytes out, at once. And the best one that works here."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_streaming.errors import DataError, EncoderError
from napari_streaming.remote.server.capture import Picture
from napari_streaming.wire.frames import MAX_PAYLOAD, Chroma, Codec

__all__ = ["RUNGS", "AccessUnit", "Encoder", "choose", "encode_still", "open_rung"]

RUNGS = (
    "h264_nvenc",
    "pynvvideocodec",
    "h264_qsv",
    "h264_videotoolbox",
    "h264_vaapi",
    "libx264",
    "jpeg",
)
"""The encoders in the order in which they are tried: hardware, software, then stills."""


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """What an encoder made of one picture.

    Parameters
    ----------
    data : bytes
        For ``h264`` in Annex B, with the parameter sets before each keyframe.
    keyframe : bool
        Whether it decodes without any unit before it.
    codec : str
        ``h264``, ``jpeg`` or ``zstd``.
    chroma : str
        ``420``, ``444`` or ``rgb``.
    encoded : float
        When it was done, in seconds of ``time.monotonic``.
    milliseconds : float
        How long that took.
    """

    data: bytes
    keyframe: bool
    codec: Codec
    chroma: Chroma
    encoded: float
    milliseconds: float


class Encoder(ABC):
    """Turns pictures of one size into access units: one in, one out, none held back.

    Used by one thread at a time. Another size needs another encoder.

    Attributes
    ----------
    name : str
        The rung of the ladder that it is.
    codec, chroma : str
        What its units are.
    width, height : int
        Of its pictures in pixels, both even.
    """

    codec: Codec = "h264"

    def __init__(self, name: str, width: int, height: int, chroma: Chroma) -> None:
        if width % 2 or height % 2 or min(width, height) < 2:
            raise DataError(f"a video of {width} × {height}: both sides must be even")
        self.name = name
        self.width, self.height, self.chroma = width, height, chroma
        half = (height // 2, width // 2) if chroma == "420" else (height, width)
        self._shapes = ((height, width), half, half)

    def encode(self, picture: Picture, *, keyframe: bool = False) -> AccessUnit:
        """Encode a picture.

        Parameters
        ----------
        picture : Picture
            Of this encoder's size and chroma.
        keyframe : bool
            Whether the unit must decode without those before it.

        Raises
        ------
        DataError
            The picture is of another size or chroma.
        EncoderError
            The encoder failed. It is of no more use: close it and take the next rung.
        """
        shapes = tuple(plane.shape for plane in picture.planes)
        if shapes != self._shapes:
            raise DataError(f"planes of {shapes} for an encoder of {self._shapes}")
        start = time.monotonic()
        data, is_keyframe = self._compress(picture.planes, keyframe)
        end = time.monotonic()
        return AccessUnit(data, is_keyframe, self.codec, self.chroma, end, 1e3 * (end - start))

    @abstractmethod
    def _compress(
        self, planes: tuple[NDArray[np.uint8], ...], keyframe: bool
    ) -> tuple[bytes, bool]:
        """Return the bytes of a picture and whether they are a keyframe."""

    @abstractmethod
    def set_bitrate(self, bits_per_second: int) -> None:
        """Change how much the stream may take, from the next picture on.

        Software changes it as finely as asked and without a keyframe. Hardware that would need
        a keyframe for it follows only where the rate changes by much.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what the encoder holds. It must not be used again."""


def choose(
    width: int,
    height: int,
    fps: int,
    bitrate: int,
    wanted: str = "auto",
    chroma: Chroma = "420",
    *,
    without: Collection[str] = (),
) -> Encoder:
    """Return the best encoder that works on this machine.

    Parameters
    ----------
    width, height : int
        Of the pictures in pixels, both even.
    fps : int
        Pictures a second that `bitrate` is shared by.
    bitrate : int
        Bits a second. No picture takes much more than its share of a second, keyframes neither.
    wanted : str
        ``auto``, or the rung that it must be.
    chroma : str
        ``420`` or ``444``.
    without : collection of str
        Rungs to pass over: those that failed in this session.

    Raises
    ------
    EncoderError
        None works; says why each does not.
    """
    from napari_streaming.remote.server.ladder import trial  # which starts processes

    if wanted != "auto" and wanted not in RUNGS:
        raise EncoderError(f"there is no encoder {wanted!r}: auto, {', '.join(RUNGS)}")
    reasons: list[str] = []
    for name in RUNGS if wanted == "auto" else (wanted,):
        reason = "failed before" if name in without else trial(name).reasons[chroma]
        if not reason:
            try:
                return open_rung(name, width, height, fps, bitrate, chroma)
            except EncoderError as error:
                reason = str(error)
        reasons.append(f"{name}: {reason}")
    raise EncoderError("no encoder works here. " + "; ".join(reasons))


def open_rung(
    name: str, width: int, height: int, fps: int, bitrate: int, chroma: Chroma = "420"
) -> Encoder:
    """Return the encoder of a rung, tried or not; the parameters are those of `choose`.

    Raises
    ------
    EncoderError
        It does not open.
    """
    # Each needs a package that may be missing.
    try:
        if name == "pynvvideocodec":
            from napari_streaming.remote.server.nvidia_encoder import NvidiaEncoder

            return NvidiaEncoder(width, height, fps, bitrate, chroma)
        from napari_streaming.remote.server import ffmpeg_encoders as ffmpeg
    except ImportError as error:
        raise EncoderError(f"{error.name or error} cannot be imported") from error
    if name == "jpeg":
        return ffmpeg.JpegEncoder(width, height, fps, bitrate, chroma)
    return ffmpeg.VideoEncoder(name, width, height, fps, bitrate, chroma)


def encode_still(rgb: NDArray[np.uint8]) -> AccessUnit:
    """Compress a picture without any loss.

    Parameters
    ----------
    rgb : ndarray of uint8, (height, width, 3)
        Of any size, odd ones too.

    Raises
    ------
    EncoderError
        It is larger than what a frame can carry.
    """
    from numcodecs.zstd import compress  # type: ignore[import-untyped]

    start = time.monotonic()
    data = compress(np.ascontiguousarray(rgb), 1)
    if len(data) > MAX_PAYLOAD:
        raise EncoderError(f"a still of {len(data)} bytes, a frame carries {MAX_PAYLOAD}")
    end = time.monotonic()
    return AccessUnit(data, True, "zstd", "rgb", end, 1e3 * (end - start))
