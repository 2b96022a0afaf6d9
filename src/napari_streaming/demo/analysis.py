"""Stained tissue in, nuclei and their measurements out: arrays only, no streaming."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]
from skimage import color, filters, measure, morphology, segmentation

__all__ = ["Nuclei", "analyse", "cut_wells", "segment", "unmix"]

# Lengths in pixels and optical densities, chosen by eye on scikit-image's IHC image.
_SMOOTHING = 1.5
_NEIGHBOURHOOD = 51
_NARROWEST = 7
_SMALLEST = 40
_NECK = 0.75
_OPAQUE = 0.8


@dataclass(frozen=True, slots=True)
class Nuclei:
    """What was found in one piece of tissue.

    Parameters
    ----------
    hematoxylin, dab : ndarray of float32, shape (y, x)
        Optical density of each stain.
    labels : ndarray of int32, shape (y, x)
        0 is background, nucleus `i` is ``i + 1``.
    centroids : ndarray of float64, shape (n, 2)
        In pixels, (y, x).
    features : dict of str to ndarray, shape (n,)
        ``area`` in pixels, ``eccentricity`` from 0 (round) to 1, ``hematoxylin`` and
        ``dab``: mean optical density in the nucleus.
    """

    hematoxylin: np.ndarray
    dab: np.ndarray
    labels: np.ndarray
    centroids: np.ndarray
    features: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.centroids)


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


def analyse(tissue: np.ndarray) -> Nuclei:
    """Find the nuclei in stained tissue and measure them.

    Parameters
    ----------
    tissue : ndarray of uint8, shape (y, x, 3)
        Hematoxylin and DAB in transmitted light, RGB.

    Returns
    -------
    Nuclei
    """
    hematoxylin, dab = unmix(tissue)
    labels = segment(hematoxylin, dab)
    table = measure.regionprops_table(
        labels,
        np.dstack([hematoxylin, dab]),
        properties=("area", "centroid", "eccentricity", "mean_intensity"),
    )
    return Nuclei(
        hematoxylin,
        dab,
        labels,
        np.column_stack([table["centroid-0"], table["centroid-1"]]),
        {
            "area": table["area"],
            "eccentricity": table["eccentricity"],
            "hematoxylin": table["mean_intensity-0"],
            "dab": table["mean_intensity-1"],
        },
    )


def unmix(tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Separate the stains (Ruifrok & Johnston 2001).

    Parameters
    ----------
    tissue : ndarray of uint8, shape (y, x, 3)

    Returns
    -------
    hematoxylin, dab : ndarray of float32, shape (y, x)
        Optical density: 1 lets a tenth of the light pass.
    """
    # Black is no infinite density, but what 8 bits cannot tell from one grey level.
    stains = color.rgb2hed(np.maximum(tissue, 1))
    density = (stains * -math.log10(1e-6)).astype(np.float32)  # the unit of rgb2hed
    return density[..., 0], density[..., 2]


def segment(hematoxylin: np.ndarray, dab: np.ndarray) -> np.ndarray:
    """Label the nuclei.

    Parameters
    ----------
    hematoxylin, dab : ndarray of float, shape (y, x)
        Optical densities.

    Returns
    -------
    ndarray of int32, shape (y, x)
        0 is background, then 1 to the number of nuclei.
    """
    smooth = filters.gaussian(hematoxylin, _SMOOTHING)
    typical = filters.threshold_otsu(smooth)
    around = filters.threshold_local(smooth, _NEIGHBOURHOOD, method="gaussian")
    # Under dense DAB hardly any light is left, and what passes for hematoxylin is noise.
    is_clear = filters.gaussian(dab, 1) < _OPAQUE
    mask = is_clear & (smooth > around + 0.05 * typical) & (smooth > 0.6 * typical)
    mask = morphology.opening(mask, morphology.disk(_NARROWEST // 2))
    mask = ndimage.binary_fill_holes(mask)
    depth = filters.gaussian(ndimage.distance_transform_edt(mask), 1)
    cores, _ = ndimage.label(morphology.h_maxima(depth, _NECK), np.ones((3, 3)))
    labels = segmentation.watershed(-depth, cores, mask=mask)
    is_small = np.bincount(labels.ravel()) < _SMALLEST
    labels[is_small[labels]] = 0
    relabelled: np.ndarray = segmentation.relabel_sequential(labels)[0]
    return relabelled.astype(np.int32)
