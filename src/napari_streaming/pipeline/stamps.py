"""What is equal as long as a file or a folder is the same one, and unchanged."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR

__all__ = ["identity", "stamp", "stamp_of"]


def identity(folder: Path) -> tuple[int, int] | None:
    """Return what is different for a folder that took the place of another one."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return (about.st_dev, about.st_ino) if S_ISDIR(about.st_mode) else None


def stamp(about: os.stat_result) -> tuple[int, int, int]:
    """Return what is different for a file that was changed or replaced."""
    return about.st_size, about.st_mtime_ns, about.st_ino


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return the stamp of a file; None if there is none."""
    try:
        return stamp(path.stat())
    except OSError:
        return None
