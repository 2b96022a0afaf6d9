from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from napari_streaming.remote.client.client import SessionClient
from napari_streaming.remote.server.server import SessionServer
from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire
from napari_streaming.wire.session import view_token

TOKEN = "the-token"  # noqa: S105


class SmallStage:
    """A stage with one layer, whose opacity can be changed, in a thread of its own."""

    def __init__(self) -> None:
        self.opacity = 1.0
        self.calls: list[tuple[Any, ...]] = []
        self.pacings: dict[int, Any] = {}
        self.server: SessionServer | None = None
        self.threads: set[int] = set()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def post(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in list(self.calls) if call[0] == name]

    def show(self, *clients: int, nbytes: int = 1000, sequence: int = 0, intent: int = 0) -> None:
        """Send a frame as a render loop does."""

        def job() -> None:
            header = wire.FrameHeader(
                sequence=sequence, width=4, height=2, codec="jpeg", intent=intent
            )
            for client in clients:
                self.pacings[client].sent(sequence, nbytes, 0.0)
            self.server.send_frame(clients, header, b"x" * nbytes)

        self.post(job)

    # ---- what the server calls

    def _note(self, *call: Any) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append(call)

    def snapshot(self) -> wire.Snapshot:
        self._note("snapshot")
        return wire.Snapshot(
            layers=(
                wire.Layer(
                    id=1,
                    kind="image",
                    ndim=2,
                    shape=(4, 4),
                    dtype="<u2",
                    attributes={"opacity": self.opacity},
                ),
            ),
            dims=wire.Dims(
                ndim=2,
                ndisplay=2,
                point=(0, 0),
                range=((0, 3, 1), (0, 3, 1)),
                order=(0, 1),
                axis_labels=("y", "x"),
            ),
            camera=wire.Camera(center=(0, 0, 0), zoom=1, angles=(0, 0, 90)),
            canvas=wire.Canvas(width=640, height=480),
        )

    def add_client(self, client: int, pacing: Any, codecs: tuple[str, ...]) -> None:
        self.pacings[client] = pacing
        self._note("add", client, codecs)

    def remove_client(self, client: int) -> None:
        self.pacings.pop(client)
        self._note("remove", client)

    def need_keyframe(self, client: int) -> None:
        self._note("keyframe", client)

    def quality(self, client: int, wish: wire.Quality) -> None:
        self._note("quality", client, wish)

    def credit(self, client: int) -> None:
        self._note("credit", client)

    def input(self, client: int, message: wire.Input) -> None:
        self._note("input", client, message)

    def intent(self, client: int, message: wire.Intent) -> wire.Accepted | wire.Rejected:
        self._note("intent", client, message)
        opacity = message.changes.get("opacity")
        if message.layer != 1 or not isinstance(opacity, float):
            return wire.Rejected(message.id, "no such layer or attribute")
        self.opacity = min(opacity, 0.5)
        self.server.broadcast(wire.LayerChanged(1, {"opacity": self.opacity}))
        return wire.Accepted(message.id, {"opacity": self.opacity})

    def command(self, client: int, message: wire.Command) -> wire.Reply:
        self._note("command", client, message)
        return wire.Reply(id=message.id, values=message.arguments, data=b"picture")


class Watcher:
    """A client that notes what comes, and shows each frame at once."""

    def __init__(self, url: Any, *, shows: bool = True, **about: Any) -> None:
        self.snapshots, self.got, self.frames, self.states = [], [], [], []
        self.shows = shows
        self.client = SessionClient(
            url,
            on_snapshot=self.snapshots.append,
            on_message=self.got.append,
            on_frame=self._on_frame,
            on_state=self.states.append,
            hello=wire.Hello(token="", **about),
        )
        self.client.start()

    def _on_frame(self, header: wire.FrameHeader, payload: memoryview) -> None:
        self.frames.append((header, len(payload)))
        if self.shows:
            self.client.shown(header.sequence)

    def messages(self, kind: type) -> list[Any]:
        return [message for message in list(self.got) if isinstance(message, kind)]

    @property
    def controller(self) -> Any:
        return (self.messages(wire.Controller) or [None])[-1]

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""


class Stranger:
    """A connection whose bytes a test writes itself."""

    def __init__(self, url: Any, path: str = "state", **options: Any) -> None:
        options = {"proxy": None, "compression": None, "max_size": None} | options
        self.socket = connect(f"ws://127.0.0.1:{url.port}/{path}", **options)

    def say(self, message: Any) -> None:
        self.socket.send(message if isinstance(message, bytes | str) else wire.pack(message))

    def hear(self) -> Any:
        return wire.unpack_from_server(self.socket.recv(timeout=10))

    def hear_of(self, kind: type) -> Any:
        while not isinstance(message := self.hear(), kind):
            pass
        return message

    def greet(self, **about: Any) -> Any:
        self.say(wire.Hello(**({"token": TOKEN} | about)))
        return self.hear_of(wire.Welcome)


@pytest.fixture
def stage() -> Iterator[SmallStage]:
    made = SmallStage()
    yield made
    made.close()


@pytest.fixture
def server(stage) -> Iterator[SessionServer]:
    url = parse_session_url("ws://127.0.0.1:0", listen=True)
    made = stage.server = SessionServer(url, TOKEN, stage, software="test/1")
    made.start()
    yield made
    made.close()


@pytest.fixture
def watcher(server, until) -> Iterator[Callable[..., Watcher]]:
    """Make clients that are connected, by default to steer."""
    made: list[Watcher] = []

    def make(*, token: str = TOKEN, wait: bool = True, url: Any = None, **about: Any) -> Watcher:
        one = Watcher(url or server.url.with_token(token), **about)
        made.append(one)
        if wait:
            until(lambda: one.snapshots and one.controller)
        return one

    yield make
    for one in made:
        one.client.close()


@pytest.fixture
def stranger(server) -> Iterator[Callable[..., Stranger]]:
    """Make raw connections."""
    made: list[Stranger] = []

    def make(path: str = "state", **options: Any) -> Stranger:
        made.append(Stranger(server.url, path, **options))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


@pytest.fixture
def viewer_token() -> str:
    return view_token(TOKEN)
