"""Which encoders work on this machine: each is tried once, in a process of its own.

What came of it is kept in the user's cache, for the machine's GPUs, drivers and libraries: with
any other of these it is tried again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from napari_streaming.remote.server.gpus import find_gpus
from napari_streaming.remote.server.trial import TRIED

__all__ = ["Trial", "cache_file", "trial"]

_LIMIT_S = 30.0
_KILL_S = 5.0


class Trial(Struct, frozen=True):
    """What came of trying an encoder.

    Parameters
    ----------
    name : str
        Its rung.
    reasons : dict of str to str
        By chroma, why it does not work; empty: it works.
    """

    name: str
    reasons: dict[str, str]

    @property
    def works(self) -> tuple[str, ...]:
        """The chromas that it works with."""
        return tuple(chroma for chroma, reason in self.reasons.items() if not reason)


def trial(name: str, *, fresh: bool = False) -> Trial:
    """Return whether a rung works here, from the cache if it was tried before.

    Parameters
    ----------
    name : str
        One of `RUNGS`.
    fresh : bool
        Whether to try it again in any case.
    """
    file = cache_file()
    known = _read(file)
    if fresh or name not in known:
        known[name] = _try(name)
        _write(file, known)
    return known[name]


def cache_file() -> Path:
    """Return where the trials of this machine, as it is today, are kept."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("napari-streaming")) / f"encoders-{_machine()}.json"


@functools.cache  # asking a driver takes a while
def _machine() -> str:
    """Return a word for this machine's GPUs, drivers and libraries."""
    parts = [str((gpu.name, gpu.driver, gpu.id)) for gpu in find_gpus()]
    parts += [platform.platform(), platform.machine(), sys.version]
    parts += [_version(name) for name in ("napari-streaming", "av", "PyNvVideoCodec", "numpy")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _read(file: Path) -> dict[str, Trial]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Trial])
    except (OSError, msgspec.DecodeError):
        return {}


def _write(file: Path, trials: dict[str, Trial]) -> None:
    # Without a cache the next session tries again; that is no reason to have none.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        mine = file.with_suffix(f".{os.getpid()}")
        mine.write_bytes(msgspec.json.encode(trials))
        mine.replace(file)


def _try(name: str) -> Trial:
    missing = _missing(name)
    if missing:
        return Trial(name, dict.fromkeys(TRIED, missing))
    command = [sys.executable, "-m", "napari_streaming.remote.server.trial", name]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    output = ""
    try:
        output, errors = process.communicate(timeout=_LIMIT_S)
        ending = _ending(process.returncode, errors)
    except subprocess.TimeoutExpired:
        ending = f"did not answer within {_LIMIT_S:g} s"
        process.kill()
        # One that hangs inside of the kernel does not even end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=_KILL_S)
    reasons: dict[str, str] = dict.fromkeys(TRIED, ending)
    for line in output.splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # libraries may print too
            outcome = msgspec.json.decode(line, type=_Outcome)
            reasons[outcome.chroma] = outcome.reason
    return Trial(name, reasons)


class _Outcome(Struct):
    chroma: str
    reason: str


def _missing(name: str) -> str:
    """Return what a rung lacks to be tried at all."""
    if find_spec("av") is None:
        return "PyAV is not installed"
    if name == "pynvvideocodec":
        return "" if find_spec("PyNvVideoCodec") else "PyNvVideoCodec is not installed"
    import av

    codec = "mjpeg" if name == "jpeg" else name
    if codec in av.codecs_available:
        return ""
    return f"this PyAV has no {codec}"


def _ending(code: int, errors: str) -> str:
    """Return how a process ended that did not say what came of the trial."""
    if code < 0:
        return f"its driver crashed the process ({signal.Signals(-code).name})"
    last = errors.strip().splitlines()[-1:]
    return f"ended with {code}: {last[0] if last else 'without a word'}"
