"""The thread between an endpoint and its user: handshakes, liveness, and one turn of work.

Publisher and receiver both drive their sockets through a :class:`Channel`. It shakes hands
with each peer, keeps sessions alive, and calls a :class:`Handler` with what is left: links
that open and close, messages that arrive, and a chance to send on every turn. All of the
handler's methods run in the channel's thread.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from napari_streaming.errors import ProtocolError, TransportError, VersionError
from napari_streaming.transport import runtime
from napari_streaming.transport.base import (
    Connected,
    Delivery,
    Event,
    HttpHandler,
    Lost,
    Received,
    Refused,
)
from napari_streaming.transport.registry import create_endpoint
from napari_streaming.transport.stranger import who_listens
from napari_streaming.uri import StreamURL, parse_url
from napari_streaming.wire.codec import Buffer, pack, unpack
from napari_streaming.wire.messages import Message, Peer
from napari_streaming.wire.session import Session, State

__all__ = ["Channel", "Handler", "Link"]

logger = logging.getLogger(__name__)

_TURN = 0.25
_FIRST_RETRY, _LAST_RETRY = 0.1, 2.0
_MAX_STRANGERS = 256
_PASTE_IT = "has no token: paste the whole URL that the other side gave, with what follows the #"


class Link:
    """One open session, as the handler sees it.

    Attributes
    ----------
    peer : Peer
        What the other side says of itself.
    session : Session
        For the clock offset and the round trip.
    """

    def __init__(self, channel: Channel, key: bytes, session: Session) -> None:
        assert session.peer is not None
        self.peer = session.peer
        self.session = session
        self._channel, self._key = channel, key

    @property
    def is_local(self) -> bool:
        """Whether both sides could share memory."""
        return self.peer.host == self._channel.me.host

    def send(self, message: Message, buffers: Sequence[Buffer] = ()) -> Delivery | None:
        """Send a message; None means: not now. Only in the channel's thread."""
        return self._channel.endpoint.send(self._key, [pack(message), *buffers])

    def fail(self, error: ProtocolError) -> None:
        """Close the session over an error of the peer's, and tell it so."""
        self.session.fail(error)


class Handler(Protocol):
    """What a channel calls, always in its own thread."""

    def opened(self, link: Link) -> None:
        """Take note of a new link."""

    def received(self, link: Link, message: Message, buffers: Sequence[Buffer]) -> None:
        """Take in a message.

        Raises
        ------
        ProtocolError
            The message breaks the protocol; the link closes.
        """

    def lost(self, link: Link, reason: str) -> None:
        """Take note that a link is gone."""

    def refused(self, reason: str) -> None:
        """Take note that a handshake failed, or that somebody sent junk."""

    def turn(self) -> float | None:
        """Send what may be sent. Called after every wake-up and a few times a second.

        Returns
        -------
        float or None
            Seconds until the next turn is wanted, if that is sooner.
        """


