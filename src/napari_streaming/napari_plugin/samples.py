"""Sample data like those of a recorded run, made on the spot."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_streaming.demo.analysis import (
    cut_wells,
    find_nuclei,
    measure_nuclei,
    split_nuclei,
    unmix,
)

__all__ = ["stained_wells"]


def stained_wells() -> list[tuple[Any, dict[str, Any], str]]:
    """Return six wells of stained tissue with their nuclei, from an image of scikit-image's."""
    from skimage import data

    wells = cut_wells(data.immunohistochemistry())
    stains = [unmix(tissue) for tissue in wells.values()]
    labels = [split_nuclei(find_nuclei(*both)) for both in stains]
    found = [measure_nuclei(one, *both) for one, both in zip(labels, stains, strict=True)]
    axes = ("well", "y", "x")
    about: dict[str, Any] = {"axis_labels": axes, "metadata": {"coordinates": {"well": [*wells]}}}
    rows = [
        np.column_stack([np.full(len(one.coordinates), index), one.coordinates])
        for index, one in enumerate(found)
    ]
    features = {
        name: np.concatenate([one.features[name] for one in found]) for name in found[0].features
    }
    return [
        (np.stack([*wells.values()]), about | {"name": "tissue", "rgb": True}, "image"),
        (
            np.stack([hematoxylin for hematoxylin, _ in stains]),
            about
            | {
                "name": "hematoxylin",
                "colormap": "bop blue",
                "contrast_limits": (0.0, 0.4),
                "blending": "additive",
                "visible": False,
            },
            "image",
        ),
        (
            np.stack([dab for _, dab in stains]),
            about
            | {
                "name": "DAB",
                "colormap": "bop orange",
                "contrast_limits": (0.0, 1.2),
                "blending": "additive",
                "visible": False,
            },
            "image",
        ),
        (np.stack(labels), about | {"name": "nuclei"}, "labels"),
        (
            np.concatenate(rows),
            about
            | {
                "name": "centroids",
                "features": features,
                "size": 8,
                "face_color": "transparent",
                "border_color": "yellow",
            },
            "points",
        ),
    ]
