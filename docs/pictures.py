"""Takes the pictures of the documents from the running program: python docs/pictures.py."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import tifffile
from qtpy.QtWidgets import QApplication, QComboBox, QTabWidget
from skimage import data

from napari_streaming.demo.analysis import analyse
from napari_streaming.napari_plugin.window import open_window

IMAGES = Path(__file__).parent / "images"
PIPELINE = """
import sys
from skimage import data
import napari_streaming as ns
from napari_streaming.demo.analysis import cut_wells, find_nuclei, split_nuclei, unmix

with ns.Publisher(sys.argv[1], name="pipeline.py") as pub:
    for step, (well, tissue) in enumerate(cut_wells(data.immunohistochemistry()).items()):
        stains = unmix(tissue)
        labels = split_nuclei(find_nuclei(*stains))
        for stain, plane in zip(("hematoxylin", "DAB"), stains):
            pub.image("stains", plane, at={"stain": stain, "well": well}, scale=(0.5, 0.5),
                      units="um", colormap="viridis", contrast_limits=(0, 1), qos="reliable")
        pub.labels("nuclei", labels, at={"well": well}, scale=(0.5, 0.5), units="um")
        pub.metric("nuclei count", labels.max(), step=step)
        pub.status("info", f"{well}: {labels.max()} nuclei")
    pub.flush(30)
"""


def wait_for(condition: Callable[[], object]) -> None:
    """Let Qt run until a condition holds, and a second more."""
    held_since = None
    while held_since is None or time.monotonic() < held_since + 1.0:
        QApplication.processEvents()
        time.sleep(0.01)
        held_since = (held_since or time.monotonic()) if condition() else None


def take_remote() -> None:
    """Take the picture of a remote session: two stains, drawn by a server."""
    found = analyse(data.immunohistochemistry())
    viewer = napari.Viewer(title="napari-streaming")
    viewer.window.resize(1560, 960)
    _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Remote GPU Session")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("hematoxylin.tif", "DAB.tif")]
        for path, plane in zip(paths, (found.hematoxylin, found.dab), strict=True):
            tifffile.imwrite(path, plane)
        command = [sys.executable, "-m", "napari_streaming", "serve", *paths]
        with subprocess.Popen(
            [*command, "--listen", "ws://127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        ) as server:
            dock.open(server.stdout.readline().split()[1])
            wait_for(lambda: len(viewer.layers) == 2 and dock.canvas.pixels is not None)
            viewer.layers[0].colormap, viewer.layers[1].colormap = "bop blue", "bop orange"
            viewer.layers[1].blending = "additive"
            viewer.canvas.overlays.scale_bar.visible = True
            viewer.scene.camera.zoom *= 1.4
            wait_for(lambda: dock.session.stats().codec == "zstd rgb")
            viewer.window._qt_window.grab().save(str(IMAGES / "remote-session.png"))
            dock.close_session()
            server.terminate()
    viewer.close()


def take_receiver() -> None:
    """Take the pictures of the receiver."""
    viewer, dock = open_window("tcp://127.0.0.1:0?listen", title="napari-streaming")
    viewer.window.resize(1560, 960)
    streams = dock.session.receiver.layers
    command = [sys.executable, "-c", PIPELINE, dock.session.receiver.urls[0]]
    with subprocess.Popen(command) as pipeline:
        wait_for(lambda: pipeline.poll() is not None)
    wait_for(lambda: all(s.stats().shown == s.stats().received for s in streams.values()))
    viewer.layers["nuclei"].contour = 1
    viewer.layers.move(viewer.layers.index(viewer.layers["nuclei"]), len(viewer.layers))
    viewer.window.screenshot(str(IMAGES / "receiver-sliders.png"), canvas_only=False, flash=False)

    dock.findChild(QTabWidget).setCurrentIndex(2)
    dock.findChild(QComboBox, "stain").setCurrentText("layers")
    wait_for(lambda: "stains · DAB" in viewer.layers)
    del viewer.layers["nuclei"]
    viewer.canvas.grid.enabled = True
    viewer.reset_view()
    wait_for(lambda: True)
    viewer.window.screenshot(str(IMAGES / "receiver-layers.png"), canvas_only=False, flash=False)
    viewer.close()


if __name__ == "__main__":
    take_receiver()
    take_remote()
