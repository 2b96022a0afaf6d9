"""Image files as planes, one at a time, with the coordinates that the file gives them."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from xml.etree import ElementTree

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.publish.ome_zarr import distinct, image_of
from napari_streaming.publish.tiff_length import check_length

if TYPE_CHECKING:
    import tifffile
    import zarr
    from imageio.plugins.pillow import PillowPlugin

__all__ = ["ImageFile", "open_file", "stem"]

logger = logging.getLogger(__name__)
_Value = TypeVar("_Value")

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")
_UNREADABLE = (OSError, ValueError, RuntimeError, struct.error, zlib.error)


@dataclass(frozen=True, slots=True)
class _Said:
    """What a file says about its axes, by their names."""

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stored:
    """An array as its file holds it."""

    array: Any  # with a shape, a dtype, and pixels that are read when it is indexed
    axes: Sequence[str] | None  # None: the file names none; "": it does not name this one
    said: _Said = field(default_factory=_Said)
    close: Callable[[], object] = lambda: None


class ImageFile:
    """An image file that is open, to be read plane by plane. A context manager.

    Attributes
    ----------
    name : str
        The file's name without its extensions.
    axes : tuple of str
        Names of the dimensions along which planes stack, from slow to fast: ``("t", "c")``.
    shape : tuple of int
        How many planes there are along each of `axes`.
    dtype : dtype
        Of the planes.
    rgb : bool
        Whether planes are colour, (y, x, 3 or 4), instead of (y, x).
    scale : tuple of float
        Pixel size along y and x in `units`; empty if the file does not say.
    units : tuple of str
        Of y and x; empty if the file does not say.
    nbytes : int
        Bytes of one plane.
    array : array
        What the file holds, with its shape and its axes as they are: of a zarr its array.
    array_axes : tuple of str
        Names of the axes of `array`.
    """

    def __init__(self, path: Path, stored: _Stored, axes: Sequence[str] | None) -> None:
        self._path, self._stored = path, stored
        array = stored.array
        if 0 in array.shape:
            raise DataError(f"{path}: an array of shape {array.shape} has no pixels")
        names = _axis_names(path, array, stored.axes if axes is None else axes)
        sizes = dict(zip(names, array.shape, strict=True))
        self.rgb = sizes.get("s") in (3, 4)
        plane = ("y", "x", "s") if self.rgb else ("y", "x")
        self.name = stem(path)
        self.axes = tuple(name for name in names if name not in plane)
        self.shape = tuple(sizes[name] for name in self.axes)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")
        self.nbytes = prod(sizes[name] for name in plane) * self.dtype.itemsize
        self.scale = _of_plane(stored.said.scale)
        self.units = _of_plane(stored.said.units)
        self.array, self.array_axes = array, names
        self._plane = plane

    def __len__(self) -> int:
        return prod(self.shape)

    def planes(self) -> Iterator[tuple[dict[str, int | str], np.ndarray]]:
        """Read one plane after the other.

        Yields
        ------
        coordinates : dict of str to int or str
            Where the plane belongs: an index along each of `axes`, or the name that the
            file has for it: ``{"t": 0, "c": "DAPI"}``.
        plane : ndarray, shape (y, x) or (y, x, 3 or 4)

        Raises
        ------
        DataError
            A plane cannot be read.
        """
        for position in np.ndindex(*self.shape):
            yield self.coordinates(position), self.read(*position)

    def read(self, *position: int | slice) -> np.ndarray:
        """Read one plane; of a zarr also several at once.

        Parameters
        ----------
        *position : int or slice
            Along each of `axes`.

        Returns
        -------
        ndarray, shape (..., y, x) or (..., y, x, 3 or 4)
            With a leading axis for each slice.

        Raises
        ------
        DataError
            It cannot be read.
        """
        at = dict(zip(self.axes, position, strict=True))
        key = tuple(at.get(name, slice(None)) for name in self.array_axes)
        kept = [name for name in self.array_axes if not isinstance(at.get(name), int)]
        order = [kept.index(name) for name in (*self.axes, *self._plane) if name in kept]
        with _readable(self._path):
            return np.asarray(self.array[key]).transpose(order)

    def coordinates(self, position: Sequence[int]) -> dict[str, int | str]:
        """Return what the file calls the position of a plane along each of `axes`."""
        return {name: self._label(name, i) for name, i in zip(self.axes, position, strict=True)}

    def _label(self, axis: str, index: int) -> int | str:
        labels = self._stored.said.labels.get(axis, ())
        return labels[index] if index < len(labels) else index

    def close(self) -> None:
        """Close the file."""
        self._stored.close()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def open_file(path: str | Path, *, axes: Sequence[str] | None = None) -> ImageFile:
    """Open an image file to read it plane by plane; of its pixels nothing is read yet.

    Parameters
    ----------
    path : str or Path
        TIFF of any kind (OME, ImageJ, ...), a zarr array, an OME-Zarr image (its full
        resolution), or what Pillow reads: PNG, JPEG, GIF, ...
    axes : sequence of str, optional
        A name for each axis of the array in the file, ``y`` and ``x`` among them, and
        ``s`` for colour: ``"tcyx"``, ``["well", "y", "x"]``. By default as the file says.

    Returns
    -------
    ImageFile

    Raises
    ------
    DataError
        The file does not exist, is no image, cannot be read or has no pixels.
    """
    path = Path(path)
    with _readable(path):
        stored = _open(path)
    try:
        return ImageFile(path, stored, axes)
    except DataError:
        stored.close()
        raise


def _open(path: Path) -> _Stored:
    if not path.exists():
        raise DataError(f"{path}: there is no such file; check the path")
    if path.is_dir():
        if any((path / mark).exists() for mark in _ZARR_MARKS):
            return _open_zarr(path)
        raise DataError(f"{path} is a folder, and no zarr; name the files in it")
    with path.open("rb") as file:
        start = file.read(4)
    return _open_tiff(path) if start in _TIFF_STARTS else _open_picture(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say which file it was that a library could not read."""
    try:
        yield
    except DataError:
        raise
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        raise DataError(f"{path} cannot be read: it is incomplete or damaged ({error})") from error


