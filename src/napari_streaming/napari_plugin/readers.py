"""Opening a URL: the reader hands it to the dock that it is for, and connects nothing itself.

``napari --plugin napari-streaming tcp://…`` dies of an exception in a reader, so that a URL
that cannot be used must only ever show as a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_streaming.errors import StreamingError, URLError
from napari_streaming.uri import SCHEMES, is_session_url, parse_url

__all__ = ["get_reader"]

PLUGIN, WIDGET, REMOTE = "napari-streaming", "Stream Receiver", "Remote GPU Session"


def get_reader(path: str | list[str]) -> Callable[[Any], list[tuple[None]]] | None:
    """Return a reader if the path is the URL of a stream or a session (or a list of them)."""
    paths = path if isinstance(path, list) else [path]
    return _read if paths and all(_is_stream_url(one) for one in paths) else None


def _is_stream_url(text: str) -> bool:
    if is_session_url(text):
        return True
    try:
        return parse_url(text).carrier != "memory"
    except URLError:
        # Still ours, so that the user learns what is wrong with it.
        return text.partition("://")[0] in set(SCHEMES) - {"memory"}


def _read(path: str | list[str]) -> list[tuple[None]]:
    """Open the docks with these URLs; no layer comes from here."""
    import napari
    from napari.utils.notifications import show_error, show_warning

    viewer = napari.current_viewer()
    if viewer is None:
        show_warning("a stream URL needs a napari window: use napari_streaming.receive in scripts")
        return [(None,)]
    for url in path if isinstance(path, list) else [path]:
        widget = REMOTE if is_session_url(url) else WIDGET
        _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, widget)
        try:
            dock.open(url)
        except StreamingError as error:
            show_error(str(error))
    return [(None,)]
