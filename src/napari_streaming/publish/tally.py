"""What became of the items for one viewer, counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """What became of items, previews aside: counts, and bytes that were sent.

    `inline` is how many of these bytes went through the connection: none of what is in shared
    memory, and less where it was compressed.
    """

    sent: int = 0
    acknowledged: int = 0
    dropped: int = 0
    bytes: int = 0
    inline: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.sent + other.sent,
            self.acknowledged + other.acknowledged,
            self.dropped + other.dropped,
            self.bytes + other.bytes,
            self.inline + other.inline,
        )
