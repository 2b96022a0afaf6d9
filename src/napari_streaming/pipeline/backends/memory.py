"""A dict of this process, which all threads share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.backends.base import Backend, Batch
from napari_streaming.pipeline.backends.stack import positions, stack, take_apart
from napari_streaming.pipeline.values import Value

__all__ = ["MemoryBackend"]


@dataclass(frozen=True, slots=True)
class _Kept:
    values: list[Value]
    whole: Value | None


class MemoryBackend(Backend):
    """Keeps copies, so that later changes do not reach them; what it gives back is read-only."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def save(self, batch: Batch) -> None:  # noqa: D102  # documented by the base class
        if batch.kind in ("points", "metric"):
            positions(batch.at)
            values = list(batch.values)
            kept = _Kept(values, values[0] if len(values) == 1 else None)
        elif len(batch.values) == 1:
            (array,) = batch.values
            assert isinstance(array, np.ndarray)
            whole = array.astype(array.dtype.newbyteorder("="))
            whole.flags.writeable = False
            kept = _Kept([whole], whole)
        else:
            stacked = stack(batch)
            stacked.array.flags.writeable = False
            kept = _Kept(list(take_apart(stacked.array, stacked.record)), stacked.array)
        self._kept[batch.path] = kept

    def load(self, path: str, *, whole: bool) -> list[Value]:  # noqa: D102
        kept = self._kept.get(path)
        if kept is None:
            raise DataError("nothing was saved there by this Storage; save it first")
        return [kept.whole] if whole and kept.whole is not None else list(kept.values)

    def exists(self, path: str) -> bool:  # noqa: D102
        return path in self._kept
