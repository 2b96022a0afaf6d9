"""Which paths of a folder may have changed, as the system tells, or by looking again and again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

from watchfiles import watch
from watchfiles.main import FileChange

__all__ = ["notices", "walk"]

_TICK_MS = 100
_POLL_MS = 500


def notices(
    folder: Path, stop: Event, tell: Callable[[str], None], *, recursive: bool, poll: bool
) -> Iterator[set[Path]]:
    """Tell again and again what may have changed; nothing, too, so that the caller goes on.

    What is in a folder that is new is not told: it may have been there before anybody looked.

    Parameters
    ----------
    folder : Path
        It exists; else it ends at once.
    stop : Event
        Ends it.
    tell : callable
        Called with a line for the user.
    recursive : bool
        Whether to look into folders.
    poll : bool
        Whether to look again and again at each file, instead of asking the system: the only
        way on network filesystems, which do not tell.

    Yields
    ------
    set of Path
    """
    try:
        if not poll:
            yield from _notices(folder, stop, recursive=recursive)
    except FileNotFoundError:
        return
    except PermissionError as error:
        tell(f"{error}; what is in it is left out")
        yield from _notices(folder, stop, recursive=recursive, careless=True)
    except (OSError, RuntimeError) as error:  # too many folders for it, at first or later on
        tell(
            f"the system does not tell what changes in {folder} ({error}), so every file is "
            f"looked at twice a second; on Linux, a higher fs.inotify.max_user_watches helps"
        )
        poll = True
    if poll:
        with suppress(FileNotFoundError):
            yield from _notices(folder, stop, recursive=recursive, poll=True, careless=True)


def _notices(
    folder: Path, stop: Event, *, recursive: bool, poll: bool = False, careless: bool = False
) -> Iterator[set[Path]]:
    changes: set[FileChange]
    for changes in watch(
        folder,
        watch_filter=None,
        debounce=_TICK_MS,
        step=20,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        force_polling=poll,
        poll_delay_ms=_POLL_MS,
        recursive=recursive,
        ignore_permission_denied=careless,  # and any other error, in silence
    ):
        yield {Path(path) for _, path in changes}


def walk(
    folder: Path, *, recursive: bool, into: Callable[[Path], bool] = lambda _: True
) -> Iterator[Path]:
    """List the files in a folder, those in linked folders too, and no folder within itself.

    Parameters
    ----------
    folder : Path
    recursive : bool
        Whether to list what is in folders of the folder, too.
    into : callable
        Whether to look into a folder. If not, the folder itself is listed.

    Yields
    ------
    Path
        Folders that cannot be read are left out.
    """
    yield from _walk(folder, recursive, into, ())


def _walk(
    folder: Path, recursive: bool, into: Callable[[Path], bool], above: tuple[tuple[int, int], ...]
) -> Iterator[Path]:
    try:
        about = folder.stat()
        here = (about.st_dev, about.st_ino)
        if here in above:
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        try:
            is_folder = entry.is_dir()
        except OSError:
            continue
        if not is_folder or not into(path):
            yield path
        elif recursive:
            yield from _walk(path, recursive, into, (*above, here))
