"""A client and a server that says what it must not: the client says so, and takes no harm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire
from napari_streaming.wire.frames import pack_frame

from .conftest import TOKEN, SmallStage

WELCOME = wire.pack(
    wire.Welcome(session="s", client=1, role="control", software="hostile/1", encoder="")
)
HEADER = wire.FrameHeader(sequence=1, width=4, height=2, codec="jpeg", keyframe=True)
FRAME = b"".join(bytes(part) for part in pack_frame(HEADER, b"x" * 10))


def with_bytes(start: int, *values: int) -> bytes:
    return FRAME[:start] + bytes(values) + FRAME[start + len(values) :]


class Hostile:
    """A server that says something wrong to the first who comes, and is good to the next.

    Parameters
    ----------
    on_state, on_pixels : bytes or str or None
        Said on a connection in its turn; None: all is well there.
    """

    def __init__(self, on_state: bytes | str | None, on_pixels: bytes | str | None) -> None:
        self._say = {"/state": [on_state], "/pixels": [on_pixels]}
        stage = SmallStage()
        self._snapshot = wire.pack(stage.snapshot())
        stage.close()
        self._server = serve(self._handle, "127.0.0.1", 0, compression=None)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        port = self._server.socket.getsockname()[1]
        self.url = parse_session_url(f"ws://127.0.0.1:{port}/session#{TOKEN}")

    def _handle(self, connection: ServerConnection) -> None:
        path = connection.request.path
        try:
            connection.recv()  # the Hello, or the Attach
            wrong = self._say[path].pop() if self._say[path] else None
            if wrong is not None:
                connection.send(wrong)
            elif path == "/state":
                connection.send(WELCOME)
                connection.send(self._snapshot)
            while True:
                connection.recv()
        except ConnectionClosed:
            return

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()


@pytest.fixture
def hostile() -> Iterator[Any]:
    made: list[Hostile] = []

    def start(on_state: bytes | str | None = None, on_pixels: bytes | str | None = None) -> Hostile:
        made.append(Hostile(on_state, on_pixels))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00" * 100,
        "text",
        WELCOME[:-3],
        WELCOME + b"\x00",
        wire.SESSION_MAGIC + b"\x01\x00" + b"\x91" * 10_000,
        wire.SESSION_MAGIC + b"\x01\x00\xdd\xff\xff\xff\xff",  # an array of four thousand million
        wire.SESSION_MAGIC + b"\x01\x00\xc6\xff\xff\xff\xff",  # as many bytes
        wire.pack(wire.Pong(1.0, 1.0)),
        bytes(wire.MAX_TO_CLIENT + 1),
    ],
    ids=lambda said: f"{said[:12]!r}…{len(said)}",
)
def test_what_makes_no_sense_as_an_answer_ends_the_connection_only(hostile, watcher, until, said):
    one = watcher(url=hostile(on_state=said).url, wait=False)
    until(lambda: one.snapshots)
    assert one.states[0] == "connecting" and one.states[1].startswith("lost: ")
    assert one.states[2:] == ["connecting", "connected"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        "text",
        FRAME[:50],
        FRAME[:-1],
        FRAME + b"\x00",
        with_bytes(0, *b"NOPE"),
        with_bytes(102, 0, 0),  # no width
        with_bytes(104, 0xFF, 0xFF),  # a height that no frame has
        with_bytes(106, 0xFF, 0xFF, 0xFF, 0xFF),  # a payload of four gigabytes
        with_bytes(110, 9),  # a codec that there is not
        with_bytes(46, *b"\x00\x00\x00\x00\x00\x00\xf8\x7f"),  # a camera at NaN
        wire.pack(wire.Pong(1.0, 1.0)),
    ],
    ids=lambda said: f"{said[:4]!r}…{len(said)}",
)
def test_a_hostile_frame_ends_the_connection_only(hostile, watcher, until, said):
    one = watcher(url=hostile(on_pixels=said).url, wait=False)
    until(lambda: len(one.snapshots) == 2)
    assert one.states[1] == "connected" and one.states[2].startswith("lost: ")
    assert one.states[3:5] == ["connecting", "connected"]  # and is lost again: it is never answered
    assert not one.frames


@pytest.mark.parametrize(
    ("on_state", "on_pixels"),
    [
        (wire.SESSION_MAGIC + b"\x02\x00\x80", None),
        (None, FRAME[:4] + b"\x02\x00" + FRAME[6:]),
    ],
)
def test_another_version_is_refused_and_not_tried_again(
    hostile, watcher, until, on_state, on_pixels
):
    one = watcher(url=hostile(on_state, on_pixels).url, wait=False)
    until(lambda: one.state.startswith("refused"))
    assert "version" in one.state


def test_a_refusal_of_a_code_that_is_new_is_shown(hostile, watcher, until):
    said = wire.pack(wire.Reject("tired", "the server sleeps at night"))
    one = watcher(url=hostile(on_state=said).url, wait=False)
    until(lambda: one.state == "refused: the server sleeps at night")
