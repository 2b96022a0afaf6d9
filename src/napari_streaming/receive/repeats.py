"""What of a publisher's run was here before, over whichever connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from napari_streaming.wire.flow import Sequence

__all__ = ["RunStream"]

_GAPS_KEPT = 4096


@dataclass(slots=True)
class RunStream:
    """What a source knows of one stream, however often its publisher reconnects.

    `gaps` holds the first number of each gap told lately, which no two of them share.
    """

    numbers: Sequence = field(default_factory=Sequence)
    gaps: deque[int] = field(default_factory=lambda: deque(maxlen=_GAPS_KEPT))
