"""The publishers of one process: one for each viewer's URL, for as long as the run takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from math import inf

from napari_streaming.errors import StorageError, TransportError
from napari_streaming.pipeline.storage import Storage
from napari_streaming.pipeline.values import About, Coordinates, Value
from napari_streaming.publish.publisher import Publisher
from napari_streaming.settings import MIB, PublisherSettings
from napari_streaming.transport.runtime import find_listing
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import Outline, StatusLevel

__all__ = ["Streams"]

logger = logging.getLogger(__name__)

_TOTAL_S = 4.0
_PATIENCE_S = 0.5  # with a viewer that takes nothing
_COMING_S = 1.0
_SETTLE_S = 0.1  # for each time that a viewer falls silent
# Viewers connect a moment after the workers began, or as late as napari takes to start.
_LISTENING = PublisherSettings(history=256 * MIB)


class _Pulse:
    """For how long the viewers of a publisher have owed it an answer.

    Parameters
    ----------
    publisher : Publisher

    Attributes
    ----------
    owed_since : float
        When something was to be acknowledged for the first time since anything was.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher, self._taken = publisher, 0
        self.owed_since = inf

    def feel(self) -> bool:
        """Look how it is now; return whether nothing is owed."""
        taken = sum(sink.tally.acknowledged for sink in self._publisher.stats().sinks)
        if self._publisher.flush(0):
            self.owed_since = inf
            return True
        now = time.monotonic()
        self.owed_since = now if taken != self._taken else min(self.owed_since, now)
        self._taken = taken
        return False


class Streams:
    """Publishers by URL. A context manager; thread-safe.

    Parameters
    ----------
    urls : iterable of str
    run : str
        What the publishers of all processes of a run have in common.
    name : str
        What viewers call the run.
    awaited : collection of str
        URLs whose viewers were started for this run: they may be late.
    listen_at : str
        The address of this machine where viewers connect to that cannot be connected to.
    listening : collection of str
        Those of `urls` for which that is so.
    """

    def __init__(
        self,
        urls: Iterable[str],
        *,
        run: str,
        name: str,
        awaited: Collection[str] = (),
        listen_at: str = "",
        listening: Collection[str] = (),
    ) -> None:
        self._awaited = awaited
        self._publishers: dict[str, Publisher] = {}
        self._pulses: dict[str, _Pulse] = {}
        self._stores: dict[str, Storage] = {}
        self._told: set[str] = set()
        self._listening = frozenset(listening)
        for url in urls:
            try:
                if url in self._listening:
                    host = f"[{listen_at}]" if ":" in listen_at else listen_at
                    here = f"tcp://{host}:0?listen"
                    publisher = Publisher(here, part_of=run, name=name, settings=_LISTENING)
                else:
                    publisher = Publisher(url, part_of=run, name=name)
            except TransportError as error:
                logger.warning("nothing is streamed to %s: %s", url.partition("#")[0], error)
                continue
            self._publishers[url] = publisher
            self._pulses[url] = _Pulse(publisher)
            self._stores[url] = Storage(url=url, publisher=self._publishers.__getitem__)

    def show(
        self,
        url: str,
        values: Sequence[Value],
        paths: Sequence[str],
        at: Sequence[Coordinates],
        about: About,
    ) -> None:
        """Stream values that were written; what cannot be streamed is a warning, told once."""
        store = self._stores.get(url)
        if store is None:
            return
        self._pulses[url].feel()
        try:
            store.save_batch(values, paths, "napari_stream", at=at, about=about)
        except StorageError as error:
            if about.name not in self._told:
                self._told.add(about.name)
                logger.warning("%s is written, but not streamed: %s", about.name, error)
                self._publishers[url].status("warning", f"{about.name} is not streamed: {error}")

    def settle(self) -> None:
        """Let viewers that answer take what was streamed: it is gone if this process dies now."""
        for url, publisher in self._publishers.items():
            pulse = self._pulses[url]
            if not publisher.stats().sinks[0].viewers or pulse.feel():
                continue
            publisher.flush(max(0.0, pulse.owed_since + _SETTLE_S - time.monotonic()))

    def status(self, level: StatusLevel, text: str) -> None:
        """Tell all viewers a line."""
        for publisher in self._publishers.values():
            publisher.status(level, text)

    def outline(self, outline: Outline) -> None:
        """Tell all viewers how far the run is."""
        for url, publisher in self._publishers.items():
            self._pulses[url].feel()
            publisher.outline(outline)

    @property
    def listens(self) -> dict[str, str]:
        """Where viewers connect to, by the URL that they have for the run."""
        return {url: self._publishers[url].urls[0] for url in self._listening & {*self._publishers}}

    def refer(self, url: str, there: str) -> None:
        """Have the viewers at a URL connect to publishers of another process."""
        if (publisher := self._publishers.get(url)) is not None:
            publisher.refer(there)

    def close(self) -> None:
        """Let viewers take what waits for them, as long as they do take it, and let go."""
        deadline = time.monotonic() + _TOTAL_S
        self._stores.clear()
        while self._publishers:
            url, publisher = self._publishers.popitem()
            taken = self._drain(url, publisher, deadline)
            publisher.close(0.5 if taken else 0.0)

    def _drain(self, url: str, publisher: Publisher, deadline: float) -> bool:
        """Return whether all is taken; a viewer that stands still is not waited for."""
        if url in self._listening:
            _wait_for_viewer(publisher, min(deadline, time.monotonic() + _COMING_S))
        # It has just come, and is about to be found.
        is_coming = url in self._awaited and find_listing(parse_url(url)) is not None
        pulse = self._pulses[url]
        while not pulse.feel():
            now = time.monotonic()
            end = deadline if is_coming else min(deadline, pulse.owed_since + _PATIENCE_S)
            if now >= end:
                return False
            publisher.flush(end - now)
        return True

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _wait_for_viewer(publisher: Publisher, deadline: float) -> None:
    """Wait until a viewer came that may just have been told where to."""
    while time.monotonic() < deadline and not publisher.stats().sinks[0].viewers:
        time.sleep(0.01)
