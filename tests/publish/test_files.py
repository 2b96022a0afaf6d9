from __future__ import annotations

import logging

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr

from napari_streaming.errors import DataError
from napari_streaming.publish.files import open_file


def ramp(*shape, dtype="uint16"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def read(path, **options):
    """Return the open file and its planes, by their coordinates."""
    with open_file(path, **options) as image:
        planes = {tuple(at.items()): plane.copy() for at, plane in image.planes()}
    assert len(planes) == len(image)
    assert all(p.nbytes == image.nbytes and p.dtype == image.dtype for p in planes.values())
    return image, planes


@pytest.fixture
def ome_tiff(tmp_path):
    def write(data, **metadata):
        path = tmp_path / "cells.ome.tif"
        tifffile.imwrite(path, data, metadata=metadata)
        return path

    return write


def test_ome_tiff_says_names_sizes_and_units(ome_tiff):
    data = ramp(3, 2, 4, 5)
    path = ome_tiff(
        data,
        axes="TCYX",
        Channel={"Name": ["DAPI", "0042"]},
        PhysicalSizeX=0.25,
        PhysicalSizeXUnit="nm",
        PhysicalSizeY=0.5,
    )
    image, planes = read(path)
    assert (image.name, image.axes, image.shape) == ("cells", ("t", "c"), (3, 2))
    assert (image.scale, image.units) == ((0.5, 0.25), ("µm", "nm"))
    assert (image.dtype, image.rgb, image.nbytes) == (np.uint16, False, 40)
    np.testing.assert_array_equal(planes[("t", 2), ("c", "0042")], data[2, 1])


@pytest.mark.parametrize("names", [["GFP", "GFP"], ["GFP", ""]])
def test_channels_that_names_cannot_tell_apart_are_numbered(ome_tiff, names):
    _, planes = read(ome_tiff(ramp(2, 4, 5), axes="CYX", Channel={"Name": names}))
    assert list(planes) == [(("c", 0),), (("c", 1),)]


def test_without_both_pixel_sizes_there_is_no_scale(ome_tiff):
    image, _ = read(ome_tiff(ramp(4, 5), axes="YX", PhysicalSizeX=0.25))
    assert (image.scale, image.units) == ((), ())


def test_only_the_full_resolution_of_a_pyramid_is_read(tmp_path):
    data = ramp(2, 64, 64)
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif") as file:
        file.write(data, subifds=1, tile=(32, 32), metadata={"axes": "CYX"})
        file.write(data[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    _, planes = read(tmp_path / "pyramid.ome.tif")
    np.testing.assert_array_equal(planes[(("c", 1),)], data[1])


def test_it_says_which_images_of_a_file_are_left_out(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "positions.ome.tif") as file:
        for _ in range(3):
            file.write(ramp(2, 4, 5), metadata={"axes": "ZYX"})
    with caplog.at_level(logging.WARNING):
        image, _ = read(tmp_path / "positions.ome.tif")
    assert (image.axes, image.shape) == (("z",), (2,))
    assert "only the first of its 3 images" in caplog.text


@pytest.mark.parametrize(
    ("unit", "scale", "units"),
    [
        ("um", (0.5, 0.25), ("um", "um")),
        ("\\u00B5m", (0.5, 0.25), ("µm", "µm")),
        ("pixel", (), ()),
        (None, (), ()),
    ],
)
def test_imagej_tiff_says_axes_and_pixel_size(tmp_path, unit, scale, units):
    data, path = ramp(3, 2, 4, 5), tmp_path / "stack.tif"
    metadata = {"axes": "TZYX", "spacing": 2.0} | ({"unit": unit} if unit else {})
    tifffile.imwrite(path, data, imagej=True, resolution=(4, 2), metadata=metadata)
    image, planes = read(path)
    assert (image.axes, image.scale, image.units) == (("t", "z"), scale, units)
    np.testing.assert_array_equal(planes[("t", 2), ("z", 1)], data[2, 1])


@pytest.mark.parametrize(
    ("ndim", "axes"),
    [
        (2, ()),
        (3, ("z",)),
        (4, ("c", "z")),
        (5, ("t", "c", "z")),
        (6, ("axis_0", "axis_1", "axis_2", "axis_3")),
    ],
)
def test_axes_that_a_file_does_not_name_have_default_names(tmp_path, ndim, axes):
    data = ramp(*[2] * (ndim - 2), 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    zarr.create_array(tmp_path / "a.zarr", data=data)
    for path in (tmp_path / "a.tif", tmp_path / "a.zarr"):
        image, planes = read(path)
        assert image.axes == axes
        np.testing.assert_array_equal(np.stack(list(planes.values())), data.reshape(-1, 4, 5))


def test_a_big_endian_tiff_is_read_as_it_is(tmp_path):
    data = ramp(2, 4, 5)
    path = tmp_path / "big_endian.tif"
    tifffile.imwrite(path, data, byteorder=">", compression="zlib")
    image, planes = read(path)
    assert image.dtype == np.dtype("uint16")
    np.testing.assert_array_equal(planes[(("z", 1),)], data[1])


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_is_colour_however_it_is_stored(tmp_path, planar):
    data = ramp(4, 5, 3, dtype="uint8")
    stored = data if planar == "contig" else data.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planar)
    image, planes = read(tmp_path / "rgb.tif")
    assert (image.rgb, image.axes, image.nbytes) == (True, (), 60)
    np.testing.assert_array_equal(planes[()], data)


def test_a_plane_that_is_missing_its_end_says_so(tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, ramp(2, 64, 64), compression="zlib")
    path.write_bytes(path.read_bytes()[:-100])
    with open_file(path) as image, pytest.raises(DataError, match=r"cut\.tif cannot be read"):
        list(image.planes())


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    "how",
    [
        {"ome": True},
        {"imagej": True},
        {"bigtiff": True, "metadata": None},
        {"compression": "zlib", "tile": (16, 16)},
        {"byteorder": ">"},
    ],
)
def test_a_tiff_that_was_cut_is_not_taken_for_a_shorter_one(tmp_path, caplog, how, kept):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, ramp(3, 64, 64), photometric="minisblack", **how)
    whole = path.read_bytes()
    assert len(read(path)[1]) == 3
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"cut\.tif.* is incomplete or damaged"):
        read(path)
    assert not caplog.records  # said once


