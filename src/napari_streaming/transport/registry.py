"""Scheme → transport. A new transport is a class and a line here."""

from __future__ import annotations

from napari_streaming.transport.base import Endpoint
from napari_streaming.uri import StreamURL

__all__ = ["create_endpoint"]


def create_endpoint(url: StreamURL) -> Endpoint:
    """Return a closed endpoint for a URL."""
    if url.scheme == "memory":
        from napari_streaming.transport.memory import MemoryEndpoint

        return MemoryEndpoint(url)
    from napari_streaming.transport.zmq import ConnectingEndpoint, ListeningEndpoint

    return ListeningEndpoint(url) if url.listen else ConnectingEndpoint(url)
