"""What a publisher tells of what became of the items."""

from __future__ import annotations

from dataclasses import dataclass

from napari_streaming.publish.tally import Tally

__all__ = ["PublisherStats", "SinkStats"]


@dataclass(frozen=True, slots=True)
class SinkStats:
    """What became of the items for one URL.

    Parameters
    ----------
    url : str
        Without its token.
    state : str
        For people: "connected", "waiting for a viewer", or why there is none.
    viewers : int
        Viewers that are connected now.
    tally : Tally
        Items sent, acknowledged and dropped, and bytes sent, summed over viewers.
    queued_bytes : int
        Bytes that wait.
    problems : int
        Complaints of viewers; each is in the log.
    link : float
        Bytes in a second that the slowest connection carried when it was busy; infinite until
        one was. Those slower than the codec get compressed pixels: see ``tally.inline``.
    """

    url: str
    state: str
    viewers: int
    tally: Tally
    queued_bytes: int
    problems: int
    link: float


@dataclass(frozen=True, slots=True)
class PublisherStats:
    """What a publisher has done so far.

    Parameters
    ----------
    published : int
        Items that were handed in.
    sent, dropped, bytes : int
        Summed over all sinks: items sent, items given up, bytes sent.
    memory : int
        Bytes of memory that planes take now: those that wait, and those that are kept for
        viewers yet to come.
    spool : int
        Bytes on disk, likewise.
    sinks : tuple of SinkStats
        For each URL.
    """

    published: int
    sent: int
    dropped: int
    bytes: int
    memory: int
    spool: int
    sinks: tuple[SinkStats, ...]
