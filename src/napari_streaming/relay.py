"""What publishers at one URL say, published again at another one: for browsers, above all.

Items, metrics and the rest pass through; what viewers want of the program goes back to it.
Viewers of the relay that are slow, or gone, cost the program nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Literal

from napari_streaming.errors import (
    ClosedError,
    DataError,
    MalformedError,
    StateError,
    StreamingError,
    URLError,
)
from napari_streaming.publish.control import RefusedError, Steering
from napari_streaming.publish.engine import Engine
from napari_streaming.publish.layers import LayerSpec
from napari_streaming.receive.checks import contradiction, mismatch
from napari_streaming.settings import PublisherSettings, ReceiverSettings
from napari_streaming.transport.channel import Channel, Link
from napari_streaming.transport.runtime import host_identity, new_token
from napari_streaming.uri import StreamURL, parse_url
from napari_streaming.web.page import page
from napari_streaming.wire.codec import Buffer, as_array
from napari_streaming.wire.flow import Heard, Receipts
from napari_streaming.wire.messages import (
    Control,
    Declare,
    Elsewhere,
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
    SetParameter,
    Status,
    StatusLevel,
    Subscribe,
)
from napari_streaming.wire.session import looks_on, view_address, view_token
from napari_streaming.wording import counted

__all__ = ["Relay"]

_MOST_SOURCES = 256
_LOSSES_TOLD = 5.0  # seconds between two lines about them


class _Remote(Steering):
    """A program elsewhere: what it says of itself stands, what viewers want is passed on.

    The program only knows the relay, so it is the relay that waits for a viewer which paused
    the program and is gone.
    """

    def __init__(
        self,
        tell: Callable[[Message], None],
        lease: float,
        ask: Callable[[Control | SetParameter], None],
    ) -> None:
        super().__init__(tell, lease)
        self._ask = ask
        self._run = ""  # of the program that viewers steer: the last that spoke of itself
        self._said: dict[str, Message] = {}  # replaced as a whole: others read it meanwhile
        self._paused_by, self._until = "", math.inf

    def told(self, run: str, message: Running | Progress | Parameter) -> None:
        """Note what the program says of itself."""
        self._run = run
        name = message.name if isinstance(message, Parameter) else ""
        self._said = {**self._said, f"{type(message).__name__} {name}": message}
        self._tell(message)

    def forget(self, program: Peer) -> None:
        """Note that a program is gone, and tell viewers if it is the one that they steer."""
        if program.run != self._run:
            return
        was_steered = any(isinstance(message, Running) for message in self._said.values())
        self._said = {}
        self._paused_by, self._until = "", math.inf
        if was_steered:
            self._tell(Running("stopping", "", f"{program.program} is gone"))

    @property
    def standing(self) -> tuple[Message, ...]:
        """What a viewer that just came is to know."""
        return tuple(self._said.values())

    def take(self, wish: Control | SetParameter, viewer: Peer) -> None:
        """Pass on what a viewer wants.

        Raises
        ------
        RefusedError
            The program is not there.
        """
        self._ask(wish)
        if isinstance(wish, Control):
            self._paused_by = viewer.run if wish.action in ("pause", "step") else ""

    def viewer_came(self, viewer: str) -> None:
        """Note that a viewer is there (again)."""
        if viewer == self._paused_by:
            self._until = math.inf

    def viewer_left(self, viewer: str) -> None:
        """Note that a viewer is gone."""
        if viewer == self._paused_by:
            self._until = self._clock() + self._lease

    def check(self) -> None:
        """Let a program go on that was paused by somebody who has not come back."""
        if self._clock() >= self._until:
            self._paused_by, self._until = "", math.inf
            self._tell(Status("warning", "who paused this has not come back", time.time()))
            with contextlib.suppress(RefusedError):  # nor has the program
                self._ask(Control("resume"))

    def end(self) -> None:
        """Leave the program as it is."""


@dataclass(slots=True)
class _Publisher:
    """What is known of one link."""

    receipts: Receipts = field(default_factory=Receipts)
    streams: dict[int, tuple[Declare, LayerSpec]] = field(default_factory=dict)


class Relay:
    """Passes on what publishers say.

    Parameters
    ----------
    source : str
        Where from: a publisher's URL, or with ``?listen`` where publishers connect.
    listen : str
        Where viewers connect, browsers at a ``ws`` or ``wss`` URL.
    settings : PublisherSettings, optional
        Limits.

    Raises
    ------
    URLError
        A URL cannot be used as given.
    TransportError
        An address is taken or not allowed.
    """

    def __init__(self, source: str, listen: str, settings: PublisherSettings | None = None) -> None:
        self._sources: dict[str, _Source] = {}
        self._opening = threading.Lock()
        self._engine = Engine(settings or PublisherSettings(), self._make_steering)
        try:
            here, there = parse_url(listen, listen=True).to_publish(), parse_url(source)
            if looks_on(there.token) and not there.listen:  # nor can others steer from here
                here = here.with_token(view_token(here.token or new_token()))
            self._engine.open_sink(here, _peer("publish", host_identity()), page)
            self._open(there)
        except StreamingError:
            self.close()
            raise

    def _make_steering(self, tell: Callable[[Message], None], lease: float) -> _Remote:
        return _Remote(tell, lease, self._ask)

    @property
    def urls(self) -> tuple[str, ...]:
        """What a viewer is given to connect, token included."""
        return self._engine.urls

    @property
    def pages(self) -> tuple[str, ...]:
        """What a browser opens, token included."""
        return self._engine.pages

    @property
    def view_pages(self) -> tuple[str, ...]:
        """The same pages, for who is only to look on."""
        return tuple(map(view_address, self.pages))

    @property
    def sources(self) -> tuple[str, ...]:
        """What a publisher is given to connect, where the relay listens for them."""
        urls = [source.url for source in self._sources.values()]
        return tuple(url.shareable() for url in urls if url.listen)

    def close(self) -> None:
        """Stop."""
        for source in list(self._sources.values()):
            source.close()
        self._engine.close(1.0)

    def _open(self, url: StreamURL) -> None:
        with self._opening:
            if url.address in self._sources:
                return
            if url.dialect or len(self._sources) >= _MOST_SOURCES:
                raise URLError(
                    f"{url}: cannot be passed on, there are {len(self._sources)} already"
                )
            steering = self._engine.steering
            assert isinstance(steering, _Remote)
            self._sources[url.address] = _Source(url, self._engine, steering, self._open)

    def _ask(self, wish: Control | SetParameter) -> None:
        asked = [source.ask(wish) for source in list(self._sources.values())]
        if not any(asked):
            raise RefusedError("the program is not connected")


class _Source:
    """Takes in what publishers behind one URL say; the handler of its channel."""

    def __init__(
        self, url: StreamURL, engine: Engine, steering: _Remote, refer: Callable[[StreamURL], None]
    ) -> None:
        self._engine, self._steering, self._refer = engine, steering, refer
        self._here: dict[tuple[str, int], int] = {}  # last number of each run's streams
        self._heard: defaultdict[str, Heard] = defaultdict(Heard)  # by run
        self._links: dict[Link, _Publisher] = {}
        self._wishes: deque[Control | SetParameter] = deque()
        self._lost, self._tell_at = 0, 0.0
        # It takes no shared memory: what comes is copied once more in any case.
        self._channel = Channel(url, _peer("view", new_token()), self)
        self._channel.start()

    @property
    def url(self) -> StreamURL:
        """Where, with port and token as they really are."""
        return self._channel.url

    def ask(self, wish: Control | SetParameter) -> bool:
        """Pass on what a viewer wants, from any thread; return whether anybody is there."""
        if not self._links:
            return False
        self._wishes.append(wish)
        self._channel.wake()
        return True

    def close(self) -> None:
        """Stop."""
        self._channel.close(1.0)

    # ---- the channel's handler ---------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Ask a publisher for all that is not here."""
        run = link.peer.run
        have = {stream: last for (of_run, stream), last in self._here.items() if of_run == run}
        heard = self._heard[run]
        self._links[link] = _Publisher()
        link.send(Subscribe(None, have, metrics=heard.metrics, line=heard.line))
        self._say("info", f"connected to {link.peer.program}")

    def lost(self, link: Link, reason: str) -> None:
        """Note that a publisher is gone; what it sent stays."""
        del self._links[link]
        self._steering.forget(link.peer)
        self._say("warning", f"{link.peer.program} is gone: {reason}")

    def refused(self, reason: str) -> None:
        """Tell viewers why there is no publisher."""
        if not self._links:
            self._say("warning", f"no publisher: {reason}")

    def turn(self) -> None:
        """Pass on what viewers want, and acknowledge what was taken in."""
        self._steering.check()
        while self._wishes:
            wish = self._wishes.popleft()
            for link in self._links:
                link.send(wish)
        for link, known in self._links.items():
            ack = known.receipts.take()
            if ack is not None and link.send(ack) is None:
                known.receipts.take_back()
        if self._lost and time.monotonic() >= self._tell_at:
            self._say("warning", f"{counted(self._lost, 'item')} did not reach this relay in time")
            self._lost, self._tell_at = 0, time.monotonic() + _LOSSES_TOLD

    def received(self, link: Link, message: Message, buffers: Sequence[Buffer]) -> None:
        """Pass a message on."""
        known = self._links[link]
        if isinstance(message, Item):
            self._pass_item(link, known, message, buffers)
            known.receipts.item()
            return
        known.receipts.message()
        if isinstance(message, Declare):
            if problem := contradiction(message):
                raise MalformedError(f"stream {message.name!r}: {problem}")
            known.streams[message.stream] = message, LayerSpec.declared(message)
        elif isinstance(message, Metric):
            if (news := self._heard[link.peer.run].news(message)) is not None:
                self._pass_values(news)
        elif isinstance(message, Status):
            if self._heard[link.peer.run].is_news(message):
                self._engine.tell(message)
        elif isinstance(message, Problem):
            self._engine.tell(message)
        elif isinstance(message, Outline):
            self._engine.tell_for_good(f"outline {message.title}", message)
        elif isinstance(message, Running | Progress | Parameter):
            self._steering.told(link.peer.run, message)
        elif isinstance(message, Gap):
            self._lost += message.count
        elif isinstance(message, Elsewhere):
            self._follow(message.url)

    def _pass_values(self, metric: Metric) -> None:
        for step, value, at in zip(metric.steps, metric.values, metric.times, strict=True):
            self._engine.journal.add(metric.name, step, value, at)
        self._engine.wake()

    def _pass_item(
        self, link: Link, known: _Publisher, item: Item, buffers: Sequence[Buffer]
    ) -> None:
        if item.stream not in known.streams:
            raise StateError(f"an item of stream {item.stream}, which was never declared")
        key = link.peer.run, item.stream
        if item.preview or item.sequence <= self._here.get(key, -1):
            return
        self._here[key] = item.sequence
        declare, spec = known.streams[item.stream]
        if problem := mismatch(item, declare):
            link.send(Problem("mismatch", f"{declare.name!r}, item {item.sequence}: {problem}"))
            return
        if item.scale or item.translate:
            spec = replace(
                spec, scale=item.scale or spec.scale, translate=item.translate or spec.translate
            )
        both = zip(item.arrays, buffers, strict=True)
        arrays = {array.name: as_array(array, buffer) for array, buffer in both}
        try:
            self._engine.publish(declare.name, spec, item.at, arrays, **_extra(item))
        except (DataError, ClosedError) as error:
            self._say("error", str(error))

    def _follow(self, url: str) -> None:
        """Connect to a publisher that another one told of."""
        try:
            self._refer(parse_url(url, listen=False))
        except StreamingError as error:
            self._say("warning", f"a publisher told of another one: {error}")

    def _say(self, level: StatusLevel, text: str) -> None:
        self._engine.tell(Status(level, text, time.time()))


def _peer(role: Literal["publish", "view"], host: str) -> Peer:
    return Peer(
        role=role,
        program="napari-streaming web",
        software=f"napari-streaming/{version('napari-streaming')}",
        host=host,
        pid=os.getpid(),
        run=new_token(),
        window=ReceiverSettings().window if role == "view" else 0,
    )


def _extra(item: Item) -> dict[str, Any]:
    """Return the fields of an item that few items have."""
    fields = {"along": item.along, "offset": item.offset, "key": item.key, "append": item.append}
    return {name: value for name, value in fields.items() if value}
