"""Bytes to planes with bounds that hold whatever the bytes say: H.264, JPEG and stills."""

from __future__ import annotations

import os

import av
import numpy as np
from av.codec.context import Flags, ThreadType
from numpy.typing import NDArray

from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.frames import FrameHeader

__all__ = ["Broken", "JpegCodec", "VideoCodec", "decode_still"]

Planes = tuple[NDArray[np.uint8], ...]

_MOST_THREADS = 4
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Broken(Exception):
    """Bytes that are not the picture that their header announces."""


class VideoCodec:
    """Decodes an H.264 stream of one size, each unit to its picture.

    Parameters
    ----------
    header : FrameHeader
        Of the stream's first unit, a keyframe.
    """

    def __init__(self, header: FrameHeader) -> None:
        self._width, self._height = _padded(header)
        self._chroma = header.chroma
        self._context = _open("h264", self._width, self._height)

    def fits(self, header: FrameHeader) -> bool:
        """Return whether a unit may belong to this stream."""
        return (*_padded(header), header.chroma) == (self._width, self._height, self._chroma)

    def decode(self, payload: Buffer) -> Planes:
        """Return the planes of a unit, in memory that is FFmpeg's and read-only.

        Raises
        ------
        Broken
            The unit is damaged, or of another size. The stream cannot go on.
        """
        frame = _decoded(self._context, payload)
        return _planes(frame, self._width, self._height, f"yuv{self._chroma}p")


class JpegCodec:
    """Decodes JPEG pictures, each for itself."""

    def decode(self, header: FrameHeader, payload: Buffer) -> Planes:
        """Return the planes of a picture.

        Raises
        ------
        Broken
            It is damaged, or not what the header announces.
        """
        # FFmpeg makes up what it misses, also where half of the bytes are not there.
        if bytes(payload[:2]) != _JPEG_START or bytes(payload[-2:]) != _JPEG_END:
            raise Broken("no whole JPEG")
        width, height = _padded(header)
        frame = _decoded(_open("mjpeg", width, height), payload)
        return _planes(frame, width, height, f"yuvj{header.chroma}p")


def decode_still(header: FrameHeader, payload: Buffer) -> Planes:
    """Return the one array, (height, width, 3) of RGB, of a lossless still.

    Raises
    ------
    Broken
        It is damaged, or not of the size that the header announces.
    """
    from numcodecs.zstd import decompress  # type: ignore[import-untyped]

    shape = (header.height, header.width, 3)
    if _zstd_size(payload) != header.height * header.width * 3:
        raise Broken("a still of another size than its header says")
    rgb = np.zeros(shape, np.uint8)
    try:
        decompress(payload, rgb)
    except (RuntimeError, ValueError) as error:
        raise Broken(str(error)) from error
    rgb.setflags(write=False)
    return (rgb,)


def _padded(header: FrameHeader) -> tuple[int, int]:
    """Return the size of the planes: encoders take even sides alone."""
    return header.width + header.width % 2, header.height + header.height % 2


def _open(name: str, width: int, height: int) -> av.VideoCodecContext:
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.VideoCodecContext)
    # Threads by frames would each hold one back.
    context.thread_type = ThreadType.SLICE
    context.thread_count = min(os.cpu_count() or 1, _MOST_THREADS)
    context.flags |= int(Flags.low_delay)
    # The size that counts is coded in blocks of 16, in rows that FFmpeg aligns to what the
    # processor's vectors hold, 64 bytes at most. No memory is taken for a larger picture.
    most = (width + 63) // 64 * 64 * ((height + 15) // 16 * 16)
    context.options = {"max_pixels": str(most), "err_detect": "explode"}
    return context


def _decoded(context: av.VideoCodecContext, payload: Buffer) -> av.VideoFrame:
    try:
        frames = context.decode(av.Packet(bytes(payload)))
    except (av.FFmpegError, MemoryError) as error:
        raise Broken(str(error)) from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise Broken(f"{len(frames)} pictures of one unit, or a damaged one")
    return frames[0]


def _planes(frame: av.VideoFrame, width: int, height: int, pixels: str) -> Planes:
    if (frame.width, frame.height, frame.format.name) != (width, height, pixels):
        raise Broken(f"a picture {frame} where {width} × {height} {pixels} was announced")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        rows.setflags(write=False)  # the pictures to come build on it
        planes.append(rows[:, : plane.width])
    return tuple(planes)


def _zstd_size(payload: Buffer) -> int:
    """Return how many bytes a Zstandard frame declares to hold; -1 if it does not say.

    The layout is that of RFC 8878, section 3.1.1.1.
    """
    head = bytes(memoryview(payload)[:18])
    if len(head) < 6 or not head.startswith(_ZSTD_MAGIC):
        return -1
    size_flag, is_single, dictionary_flag = head[4] >> 6, head[4] >> 5 & 1, head[4] & 3
    start = 5 + (not is_single) + (0, 1, 2, 4)[dictionary_flag]
    length = (is_single, 2, 4, 8)[size_flag]
    field = head[start : start + length]
    if not length or len(field) < length:
        return -1
    return int.from_bytes(field, "little") + (256 if length == 2 else 0)
