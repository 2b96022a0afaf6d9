"""What was drawn, as planes that an encoder takes or as exact pixels."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from napari_streaming.remote.server.readback import PlanesOnGPU
    from napari_streaming.remote.server.target import Target

__all__ = ["Capture", "Picture"]

Subsampling = Literal["420", "444"]
Planes = tuple[NDArray[np.uint8], ...]
_BT709, _LIMITED = 1, 1  # as FFmpeg numbers them
_TRIES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One drawn picture, in the limited range of BT.709.

    Parameters
    ----------
    planes : tuple of ndarray of uint8
        Y, U and V: (height, width) each, U and V half of it both ways for 4:2:0.
    width, height : int
        Pixels, both even.
    rendered : float
        When it was drawn, in seconds of ``time.monotonic``.
    """

    planes: tuple[NDArray[np.uint8], ...]
    width: int
    height: int
    rendered: float


class Capture:
    """Reads what was drawn, in the way that is faster on this machine.

    The GPU converts with a shader, and less than half the bytes cross the bus; where the
    processor itself draws, FFmpeg converts several times faster. Both are tried on the first
    picture of a kind. Chroma of 4:2:0 is the mean of four pixels either way.

    All methods belong to the thread of the context, which must be current.

    Parameters
    ----------
    where : {"gpu", "cpu"}, optional
        Where to convert, instead of trying.

    Attributes
    ----------
    chosen : dict of str to str
        "gpu" or "cpu" by subsampling, for those that pictures were made of.
    """

    def __init__(self, where: Literal["gpu", "cpu"] | None = None) -> None:
        self._where = where
        self.chosen: dict[Subsampling, str] = {}
        self._gpu: dict[Subsampling, PlanesOnGPU] = {}
        self._pixels: NDArray[np.uint8] | None = None
        self._frame: VideoFrame | None = None  # FFmpeg's view of `_pixels`

    def picture(self, target: Target, subsampling: Subsampling, rendered: float) -> Picture:
        """Return what was drawn; its last column and row are repeated to make the sides even.

        Parameters
        ----------
        target : Target
        subsampling : {"420", "444"}
        rendered : float
            When it was drawn, in seconds of ``time.monotonic``.

        Raises
        ------
        ContextError
            When the driver fails.
        """
        from napari_streaming.remote.server.target import opengl_errors

        width, height = target.width + target.width % 2, target.height + target.height % 2
        with opengl_errors():
            if subsampling not in self.chosen:
                self.chosen[subsampling] = self._where or self._faster(target, subsampling)
            convert = self._ways(target, subsampling)[self.chosen[subsampling]]
            return Picture(convert(), width, height, rendered)

    def read_rgb(self, target: Target) -> NDArray[np.uint8]:
        """Return what was drawn, exactly.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)

        Raises
        ------
        ContextError
            When the driver fails.
        """
        from napari_streaming.remote.server.readback import read_rgba
        from napari_streaming.remote.server.target import opengl_errors

        pixels = np.empty((target.height, target.width, 4), np.uint8)
        with opengl_errors():
            read_rgba(target, pixels)
        return np.ascontiguousarray(pixels[..., :3])

    def close(self) -> None:
        """Free what it has in the context."""
        for converter in self._gpu.values():
            converter.close()

    def _ways(self, target: Target, subsampling: Subsampling) -> dict[str, Callable[[], Planes]]:
        return {
            "cpu": lambda: self._on_cpu(target, subsampling),
            "gpu": lambda: self._on_gpu(target, subsampling),
        }

    def _faster(self, target: Target, subsampling: Subsampling) -> str:
        took = {}
        for where, convert in self._ways(target, subsampling).items():
            convert()  # compiles, allocates
            took[where] = min(_seconds(convert) for _ in range(_TRIES))
        return min(took, key=took.__getitem__)

    def _on_gpu(self, target: Target, subsampling: Subsampling) -> Planes:
        from napari_streaming.remote.server.readback import PlanesOnGPU

        if subsampling not in self._gpu:
            self._gpu[subsampling] = PlanesOnGPU(subsampled=subsampling == "420")
        width, height = target.width + target.width % 2, target.height + target.height % 2
        pitch = -(-width // 8) * 8
        packed = self._gpu[subsampling].read(target, pitch, height)
        half = 2 if subsampling == "420" else 1
        luma, chroma = pitch * height, pitch * height // half**2
        u, v = packed[luma : luma + chroma], packed[luma + chroma :]
        return (
            packed[:luma].reshape(height, pitch)[:, :width],
            u.reshape(height // half, pitch // half)[:, : width // half],
            v.reshape(height // half, pitch // half)[:, : width // half],
        )

    def _on_cpu(self, target: Target, subsampling: Subsampling) -> Planes:
        from av.video.frame import VideoFrame

        from napari_streaming.remote.server.readback import read_rgba

        shape = target.height + target.height % 2, target.width + target.width % 2, 4
        if self._pixels is None or self._pixels.shape != shape:
            self._pixels = np.empty(shape, np.uint8)
            self._frame = VideoFrame.from_numpy_buffer(self._pixels, "rgba")
        read_rgba(target, self._pixels)
        assert self._frame is not None
        converted = self._frame.reformat(
            format=f"yuv{subsampling}p",
            dst_colorspace=_BT709,
            dst_color_range=_LIMITED,
            interpolation="AREA",  # the mean of what a value stands for
            threads=min(4, os.cpu_count() or 1),
        )
        return tuple(
            np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[
                :, : plane.width
            ]
            for plane in converted.planes
        )


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
