from __future__ import annotations

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_streaming.errors import StorageError
from napari_streaming.pipeline import About, Points, Storage
from napari_streaming.publish.files import open_file

IMAGES = {"memory": "w/A01", "disk": "w/A01.ome.tif", "zarr": "w/A01.ome.zarr"}
KEEPERS = tuple(IMAGES)
FILES = ("disk", "zarr")


@pytest.fixture
def store(tmp_path):
    with Storage(tmp_path / "out") as store:
        yield store


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One for all examples of a property: what a path held is replaced each time."""
    with Storage(tmp_path_factory.mktemp("out")) as store:
        yield store


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(
            one, other, equal_nan=one.dtype.kind in "fc"
        )
    return one == other or (one != one and other != other)


# ---- what was saved comes back ------------------------------------------------------------

DTYPES = st.sampled_from(
    ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
).map(np.dtype)
AXES = st.sampled_from(["yx", "xy", "zyx", "cyx", "yxz", "czyx", "tyx", "tczyx"])
SIDE = st.integers(1, 4)


@st.composite
def batches(draw):
    """Arrays of one file: of any axes, in any order, not all places taken."""
    dtype = draw(DTYPES)
    own = draw(AXES)
    left = [axis for axis in "tcz" if axis not in own]
    lead = draw(st.lists(st.sampled_from(left), unique=True)) if left else []
    shape = tuple(draw(SIDE) for _ in own)
    if draw(st.booleans()) and dtype == np.uint8 and "c" not in own and "c" not in lead:
        shape += (draw(st.sampled_from([3, 4])),)
    names = {"t": "time", "c": "channel", "z": "z"}
    ways = {"t": [5, 1], "c": ["GFP", "DAPI"], "z": [0.5, -1.0, 2.0]}
    places = list(product(*(ways[axis] for axis in lead)))
    places = draw(st.permutations(places))[: draw(st.integers(1, len(places)))]
    at = [{"well": "A01"} | dict(zip(map(names.get, lead), p, strict=True)) for p in places]
    # OME-TIFF has no integers of 64 bits: larger ones are refused, see below.
    largest = {"bounds": (0, 2**31 - 1)} if dtype.itemsize == 8 and dtype.kind in "iu" else None
    elements = st.integers(*largest["bounds"]) if largest else None
    arrays = [draw(hnp.arrays(dtype, shape, elements=elements)) for _ in places]
    return arrays, at, About(axes=tuple(own))


@pytest.mark.parametrize("backend", KEEPERS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(batch=batches(), endian=st.sampled_from("<>"), in_c_order=st.booleans())
def test_arrays_come_back_as_they_were(stores, backend, batch, endian, in_c_order):
    arrays, at, about = batch
    given = [
        np.asarray(a.astype(a.dtype.newbyteorder(endian)), order="CF"[in_c_order]) for a in arrays
    ]
    path = IMAGES[backend]
    stores.save_batch(given, [path] * len(arrays), backend, at=at, about=about)
    assert stores.exists(path, backend)
    back = stores.load_batch([path] * len(arrays), backend)
    assert len(back) == len(arrays) and all(map(same, back, arrays))


TEXT = st.text(st.characters(exclude_characters="\0"), max_size=5)
COLUMNS = st.sampled_from(
    [
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.booleans(),
        TEXT,
        st.sampled_from(["1", "nan", "True", "", "a,b", 'a"b', "a\r\nb", "\r"]),
    ]
)


@st.composite
def sets_of_points(draw):
    count = draw(st.integers(1, 3))
    axes = draw(st.integers(1, 3))
    columns = draw(st.dictionaries(st.text(max_size=3), COLUMNS, max_size=3))
    sets = []
    for _ in range(count):
        n = draw(st.integers(0, 3))
        rows = np.array(draw(st.lists(st.floats(), min_size=n * axes, max_size=n * axes)))
        features = {
            name: np.array(draw(st.lists(values, min_size=n, max_size=n)))
            for name, values in columns.items()
        }
        sets.append(Points(rows.reshape(n, axes), features))
    return sets


def well_kept(points):
    """What CSV keeps of points: of a column without values not what it would hold."""
    return (
        points
        if len(points)
        else Points(points.coordinates, {name: np.empty(0) for name in points.features})
    )


@pytest.mark.parametrize("backend", KEEPERS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(sets=sets_of_points(), named=st.booleans())
def test_points_come_back_as_they_were(stores, backend, sets, named):
    at = [{"well": 'A"01', "t": t} for t in range(len(sets))]
    at = at if named or len(sets) > 1 else []
    stores.save_batch(sets, ["p.csv"] * len(sets), backend, at=at)
    back = stores.load_batch(["p.csv"] * len(sets), backend)
    assert back == (sets if backend == "memory" else [well_kept(one) for one in sets])


@pytest.mark.parametrize("backend", KEEPERS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(values=st.lists(st.integers() | st.floats(), min_size=1, max_size=4))
def test_numbers_come_back_as_they_were(stores, backend, values):
    at = [{"well": "A01", "t": t} for t in reversed(range(len(values)))]
    stores.save_batch(values, ["n.csv"] * len(values), backend, at=at)
    assert all(map(same, stores.load_batch(["n.csv"] * len(values), backend), values))


@pytest.mark.parametrize("backend", KEEPERS)
def test_a_path_named_once_gives_all_of_its_arrays_as_one(store, backend):
    path = IMAGES[backend]
    planes = [np.full((2, 3), n, np.uint8) for n in range(4)]
    at = [{"c": c, "t": t} for c in ("x", "a") for t in (2, 1)]
    store.save_batch(planes, [path] * 4, backend, at=at)
    (whole,) = store.load_batch([path], backend)
    assert whole.dtype == np.uint8 and whole[:, :, 0, 0].tolist() == [[1, 3], [0, 2]]
    with pytest.raises(StorageError, match="holds 4 values, and was named 3 times"):
        store.load_batch([path] * 3, backend)


@pytest.mark.parametrize("backend", KEEPERS)
def test_paths_come_back_in_the_order_in_which_they_are_named(store, backend):
    names = [f"{n}{IMAGES[backend].partition('A01')[2]}" for n in "aba"]
    planes = [np.full((2, 2), n, np.int16) for n in range(3)]
    store.save_batch(planes, names, backend, at=[{"t": t} for t in (0, 0, 1)])
    back = store.load_batch(names, backend)
    assert [int(plane[0, 0]) for plane in back] == [0, 1, 2]


def test_memory_keeps_what_was_saved_and_not_what_becomes_of_it(store):
    plane = np.zeros((2, 2))
    store.save_batch([plane], ["a"], "memory")
    plane[:] = 1
    (back,) = store.load_batch(["a"], "memory")
    assert not back.any() and not back.flags.writeable


# ---- what the files say -------------------------------------------------------------------


def save_well(store, backend, **about):
    planes = [np.full((6, 5), 10 * t + c, np.uint16) for t in range(2) for c in range(3)]
    at = [{"well": "A01", "t": t, "channel": c} for t in range(2) for c in ("DAPI", "GFP", "Cy5")]
    path = IMAGES[backend]
    store.save_batch(planes, [path] * 6, backend, at=at, about=About(**about))
    return planes, path


@pytest.mark.parametrize(("backend", "unit"), [("disk", "µm"), ("zarr", "micrometer")])
def test_axes_scale_units_and_channels_come_back(store, tmp_path, backend, unit):
    planes, path = save_well(store, backend, scale=(0.5, 0.25), units="um", name="cells")
    with open_file(tmp_path / "out" / path) as file:
        assert (file.axes, file.shape, file.dtype) == (("t", "c"), (2, 3), np.uint16)
        assert file.scale == (0.5, 0.25) and file.units == (unit, unit)
        read = list(file.planes())
    assert [at for at, _ in read] == [
        {"t": t, "c": c} for t in range(2) for c in ("DAPI", "GFP", "Cy5")
    ]
    assert all(np.array_equal(a, b) for (_, a), b in zip(read, planes, strict=True))


def test_ome_tiff_is_valid_and_says_all(store, tmp_path):
    volume = np.zeros((2, 4, 5), np.float32)
    about = About(scale=(2, 0.5, 0.25), units=("um", "nm", "micron"), name="Zellen <&>")
    store.save_batch([volume], ["v.ome.tif"], "disk", at=[{"channel": "DAPI"}], about=about)
    with tifffile.TiffFile(tmp_path / "out/v.ome.tif") as file:
        xml = file.ome_metadata
        assert file.series[0].axes == "ZYX"
    pixels = tifffile.xml2dict(xml)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeZ"], pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == (
        2,
        0.5,
        0.25,
    )
    units = [pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"]
    assert units == ["µm", "nm", "µm"]
    assert pixels["Channel"]["Name"] == "DAPI" and "Zellen &lt;&amp;&gt;" in xml


def test_the_step_along_z_of_planes_is_one_number_more(store, tmp_path):
    for backend, path in (("disk", "z.ome.tif"), ("zarr", "z.ome.zarr")):
        store.save_batch(
            [np.zeros((2, 2), np.uint8)] * 3, [path] * 3, backend,
            at=[{"z": z} for z in range(3)], about=About(scale=(3, 0.5, 0.5), units="um"),
        )  # fmt: skip
    pixels = tifffile.xml2dict(tifffile.tiffcomment(tmp_path / "out/z.ome.tif"))["OME"]["Image"][
        "Pixels"
    ]
    assert pixels["PhysicalSizeZ"] == 3 and pixels["PhysicalSizeX"] == 0.5
    image = yaozarrs.open_group(tmp_path / "out/z.ome.zarr").ome_metadata().multiscales[0]
    assert image.datasets[0].coordinateTransformations[0].scale == [3, 0.5, 0.5]
    assert [axis.unit for axis in image.axes] == ["micrometer"] * 3


def test_ome_zarr_is_valid_05_of_images_labels_and_colour(store, tmp_path):
    _, path = save_well(store, "zarr", contrast_limits=(3, 7), colormap="green", name="cells")
    image = yaozarrs.validate_zarr_store(tmp_path / "out" / path).ome_metadata()
    assert image.version == "0.5" and image.multiscales[0].name == "cells"
    assert [c.label for c in image.omero.channels] == ["DAPI", "GFP", "Cy5"]
    assert {(c.window.start, c.window.end, c.color) for c in image.omero.channels} == {
        (3, 7, "00FF00")
    }
    mask = np.arange(12).reshape(3, 4) > 5
    store.save_batch([mask], ["m.ome.zarr"], "zarr", about=About(kind="labels"))
    labels = yaozarrs.validate_zarr_store(tmp_path / "out/m.ome.zarr").ome_metadata()
    assert isinstance(labels, yaozarrs.v05.LabelImage)
    assert zarr.open_array(tmp_path / "out/m.ome.zarr/0").dtype == np.uint8
    colour = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    store.save_batch([colour], ["r.ome.zarr"], "zarr")
    picture = yaozarrs.validate_zarr_store(tmp_path / "out/r.ome.zarr").ome_metadata()
    assert [axis.name for axis in picture.multiscales[0].axes] == ["c", "y", "x"]
    assert [c.color for c in picture.omero.channels] == ["FF0000", "00FF00", "0000FF"]


def test_large_planes_are_chunks_in_few_files(store, tmp_path):
    planes = [np.zeros((1500, 1100), np.uint8)] * 4
    store.save_batch(planes, ["a.zarr"] * 4, "zarr", at=[{"z": z} for z in range(4)])
    array = zarr.open_array(tmp_path / "out/a.zarr/0")
    assert array.chunks == (1, 1024, 1024) and array.shards == (4, 2048, 2048)


def test_points_are_a_table_that_napari_and_pandas_read(store, tmp_path):
    pandas = pytest.importorskip("pandas")
    points = Points([[1, 2.5], [3, 4]], {"area": [7, 8], "name": ["1", 'a"b,c']})
    none = Points(np.empty((0, 2)), {"area": [], "name": []})
    at = [{"well": "A01", "t": 0}, {"well": "A01", "t": 1}]
    store.save_batch([points, none], ["p.csv"] * 2, "disk", at=at)
    table = pandas.read_csv(tmp_path / "out/p.csv")
    assert list(table) == ["well", "t", "index", "axis-0", "axis-1", "area", "name"]
    found = table.dropna(subset=["index"])
    assert found["area"].tolist() == [7, 8] and found["axis-1"].tolist() == [2.5, 4]
    assert len(table) == 3 and table["t"].tolist() == [0, 0, 1]
    builtins = pytest.importorskip("napari_builtins.io")
    store.save_batch([Points([[1, 2.5]])], ["q.csv"], "disk")
    data, _, kind = builtins.csv_to_layer_data(str(tmp_path / "out/q.csv"))
    assert kind == "points" and data.tolist() == [[1, 2.5]]


def test_files_that_others_wrote(store, tmp_path):
    (tmp_path / "out").mkdir()
    data = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    tifffile.imwrite(tmp_path / "out/a.tif", data)
    zarr.save_array(tmp_path / "out/a.zarr", data)
    zarr.save_group(tmp_path / "out/group.zarr", data)
    assert same(store.load_batch(["a.tif"], "disk")[0], data)
    assert same(store.load_batch(["a.zarr"], "zarr")[0], data)
    with pytest.raises(StorageError, match="damaged or no OME-Zarr"):
        store.load_batch(["group.zarr"], "zarr")


# ---- what cannot be -----------------------------------------------------------------------

PLANE = np.zeros((2, 2), np.uint8)
OTHER = np.zeros((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("values", "paths", "backend", "at", "about", "says"),
    [
        ([PLANE], ["../a.ome.tif"], "disk", [], {}, "leads out of"),
        ([PLANE], ["/a.ome.tif"], "disk", [], {}, "leads out of"),
        ([PLANE], ["a/../../a.ome.tif"], "memory", [], {}, "leads out of"),
        ([PLANE], ["link/a.ome.tif"], "zarr", [], {}, "leads out of"),
        ([PLANE], [""], "disk", [], {}, "is no path"),
        ([PLANE], ["."], "disk", [], {}, "is no path"),
        ([PLANE], ["a\0.tif"], "disk", [], {}, "is no path"),
        ([PLANE], ["a\\b.tif"], "disk", [], {}, "is no path"),
        ([PLANE], ["a.ome.zarr"], "disk", [], {}, "end the path in .ome.tif"),
        ([PLANE], ["a.ome.tif"], "zarr", [], {}, "end the path in .ome.zarr"),
        ([1.5], ["a.ome.tif"], "disk", [], {}, "end the path in .csv"),
        ([Points([[1, 2]])], ["a.zarr"], "zarr", [], {}, "end the path in .csv"),
        ([PLANE, OTHER], ["a.tif"] * 2, "disk", [{"t": 0}, {"t": 1}], {}, "arrays differ: (2, 2)"),
        ([PLANE, OTHER], ["a"] * 2, "memory", [{"t": 0}, {"t": 1}], {}, "arrays differ: (2, 2)"),
        ([PLANE, PLANE.astype(int)], ["a.tif"] * 2, "disk", [{"t": 0}, {"t": 1}], {}, "differ"),
        ([PLANE, PLANE], ["a.tif"] * 2, "disk", [], {}, "do not tell them apart"),
        ([PLANE, PLANE], ["a"] * 2, "memory", [{"t": 0}] * 2, {}, "do not tell them apart"),
        ([1.5, 2.5], ["a.csv"] * 2, "disk", [{"t": 0}] * 2, {}, "do not tell them apart"),
        ([PLANE, PLANE], ["a.tif"] * 2, "disk", [{"site": 0}, {"site": 1}], {}, "A01_site0"),
        ([PLANE, PLANE], ["a.tif"] * 2, "disk", [{"t": 0}, {"z": 1}], {}, "the same coordinates"),
        ([PLANE, 1.5], ["a.tif"] * 2, "disk", [{"t": 0}, {"t": 1}], {}, "image and metric"),
        ([PLANE[None]] * 2, ["a.tif"] * 2, "disk", [{"z": 0}, {"z": 1}], {}, "axis z of their own"),
        ([PLANE[0]], ["a.tif"], "disk", [], {}, "y and x always"),
        ([PLANE], ["a.zarr"], "zarr", [], {"axes": ("y", "angle")}, "y and x always"),
        ([PLANE], ["a.zarr"], "zarr", [], {"axes": ("z", "y", "x")}, "each once at most"),
        ([PLANE[:0]], ["a.tif"], "disk", [], {}, "has no pixels"),
        ([PLANE.astype(object)], ["a.zarr"], "zarr", [], {}, "an array of object"),
        ([PLANE.astype(float)], ["a.tif"], "disk", [], {"kind": "labels"}, "labels are integers"),
        ([PLANE], ["a.tif"], "disk", [], {"kind": "points"}, "points are expected"),
        ([PLANE], ["a.tif"], "disk", [], {"scale": (1, 1), "units": "miles"}, "a file knows"),
        ([PLANE], ["a.tif"], "disk", [], {"scale": (1,) * 4}, "4 values for 2 axes; give 2, or 3"),
        ([PLANE], ["a.zarr"], "zarr", [], {"units": ["um"] * 4}, "'um'): 4 values for 2 axes"),
        ([Points([[1, 2]])], ["a.csv"], "disk", [], {"scale": (1,) * 4}, "for 2 coordinates"),
        ([PLANE.astype(int) + 2**40], ["a.tif"], "disk", [], {}, "use the zarr backend"),
        ([Points([[1, 2]])] * 2, ["a.csv"] * 2, "disk", [{"q": 0}, {"q": 1}], {}, "into the path"),
        ([Points([[1]], {"index": [1]})], ["a.csv"], "disk", [], {}, "'index' is the name"),
        (
            [Points([[1, 2]]), Points([[1]])], ["a.csv"] * 2, "disk", [{"t": 0}, {"t": 1}], {},
            "sets of points differ",
        ),
        (["text"], ["a.csv"], "disk", [], {}, "use an array, Points or a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_named_and_leaves_nothing(
    store, tmp_path, values, paths, backend, at, about, says
):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError) as raised:
        store.save_batch(values, paths, backend, at=at, about=About(**about))
    assert says in str(raised.value) and str(raised.value).startswith(f"{paths[0]} ({backend}): ")
    left = [p for p in tmp_path.rglob("*") if p.name not in ("out", "elsewhere", "link")]
    assert left == []


@pytest.mark.parametrize(
    ("paths", "backend", "at", "says"),
    [
        (
            ["a.ome.tif"],
            "tape",
            [],
            "no backend 'tape'; use one of memory, disk, zarr, napari_stream",
        ),
        ([], "disk", [], "disk: 1 array, 0 paths and 0 coordinates; give one path for each array"),
        (["a.ome.tif"], "disk", [{}, {}], "coordinates for each or for none"),
    ],
)
def test_calls_that_do_not_fit_together(store, paths, backend, at, says):
    with pytest.raises(StorageError, match=says):
        store.save_batch([PLANE], paths, backend, at=at)


def test_nothing_is_saved_of_a_call_that_is_wrong_in_one_place(store):
    with pytest.raises(StorageError, match=r"\.\./b"):
        store.save_batch([PLANE, PLANE], ["a.tif", "../b.tif"], "disk")
    assert not store.exists("a.tif", "disk")


def test_what_cannot_be_loaded(store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/bad.tif").write_bytes(b"II*\0" + bytes(40))
    (tmp_path / "out/no.tif").write_text("hello")
    (tmp_path / "out/bad.zarr").mkdir()
    (tmp_path / "out/bad.zarr/zarr.json").write_text("{")
    (tmp_path / "out/no.csv").write_text("y,x\n1,2\n")
    (tmp_path / "out/empty.csv").write_text("")
    for path, backend, says in [
        ("a", "memory", "nothing was saved there"),
        ("a.tif", "disk", "there is nothing"),
        ("a.zarr", "zarr", "there is nothing"),
        ("bad.tif", "disk", "damaged or no TIFF"),
        ("no.tif", "disk", "damaged or no TIFF"),
        ("bad.zarr", "zarr", "damaged or no OME-Zarr"),
        ("no.csv", "disk", "its columns are y, x"),
        ("empty.csv", "disk", "no table of points"),
        ("../a.tif", "disk", "leads out of"),
    ]:
        with pytest.raises(StorageError) as raised:
            store.load_batch([path], backend)
        assert says in str(raised.value) and f"{path} ({backend})" in str(raised.value)


def test_a_storage_costs_no_import_that_it_does_not_need():
    code = (
        "import sys, napari_streaming.pipeline\n"
        "assert not {'tifffile', 'zarr', 'yaozarrs', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
