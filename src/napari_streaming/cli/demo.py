"""``napari-streaming demo``: the main job, live, with a screen or without."""

from __future__ import annotations

from pathlib import Path

from napari_streaming.cli.screen import has_screen, virtual_screen
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
        headless = not has_screen()
    if not headless:
        _run(None)
        return
    with virtual_screen():
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
