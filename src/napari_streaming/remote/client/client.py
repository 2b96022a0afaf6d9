"""A client's two connections to a session: one thread, which comes back when they break."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NoReturn

from msgspec.structs import replace as with_fields
from websockets.asyncio.client import ClientConnection, connect

from napari_streaming.errors import ClosedError, StateError
from napari_streaming.remote.client.failures import LostError, RefusedError, in_words
from napari_streaming.remote.link import QUIET, Link, writing
from napari_streaming.transport.tls import client_context, refuse_plain_text
from napari_streaming.uri import StreamURL
from napari_streaming.wire import remote as wire
from napari_streaming.wire.attributes import Value
from napari_streaming.wire.frames import HEADER_SIZE, MAX_PAYLOAD

__all__ = ["SessionClient"]

_WITHIN = 10.0  # seconds, to connect and be welcomed
_PING_EACH, _SILENCE = 1.0, 6.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds


class SessionClient:
    """Takes part in a session.

    Callbacks come in a thread of the client's own, and must not wait.

    Parameters
    ----------
    url : StreamURL
        Of the session, with its token, as :func:`napari_streaming.uri.parse_session_url` returns.
    on_snapshot : callable
        Called with the whole :class:`~napari_streaming.wire.remote.Snapshot` each time that a
        connection is made.
    on_message : callable
        Called with every other message from the server that is not about the connection.
    on_frame : callable
        Called with the header and the payload of each frame. Each must come to be
        :meth:`shown`, or passed over for a later one that is.
    on_state : callable
        Called with "connecting", "connected", "lost: …" (it tries again by itself) or
        "refused: …" (it does not).
    hello : Hello, optional
        What to say of this client; its token and session are filled in.

    Raises
    ------
    TransportError
        The connection would not be encrypted through a network, or the certificate that the URL
        names cannot be read.
    """

    def __init__(
        self,
        url: StreamURL,
        *,
        on_snapshot: Callable[[wire.Snapshot], None],
        on_message: Callable[[wire.FromServer], None],
        on_frame: Callable[[wire.FrameHeader, memoryview], None],
        on_state: Callable[[str], None],
        hello: wire.Hello | None = None,
    ) -> None:
        refuse_plain_text(url)
        self._context = client_context(url) if url.scheme == "wss" else None
        self._url = url
        self._on_snapshot, self._on_message = on_snapshot, on_message
        self._on_frame, self._on_state = on_frame, on_state
        self._about = hello or wire.Hello(token="")
        self._size = (self._about.width, self._about.height, self._about.ratio)
        self._told_size = self._size
        self._quality: wire.Quality | None = None
        self._session = ""
        self._number = self._count = 0
        self._clock_offset, self._round_trip = 0.0, float("inf")
        self._state: Link | None = None
        self._pixels: Link | None = None
        self._frames = range(0)  # that came over this connection, by their sequence numbers
        self._replies: dict[int, Future[wire.Reply]] = {}
        self._lock = threading.Lock()  # ids must go out in their order
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="session client", daemon=True)

    # ---- for other threads -----------------------------------------------------------

    @property
    def number(self) -> int:
        """What the server calls this client; 0: it was never welcomed."""
        return self._number

    @property
    def round_trip(self) -> float:
        """The shortest round trip of a Ping, in seconds; infinite: none yet."""
        return self._round_trip

    @property
    def clock_offset(self) -> float:
        """What to add to ``time.monotonic()`` here to get the server's clock, in seconds."""
        return self._clock_offset

    def start(self) -> None:
        """Connect, and go on trying."""
        self._thread.start()

    def close(self) -> None:
        """Leave for good; callbacks end. Not to be called from a callback."""
        if self._thread.is_alive():
            self._call(self._ending.set)
            self._thread.join()

    def send_intent(
        self, target: wire.IntentTarget, changes: dict[str, Value], layer: int = 0
    ) -> int:
        """Ask for changes; return the intent's id, 0: not connected, and nothing was sent."""
        return self._send(lambda i: wire.Intent(i, target, changes, layer))

    def send_input(self, make: Callable[[int], wire.Input]) -> int:
        """Send what the user did, made with an id; return that as :meth:`send_intent` does."""
        return self._send(make)

    def resize(self, width: int, height: int, ratio: float = 1.0) -> int:
        """Tell the size of the canvas, in device pixels; it is told again after a reconnect."""
        self._size = (width, height, ratio)
        return self._send(lambda i: wire.Resize(i, width, height, ratio))

    def want(self, quality: wire.Quality) -> None:
        """Tell how pictures are to be; it is told again after a reconnect."""
        self._quality = quality
        self._call(self._put, quality)

    def command(self, name: wire.CommandName, **arguments: Value) -> Future[wire.Reply]:
        """Have something done.

        Returns
        -------
        Future of Reply
            Its exception is ClosedError if the connection is not there, or breaks before.
        """
        future: Future[wire.Reply] = Future()

        def make(identity: int) -> wire.Command:
            self._replies[identity] = future
            return wire.Command(identity, name, arguments)

        if not self._send(make):
            future.set_exception(ClosedError("the session is not connected"))
        return future

    def take_control(self) -> None:
        """Ask to steer."""
        self._call(self._put, wire.TakeControl())

    def give_control(self, client: int) -> None:
        """Let another client steer; 0 declines whoever asks."""
        self._call(self._put, wire.GiveControl(client))

    def shown(self, sequence: int) -> None:
        """Note that a frame was shown, and all before it were or never will be."""
        self._call(self._say_shown, sequence)

    def need_keyframe(self) -> None:
        """Ask for a picture that needs no other."""
        self._call(self._put_on_pixels, wire.NeedKeyframe())

    def _send(self, make: Callable[[int], wire.Intent | wire.Input | wire.Command]) -> int:
        with self._lock:
            if self._state is None:
                return 0
            self._count += 1
            identity = self._number << 32 | self._count
            self._call(self._put, make(identity))
            return identity

    def _call(self, job: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the client is closed
            self._loop.call_soon_threadsafe(job, *arguments)

    # ---- the client's thread ---------------------------------------------------------

    def _put(self, message: wire.FromClient) -> None:
        if self._state is not None:
            self._state.put(wire.pack(message))

    def _put_on_pixels(self, message: wire.OnPixels) -> None:
        if self._pixels is not None:
            self._pixels.put(wire.pack(message))

    def _say_shown(self, sequence: int) -> None:
        if sequence in self._frames:  # one of an earlier connection is nobody's any more
            self._put_on_pixels(wire.Shown(sequence))

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._until_closed())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _until_closed(self) -> None:
        trying = asyncio.create_task(self._keep_trying())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait((trying, ending), return_when=asyncio.FIRST_COMPLETED)
        trying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trying
        await ending  # refused: the thread stays until it is closed, so that calls are harmless

    async def _keep_trying(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._on_state("connecting")
            began = time.monotonic()
            try:
                await self._take_part()
            except RefusedError as error:
                self._on_state(f"refused: {error}")
                return
            except LostError as error:
                self._on_state(f"lost: {error}")
            if time.monotonic() - began > _WITHIN:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _take_part(self) -> None:
        """Be in the session until the connection breaks; never return otherwise."""
        with in_words():
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(_WITHIN):
                    state, pixels = await self._connect(stack)
                    await self._greet(state, pixels)
                await self._converse(state, pixels)

    async def _connect(
        self, stack: contextlib.AsyncExitStack
    ) -> tuple[ClientConnection, ClientConnection]:
        """Open both connections at the same time: the way may be long."""
        host = f"[{self._url.host}]" if ":" in self._url.host else self._url.host
        where = f"{self._url.scheme}://{host}:{self._url.port}"
        common: dict[str, Any] = {"ssl": self._context} if self._context else {}
        common |= {"proxy": None, "compression": None, "ping_interval": None, "logger": QUIET}
        common |= {"user_agent_header": None, "open_timeout": None, "close_timeout": 0.5}

        async def open_one(path: str, limit: int) -> ClientConnection:
            connection = connect(f"{where}/{path}", max_size=limit, **common)
            return await stack.enter_async_context(connection)

        state = asyncio.create_task(open_one("state", wire.MAX_TO_CLIENT))
        pixels = asyncio.create_task(open_one("pixels", MAX_PAYLOAD + HEADER_SIZE))
        try:
            return await state, await pixels
        finally:
            for task in (state, pixels):
                task.cancel()
            await asyncio.gather(state, pixels, return_exceptions=True)

    async def _greet(self, state: ClientConnection, pixels: ClientConnection) -> None:
        width, height, ratio = self._told_size = self._size
        hello = with_fields(
            self._about,
            token=self._url.token,
            resume=self._session,
            width=width,
            height=height,
            ratio=ratio,
        )
        await state.send(wire.pack(hello))
        welcome = await _receive(state)
        if not isinstance(welcome, wire.Welcome):
            raise StateError(f"{type(welcome).__name__} before Welcome")
        await pixels.send(wire.pack(wire.Attach(welcome.session)))
        self._session = welcome.session
        self._number = welcome.client

    async def _converse(self, state: ClientConnection, pixels: ClientConnection) -> None:
        to_state, to_pixels = Link(state), Link(pixels)
        try:
            async with writing(to_state), writing(to_pixels):
                self._pixels, self._frames = to_pixels, range(0)
                if self._quality is not None:
                    to_state.put(wire.pack(self._quality))
                with self._lock:
                    self._state = to_state
                if self._size != self._told_size:  # the window changed meanwhile
                    self.resize(*self._size)
                self._on_state("connected")
                tasks = [
                    asyncio.create_task(part)
                    for part in (
                        self._read_state(state),
                        self._read_pixels(pixels),
                        self._ping(to_state),
                    )
                ]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    results = await asyncio.gather(*tasks, return_exceptions=True)
                # A Reject says more than the connection that broke behind it.
                errors = [e for e in results if isinstance(e, Exception)]
                raise next((e for e in errors if isinstance(e, RefusedError)), errors[0])
        except asyncio.CancelledError:  # we leave for good, and say so with the code 1000
            await asyncio.gather(state.close(), pixels.close())
            raise
        finally:
            with self._lock:
                self._state = self._pixels = None
            self._fail_replies()

    def _fail_replies(self) -> None:
        for future in self._replies.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(ClosedError("the connection broke before the reply"))
        self._replies.clear()

    async def _read_state(self, connection: ClientConnection) -> NoReturn:
        while True:
            async with asyncio.timeout(_SILENCE):
                message = await _receive(connection)
            match message:
                case wire.Snapshot():
                    self._on_snapshot(message)
                case wire.Pong():
                    self._learn(message, time.monotonic())
                case wire.Reply():
                    future = self._replies.pop(message.id, None)
                    if future is not None and future.set_running_or_notify_cancel():
                        future.set_result(message)
                case wire.Welcome():
                    raise StateError("Welcome twice")
                case _:
                    self._on_message(message)

    async def _read_pixels(self, connection: ClientConnection) -> NoReturn:
        while True:
            data = await connection.recv()
            if isinstance(data, str):
                raise StateError("text on /pixels")
            if data[:4] == wire.SESSION_MAGIC:
                _refuse(wire.unpack_from_server(data))
            header, payload = wire.unpack_frame(data)
            first = self._frames.start if self._frames else header.sequence
            self._frames = range(first, header.sequence + 1)
            self._on_frame(header, payload)

    async def _ping(self, link: Link) -> NoReturn:
        while True:
            link.put(wire.pack(wire.Ping(time.monotonic())))
            await asyncio.sleep(_PING_EACH)

    def _learn(self, pong: wire.Pong, now: float) -> None:
        round_trip = now - pong.time
        if 0 <= round_trip <= self._round_trip:
            self._round_trip = round_trip
            self._clock_offset = pong.now - (pong.time + now) / 2


async def _receive(connection: ClientConnection) -> wire.FromServer:
    data = await connection.recv()
    if isinstance(data, str):
        raise StateError("text on /state")
    message = wire.unpack_from_server(data)
    if isinstance(message, wire.Reject):
        _refuse(message)
    return message


def _refuse(message: wire.FromServer) -> NoReturn:
    if not isinstance(message, wire.Reject):
        raise StateError(f"{type(message).__name__} on /pixels")
    raise RefusedError(message.reason or message.code)
