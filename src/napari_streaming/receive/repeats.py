"""What of a publisher's run was here before, over whichever connection."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from napari_streaming.transport.channel import Link
from napari_streaming.wire.codec import pack
from napari_streaming.wire.flow import Sequence
from napari_streaming.wire.messages import Metric, Status

__all__ = ["RunStream", "Said"]

_GAPS_KEPT = 4096
_SAID_KEPT = 4096


class Said:
    """Which metrics and status lines came last of one run, and over which link.

    A publisher that reconnects says again what was not acknowledged, and even then the old
    link may still deliver it.
    """

    def __init__(self) -> None:
        self._links: OrderedDict[int, Link] = OrderedDict()

    def repeats(self, message: Metric | Status, link: Link) -> bool:
        """Whether it was another link of the run that brought a message last; note this one."""
        mark = hash(pack(message))
        last = self._links.pop(mark, link)
        self._links[mark] = link
        if len(self._links) > _SAID_KEPT:
            self._links.popitem(last=False)
        return last is not link


@dataclass(slots=True)
class RunStream:
    """What a source knows of one stream, however often its publisher reconnects.

    `gaps` holds the first number of each gap told lately, which no two of them share.
    """

    numbers: Sequence = field(default_factory=Sequence)
    gaps: deque[int] = field(default_factory=lambda: deque(maxlen=_GAPS_KEPT))
