"""From messages to files: what a recording is on disk.

::

    run.nstream                 what is opened: it only says where the rest is
    run.ome.zarr/               bioformats2raw layout: any OME-Zarr tool lists the images
        OME/                    the list
        nuclei/0                an image, its planes in shards
        nuclei/labels/cells/0   labels of an image; or beside the images, if none has their shape
        sets/cells/data         rows of points and the like, with all other arrays of theirs
        tables/cells.csv        points and tracks as a table
        tables/metrics.csv
        timeline.jsonl          all that came, and when

Planes and rows are written as they come; documents and the timeline follow with each
:meth:`Recorder.flush`. Whenever the process is killed, what was flushed is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from napari_streaming.errors import DataError
from napari_streaming.receive.taps import NO_ARRAYS, Arrays
from napari_streaming.record.canvases import Canvases
from napari_streaming.record.documents import KEY, group, write_json
from napari_streaming.record.image import RecordedImage, free_name
from napari_streaming.record.layout import lay_out
from napari_streaming.record.rows import GrowingRows
from napari_streaming.record.shards import ShardFiles
from napari_streaming.record.tables import GrowingTable, columns_of
from napari_streaming.record.timeline import Entry, Rows, TimelineFile
from napari_streaming.record.unfold import unfold
from napari_streaming.wire.messages import (
    PLANE_KINDS,
    Coordinate,
    Declare,
    Item,
    Message,
    Metric,
    Peer,
)

__all__ = ["INDEX", "SUFFIX", "Recorder", "data_folder"]

INDEX, SUFFIX = ".nstream", ".ome.zarr"

Stream = tuple[str, int]
At = Mapping[str, Coordinate]


def data_folder(path: Path) -> Path:
    """Return where a recording's data is, by any of its names: ``run.ome.zarr``."""
    name = path.name
    for suffix in (SUFFIX, ".zarr", INDEX):
        name = name.removesuffix(suffix)
    if not name:
        raise DataError(f"{path}: a recording needs a name, like run{SUFFIX}")
    return path.with_name(name + SUFFIX)


