"""One URL of a receiver: the handler of its channel, from messages to places in layers."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from napari_streaming.errors import MalformedError, StateError, TransportError
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.checks import contradiction
from napari_streaming.receive.intake import (
    OverwrittenError,
    UnusableError,
    enlarged,
    fetch_item,
    place_item,
)
from napari_streaming.receive.programs import tell_apart
from napari_streaming.receive.repeats import RunStream
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.settings import ReceiverSettings
from napari_streaming.transport.channel import Channel, Link
from napari_streaming.transport.pool import AttachedSegment
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer, nbytes
from napari_streaming.wire.compression import CODECS
from napari_streaming.wire.flow import Receipts
from napari_streaming.wire.messages import (
    Attached,
    Control,
    Coordinate,
    Declare,
    Elsewhere,
    End,
    Gap,
    Item,
    Message,
    Metric,
    Outline,
    Parameter,
    Peer,
    Problem,
    Progress,
    Running,
    Segment,
    SetParameter,
    Status,
    StatusLevel,
    Subscribe,
    Want,
)

__all__ = ["Source", "SourceStats"]

_ACK_AT_ONCE = 1024 * 1024
_MAX_HAVE = 65536  # streams that fit in a Subscribe


@dataclass(frozen=True, slots=True)
class SourceStats:
    """How a URL is doing.

    Parameters
    ----------
    url : str
        Without its token.
    state : str
        For people: "listening", "connected to pipeline.py", or what went wrong.
    publishers : tuple of str
        The programs that are connected now.
    refused : int
        Handshakes that failed, and messages that were no messages.
    """

    url: str
    state: str
    publishers: tuple[str, ...]
    refused: int


@dataclass(slots=True)
class _Publisher:
    """What a source knows of one link."""

    opened: float = field(default_factory=time.time)
    receipts: Receipts = field(default_factory=Receipts)
    segments: dict[str, AttachedSegment] = field(default_factory=dict)
    streams: dict[int, tuple[Declare, StreamedLayer]] = field(default_factory=dict)
    ended: bool = False


class Source:
    """Takes in what publishers behind one URL send.

    Parameters
    ----------
    url : StreamURL
    me : Peer
        What this side says of itself.
    catalog : Catalog
        Where layers, metrics and the log go.
    arena : Arena
        Where planes go.
    settings : ReceiverSettings
        What is asked for.
    refer : callable
        Gets the URL of each further publisher that one of these tells of.
    over : callable, optional
        Called when a publisher that said End is gone.

    Raises
    ------
    TransportError
        The address cannot be used.
    """

    def __init__(
        self,
        url: StreamURL,
        me: Peer,
        catalog: Catalog,
        arena: Arena,
        settings: ReceiverSettings,
        refer: Callable[[str], None],
        over: Callable[[Source], None] | None = None,
    ) -> None:
        self._catalog, self._arena = catalog, arena
        self._settings = settings
        self._refer, self._over = refer, over
        self._publishers: dict[Link, _Publisher] = {}
        # By run and stream: a publisher that reconnects sends again what it is unsure of.
        self._streams: dict[tuple[str, int], RunStream] = {}
        self._state = "listening" if url.listen else "waiting for a publisher"
        self._idle_state = self._state
        self._refused = 0
        self._wishes: deque[tuple[str, Control | SetParameter]] = deque()  # by run
        self._wanted: deque[tuple[StreamedLayer, dict[str, Coordinate]]] = deque()
        self._asked = self._ask_for()
        self._channel = Channel(url, me, self)
        self._channel.start()

    @property
    def url(self) -> StreamURL:
        """Where, with port and token as they really are."""
        return self._channel.url

    def close(self, timeout: float = 1.0) -> None:
        """Stop listening or disconnect."""
        self._channel.close(timeout)
        self._publishers.clear()  # and their shared memory

    def ask(self, run: str, wish: Control | SetParameter) -> None:
        """Ask something of a publisher; from any thread."""
        self._wishes.append((run, wish))
        self._channel.wake()

    def want(self, layer: StreamedLayer, at: dict[str, Coordinate]) -> None:
        """Ask for a plane of a layer in full; from any thread."""
        self._wanted.append((layer, at))
        self._channel.wake()

    def limit(self, settings: ReceiverSettings) -> None:
        """Ask publishers for other streams, or less, from now on; from any thread."""
        self._settings = settings
        self._channel.wake()

    def stats(self) -> SourceStats:
        """Return how it is doing."""
        programs = tuple(link.peer.program for link in list(self._publishers))
        return SourceStats(self.url.redacted(), self._state, programs, self._refused)

    # ---- the channel's handler -------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Note a new publisher, and say what is wanted of its past."""
        peer, may_steer = link.peer, link.session.may_steer
        self._publishers[link] = _Publisher()
        self._catalog.run_began(_whole(link))
        is_here = peer.host == self._channel.me.host
        self._catalog.program_came(
            peer.run, peer.program, peer.pid, is_here=is_here, may_steer=may_steer
        )
        self._subscribe(link)
        self._show_state()

    def lost(self, link: Link, reason: str) -> None:
        """Note that a publisher is gone; what it sent stays."""
        publisher = self._publishers.pop(link)
        self._catalog.run_ended(_whole(link))
        if not any(other.peer.run == link.peer.run for other in self._publishers):
            self._catalog.program_left(link.peer.run)
        self._catalog.taps.left(link.peer, reason)
        if not publisher.ended:
            self._catalog.say("warning", f"{link.peer.program} is gone: {reason}")
        self._show_state()
        if publisher.ended and self._over is not None:
            self._over(self)

    def refused(self, reason: str) -> None:
        """Count a handshake that failed."""
        self._refused += 1
        if not self._publishers:
            self._state = f"refused: {reason}"
        self._catalog.notify()

    def turn(self) -> None:
        """Acknowledge what was taken in, and pass on what viewers want."""
        if self._asked != (asked := self._ask_for()):
            self._asked = asked
            for link in self._publishers:
                self._subscribe(link)
        while self._wanted:
            self._send_wanted(*self._wanted.popleft())
        while self._wishes:
            run, wish = self._wishes.popleft()
            for link in self._publishers:
                if link.peer.run == run:
                    link.send(wish)
        for link, publisher in list(self._publishers.items()):
            self._acknowledge(link, publisher)

    def received(self, link: Link, message: Message, buffers: Sequence[Buffer]) -> None:
        """Take in a message of a publisher's."""
        publisher = self._publishers.get(link)
        if publisher is None:  # closed, while this thread was busy
            return
        if isinstance(message, Item):
            self._take_item(link, publisher, message, buffers, time.time())
            publisher.receipts.item()
            if sum(nbytes(array) for array in message.arrays) >= _ACK_AT_ONCE:
                self._acknowledge(link, publisher)
            return
        publisher.receipts.message()
        if isinstance(message, Declare):
            if problem := contradiction(message):
                raise MalformedError(f"stream {message.name!r}: {problem}")
            layer = self._catalog.declare(message, _whole(link))
            publisher.streams[message.stream] = message, layer
            self._catalog.taps.heard(link.peer, message)
        elif isinstance(message, Segment):
            link.send(self._attach(publisher, message))
        elif isinstance(message, Metric):
            if (news := self._catalog.heard(link.peer.run).news(message)) is not None:
                self._catalog.add_metric(news, _whole(link))
                self._catalog.taps.heard(link.peer, news)
        elif isinstance(message, Status):
            if self._catalog.heard(link.peer.run).is_news(message):
                self._catalog.add_status(message, _offset(link))
                self._catalog.taps.heard(link.peer, message)
        elif isinstance(message, Outline):
            self._catalog.set_outline(message)
            self._catalog.taps.heard(link.peer, message)
        elif isinstance(message, Elsewhere):
            self._refer(message.url)
        elif isinstance(message, Running | Progress | Parameter):
            self._catalog.program_told(link.peer.run, message)
            self._catalog.taps.heard(link.peer, message)
        elif isinstance(message, Gap):
            self._take_gap(link, publisher, message)
        elif isinstance(message, Problem):
            level: StatusLevel = "info" if message.code == "gone" else "warning"
            self._catalog.say(level, f"{link.peer.program}: {message.text}")
        elif isinstance(message, End):
            publisher.ended = True
            self._catalog.taps.heard(link.peer, message)
            if all(
                p.ended for other, p in self._publishers.items() if _whole(other) == _whole(link)
            ):
                self._catalog.say("complete", f"{link.peer.program} has ended")

    def _ask_for(self) -> Subscribe:
        """Return what is wanted of every publisher; who records gets all of each plane."""
        now = self._settings
        smaller = (0, None) if self._catalog.taps else (now.max_side, now.region)
        limits = now.streams, now.max_fps, now.max_mb_s
        return Subscribe(now.history, {}, *limits, CODECS, max_side=smaller[0], region=smaller[1])

    def _subscribe(self, link: Link) -> None:
        """Say what is wanted of a publisher."""
        heard = self._catalog.heard(link.peer.run)
        have = self._have(link.peer.run)
        link.send(replace(self._asked, have=have, metrics=heard.metrics, line=heard.line))

    def _send_wanted(self, layer: StreamedLayer, at: dict[str, Coordinate]) -> None:
        """Ask for a plane, everyone who has a stream of this layer."""
        for link, publisher in self._publishers.items():
            for stream, (_, of_stream) in publisher.streams.items():
                if of_stream is layer:
                    link.send(Want(stream, at))

    def _have(self, run: str) -> dict[int, int]:
        """Return the highest number that is here of each stream of a publisher's run."""
        have = [
            (stream, known.numbers.last)
            for (of_run, stream), known in self._streams.items()
            if of_run == run and known.numbers.last >= 0
        ]
        return dict(have[-_MAX_HAVE:])

    def _show_state(self) -> None:
        here = [self._catalog.programs[link.peer.run] for link in self._publishers]
        names = ", ".join(tell_apart(here).values())
        self._state = f"connected to {names}" if names else self._idle_state
        self._catalog.notify()

    def _acknowledge(self, link: Link, publisher: _Publisher) -> None:
        ack = publisher.receipts.take()
        if ack is not None and link.send(ack) is None:
            publisher.receipts.take_back()

    def _attach(self, publisher: _Publisher, segment: Segment) -> Attached:
        try:
            publisher.segments[segment.segment] = AttachedSegment(segment)
        except TransportError as error:
            return Attached(segment.segment, False, str(error))
        return Attached(segment.segment, True)

    def _stream(self, link: Link, stream: int) -> RunStream:
        return self._streams.setdefault((link.peer.run, stream), RunStream())

    def _take_gap(self, link: Link, publisher: _Publisher, gap: Gap) -> None:
        if gap.stream not in publisher.streams:
            raise StateError(f"a gap in stream {gap.stream}, which was never declared")
        declare, layer = publisher.streams[gap.stream]
        # A publisher that reconnects is not sure what has arrived: it may tell a gap again, or
        # give up what is here. Items come in order, so what is here ends with the last one.
        stream = self._stream(link, gap.stream)
        if gap.first in stream.gaps:
            return
        stream.gaps.append(gap.first)
        here = min(gap.count, max(0, stream.numbers.last + 1 - gap.first))
        layer.counters.dropped(gap.count - here, gap.reason)
        self._catalog.taps.heard(link.peer, gap, declare)
        self._catalog.notify()

    def _take_item(
        self,
        link: Link,
        publisher: _Publisher,
        item: Item,
        buffers: Sequence[Buffer],
        received: float,
    ) -> None:
        if item.stream not in publisher.streams:
            raise StateError(f"an item of stream {item.stream}, which was never declared")
        declare, layer = publisher.streams[item.stream]
        numbers = self._stream(link, item.stream).numbers
        sent = item.time - _offset(link)
        intake = item, buffers, publisher.segments, declare, self._arena
        if item.preview or item.again:
            if not item.append and (item.again or item.sequence > numbers.last):
                # What is wrong with it is said in its turn, or was.
                with contextlib.suppress(UnusableError, OverwrittenError):
                    arrays = fetch_item(*intake)
                    grew = place_item(item, arrays, declare, layer, self._arena, sent)
                    self._catalog.touch(layer, all_layers=grew)
            return
        if item.sequence <= numbers.last:
            numbers.accept(item.sequence)
            return
        try:
            arrays = fetch_item(*intake)
            if self._catalog.taps:
                self._catalog.taps.heard(link.peer, *enlarged(item, declare, arrays))
            grew = place_item(item, arrays, declare, layer, self._arena, sent)
        except UnusableError as error:
            self._refuse(link, layer, item, str(error)[:1000])
        except OverwrittenError:
            layer.counters.dropped(1, "overwritten before it was read")
        else:
            size = sum(nbytes(array) for array in item.arrays)
            # What was published before there was a connection did not wait for this viewer.
            published = max(sent, publisher.opened)
            inline = sum(memoryview(b).nbytes for b in buffers) if buffers else size
            layer.counters.arrived(size, published, received, time.time(), inline)
            self._catalog.touch(layer, all_layers=grew)
        numbers.accept(item.sequence, first_of_session=True)

    def _refuse(self, link: Link, layer: StreamedLayer, item: Item, problem: str) -> None:
        """Leave an item out, and say so to both sides."""
        layer.counters.refused()
        link.send(Problem("mismatch", f"{layer.name!r}, item {item.sequence}: {problem}"))
        self._catalog.say("error", f"{layer.name!r}: item {item.sequence} refused: {problem}")


def _whole(link: Link) -> str:
    """Return the run that a publisher is, or is a part of."""
    return link.peer.part_of or link.peer.run


def _offset(link: Link) -> float:
    """Return how far the publisher's clock is ahead of ours, in seconds."""
    return 0.0 if link.is_local else link.session.clock_offset
