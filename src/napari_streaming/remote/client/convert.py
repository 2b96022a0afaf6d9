"""Decoded frames become pixels that a screen takes."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from napari_streaming.remote.client.decoder import Frame

__all__ = ["Converter"]


class Converter:
    """Makes BGRA of frames; keeps what FFmpeg prepares for one size. Only in one thread."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def bgra(self, frame: Frame) -> NDArray[np.uint8]:
        """Return a frame's pixels.

        Parameters
        ----------
        frame : Frame
            As a :class:`~napari_streaming.remote.client.decoder.Decoder` gives it.

        Returns
        -------
        ndarray of uint8, shape (height, width, 4)
            Blue, green, red and 255; rows are contiguous, and the array is the caller's.
        """
        height, width = frame.header.height, frame.header.width
        if len(frame.planes) == 1:
            pixels = np.full((height, width, 4), 255, np.uint8)
            pixels[..., :3] = frame.planes[0][..., ::-1]
            return pixels
        rows, columns = frame.planes[0].shape
        video = av.VideoFrame(columns, rows, f"yuv{frame.header.chroma}p")
        for plane, values in zip(video.planes, frame.planes, strict=True):
            _array(plane)[:, : plane.width] = values
        converted = self._reformatter.reformat(
            video,
            format="bgra",
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        )
        (plane,) = converted.planes
        shown = _array(plane).reshape(rows, -1, 4)[:height, :width]
        return np.ascontiguousarray(shown)


def _array(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    """Return a plane's memory, with what its rows are padded with."""
    return np.asarray(memoryview(plane)).reshape(plane.height, plane.line_size)
