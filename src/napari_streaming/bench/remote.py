"""How long a remote session takes from pixels there to pixels here, and from a hand to pixels.

Two servers, each a process of its own, and this process as their client: all of it is software
and one machine, so that there is no network in it but much of everything else.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_streaming.bench.remote_source import FPS, HEIGHT, WIDTH
from napari_streaming.bench.sequences import pan, psnr
from napari_streaming.errors import StreamingError
from napari_streaming.remote.client.client import SessionClient
from napari_streaming.remote.client.convert import Converter
from napari_streaming.remote.client.decoder import Decoder
from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire
from napari_streaming.wire.frames import FrameHeader
from napari_streaming.wire.inputs import Input, Pointer

__all__ = ["Effort", "measure"]

_PATIENCE_S = 60.0
_PERIOD = 64  # pictures until the pan repeats
_COMPARED = 5
_IMAGE = """
import sys, numpy, tifffile
random = numpy.random.default_rng(0)
tifffile.imwrite(sys.argv[1], random.integers(0, 4000, (2048, 2048), numpy.uint16))
"""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Parameters
    ----------
    warm_up, loop, drag, idle : float
        Seconds of each part.
    moves : int
        Of the mouse, each after the picture of the one before.
    """

    warm_up: float = 2.0
    loop: float = 8.0
    drag: float = 5.0
    idle: float = 4.0
    moves: int = 60


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A frame that became pixels."""

    header: FrameHeader
    nbytes: int
    decode_ms: float
    at: float
    pixels: NDArray[np.uint8]


class _Client:
    """Takes part in a session as napari does, without a window."""

    def __init__(self, url: str) -> None:
        self._changed = threading.Condition()
        self._seen: list[_Seen] = []
        self._sizes: dict[int, int] = {}
        self._state = "connecting"
        self._converter = Converter()
        self._decoder = Decoder(self._on_decoded, lambda: self.session.need_keyframe())
        self.session = SessionClient(
            parse_session_url(url),
            on_snapshot=lambda snapshot: None,
            on_message=lambda message: None,
            on_frame=self._on_frame,
            on_state=self._on_state,
            hello=wire.Hello(token="", name="bench", width=WIDTH, height=HEIGHT),
        )

    def __enter__(self) -> Self:
        self.session.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self._decoder.close()

    def _on_state(self, state: str) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _on_frame(self, header: FrameHeader, payload: memoryview) -> None:
        self._sizes[header.sequence] = len(payload)
        self._decoder.put(header, payload)

    def _on_decoded(self) -> None:
        frame = self._decoder.take()
        if frame is None:
            return
        pixels, number = self._converter.bgra(frame), frame.header.sequence
        seen = _Seen(
            frame.header, self._sizes.pop(number), frame.milliseconds, time.monotonic(), pixels
        )
        self.session.shown(number)
        with self._changed:
            # Few are compared: pixels of all would be gigabytes.
            if len(self._seen) > _COMPARED:
                old = self._seen[-1 - _COMPARED]
                self._seen[-1 - _COMPARED] = _without_pixels(old)
            self._seen.append(seen)
            self._changed.notify_all()

    def wait(self, condition: Callable[[list[_Seen]], object]) -> None:
        """Wait until a condition on all frames so far holds."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._seen), _PATIENCE_S):
                raise StreamingError(f"the session stands still: {self._state}")

    @property
    def count(self) -> int:
        """How many frames came."""
        return len(self._seen)

    def during(self, seconds: float) -> list[_Seen]:
        """Return the frames of the next seconds."""
        first = len(self._seen)
        time.sleep(seconds)
        return self._seen[first:]

    def send(self, make: Callable[[int], Input]) -> int:
        """Do something; return its id."""
        return self.session.send_input(make)


