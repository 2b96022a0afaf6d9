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

from napari_streaming.bench.local import measure
from napari_streaming.errors import DataError

__all__ = ["run"]

_BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {"local": measure}


def run(name: str, json_path: str) -> None:
    """Run a benchmark, print a table for people and write the numbers as JSON.

    Parameters
    ----------
    name : str
        ``"local"``: what publishing costs and what each way to a viewer carries.
    json_path : str
        A file, or ``-`` for stdout; the table goes to stderr then.

    Raises
    ------
    DataError
        There is no benchmark of this name.
    """
    benchmark = _BENCHMARKS.get(name)
    if benchmark is None:
        raise DataError(f"no benchmark {name!r}; there are: {', '.join(_BENCHMARKS)}")
    result = {**benchmark(), "machine": _machine()}
    text = json.dumps(result, indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(text)
    else:
        Path(json_path).write_text(text)
    print(_table(result), file=sys.stderr if json_path == "-" else sys.stdout)


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
