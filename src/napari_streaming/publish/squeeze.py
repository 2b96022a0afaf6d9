"""Whether buffers for one viewer are compressed: where that takes less time than it saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from napari_streaming.publish.staging import Parcel, Staged
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.compression import compress
from napari_streaming.wire.messages import Array, Codec

__all__ = ["Packed", "Squeeze", "describe"]

_BUSY = 1024 * 1024  # bytes under way that show how fast the link is
_SAMPLE_S = 0.25
_LASTS_S = 10.0  # for so long a rate is believed that nothing confirms
_LEAD_S = 0.5  # of the link's rate may be under way
_SMALL = 4096
_TRY_AGAIN = 64  # arrays that are sent as they are after one that did not get smaller
_FIRST_GUESS = 400e6  # bytes that are compressed in a second, until it is measured


class Packed(NamedTuple):
    """A buffer as it is sent."""

    codec: Codec
    data: Buffer


class Squeeze:
    """Measures a link and the codec, and compresses while the link is the slower one.

    Parameters
    ----------
    codecs : sequence of str
        Those that the viewer understands; none where it is on this machine.
    clock : callable, optional
        Returns the time in seconds; never goes back.

    Attributes
    ----------
    link : float
        Bytes in a second that the link carried when it was busy; infinite until it was.
    """

    def __init__(
        self, codecs: Sequence[str] = (), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.link = np.inf
        self._can = "zstd" in codecs
        self._clock = clock
        self._under_way = 0  # bytes as they are sent
        self._since: float | None = None  # when the link got busy
        self._carried = 0
        self._measured_at = 0.0
        self._speed = _FIRST_GUESS
        self._ratios: dict[int, float] = {}  # of each stream
        self._untried: dict[int, int] = {}

    def wants(self, parcel: Parcel) -> bool:
        """Return whether a parcel is to be compressed."""
        if not self._can or parcel.nbytes < _SMALL:
            return False
        if self._untried.get(parcel.stream, 0):
            return False
        saves = 1 - 1 / self._ratios.get(parcel.stream, 2.0)
        return self.link < self._speed * saves

    def pack(self, parcel: Parcel) -> list[Packed]:
        """Return the buffers of a parcel, compressed where that makes them smaller.

        Raises
        ------
        OSError
            One is on disk, which does not give it back.
        """
        start = self._clock()
        packed = [_pack(array) for array in parcel.arrays]
        spent = self._clock() - start
        ratio = parcel.nbytes / max(1, sum(memoryview(one.data).nbytes for one in packed))
        self._ratios[parcel.stream] = max(ratio, 1.01)
        if ratio < 1.1:
            self._untried[parcel.stream] = _TRY_AGAIN
        self._speed += (parcel.nbytes / max(spent, 1e-6) - self._speed) / 4
        return packed

    def window(self, limit: int) -> int:
        """Return how many bytes of items may be under way, of at most `limit`.

        More would only make what is newest wait longer.
        """
        if not self._can or self.link == np.inf:
            return limit
        ratio = max(self._ratios.values(), default=1.0)
        return min(limit, max(_BUSY, int(self.link * ratio * _LEAD_S)))

    def sent(self, parcel: Parcel, nbytes: int) -> None:
        """Note that a parcel is under way, as so many bytes."""
        self._untried[parcel.stream] = max(0, self._untried.get(parcel.stream, 0) - 1)
        self._under_way += nbytes
        if self._since is None and self._under_way >= _BUSY:
            self._since, self._carried = self._clock(), 0

    def acknowledged(self, nbytes: int) -> None:
        """Note that so many bytes have arrived."""
        self._under_way -= nbytes
        now = self._clock()
        if self._since is not None:
            self._carried += nbytes
            if now - self._since >= _SAMPLE_S:
                self.link = self._carried / (now - self._since)
                self._measured_at, self._since = now, None
        if self._under_way < _BUSY:
            self._since = None
        elif self._since is None:
            self._since, self._carried = now, 0
        if now - self._measured_at > _LASTS_S:
            self.link *= 2  # it may have become faster: find out
            self._measured_at = now


def _pack(array: Staged) -> Packed:
    data = array.buffer()
    if array.nbytes >= _SMALL:
        smaller = compress(data, max(1, np.dtype(array.dtype).itemsize))
        if len(smaller) < array.nbytes:
            return Packed("zstd", smaller)
    return Packed("", data)


def describe(
    parcel: Parcel, packed: Sequence[Packed] | None, *, shared: bool
) -> tuple[tuple[Array, ...], list[Buffer]]:
    """Return the arrays of a parcel as a viewer is told of them, and their buffers."""
    arrays, buffers = list[Array](), list[Buffer]()
    for index, array in enumerate(parcel.arrays):
        block = array.block() if shared else None
        inline = packed[index] if packed else Packed("", b"" if block else array.buffer())
        arrays.append(Array(array.name, array.dtype, array.shape, block, inline.codec))
        if block is None:
            buffers.append(inline.data)
    return tuple(arrays), buffers
