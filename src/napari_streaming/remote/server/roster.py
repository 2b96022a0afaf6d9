"""Who takes part in a session, and who of them steers: without any I/O."""

from __future__ import annotations

import hmac
import secrets

from napari_streaming.errors import ProtocolError, StateError
from napari_streaming.remote.server.inbox import Inbox
from napari_streaming.remote.server.pacing import Pacing
from napari_streaming.wire.remote import Controller, Hello, Quality, Resize
from napari_streaming.wire.session import view_token

__all__ = ["ANSWER_WITHIN", "KEPT_FOR", "MOST_CLIENTS", "Member", "Roster"]

KEPT_FOR = 60.0
"""Seconds that a client whose connection broke may take to come back."""
ANSWER_WITHIN = 10.0
"""Seconds that a controller may take to answer who asks for control."""
MOST_CLIENTS = 16


class Member:
    """A client, whether it is connected now or not.

    Attributes
    ----------
    number : int
        Names it in the session.
    session : str
        The secret that opens `/pixels` and resumes.
    gone_at : float or None
        Since when its connection is broken.
    last_id : int
        The id of its last intent, input or command.
    size : Resize
        Its canvas.
    """

    def __init__(self, number: int, hello: Hello, *, may_control: bool) -> None:
        self.number = number
        self.session = secrets.token_urlsafe(16)
        self.may_control = may_control
        self.gone_at: float | None = None
        self.last_id = number << 32
        self.inbox = Inbox()
        self.pacing = Pacing()
        self._wish = Quality()
        self._frames = self._nbytes = 0
        self.greet(hello)

    def greet(self, hello: Hello) -> None:
        """Take in what the client says of itself."""
        self.name = hello.name
        self.codecs = hello.codecs
        self.size = Resize(max(self.last_id, 1), hello.width, hello.height, hello.ratio)

    def resize(self, message: Resize) -> None:
        """Take in another size of its canvas."""
        self.size = message

    def new_pace(self) -> Pacing:
        """Begin anew to learn how fast it is, as its connection is a new one."""
        self.pacing = Pacing()
        self.pacing.want(self._wish.fps, self._wish.bitrate)
        return self.pacing

    def want(self, wish: Quality) -> None:
        """Take in how it wants its pictures."""
        self._wish = wish
        self.pacing.want(wish.fps, wish.bitrate)

    def count(self, nbytes: int) -> None:
        """Count a picture that is sent."""
        self._frames += 1
        self._nbytes += nbytes

    def take_traffic(self) -> tuple[int, int]:
        """Return the number of pictures and their bytes since the last call."""
        counted, self._frames, self._nbytes = (self._frames, self._nbytes), 0, 0
        return counted

    def check_id(self, identity: int) -> None:
        """Check the id of an intent, input or command, which only grow.

        Raises
        ------
        StateError
            It is not this client's, or not new.
        """
        if identity >> 32 != self.number or identity <= self.last_id:
            raise StateError(f"id {identity} after {self.last_id} from client {self.number}")
        self.last_id = identity


class Roster:
    """All members of a session.

    Parameters
    ----------
    token : str
        Lets a client steer; the one to look on with follows from it.

    Attributes
    ----------
    members : dict of int to Member
    controller : Member or None
        Who steers.
    """

    def __init__(self, token: str) -> None:
        self.members: dict[int, Member] = {}
        self.controller: Member | None = None
        self._token = token
        self._asking: Member | None = None
        self._asked_at = 0.0
        self._number = 0

    def admit(self, hello: Hello) -> tuple[Member, bool]:
        """Return the member that a client is, and whether it was one before.

        Raises
        ------
        ProtocolError
            The token is wrong (`token`), or there are too many clients (`full`).
        """
        may_control = self._check(hello.token)
        member = self.find(hello.resume) if hello.resume else None
        if member is not None and member.may_control == may_control:
            member.gone_at = None
            member.greet(hello)
            return member, True
        self._make_room()
        self._number += 1
        member = Member(self._number, hello, may_control=may_control)
        self.members[member.number] = member
        if may_control and hello.role == "control" and self.controller is None:
            self.controller = member
        return member, False

    def find(self, session: str) -> Member | None:
        """Return the member with a secret, in a time that does not depend on it."""
        shown, found = session.encode(), None
        for member in self.members.values():
            if hmac.compare_digest(shown, member.session.encode()):
                found = member
        return found

    def lose(self, member: Member, now: float) -> None:
        """Note that a member's connection broke; it may come back."""
        member.gone_at = now
        if member is self._asking:
            self._asking = None
        if member is self.controller and self._asking is not None:
            self._pass_on()

    def remove(self, member: Member) -> None:
        """Forget a member."""
        self.members.pop(member.number, None)
        if member is self._asking:
            self._asking = None
        if member is self.controller:
            self._pass_on()

    def take(self, member: Member, now: float) -> str:
        """Let a member steer, or ask the one who does; return why not, empty if so."""
        if not member.may_control:
            return "your token only lets you look on"
        if self.controller is None or self.controller.gone_at is not None:
            self.controller = member
            return ""
        if member is self.controller:
            return ""
        if self._asking not in (None, member):
            assert self._asking is not None
            return f"{self._asking.name or 'somebody'} asks already"
        if self._asking is None:
            self._asking, self._asked_at = member, now
        return ""

    def give(self, member: Member, to: int) -> str:
        """Hand over from a member to another, or decline; return why not, empty if so."""
        if member is not self.controller:
            return "you do not steer"
        heir = self.members.get(to)
        if to and (heir is None or heir.gone_at is not None or not heir.may_control):
            return "that client cannot steer"
        self._asking = None
        self.controller = heir or member
        return ""

    def tick(self, now: float) -> list[Member]:
        """Let time pass; return the members that did not come back."""
        expired = [
            member
            for member in self.members.values()
            if member.gone_at is not None and now - member.gone_at >= KEPT_FOR
        ]
        for member in expired:
            self.remove(member)
        if self._asking is not None and now - self._asked_at >= ANSWER_WITHIN:
            self._pass_on()
        return expired

    def who(self) -> Controller:
        """Return who steers and who asks to, for everybody."""
        controller, asking = self.controller, self._asking
        return Controller(
            client=controller.number if controller else 0,
            name=controller.name if controller else "",
            asking=asking.number if asking else 0,
            asking_name=asking.name if asking else "",
        )

    def _pass_on(self) -> None:
        self.controller, self._asking = self._asking, None

    def _make_room(self) -> None:
        if len(self.members) < MOST_CLIENTS:
            return
        gone = [member for member in self.members.values() if member.gone_at is not None]
        if not gone:
            raise _FullError(f"{MOST_CLIENTS} clients are connected already")
        self.remove(min(gone, key=lambda member: member.gone_at or 0.0))

    def _check(self, shown: str) -> bool:
        """Return whether a token lets its owner steer, in a time that does not depend on it."""
        mine, looking_on = (
            hmac.compare_digest(shown.encode(), token.encode())
            for token in (self._token, view_token(self._token))
        )
        if not (mine or looking_on):
            raise _TokenError("wrong or missing token")
        return not looking_on


class _TokenError(ProtocolError):
    code = "token"


class _FullError(ProtocolError):
    code = "full"