def test_a_compression_that_needs_a_package_names_it(tmp_path):
    if tifffile.COMPRESSION.LZW in tifffile.TIFF.DECOMPRESSORS:
        pytest.skip("imagecodecs is installed")
    tifffile.imwrite(tmp_path / "a.tif", ramp(8, 8))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(int(tifffile.COMPRESSION.LZW))
    with pytest.raises(DataError, match=r"compressed with LZW, .*pip install imagecodecs"):
        open_file(tmp_path / "a.tif")


# ---- zarr --------------------------------------------------------------------------------


def multiscales(scale=(1, 1, 0.5, 0.25)):
    return [
        {
            "axes": [
                {"name": "t", "type": "time"},
                {"name": "ch", "type": "channel"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x", "type": "space", "unit": "micrometer"},
            ],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": scale},
                        {"type": "translation", "translation": (0, 0, 1, 1)},
                    ],
                },
                {"path": "1"},
            ],
            "coordinateTransformations": [{"type": "scale", "scale": (0.1, 1, 2, 2)}],
        }
    ]


OMERO = {"channels": [{"label": "DAPI", "color": "0000FF"}, {"label": "GFP", "active": True}]}


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
def test_ome_zarr_says_everything_of_its_full_resolution(tmp_path, version, zarr_format):
    said = {"multiscales": multiscales(), "omero": OMERO}
    group = zarr.create_group(
        tmp_path / "plate.ome.zarr",
        zarr_format=zarr_format,
        attributes={"ome": {"version": version, **said}} if version == "0.5" else said,
    )
    data = ramp(3, 2, 4, 6)
    group.create_array("0", data=data, chunks=(1, 1, 2, 3))
    group.create_array("1", data=data[..., ::2, ::2])
    image, planes = read(tmp_path / "plate.ome.zarr")
    assert (image.name, image.axes, image.shape) == ("plate", ("t", "ch"), (3, 2))
    assert (image.scale, image.units) == ((1.0, 0.5), ("micrometer", "micrometer"))
    np.testing.assert_array_equal(planes[("t", 2), ("ch", "GFP")], data[2, 1])


def test_dimension_names_of_a_plain_zarr_are_used(tmp_path):
    data = ramp(4, 5, 2)
    zarr.create_array(tmp_path / "a.zarr", data=data, dimension_names=("y", "x", "well"))
    _, planes = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(planes[(("well", 1),)], data[..., 1])


