"""``napari-streaming demo``: the main job, live, with a screen or without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_streaming.errors import StreamingError

__all__ = ["demo"]


def demo(output: Path, headless: bool | None) -> None:
    """Run the demo.

    Parameters
    ----------
    output : Path
        Without a screen, the window's picture goes here.
    headless : bool or None
        Use a virtual screen, end by itself and save the picture. None: where there is no
        screen.

    Raises
    ------
    StreamingError
        The pipeline failed, or something that the demo needs is missing.
    """
    if headless is None:
        headless = not _has_screen()
    if not headless:
        _run(None)
        return
    with _virtual_screen():
        _run(output)
    print(f"The window's picture is in {output}")


def _run(picture: Path | None) -> None:
    try:
        from napari_streaming.napari_plugin.demo_window import run_demo
    except ImportError as error:
        raise StreamingError(
            f'the demo needs napari ({error.name} is missing): pip install "napari-streaming[all]"'
        ) from None
    run_demo(picture)


def _has_screen() -> bool:
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _virtual_screen() -> Iterator[None]:
    """Give this process a screen of its own, from Xvfb."""
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
