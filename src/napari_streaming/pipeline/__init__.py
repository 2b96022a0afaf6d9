"""Pipelines whose results are kept and streamed, and the stores that they are kept in."""

from napari_streaming.pipeline.storage import Storage
from napari_streaming.pipeline.values import About, Points, Value, kind_of

__all__ = ["About", "Points", "Storage", "Value", "kind_of"]
