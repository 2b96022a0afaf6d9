"""A remote session: the scene, its pictures and its server, put together."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from napari_streaming.errors import ClosedError
from napari_streaming.remote.server.canvas import HeadlessCanvas
from napari_streaming.remote.server.encoders import AccessUnit, Encoder, choose
from napari_streaming.remote.server.pacing import Pacing
from napari_streaming.remote.server.pixels import PixelLoop
from napari_streaming.remote.server.scene import Delta, Scene
from napari_streaming.remote.server.server import SessionServer
from napari_streaming.remote.server.streams import Sink
from napari_streaming.uri import StreamURL
from napari_streaming.wire import remote as wire
from napari_streaming.wire.frames import FrameHeader
from napari_streaming.wire.inputs import Input, Key, Pointer, Resize, Wheel

__all__ = ["RemoteServer"]

logger = logging.getLogger(__name__)

_DESCRIBE_S = 1.0


class RemoteServer:
    """Renders a viewer without a window, and lets clients look at it and steer it.

    Made, run and closed in one thread, which has OpenGL and the viewer.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    url : StreamURL
        Where to listen, as :func:`napari_streaming.uri.parse_session_url` returns it.
    token : str
        The secret that clients show.
    size : (int, int)
        Of the canvas in pixels, until a client says otherwise.
    encoder : str
        A rung of the ladder, or ``auto``.
    root : Path, optional
        The folder of which clients may open files; none: they may not.
    tick : callable
        Called again and again in this thread; returns in how many seconds it wants to be again.

    Raises
    ------
    ContextError
        There is no OpenGL on this machine.
    TransportError
        The URL cannot be used.
    """

    def __init__(
        self,
        viewer: Any,
        url: StreamURL,
        token: str,
        size: tuple[int, int],
        *,
        encoder: str = "auto",
        root: Path | None = None,
        tick: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._encoder, self._tick_of_owner = encoder, tick
        self._pacings: dict[int, Pacing] = {}
        self._is_dirty = True
        self._described_at = 0.0
        self._ratio = 1.0
        self._was_sized = False
        self._canvas = HeadlessCanvas(viewer, size)
        self._loop = PixelLoop(self._canvas, self._choose, self._on_frame, self._tick)
        self._scene = Scene(
            viewer,
            root,
            on_delta=self._on_delta,
            on_dirty=self._on_dirty,
            screenshot=self._loop.screenshot,
        )
        self._scene.set_canvas(*size, self._ratio)
        software = f"napari-streaming/{version('napari-streaming')}"
        self._server = SessionServer(url, token, self, software=software)

    @property
    def url(self) -> StreamURL:
        """Where it listens, with its port and token."""
        return self._server.url

    @property
    def scene(self) -> Scene:
        """What clients see of the viewer."""
        return self._scene

    def start(self) -> None:
        """Listen.

        Raises
        ------
        TransportError
            The address cannot be used.
        """
        self._server.start()

    def run(self) -> None:
        """Draw and serve until `stop`, in the calling thread.

        Raises
        ------
        ContextError
            OpenGL failed, and failed again.
        EncoderError
            No encoder is left.
        """
        try:
            self._loop.run()
        finally:
            self._server.close()
            self._scene.close()
            self._canvas.close()

    def stop(self) -> None:
        """Make `run` return soon; from any thread."""
        self._loop.stop()

    # ---- pictures --------------------------------------------------------------------

    def _choose(
        self,
        width: int,
        height: int,
        fps: int,
        bitrate: int,
        chroma: Literal["420", "444"],
        without: Collection[str],
    ) -> Encoder:
        return choose(width, height, fps, bitrate, self._encoder, chroma, without=without)

    def _on_frame(self, clients: tuple[int, ...], header: FrameHeader, unit: AccessUnit) -> None:
        self._server.send_frame(clients, header, unit.data)

    def _tick(self) -> float:
        """Tell clients what changed, and how the pictures are made."""
        now = time.monotonic()
        if now >= self._described_at + _DESCRIBE_S:
            self._described_at = now
            encoders = " and ".join(sorted(set(filter(None, self._loop.encoders.values()))))
            stats = self._loop.stats
            self._server.describe(encoders, stats.draw_ms, stats.encode_ms)
        wait = self._tick_of_owner()
        if self._is_dirty:
            self._is_dirty = False
            again = self._scene.flush()
            if not math.isinf(again):
                self._is_dirty = True
                wait = min(wait, again)
        return wait

    def _on_dirty(self) -> None:
        self._is_dirty = True

    def _on_delta(self, message: Delta, client: int) -> None:
        self._server.broadcast(message)

    # ---- what the server asks for, in the loop's thread --------------------------------

    def post(self, job: Callable[[], None]) -> None:
        """Run a job in the loop's thread, soon and in order; from any thread."""
        try:
            self._loop.post(job).add_done_callback(_log_failure)
        except ClosedError:
            logger.debug("a client spoke when the session had ended")

    def snapshot(self) -> wire.Snapshot:
        """Return the whole scene."""
        return self._scene.snapshot()

    def add_client(self, client: int, pacing: Pacing, codecs: tuple[str, ...]) -> None:
        """Draw for a client from now on, beginning with a keyframe."""
        self._pacings[client] = pacing
        self._loop.add(Sink(client, pacing, refine="zstd" in codecs))
        for thumbnail in self._scene.thumbnails():
            self._server.tell(client, thumbnail)

    def remove_client(self, client: int) -> None:
        """Draw for a client no more."""
        self._pacings.pop(client, None)
        self._loop.remove(client)

    def need_keyframe(self, client: int) -> None:
        """Let the next picture for a client be a keyframe."""
        self._loop.want_keyframe(client)

    def quality(self, client: int, wish: wire.Quality) -> None:
        """Take in how a client wants its pictures."""
        pacing = self._pacings.get(client)
        if pacing is not None:
            chroma: Literal["420", "444"] = "444" if wish.chroma == "444" else "420"
            self._loop.add(Sink(client, pacing, chroma, wish.refine))

    def credit(self, client: int) -> None:
        """Look whether there is something to draw: the job itself has woken the loop."""

    def input(self, client: int, message: Input) -> None:
        """Take in what the controller's mouse, keyboard or window did."""
        canvas = self._canvas
        if isinstance(message, Resize):
            self._ratio = message.ratio
            canvas.resize((message.width, message.height), message.ratio)
            if not self._was_sized:  # nobody has looked yet: all of it is to be seen
                self._was_sized = True
                canvas.viewer.reset_view()
            self._scene.set_canvas(message.width, message.height, message.ratio)
            self._is_dirty = True
        elif isinstance(message, Pointer):
            canvas.pointer(
                message.kind,
                message.x,
                message.y,
                button=message.button,
                buttons=message.buttons,
                modifiers=message.modifiers,
            )
            world = None if message.kind == "leave" else canvas.to_world(message.x, message.y)
            if world is not None:
                self._scene.point_at(world)
                self._is_dirty = True
        elif isinstance(message, Wheel):
            canvas.wheel(message.x, message.y, message.dx, message.dy, message.modifiers)
        elif isinstance(message, Key):
            canvas.key(message.kind, message.key, message.text, message.modifiers)
        self._loop.contains(message.id)

    def intent(self, client: int, message: wire.Intent) -> wire.Accepted | wire.Rejected:
        """Carry out a wish of the controller's, or say why not."""
        answer = self._scene.answer(message)
        self._loop.contains(message.id)
        return answer

    def command(self, client: int, message: wire.Command) -> wire.Reply:
        """Carry out a command."""
        return self._scene.execute(message)


def _log_failure(job: Any) -> None:
    if not job.cancelled() and job.exception() is not None:
        logger.error("a client's wish failed", exc_info=job.exception())
