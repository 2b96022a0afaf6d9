"""Runs the tests that draw without a window, in a process without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted(path.name for path in (Path(__file__).parent / "headless").glob("test_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_without_a_window(name):
    # napari's plugin for pytest imports PyOpenGL, which then has to know.
    environment = os.environ | {"NAPARI_STREAMING_HEADLESS": "1", "PYOPENGL_PLATFORM": "egl"}
    environment.pop("DISPLAY", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", Path(__file__).parent / "headless" / name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
