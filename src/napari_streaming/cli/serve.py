"""``napari-streaming serve``: a viewer without a window, for clients elsewhere."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from platform import node
from typing import Any

from napari_streaming.errors import DataError, URLError
from napari_streaming.transport.runtime import new_token
from napari_streaming.uri import StreamURL, parse_session_url
from napari_streaming.wire.session import view_token

__all__ = ["serve"]

_RECEIVE_TICK_S = 0.01


def serve(
    paths: Sequence[Path],
    listen: str,
    size: str,
    encoder: str,
    root: Path | None,
    receive: str | None,
) -> None:
    """Serve files, and what is published, to remote viewers until it is interrupted.

    Parameters
    ----------
    paths : sequence of Path
        To open.
    listen : str
        Where: ``ws://127.0.0.1:8766``.
    size : str
        Of the canvas until a client says otherwise: ``1920x1080``.
    encoder : str
        Of the ladder, or ``auto``.
    root : Path, optional
        The folder of which clients may open files.
    receive : str, optional
        A stream URL: what is published there is shown.

    Raises
    ------
    StreamingError
        Something of this cannot be used.
    """
    width, height = _parse_size(size)
    url = _session_url(listen)
    # Fonts alone, and no screen: napari's own text needs Qt's.
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from napari_streaming.remote.server.opening import new_viewer, open_paths
    from napari_streaming.remote.server.session import RemoteServer

    viewer = new_viewer()
    tick, close = _receiver(viewer, receive) if receive else (_never, _nothing)
    server = RemoteServer(
        viewer,
        url,
        url.token or new_token(),
        (width, height),
        encoder=encoder,
        root=None if root is None else root.resolve(),
        tick=tick,
    )
    open_paths(viewer, paths)
    viewer.reset_view()
    server.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    _say_where(server.url)
    try:
        server.run()
    finally:
        close()


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})[x×](\d{1,4})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(16 <= side <= 7680 for side in size):
        raise DataError(f"--size {text!r}: write it like 1920x1080, 16 to 7680 pixels a side")
    return size


def _session_url(text: str) -> StreamURL:
    try:
        return parse_session_url(text, listen=True)
    except URLError as error:
        raise URLError(f"--listen: {error}") from None


def _never() -> float:
    return math.inf


def _nothing() -> None:
    return None


def _receiver(viewer: Any, url: str) -> tuple[Callable[[], float], Callable[[], None]]:
    """Show what is published at a URL; return what to call again and again, and at the end."""
    from napari_streaming.napari_plugin.headless_receiver import HeadlessReceiver

    receiver = HeadlessReceiver(viewer)
    where = receiver.open(url)
    print(f"Publish to      {where}")

    def tick() -> float:
        receiver.tick()
        return _RECEIVE_TICK_S

    return tick, receiver.close


def _say_where(url: StreamURL) -> None:
    """Print what is to be typed elsewhere."""
    shared = url.shareable()
    lines = [
        f"Session         {shared}",
        f"In napari       napari --plugin napari-streaming '{shared}'",
        f"To look on      {url.with_token(view_token(url.token)).shareable()}",
    ]
    if url.is_local:
        lines.append(
            f"From elsewhere  ssh -L {url.port}:127.0.0.1:{url.port} {node()}   (then as above)"
        )
    print("\n".join(lines))
    sys.stdout.flush()
