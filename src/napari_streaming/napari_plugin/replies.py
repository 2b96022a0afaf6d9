"""What came of commands to a remote scene, carried from the sockets' thread to the window's."""

from __future__ import annotations

from concurrent.futures import Future

from qtpy.QtCore import QObject, Signal

from napari_streaming.wire.remote import Reply

__all__ = ["Replies"]


class Replies(QObject):
    """Says in the thread it was made in what came of commands.

    Attributes
    ----------
    done : Signal(dict)
        The results by name.
    failed : Signal(str)
        Why; empty if nobody waits for it any more.
    """

    done = Signal(object)
    failed = Signal(str)

    def take(self, reply: Future[Reply]) -> None:
        """Take in a reply; in any thread."""
        if reply.cancelled():
            self.failed.emit("")
        elif (error := reply.exception()) is not None:
            self.failed.emit(str(error))
        elif reply.result().error:
            self.failed.emit(reply.result().error)
        else:
            self.done.emit(reply.result().values)