def measure(effort: Effort | None = None) -> dict[str, Any]:
    """Run the benchmark ``remote``.

    Returns
    -------
    dict
        ``loop_p50_ms``, ``loop_p95_ms``, ``fps``
            From RGB pixels in the server to BGRA pixels in the client, of a source of 60
            pictures a second, 1920×1080; and how many of them a second came that far.
        ``encode_ms``, ``decode_ms``
            The parts of it at both ends: RGB to H.264, and H.264 to planes.
        ``bytes_per_frame``, ``psnr_db``
            How large these frames were, and how alike the pictures.
        ``join_ms``
            From a second client's first call to its first picture.
        ``napari_fps``
            Pictures a second of a napari scene that is dragged, 60 moves a second.
        ``napari_input_to_pixels_p50_ms``, ``napari_input_to_pixels_p95_ms``
            From a move of the mouse to the pixels of the first frame that contains it, with
            nothing else under way.
        ``idle_frames``, ``idle_cpu_percent``
            Frames of a napari scene that rests, and what its server takes of one processor.

    Raises
    ------
    StreamingError
        A server did not start, or a session stands still.
    """
    effort = effort or Effort()
    with _process("-m", "napari_streaming.bench.remote_source") as (_, url):
        result = _loop(url, effort)
    with tempfile.TemporaryDirectory() as folder:
        image = str(Path(folder, "noise.tif"))
        subprocess.run([sys.executable, "-c", _IMAGE, image], check=True)
        serve = ["-m", "napari_streaming", "serve", image, "--listen", "ws://127.0.0.1:0"]
        with _process(*serve, "--size", f"{WIDTH}x{HEIGHT}") as (pid, url):
            return result | _napari(url, pid, effort)


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[int, str]]:
    """Run a server; yield its process id and URL."""
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        words = process.stdout.readline().split()
        if not words:
            raise StreamingError("the server of the benchmark did not start")
        yield process.pid, words[-1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def _loop(url: str, effort: Effort) -> dict[str, Any]:
    with _Client(url) as client:
        client.wait(bool)
        client.during(effort.warm_up)
        began = time.monotonic()
        seen = client.during(effort.loop)
        spent = time.monotonic() - began
        quality = _quality(seen[-_COMPARED:])
        began = time.monotonic()
        with _Client(url) as other:
            other.wait(bool)
            joined = time.monotonic() - began
    times = [1e3 * (one.at - one.header.rendered) for one in seen]
    return {
        "loop_p50_ms": _quantile(times, 50),
        "loop_p95_ms": _quantile(times, 95),
        "fps": len(seen) / spent,
        "encode_ms": _quantile([1e3 * (s.header.encoded - s.header.rendered) for s in seen], 50),
        "decode_ms": _quantile([one.decode_ms for one in seen], 50),
        "bytes_per_frame": float(np.mean([one.nbytes for one in seen])) if seen else math.nan,
        "psnr_db": quality,
        "join_ms": 1e3 * joined,
    }


def _quality(seen: list[_Seen]) -> float:
    """Return how alike pictures and their sources are, in dB."""
    pictures = list(islice(pan(WIDTH, HEIGHT), _PERIOD))
    return float(
        np.mean(
            [
                psnr(pictures[round(one.header.camera[0]) % _PERIOD], one.pixels[..., 2::-1])
                for one in seen
            ]
        )
    )


def _napari(url: str, pid: int, effort: Effort) -> dict[str, Any]:
    with _Client(url) as client:
        client.wait(lambda seen: seen and seen[-1].header.codec == "zstd")
        server = psutil.Process(pid)
        before, began = server.cpu_times(), time.monotonic()
        idle = client.during(effort.idle)
        after, spent = server.cpu_times(), time.monotonic() - began
        used = after.user + after.system - before.user - before.system
        client.send(_pointer("press", 0))
        waits = [_move_and_wait(client, step) for step in range(1, effort.moves + 1)]
        began = time.monotonic()
        dragged = _drag(client, effort)
        fps = dragged / (time.monotonic() - began)
    waits = waits[len(waits) // 10 :]
    return {
        "napari_fps": fps,
        "napari_input_to_pixels_p50_ms": _quantile(waits, 50),
        "napari_input_to_pixels_p95_ms": _quantile(waits, 95),
        "idle_frames": len(idle),
        "idle_cpu_percent": 100 * used / spent,
    }


def _move_and_wait(client: _Client, step: int) -> float:
    """Move the mouse; return the milliseconds until a picture shows it."""
    began = time.monotonic()
    number = client.send(_pointer("move", step))
    client.wait(lambda seen: seen and seen[-1].header.intent >= number)
    return 1e3 * (time.monotonic() - began)


def _drag(client: _Client, effort: Effort) -> int:
    """Move the mouse as fast as a screen is drawn; return how many pictures came."""
    began, before = time.monotonic(), client.count
    for step in range(round(effort.drag * FPS)):
        client.send(_pointer("move", step))
        time.sleep(max(0.0, began + step / FPS - time.monotonic()))
    return client.count - before


def _pointer(kind: Any, step: int) -> Callable[[int], Input]:
    """Return how a drag looks after some steps: round and round."""
    angle = step / 10
    x, y = WIDTH / 2 + 200 * math.sin(angle), HEIGHT / 2 + 100 * math.cos(angle)
    buttons = (1,)
    return lambda number: Pointer(id=number, kind=kind, x=x, y=y, button=1, buttons=buttons)


def _without_pixels(seen: _Seen) -> _Seen:
    nothing = np.empty((0, 0, 4), np.uint8)
    return _Seen(seen.header, seen.nbytes, seen.decode_ms, seen.at, nothing)


def _quantile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else math.nan
