"""``napari-streaming viewers``: which viewers of this user run on this machine."""

from __future__ import annotations

from datetime import datetime

from napari_streaming.transport.runtime import listings
from napari_streaming.uri import parse_url

__all__ = ["viewers"]


def viewers() -> None:
    """Print a line for each viewer that listens: where, its process and since when."""
    found = [listing for listing in listings() if listing.role == "view"]
    for listing in found:
        since = datetime.fromtimestamp(listing.started).strftime("%Y-%m-%d %H:%M:%S")
        url = parse_url(listing.url).address
        print(f"{url}  process {listing.pid}  since {since}  {listing.software}")
    if not found:
        print("no viewer listens; start one with: napari-streaming view")
