"""A screen for windows: the user's, or one that nobody sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from napari_streaming.errors import StreamingError
from napari_streaming.publish.viewer_launch import has_screen

__all__ = ["has_screen", "virtual_screen"]


@contextmanager
def virtual_screen() -> Iterator[None]:
    """Give this process a screen of its own, from Xvfb, as long as the block runs.

    Raises
    ------
    StreamingError
        There is no Xvfb, or it does not start.
    """
    program = shutil.which("Xvfb")
    if program is None:
        raise StreamingError(
            "there is no screen, and no Xvfb to make one: sudo apt-get install xvfb"
        )
    read_end, write_end = os.pipe()
    size = ["-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        [program, "-displayfd", str(write_end), *size],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    try:
        with open(read_end) as answer:
            number = answer.readline().strip()  # comes once the screen is ready
        if not number:
            raise StreamingError(f"{program} did not start: try it in a terminal")
        os.environ.pop("WAYLAND_DISPLAY", None)
        os.environ |= {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
        yield
    finally:
        server.terminate()
        server.wait()
