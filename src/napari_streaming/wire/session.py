"""One session between two peers: handshake, liveness and clock, without any I/O.

The side that connected says Hello with its token; the side that listens answers Welcome or
Reject. From then on both may speak, each only what its role allows. The owner of a session
feeds it messages and the time, sends what :meth:`Session.to_send` returns, and throws it
away when it is closed: a new connection is a new session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from enum import Enum, auto
from urllib.parse import unquote

from napari_streaming.errors import ProtocolError, StateError
from napari_streaming.wire.messages import (
    Ack,
    Attached,
    Control,
    Declare,
    Elsewhere,
    End,
    Gap,
    Hello,
    Item,
    Message,
    Metric,
    Outline,
    Parameter,
    Peer,
    Ping,
    Pong,
    Problem,
    Progress,
    Reject,
    Running,
    Segment,
    SetParameter,
    Status,
    Subscribe,
    Want,
    Welcome,
)

__all__ = [
    "PING_INTERVAL",
    "TRANSITIONS",
    "Session",
    "State",
    "looks_on",
    "view_address",
    "view_token",
]

PING_INTERVAL = 1.0
"""Seconds between two Pings on an open session."""


class State(Enum):
    """Where a session stands."""

    NEW = auto()
    GREETING = auto()
    OPEN = auto()
    CLOSED = auto()


TRANSITIONS: dict[tuple[State, bool, type], State] = {
    # (state, whether this side listens, message received) -> next state
    (State.NEW, True, Hello): State.OPEN,
    (State.GREETING, False, Welcome): State.OPEN,
    (State.GREETING, False, Reject): State.CLOSED,
    (State.OPEN, False, Reject): State.CLOSED,
    (State.OPEN, True, Reject): State.CLOSED,
}

_SPOKEN_BY = {
    "publish": (
        Declare, Item, Metric, Status, Outline, Elsewhere, Running, Progress, Parameter, Gap,
        Segment, End, Problem, Ping, Pong,
    ),
    "view": (Subscribe, Want, Ack, Attached, Control, SetParameter, Problem, Ping, Pong),
}  # fmt: skip

_VIEW_ONLY = "view-"


def view_token(token: str) -> str:
    """Return the token that lets its holder look on, made from one that lets it steer.

    Parameters
    ----------
    token : str
        A token; one to look on with is returned as it is.

    Returns
    -------
    str
        ``view-`` and the first 128 bits of a SHA-256, from which nobody gets the other back.
    """
    if looks_on(token):
        return token
    digest = hashlib.sha256(b"napari-streaming view " + token.encode()).digest()
    return _VIEW_ONLY + base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def looks_on(token: str) -> bool:
    """Return whether a token only lets its holder look on."""
    return token.startswith(_VIEW_ONLY)


def view_address(address: str) -> str:
    """Return an address, of a stream or of its page, for who is only to look on.

    Parameters
    ----------
    address : str
        With its token after the ``#``; one without is returned as it is.
    """
    there, mark, token = address.partition("#")
    return there + mark + (view_token(unquote(token)) if token else "")


class Session:
    """The protocol state of one connection.

    Parameters
    ----------
    me : Peer
        What this side says of itself.
    listen : bool
        Whether this side waits for the Hello.
    token : str
        The secret to send (connecting) or to demand (listening).
    now : float
        The time, in seconds of this side's clock.

    Attributes
    ----------
    state : State
    peer : Peer or None
        The other side, once the session is open.
    may_control : bool
        Whether the other side may steer, if it is a viewer: not if it only showed the token
        to look on with.
    clock_offset : float
        Seconds to add to a time of ours to get the peer's, from the exchange with the
        shortest round trip so far (as NTP does, RFC 5905 section 8).
    round_trip : float
        That shortest round trip in seconds; infinite before the first.
    closed_because : str
        Why the session closed, for people.
    """

    def __init__(self, me: Peer, *, listen: bool, token: str, now: float) -> None:
        self.state = State.NEW
        self.peer: Peer | None = None
        self.may_control = True
        self.clock_offset = 0.0
        self.round_trip = float("inf")
        self.closed_because = ""
        self.heard_at = now
        self._me, self._listen, self._token = me, listen, token
        self._pinged_at = now
        self._subscribed = False
        self._outgoing: list[Message] = []
        if not listen:
            self._outgoing.append(Hello(me, token))
            self.state = State.GREETING

    @property
    def is_open(self) -> bool:
        """Whether application messages may be sent."""
        return self.state is State.OPEN

    @property
    def may_steer(self) -> bool:
        """Whether this side may steer, if it is a viewer: who listens always may."""
        return self._listen or not looks_on(self._token)

    def to_send(self) -> list[Message]:
        """Return the messages that must go out now, once."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def tick(self, now: float) -> None:
        """Let time pass: ping an open session."""
        if self.is_open and now - self._pinged_at >= PING_INTERVAL:
            self._pinged_at = now
            self._outgoing.append(Ping(now))

    def receive(self, message: Message, now: float) -> Message | None:
        """Take in one message.

        Parameters
        ----------
        message : Message
            As :func:`napari_streaming.wire.codec.unpack` returned it.
        now : float
            The time in seconds.

        Returns
        -------
        Message or None
            The message, if it is for the application.

        Raises
        ------
        ProtocolError
            The peer may not say this now. The session is closed, and a Reject is due in
            :meth:`to_send`.
        """
        if self.state is State.CLOSED:
            return None
        self.heard_at = now
        try:
            return self._receive(message, now)
        except ProtocolError as error:
            self.fail(error)
            raise

    def fail(self, error: ProtocolError) -> None:
        """Close the session over an error of the peer's, and tell it so."""
        self._outgoing.append(Reject(error.code, str(error)))
        self._close(str(error))

    def _close(self, reason: str) -> None:
        self.state = State.CLOSED
        self.closed_because = reason

    def _receive(self, message: Message, now: float) -> Message | None:
        following = TRANSITIONS.get((self.state, self._listen, type(message)))
        if following is None:
            return self._converse(message, now)
        if isinstance(message, Reject):
            self._close(f"{message.code}: {message.reason}")
            return None
        assert isinstance(message, Hello | Welcome)
        if isinstance(message, Hello):
            self._check(message.token)
        if message.peer.role == self._me.role:
            raise _RoleError(f"both sides {self._me.role}: a publisher needs a viewer")
        self.peer = message.peer
        self.state = following
        if isinstance(message, Hello):
            self._outgoing.append(Welcome(self._me))
        self._outgoing.append(Ping(now))
        return None

    def _check(self, shown: str) -> None:
        """Compare a token in a time that does not depend on it."""
        mine, looking_on = (
            hmac.compare_digest(shown.encode(), token.encode())
            for token in (self._token, view_token(self._token))
        )
        if not (mine or looking_on):
            raise _TokenError("wrong or missing token")
        self.may_control = not looking_on

    def _converse(self, message: Message, now: float) -> Message | None:
        said = type(message).__name__
        if not self.is_open:
            raise StateError(f"{said} before the handshake")
        assert self.peer is not None
        if not isinstance(message, _SPOKEN_BY[self.peer.role]):
            raise StateError(f"{said} from a peer whose role is {self.peer.role!r}")
        if isinstance(message, Ping):
            self._outgoing.append(Pong(message.time, now))
            return None
        if isinstance(message, Pong):
            round_trip = now - message.time
            if 0 <= round_trip <= self.round_trip:
                self.round_trip = round_trip
                self.clock_offset = message.now - (message.time + now) / 2
            return None
        if self.peer.role == "view":
            self._subscribed = self._subscribed or isinstance(message, Subscribe)
            if not self._subscribed:
                raise StateError(f"{said}: a viewer says Subscribe first")
        return message


class _TokenError(ProtocolError):
    code = "token"


class _RoleError(ProtocolError):
    code = "role"
