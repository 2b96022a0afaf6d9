"""What OpenHCS senders write, as they write it: a batch of images and sets of shapes, as JSON.

The form is that of openhcs 0.8.6; an older one, a message that is one image, is read as a
batch of one. Fields that mean nothing here are ignored.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.dialects.plain_pickle import read_plain

__all__ = ["MAX_MESSAGE", "Batch", "Display", "Figure", "Image", "Producer", "read_batch"]

MAX_MESSAGE = 256 * 1024 * 1024
_MAX_IMAGES = 65536
_PICKLE = b"\x80"  # how pickles begin since 2003

Text = Annotated[str, Meta(max_length=4096)]
Named = Annotated[dict[Text, Any], Meta(max_length=65536)]
Scalar = str | int | float | None
Length = Annotated[int, Meta(ge=1, lt=2**40)]
Pair = tuple[int, int]


class Producer(Struct, frozen=True):
    """Which output of which step something is; the position counts from 0."""

    output_kind: Text | None = None
    output_key: Text | None = None
    step_name: Text | None = None
    pipeline_position: int | None = None


class Figure(Struct, frozen=True):
    """One shape, or several points."""

    type: Text
    coordinates: list[Any] | None = None
    center: tuple[float, float] | None = None
    radii: tuple[float, float] | None = None
    metadata: Named = {}


class Image(Struct, frozen=True, kw_only=True):
    """One payload: pixels in shared memory or in the message, or shapes."""

    path: Text = ""
    image_id: Text | None = None
    data_type: Literal["image", "shapes", "points", "rois"] = "image"
    shape: Annotated[tuple[Length, ...], Meta(max_length=16)] | None = None
    dtype: Text | None = None
    shm_name: Text | None = None
    data: Any = None
    shapes: list[Figure] | None = None
    metadata: Named = {}
    producer_identity: Producer | None = None
    source_channel_axis: int | None = None
    plane_axis: Scalar = None
    plane_component_values: dict[Text, list[Scalar]] | None = None
    spatial_origin_yx: Pair | None = None
    source_spatial_shape_yx: Pair | None = None
    image_metadata: Named | None = None


class Display(Struct, frozen=True):
    """How the sender would like it shown."""

    component_modes: dict[Text, Text] = {}
    component_order: list[Text] = []
    colormap: Text | None = None
    variable_size_handling: Text | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """What one message holds.

    `images` are yet to be read, by :meth:`image`, so that one that is wrong costs no other.
    """

    images: Annotated[list[Any], Meta(min_length=1, max_length=_MAX_IMAGES)]
    timestamp: float | None = None
    display_config: Display = Display()
    component_names_metadata: dict[Text, Named | None] = {}

    def image(self, number: int) -> Image:
        """Return one image.

        Raises
        ------
        MalformedError
            A field is missing or wrong.
        """
        image: Image = _convert(self.images[number], Image)
        return image

    def said(self, number: int, name: str) -> str:
        """Return a text that an image has, be it wrong or not; empty where there is none."""
        image = self.images[number]
        text = image.get(name) if isinstance(image, dict) else None
        return text if isinstance(text, str) else ""

    def published(self, now: float) -> float:
        """Return when it was sent, which may not be later than now; both in seconds."""
        known = self.timestamp is not None and 0 <= self.timestamp <= now
        return self.timestamp if known and self.timestamp is not None else now


def read_batch(frame: Buffer, *, pickles: bool) -> Batch:
    """Return what a message on the data port holds.

    Parameters
    ----------
    frame : bytes-like
    pickles : bool
        Whether it may be a pickle of plain values and numpy arrays; see :func:`read_plain`.

    Raises
    ------
    MalformedError
        It is no batch, and no image.
    """
    data = bytes(frame)
    if len(data) > MAX_MESSAGE:
        raise MalformedError(f"a message of {len(data)} bytes, at most {MAX_MESSAGE} allowed")
    if not data.startswith(_PICKLE):
        return _batch(_json(data))
    if not pickles:
        raise MalformedError(
            "a pickle: they are not read unless the viewer's URL says so, with ?pickle"
        )
    return _batch(read_plain(data, arrays=True))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"neither JSON nor a pickle: {error}"[:500]) from None


def _batch(message: Any) -> Batch:
    if isinstance(message, dict) and "images" not in message:
        if not message.keys() & {"shm_name", "data", "shapes"}:
            raise MalformedError("neither 'images' nor one image with 'shm_name' or 'data'")
        message = message | {"images": [message]}
    batch: Batch = _convert(message, Batch)
    return batch


def _convert(value: Any, kind: type) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise MalformedError(str(error)[:500]) from None
