"""Who listens on this machine: one small file for each, readable by its user alone.

The file carries the URL, the token, the process id and its start time, so that a connecting
program of the same user needs no token typed, and a file left by a dead process is
recognised as such. It also says what listens there, so that nobody takes a publisher, or a
viewer that speaks another protocol, for the viewer that it wants.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs

from napari_streaming.errors import AddressInUseError, TransportError, URLError
from napari_streaming.uri import StreamURL, parse_url
from napari_streaming.wire.codec import VERSION

__all__ = [
    "Listing",
    "announce",
    "find_listing",
    "host_identity",
    "is_running",
    "listings",
    "locked",
    "new_token",
    "path_of",
    "process_started",
    "program_name",
    "refuse_if_taken",
    "runtime_folder",
    "withdraw",
    "write_privately",
]

_EVERYWHERE = ("*", "0.0.0.0", "::")  # noqa: S104  # these are compared with, not bound


class Listing(msgspec.Struct, frozen=True):
    """A listener on this machine.

    `url` carries the token; `started` is the start time of process `pid`, in seconds since
    the epoch. `protocol` is the version that it speaks.
    """

    url: str
    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
    started: float
    role: Literal["publish", "view"]
    software: str
    protocol: int

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote this still runs."""
        return is_running(self.pid, self.started)


@cache
def runtime_folder() -> Path:
    """Return the private folder of this user, made if needed.

    Raises
    ------
    TransportError
        Somebody else could read or write there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no XDG_RUNTIME_DIR: checked below
        folder = platformdirs.user_runtime_path("napari-streaming")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise TransportError(
            f"cannot use the runtime folder {folder}: {error}; set XDG_RUNTIME_DIR to a "
            "folder of yours"
        ) from None
    if os.name == "posix" and (found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode)):
        raise TransportError(f"{folder} is not a folder of yours; set XDG_RUNTIME_DIR to one")
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def new_token() -> str:
    """Return a fresh random token: 128 bits, safe in a URL."""
    return secrets.token_urlsafe(16)


@contextmanager
def locked() -> Iterator[None]:
    """Hold the runtime folder: one process of this user at a time changes who is in it.

    The system lets go of it for a process that dies.
    """
    if sys.platform == "win32":
        import msvcrt

        handle = os.open(runtime_folder() / "lock", os.O_RDWR | os.O_CREAT)
        try:
            msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
            yield
        finally:
            os.close(handle)
    else:
        import fcntl

        handle = os.open(runtime_folder(), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # even if a fork carried the handle away
            os.close(handle)


def announce(url: StreamURL, role: Literal["publish", "view"], software: str) -> Listing:
    """Leave word that this process listens at `url`, which carries the token.

    What processes that are gone have left there is swept away.

    Raises
    ------
    TransportError
        The runtime folder cannot be written to.
    """
    started = process_started(os.getpid()) or 0.0
    listing = Listing(str(url), os.getpid(), started, role, software, VERSION)
    try:
        with locked():
            _sweep()
            write_privately(path_of(url), listing)
    except OSError as error:
        raise TransportError(f"cannot leave word of {url.address}: {error}") from None
    return listing


def listings() -> list[Listing]:
    """Return who of this user's programs listens, and sweep away what dead ones left."""
    with locked():
        return _sweep()


def _sweep() -> list[Listing]:
    """Delete what is no live listener's, and return the others."""
    alive = []
    for path in sorted(runtime_folder().glob("*.json")):
        listing = _read(path)
        if listing is not None and listing.is_alive:
            alive.append(listing)
        else:
            path.unlink(missing_ok=True)
    return alive


def withdraw(url: StreamURL) -> None:
    """Take back what :func:`announce` left, unless somebody else listens there by now."""
    listing = _read(path_of(url))
    if listing is not None and listing.pid == os.getpid():
        path_of(url).unlink(missing_ok=True)


def find_listing(url: StreamURL) -> Listing | None:
    """Return the live listener that a URL leads to, if it is one of this user's here."""
    listing = _read(path_of(url))
    if listing is None or not listing.is_alive:
        return None
    try:
        listening = parse_url(listing.url)
    except URLError:
        return None
    # A token of this machine must never be sent to somebody else with the same port, neither
    # on another machine nor at another address of this one.
    reached = listening.is_local or listening.host in _EVERYWHERE
    return listing if url.host == listening.host or (url.is_local and reached) else None


def refuse_if_taken(url: StreamURL) -> None:
    """Name who listens at an address already: the system only says that it is taken.

    Raises
    ------
    AddressInUseError
        With the process that listens there.
    """
    listing = find_listing(url)
    if listing is not None:
        raise AddressInUseError(
            f"{url.address} is already taken by process {listing.pid}, which also runs "
            "napari-streaming: close it, or use another port or name"
        )


def write_privately(path: Path, record: msgspec.Struct) -> None:
    """Write a file that only this user can read; others see all of it or nothing."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record)))
    draft.replace(path)


def _read(path: Path) -> Listing | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Listing)
    except (OSError, msgspec.DecodeError):
        return None


def path_of(url: StreamURL) -> Path:
    """Return where the listing of a URL lies."""
    if url.port:  # whatever is spoken there, it is taken once
        return runtime_folder() / f"tcp-{url.port}.json"
    name = hashlib.sha256(url.path.encode()).hexdigest()[:16]
    return runtime_folder() / f"{url.scheme}-{name}.json"


def program_name(name: str | None = None) -> str:
    """Return what a peer is told of this program: by default the script's name."""
    script = Path(sys.argv[0])
    name = name or (script.parent.name if script.name == "__main__.py" else script.name)
    name = "python" if name in ("", "-c") else name
    return name.encode("utf-8", "replace").decode()[:256]  # a file name may be no valid Unicode


def is_running(pid: int, started: float) -> bool:
    """Whether process `pid` runs, and is still the one that started then."""
    found = process_started(pid)
    return found is not None and abs(found - started) < 1.0


def process_started(pid: int) -> float | None:
    """Return when a process started, in seconds since the epoch; None if it is gone."""
    import psutil  # 10 ms: only those who listen or look for a listener pay

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.Error:
        return None


@cache
def host_identity() -> str:
    """Return what two processes share if they can map each other's memory.

    On Linux the running kernel, the process namespace and the user.
    """
    if sys.platform == "linux":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino
        return f"{boot}/{namespace}/{os.getuid()}"
    import getpass
    import uuid

    return f"{uuid.getnode():x}/{getpass.getuser()}"
