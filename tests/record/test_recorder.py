"""What a recording is on disk, as other programs see it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import yaozarrs
import zarr

import napari_streaming as ns
from napari_streaming.errors import DataError, StorageError
from napari_streaming.record.opened import OpenRecording
from napari_streaming.record.stored_layers import stored_layers


@pytest.fixture
def recorded(tmp_path):
    """Record what a function publishes; return the folder with the data."""

    def record(publish, name="run.ome.zarr"):
        with ns.Publisher(ns.Recording(tmp_path / name)) as pub:
            publish(pub)
            assert pub.flush(15)
        return tmp_path / name

    return record


def check_ome(folder) -> set[str]:
    """Have yaozarrs check every OME-Zarr document; return where images and labels are."""
    images = set()
    yaozarrs.validate_zarr_store(folder)
    for document in folder.rglob("zarr.json"):
        ome = json.loads(document.read_text())["attributes"].get("ome", {})
        if "multiscales" in ome:
            yaozarrs.validate_zarr_store(document.parent)
            images.add(str(document.parent.relative_to(folder)))
    return images


def test_images_and_their_labels_are_ome_zarr(recorded):
    random = np.random.default_rng(0)
    planes = {
        (w, t, c): random.integers(0, 999, (20, 30), np.uint16)
        for w in ("A01", "B02")
        for t in range(3)
        for c in ("DAPI", "GFP")
    }

    def publish(pub):
        for (w, t, c), plane in planes.items():
            at = {"well": w, "c": c, "t": t}
            pub.image("nuclei", plane, at=at, scale=(0.5, 0.25), translate=(1, 2), units="um")
            pub.labels("cells", plane > 500, at={"well": w, "t": t})

    folder = recorded(publish)
    assert check_ome(folder) == {
        "nuclei_well=A01",
        "nuclei_well=A01/labels/cells_well=A01",
        "nuclei_well=B02",
        "nuclei_well=B02/labels/cells_well=B02",
    }
    group = zarr.open_group(folder / "nuclei_well=B02", mode="r")
    array = group["0"]
    assert array.metadata.dimension_names == ("t", "c", "y", "x")
    for (w, t, c), plane in planes.items():
        if w == "B02":
            assert np.array_equal(array[t, ["DAPI", "GFP"].index(c)], plane)
    ome = group.attrs["ome"]
    (image,) = ome["multiscales"]
    assert image["axes"][-1] == {"name": "x", "type": "space", "unit": "micrometer"}
    assert image["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 1.0, 0.5, 0.25]},
        {"type": "translation", "translation": [0.0, 0.0, 1.0, 2.0]},
    ]
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["DAPI", "GFP"]
    assert group.attrs["napari_streaming"]["at"] == {"well": "B02"}
    cells = zarr.open_array(folder / "nuclei_well=A01/labels/cells_well=A01/0", mode="r")
    assert np.array_equal(cells[2], planes["A01", 2, "GFP"] > 500)
    series = json.loads((folder / "OME/zarr.json").read_text())["attributes"]["ome"]["series"]
    assert sorted(series) == ["nuclei_well=A01", "nuclei_well=B02"]


def test_odd_names_and_kinds_of_planes(recorded):
    colour = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    volume = np.arange(120, dtype=np.float32).reshape(4, 5, 6)

    def publish(pub):
        pub.image("../../etc/pässwd", np.ones((4, 5), bool), at={"t": 1e6})
        pub.image("Colour", colour, at={"t": 1})
        pub.image("colour", volume, at={"t": 0.25, "n": "ä/b"})
        pub.image("five", np.ones((2, 2, 2, 2, 2), "u1"), axes="abcde")
        pub.labels("alone", np.ones((3, 3), np.int64))

    folder = recorded(publish)
    assert not [p for p in folder.rglob("*") if not p.resolve().is_relative_to(folder)]
    images = check_ome(folder)
    assert "five" not in images  # five axes of space are too many
    assert len(images) == 4
    assert len({p.name.lower() for p in folder.iterdir() if (p / "0").exists()}) == 5
    layers = stored_layers(OpenRecording(folder))
    assert np.array_equal(np.asarray(layers["Colour"].data)[1], colour)
    assert np.array_equal(np.asarray(layers["colour"].data)[0, 0], volume)
    assert layers["../../etc/pässwd"].data.dtype == bool
    assert np.asarray(layers["five"].data).all()
    assert np.moveaxis(zarr.open_array(folder / "Colour/0", mode="r")[1], 0, -1).tolist() == (
        colour.tolist()
    )


def test_several_planes_and_parts_of_planes(recorded):
    random = np.random.default_rng(0)
    stack = random.integers(0, 99, (2, 3, 8, 8), np.uint16)
    tiles = random.integers(1, 99, (2, 2, 4, 4), np.uint16)

    def publish(pub):
        pub.image("stack", stack, at={"t": [4, 5], "c": ["a", "b", "c"]})
        pub.image("mosaic", np.full((8, 8), 7, np.uint16))
        for y in range(2):
            for x in range(2):
                if (y, x) != (1, 1):
                    offset = (4 * y, 4 * x)
                    pub.image("mosaic", tiles[y, x], offset=offset, plane_shape=(8, 8))

    folder = recorded(publish)
    mosaic = np.full((8, 8), 7)
    mosaic[:4, :4], mosaic[:4, 4:], mosaic[4:, :4] = tiles[0, 0], tiles[0, 1], tiles[1, 0]
    assert np.array_equal(zarr.open_array(folder / "stack/0", mode="r")[4:], stack)
    assert np.array_equal(zarr.open_array(folder / "mosaic/0", mode="r")[...], mosaic)
    layers = stored_layers(OpenRecording(folder))
    assert np.array_equal(np.asarray(layers["stack"].data), stack)
    assert np.array_equal(np.asarray(layers["mosaic"].data), mosaic)


def test_points_and_the_like_are_arrays_and_tables(recorded):
    rows = np.random.default_rng(0).random((7, 2))

    def publish(pub):
        for t in range(3):
            features = {"area": np.arange(7.0) + t, "kind": [f"é{t},\n"] * 7}
            pub.points("spots", rows + t, at={"t": t}, features=features)
        pub.tracks("paths", [[1, 0, 5, 6], [1, 1, 7, 8]])
        pub.shapes("outline", [rows], at={"t": 0})
        pub.shapes("outline", [], at={"t": 1})
        for step in range(3):
            pub.metric("energy", float("nan") if step == 1 else step, step)

    folder = recorded(publish)
    data = zarr.open_array(folder / "sets/spots/data", mode="r")
    assert np.array_equal(data[...], np.concatenate([rows + t for t in range(3)]))
    area = zarr.open_array(folder / "sets/spots/features/area", mode="r")
    assert area[:].tolist() == [n + t for t in range(3) for n in range(7)]
    with (folder / "tables/spots.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["y"]) for row in table] == data[:, 0].tolist()
    assert (table[8]["t"], table[8]["area"], table[8]["kind"]) == ("1", "2.0", "é1,\n")
    with (folder / "tables/paths.csv").open() as file:
        assert [row["x"] for row in csv.DictReader(file)] == ["6.0", "8.0"]
    with (folder / "tables/metrics.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["0.0", "nan", "2.0"]
    layers = stored_layers(OpenRecording(folder))
    spots = layers["spots"]
    assert spots.features["kind"].tolist() == [f"é{t},\n" for t in range(3) for _ in range(7)]
    assert np.array_equal(layers["outline"].data[0][:, -2:], rows.astype(np.float32))


def test_a_plane_that_comes_again_is_the_newer_one(recorded):
    def publish(pub):
        for value in range(5):
            pub.image("live", np.full((4, 4), value, np.uint8))

    folder = recorded(publish)
    assert zarr.open_array(folder / "live/0", mode="r")[0, 0] == 4
    recording = OpenRecording(folder)
    items = [stored for entry in recording.entries if (stored := recording.item_of(entry))]
    assert [recording.arrays(one)["data"][0, 0] for one in items] == [0, 1, 2, 3, 4]


def test_nothing_is_written_over(tmp_path):
    with ns.Recording(tmp_path / "run.ome.zarr") as first:
        assert first.index == tmp_path / "run.nstream"
    for name in ("run.ome.zarr", "run.nstream", "run.zarr", "run"):
        with pytest.raises(DataError, match="exists already"):
            ns.Recording(tmp_path / name)
    with pytest.raises(DataError, match="no folder"):
        ns.Recording(tmp_path / "nowhere" / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises((DataError, StorageError)):
        ns.Recording(tmp_path / "file" / "run")
    assert not stored_layers(OpenRecording(tmp_path / "run.nstream"))


@pytest.mark.parametrize("text", ["", "[]", '{"data": "../run.ome.zarr"}', '{"data": 3}', "\xff"])
def test_an_index_that_is_none(tmp_path, text):
    path = tmp_path / "run.nstream"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError):
        OpenRecording(path)
