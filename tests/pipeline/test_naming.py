from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from napari_streaming.pipeline.naming import Naming, is_ignored
from napari_streaming.pipeline.patterns import parse_pattern


def naming(pattern=None, **options):
    return Naming("run7", parse_pattern(pattern) if pattern else None, **options)


def shown(path, inner=(), **options):
    return naming(**options).shown(PurePosixPath(path), inner)


@pytest.mark.parametrize(
    "path",
    [".a.tif", "~a.tif", "a.tif~", "a.tif.tmp", "a.tmp.tif", "a.tif.part", ".nextflow/a.tif",
     "x.zarr.partial/zarr.json", "A.TIF.CRDOWNLOAD", "~$a.tif"],
)  # fmt: skip
def test_hidden_and_unfinished_names_are_ignored(path):
    assert is_ignored(PurePosixPath(path))


@pytest.mark.parametrize("path", ["a.tif", "template.tif", "part.tif", "a/tmp/b.tif", "a.b.c.tif"])
def test_ordinary_names_are_not(path):
    assert not is_ignored(PurePosixPath(path))


@pytest.mark.parametrize(
    ("path", "pattern", "layer", "at"),
    [
        ("cells.ome.tif", None, "cells", {}),
        ("day1/cells.v2.tif", None, "day1/cells.v2", {}),
        ("A01_s2.tif", "{well}_s{site}.tif", "run7", {"well": "A01", "site": 2}),
        ("day1/A01_s2.tif", "{well}_s{site}.tif", "day1", {"well": "A01", "site": 2}),
        ("day1/A01_nuclei.tif", "{well}_nuclei.tif", "day1/nuclei", {"well": "A01"}),
        ("A01/z3.tif", "{well}/z{z}.tif", "run7", {"well": "A01", "z": 3}),
        ("A01_s2.ome.zarr", "{well}_s{site}.ome.zarr", "run7", {"well": "A01", "site": 2}),
    ],
)
def test_layer_and_coordinates(path, pattern, layer, at):
    found = shown(path, pattern=pattern)
    assert (found.layer, found.at) == (layer, at)


def test_what_does_not_fit_the_pattern_is_not_shown():
    assert shown("notes.tif", pattern="{well}_s{site}.tif") is None


def test_images_in_a_zarr_are_named_by_their_place():
    assert shown("x.ome.zarr", ("labels", "nuclei")).layer == "x/labels/nuclei"
    assert shown("x.zarr", ("labels", "n"), name="all").layer == "all/labels/n"
    found = shown("p.zarr", ("A", "1"), pattern="p.zarr/{row}/{column}")
    assert (found.layer, found.at) == ("p_zarr", {"row": "A", "column": 1})


def test_one_name_stacks_files():
    found = shown("day1/a.tif", name="all")
    assert (found.layer, found.at) == ("all", {"file": "day1/a"})


@pytest.mark.parametrize(
    ("path", "pattern", "as_labels"),
    [
        ("A01_mask.tif", None, None),
        ("A01_cp_masks.png", None, None),
        ("A01_labels_s1_t03.ome.tif", None, None),
        ("seg.tif", None, None),
        ("masks/A01_s1.tif", "{well}_s{site}.tif", None),
        ("A01_mask.tif", "{well}_mask.tif", None),
        ("masks/A01_s1.tif", None, False),
        ("label-free_01.tif", None, False),
        ("segment.tif", None, False),
        ("unmasked.tif", None, False),
        ("A01_s1.tif", "{well}_s{site}.tif", False),
    ],
)
def test_which_names_mean_labels(path, pattern, as_labels):
    assert shown(path, pattern=pattern).as_labels is as_labels


def test_globs_decide_alone():
    assert shown("a_cells.tif", labels=["*_cells.tif"]).as_labels is True
    assert shown("seg/a.tif", labels=["seg/*"]).as_labels is True
    assert shown("a_mask.tif", labels=["*_cells.tif"]).as_labels is False


def test_without_a_pattern_only_images_are_wanted():
    wanted = naming().is_wanted
    assert wanted(PurePosixPath("a.TIF"))
    assert not wanted(PurePosixPath("log.txt"))
    assert naming("{n}.dat").is_wanted(PurePosixPath("3.dat"))
