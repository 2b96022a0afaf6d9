"""From an item's arrays, wherever they lie, to their places in a layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from napari_streaming.errors import MalformedError, StateError, TransportError
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.checks import garbled, mismatch
from napari_streaming.receive.layer_view import Transform
from napari_streaming.receive.reduced import Reduced, Whole
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.transport.pool import AttachedSegment
from napari_streaming.wire.codec import Buffer, as_array
from napari_streaming.wire.messages import PLANE_KINDS, Array, Declare, Item

__all__ = ["OverwrittenError", "UnusableError", "enlarged", "fetch_item", "place_item"]


class OverwrittenError(Exception):
    """The publisher gave an item's memory to another one before it was read."""


class UnusableError(Exception):
    """An item cannot be placed; the message says why, for both sides."""


def fetch_item(
    item: Item,
    buffers: Sequence[Buffer],
    segments: Mapping[str, AttachedSegment],
    declare: Declare,
    arena: Arena,
) -> dict[str, list[np.ndarray]]:
    """Check an item and copy its arrays.

    Parameters
    ----------
    item : Item
    buffers : sequence of bytes-like
        Of the arrays that are not in shared memory.
    segments : mapping of str to AttachedSegment
        The shared memory, by its identity.
    declare : Declare
        What was said of the item's stream.
    arena : Arena
        Memory for planes.

    Returns
    -------
    dict of str to list of ndarray
        By name; each plane of images and labels, else one.

    Raises
    ------
    UnusableError
        It does not match its declaration, holds what it must not, or there is no memory.
    OverwrittenError
        Its memory holds another one by now.
    ProtocolError
        It refers to shared memory that there is not.
    """
    if problem := mismatch(item, declare):
        raise UnusableError(problem)
    try:
        arrays = _fetch(item, buffers, segments, arena)
    except MemoryError as error:
        raise _no_memory(error) from None
    if declare.kind not in PLANE_KINDS:
        sets = {name: array for name, (array,) in arrays.items()}
        if problem := garbled(sets, declare.kind):
            raise UnusableError(problem)
    return arrays


def place_item(
    item: Item,
    arrays: dict[str, list[np.ndarray]],
    declare: Declare,
    layer: StreamedLayer,
    arena: Arena,
    published: float,
) -> bool:
    """Place an item's arrays.

    Parameters
    ----------
    item : Item
    arrays : dict of str to list of ndarray
        As :func:`fetch_item` returns them. They belong to the layer from now on.
    declare : Declare
        What was said of the item's stream.
    layer : StreamedLayer
        Where it belongs.
    arena : Arena
        Memory for planes.
    published : float
        When, in seconds of this side's clock.

    Returns
    -------
    bool
        Whether an axis grew, which other layers may share.

    Raises
    ------
    UnusableError
        There is no memory.
    """
    if layer.has_planes:
        try:
            return _place_planes(item, arrays["data"], declare, layer, arena, published)
        except MemoryError as error:
            raise _no_memory(error) from None
    sets = {name: array for name, (array,) in arrays.items()}
    return layer.put_set(item.at, sets, key=item.key, append=item.append, published=published)


def enlarged(
    item: Item, declare: Declare, arrays: dict[str, list[np.ndarray]]
) -> tuple[Item, Declare, dict[str, list[np.ndarray]]]:
    """Return an item with a pixel for each that its own stand for, as who records takes it.

    Parameters and result as for :func:`place_item`.
    """
    if item.step == 1:
        return item, declare, arrays
    planes = [
        np.asarray(Reduced(plane, Whole.of(item, declare, plane.shape))) for plane in arrays["data"]
    ]
    return replace(item, step=1), declare, {"data": planes}


def _no_memory(error: MemoryError) -> UnusableError:
    return UnusableError(f"no memory left: {error}")


def _place_planes(
    item: Item,
    planes: list[np.ndarray],
    declare: Declare,
    layer: StreamedLayer,
    arena: Arena,
    published: float,
) -> bool:
    here = Transform(item.scale or declare.scale, item.translate or declare.translate)
    moved = here != Transform(layer.declare.scale, layer.declare.translate)
    grew = False
    for plane, values in zip(planes, itertools.product(*item.along.values()), strict=True):
        at = item.at | dict(zip(item.along, values, strict=True))
        full, whole = plane, None
        if item.step > 1:
            whole = Whole.of(item, declare, plane.shape)
        if item.offset:
            part = plane if whole is None else Reduced(plane, whole)
            canvas = arena.allocate(declare.shape, plane.dtype)
            full, whole = layer.patched(at, item.offset, part, canvas), None
        grew |= layer.put_plane(at, full, here if moved else None, published, whole)
    return grew


def _fetch(
    item: Item, buffers: Sequence[Buffer], segments: Mapping[str, AttachedSegment], arena: Arena
) -> dict[str, list[np.ndarray]]:
    """Return an item's arrays in memory of our own, each plane in its own."""
    inline = iter(buffers)
    arrays: dict[str, list[np.ndarray]] = {}
    for array in item.arrays:
        lead, shape = array.shape[: len(item.along)], array.shape[len(item.along) :]
        count = math.prod(lead)
        mine = [arena.allocate(shape, np.dtype(array.dtype)) for _ in range(count)]
        if array.block is None:
            theirs = as_array(array, next(inline)).reshape((count, *shape))
            for one, other in zip(mine, theirs, strict=True):
                np.copyto(one, other)
        else:
            _copy(array, segments, mine)
        arrays[array.name] = mine
    return arrays


def _copy(array: Array, segments: Mapping[str, AttachedSegment], mine: list[np.ndarray]) -> None:
    assert array.block is not None
    segment = segments.get(array.block.segment)
    if segment is None:
        raise StateError(f"a block of segment {array.block.segment}, which is not attached")
    try:
        is_intact = segment.copy(array.block, mine)
    except TransportError as error:
        raise MalformedError(str(error)) from None
    if not is_intact:
        raise OverwrittenError(f"array {array.name!r}")
