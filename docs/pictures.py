"""Takes the pictures of the documents from the running program: python docs/pictures.py."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import napari
import tifffile
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QPushButton, QTabWidget
from skimage import data

from napari_streaming.demo.analysis import unmix
from napari_streaming.napari_plugin.window import open_window
from napari_streaming.widgets.receiver_dock import ReceiverDock

IMAGES = Path(__file__).resolve().parent / "images"
RECORDING = "wells.nstream"
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
DENOISING = """
import sys
import numpy as np
from skimage import color, data
from skimage.filters import gaussian
from skimage.restoration import denoise_tv_chambolle
import napari_streaming as ns

cells = color.rgb2gray(data.immunohistochemistry())[:256, :256]
noisy = cells + np.random.default_rng(0).normal(scale=0.1, size=cells.shape)
with ns.Publisher(sys.argv[1], name="denoise.py") as pub:
    for i in pub.steps(range(300)):
        weight = pub.parameter("weight", 0.3, min=0.01, max=1.0)
        method = pub.parameter("method", "total variation", choices=["total variation", "gaussian"])
        show = pub.parameter("show the rest", True)
        if pub.button("remember this") or i == 20:
            pub.status("info", f"step {i}: weight {weight:g}")
        how_much = weight * (i + 1) / 300
        smooth = denoise_tv_chambolle(noisy, how_much) if method == "total variation" \
            else gaussian(noisy, 10 * how_much)
        pub.image("denoised", smooth, at={"step": i}, contrast_limits=(0, 1))
        if show:
            pub.image("rest", noisy - smooth, at={"step": i}, colormap="PiYG",
                      contrast_limits=(-0.4, 0.4))
        pub.metric("error/to the truth", np.abs(smooth - cells).mean(), step=i)
        pub.metric("error/to the data", np.abs(smooth - noisy).mean(), step=i)
        pub.metric("roughness", np.abs(np.diff(smooth)).mean(), step=i)
        pub.progress(i + 1, 300, method)
"""


def wait_for(condition: Callable[[], object]) -> None:
    """Let Qt run until a condition holds, and a second more."""
    deadline, held_since = time.monotonic() + 120, None
    while held_since is None or time.monotonic() < held_since + 1.0:
        QApplication.processEvents()
        time.sleep(0.01)
        held_since = (held_since or time.monotonic()) if condition() else None
        assert time.monotonic() < deadline, "timed out"


@contextmanager
def window(height: int) -> Iterator[tuple[Any, ReceiverDock]]:
    """Open a napari window with the dock, which listens."""
    viewer, dock = open_window("tcp://127.0.0.1:0?listen", title="napari-streaming")
    viewer.window.resize(1560, height)
    yield viewer, dock
    viewer.close()


def take(viewer: Any, name: str) -> None:
    """Take a picture of the window."""
    viewer.window.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)


def run(dock: ReceiverDock, script: str) -> subprocess.Popen[bytes]:
    """Start a program that streams to the dock."""
    return subprocess.Popen([sys.executable, "-c", script, dock.session.receiver.urls[0]])


def press(dock: ReceiverDock, text: str) -> None:
    """Press a button."""
    next(b for b in dock.findChildren(QPushButton) if b.text() == text).click()


def is_all_shown(dock: ReceiverDock) -> bool:
    """Whether napari has all that came."""
    layers = dock.session.receiver.layers.values()
    return all(layer.stats().shown == layer.stats().received for layer in layers)


def record_and_place() -> None:
    """Show a pipeline that is recorded: with its sliders, then with a layer for each stain."""
    with window(960) as (viewer, dock):
        QFileDialog.getSaveFileName = lambda *_: (RECORDING, "")  # type: ignore[method-assign]
        press(dock, "Record…")
        with run(dock, PIPELINE) as pipeline:
            wait_for(lambda: pipeline.poll() is not None)
        wait_for(lambda: is_all_shown(dock))
        viewer.layers["nuclei"].contour = 1
        viewer.layers.move(viewer.layers.index(viewer.layers["nuclei"]), len(viewer.layers))
        wait_for(lambda: True)
        take(viewer, "recording-button")
        press(dock, "Record…")
        dock.session.tape.close()
        take(viewer, "receiver-sliders")

        dock.findChild(QTabWidget).setCurrentIndex(2)
        dock.findChild(QComboBox, "stain").setCurrentText("layers")
        wait_for(lambda: "stains · DAB" in viewer.layers)
        del viewer.layers["nuclei"]
        viewer.canvas.grid.enabled = True
        viewer.reset_view()
        wait_for(lambda: True)
        take(viewer, "receiver-layers")


def open_recording() -> None:
    """Show the recording, opened from its file."""
    viewer = napari.Viewer(title="napari-streaming")
    viewer.window.resize(1560, 960)
    viewer.open(RECORDING, plugin="napari-streaming")
    viewer.layers["nuclei"].contour = 1
    viewer.dims.set_current_step(0, 3)
    wait_for(lambda: True)
    take(viewer, "recording-opened")
    viewer.close()


def steer() -> None:
    """Show a program that is paused, with its parameters and graphs."""
    with window(1000) as (viewer, dock):
        dock.findChild(QTabWidget).setCurrentIndex(1)
        with run(dock, DENOISING) as program:
            layers = dock.session.receiver.layers
            wait_for(lambda: "rest" in layers and layers["rest"].stats().shown > 60)
            press(dock, "Pause")
            (run_id,) = layers.programs
            wait_for(lambda: layers.programs[run_id].running.state == "paused")
            viewer.layers["rest"].visible = True
            viewer.canvas.grid.enabled = True
            viewer.reset_view()
            wait_for(lambda: is_all_shown(dock))
            take(viewer, "steering")
            dock.session.receiver.control(run_id, "stop")
            wait_for(lambda: program.poll() is not None)


def see_remotely() -> None:
    """Show a remote session: two stains, drawn by a server."""
    stains = unmix(data.immunohistochemistry())
    viewer = napari.Viewer(title="napari-streaming")
    viewer.window.resize(1560, 960)
    _, dock = viewer.window.add_plugin_dock_widget("napari-streaming", "Remote GPU Session")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("hematoxylin.tif", "DAB.tif")]
        for path, plane in zip(paths, stains, strict=True):
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


def main() -> None:
    """Take all pictures."""
    steer()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        record_and_place()
        open_recording()
    see_remotely()


if __name__ == "__main__":
    main()
