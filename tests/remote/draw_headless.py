"""Draw the scenes without a window, in the sizes of others; a process of `test_parity`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from napari.components import ViewerModel

from napari_streaming.remote.server.canvas import HeadlessCanvas
from napari_streaming.remote.server.capture import Capture

sys.path.insert(0, str(Path(__file__).parent))
from scenes import SCENES, clear, look_at

viewer = ViewerModel()
theirs = np.load(sys.argv[2])
canvas = HeadlessCanvas(viewer)
capture = Capture()
pictures = {}
for name, scene in SCENES.items():
    height, width = theirs[name].shape[:2]
    canvas.resize((width, height))
    scene(viewer)
    look_at(viewer)
    while canvas.dirty:
        canvas.draw()
    pictures[name] = capture.read_rgb(canvas.target)
    clear(viewer)
np.savez(sys.argv[1], **pictures)
canvas.close()
