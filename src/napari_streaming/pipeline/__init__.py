"""Pipelines whose results are kept and streamed, and the stores that they are kept in.

::

    pipeline = Pipeline(
        [Step("segment", segment, output=Materialize("results"))],
        axes=("well", "channel"),
        stream=Stream(url="tcp://127.0.0.1:5555"),
    )
    result = pipeline.compile(source).run("processes", workers=2)
"""

from napari_streaming.pipeline.model import Materialize, Pipeline, Step, Stream
from napari_streaming.pipeline.plan import Plan
from napari_streaming.pipeline.source import Source
from napari_streaming.pipeline.storage import Storage
from napari_streaming.pipeline.values import About, Points, Value, kind_of

__all__ = [
    "About",
    "Materialize",
    "Pipeline",
    "Plan",
    "Points",
    "Source",
    "Step",
    "Storage",
    "Stream",
    "Value",
    "kind_of",
]
