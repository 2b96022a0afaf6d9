"""The sockets of a remote session: one port, two WebSockets for each client, one thread.

The scene and its pictures live in another thread, the *stage*. Neither thread ever waits for the
other, and a client that is slow has only its own queue to fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from msgspec.structs import replace as with_fields
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from napari_streaming.errors import (
    AddressInUseError,
    ClosedError,
    ProtocolError,
    StateError,
    TransportError,
)
from napari_streaming.remote.link import Link, TooSlowError, writing
from napari_streaming.remote.server.door import GOODBYE, Door, dismiss, octets
from napari_streaming.remote.server.inbox import Work
from napari_streaming.remote.server.roster import Member, Roster
from napari_streaming.remote.server.stage import Stage
from napari_streaming.transport.tls import refuse_plain_text, server_context
from napari_streaming.uri import StreamURL
from napari_streaming.wire import remote as wire
from napari_streaming.wire.codec import Buffer

__all__ = ["SessionServer"]

T = TypeVar("T")

_SILENCE = 15.0  # seconds
_GOING_AWAY, _NORMAL = 1001, 1000  # RFC 6455, section 7.4.1
_FOR_VIEWERS = ("screenshot",)


class SessionServer:
    """Serves a stage to clients.

    Parameters
    ----------
    url : StreamURL
        Where to listen, as :func:`napari_streaming.uri.parse_session_url` returns it with
        ``listen=True``; port 0 is any that is free.
    token : str
        What a client must know to steer.
    stage : Stage
    software : str, optional
        Told to clients.
    """

    def __init__(self, url: StreamURL, token: str, stage: Stage, *, software: str = "") -> None:
        if not token:
            raise TransportError("a session needs a token")
        refuse_plain_text(url)
        self._url = url.with_token(token)
        self._context = server_context(url) if url.scheme == "wss" else None
        self._stage = stage
        self._software = software
        self._roster = Roster(token)
        self._states: dict[Member, Link] = {}
        self._pixels: dict[Member, Link] = {}
        self._door = Door()
        self._pictures = ("", 0.0, 0.0)
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="session server", daemon=True)
        self._started: Future[None] = Future()

    # ---- for other threads -----------------------------------------------------------

    @property
    def url(self) -> StreamURL:
        """Where it listens, with its port and token."""
        return self._url

    def start(self) -> None:
        """Listen.

        Raises
        ------
        TransportError
            The address cannot be used.
        """
        self._thread.start()
        try:
            self._started.result()
        except OSError as error:
            where = self._url.redacted()
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(f"{where}: somebody else listens there") from None
            raise TransportError(f"cannot listen at {where}: {error}") from None

    def close(self) -> None:
        """Tell all clients that this is the end, and free everything."""
        if not self._thread.is_alive():
            return
        self._call(self._ending.set)
        self._thread.join()

    def broadcast(self, message: wire.FromServer) -> None:
        """Send a message to all clients; from the stage's thread."""
        self._call(self._broadcast, wire.pack(message))

    def tell(self, client: int, message: wire.FromServer) -> None:
        """Send a message to one client, if it is there; from any thread."""
        self._call(self._tell, client, wire.pack(message))

    def send_frame(self, clients: Iterable[int], header: wire.FrameHeader, payload: Buffer) -> None:
        """Send a picture to some clients; from any thread. Its time of sending is set here."""
        self._call(self._send_frame, tuple(clients), header, payload)

    def describe(self, encoder: str, render_ms: float, encode_ms: float) -> None:
        """Say what pictures are made with and what one takes, for people."""
        self._pictures = (encoder, render_ms, encode_ms)

    def _call(self, job: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the server is closed, nobody listens
            self._loop.call_soon_threadsafe(job, *arguments)

    # ---- the thread of the sockets ---------------------------------------------------

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _serve(self) -> None:
        try:
            server = await self._door.open(self._url, self._context, self._handle)
        except OSError as error:
            self._started.set_exception(error)
            return
        if self._url.port == 0:
            self._url = replace(self._url, port=next(iter(server.sockets)).getsockname()[1])
        self._started.set_result(None)
        clock = asyncio.create_task(self._keep_time())
        await self._ending.wait()
        clock.cancel()
        await asyncio.gather(
            *(
                dismiss(connection, "end", "the server ends", _GOING_AWAY)
                for connection in server.connections
            )
        )
        server.close()
        await server.wait_closed()

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        is_state = connection.request.path == "/state"
        try:
            await (self._on_state if is_state else self._on_pixels)(connection)
        except ProtocolError as error:
            await self._door.refuse(connection, error)
        except ClosedError as error:  # of the stage
            await dismiss(connection, "end", str(error), _GOING_AWAY)
        except (ConnectionClosed, TooSlowError):
            return

    # ---- /state ----------------------------------------------------------------------

    async def _on_state(self, connection: ServerConnection) -> None:
        hello = await self._door.first(connection, wire.Hello, wire.unpack_from_client)
        member, is_old = self._roster.admit(hello)
        if member in self._states:  # its old connection is broken, and only it knows
            self._drop(member)
        link = Link(connection)
        self._states[member] = link
        steers = member is self._roster.controller
        link.put(
            wire.pack(
                wire.Welcome(
                    session=member.session,
                    client=member.number,
                    role="control" if steers else "view",
                    software=self._software,
                    encoder=self._pictures[0],
                    resumed=is_old,
                )
            )
        )
        self._stage.post(lambda: self._call(self._begin, member, link, self._stage.snapshot()))
        self._announce(member if steers else None)
        try:
            async with writing(link):
                await self._listen_to(member, connection, link)
        finally:
            if self._states.get(member) is link:
                self._lose(member, for_good=connection.close_code == _NORMAL)

    def _begin(self, member: Member, link: Link, snapshot: wire.Snapshot) -> None:
        if self._states.get(member) is link:
            link.put(wire.pack(snapshot))
            link.put(wire.pack(self._roster.who()))
            link.is_live = True

    async def _listen_to(self, member: Member, connection: ServerConnection, link: Link) -> None:
        while True:
            try:
                async with asyncio.timeout(_SILENCE):
                    data = octets(await connection.recv())
            except TimeoutError:
                link.abort()
                return
            self._take(member, link, wire.unpack_from_client(data))

    def _take(self, member: Member, link: Link, message: wire.FromClient) -> None:
        match message:
            case wire.Ping():
                link.put(wire.pack(wire.Pong(message.time, time.monotonic())))
            case wire.TakeControl():
                self._settle(member, self._roster.take(member, time.monotonic()))
            case wire.GiveControl():
                self._settle(member, self._roster.give(member, message.client))
            case wire.Quality():
                self._hand_on(member, message)
            case wire.Hello():
                raise StateError("Hello twice")
            case _:
                self._obey(member, link, message)

    def _obey(
        self, member: Member, link: Link, message: wire.Intent | wire.Input | wire.Command
    ) -> None:
        """Hand on what the controller wants; tell others that they do not steer."""
        member.check_id(message.id)
        if isinstance(message, wire.Resize):
            member.resize(message)
        steers = member is self._roster.controller
        reason = f"{self._roster.who().name or 'nobody'} steers this session"
        if steers or (isinstance(message, wire.Command) and message.name in _FOR_VIEWERS):
            self._hand_on(member, message)
        elif isinstance(message, wire.Intent):
            link.put(wire.pack(wire.Rejected(message.id, reason)))
        elif isinstance(message, wire.Command):
            link.put(wire.pack(wire.Reply(id=message.id, error=reason)))

    def _settle(self, member: Member, problem: str) -> None:
        """Tell all who steers now, or one why it cannot be."""
        if problem:
            self._tell(member.number, wire.pack(wire.Notice("warning", problem)))
        else:
            self._announce(self._roster.controller)

    def _announce(self, steers_newly: Member | None) -> None:
        """Tell all who steers; all pictures take the size of who does newly."""
        self._broadcast(wire.pack(self._roster.who()))
        if steers_newly is not None:
            self._hand_on(steers_newly, steers_newly.size)

    # ---- /pixels ---------------------------------------------------------------------

    async def _on_pixels(self, connection: ServerConnection) -> None:
        attach = await self._door.first(connection, wire.Attach, wire.unpack_on_pixels)
        member = self._roster.find(attach.session)
        if member is None or member not in self._states:
            raise StateError("no such session, or its state is not connected")
        if member in self._pixels:
            self._pixels[member].abort()
        link = self._pixels[member] = Link(connection)
        self._stage.post(
            lambda: self._stage.add_client(member.number, member.new_pace(), member.codecs)
        )
        try:
            async with writing(link):
                while True:
                    message = wire.unpack_on_pixels(octets(await connection.recv()))
                    if isinstance(message, wire.Attach):
                        raise StateError("Attach twice")
                    if self._pixels.get(member) is not link:  # the rest of an older connection
                        return
                    self._hand_on(member, message)
        finally:
            if self._pixels.get(member) is link:
                self._forget_pixels(member)
                # Both or none: a client whose pictures broke makes two new connections.
                if member in self._states and connection.close_code != _NORMAL:
                    self._states[member].abort()

    def _forget_pixels(self, member: Member) -> None:
        self._pixels.pop(member, None)
        self._stage.post(lambda: self._stage.remove_client(member.number))

    def _send_frame(
        self, clients: tuple[int, ...], header: wire.FrameHeader, payload: Buffer
    ) -> None:
        now = time.monotonic()
        message = b"".join(wire.pack_frame(with_fields(header, sent=now), payload))
        for number in clients:
            member = self._roster.members.get(number)
            if member in self._pixels:
                self._pixels[member].put(message)
                member.count(len(message))

    # ---- both ------------------------------------------------------------------------

    def _hand_on(self, member: Member, message: Work) -> None:
        """Have the stage take in a message."""
        if member.inbox.put(message, time.monotonic()):
            self._stage.post(lambda: self._work(member))

    def _work(self, member: Member) -> None:
        """Take in the next that waits; in the stage's thread."""
        found = member.inbox.take()
        if found is None:
            return
        try:
            self._do(member, *found)
        except StateError as error:
            self._call(self._expel, member, error)
        finally:
            if member.inbox:
                self._stage.post(lambda: self._work(member))

    def _do(self, member: Member, message: Work, now: float) -> None:
        match message:
            case wire.Intent():
                self.tell(member.number, self._stage.intent(member.number, message))
            case wire.Command():
                self.tell(member.number, self._stage.command(member.number, message))
            case wire.Quality():
                member.want(message)
                self._stage.quality(member.number, message)
            case wire.Shown():
                member.pacing.shown(message.sequence, now)
                self._stage.credit(member.number)
            case wire.NeedKeyframe():
                self._stage.need_keyframe(member.number)
            case _:
                self._stage.input(member.number, message)

    def _expel(self, member: Member, error: ProtocolError) -> None:
        self._tell(member.number, wire.pack(wire.Reject(error.code, str(error))))
        self._loop.call_later(GOODBYE, self._drop, member)

    def _broadcast(self, message: bytes) -> None:
        for link in list(self._states.values()):
            if link.is_live:
                link.put(message)

    def _tell(self, client: int, message: bytes) -> None:
        member = self._roster.members.get(client)
        if member in self._states:
            self._states[member].put(message)

    def _drop(self, member: Member) -> None:
        """End a member's connections."""
        if member in self._states:
            self._states.pop(member).abort()
        if member in self._pixels:
            self._pixels[member].abort()
            self._forget_pixels(member)

    def _lose(self, member: Member, *, for_good: bool) -> None:
        # Not with an abort: whoever broke the protocol is told so over this connection.
        del self._states[member]
        self._drop(member)
        before = self._roster.controller
        if for_good:
            self._roster.remove(member)
        else:
            self._roster.lose(member, time.monotonic())
        steers = self._roster.controller
        self._announce(steers if steers is not before else None)

    async def _keep_time(self) -> None:
        """Each second, look who did not come back, and tell all how it goes."""
        while True:
            await asyncio.sleep(1.0)
            before = self._roster.controller
            self._roster.tick(time.monotonic())
            if self._roster.controller is not before:
                self._announce(self._roster.controller)
            for member in self._pixels:
                self._tell(member.number, wire.pack(self._stats(member)))

    def _stats(self, member: Member) -> wire.Stats:
        frames, nbytes = member.take_traffic()
        encoder, render_ms, encode_ms = self._pictures
        return wire.Stats(
            encoder=encoder,
            fps=frames,
            bitrate=nbytes * 8,
            render_ms=render_ms,
            encode_ms=encode_ms,
            clients=len(self._states),
        )
