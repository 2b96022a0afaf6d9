"""A scene as messages: layers without their data, dimensions, camera, canvas, and their changes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from napari_streaming.wire.attributes import Changes, Finite
from napari_streaming.wire.inputs import Height, Ratio, Width
from napari_streaming.wire.messages import LayerKind, Short

__all__ = [
    "Camera",
    "CameraChanged",
    "Canvas",
    "CanvasChanged",
    "Dims",
    "DimsChanged",
    "Layer",
    "LayerAdded",
    "LayerChanged",
    "LayerId",
    "LayerRemoved",
    "LayerReshaped",
    "LayersReordered",
    "SceneChanged",
    "SceneDelta",
    "Snapshot",
    "Thumbnail",
]

LayerId = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Point = tuple[Finite, Finite, Finite]
Numbers = Annotated[tuple[Finite, ...], Meta(max_length=16)]
Names = Annotated[tuple[Short, ...], Meta(max_length=16)]
Lengths = Annotated[tuple[Annotated[int, Meta(ge=0, lt=2**40)], ...], Meta(max_length=16)]
Order = Annotated[tuple[Annotated[int, Meta(ge=0, lt=16)], ...], Meta(max_length=16)]
Ranges = Annotated[tuple[Point, ...], Meta(max_length=16)]
Picture = Annotated[bytes, Meta(max_length=65536)]
Amount = Annotated[float, Meta(ge=0, le=1e100)]


class Dims(Struct, frozen=True, kw_only=True):
    """The dimensions of the scene: what is sliced where, in world coordinates."""

    ndim: Annotated[int, Meta(ge=2, le=16)]
    ndisplay: Annotated[int, Meta(ge=2, le=3)]
    point: Numbers
    range: Ranges
    order: Order
    axis_labels: Names


class Camera(Struct, frozen=True, kw_only=True):
    """Where the scene is looked at from, as napari's camera has it."""

    center: Point
    zoom: Annotated[float, Meta(gt=0, le=1e100)]
    angles: Point
    perspective: Amount = 0.0


class Canvas(Struct, frozen=True, kw_only=True):
    """The canvas that all pictures are of, in device pixels."""

    width: Width
    height: Height
    ratio: Ratio = 1.0


class Layer(Struct, frozen=True, kw_only=True):
    """A layer without its data.

    `id` names it for the whole session and is never used again. `shape` is that of the data
    (images and labels: of the highest resolution, with colour; else of its coordinates). `low` and
    `high` are the corners of its extent in data coordinates, one number for each dimension.
    `features` are the names of what its points or tracks can be coloured by.
    """

    id: LayerId
    kind: LayerKind
    ndim: Annotated[int, Meta(ge=1, le=16)]
    shape: Lengths
    dtype: Short
    low: Numbers = ()
    high: Numbers = ()
    rgb: bool = False
    multiscale: bool = False
    features: Names = ()
    attributes: Changes = {}


class Snapshot(Struct, frozen=True, tag="snapshot", kw_only=True):
    """The whole scene: the first message after Welcome."""

    layers: Annotated[tuple[Layer, ...], Meta(max_length=1024)]
    dims: Dims
    camera: Camera
    canvas: Canvas
    scene: Changes = {}


class LayerAdded(Struct, frozen=True, tag="layeradded"):
    """A layer more, at a position from the bottom."""

    layer: Layer
    index: Annotated[int, Meta(ge=0, le=1023)]


class LayerRemoved(Struct, frozen=True, tag="layerremoved"):
    """A layer less."""

    layer: LayerId


class LayersReordered(Struct, frozen=True, tag="layersreordered"):
    """All layers, from the bottom."""

    layers: Annotated[tuple[LayerId, ...], Meta(max_length=1024)]


class LayerChanged(Struct, frozen=True, tag="layerchanged"):
    """Attributes of a layer changed."""

    layer: LayerId
    changes: Changes


class LayerReshaped(Struct, frozen=True, tag="layerreshaped"):
    """A layer's data grew or shrank."""

    layer: LayerId
    shape: Lengths
    low: Numbers = ()
    high: Numbers = ()


class Thumbnail(Struct, frozen=True, tag="thumbnail"):
    """A small picture of a layer: RGBA, row by row."""

    layer: LayerId
    width: Annotated[int, Meta(ge=1, le=128)]
    height: Annotated[int, Meta(ge=1, le=128)]
    pixels: Picture

    def __post_init__(self) -> None:
        if len(self.pixels) != 4 * self.width * self.height:
            raise ValueError(f"{len(self.pixels)} bytes are no {self.width} × {self.height} pixels")


class DimsChanged(Struct, frozen=True, tag="dimschanged"):
    """The dimensions changed."""

    dims: Dims


class CameraChanged(Struct, frozen=True, tag="camerachanged"):
    """The camera moved."""

    camera: Camera


class CanvasChanged(Struct, frozen=True, tag="canvaschanged"):
    """Pictures have another size from now on."""

    canvas: Canvas


class SceneChanged(Struct, frozen=True, tag="scenechanged"):
    """Something else of the scene changed: the selection, axes, scale bar, grid."""

    changes: Changes


SceneDelta = (
    LayerAdded
    | LayerRemoved
    | LayersReordered
    | LayerChanged
    | LayerReshaped
    | Thumbnail
    | DimsChanged
    | CameraChanged
    | CanvasChanged
    | SceneChanged
)
"""All that a scene can change by after its snapshot."""
