"""The layers of a recording, as they were at its end; planes stay on disk until looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.layer_view import Transform
from napari_streaming.receive.placement import Axes, Placement
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.plane_stack import PlaneStack
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.record.opened import OpenRecording, StoredItem, plane_shape
from napari_streaming.record.timeline import Chunk
from napari_streaming.record.unfold import unfold
from napari_streaming.wire.messages import Coordinate, Declare

__all__ = ["StoredLayer", "stored_layers"]

Read = Callable[[Chunk, tuple[int, ...], "np.dtype[np.generic]"], np.ndarray]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A plane or a part of one, and where that lies in it; no offset: it is whole."""

    chunk: Chunk
    shape: tuple[int, ...]
    offset: tuple[int, ...] = ()


class _StoredPlanes(PlaneStack):
    """Planes that are read whenever they are looked at."""

    def __init__(self, declare: Declare, memory: PlaneMemory, read: Read) -> None:
        super().__init__(declare.shape, np.dtype(declare.dtype), memory)
        self._read = read
        self._pieces: dict[tuple[str, ...], dict[tuple[Coordinate, ...], list[_Piece]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._pieces.values()))

    def coordinates(self) -> Iterator[dict[str, Coordinate]]:
        for names, planes in self._pieces.items():
            for values in planes:
                yield dict(zip(names, values, strict=True))

    def add(self, at: dict[str, Coordinate], piece: _Piece) -> None:
        """Have a plane, or a part of one, at coordinates."""
        names = tuple(sorted(at))
        values = tuple(at[name] for name in names)
        planes = self._pieces.setdefault(names, {})
        if piece.offset and values in planes:
            planes[values].append(piece)
        else:
            planes[values] = [piece]

    def has(self, at: dict[str, Coordinate]) -> bool:
        return bool(self._find_pieces(at))

    def get(self, at: dict[str, Coordinate]) -> np.ndarray | None:
        pieces = self._find_pieces(at)
        if not pieces:
            return None
        plane = np.zeros(self.shape, self.dtype)
        for piece in pieces:
            array = self._read(piece.chunk, piece.shape, self.dtype)
            if len(pieces) == 1 and piece.shape == self.shape:
                plane = array
                break
            where = piece.offset or (0,) * array.ndim
            plane[tuple(slice(o, o + n) for o, n in zip(where, array.shape, strict=False))] = array
        plane.flags.writeable = False
        return plane

    def _find_pieces(self, at: dict[str, Coordinate]) -> Sequence[_Piece]:
        # A plane that says more about where it belongs wins.
        for names in sorted(self._pieces, key=len, reverse=True):
            if all(name in at for name in names):
                found = self._pieces[names].get(tuple(at[name] for name in names))
                if found:
                    return found
        return ()


class StoredLayer(StreamedLayer):
    """A layer of a recording.

    Parameters
    ----------
    name : str
    declare : Declare
    axes : Axes
        Of all layers of the recording.
    memory : PlaneMemory
    recording : OpenRecording
    """

    def __init__(
        self,
        name: str,
        declare: Declare,
        axes: Axes,
        memory: PlaneMemory,
        recording: OpenRecording,
    ) -> None:
        super().__init__(name, declare, axes, Placement(), memory, threading.Condition())
        self._recording = recording
        self._stored = _StoredPlanes(declare, memory, recording.read)
        self.planes = self._stored

    def take(self, stored: StoredItem) -> None:
        """Take in an item.

        Raises
        ------
        StorageError
            Points or the like cannot be read.
        """
        item, t = stored.item, stored.entry.t
        if not self.has_planes:
            arrays = self._recording.arrays(stored)
            self.put_set(item.at, arrays, key=item.key, append=item.append, published=t)
            return
        here = Transform(
            item.scale or stored.declare.scale, item.translate or stored.declare.translate
        )
        moved = here != Transform(self.declare.scale, self.declare.translate)
        for at, chunk in zip(unfold(item), stored.entry.planes, strict=True):
            self._stored.add(at, _Piece(chunk, plane_shape(item), item.offset))
            self._note_transform(at, here if moved else None)
            self._placed(at, t)

    def take_canvas(self, at: dict[str, Coordinate], chunk: Chunk) -> None:
        """Take in a plane that was put together of the parts before it."""
        self._stored.add(at, _Piece(chunk, self.declare.shape))

    @property
    def contrast_limits(self) -> tuple[float, float] | None:
        """As declared, else the range of the newest plane, judged by some of its pixels."""
        if self.declare.contrast_limits or not len(self._stored):
            return self.declare.contrast_limits
        plane = self._stored.get(self._all.latest)
        few = np.empty(0) if plane is None else plane[..., ::8, ::8]
        few = few[np.isfinite(few)] if few.dtype.kind == "f" else few
        if not few.size:
            return None
        low, high = float(few.min()), float(few.max())
        return low, high if high > low else low + 1.0


def stored_layers(recording: OpenRecording) -> dict[str, StoredLayer]:
    """Return the layers of a recording by name.

    Raises
    ------
    DataError, StorageError
        It is damaged.
    """
    axes = Axes()
    memory = PlaneMemory(0, Arena(), lambda _: None)
    layers: dict[str, StoredLayer] = {}
    of_stream: dict[tuple[str, int], StoredLayer] = {}

    def layer_of(run: str, declare: Declare) -> StoredLayer:
        if (run, declare.stream) not in of_stream:
            revision, name = 1, declare.name
            while name in layers and not layers[name].takes(declare, padded=False):
                revision += 1
                name = f"{declare.name} [{revision}]"
            if name not in layers:
                layers[name] = StoredLayer(name, declare, axes, memory, recording)
                if layers[name].has_planes:
                    axes.note_volume(declare)
            of_stream[run, declare.stream] = layers[name]
        return of_stream[run, declare.stream]

    for entry in recording.entries:
        if (stored := recording.item_of(entry)) is not None:
            layer_of(entry.run, stored.declare).take(stored)
        elif entry.canvas is not None:
            declare = recording.declare_of(entry.run, entry.canvas.stream)
            layer_of(entry.run, declare).take_canvas(entry.canvas.at, entry.canvas.chunk)
    return layers
