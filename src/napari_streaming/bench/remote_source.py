"""The server of ``bench remote``: noisy cells under a steady pan, 60 times a second, no napari.

A process of its own: prints its URL, and ends when its standard input does.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from msgspec.structs import replace

from napari_streaming.bench.sequences import RGB, pan
from napari_streaming.remote.server.capture import Picture
from napari_streaming.remote.server.encoders import choose
from napari_streaming.remote.server.pacing import Pacing
from napari_streaming.remote.server.server import SessionServer
from napari_streaming.transport.runtime import new_token
from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire

__all__ = ["FPS", "HEIGHT", "WIDTH", "main"]

WIDTH, HEIGHT, FPS = 1920, 1080, 60
_BITRATE = 20_000_000
_BT709, _LIMITED = 1, 1


class _Source:
    """A stage without a scene: its pictures come by the clock."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._pacings: dict[int, Pacing] = {}
        self._keyframe = False
        self._sequence = 0
        self._encoder = choose(WIDTH, HEIGHT, FPS, _BITRATE)

    def run(self, server: SessionServer, stop: threading.Event) -> None:
        """Send a picture each 60th of a second to those who may get one."""
        pictures, due = pan(WIDTH, HEIGHT), time.monotonic()
        shown = -1
        while not stop.is_set():
            due = max(due + 1 / FPS, time.monotonic())
            self._work_until(due)
            rgb, shown = next(pictures), shown + 1
            ready = tuple(n for n, pace in self._pacings.items() if pace.may_send(due))
            if ready:
                self._send(server, ready, np.ascontiguousarray(rgb), shown)

    def _work_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            try:
                self._jobs.get(timeout=left)()
            except queue.Empty:
                return

    def _send(self, server: SessionServer, clients: tuple[int, ...], rgb: RGB, shown: int) -> None:
        rendered = time.monotonic()
        unit = self._encoder.encode(_picture(rgb, rendered), keyframe=self._keyframe)
        self._keyframe = False
        self._sequence += 1
        for client in clients:
            self._pacings[client].sent(self._sequence, len(unit.data), time.monotonic())
        header = wire.FrameHeader(
            sequence=self._sequence,
            width=WIDTH,
            height=HEIGHT,
            codec=unit.codec,
            chroma=unit.chroma,
            keyframe=unit.keyframe,
            rendered=rendered,
            encoded=unit.encoded,
        )
        # Which picture of the sequence this is, for who compares.
        header = replace(header, camera=(float(shown), *header.camera[1:]))
        server.send_frame(clients, header, unit.data)

    # ---- what the server asks for ------------------------------------------------------

    def post(self, job: Callable[[], None]) -> None:
        """Have a job done between two pictures."""
        self._jobs.put(job)

    def snapshot(self) -> wire.Snapshot:
        """Return a scene without layers."""
        ranges = ((0.0, 1.0, 1.0),) * 2
        return wire.Snapshot(
            layers=(),
            dims=wire.Dims(
                ndim=2, ndisplay=2, point=(0, 0), range=ranges, order=(0, 1), axis_labels=("", "")
            ),
            camera=wire.Camera(center=(0, 0, 0), zoom=1, angles=(0, 0, 0)),
            canvas=wire.Canvas(width=WIDTH, height=HEIGHT),
        )

    def add_client(self, client: int, pacing: Pacing, codecs: tuple[str, ...]) -> None:
        """Send to a client, beginning with a keyframe."""
        self._pacings[client], self._keyframe = pacing, True

    def remove_client(self, client: int) -> None:
        """Send to a client no more."""
        self._pacings.pop(client, None)

    def need_keyframe(self, client: int) -> None:
        """Let the next picture be a keyframe."""
        self._keyframe = True

    def quality(self, client: int, wish: wire.Quality) -> None:
        """Pictures are as they are."""

    def credit(self, client: int) -> None:
        """Its pacing knows."""

    def input(self, client: int, message: wire.Input) -> None:
        """Nothing here moves by hand."""

    def intent(self, client: int, message: wire.Intent) -> wire.Rejected:
        """Nothing here can be changed."""
        return wire.Rejected(message.id, "this is a benchmark")

    def command(self, client: int, message: wire.Command) -> wire.Reply:
        """Nothing here can be done."""
        return wire.Reply(id=message.id, error="this is a benchmark")


def _picture(rgb: RGB, rendered: float) -> Picture:
    """Convert as a capture does."""
    frame: Any = av.VideoFrame.from_numpy_buffer(rgb, "rgb24").reformat(
        format="yuv420p",
        dst_colorspace=_BT709,
        dst_color_range=_LIMITED,
        interpolation="AREA",
        threads=2,
    )
    planes = tuple(
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[
            :, : plane.width
        ]
        for plane in frame.planes
    )
    return Picture(planes, WIDTH, HEIGHT, rendered)


def main() -> None:
    """Serve until the standard input ends."""
    source, stop = _Source(), threading.Event()
    url = parse_session_url("ws://127.0.0.1:0/session", listen=True)
    server = SessionServer(url, new_token(), source)
    server.start()
    print(server.url.shareable(), flush=True)

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    source.run(server, stop)
    server.close()


if __name__ == "__main__":
    main()
