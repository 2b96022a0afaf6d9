"""Runs the tests whose windows live longer than one test, each file in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "alone"


@pytest.mark.napari
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("test_*.py")))
def test_alone(name):
    # napari's fixture for viewers replaces its application; windows beside it do not take that.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", FOLDER / name],
        env=os.environ | {"NAPARI_STREAMING_ALONE": "1"},
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
