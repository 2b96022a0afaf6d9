"""What is drawn without a window is what napari shows in one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.mark.napari
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run")
def test_every_scene_looks_as_in_a_window(tmp_path):
    theirs, ours = tmp_path / "window.npz", tmp_path / "headless.npz"
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    window = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", sys.executable]
    _run([*window, HERE / "draw_in_window.py", theirs], environment | {"QT_QPA_PLATFORM": "xcb"})
    _run([sys.executable, HERE / "draw_headless.py", ours, theirs], environment)

    wanted, drawn = np.load(theirs), np.load(ours)
    assert len(wanted.files) == 13
    quality = {name: _psnr(wanted[name], drawn[name]) for name in wanted.files}
    assert all(len(np.unique(wanted[name])) > 2 for name in wanted.files), "nothing to be seen"
    assert min(quality.values()) >= 45, quality


BESIDE_A_WINDOW = """
import napari, numpy as np
from napari.components import ViewerModel
from napari_streaming.remote.server.canvas import HeadlessCanvas
from napari_streaming.remote.server.capture import Capture

window = napari.Viewer()
window.add_image(np.random.default_rng(0).random((50, 60)))
before = window.screenshot(flash=False)

viewer = ViewerModel()
canvas = HeadlessCanvas(viewer, (400, 300))
viewer.add_image(np.full((10, 10), 255, np.uint8), contrast_limits=(0, 255))
viewer.canvas.overlays.scale_bar.visible = True
canvas.draw()
assert Capture("gpu").read_rgb(canvas.target)[150, 200].tolist() == [255, 255, 255]

window.layers[0].colormap = "viridis"
assert (window.screenshot(flash=False) != before).any()
window.layers[0].colormap = "gray"
assert (window.screenshot(flash=False) == before).all()
canvas.draw()
canvas.close()
window.close()
"""


@pytest.mark.napari
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run")
def test_a_window_in_the_same_process_is_not_disturbed():
    command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", sys.executable]
    _run([*command, "-c", BESIDE_A_WINDOW], os.environ | {"QT_QPA_PLATFORM": "xcb"})


def _run(command, environment):
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _psnr(a, b):
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)
