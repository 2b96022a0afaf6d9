"""Encoders that PyAV brings: H.264 by hardware or x264, and JPEG."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from napari_streaming.errors import EncoderError
from napari_streaming.remote.server.encoders import Encoder
from napari_streaming.wire.frames import Chroma

__all__ = ["JpegEncoder", "VideoEncoder"]

# x264 never exceeds the rate it was opened with, and can be set below it at any time.
_HIGHEST_RATE = 800_000_000
_LOWEST_RATE = 100_000
_MOST_THREADS = 8  # each makes a slice; more cost bytes and gain little
_BT709, _LIMITED = 1, 1
_FAILURES = (av.FFmpegError, ValueError, RuntimeError, NotImplementedError)

Planes = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class _Codec:
    """How FFmpeg's codec of a name is set up for one picture in, one out.

    `formats` names the pixel format of each chroma that it takes; other formats are converted.
    `rate` says what a new bitrate costs: nothing, a keyframe, or another context.
    """

    formats: dict[str, str]
    options: Callable[[int, int], dict[str, str]]
    rate: Literal["free", "keyframe", "context"]
    device: str = ""


def _x264(bitrate: int, fps: int) -> dict[str, str]:
    return {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "forced-idr": "1",
        # A stream that starts at its ceiling stays one of constant rate when it is lowered, and a
        # buffer too small for a frame is made to hold one of the rate of the day.
        "maxrate": str(_HIGHEST_RATE),
        "bufsize": "1000",
        "x264-params": "sliced-threads=1:keyint=infinite:scenecut=0:repeat-headers=1:force-cfr=1",
    }


def _nvenc(bitrate: int, fps: int) -> dict[str, str]:
    return {
        "preset": "p1",
        "tune": "ull",
        "rc": "cbr",
        "bufsize": str(bitrate // fps),
        "delay": "0",
        "zerolatency": "1",
        "forced-idr": "1",
        "no-scenecut": "1",
        "g": "-1",
    }


def _qsv(bitrate: int, fps: int) -> dict[str, str]:
    return {
        "preset": "veryfast",
        "async_depth": "1",
        "low_delay_brc": "1",
        "forced_idr": "1",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // fps),
        "look_ahead": "0",
    }


def _videotoolbox(bitrate: int, fps: int) -> dict[str, str]:
    return {"realtime": "1", "prio_speed": "1", "allow_sw": "0"}


def _vaapi(bitrate: int, fps: int) -> dict[str, str]:
    return {
        "async_depth": "1",
        "rc_mode": "CBR",
        "maxrate": str(bitrate),
        "bufsize": str(bitrate // fps),
    }


_CODECS = {
    "h264_nvenc": _Codec({"420": "yuv420p", "444": "yuv444p"}, _nvenc, "keyframe"),
    "h264_qsv": _Codec({"420": "nv12"}, _qsv, "context"),
    "h264_videotoolbox": _Codec({"420": "yuv420p"}, _videotoolbox, "context"),
    "h264_vaapi": _Codec({"420": "nv12"}, _vaapi, "context", "vaapi"),
    "libx264": _Codec({"420": "yuv420p", "444": "yuv444p"}, _x264, "free"),
}


class _FrameBuffer:
    """A frame of FFmpeg's that pictures are copied to; encoders keep none of it."""

    def __init__(self, width: int, height: int, chroma: Chroma, range_: str = "") -> None:
        self._frame = av.VideoFrame(width, height, f"yuv{range_}{chroma}p")
        self._planes = [_pixels(plane) for plane in self._frame.planes]
        self._frame.colorspace = self._frame.color_primaries = self._frame.color_trc = _BT709
        self._count = 0

    def fill(self, planes: Planes, *, keyframe: bool = False) -> av.VideoFrame:
        """Return the frame, with these planes in it and the time after the last."""
        for target, plane in zip(self._planes, planes, strict=True):
            np.copyto(target, plane)
        self._frame.pts = self._count
        self._frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        self._count += 1
        return self._frame


