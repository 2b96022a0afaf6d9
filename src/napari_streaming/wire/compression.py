"""Buffers made smaller for links that are slower than the codec, and back, within bounds.

The bytes are shuffled, since those of equal worth resemble each other, and compressed by
Zstandard: its decoder is safe with what anybody sends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_streaming.errors import MalformedError

__all__ = ["CODECS", "compress", "decompress"]

CODECS = ("zstd",)
_MAGIC = b"\x28\xb5\x2f\xfd"
_LEVEL = 1  # more never pays for what is live


def compress(data: bytes | bytearray | memoryview, itemsize: int) -> bytes:
    """Return the bytes of an array's elements, compressed.

    Parameters
    ----------
    data : bytes-like
        In C order.
    itemsize : int
        Bytes of an element.
    """
    zstd = _zstd()

    plain = np.frombuffer(data, np.uint8)
    shuffled = np.ascontiguousarray(plain.reshape(-1, itemsize).T) if itemsize > 1 else plain
    return bytes(zstd.compress(shuffled, _LEVEL))


def decompress(data: bytes | bytearray | memoryview, itemsize: int, nbytes: int) -> np.ndarray:
    """Return the bytes of an array's elements; parameters as for :func:`compress`.

    Parameters
    ----------
    nbytes : int
        How many there must be; never are more than these allocated.

    Returns
    -------
    ndarray of uint8, shape (nbytes,)

    Raises
    ------
    MalformedError
        These are not so many bytes, compressed.
    """
    if _content_size(data) != nbytes:
        raise MalformedError(f"compressed data that does not say that it has {nbytes} bytes")
    zstd = _zstd()

    shuffled = np.empty(nbytes, np.uint8)
    try:
        zstd.decompress(data, shuffled)
    except (RuntimeError, ValueError) as error:
        raise MalformedError(f"compressed data that cannot be read: {error}") from None
    if itemsize == 1:
        return shuffled
    plain = np.empty(nbytes, np.uint8)
    plain.reshape(-1, itemsize)[:] = shuffled.reshape(itemsize, -1).T
    return plain


def _zstd() -> Any:
    from numcodecs import zstd  # type: ignore[import-untyped]  # 110 ms: only slow links pay

    return zstd


def _content_size(data: bytes | bytearray | memoryview) -> int | None:
    """Return the size that a Zstandard frame says its content has (RFC 8878, 3.1.1.1)."""
    head = bytes(data[:18])
    if len(head) < 6 or head[:4] != _MAGIC:
        return None
    flag, is_single, dictionary = head[4] >> 6, head[4] >> 5 & 1, head[4] & 3
    start = 5 + (not is_single) + (0, 1, 2, 4)[dictionary]
    length = (is_single, 2, 4, 8)[flag]
    if not length or len(head) < start + length:
        return None
    return int.from_bytes(head[start : start + length], "little") + (256 if length == 2 else 0)
