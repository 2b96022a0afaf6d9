"""``napari-streaming web``: a stream, passed on to browsers."""

from __future__ import annotations

import contextlib
import threading
import webbrowser

from napari_streaming.errors import URLError
from napari_streaming.relay import Relay
from napari_streaming.uri import parse_url

__all__ = ["web"]


def web(url: str, listen: str, *, show: bool) -> None:
    """Pass a stream on to browsers until the user interrupts.

    Parameters
    ----------
    url : str
        A publisher's, or with ``?listen`` where publishers connect.
    listen : str
        Where browsers connect: ``ws`` or ``wss``.
    show : bool
        Open the page in this machine's browser.

    Raises
    ------
    URLError
        A URL cannot be used as given.
    TransportError
        An address is taken or not allowed.
    """
    here = parse_url(listen, listen=True)
    if here.scheme not in ("ws", "wss"):
        raise URLError(f"{here.redacted()}: browsers need ws:// or wss://")
    relay = Relay(url, str(here))
    try:
        print(f"Open in a browser: {relay.pages[0]}", flush=True)
        print(f"Only to look on: {relay.view_pages[0]}", flush=True)
        for source in relay.sources:
            print(f"Programs publish to: {source}", flush=True)
        if show:
            webbrowser.open(relay.pages[0])
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        relay.close()