class Recorder:
    """Writes a recording. Only one thread at a time.

    Parameters
    ----------
    path : Path
        Of its folder; what it is opened by stands beside.

    Raises
    ------
    DataError
        There is something of this name, or no folder for it.
    OSError
        It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = data_folder(path)
        self.index = self.path.with_name(self.path.name.removesuffix(SUFFIX) + INDEX)
        for mine in (self.path, self.index):
            if mine.exists():
                raise DataError(f"{mine} exists already: choose another name for the recording")
        if not self.path.parent.is_dir():
            raise DataError(f"{self.path}: there is no folder {self.path.parent}")
        self._began = time.time()
        self.path.mkdir()
        self._files = ShardFiles(self.path)
        self._images: dict[tuple[Stream, frozenset[str]], list[RecordedImage]] = {}
        self._canvases = Canvases()
        self._rows: dict[tuple[Stream, str], GrowingRows] = {}
        self._sets: dict[Stream, str] = {}
        self._tables: dict[tuple[Stream, tuple[str, ...]], GrowingTable] = {}
        self._names: set[str] = set()
        self._listed, self._labels = list[str](), dict[str, list[str]]()
        self._written: dict[str, str] = {}  # documents by their path
        self._peers: dict[str, Peer] = {}
        self._known: set[Stream] = set()
        self.items = self.bytes = 0
        about = {"bioformats2raw.layout": 3, "version": "0.5"}
        ours = {"format": "recording", "timeline": "timeline.jsonl"}
        write_json(self.path / "zarr.json", group(ome=about, **{KEY: ours}))
        self._timeline = TimelineFile(self.path / "timeline.jsonl", self._began)
        self._metrics = GrowingTable(
            self.path / "tables/metrics.csv", ["program", "name", "step", "value", "time"]
        )
        self._list_images()
        write_json(self.index, {"format": "napari-streaming recording", "data": self.path.name})

    # ---- what comes ------------------------------------------------------------------

    def take(
        self,
        peer: Peer,
        message: Message,
        declare: Declare | None = None,
        arrays: Arrays = NO_ARRAYS,
        arrived: float | None = None,
    ) -> None:
        """Write a message, and an item's arrays.

        Parameters
        ----------
        peer : Peer
            Who says it.
        message : Message
        declare : Declare, optional
            Of an item's or a gap's stream.
        arrays : mapping of str to sequence of ndarray
            An item's.
        arrived : float, optional
            When, in seconds since the epoch; by default now.

        Raises
        ------
        OSError
            The disk has no room, or the folder is not there any more. What was written before
            is still good.
        """
        t = max(0.0, (time.time() if arrived is None else arrived) - self._began)
        run = peer.run
        if self._peers.get(run) != peer:
            self._peers[run] = peer
            self._timeline.add(Entry(t, run, peer=peer))
        if isinstance(message, Declare):
            self._declare(t, run, message)
            return
        if declare is not None:
            self._declare(t, run, declare)
        if isinstance(message, Item):
            assert declare is not None
            if declare.kind in PLANE_KINDS:
                self._take_planes(t, run, message, declare, arrays["data"])
            else:
                sets = {name: array for name, (array,) in arrays.items()}
                self._take_set(t, run, message, declare, sets)
            self.items += 1
            self.bytes += sum(one.nbytes for many in arrays.values() for one in many)
            return
        if isinstance(message, Metric):
            columns = (message.steps, message.values, message.times)
            rows = [(peer.program, message.name, *row) for row in zip(*columns, strict=True)]
            self._metrics.add(rows, len(rows))
        self._timeline.add(Entry(t, run, message=message))

    def left(self, peer: Peer, reason: str) -> None:
        """Note that a publisher is gone."""
        self._timeline.add(Entry(time.time() - self._began, peer.run, left=reason))
        self._peers.pop(peer.run, None)

    def _declare(self, t: float, run: str, declare: Declare) -> None:
        if (run, declare.stream) not in self._known:
            self._known.add((run, declare.stream))
            self._timeline.add(Entry(t, run, message=declare))

    # ---- planes ----------------------------------------------------------------------

    def _take_planes(self, t: float, run: str, item: Item, declare: Declare, planes: Any) -> None:
        stream = (run, declare.stream)
        chunks = []
        for at, plane in zip(unfold(item), planes, strict=True):
            image = self._image(stream, declare, at)
            if item.offset:
                chunks.append(image.append(at, plane))
                self._canvases.paint(stream, declare, at, item.offset, plane, image)
            else:
                self._canvases.forget(stream, at)
                chunks.append(image.write(at, plane))
        self._timeline.add(Entry(t, run, message=_bare(item), planes=tuple(chunks)))

    def _image(self, stream: Stream, declare: Declare, at: At) -> RecordedImage:
        """Return the image that the plane at coordinates belongs to, made if need be."""
        mine = self._images.setdefault((stream, frozenset(at)), [])
        for image in mine:
            if image.takes(at):
                return image
        layout = lay_out(declare, at)
        wanted = "_".join([declare.name, *(f"{name}={at[name]}" for name in layout.split)])
        home = self._home_of_labels(stream[0], declare, at) if declare.kind == "labels" else None
        name = free_name(wanted, home or "", self._names)
        path = f"{home}/{name}" if home else name
        made = RecordedImage(self._files, path, declare, layout, at)
        if home:
            self._labels.setdefault(home, []).append(name)
        elif made.ome:
            self._listed.append(path)
        mine.append(made)
        return made

    def _home_of_labels(self, run: str, declare: Declare, at: At) -> str | None:
        """Return where labels go: to an image of the same planes, if there is one."""
        for ((of_run, _), _), images in self._images.items():
            for image in images:
                if of_run == run and image.is_home_for(declare, at):
                    return f"{image.path}/labels"
        return None

    # ---- points and the like ---------------------------------------------------------

    def _take_set(
        self, t: float, run: str, item: Item, declare: Declare, arrays: Mapping[str, np.ndarray]
    ) -> None:
        stream = (run, declare.stream)
        rows: dict[str, Rows] = {}
        words: dict[str, tuple[str, ...]] = {}
        for name, array in arrays.items():
            if array.dtype.kind == "U":
                words[name] = tuple(array.tolist())
            else:
                rows[name] = self._rows_of(stream, declare, name, array).append(array)
        if (columns := columns_of(declare, item, arrays)) is not None:
            table = self._table(stream, declare, tuple(columns))
            lists = [column.tolist() for column in columns.values()]
            table.add(zip(*lists, strict=True), len(lists[0]))
        self._timeline.add(Entry(t, run, message=_bare(item), rows=rows, words=words))

    def _folder_of_sets(self, stream: Stream, declare: Declare) -> str:
        if stream not in self._sets:
            name = free_name(declare.name, "sets", self._names)
            self._sets[stream] = f"sets/{name}"
            about = {"layer": declare.name, "kind": declare.kind, "axes": declare.axes}
            for path, attributes in (("sets", {}), (self._sets[stream], {KEY: about})):
                (self.path / path).mkdir(exist_ok=True)
                write_json(self.path / path / "zarr.json", group(**attributes))
        return self._sets[stream]

    def _rows_of(
        self, stream: Stream, declare: Declare, name: str, array: np.ndarray
    ) -> GrowingRows:
        if (stream, name) not in self._rows:
            folder = self._folder_of_sets(stream, declare)
            parent, _, last = name.rpartition("/")
            if parent and not (self.path / folder / parent).exists():
                (self.path / folder / parent).mkdir(parents=True)
                write_json(self.path / folder / parent / "zarr.json", group())
            inside = f"{folder}/{parent}".rstrip("/")
            path = f"{inside}/{free_name(last, inside, self._names)}"
            made = GrowingRows(self.path, path, array.shape[1:], array.dtype)
            self._rows[stream, name] = made
        return self._rows[stream, name]

    def _table(self, stream: Stream, declare: Declare, header: tuple[str, ...]) -> GrowingTable:
        if (stream, header) not in self._tables:
            name = free_name(declare.name, "tables", self._names)
            made = GrowingTable(self.path / f"tables/{name}.csv", header)
            self._tables[stream, header] = made
        return self._tables[stream, header]

    # ---- documents -------------------------------------------------------------------

    def flush(self) -> None:
        """Make what was taken in a part of the recording, whatever comes.

        Raises
        ------
        OSError
            As for :meth:`take`.
        """
        self._finish_canvases(every=False)
        for images in self._images.values():
            for image in images:
                image.describe()
        for rows in self._rows.values():
            rows.describe()
        self._list_images()
        for table in (self._metrics, *self._tables.values()):
            table.flush()
        self._timeline.flush()

    def _finish_canvases(self, *, every: bool) -> None:
        for stream, canvas in self._canvases.finish(every=every):
            self._timeline.add(Entry(time.time() - self._began, stream[0], canvas=canvas))

    def _list_images(self) -> None:
        listing = {"version": "0.5", "series": self._listed}
        self._write_if_new("OME", {"ome": listing})
        for path, names in self._labels.items():
            self._write_if_new(path, {"ome": {"version": "0.5", "labels": names}})

    def _write_if_new(self, path: str, attributes: dict[str, Any]) -> None:
        document = group(**attributes)
        text = json.dumps(document)
        if self._written.get(path) != text:
            (self.path / path).mkdir(parents=True, exist_ok=True)
            write_json(self.path / path / "zarr.json", document)
            self._written[path] = text

    def close(self) -> None:
        """Flush, then let go of the files.

        Raises
        ------
        OSError
            As for :meth:`take`; the files are let go of.
        """
        try:
            self._finish_canvases(every=True)
            self.flush()
        finally:
            self._files.close()
            self._timeline.close()


def _bare(item: Item) -> Item:
    """Return an item without where its arrays were in memory."""
    return replace(item, arrays=tuple(replace(array, block=None) for array in item.arrays))
