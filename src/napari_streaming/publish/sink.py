"""One URL of a publisher: its channel, and an outbox for each viewer behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from napari_streaming.publish.control import RefusedError, Steering
from napari_streaming.publish.exposition import MetricsPage
from napari_streaming.publish.journal import Journal
from napari_streaming.publish.outbox import Outbox
from napari_streaming.publish.reduce import Reducer
from napari_streaming.publish.staging import Parcel
from napari_streaming.publish.stats import PublisherStats, SinkStats
from napari_streaming.publish.tally import Tally
from napari_streaming.transport.base import HttpHandler
from napari_streaming.transport.channel import Channel, Link
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.messages import (
    Control,
    Coordinate,
    Message,
    Peer,
    Problem,
    Segment,
    SetParameter,
    Subscribe,
    Want,
)

__all__ = ["LocalViewer", "Sink", "Source"]


class LocalViewer(Protocol):
    """A viewer in the publisher's own process, which the publisher begins and ends."""

    def begin(self, tell: Callable[[str], None]) -> str:
        """Listen; return the URL. `tell` gets, in any thread, what the user must know."""

    def close(self) -> None:
        """Stop."""


class Source(Protocol):
    """What a sink needs from its publisher. All of it is safe in any thread."""

    segment: Segment
    journal: Journal
    steering: Steering

    def standing(self) -> Iterable[Message]:
        """Return what each viewer is told first: what is declared, and where things stand."""

    def deliver(self) -> None:
        """Have the outboxes take in all that was published before."""

    def due(self, subscribe: Subscribe, waiting: Sequence[Parcel]) -> list[Parcel]:
        """Return what a viewer is to get, of what waits for it and of what is kept, retained."""

    def find(self, stream: int, at: Mapping[str, Coordinate], /) -> list[Parcel]:
        """Return what is kept of the plane that a viewer looks at, retained."""

    def window_share(self) -> int:
        """Return how many bytes one viewer may have under way."""

    def changed(self) -> None:
        """Take note that something was acknowledged, dropped, opened or lost."""

    def stats(self) -> PublisherStats:
        """Return all counters."""

    def complain(self, text: str) -> None:
        """Pass on what a viewer complains about."""


class Sink:
    """Feeds the viewers behind one URL; the handler of its channel.

    A URL that is connected to has one outbox for good: what is published before a viewer
    is there, or after it died, waits. A URL that listens has one for each viewer. Items are
    sent to a viewer once it said which.
    """

    def __init__(
        self, url: StreamURL, me: Peer, source: Source, http: HttpHandler | None = None
    ) -> None:
        self._source = source
        self.has_pages = http is not None
        # Replaced as a whole by the channel's thread: the producer looks at it without a lock.
        self._outboxes: dict[Link, Outbox] = {}
        self._reducer = Reducer()
        self._kept = None if url.listen else self._make_outbox()
        self._is_stuck = True  # by the channel's thread: nothing may go to any viewer
        self._retired = Tally()  # of viewers that left
        self._leaving: list[Outbox] = []  # of whom a dead connection still reads something
        self._state = "waiting for a viewer"
        self._problems = 0
        pages = MetricsPage(source.stats, lambda: self.url.token, http)
        self._channel = Channel(url, me, self, pages)
        self._channel.start()

    def _make_outbox(self) -> Outbox:
        source = self._source
        return Outbox(source.segment.size, source.changed, source.journal, reducer=self._reducer)

    @property
    def url(self) -> StreamURL:
        """Where, with port and token as they really are."""
        return self._channel.url

    def outboxes(self) -> list[Outbox]:
        """Return the outboxes that take parcels now."""
        if self._kept is not None:
            return [self._kept]
        return list(self._outboxes.values())

    @property
    def viewers(self) -> int:
        """How many viewers are connected."""
        return len(self._outboxes)

    def wake(self) -> None:
        """Have the queued messages sent."""
        if self._outboxes:
            self._channel.wake()

    def collect(self) -> None:
        """Have what was published sent, if any may go: to wake a thread costs the producer time.

        Where none may, an acknowledgement wakes it.
        """
        if not self._is_stuck:
            self._channel.wake()

    def close(self, timeout: float) -> None:
        """Stop, whatever the viewers do."""
        self._channel.close(timeout)
        for outbox in self.outboxes():
            outbox.close()

    def stats(self) -> SinkStats:
        """Return what became of the items so far."""
        outboxes = self.outboxes()
        return SinkStats(
            url=self.url.redacted(),
            state=self._state,
            viewers=self.viewers,
            tally=sum((outbox.tally for outbox in outboxes), self._retired),
            queued_bytes=sum(outbox.queued_bytes for outbox in outboxes),
            problems=self._problems,
            link=min((outbox.link for outbox in outboxes), default=math.inf),
        )

    # ---- the channel's handler -------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Have an outbox for a viewer: what is published from now on must not miss it."""
        self._source.deliver()
        outbox = self._kept or self._make_outbox()
        outbox.expect()
        self._outboxes = {**self._outboxes, link: outbox}
        self._state = "connected"
        self._source.steering.viewer_came(link.peer.run)
        self._source.changed()

    def received(self, link: Link, message: Message, buffers: Sequence[Buffer]) -> None:
        """Take in a wish, an acknowledgement or a complaint."""
        source = self._source
        if isinstance(message, Problem):
            self._problems += 1
            source.complain(f"{self.url.redacted()}: {message.text}")
        elif isinstance(message, Control | SetParameter):
            self._steer(link, message)
        elif isinstance(message, Subscribe):
            source.deliver()
            outbox = self._outboxes[link]
            if outbox.is_open:
                outbox.amend(message, source.due)
            else:
                outbox.open(link, message, source.standing, source.due, source.segment)
        elif isinstance(message, Want):
            self._outboxes[link].send_again(source.find(message.stream, message.at))
        else:
            self._outboxes[link].received(message)

    def _steer(self, link: Link, wish: Control | SetParameter) -> None:
        """Do what a viewer wants, or tell it why not."""
        answer = self._outboxes[link].put_message  # which counts it, as viewers do
        if not link.session.may_control:
            answer(Problem("forbidden", "this token is only for looking on"))
            return
        try:
            self._source.steering.take(wish, link.peer)
        except RefusedError as error:
            answer(Problem("steering", str(error)[:1000]))

    def lost(self, link: Link, reason: str) -> None:
        """Keep what the viewer did not acknowledge, if it may come back."""
        self._source.steering.viewer_left(link.peer.run)
        outbox = self._outboxes[link]
        self._outboxes = {key: box for key, box in self._outboxes.items() if key is not link}
        if outbox is self._kept:
            outbox.suspend()
        else:
            outbox.close()
            self._leaving.append(outbox)
            self._retired += outbox.tally
        if not self._outboxes:
            self._state = f"waiting for a viewer: {reason}"
        self._source.changed()

    def refused(self, reason: str) -> None:
        """Remember why there is no viewer."""
        if not self._outboxes:
            self._state = f"refused: {reason}"
        self._source.changed()

    def turn(self) -> float | None:
        """Send what may go; return after how many seconds more may."""
        self._source.deliver()
        if self._kept is not None:
            self._kept.leave_limbo()
        self._leaving = [outbox for outbox in self._leaving if not outbox.leave_limbo()]
        window = self._source.window_share()
        for link, outbox in self._outboxes.items():
            outbox.send(link, min(window, link.peer.window))
        self._is_stuck = all(outbox.is_stuck for outbox in self._outboxes.values())
        held = (outbox.held_for for outbox in self._outboxes.values())
        return min((seconds for seconds in held if seconds is not None), default=None)
