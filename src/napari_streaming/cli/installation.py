"""Whether what napari-streaming builds on is there and works, one check after the other."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from napari_streaming.errors import StreamingError

__all__ = ["Check", "checks"]

_OLDEST_NAPARI = (0, 9, 2)
_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
_VIEWER = "pip install 'napari-streaming[viewer]'"
_SERVER = "pip install 'napari-streaming[server]'"
_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing.

    Parameters
    ----------
    name : str
        The thing.
    works : bool or None
        None: not checked.
    found : str
        In words.
    hint : str
        What to do when it does not work; may be empty.
    """

    name: str
    works: bool | None
    found: str
    hint: str = ""


def checks() -> Iterator[Check]:
    """Check everything; each result comes as soon as it is known."""
    yield Check("Python", True, f"{platform.python_version()} on {platform.platform()}")
    for check in (_napari, _qt, _zmq, _shared_memory, _websockets, _pyav, _opengl):
        yield check()


def _package(name: str, package: str, needed_for: str, install: str) -> Check:
    try:
        return Check(name, True, f"{package} {version(package)}")
    except PackageNotFoundError:
        return Check(name, False, f"not installed; needed for {needed_for}", install)


def _napari() -> Check:
    check = _package("napari", "napari", "the viewer and for `serve`", _VIEWER)
    if not check.works:
        return check
    numbers = tuple(int(part) for part in version("napari").split(".")[:3] if part.isdigit())
    if numbers < _OLDEST_NAPARI:
        oldest = ".".join(map(str, _OLDEST_NAPARI))
        return Check("napari", False, f"{check.found}, older than {oldest}", _VIEWER)
    try:
        known = import_module("napari_streaming.remote.server.known_napari").KNOWN_NAPARI
    except ImportError:
        return check
    if ".".join(map(str, numbers[:2])) in known:
        return check
    return Check("napari", True, f"{check.found}, newer than `serve` was tested with")


def _qt() -> Check:
    for name in _BINDINGS:
        if find_spec(name):
            return _package("Qt", name, "the viewer", _VIEWER)
    return Check("Qt", False, "no binding installed; needed for the viewer", _VIEWER)


def _zmq() -> Check:
    import zmq

    curve = "with" if zmq.has("curve") else "without"
    return Check("ZeroMQ", True, f"{zmq.zmq_version()} {curve} encryption, pyzmq {zmq.__version__}")


def _shared_memory() -> Check:
    name = "shared memory"
    slower = "planes go through sockets then, which is slower"
    if sys.platform != "linux":
        return Check(name, True, "named segments")
    try:
        fd = os.memfd_create("napari-streaming-doctor", os.MFD_CLOEXEC)
    except OSError as error:
        return Check(name, False, f"memfd is forbidden here ({error}); {slower}")
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        path = f"/proc/{os.getpid()}/fd/{fd}"
        code = f"import mmap; mmap.mmap(open({path!r}, 'r+b').fileno(), 1)[0] = 7"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=_ANSWER_S)
        if done.returncode == 0 and os.pread(fd, 1, 0) == b"\x07":
            return Check(name, True, "memfd, seen by other processes")
        return Check(name, False, f"other processes do not see ours; {slower}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, False, f"{error}; {slower}")
    finally:
        os.close(fd)


def _websockets() -> Check:
    return _package("WebSockets", "websockets", "remote sessions", _SERVER)


def _pyav() -> Check:
    check = _package("PyAV", "av", "remote sessions and videos", _SERVER)
    if not check.works:
        return check
    try:
        import av
    except ImportError as error:
        return Check("PyAV", False, f"does not load: {error}", _SERVER)
    numbers = ".".join(map(str, av.library_versions["libavcodec"]))
    return Check("PyAV", True, f"{check.found}, libavcodec {numbers}")


def _opengl() -> Check:
    try:
        find_way: Callable[..., tuple[object, list[str]]] = import_module(
            "napari_streaming.remote.server.gl_context"
        ).find_way
    except ImportError:
        return Check("OpenGL", None, "not checked: this installation does not draw for others")
    try:
        way, passed_over = find_way()
    except StreamingError as error:
        first, _, tried = str(error).partition("\n")
        return Check("OpenGL", False, f"{first} {' '.join(tried.split())}")
    return Check("OpenGL", True, "; ".join([str(way), *(f"not {line}" for line in passed_over)]))
