"""Scheme → transport. A new transport is a class and a line here."""

from __future__ import annotations

from napari_streaming.transport.base import Endpoint, HttpHandler
from napari_streaming.uri import StreamURL

__all__ = ["create_endpoint"]


def create_endpoint(url: StreamURL, http: HttpHandler | None = None) -> Endpoint:
    """Return a closed endpoint for a URL; `http` has pages for browsers, where they can ask."""
    if url.scheme == "memory":
        from napari_streaming.transport.memory import MemoryEndpoint

        return MemoryEndpoint(url)
    if url.scheme in ("ws", "wss"):
        from napari_streaming.transport import websocket

        if url.listen:
            return websocket.ListeningEndpoint(url, http)
        return websocket.ConnectingEndpoint(url)
    from napari_streaming.transport.zmq import ConnectingEndpoint, ListeningEndpoint

    return ListeningEndpoint(url) if url.listen else ConnectingEndpoint(url)