class Channel:
    """One URL, its thread and its sessions.

    Parameters
    ----------
    url : StreamURL
        Bound or connected to.
    me : Peer
        What this side says of itself.
    handler : Handler
        Called in the channel's thread.
    http : HttpHandler, optional
        Has pages for browsers, where a WebSocket URL listens.

    Raises
    ------
    TransportError
        The address cannot be used.
    """

    def __init__(
        self, url: StreamURL, me: Peer, handler: Handler, http: HttpHandler | None = None
    ) -> None:
        self.me = me
        self._handler = handler
        self._asked = url
        if url.listen:
            runtime.refuse_if_taken(url)
            if url.scheme != "memory":  # which nobody outside this process can reach
                url = url.with_token(url.token or runtime.new_token())
        else:
            url = _with_secret(url)
            if url.needs_token and not url.token:
                raise TransportError(f"{url} {_PASTE_IT}")
        self.endpoint = create_endpoint(url, http)
        try:
            self.endpoint.open()
            if url.listen and url.scheme != "memory":
                runtime.announce(self.url, me.role, me.software)
        except TransportError:
            self.endpoint.close()
            raise
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._links: dict[bytes, Link] = {}
        self._rejected: OrderedDict[bytes, None] = OrderedDict()
        self._retry_at: float | None = None
        self._retry_after = _FIRST_RETRY
        self._told = ""  # why the last session did not open
        self._answering = ""  # who, instead of one of ours
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"napari-streaming {self.url.address}", daemon=True
        )

    def start(self) -> None:
        """Begin to shake hands and to call the handler."""
        self._thread.start()

    @property
    def url(self) -> StreamURL:
        """Where, with the port that was really bound and with the token."""
        return self.endpoint.url

    def wake(self) -> None:
        """Ask for a turn, from any thread."""
        self.endpoint.wake()

    def close(self, timeout: float) -> None:
        """Stop the thread, waiting at most `timeout` seconds, and let go of the address."""
        self._closing.set()
        self.endpoint.wake()
        if threading.current_thread() is not self._thread:  # the garbage collector's choice
            self._thread.join(timeout)

    # ---- the thread ------------------------------------------------------------------

    def _run(self) -> None:
        next_tick = 0.0
        pause: float | None = None
        try:
            while not self._closing.is_set():
                for event in self.endpoint.poll(_TURN if pause is None else min(pause, _TURN)):
                    self._on(event)
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + _TURN
                    self._tick()
                pause = self._handler.turn()
        finally:
            if self.url.listen:
                runtime.withdraw(self.url)
            self.endpoint.close()
            if not self._closing.is_set():
                self._break_down(f"internal error: {sys.exc_info()[1]!r}")

    def _break_down(self, reason: str) -> None:
        """Say that nothing goes on here; the error itself goes to `threading.excepthook`."""
        for key in list(self._links):
            self._forget(key, reason)
        self._handler.refused(reason)

    def _on(self, event: Event) -> None:
        if isinstance(event, Connected):
            self._greet(event.peer)
        elif isinstance(event, Lost):
            if event.peer not in self._sessions and not self.url.listen:
                self._meet_silence()
            self._forget(event.peer, event.reason)
            self._retry_later()
        elif isinstance(event, Refused):
            self._handler.refused(event.reason)
        else:
            self._receive(event)

    def _greet(self, key: bytes) -> None:
        self._forget(key, "the connection was made anew")
        url = _with_secret(self._asked)  # a listener that started after us left it
        if not url.token and url.scheme != "memory":
            # It is about to leave it; unless it runs elsewhere, at the end of a tunnel.
            if self._retry_after > _FIRST_RETRY:
                self._refuse(
                    f"{self._stranger()} listens there, whose token is not known here: paste "
                    "the whole URL that it shows, with what follows the #; if it is no "
                    "napari-streaming, use another port or name"
                )
            self._retry_later()
            return
        self._sessions[key] = Session(self.me, listen=False, token=url.token, now=time.time())
        self._flush(key)

    def _receive(self, event: Received) -> None:
        key = event.peer
        session = self._sessions.get(key)
        if session is None:
            if not self.url.listen or key in self._rejected:
                return
            session = self._meet(key)
        try:
            message, buffers = unpack(event.frames)
            was_open = session.is_open
            message_for_us = session.receive(message, time.time())
            if session.is_open and not was_open:
                self._retry_after = _FIRST_RETRY
                self.endpoint.admit(key)
                self._told = self._answering = ""
                self._flush(key)  # before anything that the handler says
                self._links[key] = Link(self, key, session)
                self._handler.opened(self._links[key])
            if message_for_us is not None:
                self._handler.received(self._links[key], message_for_us, buffers)
        except ProtocolError as error:
            if isinstance(error, VersionError):
                error = VersionError(f"{error}{self._software()}")
            if session.state is not State.CLOSED:
                session.fail(error)
        self._flush(key)

    def _meet(self, key: bytes) -> Session:
        """Start a session with a peer that just spoke, and forget the oldest strangers."""
        session = Session(self.me, listen=True, token=self.url.token, now=time.time())
        self._sessions[key] = session
        strangers = [k for k in self._sessions if k not in self._links]
        for stranger in strangers[:-_MAX_STRANGERS]:
            del self._sessions[stranger]
            self.endpoint.dismiss(stranger)
        return session

    def _flush(self, key: bytes) -> None:
        """Send what a session has to say, and act if it closed."""
        session = self._sessions[key]
        for message in session.to_send():
            self.endpoint.send(key, [pack(message)])
        if session.state is State.CLOSED:
            if key in self._links:
                logger.warning("%s: %s", self.url.address, session.closed_because)
            else:
                self._refuse(session.closed_because)
            self._forget(key, session.closed_because)
            self._reject(key)
            self._retry_later()

    def _refuse(self, reason: str) -> None:
        """Tell the handler why there is no session, and the log if it is another reason."""
        self._handler.refused(reason)
        if reason != self._told:
            self._told = reason
            logger.warning("%s: %s", self.url.address, reason)

    def _meet_silence(self) -> None:
        """Say who answers in another language or not at all, unless it may just have died."""
        if self._retry_after == _FIRST_RETRY:
            return
        listing = runtime.find_listing(self._asked)
        if listing is not None:
            self._refuse(f"process {listing.pid} listens there, but does not answer")
        else:
            self._refuse(
                f"{self._stranger()} listens there, which is no napari-streaming: close it, or "
                "use another port or name"
            )

    def _stranger(self) -> str:
        """Return who listens at the other end; asked once, because it takes its time."""
        self._answering = self._answering or who_listens(self.url)
        return self._answering

    def _software(self) -> str:
        """Return the versions of both sides, in brackets, if the other one is known."""
        there = None if self.url.listen else runtime.find_listing(self._asked)
        if there is None:
            return f" (here is {self.me.software})"
        return f" (there is {there.software}, process {there.pid}; here is {self.me.software})"

    def _reject(self, key: bytes) -> None:
        """Ignore a peer from now on: not every transport can close the connection of one."""
        self.endpoint.dismiss(key)
        self._rejected[key] = None
        while len(self._rejected) > _MAX_STRANGERS:
            self._rejected.popitem(last=False)

    def _forget(self, key: bytes, reason: str) -> None:
        self._sessions.pop(key, None)
        link = self._links.pop(key, None)
        if link is not None:
            self._handler.lost(link, reason)

    def _tick(self) -> None:
        for key, session in list(self._sessions.items()):
            session.tick(time.time())
            self._flush(key)
        if self._retry_at is not None:
            if time.monotonic() >= self._retry_at:
                self._reconnect()
        elif not self.url.listen and not self._sessions and _with_secret(self._asked) != self.url:
            self._reconnect()

    def _retry_later(self) -> None:
        """Have a connecting endpoint try again, less and less often while nothing opens."""
        if not self.url.listen:
            self._retry_at = time.monotonic() + self._retry_after
            self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _reconnect(self) -> None:
        """Connect anew, with the secret of whoever listens there by now."""
        self._retry_at = None
        self.endpoint.reconnect(_with_secret(self._asked))


def _with_secret(url: StreamURL) -> StreamURL:
    """Return the URL as a listener on this machine left it for us, if there is one."""
    listing = None if url.token else runtime.find_listing(url)
    if listing is None:
        return url
    there = parse_url(listing.url)
    if there.scheme != url.scheme:
        return url
    if url.scheme == "tcp":
        return replace(url, token=there.token, curve=there.encrypted)
    return replace(url, token=there.token, cert=url.cert or there.cert)
