"""Draw the scenes in a window of napari's, into a file; a process of `test_parity`."""

from __future__ import annotations

import sys
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).parent))
from scenes import SCENES, clear, look_at

viewer = napari.Viewer()
viewer.window.resize(1000, 700)
pictures = {}


def settle() -> None:
    """Let the window take its size and draw."""
    for _ in range(20):
        QApplication.processEvents()


for name, scene in SCENES.items():
    scene(viewer)
    settle()  # with the sliders that the scene needs
    look_at(viewer)
    settle()
    pictures[name] = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    clear(viewer)
np.savez(sys.argv[1], **pictures)
viewer.close()
