from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from av import CodecContext, Packet
from numcodecs.zstd import decompress

from napari_streaming.errors import ClosedError, ContextError, EncoderError
from napari_streaming.remote.server.encoders import Encoder, open_rung
from napari_streaming.remote.server.pacing import Pacing
from napari_streaming.remote.server.pixels import PixelLoop
from napari_streaming.remote.server.streams import Sink

WAIT_S = 20


class Failing(Encoder):
    """An encoder whose device goes away after some pictures."""

    codec = "jpeg"

    def __init__(self, width, height, pictures):
        super().__init__("failing", width, height, "420")
        self._left = pictures
        self._inner = open_rung("jpeg", width, height, 60, 8_000_000)

    def _compress(self, planes, keyframe):
        if not self._left:
            raise EncoderError("the device is gone")
        self._left -= 1
        return self._inner._compress(planes, keyframe)

    def set_bitrate(self, bits_per_second):
        pass

    def close(self):
        self._inner.close()


class Bench:
    """A loop, and clients that show what they get; used from another thread than the loop's."""

    def __init__(self, canvas, gradient) -> None:
        self.canvas, self.viewer = canvas, canvas.viewer
        self.layer = self.viewer.add_image(gradient, colormap="viridis")
        self.frames: dict[int, list[tuple[Any, Any]]] = {}
        self.paces: dict[int, Pacing] = {}
        self.shows: set[int] = set()
        self.chosen: list[tuple[Any, ...]] = []
        self.pictures_until_failure = -1
        self.loop = PixelLoop(canvas, self._choose, self._on_frame)

    def _choose(self, width, height, fps, bitrate, chroma, failed):
        self.chosen.append((width, height, chroma, set(failed)))
        if self.pictures_until_failure >= 0 and "failing" not in failed:
            return Failing(width, height, self.pictures_until_failure)
        if "libx264" in failed:
            raise EncoderError("none is left")
        return open_rung("libx264", width, height, fps, bitrate, chroma)

    def _on_frame(self, clients, header, unit):
        for client in clients:
            self.frames[client].append((header, unit))
            if client in self.shows:
                self.paces[client].shown(header.sequence, time.monotonic())

    def join(self, client=1, *, shows=True, refine=False, **wishes) -> list[tuple[Any, Any]]:
        """Add a client; return the frames that it gets, the first of which has come."""
        self.paces[client] = Pacing(bitrate=40e6)
        frames = self.frames[client] = []
        if shows:
            self.shows.add(client)
        sink = Sink(client, self.paces[client], refine=refine, **wishes)
        self.do(lambda: self.loop.add(sink))
        self.until(lambda: frames)
        return frames

    def do(self, job):
        return self.loop.post(job).result(WAIT_S)

    def pan(self, intent=0) -> None:
        """Move the camera, as an intent."""

        def move():
            camera = self.viewer.scene.camera
            camera.center = (camera.center[0], camera.center[1] + 1, camera.center[2])
            self.loop.contains(intent)

        self.do(move)

    @staticmethod
    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.002)


@pytest.fixture
def bench(canvas, gradient) -> Bench:
    return Bench(canvas, gradient)


