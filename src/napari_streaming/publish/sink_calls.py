"""The calls of a publisher that begin and end streaming somewhere."""

from __future__ import annotations

from napari_streaming.publish.engine import Engine
from napari_streaming.publish.sink import LocalViewer
from napari_streaming.transport.base import HttpHandler
from napari_streaming.uri import StreamURL, parse_url
from napari_streaming.wire.messages import Peer
from napari_streaming.wire.session import view_address

__all__ = ["SinkCalls"]


class SinkCalls:
    """What a :class:`Publisher` has for more viewers, and for recordings."""

    _engine: Engine
    _me: Peer
    _viewers: dict[LocalViewer, StreamURL]
    _page: bool

    def open(self, sink: str | LocalViewer) -> None:
        """Stream to one more URL, or to a recording, from now on.

        Parameters
        ----------
        sink : str or LocalViewer
            As for the class. What was published before is sent as to any viewer that is late.

        Raises
        ------
        URLError, TransportError
            As for the class.
        """
        if isinstance(sink, str):
            url = parse_url(sink).to_publish()
            self._engine.open_sink(url, self._me, _pages(url) if self._page else None)
            return
        there = parse_url(sink.begin(self._engine.report))
        self._viewers[sink] = there
        self._engine.open_sink(there, self._me)

    def shut(self, sink: str | LocalViewer, timeout: float = 2.0) -> None:
        """Stop streaming there: end a recording, without ending the program.

        Parameters
        ----------
        sink : str or LocalViewer
            That was opened.
        timeout : float
            Seconds to wait at the most until it has taken in what waits.
        """
        if isinstance(sink, str):
            self._engine.shut_sink(parse_url(sink), timeout)
            return
        self._engine.shut_sink(self._viewers.pop(sink), timeout)
        sink.close()

    @property
    def view_urls(self) -> tuple[str, ...]:
        """What a viewer elsewhere is given to look on, and not to steer, at each listening URL."""
        return tuple(map(view_address, self._engine.urls))

    @property
    def view_pages(self) -> tuple[str, ...]:
        """What a browser opens to look on, and not to steer, for each listening ``ws`` URL."""
        return tuple(map(view_address, self._engine.pages))


def _pages(url: StreamURL) -> HttpHandler | None:
    """Return what answers browsers at a URL, if they can ask there."""
    if not (url.listen and url.scheme in ("ws", "wss")):
        return None
    from napari_streaming.web.page import page  # only who may be asked needs it

    return page
