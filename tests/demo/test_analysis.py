from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial import KDTree
from skimage import color, data, draw

from napari_streaming.demo.analysis import (
    cut_wells,
    find_nuclei,
    measure_nuclei,
    split_nuclei,
    unmix,
)

WELLS = ["A01", "A02", "A03", "B01", "B02", "B03"]


@pytest.fixture(scope="module")
def wells():
    return cut_wells(data.immunohistochemistry())


@dataclass
class Found:
    hematoxylin: np.ndarray
    dab: np.ndarray
    labels: np.ndarray
    centroids: np.ndarray
    features: dict[str, np.ndarray]

    def __len__(self):
        return len(self.centroids)


def analyse(tissue):
    """Call all functions as the pipeline does."""
    stains = unmix(tissue)
    labels = split_nuclei(find_nuclei(*stains))
    points = measure_nuclei(labels, *stains)
    return Found(*stains, labels, points.coordinates, points.features)


def stain(hematoxylin, dab):
    """Return tissue, RGB, with these optical densities."""
    density = np.dstack([hematoxylin, np.zeros_like(dab), dab])
    return np.round(255 * color.hed2rgb(density / 6)).astype(np.uint8)


def test_wells_are_equal_pieces_in_the_order_of_a_plate():
    image = np.arange(7 * 8 * 3).reshape(7, 8, 3)
    pieces = cut_wells(image)
    assert list(pieces) == WELLS
    assert {piece.shape for piece in pieces.values()} == {(3, 2, 3)}
    np.testing.assert_array_equal(pieces["B03"], image[3:6, 4:6])


@pytest.mark.parametrize("well", WELLS)
def test_every_well_has_plausible_nuclei_and_labels_match_points(wells, well):
    found = analyse(wells[well])
    assert 40 <= len(found) <= 75
    assert found.labels.dtype == np.int32
    assert found.labels.shape == found.dab.shape == wells[well].shape[:2]
    areas = np.bincount(found.labels.ravel())[1:]
    np.testing.assert_array_equal(areas, found.features["area"])
    assert 40 <= areas.min() <= np.median(areas) <= 250
    assert areas.max() < 700
    for label, centroid in enumerate(found.centroids, 1):
        distance, _ = KDTree(np.argwhere(found.labels == label)).query(centroid)
        assert distance < 4
    for name, column in found.features.items():
        assert column.shape == (len(found),)
        assert np.isfinite(column).all(), name


def test_nuclei_are_where_the_hematoxylin_is(wells):
    for tissue in wells.values():
        found = analyse(tissue)
        inside = found.labels > 0
        assert found.hematoxylin[inside].mean() > 2 * found.hematoxylin[~inside].mean()
        np.testing.assert_allclose(
            found.features["hematoxylin"][0], found.hematoxylin[found.labels == 1].mean(), rtol=1e-5
        )


def test_the_same_tissue_gives_the_same_nuclei(wells):
    first, second = analyse(wells["A01"]), analyse(wells["A01"].copy())
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.centroids, second.centroids)


def test_discs_are_counted_exactly_and_touching_ones_are_split():
    hematoxylin = np.full((200, 240), 0.02)
    centres = [(30 + 45 * row, 30 + 60 * column) for row in range(4) for column in range(4)]
    centres += [(30, 44)]  # touches the first
    for centre in centres:
        hematoxylin[draw.disk(centre, 8)] = 0.4
    found = analyse(stain(hematoxylin, np.zeros_like(hematoxylin)))
    assert len(found) == len(centres)
    distance, nearest = KDTree(found.centroids).query(centres)
    assert len(set(nearest)) == len(centres)
    assert distance.max() < 1.5
    lone = np.argsort(found.features["area"])[2:]
    assert found.features["eccentricity"][lone].max() < 0.3
    np.testing.assert_allclose(found.features["area"], np.pi * 8**2, rtol=0.2)


def test_what_hides_under_dense_dab_or_is_a_speck_is_no_nucleus():
    hematoxylin, dab = np.full((120, 120), 0.02), np.zeros((120, 120))
    hematoxylin[draw.disk((30, 30), 8)] = 0.4
    hematoxylin[draw.disk((90, 90), 8)] = 0.4
    hematoxylin[draw.disk((30, 90), 2)] = 0.4
    dab[60:, 60:] = 1.5
    found = analyse(stain(hematoxylin, dab))
    np.testing.assert_allclose(found.centroids, [(30, 30)], atol=1)


def test_empty_tissue_has_no_nuclei():
    found = analyse(np.full((60, 60, 3), 240, np.uint8))
    assert len(found) == 0
    assert found.centroids.shape == (0, 2)
    assert not found.labels.any()
    assert all(column.shape == (0,) for column in found.features.values())


def test_unmixing_gives_back_the_stains():
    hematoxylin, dab = np.full((4, 4), 0.3), np.full((4, 4), 0.6)
    found = unmix(stain(hematoxylin, dab))
    np.testing.assert_allclose(found, [hematoxylin, dab], atol=0.02)


def test_black_has_a_finite_density():
    assert np.max(unmix(np.zeros((4, 4, 3), np.uint8))) < 4
