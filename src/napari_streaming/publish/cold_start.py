"""A progress bar for who waits for a viewer, on a terminal; elsewhere nothing is printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari_streaming.transport.starting import STAGES, stage_of
from napari_streaming.uri import StreamURL

__all__ = ["cold_start_bar"]


@contextmanager
def cold_start_bar(url: StreamURL) -> Iterator[Callable[[], None]]:
    """Show how far the viewer is that is being started at a URL.

    Yields
    ------
    callable
        To be called again and again; the bar appears with the first call, and is gone with
        the end of the block.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("starting napari viewer …"),
        BarColumn(),
        TextColumn("{task.elapsed:.1f} s"),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=len(STAGES))

    def show() -> None:
        stage = stage_of(url)
        if stage is not None:
            bar.start()
            bar.update(task, completed=STAGES.index(stage) + 1, description=stage)

    try:
        yield show
    finally:
        bar.stop()
