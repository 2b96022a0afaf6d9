"""The lower floors know neither Qt nor napari: a producer on a GPU node has neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import napari_streaming

ROOT = Path(napari_streaming.__file__).parent
FLOORS = ["errors", "uri", "settings", "wire", "transport", "web", "publish", "receive"]
ABOVE = {"napari", "vispy", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "pandas"}
HEAVY = ABOVE | {
    "asyncio", "imageio", "psutil", "scipy", "skimage", "tifffile", "typer", "zarr", "zmq",
}  # fmt: skip

IMPORT = """
import importlib, sys
for name in {names}:
    importlib.import_module(name)
print(*sys.modules)
"""


def imported(names):
    """Return the top-level packages that a fresh interpreter holds after these imports."""
    script = IMPORT.format(names=names)
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(output.split())


def modules_of(floor):
    path = ROOT / floor
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    assert all(file.exists() for file in files)
    names = [
        ".".join(("napari_streaming", *f.relative_to(ROOT).with_suffix("").parts)) for f in files
    ]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("floor", FLOORS)
def test_a_low_floor_drags_in_neither_qt_nor_napari(floor):
    names = modules_of(floor)
    found = imported(names)
    assert set(names) <= found
    assert not found & ABOVE


def test_the_package_itself_is_light():
    """How long it takes is not asserted, which would be a lottery; what it imports is."""
    found = imported(["napari_streaming"])
    assert not found & HEAVY
    rooms = {name.split(".")[1] for name in found if name.startswith("napari_streaming.")}
    assert rooms <= {"errors", "uri", "settings", "wording", "wire", "transport", "publish"}
