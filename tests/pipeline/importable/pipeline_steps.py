"""Steps that worker processes import; the tests put this folder on the path."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np


def double(plane):
    return plane * 2


def threshold(plane):
    return (plane > 2).astype(np.int32)


def fail_on_two(plane):
    if plane[0, 0] == 2:
        raise ValueError("no focus")
    return plane


def exit_on_two(plane):
    if plane[0, 0] == 2:
        os._exit(3)
    return plane


def kill_on_two(plane):
    if plane[0, 0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return plane


def kill_on_three(plane):
    if plane[0, 0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return plane


class DieLast:
    """At a 2, waits for a mark and then ends its process, each time."""

    def __init__(self, mark: Path, how: str) -> None:
        self.mark, self.how = mark, how

    def __call__(self, plane):
        if plane[0, 0] == 2:
            WaitFor(self.mark)(plane)
        return {"exit": exit_on_two, "kill": kill_on_two}[self.how](plane)


class KillOnce:
    """Kills its process the first time that it sees a 2."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, plane):
        if plane[0, 0] == 2 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return plane


class Meet:
    """Waits in each process until `count` of them are there: no run with fewer ends well."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __call__(self, plane):
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 30
        while len(list(self.folder.iterdir())) < self.count:
            assert time.monotonic() < deadline, "the others never came"
            time.sleep(0.01)
        return plane


class WaitFor:
    """Goes on when a file is there, and says that it waits."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, plane):
        self.mark.with_suffix(".waiting").touch()
        deadline = time.monotonic() + 30
        while plane[0, 0] == 2 and not self.mark.exists():
            assert time.monotonic() < deadline, "nobody made the mark"
            time.sleep(0.01)
        return plane


class TellPid:
    """At a 2, tells which process waits for a mark, and waits for it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, plane):
        if plane[0, 0] == 2 and not self.mark.exists():
            pid = self.mark.with_suffix(".new")
            pid.write_text(str(os.getpid()))
            pid.rename(self.mark.with_suffix(".pid"))
            WaitFor(self.mark)(plane)
        return plane


def fill_the_disk(plane):
    """From now on no file of this process grows beyond 1000 bytes, as on a disk that is full."""
    if plane[0, 0] == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    return plane


def wells(count: int, shape: tuple[int, int] = (64, 64)):
    """Return planes full of 1, 2, ... by well."""
    return {f"A{n:02}": np.full(shape, n, np.uint16) for n in range(1, count + 1)}
