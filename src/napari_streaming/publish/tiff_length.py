"""Whether a TIFF file is as long as it says: readers take one that was cut for a shorter one."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from napari_streaming.errors import DataError

__all__ = ["check_length"]

_VERSION_OF_BIG = 43
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_NEEDED = {270, 273, 279, 324, 325}  # the description, and where the pixels are


def check_length(path: Path) -> None:
    """Follow a TIFF file from page to page, as far as its end; of its pixels nothing is read.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        The file ends before something that it speaks of.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _follow(file, size)
        except struct.error:
            raise DataError(
                f"{path} is incomplete or damaged: it ends after {size} bytes, in the middle of "
                "what it says of its pages"
            ) from None


def _follow(file: BinaryIO, size: int) -> None:
    """Visit all pages; a struct.error is what comes of the end of the file."""
    order = "<" if file.read(2) == b"II" else ">"

    def read(layout: str) -> tuple[int, ...]:
        layout = order + layout
        return struct.unpack(layout, file.read(struct.calcsize(layout)))

    (version,) = read("H")
    is_big = version == _VERSION_OF_BIG
    count_of, entry, offset = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I")
    if is_big:
        read("HH")
    seen: set[int] = set()
    (page,) = read(offset)
    while page and page not in seen:  # a page that follows itself is the reader's affair
        seen.add(page)
        file.seek(page)
        (entries,) = read(count_of)
        packed = file.read(entries * struct.calcsize(order + entry))
        for tag, kind, count, value in struct.iter_unpack(order + entry, packed):
            nbytes = _SIZES.get(kind, 0) * count
            if tag not in _NEEDED or nbytes <= len(value):
                continue
            if struct.unpack(order + offset, value)[0] + nbytes > size:
                raise struct.error
        (page,) = read(offset)
