"""Arrays on their way out: checked, and copied once for all viewers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import Struct

from napari_streaming.errors import DataError
from napari_streaming.publish.spool import Record, Spool
from napari_streaming.transport.pool import Slot
from napari_streaming.wire.codec import MAX_BUFFER, Buffer
from napari_streaming.wire.messages import Block, Coordinate, Declare

__all__ = [
    "INLINE",
    "Lent",
    "Parcel",
    "Staged",
    "check_dtype",
    "clean_coordinates",
    "clean_name",
    "clean_text",
    "split_coordinates",
    "stage",
    "stage_on_disk",
    "to_array",
]

INLINE = 32 * 1024
"""Bytes up to which an array travels in the message itself."""

# Bytes up to which the interpreter's lock is kept while they are copied: a thread that takes it
# meanwhile, and they wait for it where many viewers are served, gives it back much later.
_BRIEF = 1024 * 1024


class Staged(Struct, frozen=True):
    """One array of a parcel: in a slot of the pool, as bytes, or on disk."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    slot: Slot | None
    data: bytes = b""
    record: Record | None = None

    def release(self) -> None:
        """Let go of its slot, or of its place on disk."""
        if self.slot:
            self.slot.release()
        elif self.record:
            self.record.release()

    def buffer(self) -> Buffer:
        """Return its bytes.

        Raises
        ------
        OSError
            It is on disk, which does not give it back.
        """
        if self.slot:
            return self.slot.buffer()
        return self.record.read() if self.record else self.data

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def block(self) -> Block | None:
        """Return where it lies in memory that viewers may share."""
        return self.slot.block() if self.slot else None


