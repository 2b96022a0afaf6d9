"""The loop that owns OpenGL and the viewer model: draws what changed, when somebody may get it.

Everything that touches the model comes in by `PixelLoop.post`, so that there is one thread and no
lock. A picture is dropped by not drawing it: what was encoded is always handed over, since the
next picture builds on it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_streaming.errors import ClosedError, ContextError
from napari_streaming.remote.server.capture import Capture, Picture
from napari_streaming.remote.server.streams import ChooseEncoder, Sink, Stream, Streams
from napari_streaming.wire.frames import FrameHeader

if TYPE_CHECKING:
    from napari_streaming.remote.server.canvas import HeadlessCanvas
    from napari_streaming.remote.server.encoders import AccessUnit

__all__ = ["LoopStats", "PixelLoop"]

_log = logging.getLogger(__name__)
T = TypeVar("T")
_STILL = 0.2  # seconds without a change until a scene is shown without loss
_LONGEST_REST = 5.0  # seconds; such a picture waits as long as it is said to take to send
_NAP = 0.05  # seconds between looks at Qt's timers


@dataclass(frozen=True)
class LoopStats:
    """What the loop did so far, and how long the last took in milliseconds."""

    draws: int = 0
    frames: int = 0
    draw_ms: float = 0.0
    capture_ms: float = 0.0
    encode_ms: float = 0.0


class PixelLoop:
    """Draws, captures, encodes and hands over.

    Parameters
    ----------
    canvas : HeadlessCanvas
        Made in the thread that calls `run`.
    choose : callable
        Makes encoders; see `ChooseEncoder`.
    on_frame : callable
        Called with the clients, the header and the access unit of each frame; in the loop's
        thread, so it must only pass them on.
    tick : callable
        Called in each turn of the loop; returns in how many seconds it wants to be, at the latest.
    """

    def __init__(
        self,
        canvas: HeadlessCanvas,
        choose: ChooseEncoder,
        on_frame: Callable[[tuple[int, ...], FrameHeader, AccessUnit], None],
        tick: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._canvas, self._on_frame, self._tick = canvas, on_frame, tick
        self._streams = Streams(choose)
        self._capture = Capture()
        self._posted: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._wake = threading.Event()
        self._lock = threading.Lock()  # of `_closed`, so that nothing is posted and never run
        self._closed = False
        self._stopping = False
        self._drawing = 0
        self._rendered = 0.0
        self._pictures: dict[Literal["420", "444"], Picture] = {}
        self._still: AccessUnit | None = None
        self._sequence = 0
        self._intent = 0
        self._rebuilt = False
        self._draws = 0
        self._draw_ms = self._capture_ms = self._encode_ms = 0.0
        canvas.watch(self._wake.set)

    # From any thread.

    def post(self, job: Callable[[], T]) -> Future[T]:
        """Run something in the loop's thread, in the order of posting.

        Returns
        -------
        Future
            Has what it returned or raised. Cancelled if the loop ended before.

        Raises
        ------
        ClosedError
            When the loop has ended.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise ClosedError("the render loop has ended")
            self._posted.append((future, job))
        self._wake.set()
        return future

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopping = True
        self._wake.set()

    # In the loop's thread, thus by `post`.

    def add(self, sink: Sink) -> None:
        """Hand pictures to a client from now on, or by its new wishes; it gets a keyframe."""
        self._streams.add(sink)

    def remove(self, client: int) -> None:
        """Hand no more pictures to a client."""
        self._streams.remove(client)

    def want_keyframe(self, client: int) -> None:
        """Hand a client a picture that decodes by itself, even if nothing changed."""
        self._streams.want_keyframe(client)

    def contains(self, intent: int) -> None:
        """Note the id of an intent or input that was applied: the next picture contains it."""
        self._intent = intent

    def screenshot(self) -> NDArray[np.uint8]:
        """Return what is to be seen now, exactly: uint8 of shape (height, width, 3)."""

        def draw_and_read() -> NDArray[np.uint8]:
            self._draw_if_dirty()
            return self._capture.read_rgb(self._canvas.target)

        return self._in_context(draw_and_read)

    @property
    def encoders(self) -> dict[int, str]:
        """The names of the encoders, by client."""
        return self._streams.encoders

    @property
    def stats(self) -> LoopStats:
        """What it did so far."""
        return LoopStats(
            self._draws, self._sequence, self._draw_ms, self._capture_ms, self._encode_ms
        )

    # The loop.

    def run(self) -> None:
        """Draw until `stop`, in the calling thread.

        Raises
        ------
        ContextError
            When OpenGL failed, and failed again in a new context.
        EncoderError
            When no encoder is left.
        """
        try:
            while not self._stopping:
                self._wake.clear()
                self._run_posted()
                wait = min(self._tick(), self._show())
                self._wake.wait(wait)
        finally:
            self._close()

    def _run_posted(self) -> None:
        while self._posted:
            future, job = self._posted.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except Exception as error:  # noqa: BLE001 - it is the poster's
                    future.set_exception(error)

    def _show(self) -> float:
        """Hand over what is due; return how long nothing will be."""
        self._canvas.process_events()
        now = time.monotonic()
        if not self._streams:
            return _NAP
        waits = [_NAP]
        for stream in self._streams:
            changed = self._canvas.dirty or stream.shown != self._drawing or stream.keyframe
            if not changed:
                waits.append(self._refine(stream, now))
                continue
            early = stream.next_at - now
            ready, slow = stream.ready(now)
            if ready and slow:
                self._streams.split(stream, slow)
            if early > 0:
                waits.append(early)
            elif ready:
                self._send(stream)
                waits.append(0.0)
        return min(waits)

    def _send(self, stream: Stream) -> None:
        stream.began = time.monotonic()
        picture = self._in_context(lambda: self._draw_and_capture(stream))
        unit = stream.encode(picture, time.monotonic())
        self._encode_ms = unit.milliseconds
        stream.shown = self._drawing
        self._hand_over(tuple(stream.sinks.values()), unit)

    def _refine(self, stream: Stream, now: float) -> float:
        """Show a scene that stays as it is without any loss."""
        from napari_streaming.remote.server.encoders import encode_still

        if stream.refined == self._drawing:
            return _NAP
        if (early := stream.began + _STILL - now) > 0:
            return early
        wanting = [sink for sink in stream.sinks.values() if sink.refine]
        if not wanting:
            return _NAP
        if not all(sink.pace.may_send(now) for sink in wanting):
            return _NAP
        if self._still is None:
            self._still = encode_still(self.screenshot())
        bits = 8 * len(self._still.data)
        rest = min(max(bits / sink.pace.bitrate(now) for sink in wanting), _LONGEST_REST)
        if (early := stream.began + rest - now) > 0:
            return early
        stream.refined = self._drawing
        self._hand_over(tuple(wanting), self._still)
        return _NAP

    def _in_context(self, work: Callable[[], T]) -> T:
        """Do something with OpenGL, in a new context if the driver lost this one."""
        try:
            self._canvas.make_current()
            done = work()
        except ContextError as error:
            if self._rebuilt:
                raise
            _log.warning("%s. The canvas is built anew.", error)
        else:
            self._rebuilt = False
            return done
        self._rebuilt = True
        self._capture = Capture()
        self._canvas.rebuild()
        return self._in_context(work)

    def _draw_and_capture(self, stream: Stream) -> Picture:
        self._draw_if_dirty()
        begin = time.monotonic()
        if stream.chroma not in self._pictures:
            self._pictures[stream.chroma] = self._capture.picture(
                self._canvas.target, stream.chroma, self._rendered
            )
            self._capture_ms = 1e3 * (time.monotonic() - begin)
        return self._pictures[stream.chroma]

    def _draw_if_dirty(self) -> None:
        if self._canvas.dirty:
            self._draw()

    def _draw(self) -> None:
        begin = time.monotonic()
        self._canvas.draw()
        self._rendered = time.monotonic()
        self._draw_ms = 1e3 * (self._rendered - begin)
        self._drawing += 1
        self._draws += 1
        self._pictures.clear()
        self._still = None

    def _hand_over(self, sinks: tuple[Sink, ...], unit: AccessUnit) -> None:
        camera = self._canvas.viewer.scene.camera
        now = time.monotonic()
        self._sequence += 1
        width, height = self._canvas.size
        header = FrameHeader(
            sequence=self._sequence,
            width=width,
            height=height,
            codec=unit.codec,
            chroma=unit.chroma,
            keyframe=unit.keyframe,
            rendered=self._rendered,
            encoded=unit.encoded,
            sent=now,
            intent=self._intent,
            camera=(*map(float, camera.center), float(camera.zoom), *map(float, camera.angles)),
            ndisplay=self._canvas.viewer.dims.ndisplay,
        )
        for sink in sinks:
            sink.pace.sent(self._sequence, len(unit.data), now)
        self._on_frame(tuple(sink.client for sink in sinks), header, unit)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
        for future, _ in self._posted:
            future.cancel()
        self._posted.clear()
        self._streams.close()
        self._capture.close()
