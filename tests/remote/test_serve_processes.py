"""A real `napari-streaming serve`, without a screen, and clients that decode what it sends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile

from napari_streaming.remote.client.client import SessionClient
from napari_streaming.remote.client.convert import Converter
from napari_streaming.remote.client.decoder import Decoder
from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire

PUBLISH = """
import numpy as np
import napari_streaming as ns
pub = ns.Publisher({url!r})
def show(half, t):
    plane = np.zeros((64, 64), np.uint8)
    plane[:, :32] = 255 * (half == "left")
    plane[:, 32:] = 255 * (half == "right")
    pub.image("live", plane, at={{"t": t}})
    return pub.flush(20)
"""


WITHOUT_QT = """
import sys
class NoQt:
    def find_spec(name, path=None, target=None):
        if name in ("PyQt6", "PySide6", "PyQt5", "PySide2"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoQt)
from napari_streaming.cli.main import main
main()
"""


class Served:
    """A server process, as a user starts it; or as if no Qt were installed."""

    def __init__(self, *arguments: Any, qt: bool = True) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        start = ["-m", "napari_streaming"] if qt else ["-c", WITHOUT_QT]
        listen = ["--listen", "ws://127.0.0.1:0#secret"]
        self.process = subprocess.Popen(
            [sys.executable, *start, "serve", *listen, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.said: dict[str, str] = {}
        while "Session" not in self.said:
            line = self.process.stdout.readline()
            assert line, "the server ended"
            name, _, value = line.partition("  ")
            self.said[name] = value.strip()

    @property
    def url(self) -> str:
        return self.said["Session"]

    def end(self) -> int:
        self.process.terminate()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status


class Looker:
    """A client that decodes what it gets and keeps the last picture.

    Attributes
    ----------
    damage : callable
        What becomes of a payload on its way to the decoder.
    """

    def __init__(self, url: str, width: int = 320, height: int = 240) -> None:
        self.snapshots: list[wire.Snapshot] = []
        self.got: list[Any] = []
        self.headers: list[wire.FrameHeader] = []
        self.states: list[str] = []
        self._frame: tuple[str, np.ndarray | None] = ("", None)
        self.asked = 0
        self.damage: Callable[[wire.FrameHeader, Any], Any] = lambda header, payload: payload
        self._converter = Converter()
        self._decoder = Decoder(self._on_decoded, self._on_need_keyframe)
        self.client = SessionClient(
            parse_session_url(url),
            on_snapshot=self.snapshots.append,
            on_message=self.got.append,
            on_frame=self._on_frame,
            on_state=self.states.append,
            hello=wire.Hello(token="", width=width, height=height),
        )
        self.client.start()

    def _on_frame(self, header: wire.FrameHeader, payload: memoryview) -> None:
        self.headers.append(header)
        self._decoder.put(header, self.damage(header, payload))

    def _on_decoded(self) -> None:
        frame = self._decoder.take()
        if frame is not None:
            self._frame = frame.header.codec, self._converter.bgra(frame)
            self.client.shown(frame.header.sequence)

    def _on_need_keyframe(self) -> None:
        self.asked += 1
        self.client.shown(self.headers[-1].sequence)
        self.client.need_keyframe()

    def set(self, **changes: Any) -> int:
        """Change attributes of the first layer; return the intent's id."""
        return self.client.send_intent("layer", changes, layer=self.snapshots[-1].layers[0].id)

    @property
    def picture(self) -> np.ndarray | None:
        """The last picture."""
        return self._frame[1]

    @property
    def still(self) -> np.ndarray | None:
        """The last picture, if it came without loss."""
        codec, picture = self._frame
        return picture if codec == "zstd" else None

    def brightness(self) -> tuple[float, float]:
        """Return how bright the left and the right of the picture's middle are."""
        assert self.picture is not None
        row = self.picture[self.picture.shape[0] // 2, :, :3].mean(axis=1)
        quarter = len(row) // 2 - 40, len(row) // 2 + 40
        return float(row[quarter[0]]), float(row[quarter[1]])

    def close(self) -> None:
        self.client.close()
        self._decoder.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def start(*arguments: Any, qt: bool = True) -> Served:
        made.append(Served(*arguments, qt=qt))
        return made[-1]

    yield start
    for one in made:
        assert one.end() == 0


@pytest.fixture
def look(until) -> Iterator[Callable[..., Looker]]:
    made: list[Looker] = []

    def start(url: str, *size: int) -> Looker:
        one = Looker(url, *size)
        made.append(one)
        until(lambda: one.picture is not None)
        return one

    yield start
    for one in made:
        one.close()


@pytest.fixture
def cells(tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.add.outer(np.arange(200), np.arange(300)).astype("u2"))
    return path


@pytest.mark.parametrize("qt", [True, False], ids=["with Qt", "without Qt"])
def test_what_a_pipeline_publishes_arrives_as_pixels_and_changes_them(
    serve, look, remote, until, qt
):
    served = serve("--receive", "tcp://127.0.0.1:0?listen", qt=qt)
    one = look(served.url)
    publisher = remote()
    publisher.tell(PUBLISH.format(url=served.said["Publish to"]))
    publisher.answer()
    assert publisher("show('left', 0)")
    until(lambda: any(isinstance(message, wire.LayerAdded) for message in one.got))
    added = next(message for message in one.got if isinstance(message, wire.LayerAdded))
    assert "live" in added.layer.attributes["name"]
    until(lambda: one.brightness()[0] > 200 and one.brightness()[1] < 50)
    assert publisher("show('right', 1)")
    until(lambda: one.brightness()[0] < 50 and one.brightness()[1] > 200)
    publisher.kill()
    assert one.states == ["connecting", "connected"]


@pytest.mark.parametrize("qt", [True, False], ids=["with Qt", "without Qt"])
def test_letters_are_drawn_with_qt_and_without(serve, look, cells, until, qt):
    served = serve(cells, qt=qt)
    one = look(served.url, 640, 480)
    until(lambda: one.still is not None)
    before = one.still

    def changed() -> tuple[int, int] | None:
        """Return how high and how wide is what differs from before."""
        still = one.still
        if still is None or (still == before).all():
            return None
        rows, columns = (still != before).any(axis=2).nonzero()
        return int(np.ptp(rows)), int(np.ptp(columns))

    one.client.send_intent(
        "scene", {"text_overlay_visible": True, "text_overlay_text": "day 3, 0.5 µm"}
    )
    height, width = until(changed)
    assert 10 <= height <= 32 and 90 <= width <= 140
    changes = {"scale_bar_visible": True, "axes_visible": True, "canvas_axes_visible": True}
    one.client.send_intent("scene", changes | {"current_slice_visible": True})
    until(lambda: (changed() or (0, 0))[1] > 400)
    assert one.states == ["connecting", "connected"]


LOOK = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.remote.test_serve_processes import Looker, wire
one = Looker(%r)
one.client.want(wire.Quality(chroma="444"))
"""


def test_of_a_client_that_is_killed_nothing_is_left(serve, look, remote, cells, until):
    served = serve(cells)
    server = psutil.Process(served.process.pid)
    one = look(served.url)

    def clients() -> int:
        stats = [message for message in one.got if isinstance(message, wire.Stats)]
        return stats[-1].clients if stats else 0

    def held() -> tuple[int, int]:
        return server.num_fds(), server.num_threads()

    until(lambda: one.headers[-1].codec == "zstd")
    until(lambda: clients() == 1)
    before = held()
    other = remote()
    other.tell(LOOK % served.url)
    other.answer()
    other.until("any(h.chroma == '444' for h in one.headers)")
    other.until("one.headers[-1].codec == 'zstd'")
    until(lambda: clients() == 2)
    assert held()[0] > before[0] and held()[1] > before[1]  # sockets, and an encoder's threads
    other.kill()
    until(lambda: clients() == 1)
    until(lambda: held() <= before)
    one.set(opacity=0.5)
    until(lambda: any(isinstance(message, wire.Accepted) for message in one.got))


def test_a_damaged_unit_costs_a_keyframe_that_is_asked_for_once(serve, look, cells, until):
    served = serve(cells)
    one = look(served.url)
    one.client.want(wire.Quality(refine=False))  # a still would mend the picture by itself
    until(lambda: len(one.headers) >= 2)
    count, damaged = len(one.headers), []

    def damage(header: wire.FrameHeader, payload: Any) -> Any:
        if damaged or header.keyframe:
            return payload
        damaged.append(header.sequence)
        return bytes(payload)[: len(payload) // 2]

    one.damage = damage
    asked = one.asked
    bright = one.brightness()[1]
    one.set(opacity=0.25)
    until(lambda: damaged)
    until(lambda: any(h.keyframe and h.codec == "h264" for h in one.headers[count:]))
    until(lambda: one.brightness()[1] < bright / 2)
    assert one.asked == asked + 1
    assert one.states == ["connecting", "connected"]


def test_one_pixel_and_8k(serve, look, cells, until):
    served = serve(cells)
    one = look(served.url)
    for width, height in ((1, 1), (7680, 4320), (2, 4001), (320, 240)):
        one.client.resize(width, height)
        until(lambda: one.picture.shape == (height, width, 4), timeout=60)  # noqa: B023
        intent = one.set(visible=width > 2)
        until(lambda: one.headers[-1].intent >= intent, timeout=60)  # noqa: B023
    until(lambda: one.brightness()[1] > 50)
    assert one.states == ["connecting", "connected"]


@pytest.mark.parametrize(
    ("target", "changes", "layer"),
    [
        ("layer", {"opacity": 0.5}, 77),
        ("layer", {"opacity": 0.5}, 0),
        ("layer", {"opacity": 3.0}, 1),
        ("layer", {"opacity": "half"}, 1),
        ("layer", {"colormap": [[0, 0, 0, 0, 0]]}, 1),
        ("layer", {"__class__": 1}, 1),
        ("layer", {"scale": [0.0, 0.0]}, 1),
        ("dims", {"point": [1.0] * 9}, 0),
        ("dims", {"order": [0, 0]}, 0),
        ("dims", {"ndisplay": 4}, 0),
        ("camera", {"zoom": 0.0}, 0),
        ("camera", {"zoom": 1e300}, 0),
        ("scene", {"selected": [77]}, 0),
        ("scene", {"grid_shape": [0, 0, 0]}, 0),
    ],
)
def test_wishes_that_cannot_be_are_refused_and_the_session_goes_on(
    looker, until, target, changes, layer
):
    until(lambda: looker.snapshots)
    number = looker.client.send_intent(target, changes, layer)
    kinds = (wire.Accepted, wire.Rejected)
    (answer,) = until(lambda: [m for m in looker.got if isinstance(m, kinds) and m.id == number])
    assert isinstance(answer, wire.Rejected) and answer.reason
    assert looker.states == ["connecting", "connected"]


@pytest.fixture(scope="module")
def looker(tmp_path_factory) -> Iterator[Looker]:
    """A client of one server for many tests."""
    path = tmp_path_factory.mktemp("cells") / "cells.tif"
    tifffile.imwrite(path, np.ones((8, 9), "u1"))
    served = Served(path)
    one = Looker(served.url)
    yield one
    one.close()
    assert served.end() == 0
