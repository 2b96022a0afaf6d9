"""Watching a folder: the images that other programs write there are streamed when they are done.

A file is done when it was renamed into place, or stays as it is for a moment, and can be read
to its end. The planes of a zarr array are, one by one, when all of their chunks are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.pipeline.growing import Block
from napari_streaming.pipeline.naming import Naming, Shown, is_ignored
from napari_streaming.pipeline.notices import notices, walk
from napari_streaming.pipeline.outlet import Outlet, Stopped
from napari_streaming.pipeline.patterns import Pattern
from napari_streaming.pipeline.settling import Settling
from napari_streaming.pipeline.stamps import identity, stamp, stamp_of
from napari_streaming.pipeline.watched_zarrs import Key, WatchedZarrs
from napari_streaming.pipeline.zarr_images import is_zarr
from napari_streaming.publish.files import ImageFile, open_file
from napari_streaming.publish.publisher import Publisher

__all__ = ["WatchOptions", "WatchStats", "watch_folder"]

_AT_ONCE = 256 * 1024 * 1024
_MOST_NAMES = 5
_RESCAN_S = 10.0
_MANY_LAYERS = (
    'each file is a layer of its own; --pattern "{well}_s{site}_w{channel}.tif", or whatever the '
    "names look like, stacks them in one layer, and so does --name"
)
_RESCAN_SHARE = 20  # of the time, at most one part in so many goes into looking at everything


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What is streamed of a folder, and as what.

    Parameters
    ----------
    pattern : Pattern, optional
        Files whose names fit it are streamed, at the coordinates that are in their names.
        By default all images are, each as a layer.
    name : str
        One layer for all; without a pattern they stack along an axis ``file``.
    labels : sequence of str, optional
        Globs: which files are labels. By default those whose names say so, see
        :class:`~napari_streaming.pipeline.naming.Naming`, and what OME-Zarr keeps as labels.
    existing : bool
        Whether what is there already is streamed.
    recursive : bool
        Whether folders in the folder are watched.
    settle : float
        Seconds that a file must stay the same.
    poll : bool
        Whether to look at every file again and again, as network filesystems need.
    """

    pattern: Pattern | None = None
    name: str = ""
    labels: Sequence[str] | None = None
    existing: bool = True
    recursive: bool = True
    settle: float = 0.5
    poll: bool = False


@dataclass(slots=True)
class WatchStats:
    """What became of a folder.

    Parameters
    ----------
    files : int
        Files that were streamed; one that was overwritten counts again.
    arrays, planes : int
        Zarr arrays of which planes were streamed; planes of files and arrays.
    failed : int
        Files and zarr planes that could not be read or shown. Each was reported.
    unfinished : int
        Those that were found and not streamed before the end.
    unmatched : int
        Files that did not fit the pattern.
    """

    files: int = 0
    arrays: int = 0
    planes: int = 0
    failed: int = 0
    unfinished: int = 0
    unmatched: int = 0


def watch_folder(
    folder: str | Path,
    publisher: Publisher,
    options: WatchOptions | None = None,
    *,
    stop: Event,
    tell: Callable[[str], None] = lambda line: None,
) -> WatchStats:
    """Stream the images in a folder as they are finished, until it is stopped.

    A folder that is not there (yet, or any more) is waited for. What cannot be read is
    reported, here and to viewers, and does not end it.

    Parameters
    ----------
    folder : str or Path
    publisher : Publisher
        Nothing is read before it has a viewer.
    options : WatchOptions, optional
    stop : Event
        Ends it.
    tell : callable
        Called with a line for the user, now and then.

    Returns
    -------
    WatchStats

    Raises
    ------
    DataError
        `folder` is a file.
    """
    watch = _FolderWatch(Path(folder).absolute(), publisher, options or WatchOptions(), stop, tell)
    return watch.run()


