"""Frames off the wire become pictures, in a thread of their own; only the newest is kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_streaming.remote.client.codecs import Broken, JpegCodec, VideoCodec, decode_still
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.frames import FrameHeader

__all__ = ["Decoder", "Frame"]

_ASK_AGAIN_S = 0.25
_MOST_UNITS = 64
_MOST_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture to show.

    Parameters
    ----------
    header : FrameHeader
        What came with it. The planes may be one row and one column larger than it says.
    planes : tuple of ndarray of uint8
        Y, U and V in the limited range of BT.709, read-only, rows not contiguous; of a ``zstd``
        still the one array (height, width, 3) of RGB.
    decoded : float
        When it was done, in seconds of ``time.monotonic``.
    milliseconds : float
        How long that took.
    """

    header: FrameHeader
    planes: tuple[NDArray[np.uint8], ...]
    decoded: float
    milliseconds: float


class Decoder:
    """Decodes units in the order in which they were encoded.

    The units of a stream must all be put, or the one after the gap must be a keyframe. What is
    broken, hostile bytes too, costs nothing but the pictures until the next keyframe.

    Parameters
    ----------
    on_frame : callable, optional
        Called without arguments when there is something to take; in the decoder's thread.
    on_need_keyframe : callable, optional
        Called without arguments when nothing can be shown before the next keyframe; in the
        decoder's thread, at most every 250 ms.
    """

    def __init__(
        self,
        on_frame: Callable[[], Any] | None = None,
        on_need_keyframe: Callable[[], Any] | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_need_keyframe = on_need_keyframe
        self._changed = threading.Condition()
        # Under the condition's lock:
        self._waiting: deque[tuple[FrameHeader, Buffer]] = deque()
        self._waiting_bytes = 0
        self._newest: Frame | None = None
        self._resets = 0
        self._closed = False
        self._overrun = False
        # The thread's own:
        self._video: VideoCodec | None = None
        self._jpeg = JpegCodec()
        self._asks = False
        self._may_ask = 0.0
        self._thread = threading.Thread(target=self._run, name="napari-streaming-decoder")
        self._thread.daemon = True
        self._thread.start()

    def put(self, header: FrameHeader, payload: Buffer) -> None:
        """Hand over a unit as it came; never waits.

        The payload is read later, so it must not change.
        """
        with self._changed:
            if header.codec == "jpeg" or (header.codec == "h264" and header.keyframe):
                self._forget_waiting()
                self._overrun = False
            self._waiting.append((header, payload))
            self._waiting_bytes += len(payload)
            if len(self._waiting) > _MOST_UNITS or self._waiting_bytes > _MOST_BYTES:
                self._forget_waiting()
                self._overrun = True
            self._changed.notify()

    def take(self) -> Frame | None:
        """Return the newest picture that was not taken yet."""
        with self._changed:
            frame, self._newest = self._newest, None
            return frame

    def reset(self) -> None:
        """Forget everything, as after a broken connection: the next unit starts anew."""
        with self._changed:
            self._forget_waiting()
            self._overrun = False
            self._newest = None
            self._resets += 1
            self._changed.notify()

    def close(self) -> None:
        """Stop the thread; what it is at is finished and forgotten."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    def _run(self) -> None:
        resets = 0
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._until_ask())
                if self._closed:
                    break
                if self._resets != resets or self._overrun:
                    self._video = None
                    self._asks = self._overrun
                    self._overrun = False
                    resets = self._resets
                unit = self._waiting.popleft() if self._waiting else None
                if unit:
                    self._waiting_bytes -= len(unit[1])
                overtaken = bool(self._waiting)
            if unit:
                self._decode(*unit, overtaken, resets)
            self._ask()
        self._video = None

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._closed or self._overrun

    def _until_ask(self) -> float | None:
        return max(0.0, self._may_ask - time.monotonic()) if self._asks else None

    def _ask(self) -> None:
        if self._asks and time.monotonic() >= self._may_ask:
            self._asks = False
            self._may_ask = time.monotonic() + _ASK_AGAIN_S
            if self._on_need_keyframe:
                self._on_need_keyframe()

    def _decode(self, header: FrameHeader, payload: Buffer, overtaken: bool, resets: int) -> None:
        """Decode a unit and publish the picture, unless the decoder was reset meanwhile."""
        start = time.monotonic()
        try:
            planes = self._planes(header, payload, overtaken)
        except Broken:
            self._asks = True
            return
        if planes is None:
            return
        end = time.monotonic()
        frame = Frame(header, planes, end, 1e3 * (end - start))
        with self._changed:
            if self._resets != resets or self._closed:
                return
            self._newest = frame
        if self._on_frame:
            self._on_frame()

    def _planes(
        self, header: FrameHeader, payload: Buffer, overtaken: bool
    ) -> tuple[NDArray[np.uint8], ...] | None:
        """Return the picture of a unit; None if there is none to show.

        Raises
        ------
        Broken
            Nothing can be shown before the next keyframe.
        """
        if header.codec == "zstd":
            # Nothing follows from a still, so none is decoded that would not be shown.
            return None if overtaken else decode_still(header, payload)
        if header.codec == "jpeg":
            self._video = None
            planes = self._jpeg.decode(header, payload)
        else:
            planes = self._decode_video(header, payload)
        self._asks = False
        return planes

    def _decode_video(self, header: FrameHeader, payload: Buffer) -> tuple[NDArray[np.uint8], ...]:
        video, self._video = self._video, None
        if header.keyframe and (video is None or not video.fits(header)):
            video = VideoCodec(header)
        if video is None or not video.fits(header):
            raise Broken("nothing to build on")
        planes = video.decode(payload)
        self._video = video  # only one that did not fail is used again
        return planes
