"""``napari-streaming view``: napari with the receiver listening or connected."""

from __future__ import annotations

from napari_streaming.errors import StreamingError
from napari_streaming.transport.starting import report_stage
from napari_streaming.uri import parse_url

__all__ = ["view"]


def view(url: str) -> None:
    """Open napari, receive from a URL and stay until the window is closed.

    Raises
    ------
    StreamingError
        The URL cannot be used, or napari is not installed.
    """
    parsed = parse_url(url)
    report_stage(parsed, "program loaded")
    try:
        from napari_streaming.napari_plugin.window import open_window, run_window

        open_window(str(parsed), title=f"napari-streaming {parsed.redacted()}")
    except ImportError as error:
        raise StreamingError(
            f'a viewer needs napari ({error.name} is missing): pip install "napari-streaming[all]"'
        ) from None
    run_window()
