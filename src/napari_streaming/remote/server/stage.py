"""What a session's server needs of the thread that has the scene and draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from napari_streaming.remote.server.pacing import Pacing
from napari_streaming.wire.inputs import Input
from napari_streaming.wire.remote import Accepted, Command, Intent, Quality, Rejected, Reply
from napari_streaming.wire.scene import Snapshot

__all__ = ["Stage"]


class Stage(Protocol):
    """What the server shows: a scene and its pictures.

    All calls but :meth:`post` come in the stage's own thread.
    """

    def post(self, job: Callable[[], None]) -> None:
        """Run a job in the stage's thread, soon and in order; called from any thread."""

    def snapshot(self) -> Snapshot:
        """Return the whole scene. What changes after it is broadcast."""

    def add_client(self, client: int, pacing: Pacing, codecs: tuple[str, ...]) -> None:
        """Draw for a client from now on, beginning with a keyframe.

        The pacing belongs to the stage's thread: it asks it before it draws, and notes in it
        what it sends.
        """

    def remove_client(self, client: int) -> None:
        """Draw for a client no more."""

    def need_keyframe(self, client: int) -> None:
        """Let the next picture for a client be a keyframe."""

    def quality(self, client: int, wish: Quality) -> None:
        """Take in how a client wants its pictures; frame and bit rate are in its pacing."""

    def credit(self, client: int) -> None:
        """Look whether there is something to draw: a client has shown a picture."""

    def input(self, client: int, message: Input) -> None:
        """Take in what the controller's mouse, keyboard or window did."""

    def intent(self, client: int, message: Intent) -> Accepted | Rejected:
        """Carry out a wish of the controller's, or say why not."""

    def command(self, client: int, message: Command) -> Reply:
        """Carry out a command."""
