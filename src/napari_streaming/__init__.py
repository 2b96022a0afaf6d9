"""Watch a running pipeline live in napari.

The producer's side needs neither Qt nor napari::

    import napari_streaming as ns

    with ns.Publisher("tcp://127.0.0.1:5555", spawn=True) as pub:
        pub.image("nuclei", plane, at={"well": "A01", "t": 3})
"""

from napari_streaming.errors import StopRequested, StreamingError
from napari_streaming.publish.publisher import Publisher, PublisherStats
from napari_streaming.publish.viewer_process import Viewer
from napari_streaming.settings import PublisherSettings, ReceiverSettings

__all__ = [
    "Publisher",
    "PublisherSettings",
    "PublisherStats",
    "ReceiverSettings",
    "StopRequested",
    "StreamingError",
    "Viewer",
]
