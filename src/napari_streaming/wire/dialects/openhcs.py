"""What OpenHCS senders mean, in our messages: a layer, a place in it, and its data.

A step's output is a layer, ``1. denoise``; its shapes and points are ``1. denoise ROIs`` and
``1. denoise points``. The components of an image are its coordinates, under OpenHCS's own names:
site, channel, z_index, timepoint, well. A value that the sender has a name for carries it,
``1: DAPI``: it stays unique, and says more. Whether a value has a name is decided when it comes
for the first time, so that it is always the same.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

import numpy as np

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import Buffer, pack, unpack
from napari_streaming.wire.dialects.openhcs_messages import Batch, Image, Producer
from napari_streaming.wire.dialects.openhcs_pixels import (
    Shared,
    pixels,
    region,
    spacing,
    spread,
)
from napari_streaming.wire.dialects.openhcs_shapes import FEATURES, figure_sets
from napari_streaming.wire.messages import Array, Coordinate, Declare, Item, LayerKind

__all__ = ["Piece", "Translator", "batch_reply", "image_ack", "wanted_modes"]

Wanted = Literal["stack", "split", "window"]
_MODES: dict[str, Wanted] = {
    "stack": "stack",
    "layer": "split",
    "slice": "split",
    "window": "window",
}
_SUFFIXES: dict[LayerKind, str] = {"image": "", "shapes": " ROIs", "points": " points"}
_AXES = ("y", "x")
_UNNAMED = (None, "", "none", "None")
_SAID_OF_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """One item and the layer that it belongs to.

    Parameters
    ----------
    declare : Declare
        What its stream is; the same object for each of its items.
    item : Item
    buffers : sequence of bytes-like
        Of its arrays; none while they are in shared memory.
    shared : Shared or None
        From where to take the only one.
    """

    declare: Declare
    item: Item
    buffers: Sequence[Buffer]
    shared: Shared | None = None

    def checked(self, buffers: Sequence[Buffer]) -> tuple[Item, Sequence[Buffer]]:
        """Return the item and its buffers, held to the bounds of our own protocol.

        Raises
        ------
        MalformedError
            They exceed them.
        """
        item, buffers = _checked(self.item, buffers)
        assert isinstance(item, Item)
        return item, buffers


@dataclass(slots=True)
class _Stream:
    declare: Declare
    numbers: Iterator[int] = field(default_factory=itertools.count)


class Translator:
    """Turns images into pieces. It remembers the streams, and which values have names."""

    def __init__(self) -> None:
        self._streams: dict[bytes, _Stream] = {}
        self._values: dict[tuple[str, Coordinate], Coordinate] = {}

    def pieces(self, image: Image, batch: Batch, now: float) -> list[Piece]:
        """Return what an image of a batch adds to which layers.

        Parameters
        ----------
        image : Image
        batch : Batch
        now : float
            The time, in seconds.

        Raises
        ------
        MalformedError
            It cannot be shown; the message says why.
        """
        at = self._coordinates(image, batch)
        along = self._along(image, batch)
        published = batch.published(now)
        if image.shapes is None:
            if image.data_type != "image":
                raise MalformedError(f"{image.data_type} without 'shapes'")
            return [self._plane(image, batch, at, along, published)]
        at |= {name: values[0] for name, values in along.items() if len(values) == 1}
        wanted: LayerKind = "points" if image.data_type == "points" else "shapes"
        return [
            self._set(kind, arrays, image, batch, at, published)
            for kind, arrays in figure_sets(image.shapes, wanted).items()
        ]

    # ---- where ------------------------------------------------------------------------

    def _coordinates(self, image: Image, batch: Batch) -> dict[str, Coordinate]:
        """Return where an image belongs, slowest axis first as the sender has them."""
        given = {k: v for k, v in image.metadata.items() if v is not None and k != "source"}
        order = [name for name in batch.display_config.component_order if name in given]
        if not given and image.path:  # else one file would take the place of the other
            return {"file": PurePath(image.path).name[:256]}
        return {name: self._value(name, given[name], batch) for name in [*order, *given]}

    def _value(self, component: str, value: Any, batch: Batch) -> Coordinate:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise MalformedError(f"metadata {component!r}: {value!r} is no coordinate"[:500])
        if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,17}", value):
            value = int(value)  # so that 10 comes after 9
        key = component, value
        if key not in self._values:
            name = (batch.component_names_metadata.get(component) or {}).get(str(value))
            named = name not in _UNNAMED and str(name) != str(value)
            self._values[key] = f"{value}: {name}"[:256] if named else value
        return self._values[key]

    def _along(self, image: Image, batch: Batch) -> dict[str, tuple[Coordinate, ...]]:
        planes = image.plane_component_values or {}
        return {
            name: tuple(self._value(name, value, batch) for value in values)
            for name, values in planes.items()
        }

    # ---- what -------------------------------------------------------------------------

    def _plane(
        self,
        image: Image,
        batch: Batch,
        at: dict[str, Coordinate],
        along: dict[str, tuple[Coordinate, ...]],
        published: float,
    ) -> Piece:
        layout, data = pixels(image)
        lead = len(layout.shape) - 2 - (layout.color is not None)
        if lead < 0:
            raise MalformedError(f"shape {layout.shape}: at least y and x are needed")
        stored = layout.sent
        at, along = spread(at, along, stored[:lead], str(image.plane_axis or "plane"))
        plane, offset, translate = region(image, stored[lead:])
        scale, unit = spacing(image.image_metadata or {})
        array = Array("data", layout.dtype.newbyteorder("<").str, stored)
        stream = self._stream(
            name=_name(image),
            kind="image",
            dtype=array.dtype,
            shape=plane,
            rgb=layout.color is not None,
            colormap=batch.display_config.colormap or "",
            scale=scale,
            units=(unit, unit) if unit else (),
        )
        at = {name: value for name, value in at.items() if name not in along}
        translate = tuple(t * s for t, s in zip(translate, scale or (1.0, 1.0), strict=False))
        item = Item(
            stream.declare.stream,
            next(stream.numbers),
            published,
            at,
            (array,),
            along,
            offset,
            translate=translate,
        )
        if isinstance(data, str):
            return Piece(stream.declare, item, (), Shared(data, layout))
        return Piece(stream.declare, item, (layout.buffer(data),))

    def _set(
        self,
        kind: LayerKind,
        arrays: Mapping[str, np.ndarray],
        image: Image,
        batch: Batch,
        at: dict[str, Coordinate],
        published: float,
    ) -> Piece:
        scale, unit = spacing(image.image_metadata or {})
        stream = self._stream(
            name=_name(image) + _SUFFIXES[kind],
            kind=kind,
            dtype="<f8",
            shape=(2,),
            scale=scale,
            units=(unit, unit) if unit else (),
            features=FEATURES,
        )
        sent = tuple(Array(name, one.dtype.str, one.shape) for name, one in arrays.items())
        item = Item(stream.declare.stream, next(stream.numbers), published, at, sent)
        return Piece(stream.declare, item, [one.tobytes() for one in arrays.values()])

    def _stream(self, **about: Any) -> _Stream:
        """Return the stream that has all this in common, made if need be."""
        declare = Declare(stream=0, axes=_AXES, **about)
        declare, _ = _checked(declare)
        key = pack(declare)
        if key not in self._streams:
            declare = Declare(stream=len(self._streams), axes=_AXES, **about)
            self._streams[key] = _Stream(declare)
        return self._streams[key]


def _checked(message: Any, buffers: Sequence[Buffer] = ()) -> tuple[Any, Sequence[Buffer]]:
    try:
        return unpack([pack(message), *buffers])
    except (UnicodeEncodeError, OverflowError) as error:
        raise MalformedError(f"text or a number out of bounds: {error}"[:500]) from None


def _name(image: Image) -> str:
    producer = image.producer_identity
    if producer is None:
        source = image.metadata.get("source")
        return source if isinstance(source, str) and source else "OpenHCS"
    return _title(producer)


def _title(producer: Producer) -> str:
    base = producer.step_name or producer.output_key or "OpenHCS"
    if producer.pipeline_position is not None:
        base = f"{producer.pipeline_position + 1}. {base}"
    further = producer.output_kind not in ("main", "manual", "direct", None)
    if further and producer.output_key and producer.output_key != producer.step_name:
        base = f"{base} {producer.output_key}"
    return base


def wanted_modes(batch: Batch) -> dict[str, Wanted]:
    """Return what the sender would have each component be: "stack", "split" or "window".

    Those that only Fiji knows become axes.
    """
    modes = batch.display_config.component_modes
    return {name: _MODES.get(mode, "stack") for name, mode in modes.items()}


def batch_reply(problems: Sequence[str]) -> bytes:
    """Return the reply to a batch: success, unless there are problems."""
    reply = {"status": "error" if problems else "success", "type": "batch"}
    if problems:
        more = len(problems) - _SAID_OF_ERRORS
        said = [*problems[:_SAID_OF_ERRORS], *([f"and {more} more"] if more > 0 else [])]
        reply["message"] = "; ".join(said)
    return json.dumps(reply).encode()


def image_ack(image_id: str, port: int, now: float, problem: str = "") -> bytes:
    """Return what the sender's progress counter is told of one image."""
    ack: dict[str, Any] = {
        "type": "image_ack",
        "image_id": image_id,
        "viewer_port": port,
        "viewer_type": "napari",
        "status": "error" if problem else "success",
        "timestamp": now,
    }
    return json.dumps(ack | ({"error": problem} if problem else {})).encode()
