"""Saving and loading values by path, to and from a backend that is named."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from napari_streaming.errors import DataError, StorageError, StreamingError
from napari_streaming.pipeline.backends.base import Backend, Batch
from napari_streaming.pipeline.backends.stack import is_colour
from napari_streaming.pipeline.values import About, Coordinates, Points, Value, kind_of
from napari_streaming.publish.publisher import Publisher
from napari_streaming.wording import counted

__all__ = ["BACKENDS", "Storage"]

BACKENDS = ("memory", "disk", "zarr", "napari_stream")


class Storage:
    """Saves arrays, points and numbers under paths, and loads them again.

    Parameters
    ----------
    root : str or Path
        The folder that paths are relative to.
    url : str
        Where the backend ``"napari_stream"`` streams to.
    publisher : callable, optional
        Given `url`, returns the publisher to stream with; who gives it closes it. By default
        one is made when it is first needed, and closed with the storage.

    Examples
    --------
    Code that works in batches streams by naming another backend:

    >>> import numpy as np
    >>> planes = [np.full((8, 8), t, np.uint16) for t in range(3)]
    >>> with Storage(folder, url="memory://viewer") as store:
    ...     for backend in ("disk", "napari_stream"):
    ...         store.save_batch(
    ...             planes, ["cells/A01.ome.tif"] * 3, backend,
    ...             at=[{"well": "A01", "t": t} for t in range(3)],
    ...         )
    ...     (whole,) = store.load_batch(["cells/A01.ome.tif"], "disk")
    >>> whole.shape
    (3, 8, 8)
    """

    def __init__(
        self,
        root: str | Path = ".",
        *,
        url: str = "",
        publisher: Callable[[str], Publisher] | None = None,
    ) -> None:
        self._root = Path(root)
        self._url, self._publisher = url, publisher
        self._backends: dict[str, Backend] = {}

    def save_batch(
        self,
        arrays: Sequence[Value],
        paths: Sequence[str],
        backend: str,
        *,
        at: Sequence[Coordinates] = (),
        about: About | None = None,
    ) -> None:
        """Save each value under its path.

        Values with the same path become one file: arrays are stacked along the coordinates
        that tell them apart, of time, channel and z. What a path held is replaced when all of
        it is written; until then, and if that fails, it stays as it was.

        Parameters
        ----------
        arrays : sequence of ndarray, Points or float
            ``(y, x)``, ``(z, y, x)``, ``(y, x, 3 or 4)`` of uint8, or as `about` says.
        paths : sequence of str
            Relative to the root, with ``/``. A disk takes ``.ome.tif``, zarr ``.ome.zarr``;
            points and numbers are a ``.csv`` in both.
        backend : {"memory", "disk", "zarr", "napari_stream"}
        at : sequence of mapping of str to int, float or str, optional
            Where each value belongs: ``{"well": "A01", "channel": "DAPI"}``.
        about : About, optional
            What the file and viewers are told.

        Raises
        ------
        StorageError
            Something cannot be saved: which path, why, and what to do.
        """
        about = about or About()
        store = self._backend(backend)
        batches = list(self._batches(arrays, paths, backend, at, about))
        for batch in batches:
            with _blamed(batch.path, backend):
                store.save(batch)

    def load_batch(self, paths: Sequence[str], backend: str) -> list[Value]:
        """Load the value of each path.

        Parameters
        ----------
        paths : sequence of str
            A path that is named as often as it was saved with gives its values one by one, in
            the order in which they were saved; a path named once gives all of its arrays as one.
        backend : {"memory", "disk", "zarr"}

        Returns
        -------
        list of ndarray, Points or float
            One for each path. Arrays from memory are read-only.

        Raises
        ------
        StorageError
            Something cannot be loaded: which path, why, and what to do.
        """
        store = self._backend(backend)
        loaded: dict[str, Iterator[Value]] = {}
        for path, count in Counter(paths).items():
            with _blamed(path, backend):
                self._check_path(path)
                values = store.load(path, whole=count == 1)
                if len(values) != count:
                    raise DataError(
                        f"it holds {counted(len(values), 'value')}, and was named "
                        f"{counted(count, 'time')}: "
                        f"name it {counted(len(values), 'time')}"
                    )
            loaded[path] = iter(values)
        return [next(loaded[path]) for path in paths]

    def exists(self, path: str, backend: str) -> bool:
        """Return whether a path holds something that can be loaded.

        Raises
        ------
        StorageError
            The path leaves the root, or there is no such backend.
        """
        store = self._backend(backend)
        with _blamed(path, backend):
            self._check_path(path)
            return store.exists(path)

    def close(self) -> None:
        """Close what was opened: the publisher, unless somebody else gave it."""
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _batches(
        self,
        values: Sequence[Value],
        paths: Sequence[str],
        backend: str,
        at: Sequence[Coordinates],
        about: About,
    ) -> Iterator[Batch]:
        """Yield what each path is to hold, everything checked that needs no backend."""
        if len(paths) != len(values) or len(at) not in (0, len(values)):
            raise StorageError(
                f"{backend}: {counted(len(values), 'array')}, {counted(len(paths), 'path')} and "
                f"{counted(len(at), 'coordinate')}; "
                "give one path for each array, and coordinates for each or for none"
            )
        members: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            members.setdefault(path, []).append(number)
        for path, numbers in members.items():
            with _blamed(path, backend):
                self._check_path(path)
                kinds = {kind_of(values[n], about.kind) for n in numbers}
                if len(kinds) > 1:
                    raise DataError(
                        f"it was given {' and '.join(sorted(kinds))}; give each its own path"
                    )
                for n in numbers:
                    _check_scale(values[n], about)
                where = tuple(dict(at[n]) if at else {} for n in numbers)
                yield Batch(path, tuple(values[n] for n in numbers), where, kinds.pop(), about)

    def _check_path(self, path: str) -> None:
        """Refuse a path that is none or leaves the root, through links too."""
        parts = PurePosixPath(path).parts
        if not parts or "\0" in path or "\\" in path or path.endswith("/"):
            raise DataError(f"{path!r} is no path of a file; write it like cells/A01.ome.tif")
        root = self._root.resolve()
        inside = not path.startswith("/") and ".." not in parts
        if not inside or not (root / path).resolve().is_relative_to(root):
            raise DataError(
                f"it leads out of {self._root}; use a relative path without .., or another root"
            )

    def _backend(self, name: str) -> Backend:
        if name not in self._backends:
            # Of two threads that come here first, one wins.
            self._backends.setdefault(name, self._make_backend(name))
        return self._backends[name]

    def _make_backend(self, name: str) -> Backend:
        if name == "memory":
            from napari_streaming.pipeline.backends.memory import MemoryBackend

            return MemoryBackend()
        if name == "disk":
            from napari_streaming.pipeline.backends.disk import DiskBackend

            return DiskBackend(self._root)
        if name == "zarr":
            from napari_streaming.pipeline.backends.zarr import ZarrBackend

            return ZarrBackend(self._root)
        if name == "napari_stream":
            from napari_streaming.pipeline.backends.stream import StreamBackend

            return StreamBackend(self._url, self._publisher)
        raise StorageError(f"there is no backend {name!r}; use one of {', '.join(BACKENDS)}")


def _check_scale(value: Value, about: About) -> None:
    """Refuse more numbers than there are axes: nobody could say of which they are."""
    if isinstance(value, Points):
        ndim, axes = value.coordinates.shape[1], "coordinates"
    elif isinstance(value, np.ndarray):
        rgb = kind_of(value, about.kind) == "image" and is_colour(value)
        ndim, axes = len(about.axes) or value.ndim - rgb, "axes"
    else:
        return
    for what, given in (("scale", about.scale), ("units", about.units)):
        if not isinstance(given, str) and len(given) > ndim + 1:
            raise DataError(
                f"{what}={tuple(given)!r}: {len(given)} values for {ndim} {axes}; give {ndim}, or "
                f"{ndim + 1} with the step along z first"
            )


_WAYS_OUT = {
    errno.ENOSPC: "make room there, or save to another disk",
    errno.EDQUOT: "make room there, or save to another disk",
    errno.EFBIG: "save to a disk that takes larger files, or to smaller files",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOENT: "check the path",
    errno.EEXIST: "a part of the path is a file; choose another path",
    errno.ENOTDIR: "a part of the path is a file; choose another path",
    errno.EISDIR: "there is a folder of that name; choose another path, or remove it",
}


@contextmanager
def _blamed(path: str, backend: str) -> Iterator[None]:
    """Say which path and which backend it was, and what to do."""
    try:
        yield
    except StreamingError as error:
        raise StorageError(f"{path} ({backend}): {error}") from error
    except OSError as error:
        # numpy has no number for a disk that takes only a part.
        reason = error.strerror or f"not all could be written ({error})"
        way_out = _WAYS_OUT.get(error.errno or errno.ENOSPC, "check the disk and its permissions")
        raise StorageError(f"{path} ({backend}): {reason}; {way_out}") from error
