"""A scene of every kind that napari draws, the same in every process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _smooth(*shape: int) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(0, 9, n) for n in shape), indexing="ij")
    return np.asarray(sum(np.sin(axis * (i + 1)) for i, axis in enumerate(axes)), "f4")


def image(viewer: Any) -> None:
    viewer.add_image(_smooth(5, 200, 300), colormap="viridis", contrast_limits=(-2, 2))
    viewer.dims.set_point(0, 2)


def rgb(viewer: Any) -> None:
    viewer.add_image(np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8), rgb=True)


def multiscale(viewer: Any) -> None:
    levels = [_smooth(2048 // f, 2048 // f) for f in (1, 2, 4, 8)]
    viewer.add_image(levels, multiscale=True, contrast_limits=(-2, 2))


def multichannel(viewer: Any) -> None:
    viewer.add_image(_smooth(3, 128, 128), channel_axis=0, contrast_limits=(-2, 2))


def labels(viewer: Any) -> None:
    grid = np.arange(100 * 140).reshape(100, 140)
    layer = viewer.add_labels((grid // 1400 + grid % 140 // 20).astype("u2"))
    layer.contour = 2


def points(viewer: Any) -> None:
    where = np.random.default_rng(2).random((40, 2)) * 200
    viewer.add_points(where, size=9, face_color="orange", symbol="ring", border_width=0.2)


def shapes(viewer: Any) -> None:
    viewer.add_shapes(
        [np.array([[0, 0], [90, 40]]), np.array([[20, 80], [80, 160], [100, 90]])],
        shape_type=["rectangle", "polygon"],
        face_color=["royalblue", "coral"],
        edge_width=3,
    )


def tracks(viewer: Any) -> None:
    steps = np.arange(30)
    paths = [
        np.stack([steps * 0 + n, steps, 5 * n + steps * 2, 40 + 20 * np.sin(steps / 5 + n)], 1)
        for n in range(4)
    ]
    viewer.add_tracks(np.concatenate(paths), tail_length=40, tail_width=4)
    viewer.dims.set_point(0, 20)


def vectors(viewer: Any) -> None:
    rng = np.random.default_rng(3)
    viewer.add_vectors(
        np.stack([rng.random((30, 2)) * 100, rng.normal(0, 8, (30, 2))], 1), edge_width=1.5
    )


def surface(viewer: Any) -> None:
    y, x = np.mgrid[0:20, 0:20]
    vertices = np.stack([4 * np.sin(x / 4), y, x], -1).reshape(-1, 3).astype("f4")
    corner = (y[:-1, :-1] * 20 + x[:-1, :-1]).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 20], 1),
         np.stack([corner + 1, corner + 21, corner + 20], 1)]
    )  # fmt: skip
    viewer.add_surface((vertices, faces, vertices[:, 0]), colormap="magma")
    viewer.dims.ndisplay = 3


def volume(viewer: Any) -> None:
    viewer.add_image(_smooth(24, 32, 40), rendering="mip", contrast_limits=(-2, 3))
    viewer.dims.ndisplay = 3


def overlays(viewer: Any) -> None:
    viewer.add_image(np.zeros((100, 100), np.uint8))
    viewer.canvas.overlays.scale_bar.visible = True
    viewer.canvas.overlays.text.visible = True
    viewer.canvas.overlays.text.text = "a note 0.5 µm"
    viewer.scene.overlays.axes.visible = True


def grid(viewer: Any) -> None:
    multichannel(viewer)
    viewer.canvas.grid.enabled = True


SCENES: dict[str, Callable[[Any], None]] = {
    scene.__name__: scene
    for scene in (
        image, rgb, multiscale, multichannel, labels, points, shapes, tracks, vectors, surface,
        volume, overlays, grid,
    )
}  # fmt: skip


def clear(viewer: Any) -> None:
    """Make a viewer as it was."""
    viewer.layers.clear()
    viewer.dims.ndisplay = 2
    viewer.canvas.grid.enabled = False
    viewer.canvas.overlays.scale_bar.visible = False
    viewer.canvas.overlays.text.visible = False
    viewer.scene.overlays.axes.visible = False


def look_at(viewer: Any) -> None:
    """Set the camera so that everything is to be seen."""
    viewer.reset_view()
    if viewer.dims.ndisplay == 3:
        viewer.scene.camera.angles = (10, 30, 60)
