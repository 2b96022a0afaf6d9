"""Bytes to messages and back, with every bound checked before anything is allocated.

A message is a sequence of *frames*: a header, then one raw buffer for each array that is
not in shared memory. The header is the magic, the version and a msgpack map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from napari_streaming.errors import MalformedError, VersionError
from napari_streaming.wire.compression import decompress
from napari_streaming.wire.messages import (
    Array,
    Coordinate,
    Declare,
    Item,
    Message,
    Metric,
    Subscribe,
    Want,
)

__all__ = ["MAGIC", "MAX_BUFFER", "MAX_HEADER", "VERSION", "Buffer", "as_array", "pack", "unpack"]

MAGIC = b"NPST"
VERSION = 1
_PREFIX = MAGIC + VERSION.to_bytes(2, "little")
MAX_HEADER = 4 * 1024 * 1024
MAX_BUFFER = 4 * 1024 * 1024 * 1024

Buffer: TypeAlias = bytes | bytearray | memoryview

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    """Return the header frame of a message; buffers follow it as they are."""
    return _PREFIX + _encoder.encode(message)


def unpack(frames: Sequence[Buffer]) -> tuple[Message, Sequence[Buffer]]:
    """Return the message in these frames, and its raw buffers.

    Parameters
    ----------
    frames : sequence of bytes-like
        The header, then the raw buffers.

    Returns
    -------
    message : Message
    buffers : sequence of bytes-like
        One for each array of an item that is not in shared memory, in their order;
        each exactly as long as its array, or at most so long if it is compressed.

    Raises
    ------
    VersionError
        The header is of another version.
    MalformedError
        Anything else is wrong.
    """
    if not frames:
        raise MalformedError("an empty message")
    header = memoryview(frames[0])
    if bytes(header[: len(MAGIC)]) != MAGIC:
        raise MalformedError(f"not a napari-streaming message: starts with {bytes(header[:8])!r}")
    version = int.from_bytes(header[len(MAGIC) : len(_PREFIX)], "little")
    if version != VERSION:
        raise VersionError(
            f"the other side speaks protocol version {version}, this side version {VERSION}: "
            "install the same version of napari-streaming on both sides, and start both anew"
        )
    if len(header) > MAX_HEADER:
        raise MalformedError(f"a header of {len(header)} bytes, at most {MAX_HEADER} allowed")
    try:
        message = _decoder.decode(header[len(_PREFIX) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Such an error may quote megabytes of the peer's, and goes into logs and a Reject.
        raise MalformedError(f"not a valid message: {str(error)[:500]}") from None
    _check(message, frames[1:])
    return message, frames[1:]


def _check(message: Message, buffers: Sequence[Buffer]) -> None:
    """Check what types alone cannot say."""
    if isinstance(message, Metric):
        if not len(message.steps) == len(message.values) == len(message.times):
            raise MalformedError(f"metric {message.name!r}: columns of different lengths")
        if last_number(message) >= 2**63:
            raise MalformedError(f"metric {message.name!r}: numbers beyond {2**63 - 1}")
    if isinstance(message, Declare):
        _check_size(message)
    inline = [a for a in message.arrays if a.block is None] if isinstance(message, Item) else []
    if len(inline) != len(buffers):
        raise MalformedError(f"{len(buffers)} buffers for {len(inline)} inline arrays")
    if isinstance(message, Subscribe) and message.region is not None:
        top, left, bottom, right = message.region
        if not (top < bottom and left < right):
            raise MalformedError(f"a region of {message.region}")
    if isinstance(message, Want):
        _check_coordinates(message.at.values())
    if isinstance(message, Item):
        _check_coordinates(itertools.chain(message.at.values(), *message.along.values()))
        for array in message.arrays:
            _check_size(array)
    for array, buffer in zip(inline, buffers, strict=True):
        size = memoryview(buffer).nbytes
        if size > nbytes(array) or (size < nbytes(array) and not array.codec):
            raise MalformedError(
                f"array {array.name!r} of {array.dtype} {array.shape} takes {nbytes(array)} "
                f"bytes, its buffer has {size}"
            )


def _check_coordinates(values: Iterable[Coordinate]) -> None:
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise MalformedError(f"a coordinate of {value}")


def _check_size(array: Array | Declare) -> None:
    """Check that numpy can make such an array, which empty ones do not promise."""
    size = math.prod(max(1, n) for n in array.shape) * max(1, np.dtype(array.dtype).itemsize)
    if size > MAX_BUFFER:
        raise MalformedError(f"{array.name!r} of {array.dtype} {array.shape} is too big")


def last_number(metric: Metric) -> int:
    """Return the number of the last value of a metric."""
    return metric.first + metric.every * (len(metric.values) - 1)


def nbytes(array: Array) -> int:
    """Return the size of an array's data in bytes."""
    return math.prod(array.shape) * np.dtype(array.dtype).itemsize


def as_array(array: Array, buffer: Buffer) -> np.ndarray:
    """View a buffer as the array it is, without a copy; decompress one that is compressed.

    Raises
    ------
    MalformedError
        It is not the array, compressed.
    """
    if array.codec:
        itemsize = max(1, np.dtype(array.dtype).itemsize)
        buffer = decompress(buffer, itemsize, nbytes(array)).data
    return np.ndarray(array.shape, np.dtype(array.dtype), buffer)
