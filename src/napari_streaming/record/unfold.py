"""The coordinates of each plane of an item."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from napari_streaming.wire.messages import Coordinate, Item

__all__ = ["unfold"]


def unfold(item: Item) -> Iterator[dict[str, Coordinate]]:
    """Return where each plane of an item of planes belongs, in their order."""
    for values in itertools.product(*item.along.values()):
        yield item.at | dict(zip(item.along, values, strict=True))
