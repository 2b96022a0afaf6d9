"""The calls of a publisher that stream points, shapes, tracks, vectors and surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_streaming.publish.engine import Engine
from napari_streaming.publish.geometry import (
    points_spec,
    set_fields,
    shapes_spec,
    surface_spec,
    tracks_spec,
    vectors_spec,
)
from napari_streaming.wire.messages import QualityOfService

__all__ = ["GeometryCalls"]


class GeometryCalls:
    """What a :class:`Publisher` has for layers that are not made of planes.

    A call streams one set. It replaces the set that was there: the one with the same
    coordinates and the same key. With ``append=True`` its rows come after those that are there;
    a ``"latest"`` stream may then lose some of them where a viewer is slow, a ``"reliable"``
    one loses none.
    """

    _engine: Engine

    def points(
        self,
        name: str,
        coordinates: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        features: Mapping[str, ArrayLike] | None = None,
        key: str = "",
        append: bool = False,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        qos: QualityOfService = "latest",
    ) -> None:
        """Stream the points at some coordinates; they replace those that were there.

        Parameters
        ----------
        name : str
            The layer.
        coordinates : array-like of number, shape (n, d)
            In pixels, in the order of `axes` (by default the last `d` of ``z, y, x``).
            `n` may be 0.
        features : mapping of str to array-like, shape (n,), optional
            A column of numbers or strings for each name.
        key : str
            Sets with different keys stand beside each other at the same coordinates.
        append : bool
            Add to the points with the same coordinates and key, instead of replacing them.
        at, axes, scale, translate, units, qos
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, arrays = points_spec(
            coordinates, features or {}, axes=axes, scale=scale, translate=translate,
            units=units, qos=qos,
        )  # fmt: skip
        self._engine.publish(name, spec, at, arrays, **set_fields(key, append))

    def shapes(
        self,
        name: str,
        shapes: Sequence[ArrayLike] | np.ndarray,
        *,
        shape_type: str | Sequence[str] = "polygon",
        at: Mapping[str, Any] | None = None,
        features: Mapping[str, ArrayLike] | None = None,
        key: str = "",
        append: bool = False,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        qos: QualityOfService = "latest",
    ) -> None:
        """Stream the shapes at some coordinates; they replace those that were there.

        Parameters
        ----------
        name : str
            The layer.
        shapes : sequence of array-like of number, shape (v, d)
            The vertices of each, as for :meth:`points`; they travel as float32. An array
            (n, v, d) if all have as many. There may be none.
        shape_type : str or sequence of str
            One for all or one for each, of ``rectangle`` and ``ellipse`` (four corners, or two
            opposite ones), ``line`` (2 vertices), ``path`` (2 or more), ``polygon`` (3 or more).
        features : mapping of str to array-like, shape (n,), optional
            A column of numbers or strings for each name.
        key, append
            As for :meth:`points`.
        at, axes, scale, translate, units, qos
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, arrays = shapes_spec(
            shapes, shape_type, features or {}, axes=axes, scale=scale, translate=translate,
            units=units, qos=qos,
        )  # fmt: skip
        self._engine.publish(name, spec, at, arrays, **set_fields(key, append))

    def tracks(
        self,
        name: str,
        rows: ArrayLike,
        *,
        graph: Mapping[int, int | Sequence[int]] | None = None,
        at: Mapping[str, Any] | None = None,
        features: Mapping[str, ArrayLike] | None = None,
        key: str = "",
        append: bool = False,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        qos: QualityOfService = "latest",
    ) -> None:
        """Stream the tracks at some coordinates; they replace those that were there.

        Parameters
        ----------
        name : str
            The layer.
        rows : array-like of number, shape (n, 1 + d)
            Of a track's number, an integer, and a position along `axes`: ``t, y, x`` or
            ``t, z, y, x``. `n` may be 0. Where images have coordinates of the first axis'
            name, the times are values of these: frame numbers, say, or seconds.
        graph : mapping of int to int or sequence of int, optional
            The tracks that a track came from.
        features : mapping of str to array-like, shape (n,), optional
            A column of numbers or strings for each name.
        axes : sequence of str, optional
            Names of the positions' axes, time first.
        key, append
            As for :meth:`points`.
        at, scale, translate, units, qos
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, arrays = tracks_spec(
            rows, graph or {}, features or {}, axes=axes, scale=scale, translate=translate,
            units=units, qos=qos,
        )  # fmt: skip
        self._engine.publish(name, spec, at, arrays, **set_fields(key, append))

    def vectors(
        self,
        name: str,
        vectors: ArrayLike,
        *,
        at: Mapping[str, Any] | None = None,
        features: Mapping[str, ArrayLike] | None = None,
        key: str = "",
        append: bool = False,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        qos: QualityOfService = "latest",
    ) -> None:
        """Stream the vectors at some coordinates; they replace those that were there.

        Parameters
        ----------
        name : str
            The layer.
        vectors : array-like of number, shape (n, 2, d)
            Start and extent of each, along axes as for :meth:`points`; they travel as
            float32. `n` may be 0.
        features : mapping of str to array-like, shape (n,), optional
            A column of numbers or strings for each name.
        key, append
            As for :meth:`points`.
        at, axes, scale, translate, units, qos
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, arrays = vectors_spec(
            vectors, features or {}, axes=axes, scale=scale, translate=translate,
            units=units, qos=qos,
        )  # fmt: skip
        self._engine.publish(name, spec, at, arrays, **set_fields(key, append))

    def surface(
        self,
        name: str,
        vertices: ArrayLike,
        faces: ArrayLike,
        values: ArrayLike | None = None,
        *,
        at: Mapping[str, Any] | None = None,
        key: str = "",
        append: bool = False,
        axes: Sequence[str] | None = None,
        scale: Sequence[float] = (),
        translate: Sequence[float] = (),
        units: str | Sequence[str] = (),
        qos: QualityOfService = "latest",
    ) -> None:
        """Stream the surface at some coordinates; it replaces the one that was there.

        Parameters
        ----------
        name : str
            The layer.
        vertices : array-like of number, shape (v, d)
            As for :meth:`points`; they travel as float32.
        faces : array-like of int, shape (f, 3)
            The indices of each triangle's vertices, from 0 in each call.
        values : array-like of number, shape (v,), optional
            A value for each vertex, which a colormap makes a colour; they travel as float32.
        key, append
            As for :meth:`points`.
        at, axes, scale, translate, units, qos
            As for :meth:`image`.

        Raises
        ------
        DataError, ClosedError
            As for :meth:`image`.
        """
        spec, arrays = surface_spec(
            vertices, faces, values, axes=axes, scale=scale, translate=translate,
            units=units, qos=qos,
        )  # fmt: skip
        self._engine.publish(name, spec, at, arrays, **set_fields(key, append))
