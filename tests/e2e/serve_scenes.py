"""A server of remote sessions that shows the scenes of `tests/remote/scenes.py` as it is told.

Reads the name of a scene in each line of its standard input, shows it and prints the name.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "remote"))
from scenes import SCENES, clear, look_at

from napari_streaming.remote.server.opening import new_viewer
from napari_streaming.remote.server.session import RemoteServer
from napari_streaming.uri import parse_session_url

viewer = new_viewer()
url = parse_session_url("ws://127.0.0.1:0/session", listen=True)
server = RemoteServer(viewer, url, "scenes", (640, 480))
server.start()
print(server.url.shareable(), flush=True)


def show(name: str) -> None:
    """Show one scene alone."""
    clear(viewer)
    SCENES[name](viewer)
    look_at(viewer)
    print(name, flush=True)


def obey() -> None:
    """Show what is asked for, until nobody asks any more."""
    for line in sys.stdin:
        server.post(partial(show, line.strip()))
    server.stop()


threading.Thread(target=obey, daemon=True).start()
server.run()
