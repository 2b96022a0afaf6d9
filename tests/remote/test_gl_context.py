from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from napari_streaming.errors import ContextError
from napari_streaming.remote.server.gl_context import Way, find_way

XVFB = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")


@pytest.fixture
def bare(monkeypatch):
    """No X server, and no wishes of the user."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("EGL_PLATFORM", raising=False)


def test_egl_draws_without_a_display(bare):
    way, _ = find_way()
    assert way.name in ("egl", "surfaceless")
    assert way.renderer in str(way)


def test_a_renderer_in_software_is_no_hardware():
    assert not Way("egl", "llvmpipe (LLVM 15.0.6, 256 bits)").hardware
    assert Way("egl", "NVIDIA L4/PCIe/SSE2").hardware


@XVFB
def test_without_egl_an_x_server_is_started_and_ends_with_the_process(bare):
    script = """
        from napari_streaming.remote.server.gl_context import find_way, open_context
        way, tried = find_way(egl=False)
        context = open_context(way)
        context.make_current()
        context.close()
        print(way.name, way.display)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    name, display = done.stdout.split()
    assert name == "glx"
    socket = f"/tmp/.X11-unix/X{display[1:]}"  # noqa: S108 - where X servers have them
    deadline = time.monotonic() + 15
    while os.path.exists(socket):
        assert time.monotonic() < deadline, "the X server is still there"
        time.sleep(0.02)


@XVFB
def test_a_canvas_draws_on_an_x_server_too(bare):
    script = """
        import numpy as np
        from napari.components import ViewerModel
        from napari_streaming.remote.server.gl_context import find_way
        from napari_streaming.remote.server.canvas import HeadlessCanvas
        from napari_streaming.remote.server.capture import Capture
        viewer = ViewerModel()
        canvas = HeadlessCanvas(viewer, (64, 48), way=find_way(egl=False)[0])
        viewer.add_image(np.full((10, 10), 255, np.uint8), contrast_limits=(0, 255))
        canvas.draw()
        for where in ("gpu", "cpu"):
            picture = Capture(where).picture(canvas.target, "420", 0.0)
            print(picture.planes[0][24, 32])
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split() == ["235", "235"], done.stderr


def test_what_is_missing_is_said(bare, monkeypatch):
    monkeypatch.setenv("EGL_PLATFORM", "nonsense")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ContextError, match=r"libEGL with a driver(.|\n)*Xvfb: not installed"):
        find_way()


def test_a_way_that_ends_the_process_is_passed_over(bare, monkeypatch, tmp_path):
    # A driver that crashes: here, a module that the trial imports before anything else.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'egl' in sys.orig_argv: os.abort()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    way, tried = find_way()
    assert way.name == "surfaceless"
    assert tried == ["egl: the driver ended the process (-6)"]
