"""What every source of another program's protocol does with an item: no link, no shared pool."""

from __future__ import annotations

import time
from collections.abc import Sequence

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.intake import fetch_item, place_item
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.wire.codec import Buffer, nbytes
from napari_streaming.wire.messages import Declare, Item

__all__ = ["take_in"]


def take_in(
    catalog: Catalog,
    arena: Arena,
    layer: StreamedLayer,
    declare: Declare,
    item: Item,
    buffers: Sequence[Buffer],
    published: float,
    received: float,
) -> None:
    """Put an item where it belongs, and count it.

    Parameters
    ----------
    catalog : Catalog
    arena : Arena
        Memory for planes.
    layer : StreamedLayer
        Of the catalog.
    declare : Declare
        The layer's.
    item : Item
    buffers : sequence of bytes-like
        All of its arrays.
    published, received : float
        When, in seconds since the epoch, by this machine's clock.

    Raises
    ------
    UnusableError
        It does not match its declaration, holds what it must not, or there is no memory.
    """
    arrays = fetch_item(item, buffers, {}, declare, arena)
    grew = place_item(item, arrays, declare, layer, arena, published)
    size = sum(nbytes(array) for array in item.arrays)
    layer.counters.arrived(size, published, received, time.time())
    catalog.touch(layer, all_layers=grew)