class _FolderWatch:
    def __init__(
        self,
        folder: Path,
        publisher: Publisher,
        options: WatchOptions,
        stop: Event,
        tell: Callable[[str], None],
    ) -> None:
        self._folder, self._options, self._stop, self._tell = folder, options, stop, tell
        self._naming = Naming(folder.name, options.pattern, options.name, options.labels)
        is_alone = options.pattern is None and not options.name  # each file, as a layer
        self._outlet = Outlet(publisher, stop, tell, _MANY_LAYERS if is_alone else "")
        self._settling: Settling[Key] = Settling(options.settle)
        patience = max(2.0, 4 * options.settle)
        self._zarrs = WatchedZarrs(
            self._settling,
            patience,
            lambda root, image: self._naming.shown(self._relative(root), image.inner) is not None,
        )
        self._streamed: set[Path] = set()
        self._unmatched: set[Path] = set()
        self._stats = WatchStats()

    def run(self) -> WatchStats:
        is_first = True
        try:
            while not self._stop.is_set():
                here = self._wait_for_folder()
                self._watch_until_gone(here, existing=self._options.existing or not is_first)
                is_first = False
        except Stopped:
            pass
        self._stats.unfinished = len(self._settling)
        self._name_unfinished()
        self._stats.unmatched = len(self._unmatched)
        self._stats.arrays = len(self._streamed)
        return self._stats

    def _name_unfinished(self) -> None:
        paths = dict.fromkeys(k[0] if isinstance(k, tuple) else k for k in self._settling.waiting())
        if names := [str(self._relative(path)) for path in paths]:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            self._tell(f"not streamed: {', '.join(names[:_MOST_NAMES])}{more}")

    def _wait_for_folder(self) -> tuple[int, int]:
        is_told = False
        while (here := identity(self._folder)) is None:
            if os.path.exists(self._folder):
                raise DataError(f"{self._folder} is a file; name the folder that it is in")
            if not is_told:
                self._tell(f"{self._folder}: there is no such folder yet; waiting for it")
                is_told = True
            if self._stop.wait(0.1):
                raise Stopped
        return here

    def _watch_until_gone(self, here: tuple[int, int], *, existing: bool) -> None:
        options = self._options
        next_scan = 0.0
        for paths in notices(
            self._folder, self._stop, self._tell, recursive=options.recursive, poll=options.poll
        ):
            for path in sorted(paths):
                self._note(path)
            if time.monotonic() >= next_scan:
                # At first; and later on for what the system did not tell.
                start = time.monotonic()
                self._scan()
                if not existing:
                    self._be_done_with_all()
                    existing = True
                end = time.monotonic()
                next_scan = end + max(_RESCAN_S, _RESCAN_SHARE * (end - start))
            self._stream_what_is_due()
            if identity(self._folder) != here:
                self._outlet.say("warning", f"{self._folder} was removed")
                return

    # ---- what changed ------------------------------------------------------------------

    def _scan(self) -> None:
        self._note_all_in(self._folder)
        self._zarrs.scan()

    def _note_all_in(self, folder: Path) -> None:
        recursive = self._options.recursive
        for path in walk(folder, recursive=recursive, into=self._is_to_be_entered):
            self._note(path)

    def _is_to_be_entered(self, folder: Path) -> bool:
        return not is_zarr(folder) and not is_ignored(self._relative(folder))

    def _note(self, path: Path) -> None:
        """Take note that something may have changed."""
        if not path.is_relative_to(self._folder):
            return
        relative = self._relative(path)
        root = self._zarr_of(path)
        if root is not None:
            self._zarrs.note(root, path)
        elif path == self._folder or is_ignored(relative):
            return
        elif os.path.isdir(path):
            if self._options.recursive:
                self._note_all_in(path)
        elif self._naming.is_wanted(relative):
            self._note_file(path)
        elif self._options.pattern is not None and os.path.isfile(path):
            self._note_unmatched(path)

    def _relative(self, path: Path) -> PurePosixPath:
        if path == self._folder:
            return PurePosixPath(self._folder.name)
        return PurePosixPath(path.relative_to(self._folder).as_posix())

    def _note_unmatched(self, path: Path) -> None:
        assert self._options.pattern is not None
        if not self._unmatched:
            self._tell(
                f"{self._relative(path)} does not fit {self._options.pattern.text!r}; "
                "files like it are left out"
            )
        self._unmatched.add(path)

    def _note_file(self, path: Path) -> None:
        try:
            about = path.stat()
        except OSError:
            self._settling.forget(path)
            return
        # A file that is renamed, or whose times are set, is not written to any more: what it
        # says of itself changes later than its content. Windows knows no such time.
        is_placed = os.name == "posix" and about.st_ctime_ns > about.st_mtime_ns
        wait = 0.0 if is_placed else None
        self._settling.note(path, stamp(about), time.monotonic(), wait)

    def _zarr_of(self, path: Path) -> Path | None:
        """Return the outermost zarr hierarchy that a path is or lies in."""
        folder = self._folder
        for part in ("", *path.relative_to(self._folder).parts):
            folder /= part
            if folder != self._folder and is_ignored(PurePosixPath(folder.name)):
                return None
            if self._zarrs.discover(folder):
                return folder
        return None

    # ---- what is done ------------------------------------------------------------------

    def _be_done_with_all(self) -> None:
        for root in self._zarrs.roots:
            self._explore(root, hurry=True)
        self._settling.finish_all()

    def _stream_what_is_due(self) -> None:
        for key in self._settling.due(time.monotonic()):
            if self._stop.is_set():
                raise Stopped
            if isinstance(key, tuple):
                self._stream_block(key)
            elif key in self._zarrs:
                self._explore(key)
            else:
                self._stream_file(key)

    def _explore(self, root: Path, *, hurry: bool = False) -> None:
        try:
            self._zarrs.explore(root, hurry=hurry)
        except DataError as error:
            self._fail(root, error)

    def _stream_block(self, key: tuple[Path, Block]) -> None:
        ready = self._zarrs.ready(*key)
        if ready is None:
            return
        root, array = ready
        shown = self._naming.shown(self._relative(root), array.about.inner)
        assert shown is not None  # nothing else is ready
        try:
            as_labels = array.about.is_labels or _as_labels(shown, array.image)
            for at, plane in array.planes(key[1]):
                where = _join(shown, {**array.about.at, **at}, array.image)
                self._outlet.plane(shown.layer, plane, where, array.image, as_labels=as_labels)
                self._stats.planes += 1
        except DataError as error:
            self._fail(key, error)
        else:
            self._settling.finish(key)
            self._streamed.add(key[0])

    def _stream_file(self, path: Path) -> None:
        shown = self._naming.shown(self._relative(path))
        now = stamp_of(path)
        if shown is None or now is None:
            self._settling.forget(path)
            return
        if not self._settling.is_same(path, now):
            self._note_file(path)
            return
        try:
            with open_file(path) as image:
                as_labels = _as_labels(shown, image)
                for at, plane in _read_whole(image):
                    where = _join(shown, at, image)
                    self._outlet.plane(shown.layer, plane, where, image, as_labels=as_labels)
                    self._stats.planes += 1
        except DataError as error:
            self._fail(path, error)
        else:
            self._settling.finish(path)
            self._note_file(path)  # it may have changed while it was read
            self._stats.files += 1

    def _fail(self, key: Key, error: DataError) -> None:
        """Try it again a few times, then tell; after that it must change to be looked at."""
        if self._settling.retry(key, time.monotonic()):
            return
        self._settling.finish(key)
        self._stats.failed += 1
        self._outlet.say("warning", str(error))


def _read_whole(image: ImageFile) -> Iterator[tuple[dict[str, int | str], np.ndarray]]:
    """Return the planes of a file when all of them can be read; what is large is read twice."""
    if len(image) * image.nbytes <= _AT_ONCE:
        return iter(list(image.planes()))
    for _ in image.planes():
        pass
    return image.planes()


def _as_labels(shown: Shown, image: ImageFile) -> bool:
    if shown.as_labels is None:
        return image.dtype.kind in "biu" and not image.rgb
    return shown.as_labels


def _join(shown: Shown, at: dict[str, int | str], image: ImageFile) -> dict[str, int | str]:
    """Return the coordinates that the name and the file say together.

    Raises
    ------
    DataError
        Both say the same of several planes.
    """
    lengths = dict(zip(image.axes, image.shape, strict=True))
    if both := [name for name in at if name in shown.at and lengths.get(name, 1) > 1]:
        raise DataError(
            f"{image.name}: the file has an axis {both[0]!r} itself, {lengths[both[0]]} long, and "
            f"the pattern names it too; call that field something else"
        )
    return {**at, **shown.at}
