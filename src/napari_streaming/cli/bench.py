"""``napari-streaming bench``: what is fast on this machine, and what is not."""

from __future__ import annotations

from contextlib import nullcontext

from napari_streaming import bench as benchmarks
from napari_streaming.cli.screen import has_screen, virtual_screen

__all__ = ["bench"]


def bench(name: str, json: str) -> None:
    """Run a benchmark and write its numbers.

    Parameters
    ----------
    name : str
        ``local``, ``web``, ``record`` and ``remote`` need no window, ``pipeline`` and ``display``
        open napari (on a virtual screen where there is none).
    json : str
        A file, or ``-``.

    Raises
    ------
    StreamingError
        There is no such benchmark, or it cannot run here.
    """
    if name not in ("pipeline", "display"):
        benchmarks.run(name, json)
        return
    with nullcontext() if has_screen() else virtual_screen():
        if name == "pipeline":
            benchmarks.run(name, json)
            return
        from napari_streaming.napari_plugin.bench_display import measure

        benchmarks.report(measure(), json)