def _axis_names(path: Path, array: Any, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return a different name for each axis, y and x among them."""
    ndim = len(array.shape)
    if given is None:
        # The same guess as Publisher.image makes.
        is_colour = ndim >= 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8
        plane = ("y", "x", "s") if is_colour else ("y", "x")
        given = ("",) * (ndim - len(plane)) + plane
    names = list(given)
    unnamed = [i for i, name in enumerate(names) if not name]
    if unnamed and len(unnamed) <= 3 and set(names) <= {"", "y", "x", "s"}:
        defaults = ("t", "c", "z")[-len(unnamed) :]
    else:
        defaults = tuple(f"axis_{i}" for i in unnamed)
    for i, name in zip(unnamed, defaults, strict=True):
        names[i] = name
    if len(names) != ndim or len(set(names)) != ndim or not {"y", "x"} <= set(names):
        raise DataError(
            f"{path}: axes {names} do not fit an array of shape {array.shape}; "
            "an image has a different name for each axis, and two of them are y and x"
        )
    return tuple(names)


def _of_plane(values: Mapping[str, _Value]) -> tuple[_Value, ...]:
    """Return what is said about y and x, if it is said about both."""
    return tuple(values[name] for name in "yx") if values.keys() >= {"y", "x"} else ()


def stem(path: Path) -> str:
    """Return a file's name without its extensions."""
    name = path.stem
    return name[:-4] if name.lower().endswith(".ome") and len(name) > 4 else name


# ---- TIFF --------------------------------------------------------------------------------


def _open_tiff(path: Path) -> _Stored:
    import tifffile
    import zarr

    if path.suffix.lower() != ".ndpi":  # whose offsets are longer than those of a TIFF
        check_length(path)
    file = tifffile.TiffFile(path)
    with ExitStack() as undo:
        undo.callback(file.close)
        if not len(file.series):
            raise DataError(f"{path}: a TIFF file without images")
        if len(file.series) > 1:
            logger.warning("%s: only the first of its %d images", path, len(file.series))
        series = file.series[0]
        compression = tifffile.COMPRESSION(series.keyframe.compression)
        if compression not in tifffile.TIFF.DECOMPRESSORS:
            raise DataError(
                f"{path} is compressed with {compression.name}, which needs a further package: "
                "pip install imagecodecs"
            )
        array = zarr.open_array(series.aszarr(level=0, chunkmode="page"), mode="r")
        # Q and I are what tifffile calls axes that it knows nothing of.
        names = [
            code.lower() if code in "TCZYXS" else "" if code in "QI" else dimension
            for code, dimension in zip(series.axes, series.dims, strict=True)
        ]
        if file.is_ome and file.ome_metadata:
            said = _said_by_ome(file.ome_metadata)
        elif file.is_imagej:
            said = _said_by_imagej(file)
        else:
            said = _Said()
        undo.pop_all()
    return _Stored(array, names, said, close=file.close)


def _said_by_ome(xml: str) -> _Said:
    """Return labels, scale and units of the first image of OME-XML."""
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314  (expat has bounded entities since 2.4.1)
    except ElementTree.ParseError as error:
        raise ValueError(f"its OME-XML is damaged: {error}") from error
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return _Said()
    channels = [channel.get("Name", "") for channel in pixels.iterfind("{*}Channel")]
    sizes = {axis: float(pixels.get(f"PhysicalSize{axis.upper()}", 0)) for axis in "yx"}
    scale = {axis: size for axis, size in sizes.items() if size > 0}
    units = {axis: pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm") for axis in scale}
    return _Said({"c": distinct(channels)}, scale, units)


def _said_by_imagej(file: tifffile.TiffFile) -> _Said:
    """Return scale and units of an ImageJ file; in pixels, it says neither."""
    unit = str((file.imagej_metadata or {}).get("unit", "pixel"))
    per_unit = dict(zip("xy", file.pages.first.resolution, strict=True))
    if unit in ("", "pixel", "pixels") or not all(per_unit.values()):
        return _Said()
    unit = unit.replace("\\u00B5", "µ")  # as ImageJ writes it into an ASCII tag
    scale = {axis: 1 / number for axis, number in per_unit.items()}
    return _Said(scale=scale, units=dict.fromkeys(scale, unit))


# ---- zarr -------------------------------------------------------------------------------


def _open_zarr(path: Path) -> _Stored:
    import zarr

    # What is consolidated may be older than the arrays: they can grow.
    node = zarr.open(str(path), mode="r", use_consolidated=False)
    if isinstance(node, zarr.Group):
        return _open_ome_zarr(path, node)
    names = getattr(node.metadata, "dimension_names", None)
    known = [name or "" for name in names] if names else []
    return _Stored(node, known if {"y", "x"} <= set(known) else None)


def _open_ome_zarr(path: Path, group: zarr.Group) -> _Stored:
    import zarr

    try:
        image = image_of(group.attrs.asdict())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if image is None:
        inside = ", ".join(str(path / name) for name in sorted(group)[:3])
        raise DataError(
            f"{path} is a zarr group, but no OME-Zarr image"
            + (f"; name an image in it, like {inside}" if inside else " and empty")
        )
    array = group.get(image.paths[0])
    if not isinstance(array, zarr.Array):
        raise DataError(f"{path}: there is no array {image.paths[0]!r}, which its metadata names")
    return _Stored(array, image.axes or None, _Said(image.labels, image.scale, image.units))


# ---- pictures ----------------------------------------------------------------------------


class _Frames:
    """The frames of a picture file as one array, of which each is read when it is asked for."""

    def __init__(self, file: PillowPlugin) -> None:
        frames = file.properties(index=...)  # type: ignore[arg-type]  # as its docstring says
        self._file, self._is_still = file, frames.n_images == 1
        self.dtype = frames.dtype
        self.shape = frames.shape[1:] if self._is_still else frames.shape
        self.axes = ["t", "y", "x", "s"][: len(frames.shape)][self._is_still :]

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        if self._is_still:
            return self._file.read(index=0)[key]
        return self._file.read(index=key[0])[key[1:]]


def _open_picture(path: Path) -> _Stored:
    from imageio.v3 import imopen

    try:
        file = imopen(path, "r", plugin="pillow")
    except _UNREADABLE as error:
        raise DataError(
            f"{path} is no image that can be read: TIFF, OME-TIFF, zarr, OME-Zarr, PNG, JPEG "
            "and the like can. Convert it to OME-TIFF first, for example with bfconvert"
        ) from error
    frames = _Frames(file)
    return _Stored(frames, frames.axes, close=file.close)
