"""Watch a running pipeline live in napari.

The producer's side needs neither Qt nor napari::

    import napari_streaming as ns

    with ns.Publisher("tcp://127.0.0.1:5555", spawn=True) as pub:
        pub.image("nuclei", plane, at={"well": "A01", "t": 3})
"""

from typing import TYPE_CHECKING, Any

from napari_streaming.errors import StopRequested, StreamingError
from napari_streaming.publish.publisher import Publisher, PublisherStats
from napari_streaming.publish.viewer_process import Viewer
from napari_streaming.settings import PublisherSettings, ReceiverSettings

if TYPE_CHECKING:
    from napari_streaming import aio
    from napari_streaming.record.recording import Recording

__all__ = [
    "Publisher",
    "PublisherSettings",
    "PublisherStats",
    "ReceiverSettings",
    "Recording",
    "StopRequested",
    "StreamingError",
    "Viewer",
    "aio",
]


def __getattr__(name: str) -> Any:
    """Return what few programs need, and import it only then."""
    if name == "aio":
        import importlib

        return importlib.import_module("napari_streaming.aio")
    if name == "Recording":
        from napari_streaming.record.recording import Recording

        return Recording
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
