"""Viewers that are being started: one small file for each, until it listens.

With it nobody starts a second one at the same address, and whoever waits sees how far it is.
The program that starts a viewer leaves the file; the viewer itself writes down each stage that
it reached, and deletes the file once it listens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from napari_streaming.transport.runtime import (
    is_running,
    path_of,
    process_started,
    runtime_folder,
    write_privately,
)
from napari_streaming.uri import StreamURL

__all__ = ["STAGES", "Stage", "note_starting", "report_stage", "stage_of"]

Stage: TypeAlias = Literal[
    "process started", "program loaded", "napari imported", "window shown", "listening"
]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""How far a viewer is that starts, in this order."""


class _Starting(msgspec.Struct, frozen=True):
    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
    started: float
    stage: Stage


def note_starting(url: StreamURL, pid: int) -> None:
    """Leave word that process `pid` is to listen at `url`.

    To be called under :func:`napari_streaming.transport.runtime.locked`. What viewers left
    that never came to listen is swept away.
    """
    for path in runtime_folder().glob("*.starting"):
        if _read(path) is None:
            path.unlink(missing_ok=True)
    started = process_started(pid)
    if started is not None:
        write_privately(_path(url), _Starting(pid, started, STAGES[0]))


def report_stage(url: StreamURL, stage: Stage) -> None:
    """Write down how far this process is; only if somebody started it to listen at `url`."""
    path = _path(url)
    starting = _read(path)
    # A virtual environment of Windows runs Python as the child of what was started.
    if starting is None or starting.pid not in (os.getpid(), os.getppid()):
        return
    if stage == "listening":
        path.unlink(missing_ok=True)
    else:
        write_privately(path, msgspec.structs.replace(starting, stage=stage))


def stage_of(url: StreamURL) -> Stage | None:
    """Return how far the viewer is that is being started at `url`; None if there is none."""
    starting = _read(_path(url))
    return None if starting is None else starting.stage


def _read(path: Path) -> _Starting | None:
    """Return what a live process left."""
    try:
        starting = msgspec.json.decode(path.read_bytes(), type=_Starting)
    except (OSError, msgspec.DecodeError):
        return None
    return starting if is_running(starting.pid, starting.started) else None


def _path(url: StreamURL) -> Path:
    return path_of(url).with_suffix(".starting")
