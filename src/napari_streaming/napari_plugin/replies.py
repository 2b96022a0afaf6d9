"""What came of commands to a remote scene, carried from the sockets' thread to the window's."""

from __future__ import annotations

from concurrent.futures import Future

from qtpy.QtCore import QObject, Signal

from napari_streaming.wire.remote import Reply

__all__ = ["Replies"]


class Replies(QObject):
    """Says in the thread it was made in when a command failed.

    Attributes
    ----------
    failed : Signal()
    """

    failed = Signal()

    def take(self, reply: Future[Reply]) -> None:
        """Take in a reply; in any thread."""
        if reply.cancelled() or reply.exception() is not None or reply.result().error:
            self.failed.emit()
