"""Files and folders that are there complete or not at all, whenever the program dies.

What is being written lies beside its place under a hidden name, which no reader takes for a
result: ``.A01.ome.tif.<host>-<process>-<token>.new``. Who comes later removes what a dead
process left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from napari_streaming.transport.runtime import process_started

__all__ = ["replacing", "tidy"]

_LEFT = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{8}\.(?P<what>new|old)"
)
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path; the file or folder that is written there then takes the place of `path`.

    If anything fails, or the program dies, `path` stays as it was.

    Parameters
    ----------
    path : Path
        Its folder is made if it does not exist.

    Yields
    ------
    Path
        Where to write, on the same file system.

    Raises
    ------
    OSError
        The system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _beside(path, "new")
    try:
        yield draft
        if draft.is_dir():
            _sync_folder(draft)
            _put_folder(draft, path)
        else:
            _sync(draft)
            os.replace(draft, path)
        _sync(path.parent)
    finally:
        _remove(draft)


def tidy(folder: Path) -> None:
    """Remove what dead processes left in a folder; put back what one had set aside."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [(entry, found) for entry in entries if (found := _LEFT.fullmatch(entry.name))]
        for entry, found in left:
            if found["host"] != _host() or not _is_orphan(int(found["pid"]), entry):
                continue
            path = folder / found["name"]
            if found["what"] == "old" and not os.path.lexists(path):
                os.rename(entry, path)
            else:
                _remove(Path(entry))


def _beside(path: Path, what: str) -> Path:
    owner = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{owner}.{what}")


@cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_orphan(pid: int, entry: os.DirEntry[str]) -> bool:
    """Return whether the process that wrote something is gone, its number maybe in use again."""
    if pid == os.getpid():
        return False
    started = process_started(pid)
    return started is None or started > entry.stat(follow_symlinks=False).st_mtime + 60


def _put_folder(draft: Path, path: Path) -> None:
    try:
        os.rename(draft, path)  # where nothing is
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
            raise
    if _exchange(draft, path):
        return
    # Where the system cannot exchange two names: a crash between the two leaves the old folder
    # under its other name, and whoever looks next puts it back.
    aside = _beside(path, "old")
    os.rename(path, aside)
    try:
        os.rename(draft, path)
    except OSError:
        os.rename(aside, path)
        raise
    _remove(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return whether the system could."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        a, b = os.fsencode(one), os.fsencode(other)
        if sys.platform == "linux":
            return bool(libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE) == 0)
        if sys.platform == "darwin":
            return bool(libc.renamex_np(a, b, _RENAME_SWAP) == 0)
    return False


def _sync_folder(folder: Path) -> None:
    for where, _, names in os.walk(folder):
        for name in names:
            _sync(Path(where, name))
        _sync(Path(where))


def _sync(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return  # folders cannot be opened there
    # Windows syncs only what is open for writing.
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
