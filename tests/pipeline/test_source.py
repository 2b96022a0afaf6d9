"""Where values come from: what is listed at once, and what is read when."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
import zarr

from napari_streaming.errors import DataError
from napari_streaming.pipeline import Points, Source, Storage
from napari_streaming.pipeline.items import load
from napari_streaming.pipeline.source import as_source

AXES = ("well", "site", "channel", "z")


def items(source, axes=AXES):
    return list(load(as_source(source).entries(axes), axes))


def places(source, axes=AXES):
    return [dict(item.at) for item in items(source, axes)]


def test_contents_by_well_and_by_coordinates():
    plane = np.ones((3, 4))
    assert places({"A01": plane}) == [{"well": "A01"}]
    assert places({("A01", 2): plane, ("A02", 1): plane}) == [
        {"well": "A01", "site": 2},
        {"well": "A02", "site": 1},
    ]
    with pytest.raises(DataError, match="5 coordinates, and the pipeline's axes are well, site"):
        items({("A01", 1, 2, 3, 4): plane})


def test_a_content_may_be_a_number_points_or_a_call():
    points = Points(np.zeros((2, 2)))
    one, two, three = items({"a": 3.5, "b": points, "c": lambda: np.ones((2, 2))})
    assert (one.value, two.value, three.value.shape) == (3.5, points, (2, 2))
    with pytest.raises(DataError, match=r"a dict at \{'well': 'a'\}: use an array"):
        items({"a": dict})


def test_a_call_is_made_when_it_is_loaded():
    called = []
    entries = as_source({"a": lambda: called.append(1) or 1.0}).entries(AXES)
    assert not called
    list(load(entries, AXES))
    assert called == [1]


def test_axes_of_the_pipeline_become_coordinates_wherever_they_are():
    array = np.arange(2 * 3 * 4 * 5).reshape(4, 2, 5, 3)  # y, channel, x, z
    source = Source.mapping(
        {"A01": array}, axes=("y", "channel", "x", "z"), labels={"channel": ["DAPI", "GFP"]}
    )
    found = items(source)
    assert [dict(i.at) for i in found] == [
        {"well": "A01", "channel": c, "z": z} for c in ("DAPI", "GFP") for z in range(3)
    ]
    np.testing.assert_array_equal(found[4].value, array[:, 1, :, 1])
    # An axis that the pipeline does not know stays one of the plane's.
    (whole,) = items(Source.mapping({"A01": array}, axes=("y", "c", "x", "t")))
    assert whole.value.shape == array.shape


def test_what_is_not_there_or_no_coordinate_is_named(tmp_path):
    with pytest.raises(DataError, match=r"p.zarr: there is no such zarr; check the path"):
        Source.zarr(tmp_path / "p.zarr").entries(AXES)
    with pytest.raises(DataError, match="None is no coordinate; use texts or numbers"):
        Source.mapping({("A01", None): np.zeros((4, 5))}).entries(AXES)


def test_labels_of_numpy_become_plain_numbers():
    source = Source.mapping(
        {np.str_("A01"): np.zeros((2, 4, 5))},
        axes=("z", "y", "x"),
        labels={"z": np.array([0.5, 1])},
    )
    assert [type(value) for value in places(source)[0].values()] == [str, float]


def test_colour_needs_no_name():
    source = Source.mapping({"A01": np.zeros((2, 4, 5, 3), np.uint8)}, axes=("z", "y", "x"))
    assert [item.value.shape for item in items(source)] == [(4, 5, 3)] * 2


@pytest.mark.parametrize(
    ("axes", "labels"),
    [
        (("z",), {}),
        (("z", "z", "x"), {}),
        (("z", "y", "x"), {"z": [1]}),
        (("z", "y", "x"), {"z": "aa"}),
    ],
)
def test_axes_that_do_not_fit(axes, labels):
    with pytest.raises(DataError, match="needed"):
        items(Source.mapping({"A01": np.zeros((2, 4, 5))}, axes=axes, labels=labels))


@pytest.mark.parametrize("store", ["numpy", "zarr"])
def test_one_array_of_all_wells_is_read_and_sent_well_by_well(tmp_path, store):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    whole = array if store == "numpy" else zarr.array(array, store=tmp_path / "a.zarr")
    source = Source.array(
        whole, axes=("channel", "well", "y", "x"), labels={"well": ["A01", "A02", "A03"]}
    )
    entries = source.entries(AXES)
    sent = [pickle.dumps(entry) for entry in entries]
    assert len(sent) == 3
    found = list(load([pickle.loads(sent[1])], AXES))  # noqa: S301
    assert [dict(item.at) for item in found] == [{"well": "A02", "channel": c} for c in (0, 1)]
    np.testing.assert_array_equal(found[1].value, array[1, 1])
    if store == "numpy":
        large = Source.array(np.zeros((50, 100, 100)), axes=("well", "y", "x")).entries(AXES)
        assert len(pickle.dumps(large[0])) < 2 * 100 * 100 * 8
    with pytest.raises(DataError, match="have no 'well'"):
        Source.array(whole, axes=("c", "t", "y", "x")).entries(AXES)


def test_files_by_their_names(tmp_path):
    for name in ("A01_s1_w1.tif", "A01_s2_w1.tif", "B01_s1_w2.tif", "notes.txt"):
        tifffile.imwrite(tmp_path / name, np.full((3, 4), len(name), np.uint8))
    source = Source.folder(tmp_path, "{well}_s{site}_w{channel}.tif")
    assert places(source) == [
        {"well": "A01", "site": 1, "channel": 1},
        {"well": "A01", "site": 2, "channel": 1},
        {"well": "B01", "site": 1, "channel": 2},
    ]
    with pytest.raises(DataError, match=r"fits.*there is A01_s1_w1.tif"):
        Source.folder(tmp_path, "{well}.png").entries(AXES)
    with pytest.raises(DataError, match="has plate, and the pipeline's axes are well"):
        Source.folder(tmp_path, "{well}_{plate}_w1.tif").entries(AXES)
    with pytest.raises(DataError, match=r"needs \{well\}"):
        Source.folder(tmp_path, "A01_s{site}_w{channel}.tif").entries(AXES)
    with pytest.raises(DataError, match="is no folder"):
        Source.folder(tmp_path / "x", "{well}.tif").entries(AXES)


def test_files_in_folders(tmp_path):
    (tmp_path / "A01").mkdir()
    tifffile.imwrite(tmp_path / "A01" / "z3.tif", np.zeros((3, 4), np.uint8))
    assert places(Source.folder(tmp_path, "{well}/z{z:d}.tif")) == [{"well": "A01", "z": 3}]


def test_a_file_brings_its_own_axes(tmp_path):
    path = tmp_path / "cells.ome.tif"
    stack = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    said = {"axes": "CZYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, stack, ome=True, metadata=said)
    found = items({"A01": path})
    assert [dict(i.at) for i in found] == [
        {"well": "A01", "channel": c, "z": z} for c in ("DAPI", "GFP") for z in range(3)
    ]
    np.testing.assert_array_equal(found[5].value, stack[1, 2])
    # What the pipeline has no axis for stays in the item: here it is a volume.
    volumes = items({"A01": path}, ("well", "channel"))
    assert [item.value.shape for item in volumes] == [(3, 4, 5)] * 2
    np.testing.assert_array_equal(volumes[1].value, stack[1])
    (both,) = items(str(path), ("well",))
    assert dict(both.at) == {"well": "cells"} and both.value.shape == (2, 3, 4, 5)


def test_ome_zarr_images_and_groups_of_them(tmp_path):
    planes = [np.full((4, 5), n, np.uint16) for n in range(3)]
    with Storage(tmp_path) as store:
        for well in ("A01", "A02"):
            at = [{"well": well, "z": z} for z in range(3)]
            store.save_batch(planes, [f"cells/{well}.ome.zarr"] * 3, "zarr", at=at)
    single = tmp_path / "cells" / "A01.ome.zarr"
    assert places(single) == [{"well": "A01", "z": z} for z in range(3)]
    zarr.open_group(tmp_path / "cells", mode="a")
    wells = [at["well"] for at in places(tmp_path / "cells")]
    assert wells == ["A01"] * 3 + ["A02"] * 3


def test_an_ome_zarr_plate(tmp_path):
    image = np.arange(20, dtype=np.uint16).reshape(4, 5)
    plate = zarr.open_group(tmp_path / "p.zarr", mode="w")
    wells = [{"path": "A/1"}, {"path": "B/12"}]
    plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": wells}}
    for well in wells:
        group = plate.create_group(well["path"])
        group.attrs["ome"] = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in "01":
            field_group = group.create_group(field)
            field_group.attrs["ome"] = {
                "multiscales": [
                    {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
                ]
            }
            field_group.create_array("0", data=image + int(field))
    found = items(tmp_path / "p.zarr")
    assert [dict(i.at) for i in found] == [
        {"well": well, "site": site} for well in ("A01", "B12") for site in (0, 1)
    ]
    np.testing.assert_array_equal(found[3].value, image + 1)


def test_what_needs_more_words(tmp_path):
    with pytest.raises(DataError, match=r"is a folder: use Source\.folder"):
        as_source(tmp_path)
    with pytest.raises(DataError, match=r"say what its axes are, with Source\.array"):
        as_source(np.zeros((3, 4)))
    with pytest.raises(DataError, match="a set is no source"):
        as_source({1})
