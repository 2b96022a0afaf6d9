from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from qtpy.QtWidgets import QApplication

from napari_streaming.widgets import receiver_dock

# Run by test_alone.py.
collect_ignore_glob = [] if os.environ.get("NAPARI_STREAMING_ALONE") else ["alone/*"]
WAIT_S = 30


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run a script in a process of its own; what is left of it is killed afterwards."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def until(qtbot) -> Callable[[Callable[[], object]], None]:
    """Let Qt run until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            QApplication.processEvents()
            time.sleep(0.005)

    return wait


@pytest.fixture(autouse=True)
def warmed_up(monkeypatch) -> list[Any]:
    """Return the viewers that docks would warm up: it takes as long as most of these tests."""
    viewers: list[Any] = []
    monkeypatch.setattr(receiver_dock, "warm_up", viewers.append)
    return viewers


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy(show=True)


@pytest.fixture
def dock(viewer):
    """The Stream Receiver, listening at a free port."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-streaming", "Stream Receiver")
    widget.open("tcp://127.0.0.1:0?listen")
    yield widget
    widget.session.close()