@pytest.fixture
def run(bench) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run the loop here, as it wants to be, and a story of what others do elsewhere."""
    with ThreadPoolExecutor(1) as others:

        def run(story: Callable[[], None]) -> None:
            def tell() -> None:
                try:
                    story()
                finally:
                    bench.loop.stop()

            told = others.submit(tell)
            try:
                bench.loop.run()
            finally:
                told.result(WAIT_S)

        yield run


def _decode(frames) -> list[np.ndarray]:
    decoder = CodecContext.create("h264", "r")
    pictures = []
    for _, unit in frames:
        pictures += [
            frame.to_ndarray(format="rgb24") for frame in decoder.decode(Packet(unit.data))
        ]
    pictures += [frame.to_ndarray(format="rgb24") for frame in decoder.decode(None)]
    return pictures


def test_a_joining_client_gets_a_keyframe_and_then_only_changes(bench, run):
    def story():
        frames = bench.join()
        header, unit = frames[0]
        assert header.keyframe and unit.keyframe
        assert (header.width, header.height, header.codec, header.chroma) == (
            320,
            240,
            "h264",
            "420",
        )
        draws = bench.do(lambda: bench.loop.stats).draws
        for _ in range(20):  # turns of the loop
            bench.do(lambda: None)
        assert len(frames) == 1
        assert bench.do(lambda: bench.loop.stats).draws == draws

        bench.pan(intent=7)
        bench.until(lambda: len(frames) == 2)
        header = frames[1][0]
        assert not header.keyframe
        assert header.intent == 7
        assert header.sequence > frames[0][0].sequence
        assert header.rendered <= header.encoded <= header.sent
        camera = bench.viewer.scene.camera
        assert header.camera == (*camera.center, camera.zoom, *camera.angles)

        pictures = _decode(frames)
        shown = bench.do(bench.loop.screenshot)
        assert len(pictures) == 2
        assert np.abs(pictures[1].astype(int) - shown).mean() < 4

    run(story)


def test_pictures_come_no_faster_than_wanted(bench, run):
    def story():
        frames = bench.join()
        bench.do(lambda: setattr(bench.paces[1], "fps", 10))
        began = time.monotonic()
        for intent in range(1, 30):
            bench.pan(intent)
            time.sleep(0.01)
        bench.until(lambda: frames[-1][0].intent == 29)
        assert len(frames) <= 3 + 10 * (time.monotonic() - began)

    run(story)


def test_what_cannot_be_sent_is_not_drawn(bench, run):
    def story():
        frames = bench.join(shows=False)
        bench.pan()
        bench.until(lambda: len(frames) == 2)  # as many as may be under way
        draws = bench.do(lambda: bench.loop.stats).draws
        for intent in range(1, 20):
            bench.pan(intent)
        assert bench.do(lambda: bench.loop.stats).draws == draws
        assert len(frames) == 2
        bench.do(lambda: bench.paces[1].shown(frames[-1][0].sequence, time.monotonic()))
        bench.until(lambda: len(frames) == 3)
        assert frames[2][0].intent == 19
        assert bench.do(lambda: bench.loop.stats).draws == draws + 1

    run(story)


def test_clients_in_step_share_an_encoder_and_one_that_lags_gets_its_own(bench, run):
    def story():
        first = bench.join(1)
        slow = bench.join(2, shows=False)
        bench.until(lambda: first[-1][1] is slow[-1][1])
        assert len(bench.chosen) == 1
        bench.pan()
        bench.until(lambda: len(slow) == 2)
        assert first[-1][1] is slow[-1][1]

        for intent in range(1, 4):  # the slow one has shown nothing yet
            bench.pan(intent)
            bench.until(lambda n=intent: first[-1][0].intent == n)
        assert len(slow) == 2
        assert not first[-1][0].keyframe
        bench.do(lambda: bench.paces[2].shown(slow[-1][0].sequence, time.monotonic()))
        bench.until(lambda: len(slow) == 3)
        assert slow[2][0].keyframe
        assert slow[2][0].intent == 3
        assert len(bench.chosen) == 2
        assert len(_decode(first)) == len(first)

    run(story)


def test_one_drawing_serves_both_kinds_of_chroma(bench, run):
    def story():
        bench.join(1)
        draws = bench.do(lambda: bench.loop.stats).draws
        full = bench.join(2, chroma="444")
        assert full[0][0].chroma == "444"
        assert bench.do(lambda: bench.loop.stats).draws == draws
        assert bench.do(lambda: bench.loop.encoders) == {1: "libx264", 2: "libx264"}
        bench.do(lambda: bench.loop.remove(2))
        assert bench.do(lambda: bench.loop.encoders) == {1: "libx264"}

    run(story)


def test_a_failing_encoder_is_replaced_within_the_picture(bench, run):
    bench.pictures_until_failure = 1

    def story():
        frames = bench.join()
        assert frames[0][0].codec == "jpeg"
        bench.pan(intent=5)
        bench.until(lambda: len(frames) == 2)
        header = frames[1][0]
        assert (header.codec, header.keyframe, header.intent) == ("h264", True, 5)
        assert bench.chosen[1][3] == {"failing"}

    run(story)


def test_without_any_encoder_the_loop_ends_and_says_why(bench, run):
    bench.pictures_until_failure = 0
    bench.loop._streams._failed.add("libx264")

    def story():
        sink = Sink(1, Pacing())
        bench.loop.post(lambda: bench.loop.add(sink))
        bench.until(lambda: bench.loop._closed)
        with pytest.raises(ClosedError):
            bench.loop.post(lambda: None)

    with pytest.raises(EncoderError, match="none is left"):
        run(story)


def test_another_size_is_another_video(bench, run):
    def story():
        frames = bench.join()
        bench.do(lambda: bench.canvas.resize((201, 101)))
        bench.until(lambda: len(frames) == 2)
        header = frames[1][0]
        assert (header.width, header.height, header.keyframe) == (201, 101, True)
        assert _decode(frames[1:])[0].shape == (102, 202, 3)

    run(story)


def test_a_keyframe_comes_when_asked_for_even_if_nothing_changed(bench, run):
    def story():
        frames = bench.join()
        bench.do(lambda: bench.loop.want_keyframe(1))
        bench.until(lambda: len(frames) == 2)
        assert frames[1][0].keyframe
        assert len(_decode(frames[1:])) == 1

    run(story)


def test_a_scene_at_rest_is_shown_exactly_once(bench, run):
    def story():
        frames = bench.join(refine=True)
        bench.until(lambda: len(frames) == 2)
        header, unit = frames[1]
        assert (header.codec, header.chroma) == ("zstd", "rgb")
        still = np.frombuffer(decompress(unit.data), np.uint8).reshape(240, 320, 3)
        assert (still == bench.do(bench.loop.screenshot)).all()
        time.sleep(0.4)
        assert len(frames) == 2
        bench.pan()
        bench.until(lambda: len(frames) == 4)
        assert [header.codec for header, _ in frames[2:]] == ["h264", "zstd"]

    run(story)


def test_a_lost_context_costs_one_picture(bench, run):
    def story():
        frames = bench.join()
        bench.do(bench.canvas._context.close)
        bench.pan(intent=3)
        bench.until(lambda: len(frames) == 2)
        assert frames[1][0].intent == 3
        shown = bench.do(bench.loop.screenshot)
        assert np.abs(_decode(frames)[1].astype(int) - shown).mean() < 4

    run(story)


def test_a_context_that_is_lost_again_ends_the_loop(bench, run, monkeypatch):
    def story():
        bench.join()
        rebuild = bench.canvas.rebuild

        def rebuild_and_lose():
            rebuild()
            bench.canvas._context.close()

        monkeypatch.setattr(bench.canvas, "rebuild", rebuild_and_lose)
        bench.do(bench.canvas._context.close)
        bench.loop.post(lambda: bench.viewer.add_points([[1, 2]]))
        bench.until(lambda: bench.loop._closed)

    with pytest.raises(ContextError):
        run(story)
    monkeypatch.undo()
    bench.canvas.rebuild()


def test_jobs_run_in_order_in_the_loops_thread_and_answer(bench, run):
    ran = []

    def story():
        futures = [bench.loop.post(lambda n=n: ran.append(n)) for n in range(50)]
        assert bench.do(threading.get_ident) == loops_thread
        assert all(future.done() for future in futures)
        assert ran == list(range(50))
        with pytest.raises(ZeroDivisionError):
            bench.do(lambda: 1 / 0)
        bench.join()  # and the loop still runs

    loops_thread = threading.get_ident()
    run(story)


def test_what_was_posted_to_a_loop_that_ends_is_cancelled(bench):
    future = bench.loop.post(lambda: None)
    bench.loop.stop()
    bench.loop.run()
    assert future.cancelled()


def test_a_screenshot_needs_no_client(bench, run):
    def story():
        shown = bench.do(bench.loop.screenshot)
        assert shown.shape == (240, 320, 3)
        assert shown.max() > 100

    run(story)