def test_only_the_planes_that_are_asked_for_are_read(tmp_path):
    shape, chunks = (1_000_000, 1000, 1000), (1, 1000, 1000)
    zarr.create_array(tmp_path / "terabyte.zarr", shape=shape, chunks=chunks, dtype="uint8")
    with open_file(tmp_path / "terabyte.zarr") as image:
        assert (len(image), image.nbytes) == (1_000_000, 1_000_000)
        at, plane = next(image.planes())
    assert (at, plane.shape) == ({"z": 0}, (1000, 1000))


def test_the_caller_knows_the_axes_better(tmp_path):
    data = ramp(2, 5, 4, 3)
    zarr.create_array(tmp_path / "a.zarr", data=data)
    image, planes = read(tmp_path / "a.zarr", axes=["well", "x", "y", "s"])
    assert image.rgb
    np.testing.assert_array_equal(planes[(("well", 1),)], data[1].transpose(1, 0, 2))


@pytest.mark.parametrize("axes", ["tx", "tcyx", "yyx", "tcx"])
def test_axes_that_do_not_fit_are_refused(tmp_path, axes):
    zarr.create_array(tmp_path / "a.zarr", data=ramp(2, 4, 5))
    with pytest.raises(DataError, match=r"do not fit an array of shape \(2, 4, 5\)"):
        open_file(tmp_path / "a.zarr", axes=axes)


def test_a_zarr_group_that_is_no_image_says_what_is_in_it(tmp_path):
    group = zarr.create_group(tmp_path / "plate.zarr")
    with pytest.raises(DataError, match="no OME-Zarr image and empty"):
        open_file(tmp_path / "plate.zarr")
    group.create_array("A01", data=ramp(4, 5))
    with pytest.raises(DataError, match=r"name an image in it, like .*plate\.zarr/A01"):
        open_file(tmp_path / "plate.zarr")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ([{"datasets": []}], "damaged"),
        ([{"datasets": [{"path": 0}]}], "damaged"),
        ("none", "damaged"),
        (multiscales(), "no array '0'"),
    ],
)
def test_damaged_ome_zarr_metadata_is_refused(tmp_path, said, hint):
    zarr.create_group(tmp_path / "a.zarr", attributes={"ome": {"multiscales": said}})
    with pytest.raises(DataError, match=hint):
        open_file(tmp_path / "a.zarr")


# ---- pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "is_rgb", "axes"),
    [
        ((4, 5), "uint8", False, ()),
        ((4, 5), "uint16", False, ()),
        ((4, 5, 3), "uint8", True, ()),
        ((4, 5, 4), "uint8", True, ()),
        ((4, 5, 2), "uint8", False, ("s",)),
    ],
)
def test_png_of_any_kind(tmp_path, shape, dtype, is_rgb, axes):
    data = ramp(*shape, dtype=dtype)
    iio.imwrite(tmp_path / "a.png", data)
    image, planes = read(tmp_path / "a.png")
    assert (image.name, image.rgb, image.axes) == ("a", is_rgb, axes)
    expected = [data] if not axes else [data[..., 0], data[..., 1]]
    np.testing.assert_array_equal(list(planes.values()), expected)


def test_the_frames_of_a_film_are_times(tmp_path):
    data = np.zeros((3, 40, 50, 3), "uint8")
    data[1], data[2] = 100, 255
    iio.imwrite(tmp_path / "film.gif", data)
    image, planes = read(tmp_path / "film.gif")
    assert (image.axes, image.rgb) == (("t",), True)
    assert [plane.max() for plane in planes.values()] == [0, 100, 255]


# ---- errors ------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nope\.tif: there is no such file"):
        open_file(tmp_path / "nope.tif")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="is a folder, and no zarr"):
        open_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.czi", b"ZISRAWFILE" + bytes(100)), ("a.txt", b"hello"), ("empty.png", b"")],
)
def test_a_format_that_cannot_be_read_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is no image that can be read: TIFF, .*OME-TIFF"):
        open_file(tmp_path / name)


@pytest.mark.parametrize("content", [b"II*\0", b"II*\0" + bytes(100), b"MM\0*\xff\xff\xff\xff"])
def test_a_damaged_tiff_is_refused(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif"):
        open_file(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(0, 4, 5), (4, 0)])
def test_an_array_without_pixels_is_refused(tmp_path, shape):
    zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=(1,) * len(shape), dtype="uint8")
    with pytest.raises(DataError, match="has no pixels"):
        open_file(tmp_path / "a.zarr")


def test_a_line_is_no_image(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=ramp(5))
    with pytest.raises(DataError, match=r"shape \(5,\)"):
        open_file(tmp_path / "a.zarr")
