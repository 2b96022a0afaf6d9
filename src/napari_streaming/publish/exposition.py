"""``/metrics`` of a publisher that listens over WebSocket: its counters, for Prometheus."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from napari_streaming.transport.base import HttpHandler, HttpResponse
from napari_streaming.wire.session import view_token

if TYPE_CHECKING:
    from napari_streaming.publish.stats import PublisherStats, SinkStats

__all__ = ["MetricsPage", "exposition"]

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "napari_streaming_"
_OF_EACH_SINK: tuple[tuple[str, str, str, Callable[[SinkStats], float]], ...] = (
    ("viewers", "gauge", "Viewers that are connected", lambda s: s.viewers),
    ("sent_total", "counter", "Items that were sent", lambda s: s.tally.sent),
    ("acknowledged_total", "counter", "Items that arrived", lambda s: s.tally.acknowledged),
    ("dropped_total", "counter", "Items that were given up", lambda s: s.tally.dropped),
    ("sent_bytes_total", "counter", "Bytes of the items sent", lambda s: s.tally.bytes),
    ("inline_bytes_total", "counter", "Bytes sent, compressed", lambda s: s.tally.inline),
    ("queued_bytes", "gauge", "Bytes that wait", lambda s: s.queued_bytes),
    ("problems_total", "counter", "Complaints of viewers", lambda s: s.problems),
    ("link_bytes_per_second", "gauge", "What the slowest link carried", lambda s: s.link),
)


class MetricsPage:
    """Answers a GET of ``/metrics`` from whoever shows the token; an :data:`HttpHandler`.

    Parameters
    ----------
    stats : callable
        Returns the publisher's counters.
    token : callable
        Returns the token of the URL. The one to look on with will do: ``Authorization:
        Bearer view-…``.
    others : HttpHandler, optional
        Has all other pages.
    """

    def __init__(
        self,
        stats: Callable[[], PublisherStats],
        token: Callable[[], str],
        others: HttpHandler | None = None,
    ) -> None:
        self._stats, self._token, self._others = stats, token, others

    def __call__(self, path: str, headers: Mapping[str, str]) -> HttpResponse | None:
        """Return the page, or who has it."""
        if path != "/metrics":
            return self._others(path, headers) if self._others else None
        given = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
        shown = given.removeprefix("Bearer ").encode("utf-8", "replace")
        # Each is compared in a time that does not depend on it.
        known = [
            hmac.compare_digest(shown, one.encode())
            for one in (self._token(), view_token(self._token()))
        ]
        if not any(known):
            about = {"WWW-Authenticate": 'Bearer realm="napari-streaming"'}
            return HttpResponse(401, b"show the token: Authorization: Bearer view-...\n", about)
        return HttpResponse(200, exposition(self._stats()).encode(), {"Content-Type": _TYPE})


def exposition(stats: PublisherStats) -> str:
    """Return counters in Prometheus' text format.

    Parameters
    ----------
    stats : PublisherStats
    """
    lines = [
        *_family("published_total", "counter", "Items that were handed in", stats.published),
        *_family("memory_bytes", "gauge", "Memory that planes take now", stats.memory),
        *_family("spool_bytes", "gauge", "Disk that planes take now", stats.spool),
    ]
    for name, kind, text, value in _OF_EACH_SINK:
        lines += _head(f"sink_{name}", kind, text)
        for sink in stats.sinks:
            lines.append(_sample(f"sink_{name}", value(sink), sink.url))
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, value: float) -> Iterable[str]:
    return [*_head(name, kind, text), _sample(name, value)]


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return [f"# HELP {_PREFIX}{name} {text}.", f"# TYPE {_PREFIX}{name} {kind}"]


def _sample(name: str, value: float, url: str = "") -> str:
    escaped = url.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    label = f'{{url="{escaped}"}}' if url else ""
    return f"{_PREFIX}{name}{label} {'+Inf' if value == math.inf else repr(value)}"