@dataclass(slots=True, eq=False)
class Parcel:
    """An item that waits for viewers: what is common to all of them.

    Counted by those who hold it; the last one that lets go frees what its arrays take.
    `extra` holds the fields of the Item that few items have, `name` is that of its stream and
    `declare` what is said of it.
    """

    stream: int
    sequence: int
    time: float
    at: dict[str, Coordinate]
    arrays: tuple[Staged, ...]
    nbytes: int
    extra: Mapping[str, Any]
    reliable: bool = False
    name: str = ""
    declare: Declare | None = None
    _users: int = field(default=1, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def in_pool(self) -> bool:
        """Whether it takes memory of the pool."""
        return any(array.slot for array in self.arrays)

    @property
    def is_on_disk(self) -> bool:
        """Whether its arrays wait on disk."""
        return self.arrays[0].record is not None

    @property
    def is_idle(self) -> bool:
        """Whether the only hold of it is the caller's."""
        return self._users == 1

    def retain(self) -> Parcel:
        """Count one more user; return the same parcel."""
        with self._lock:
            self._users += 1
        return self

    def release(self) -> None:
        """Count one user less."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            for array in self.arrays:
                array.release()

    def move_to(self, spool: Spool) -> None:
        """Move its arrays to disk; only while nobody else can get hold of it.

        Raises
        ------
        OSError
            The disk does not take them; they stay where they are.
        """
        moved: list[Staged] = []
        try:
            for array in self.arrays:
                record = spool.write(array.buffer())
                moved.append(Staged(array.name, array.dtype, array.shape, None, b"", record))
        except OSError:
            for one in moved:
                one.release()
            raise
        for array in self.arrays:
            array.release()
        self.arrays = tuple(moved)


@dataclass(frozen=True, slots=True)
class Lent:
    """A slot that is being computed into, and the array that looks at it."""

    slot: Slot
    array: np.ndarray


def stage(
    name: str,
    array: np.ndarray,
    make_slot: Callable[[int], Slot | None],
    lent: Mapping[int, Lent],
) -> Staged | None:
    """Copy an array to where it waits, or take over a slot that already holds it.

    Parameters
    ----------
    name : str
        Its name in the item.
    array : ndarray
        As :func:`to_array` returned it.
    make_slot : callable
        Returns a slot of so many bytes, or None when there is no room.
    lent : mapping of int to Lent
        What was handed out to be computed into, by address.

    Returns
    -------
    Staged or None
        None: there is no room.
    """
    dtype = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("<")
    loan = _loan(array, lent) if lent and array.dtype.isnative else None
    if loan is not None:
        loan.array.flags.writeable = array.flags.writeable = False  # viewers read it from now on
        loan.slot.seal()
        return Staged(name, dtype.str, array.shape, loan.slot.retain())
    if array.nbytes <= INLINE:
        return Staged(name, dtype.str, array.shape, None, array.astype(dtype).tobytes())
    slot = make_slot(array.nbytes)
    if slot is None:
        return None
    if array.nbytes <= _BRIEF and array.flags.c_contiguous and array.dtype.isnative:
        slot.buffer()[:] = array.reshape(-1).view(np.uint8).data
    else:
        np.copyto(slot.array(array.shape, dtype), array)
    slot.seal()
    return Staged(name, dtype.str, array.shape, slot)


def _loan(array: np.ndarray, lent: Mapping[int, Lent]) -> Lent | None:
    """Return what was lent as this array, or as the memory that it looks at the whole of."""
    for loan in list(lent.values()):
        if loan.array is array:
            return loan
    found = lent.get(array.__array_interface__["data"][0])
    if found is None or not array.flags.c_contiguous:
        return None
    return found if found.slot.nbytes == array.nbytes else None


def stage_on_disk(name: str, array: np.ndarray, spool: Spool) -> Staged:
    """Write an array to disk, where it waits; parameters as for :func:`stage`.

    Raises
    ------
    OSError
        The disk does not take it.
    """
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    data = plain.reshape(-1).view(np.uint8).data if plain.nbytes else b""
    return Staged(name, plain.dtype.str, array.shape, None, b"", spool.write(data))


def to_array(what: str, data: Any, kinds: str = "biuf") -> np.ndarray:
    """Return data as an array that can be streamed.

    Parameters
    ----------
    what : str
        How to call it in an error.
    data : array-like
        Any memory layout, any byte order.
    kinds : str
        The dtype kinds that are allowed.

    Raises
    ------
    DataError
        It is no array, too big, or its dtype cannot be streamed.
    """
    try:
        array = np.asarray(data)
    except (TypeError, ValueError) as error:  # numpy's own words: ragged rows, a GPU's tensor
        raise DataError(f"{what}: cannot be made an array: {error}") from None
    check_dtype(what, array.dtype, kinds)
    if array.nbytes > MAX_BUFFER:
        raise DataError(
            f"{what}: {array.nbytes} bytes, at most {MAX_BUFFER} are possible; stream it in planes"
        )
    return array


def check_dtype(what: str, dtype: np.dtype[Any], kinds: str = "biuf") -> None:
    """Check that arrays of a dtype can be streamed; parameters as in :func:`to_array`."""
    if dtype.kind not in kinds or (dtype.itemsize > 8 and dtype.kind != "U"):
        hint = {
            "O": "rows of different lengths, or Python objects? Make it one array of numbers",
            "c": "publish its absolute value, or real and imaginary part",
            "f": "publish it as float64",
        }.get(dtype.kind, "convert it to numbers first")
        raise DataError(f"{what}: cannot stream dtype {dtype}; {hint}")


def clean_name(name: str) -> str:
    """Return a name that can be sent: not empty, valid Unicode.

    Raises
    ------
    DataError
        It is no string, empty or too long.
    """
    if not isinstance(name, str) or not name or len(name) > 256:
        raise DataError(f"{name!r} is no name: use a string of 1 to 256 characters")
    return clean_text(name)


def clean_text(text: str) -> str:
    """Return a string that can be sent: a file name may hold lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean_coordinates(at: Mapping[str, Any] | None) -> dict[str, Coordinate]:
    """Return coordinates as plain numbers and strings.

    Raises
    ------
    DataError
        One of them is neither a finite number nor a short string.
    """
    cleaned: dict[str, Coordinate] = {}
    for name, value in (at or {}).items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):
            cleaned[clean_name(name)] = clean_name(value) if value else ""
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            cleaned[clean_name(name)] = int(value)
        elif isinstance(value, float) and math.isfinite(value):
            cleaned[clean_name(name)] = value
        else:
            raise DataError(f"at={{{name!r}: {value!r}}}: use a finite number or a string")
    if len(cleaned) > 16:
        raise DataError(f"{len(cleaned)} coordinates, at most 16 are possible")
    return cleaned


def split_coordinates(
    at: Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any] | None, dict[str, tuple[Coordinate, ...]]]:
    """Return the coordinates of a whole item, and those that run along its leading axes.

    Raises
    ------
    DataError
        A list of coordinates holds none, or what is no coordinate.
    """
    if at is None or not any(isinstance(value, _MANY) for value in at.values()):
        return at, {}
    along: dict[str, tuple[Coordinate, ...]] = {}
    for name, values in at.items():
        if isinstance(values, _MANY):
            each = [clean_coordinates({name: value}) for value in values]
            if not 0 < len(each) <= 65536:
                raise DataError(f"at={{{name!r}: ...}}: {len(each)} coordinates for an axis")
            along[clean_name(name)] = tuple(one for clean in each for one in clean.values())
    return {name: value for name, value in at.items() if not isinstance(value, _MANY)}, along


_MANY = (list, tuple, range, np.ndarray)
