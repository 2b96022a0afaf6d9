"""What a user's mouse, keyboard and window do, as messages."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from napari_streaming.wire.attributes import Finite
from napari_streaming.wire.frames import MAX_FRAME_HEIGHT, MAX_FRAME_WIDTH
from napari_streaming.wire.messages import Short

__all__ = [
    "Height",
    "Input",
    "IntentId",
    "Key",
    "Pointer",
    "Ratio",
    "Resize",
    "Wheel",
    "Width",
]

IntentId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Width = Annotated[int, Meta(ge=1, le=MAX_FRAME_WIDTH)]
Height = Annotated[int, Meta(ge=1, le=MAX_FRAME_HEIGHT)]
Ratio = Annotated[float, Meta(ge=0.1, le=16)]
Modifiers = Annotated[tuple[Literal["shift", "control", "alt", "meta"], ...], Meta(max_length=4)]
Button = Annotated[int, Meta(ge=0, le=5)]
Buttons = Annotated[tuple[Button, ...], Meta(max_length=5)]


class Pointer(Struct, frozen=True, tag="pointer", kw_only=True):
    """The mouse: `x` and `y` in device pixels from the upper left corner of the canvas.

    Buttons are numbered 1 left, 2 right, 3 middle, 4 back, 5 forward; 0 is none.
    """

    id: IntentId
    kind: Literal["move", "press", "release", "double", "leave"]
    x: Finite
    y: Finite
    button: Button = 0
    buttons: Buttons = ()
    modifiers: Modifiers = ()


class Wheel(Struct, frozen=True, tag="wheel", kw_only=True):
    """The wheel: `dx` and `dy` in notches, up and right positive."""

    id: IntentId
    x: Finite
    y: Finite
    dx: Finite = 0.0
    dy: Finite = 0.0
    modifiers: Modifiers = ()


class Key(Struct, frozen=True, tag="key", kw_only=True):
    """A key, by vispy's name of it ("A", "Left", "Escape")."""

    id: IntentId
    kind: Literal["press", "release"]
    key: Short
    text: Short = ""
    modifiers: Modifiers = ()


class Resize(Struct, frozen=True, tag="resize"):
    """The client's canvas has another size."""

    id: IntentId
    width: Width
    height: Height
    ratio: Ratio = 1.0


Input = Pointer | Wheel | Key | Resize
