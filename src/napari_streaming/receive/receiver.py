"""The receiver: URLs in, layers out. A script, a test and the dock widget all use this."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING

from napari_streaming.errors import StreamingError, URLError
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog, StreamedLayer
from napari_streaming.receive.openhcs import OpenHcsSource
from napari_streaming.receive.plane_memory import ON_SHOW
from napari_streaming.receive.source import Source, SourceStats
from napari_streaming.settings import ReceiverSettings
from napari_streaming.transport.runtime import host_identity, new_token, program_name
from napari_streaming.uri import StreamURL, parse_url
from napari_streaming.wire.messages import (
    Control,
    ControlAction,
    Coordinate,
    ParameterValue,
    Peer,
    SetParameter,
)
from napari_streaming.wire.session import view_address

if TYPE_CHECKING:
    from napari_streaming.receive.atoplace import AtoplaceSource

__all__ = ["Receiver"]

_MOST_SOURCES = 256


class Receiver:
    """Receives streams and keeps them as layers.

    Parameters
    ----------
    *urls : str
        Where from: a URL is connected to, with ``?listen`` it waits there for publishers;
        with ``openhcs+`` or ``atoplace+`` before its scheme, for what these programs send.
    settings : ReceiverSettings, optional
        Limits.
    keep : bool
        Whether the layers keep what comes; else only ``layers.taps`` get it.

    Attributes
    ----------
    layers : Catalog
        A mapping of names to :class:`StreamedLayer`; also holds the metrics and the log.

    Raises
    ------
    URLError
        A URL cannot be used as given.
    TransportError
        An address to listen at is taken or not allowed.

    Examples
    --------
    >>> with Receiver("tcp://127.0.0.1:5555?listen") as receiver:
    ...     layer = receiver.wait_for("nuclei", timeout=10)
    ...     layer.data[0].mean()
    """

    def __init__(
        self, *urls: str, settings: ReceiverSettings | None = None, keep: bool = True
    ) -> None:
        self._settings = settings or ReceiverSettings()
        budget = self._settings.budget
        self._arena = Arena(min(self._settings.warm, budget), budget + ON_SHOW)
        self._me = Peer(
            role="view",
            program=program_name(),
            software=f"napari-streaming/{version('napari-streaming')}",
            host=host_identity(),
            pid=os.getpid(),
            run=new_token(),
            window=self._settings.window,
        )
        self.layers = Catalog(self._arena, budget, keep=keep)
        self._sources: dict[str, Source | OpenHcsSource | AtoplaceSource] = {}
        self._following = threading.Lock()
        try:
            for url in urls:
                self.open(url)
        except StreamingError:
            self.close()
            raise

    def open(self, url: str) -> str:
        """Listen at, or connect to, one more URL.

        Returns
        -------
        str
            What a person elsewhere is given to reach it, token included; the URL itself if
            it is connected to.

        Raises
        ------
        URLError, TransportError
            As for the class.
        """
        parsed = parse_url(url)
        self.shut(url)
        source = self._make_source(parsed)
        self._sources[source.url.address] = source
        return source.url.shareable() if parsed.listen else url

    def _make_source(self, url: StreamURL) -> Source | OpenHcsSource | AtoplaceSource:
        if not url.dialect:
            return self._native_source(url)
        if url.dialect == "atoplace":
            from napari_streaming.receive.atoplace import AtoplaceSource  # few need it

            return AtoplaceSource(url, self.layers, self._arena)
        if not url.listen:
            raise URLError(
                f"{url}: OpenHCS senders connect to their viewer: press Listen, or add ?listen"
            )
        return OpenHcsSource(url, self.layers, self._arena)

    def _native_source(
        self, url: StreamURL, over: Callable[[Source], None] | None = None
    ) -> Source:
        return Source(url, self._me, self.layers, self._arena, self._settings, self._follow, over)

    def _follow(self, url: str) -> None:
        """Connect to a publisher that another one told of, until it has ended."""
        try:
            there = parse_url(url, listen=False)
            with self._following:
                if there.address in self._sources:
                    return
                if there.dialect or len(self._sources) >= _MOST_SOURCES:
                    raise URLError(
                        f"{there.redacted()}: not followed, there are {len(self._sources)} already"
                    )
                self._sources[there.address] = self._native_source(there, self._over)
        except StreamingError as error:
            self.layers.say("warning", f"a publisher told of another one: {error}")

    def _over(self, source: Source) -> None:
        self._sources.pop(source.url.address, None)
        source.close()

    def shut(self, url: str) -> None:
        """Stop listening at, or disconnect from, a URL; its layers stay."""
        source = self._sources.pop(parse_url(url).address, None)
        if source is not None:
            source.close()

    @property
    def sources(self) -> list[SourceStats]:
        """How each URL is doing."""
        return [source.stats() for source in list(self._sources.values())]

    @property
    def urls(self) -> tuple[str, ...]:
        """What a publisher elsewhere is given to reach each URL that listens."""
        urls = [source.url for source in self._sources.values()]
        return tuple(url.shareable() for url in urls if url.listen)

    @property
    def view_urls(self) -> tuple[str, ...]:
        """What another viewer is given to look on, and not to steer, at each URL connected to."""
        urls = [source.url for source in self._sources.values()]
        return tuple(view_address(u.shareable()) for u in urls if u.token and not u.listen)

    def limit(
        self,
        *,
        streams: Iterable[str] | None = None,
        max_fps: float | None = None,
        max_mb_s: float | None = None,
        max_side: int | None = None,
        region: Sequence[int] | None = None,
    ) -> None:
        """Have publishers send other streams, or less, from now on.

        Parameters
        ----------
        streams : iterable of str, optional
            Names of those that are wanted; empty: all.
        max_fps, max_mb_s : float, optional
            As in :class:`ReceiverSettings`. What is None stays as it is.
        max_side : int, optional
            Likewise. Planes that are here stay; :meth:`want` has one sent in full.
        region : sequence of int, optional
            Likewise; empty: all of each plane.

        Raises
        ------
        ValueError
            A limit is less than nothing.
        """
        now = self._settings
        self._settings = replace(
            now,
            streams=now.streams if streams is None else tuple(streams),
            max_fps=now.max_fps if max_fps is None else float(max_fps),
            max_mb_s=now.max_mb_s if max_mb_s is None else float(max_mb_s),
            max_side=now.max_side if max_side is None else int(max_side),
            region=now.region if region is None else _region(region),
        )
        for source in list(self._sources.values()):
            if isinstance(source, Source):
                source.limit(self._settings)

    def want(self, name: str, at: Mapping[str, Coordinate] | None = None) -> None:
        """Have a plane sent in full that came smaller; the log says if it is not kept any more.

        Parameters
        ----------
        name : str
            The layer.
        at : mapping of str to int, float or str, optional
            Where the plane is.

        Raises
        ------
        KeyError
            There is no such layer.
        """
        layer, here = self.layers[name], dict(at or {})
        for source in list(self._sources.values()):
            if isinstance(source, Source):
                source.want(layer, here)

    def control(self, run: str, action: ControlAction) -> None:
        """Ask a program to pause, resume, take a step or stop.

        Parameters
        ----------
        run : str
            Which: a key of ``layers.programs``.
        action : {"pause", "resume", "step", "stop"}
        """
        self._ask(run, Control(action))

    def set_parameter(self, run: str, name: str, value: ParameterValue) -> None:
        """Ask a program to use a value; what it does of it stands in ``layers.programs``.

        Parameters
        ----------
        run : str
            Which: a key of ``layers.programs``.
        name : str
            The parameter's.
        value : bool, int, float or str
            Of a button anything: it is pressed.
        """
        self._ask(run, SetParameter(name, value))

    def _ask(self, run: str, wish: Control | SetParameter) -> None:
        for source in list(self._sources.values()):
            if not isinstance(source, OpenHcsSource):
                source.ask(run, wish)

    def wait(self, condition: Callable[[], object], timeout: float) -> bool:
        """Wait until a condition holds; it is looked at after every change.

        Parameters
        ----------
        condition : callable
            Without arguments.
        timeout : float
            Seconds.

        Returns
        -------
        bool
            Whether it holds.
        """
        deadline = time.monotonic() + timeout
        while True:
            version_before = self.layers.version
            if condition():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self.layers.wait(version_before, remaining)

    def wait_for(self, name: str, timeout: float) -> StreamedLayer:
        """Wait for a layer and its first item.

        Raises
        ------
        TimeoutError
            It has not come in `timeout` seconds.
        """
        layers = self.layers
        if not self.wait(lambda: name in layers and layers[name].stats().received, timeout):
            known = ", ".join(layers) or "none"
            raise TimeoutError(f"no layer {name!r} after {timeout} s; there are: {known}")
        return layers[name]

    def close(self) -> None:
        """Stop; the layers stay readable."""
        while self._sources:
            self._sources.popitem()[1].close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _region(numbers: Sequence[int]) -> tuple[int, int, int, int] | None:
    if not numbers:
        return None
    top, left, bottom, right = map(int, numbers)
    return top, left, bottom, right
