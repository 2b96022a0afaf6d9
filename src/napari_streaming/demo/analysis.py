"""Stained tissue in, nuclei and their measurements out: functions of arrays, no streaming."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]
from skimage import color, filters, measure, morphology, segmentation

from napari_streaming.pipeline import Points

__all__ = ["cut_wells", "find_nuclei", "measure_nuclei", "split_nuclei", "the_one", "unmix"]

# Lengths in pixels and optical densities, chosen by eye on scikit-image's IHC image.
_SMOOTHING = 1.5
_NEIGHBOURHOOD = 51
_NARROWEST = 7
_SMALLEST = 40
_NECK = 0.75
_OPAQUE = 0.8


def cut_wells(image: np.ndarray, rows: str = "AB", columns: int = 3) -> dict[str, np.ndarray]:
    """Cut an image into equal pieces, named like the wells of a plate.

    Parameters
    ----------
    image : ndarray, shape (y, x, ...)
        What does not divide is left out at the far edges.
    rows : str
        A letter for each row.
    columns : int

    Returns
    -------
    dict of str to ndarray
        ``"A01"`` and so on, row by row.
    """
    height, width = image.shape[0] // len(rows), image.shape[1] // columns
    return {
        f"{letter}{column + 1:02}": image[
            row * height : (row + 1) * height, column * width : (column + 1) * width
        ]
        for row, letter in enumerate(rows)
        for column in range(columns)
    }


def unmix(tissue: np.ndarray) -> np.ndarray:
    """Separate the stains (Ruifrok & Johnston 2001).

    Parameters
    ----------
    tissue : ndarray of uint8, shape (y, x, 3)
        Hematoxylin and DAB in transmitted light, RGB.

    Returns
    -------
    ndarray of float32, shape (2, y, x)
        Optical density of hematoxylin and of DAB: 1 lets a tenth of the light pass.
    """
    # Black is no infinite density, but what 8 bits cannot tell from one grey level.
    stains = color.rgb2hed(np.maximum(tissue, 1))
    density = (stains * -math.log10(1e-6)).astype(np.float32)  # the unit of rgb2hed
    return np.stack([density[..., 0], density[..., 2]])


def the_one(planes: np.ndarray) -> np.ndarray:
    """Return the only plane of a stack of one, shape (1, y, x)."""
    (plane,) = planes
    return plane  # type: ignore[no-any-return]


def find_nuclei(hematoxylin: np.ndarray, dab: np.ndarray) -> np.ndarray:
    """Find where nuclei are.

    Parameters
    ----------
    hematoxylin, dab : ndarray of float, shape (y, x)
        Optical densities.

    Returns
    -------
    ndarray of uint8, shape (y, x)
        0 is background.
    """
    smooth = filters.gaussian(hematoxylin, _SMOOTHING)
    typical = filters.threshold_otsu(smooth)
    around = filters.threshold_local(smooth, _NEIGHBOURHOOD, method="gaussian")
    # Under dense DAB hardly any light is left, and what passes for hematoxylin is noise.
    is_clear = filters.gaussian(dab, 1) < _OPAQUE
    mask = is_clear & (smooth > around + 0.05 * typical) & (smooth > 0.6 * typical)
    mask = morphology.opening(mask, morphology.disk(_NARROWEST // 2))
    filled: np.ndarray = ndimage.binary_fill_holes(mask)
    return filled.astype(np.uint8)


def split_nuclei(mask: np.ndarray) -> np.ndarray:
    """Tell nuclei apart that touch.

    Parameters
    ----------
    mask : ndarray of integer, shape (y, x)
        0 is background.

    Returns
    -------
    ndarray of int32, shape (y, x)
        0 is background, then 1 to the number of nuclei.
    """
    depth = filters.gaussian(ndimage.distance_transform_edt(mask), 1)
    cores, _ = ndimage.label(morphology.h_maxima(depth, _NECK), np.ones((3, 3)))
    labels = segmentation.watershed(-depth, cores, mask=mask)
    is_small = np.bincount(labels.ravel()) < _SMALLEST
    labels[is_small[labels]] = 0
    relabelled: np.ndarray = segmentation.relabel_sequential(labels)[0]
    return relabelled.astype(np.int32)


def measure_nuclei(labels: np.ndarray, hematoxylin: np.ndarray, dab: np.ndarray) -> Points:
    """Measure each nucleus.

    Parameters
    ----------
    labels : ndarray of int32, shape (y, x)
    hematoxylin, dab : ndarray of float, shape (y, x)
        Optical densities.

    Returns
    -------
    Points
        Centroids, with the features ``area`` in pixels, ``eccentricity`` from 0 (round) to 1,
        ``hematoxylin`` and ``dab``: mean optical density in the nucleus.
    """
    table = measure.regionprops_table(
        labels,
        np.dstack([hematoxylin, dab]),
        properties=("area", "centroid", "eccentricity", "mean_intensity"),
    )
    return Points(
        np.column_stack([table["centroid-0"], table["centroid-1"]]),
        {
            "area": table["area"],
            "eccentricity": table["eccentricity"],
            "hematoxylin": table["mean_intensity-0"],
            "dab": table["mean_intensity-1"],
        },
    )
