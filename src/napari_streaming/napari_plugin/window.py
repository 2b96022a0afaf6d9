"""napari with the Stream Receiver open: what ``napari-streaming view`` starts."""

from __future__ import annotations

import signal
from typing import Any

from napari_streaming.napari_plugin.readers import PLUGIN, WIDGET
from napari_streaming.transport.starting import report_stage
from napari_streaming.uri import parse_url

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

    parsed = parse_url(url)
    report_stage(parsed, "napari imported")
    viewer = napari.Viewer(title=title)
    report_stage(parsed, "window shown")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    try:
        dock.open(url)
    except StreamingError:
        viewer.close()
        raise
    report_stage(parsed, "listening")
    return viewer, dock


def run_window() -> None:
    """Run napari until its window is closed, or until the process is asked to end."""
    import napari
    from qtpy.QtCore import QTimer

    # napari wakes up Python for signals, which come in the midst of painting, too: Qt crashes if
    # a window is gone when it has been painted. So the event loop closes them, at its next turn.
    signal.signal(signal.SIGTERM, lambda *_: QTimer.singleShot(0, _close_all))
    napari.run()


def _close_all() -> None:
    """Close all windows; closed like this, none asks its user."""
    from qtpy.QtWidgets import QApplication

    QApplication.closeAllWindows()
