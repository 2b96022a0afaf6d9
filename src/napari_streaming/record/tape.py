"""The thread that writes a recording, and the queue before it."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_streaming.receive.taps import NO_ARRAYS, Arrays
from napari_streaming.record.recorder import Recorder
from napari_streaming.wire.messages import Declare, Gap, Item, Message, Peer

__all__ = ["Tape", "TapeStats"]

logger = logging.getLogger(__name__)

_FLUSH_EVERY = 0.25
_MOST_QUEUED = 128 * 2**20
_TOO_SLOW = "the disk was slower than the stream"


@dataclass(frozen=True, slots=True)
class TapeStats:
    """How a recording is doing.

    Parameters
    ----------
    items : int
        Written.
    bytes : int
        Their arrays, before they were compressed.
    lost : int
        Items that could not be written.
    error : str
        Why nothing is written any more; empty: all is well.
    """

    items: int
    bytes: int
    lost: int
    error: str


@dataclass(frozen=True, slots=True)
class _Heard:
    peer: Peer
    message: Message
    declare: Declare | None
    arrays: Arrays
    arrived: float
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Left:
    peer: Peer
    reason: str
    nbytes: int = 0


class Tape:
    """A tap that writes what comes. It never raises into the thread that receives.

    Parameters
    ----------
    path : Path
        As for :class:`Recorder`.
    waits : bool
        Whether the receiving thread waits while too much is queued, so that it takes in less;
        else items are left out, and a gap stands in the recording.
    tell : callable
        Told once, in a thread of the tape's, if nothing can be written any more.

    Raises
    ------
    DataError, OSError
        As for :class:`Recorder`.
    """

    def __init__(self, path: Path, *, waits: bool, tell: Callable[[str], None]) -> None:
        self._recorder, self._waits, self._tell = Recorder(path), waits, tell
        self._changed = threading.Condition()
        self._queue: deque[_Heard | _Left] = deque()
        self._queued = 0
        self._left_out: dict[tuple[str, int], _Heard] = {}  # gaps that are still growing
        self._lost, self._error, self._is_closing = 0, "", False
        self._thread = threading.Thread(target=self._run, name="napari-streaming tape", daemon=True)
        atexit.register(self.close)  # a thread alone would be cut short
        self._thread.start()

    @property
    def path(self) -> Path:
        """Of the folder with the data."""
        return self._recorder.path

    @property
    def index(self) -> Path:
        """Of the file that is opened."""
        return self._recorder.index

    @property
    def is_recording(self) -> bool:
        """Whether what comes is still written."""
        return not self._is_over

    def stats(self) -> TapeStats:
        """Return how it is doing."""
        return TapeStats(self._recorder.items, self._recorder.bytes, self._lost, self._error)

    def close(self, timeout: float | None = None) -> None:
        """Write what is queued, then end; at most `timeout` seconds."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    # ---- what receiving threads call -------------------------------------------------

    def heard(
        self,
        peer: Peer,
        message: Message,
        declare: Declare | None = None,
        arrays: Arrays = NO_ARRAYS,
    ) -> None:
        """Queue a message."""
        nbytes = sum(one.nbytes for many in arrays.values() for one in many)
        heard = _Heard(peer, message, declare, arrays, time.time(), nbytes)
        with self._changed:
            if self._is_closing or self._error:
                self._lost += isinstance(message, Item)
                return
            if nbytes and not self._has_room(nbytes):
                if not self._waits:
                    self._leave_out(heard)
                    return
                self._changed.wait_for(lambda: self._is_over or self._has_room(nbytes))
                if self._is_over:
                    self._lost += 1
                    return
            self._end_gaps()
            self._put(heard)

    def left(self, peer: Peer, reason: str) -> None:
        """Queue that a publisher is gone."""
        with self._changed:
            if not self._is_over:
                self._put(_Left(peer, reason))

    @property
    def _is_over(self) -> bool:
        return self._is_closing or bool(self._error)

    def _has_room(self, nbytes: int) -> bool:
        return self._queued == 0 or self._queued + nbytes <= _MOST_QUEUED

    def _put(self, one: _Heard | _Left) -> None:
        self._queue.append(one)
        self._queued += one.nbytes
        self._changed.notify_all()

    def _leave_out(self, heard: _Heard) -> None:
        """Have an item be a part of a gap."""
        assert isinstance(heard.message, Item)
        item, stream = heard.message, (heard.peer.run, heard.message.stream)
        before = self._left_out.get(stream)
        first, count = item.sequence, 1
        if before is not None:
            assert isinstance(before.message, Gap)
            first, count = before.message.first, before.message.count + 1
        gap = Gap(item.stream, first, item.sequence, count, _TOO_SLOW)
        self._left_out[stream] = _Heard(heard.peer, gap, heard.declare, {}, heard.arrived, 0)
        self._lost += 1

    def _end_gaps(self) -> None:
        for gap in self._left_out.values():
            self._put(gap)
        self._left_out.clear()

    # ---- the thread ------------------------------------------------------------------

    def _run(self) -> None:
        failure = self._write()
        try:
            self._recorder.close()
        except (OSError, ValueError) as error:
            failure = failure or error
        if failure is not None:
            self._fail(failure)
        atexit.unregister(self.close)

    def _write(self) -> Exception | None:
        """Write what comes until the end; return why that came too early."""
        flush_at = time.monotonic() + _FLUSH_EVERY
        try:
            while (one := self._next(flush_at)) is not None:
                if isinstance(one, _Left):
                    self._recorder.left(one.peer, one.reason)
                elif isinstance(one, _Heard):
                    self._recorder.take(one.peer, one.message, one.declare, one.arrays, one.arrived)
                if time.monotonic() >= flush_at:
                    self._recorder.flush()
                    flush_at = time.monotonic() + _FLUSH_EVERY
        except (OSError, ValueError) as error:
            return error
        return None

    def _next(self, flush_at: float) -> _Heard | _Left | bool | None:
        """Return what is to be written next; True: it is time to flush; None: to end."""
        with self._changed:
            wait = max(0.0, flush_at - time.monotonic())
            self._changed.wait_for(lambda: self._queue or self._is_closing, wait)
            if self._queue:
                one = self._queue.popleft()
                self._queued -= one.nbytes
                self._changed.notify_all()
                return one
            if not self._is_closing:
                return True
            if self._left_out:
                self._end_gaps()
                return True
            return None

    def _fail(self, error: Exception) -> None:
        text = f"the recording {self.path.name} has ended: {error}; what it has is safe"
        with self._changed:
            self._error = text
            self._lost += sum(isinstance(o, _Heard) and bool(o.nbytes) for o in self._queue)
            self._queue.clear()
            self._queued = 0
            self._changed.notify_all()
        logger.warning(text)
        self._tell(text)