class VideoEncoder(Encoder):
    """H.264 by one of FFmpeg's encoders: x264, or a hardware's.

    Parameters
    ----------
    name : str
        FFmpeg's name of the encoder.
    width, height, fps, bitrate, chroma
        As in `choose`.

    Raises
    ------
    EncoderError
        It is not there, or not for this size or chroma.
    """

    def __init__(
        self, name: str, width: int, height: int, fps: int, bitrate: int, chroma: Chroma
    ) -> None:
        super().__init__(name, width, height, chroma)
        self._setup = _CODECS[name]
        if chroma not in self._setup.formats:
            raise EncoderError(f"{name} takes no 4:4:4")
        self._fps, self._bitrate = fps, bitrate
        self._frame = _FrameBuffer(width, height, chroma)
        self._context = self._open()
        self.set_bitrate(bitrate)

    def _open(self) -> VideoCodecContext:
        setup = self._setup
        try:
            device = HWAccel(setup.device) if setup.device else None
            context = av.CodecContext.create(self.name, "w", hwaccel=device)
            assert isinstance(context, VideoCodecContext)
            context.width, context.height = self.width, self.height
            context.pix_fmt = setup.formats[self.chroma]
            context.framerate = Fraction(self._fps)
            context.time_base = Fraction(1, self._fps)
            context.bit_rate = _HIGHEST_RATE if setup.rate == "free" else self._bitrate
            context.gop_size = 2**31 - 1
            context.max_b_frames = 0
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = _LIMITED
            context.thread_count = min(_processors(), _MOST_THREADS)
            context.options = setup.options(self._bitrate, self._fps)
            context.open()
        except _FAILURES as error:
            raise EncoderError(f"{self.name} does not open: {_why(error)}") from error
        return context

    def _compress(self, planes: Planes, keyframe: bool) -> tuple[bytes, bool]:
        try:
            packets = self._context.encode(self._frame.fill(planes, keyframe=keyframe))
        except _FAILURES as error:
            raise EncoderError(f"{self.name} failed: {_why(error)}") from error
        if len(packets) != 1:
            raise EncoderError(f"{self.name} made {len(packets)} units of one picture")
        return bytes(packets[0]), packets[0].is_keyframe

    def set_bitrate(self, bits_per_second: int) -> None:
        """Change how much the stream may take; see `Encoder.set_bitrate`."""
        wanted = min(max(bits_per_second, _LOWEST_RATE), _HIGHEST_RATE)
        if self._setup.rate != "free" and 0.75 < wanted / self._bitrate < 1.5:
            return
        self._bitrate = wanted
        if self._setup.rate == "context":
            self._context = self._open()
        else:
            self._context.bit_rate = wanted

    def close(self) -> None:
        """Free what the encoder holds."""
        del self._context, self._frame


class JpegEncoder(Encoder):
    """Every picture for itself, by FFmpeg's JPEG encoder; coarser when they get too large.

    Parameters
    ----------
    width, height, fps, bitrate, chroma
        As in `choose`. Noise does not get below some 50 kB at 1080p.

    Raises
    ------
    EncoderError
        It does not open.
    """

    codec = "jpeg"
    _FINEST, _COARSEST = 2, 31

    def __init__(self, width: int, height: int, fps: int, bitrate: int, chroma: Chroma) -> None:
        super().__init__("jpeg", width, height, chroma)
        self._fps = fps
        # JPEG knows the full range alone: it carries our numbers, which both sides know.
        self._frame = _FrameBuffer(width, height, chroma, "j")
        self._scale = 8.0
        self._context = self._open()
        self.set_bitrate(bitrate)

    def _open(self) -> VideoCodecContext:
        try:
            context = av.CodecContext.create("mjpeg", "w")
            assert isinstance(context, VideoCodecContext)
            context.width, context.height = self.width, self.height
            context.pix_fmt = f"yuvj{self.chroma}p"
            context.time_base = Fraction(1, self._fps)
            context.thread_count = 1  # more would hold pictures back
            context.qmin = context.qmax = self._step = round(self._scale)
            context.options = {"huffman": "default"}
            context.open()
        except _FAILURES as error:
            raise EncoderError(f"JPEG does not open: {_why(error)}") from error
        return context

    def _compress(self, planes: Planes, keyframe: bool) -> tuple[bytes, bool]:
        if round(self._scale) != self._step:
            self._context = self._open()
        try:
            (packet,) = self._context.encode(self._frame.fill(planes))
        except _FAILURES as error:
            raise EncoderError(f"JPEG failed: {_why(error)}") from error
        data = bytes(packet)
        change = min(max(len(data) / self._budget, 0.5), 2.0)
        self._scale = min(max(self._scale * change, self._FINEST), self._COARSEST)
        return data, True

    def set_bitrate(self, bits_per_second: int) -> None:
        """Change how much the pictures may take."""
        self._budget = max(bits_per_second, _LOWEST_RATE) / 8 / self._fps

    def close(self) -> None:
        """Free what the encoder holds."""
        del self._context, self._frame


def _pixels(plane: VideoPlane) -> NDArray[np.uint8]:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _why(error: Exception) -> str:
    """Return what an error means, without the options that FFmpeg was called with."""
    return str(error.strerror if isinstance(error, av.FFmpegError) else error)


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1
