"""Benchmarks that a user can repeat: ``napari-streaming bench NAME --json FILE``."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_streaming.errors import DataError

__all__ = ["report", "run"]


def _local() -> dict[str, Any]:
    from napari_streaming.bench.local import measure

    return measure()


def _web() -> dict[str, Any]:
    from napari_streaming.bench.web import measure

    return measure()


def _remote() -> dict[str, Any]:
    from napari_streaming.bench.remote import measure

    return measure()


def _pipeline() -> dict[str, Any]:
    from napari_streaming.bench.pipeline import measure

    return measure()


def _record() -> dict[str, Any]:
    from napari_streaming.bench.record import measure

    return measure()


_BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "local": _local,
    "web": _web,
    "record": _record,
    "pipeline": _pipeline,
    "remote": _remote,
}


def run(name: str, json_path: str) -> None:
    """Run a benchmark, print a table for people and write the numbers as JSON.

    Parameters
    ----------
    name : str
        ``"local"``: what publishing costs and what each way to a viewer carries. ``"web"``:
        many viewers over WebSocket. ``"record"``: how fast a recording is, and the disk, and
        what a recording costs the program. ``"pipeline"``: what viewers cost a pipeline; it
        needs a screen. ``"remote"``: how long a remote session takes.
    json_path : str
        A file, or ``-`` for stdout; the table goes to stderr then.

    Raises
    ------
    DataError
        There is no benchmark of this name, or no folder for the file.
    """
    benchmark = _BENCHMARKS.get(name)
    if benchmark is None:
        raise DataError(f"no benchmark {name!r}; there are: {', '.join(_BENCHMARKS)}")
    if json_path != "-" and not Path(json_path).parent.is_dir():
        raise DataError(f"{json_path}: there is no such folder")
    report(benchmark(), json_path)


def report(result: Mapping[str, Any], json_path: str) -> None:
    """Print the numbers of a benchmark, and write them with the machine's description.

    Parameters
    ----------
    result : mapping
        Numbers, or mappings of names to numbers, by quantity.
    json_path : str
        As for :func:`run`.
    """
    result = {**result, "machine": _machine()}
    print(_table(result), file=sys.stderr if json_path == "-" else sys.stdout)
    text = json.dumps(result, indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(text)
    else:
        Path(json_path).write_text(text)


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
    }


def _table(result: Mapping[str, Any]) -> str:
    """Return one line for each quantity."""
    width = max(map(len, result))
    return "\n".join(f"{name:{width}}  {_show(value)}" for name, value in result.items())


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_show(inner)}" for name, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
