"""Pictures like those of a session, made with numpy alone: what codecs are measured with.

Each sequence is noisy cells in three colours, as a microscope sees them, under one movement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["SEQUENCES", "planes_of", "psnr", "rgb_of"]

RGB = NDArray[np.uint8]
Planes = tuple[NDArray[np.uint8], ...]

# BT.709, limited range: rows are Y, U and V, columns R, G and B.
_KR, _KB = 0.2126, 0.0722
_KG = 1 - _KR - _KB
_TO_YUV = np.array(
    [
        [219 / 255 * _KR, 219 / 255 * _KG, 219 / 255 * _KB],
        [-112 / 255 * _KR / (1 - _KB), -112 / 255 * _KG / (1 - _KB), 112 / 255],
        [112 / 255, -112 / 255 * _KG / (1 - _KR), -112 / 255 * _KB / (1 - _KR)],
    ],
    np.float32,
)
_TO_RGB = np.linalg.inv(_TO_YUV)
_OFFSET = np.array([16, 128, 128], np.float32)


def planes_of(rgb: RGB, chroma: str = "420") -> Planes:
    """Return Y, U and V of a picture, in the limited range of BT.709.

    Parameters
    ----------
    rgb : ndarray of uint8, (height, width, 3)
        Both sides even.
    chroma : str
        ``420`` or ``444``.
    """
    # A plane at a time, in bytes that the processor's cache holds: 8 rows of 4K are 1 MB.
    height, width, _ = rgb.shape
    planes = tuple(np.empty((height, width), np.uint8) for _ in range(3))
    for top in range(0, height, 8):
        rows = rgb[top : top + 8].astype(np.float32)
        yuv = rows @ _TO_YUV.T + (_OFFSET + 0.5)
        for index, plane in enumerate(planes):
            plane[top : top + 8] = yuv[..., index]
    if chroma == "444":
        return planes
    return planes[0], _halved(planes[1]), _halved(planes[2])


def rgb_of(planes: Planes) -> RGB:
    """Return the picture, (height, width, 3) of uint8, that planes in BT.709 show."""
    luma = planes[0]
    full = [
        plane if plane.shape == luma.shape else plane.repeat(2, 0).repeat(2, 1) for plane in planes
    ]
    rgb = np.empty((*luma.shape, 3), np.uint8)
    for top in range(0, len(luma), 8):
        rows = np.stack([plane[top : top + 8] for plane in full], -1) - _OFFSET
        rgb[top : top + 8] = np.clip(rows @ _TO_RGB.T + 0.5, 0, 255)
    return rgb


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return how alike two pictures are, in dB; 100 where they are the same."""
    error = float(np.mean(np.square(one.astype(np.float32) - other)))
    return min(100.0, 10 * np.log10(255**2 / error)) if error else 100.0


def pan(width: int, height: int, seed: int = 0) -> Iterator[RGB]:
    """Drag the cells: 8 pixels to the right and 4 down, frame by frame."""
    world = _cells(width + 256, height + 128, seed)
    step = 0
    while True:
        # There and back, within the world's margin.
        at = abs((step + 32) % 64 - 32)
        yield world[4 * at : 4 * at + height, 8 * at : 8 * at + width]
        step += 1


def zoom(width: int, height: int, seed: int = 0) -> Iterator[RGB]:
    """Come closer by 2 % a frame, to the nearest pixel; from the start again after 40."""
    world = _cells(width, height, seed)
    step = 0
    while True:
        scale = 1.02 ** (step % 40)
        rows = _zoomed(height, scale)
        yield world[rows[:, None], _zoomed(width, scale)]
        step += 1


def noise(width: int, height: int, seed: int = 0) -> Iterator[RGB]:
    """Show the cells with fresh noise in every frame: the worst that a slider can do."""
    world = _cells(width + 256, height + 256, seed, noise=0)
    random = np.random.default_rng(seed)
    grains = random.normal(0, 20, (height + 256, width + 256, 3)).astype(np.int16)
    while True:
        # The same grains from elsewhere are as new to a codec, and far cheaper to make.
        top, left = random.integers(0, 256, 2)
        moved = grains[top : top + height, left : left + width]
        yield np.clip(world[:height, :width] + moved, 0, 255).astype(np.uint8)


def rotate(width: int, height: int, seed: int = 0) -> Iterator[RGB]:
    """Turn clean cells on black by 2 degrees a frame, about the middle."""
    world = _cells(width, height, seed, noise=0)
    rows, columns = np.indices((height, width), np.float32)
    rows -= height / 2
    columns -= width / 2
    step = 0
    while True:
        angle = np.radians(2 * step)
        sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
        row = (cosine * rows - sine * columns + height / 2).astype(np.int32) % height
        column = (sine * rows + cosine * columns + width / 2).astype(np.int32) % width
        yield world[row, column]
        step += 1


SEQUENCES: dict[str, Callable[[int, int], Iterator[RGB]]] = {
    "pan": pan,
    "zoom": zoom,
    "noise": noise,
    "rotate": rotate,
}
"""Endless sequences of (height, width, 3) uint8, by name; called with width and height."""


def _cells(width: int, height: int, seed: int, noise: float = 20) -> RGB:
    """Draw round cells in red, green and blue on black, under grains as strong as asked for."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    radius = 24
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    cell = np.exp(-(x * x + y * y) / (2 * (radius / 3) ** 2)).astype(np.float32)
    for channel in range(3):
        count = max(1, width * height // 4000)
        for row, column in zip(
            random.integers(0, height, count), random.integers(0, width, count), strict=True
        ):
            top, left = max(0, row - radius), max(0, column - radius)
            spot = picture[top : row + radius + 1, left : column + radius + 1, channel]
            cut = cell[top - row + radius :, left - column + radius :]
            spot += 220 * cut[: spot.shape[0], : spot.shape[1]]
    if noise:
        picture += random.standard_normal(picture.shape, np.float32) * np.float32(noise) + 20
    return np.clip(picture, 0, 255).astype(np.uint8)


def _zoomed(size: int, scale: float) -> NDArray[np.intp]:
    """Return which pixels of a side are seen when it is `scale` times closer."""
    return ((np.arange(size) - size / 2) / scale + size / 2).astype(np.intp)


def _halved(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of 2 by 2 pixels."""
    wide = plane.astype(np.uint16)
    total = wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)
