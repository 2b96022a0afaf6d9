"""Which GPUs and drivers a machine has, as its system tells."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GPU", "find_gpus"]

_DRM = Path("/sys/class/drm")
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class GPU:
    """A GPU.

    Parameters
    ----------
    name : str
        As its driver calls it, or the numbers of its maker and model.
    driver : str
        The name of the driver, and its version where it has one of its own.
    id : str
        What tells it from another of its kind; may be empty.
    """

    name: str
    driver: str
    id: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.driver})"


def find_gpus() -> list[GPU]:
    """Return the GPUs of this machine: those of NVIDIA's driver, and others that Linux knows."""
    return _of_nvidia() + _of_linux()


def _of_nvidia() -> list[GPU]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = ["--query-gpu=name,driver_version,uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run([program, *query], capture_output=True, text=True, timeout=_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return []  # a driver that hangs is as good as none
    if done.returncode:
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    return [GPU(row[0], f"NVIDIA driver {row[1]}", row[2]) for row in rows if len(row) == 3]


def _of_linux() -> list[GPU]:
    found = []
    for card in sorted(_DRM.glob("renderD*")):
        device = card / "device"
        driver = (device / "driver").resolve().name
        if driver == "nvidia":
            continue
        try:
            numbers = [(device / name).read_text().strip()[2:] for name in ("vendor", "device")]
        except OSError:  # no PCI device: of a system on a chip
            numbers = [device.resolve().name]
        # Drivers of the kernel have its version.
        found.append(GPU(":".join(numbers), f"{driver}, Linux {platform.release()}", card.name))
    return found
