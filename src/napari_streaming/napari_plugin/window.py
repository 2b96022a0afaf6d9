"""napari with the Stream Receiver open: what ``napari-streaming view`` starts."""

from __future__ import annotations

from typing import Any

from napari_streaming.napari_plugin.readers import PLUGIN, WIDGET

__all__ = ["open_window", "run_window"]


def open_window(url: str, *, title: str = "napari-streaming") -> tuple[Any, Any]:
    """Open napari and receive from a URL.

    Parameters
    ----------
    url : str
        Stream URL.
    title : str
        Of the window.

    Returns
    -------
    viewer : napari.Viewer
    dock : napari_streaming.widgets.receiver_dock.ReceiverDock

    Raises
    ------
    URLError, TransportError
        The URL cannot be used; the window is closed again.
    """
    import napari

    from napari_streaming.errors import StreamingError

    viewer = napari.Viewer(title=title)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    try:
        dock.open(url)
    except StreamingError:
        viewer.close()
        raise
    return viewer, dock


def run_window() -> None:
    """Run napari until its window is closed."""
    import napari

    napari.run()
