"""The SDK's face: what a pipeline calls to be watched."""

from __future__ import annotations

import contextlib
import math
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from napari_streaming.errors import DataError
from napari_streaming.publish.control_calls import ControlCalls
from napari_streaming.publish.engine import Engine
from napari_streaming.publish.geometry_calls import GeometryCalls
from napari_streaming.publish.layers import WHOLE, Part, image_spec, labels_spec
from napari_streaming.publish.sink import LocalViewer
from napari_streaming.publish.sink_calls import SinkCalls
from napari_streaming.publish.staging import (
    Lent,
    check_dtype,
    clean_name,
    clean_text,
    split_coordinates,
)
from napari_streaming.publish.stats import PublisherStats
from napari_streaming.publish.tee import TeeCalls
from napari_streaming.publish.viewer_process import start_viewer
from napari_streaming.settings import PublisherSettings
from napari_streaming.transport.runtime import host_identity, new_token, program_name
from napari_streaming.uri import parse_url
from napari_streaming.wire.messages import (
    Coordinate,
    Peer,
    QualityOfService,
    Status,
    StatusLevel,
)

__all__ = ["PublishCalls", "Publisher", "PublisherStats"]


class PublishCalls(GeometryCalls, TeeCalls, ControlCalls, SinkCalls):
    """What a program says to its viewers: all that returns at once.

    Parameters as for :class:`Publisher`.
    """

    def __init__(
        self,
        *sinks: str | LocalViewer,
        spawn: bool = False,
        name: str | None = None,
        settings: PublisherSettings | None = None,
        part_of: str = "",
        page: bool = True,
    ) -> None:
        self._settings = settings or PublisherSettings()
        for url in sinks:
            if isinstance(url, str):
                parse_url(url).to_publish()
        self._engine = Engine(self._settings)
        self._me = Peer(
            role="publish",
            program=program_name(name),
            software=f"napari-streaming/{version('napari-streaming')}",
            host=host_identity(),
            pid=os.getpid(),
            run=new_token(),
            part_of=part_of,
        )
        # Also when nobody holds the publisher any more, and when the interpreter ends.
        self._finalizer = weakref.finalize(self, self._engine.close, self._settings.close_timeout)
        self._finalizer.atexit = False
        self._viewers, self._page = {}, page
        with contextlib.ExitStack() as undo:
            undo.callback(self._end, 0)
            for sink in sinks:
                if spawn and isinstance(sink, str):
                    start_viewer(parse_url(sink))
                self.open(sink)
            undo.pop_all()
        self._engine.close_at_exit(self._settings.close_timeout)

    # ---- images and labels; GeometryCalls has the other layers ------------------------

    def image(
        self,
        name: str,
        plane: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        axes: Sequence[str] | None = None,
        rgb: bool | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        colormap: str = "",
        contrast_limits: Sequence[float] | None = None,
        qos: QualityOfService = "latest",
        offset: Sequence[int] = (),
        plane_shape: Sequence[int] = (),
    ) -> None:
        """Stream one plane (or volume) of an image layer.

        Parameters
        ----------
        name : str
            The layer. A change of shape, dtype, axes or units starts a new one beside it.
        plane : array-like, shape (..., y, x) or (..., y, x, 3 or 4)
            bool, integers or floats up to 64 bits; any memory layout and byte order.
        at : mapping of str to int, float or str, optional
            Where it belongs, by named coordinates: ``{"well": "A01", "t": 3}``. Planes
            with different coordinates stack along axes of these names. A sequence of
            coordinates means several planes, along a leading axis of `plane`:
            ``{"well": "A01", "z": [0, 1, 2]}``.
        axes : sequence of str, optional
            Names of the plane's own axes; by default the last of ``z, y, x``.
        rgb : bool, optional
            Whether the last axis is colour; by default if it is 3 or 4 long and uint8.
        scale, translate : sequence of float, optional
            Of the plane's own axes, in `units`. Each plane may have others.
        units : str or sequence of str, optional
            One for all of the plane's own axes, or one for each: ``"um"``.
        colormap : str, optional
            A colormap name of napari's. Told once: later the viewer's user decides.
        contrast_limits : (float, float), optional
            Told once, too. By default they follow the data until the user sets them.
        qos : {"latest", "reliable"}
            Whether the newest planes win where a viewer is slow, or none may be lost.
        offset, plane_shape : sequence of int, optional
            `plane` is a part of a plane of shape `plane_shape`, and lies at `offset` in
            it: a tile of a mosaic. The rest stays as it was.

        Raises
        ------
        DataError
            The plane, its name or its coordinates cannot be streamed.
        ClosedError
            The publisher is closed.
        """
        here, along = split_coordinates(at)
        part = _part(along, offset, plane_shape)
        spec, array = image_spec(
            plane, axes=axes, rgb=rgb, scale=scale, translate=translate, units=units,
            colormap=colormap, contrast_limits=contrast_limits, qos=qos,
            part=part,
        )  # fmt: skip
        self._engine.publish(name, spec, here, {"data": array}, **_extra(along, part))

    def labels(
        self,
        name: str,
        mask: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        qos: QualityOfService = "latest",
        offset: Sequence[int] = (),
        plane_shape: Sequence[int] = (),
    ) -> None:
        """Stream one plane of a labels layer.

        Parameters
        ----------
        name : str
            The layer.
        mask : array-like of bool or integer, shape (..., y, x)
            0 is background.
        at, axes, scale, translate, units, qos, offset, plane_shape
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        here, along = split_coordinates(at)
        part = _part(along, offset, plane_shape)
        spec, array = labels_spec(
            mask, axes=axes, scale=scale, translate=translate, units=units, qos=qos, part=part
        )
        self._engine.publish(name, spec, here, {"data": array}, **_extra(along, part))

    @contextlib.contextmanager
    def allocate(self, shape: Sequence[int], dtype: DTypeLike) -> Iterator[np.ndarray]:
        """Lend memory to compute a plane into, so that publishing it copies nothing.

        Publish the array itself, not a part of it, inside the ``with`` block. From then on
        it is read-only: viewers look at the same memory.

        Parameters
        ----------
        shape : sequence of int
        dtype : dtype-like

        Yields
        ------
        ndarray
            Not cleared. Ordinary memory when the publisher's own is full: it works the
            same, with a copy.

        Raises
        ------
        DataError
            Such an array cannot be streamed.
        ClosedError
            The publisher is closed.
        """
        self._engine.check_open()
        kind, size = np.dtype(dtype), tuple(int(n) for n in shape)
        check_dtype("allocate", kind)
        if any(n < 0 for n in size):
            raise DataError(f"allocate: a shape of {size} is not possible")
        slot = self._engine.make_slot(math.prod(size) * kind.itemsize)
        if slot is None:
            yield np.empty(size, kind)
            return
        array = slot.array(size, kind)
        address = array.__array_interface__["data"][0]
        self._engine.lend(address, Lent(slot, array))
        try:
            yield array
        finally:
            array.flags.writeable = False  # the memory is soon another plane's
            self._engine.take_back(address)

    # ---- the rest --------------------------------------------------------------------

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """Stream one value of a quantity.

        Parameters
        ----------
        name : str
            The quantity; of more than 4096 the first ones are streamed.
        value : float
            NaN and infinities are allowed.
        step : float, optional
            Where on the axis of its graph; by default the time, in seconds since the epoch.
        """
        self._engine.check_open()
        now = time.time()
        name = clean_name(name)
        step = float(now if step is None else step)
        if self._engine.journal.add(name, step, float(value), now):
            self._engine.wake()

    def status(self, level: StatusLevel, text: str) -> None:
        """Stream a line for the viewer's user.

        Parameters
        ----------
        level : {"info", "warning", "error", "complete"}
        text : str
            Cut after 65536 characters.
        """
        self._engine.check_open()
        if level not in ("info", "warning", "error", "complete"):
            raise DataError(f"status {level!r}: use info, warning, error or complete")
        self._engine.tell(Status(level, clean_text(str(text))[:65536], time.time()))

    def stats(self) -> PublisherStats:
        """Return what was sent and dropped so far, for each sink."""
        return self._engine.stats()

    def _end(self, timeout: float) -> None:
        self._engine.close(timeout)
        self._finalizer.detach()
        while self._viewers:
            self._viewers.popitem()[0].close()

    @property
    def urls(self) -> tuple[str, ...]:
        """What a viewer elsewhere is given to reach each listening URL, token included."""
        return self._engine.urls

    @property
    def pages(self) -> tuple[str, ...]:
        """What a browser opens to look on and to steer, for each listening ``ws`` URL."""
        return self._engine.pages


class Publisher(PublishCalls):
    """Streams layers, metrics and status to viewers, and never waits for one.

    Every call copies its data into memory of the publisher's own and returns. When viewers
    are slower than the program, or there is none, the newest data wins: what waits longest
    is given up, counted, and told to the viewer as a gap.

    Parameters
    ----------
    *sinks : str or LocalViewer
        Where to: a URL is connected to, with ``?listen`` it waits there for viewers; or a
        recording, ``Recording("run.ome.zarr")``.
    spawn : bool
        Start a viewer at each URL where none listens on this machine.
    name : str, optional
        What viewers call this program; by default the script's name.
    settings : PublisherSettings, optional
        Limits.
    part_of : str, optional
        What all publishers have in common that fill the same layers at the same time: the
        workers of one run. By default each publisher is a run of its own.
    page : bool
        Whether a browser that opens a URL which listens at ``ws`` or ``wss`` gets a viewer.

    Raises
    ------
    URLError
        A URL cannot be used as given.
    TransportError
        An address to listen at is taken or not allowed.

    Examples
    --------
    >>> with Publisher("tcp://127.0.0.1:5555") as pub:
    ...     pub.image("nuclei", plane, at={"well": "A01", "t": 3})
    """

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every viewer has acknowledged everything.

        Parameters
        ----------
        timeout : float
            Seconds to wait at the most.

        Returns
        -------
        bool
            Whether all is acknowledged. Where a URL is connected to and no viewer is
            there, nothing is. A listening URL without viewers owes nothing to anybody.

        Raises
        ------
        ClosedError
            The publisher is closed.
        """
        self._engine.check_open()
        return self._engine.wait_until_idle(timeout)

    def checkpoint(self) -> None:
        """Wait while paused.

        Raises
        ------
        StopRequested
            A viewer wants the program to end.
        """
        self._engine.steering.checkpoint()

    def close(self, timeout: float | None = None) -> None:
        """Send what waits, then let go; never longer than `timeout`.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default the ``close_timeout`` of the settings.
        """
        self._end(self._settings.close_timeout if timeout is None else timeout)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _part(
    along: Mapping[str, Sequence[Coordinate]], offset: Sequence[int], plane_shape: Sequence[int]
) -> Part:
    if not (along or offset or plane_shape):
        return WHOLE
    planes = tuple(len(values) for values in along.values())
    return Part(planes, tuple(map(int, offset)), tuple(map(int, plane_shape)))


def _extra(along: Mapping[str, Sequence[Coordinate]], part: Part) -> dict[str, Any]:
    """Return the fields of an item that is not just one plane."""
    if part is WHOLE:
        return {}
    return {"along": dict(along), "offset": part.offset}
