"""NVIDIA's encoder through PyNvVideoCodec, which knows older drivers than PyAV does."""

from __future__ import annotations

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from napari_streaming.errors import EncoderError
from napari_streaming.remote.server.encoders import Encoder
from napari_streaming.wire.frames import Chroma

__all__ = ["NvidiaEncoder"]

_INFINITE = str(0xFFFFFFFF)  # NVENC_INFINITE_GOPLENGTH
_FORMATS = {"420": "YUV420", "444": "YUV444"}


class NvidiaEncoder(Encoder):
    """H.264 by NVENC, from planes in the host's memory.

    Parameters
    ----------
    width, height, fps, bitrate, chroma
        As in `choose`.

    Raises
    ------
    EncoderError
        It does not open.
    ImportError
        PyNvVideoCodec is not installed.
    """

    def __init__(self, width: int, height: int, fps: int, bitrate: int, chroma: Chroma) -> None:
        super().__init__("pynvvideocodec", width, height, chroma)
        self._fps = fps
        try:
            self._library = import_module("PyNvVideoCodec")
        except RuntimeError as error:  # it looks for the driver when it is imported
            raise EncoderError(f"pynvvideocodec: {_first_line(error)}") from error
        self._failures = (
            RuntimeError,
            self._library.PyNvVCException,
            self._library.PyNvVCExceptionUnsupported,
        )
        try:
            self._encoder = self._library.CreateEncoder(
                width,
                height,
                _FORMATS[chroma],
                True,
                codec="h264",
                preset="P1",
                tuning_info="ultra_low_latency",
                rc="cbr",
                fps=str(fps),
                bitrate=str(bitrate),
                maxbitrate=str(bitrate),
                vbvbufsize=str(bitrate // fps),
                vbvinit=str(bitrate // fps),
                gop=_INFINITE,
                idrperiod=_INFINITE,
                bf="0",
                repeatspspps="1",
            )
        except self._failures as error:
            raise EncoderError(f"pynvvideocodec does not open: {_first_line(error)}") from error
        self._flat = np.empty(sum(height * width for height, width in self._shapes), np.uint8)
        self._is_first = True

    def _compress(
        self, planes: tuple[NDArray[np.uint8], ...], keyframe: bool
    ) -> tuple[bytes, bool]:
        np.concatenate([plane.ravel() for plane in planes], out=self._flat)
        flags = self._library.NV_ENC_PIC_FLAGS
        parameters = self._library.NV_ENC_PIC_PARAMS()
        if keyframe or self._is_first:
            parameters.encodePicFlags = int(flags.FORCEIDR) | int(flags.OUTPUT_SPSPPS)
        try:
            packets = self._encoder.Encode(self._flat, parameters)
        except self._failures as error:
            raise EncoderError(f"pynvvideocodec failed: {_first_line(error)}") from error
        if len(packets) != 1:
            raise EncoderError(f"pynvvideocodec made {len(packets)} units of one picture")
        is_keyframe = keyframe or self._is_first
        self._is_first = False
        return bytes(packets[0]["data"]), is_keyframe

    def set_bitrate(self, bits_per_second: int) -> None:
        """Change how much the stream may take, without a keyframe."""
        try:
            parameters = self._encoder.GetEncodeReconfigureParams()
            parameters.averageBitrate = parameters.maxBitRate = bits_per_second
            parameters.vbvBufferSize = parameters.vbvInitialDelay = bits_per_second // self._fps
            self._encoder.Reconfigure(parameters)
        except self._failures as error:
            raise EncoderError(f"pynvvideocodec failed: {_first_line(error)}") from error

    def close(self) -> None:
        """End the session, of which a driver allows only some."""
        self._encoder.EndEncode()
        del self._encoder


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
