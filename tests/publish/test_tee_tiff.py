from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

STACK = np.random.default_rng(0).integers(0, 999, (3, 4, 20, 30), dtype="u2")
GRAY = {"photometric": "minisblack"}


@pytest.fixture
def pair(receiver, publisher):
    return receiver(), publisher()


def pages(path):
    with tifffile.TiffFile(path) as tif:
        return len(tif.pages)


def plane_at(layer, **at):
    index = (
        layer.coordinates[axis].index(at[axis]) if axis in at else 0 for axis in layer.stack_axes
    )
    return np.asarray(layer.data[tuple(index)])


def test_a_stack_with_what_ome_metadata_says(pair, tmp_path):
    rec, pub = pair
    path = tmp_path / "exp.ome.tif"
    with pub.tee(tifffile.TiffWriter(path), at={"well": "A01"}) as tif:
        tif.write(
            STACK,
            metadata={
                "axes": "TCYX",
                "Channel": {"Name": ["a", "b", "c", "d"]},
                "PhysicalSizeX": 0.25,
                "PhysicalSizeY": 0.5,
                "PhysicalSizeXUnit": "mm",
            },
        )
        assert pub.flush(10)
    np.testing.assert_array_equal(tifffile.imread(path), STACK)
    layer = rec.layers["exp"]
    assert layer.coordinates == {"well": ["A01"], "t": [0, 1, 2], "c": ["a", "b", "c", "d"]}
    assert layer.declare.scale == (0.5, 0.25) and layer.declare.units == ("µm", "mm")
    for t, c in np.ndindex(3, 4):
        np.testing.assert_array_equal(plane_at(layer, t=t, c="abcd"[c]), STACK[t, c])


@pytest.mark.parametrize("contiguous", [True, False])
def test_pages_that_are_written_one_by_one_are_counted(pair, tmp_path, contiguous):
    rec, pub = pair
    path = tmp_path / "pages.tif"
    with pub.tee(tifffile.TiffWriter(path)) as tif:
        for page in STACK[:, 0]:
            tif.write(page, contiguous=contiguous)
    assert pub.flush(10)
    assert rec.layers["pages"].coordinates == {"page": [0, 1, 2]}
    np.testing.assert_array_equal(np.asarray(rec.layers["pages"].data), STACK[:, 0])
    assert pages(path) == 3


def test_stacks_that_are_written_one_by_one(pair, tmp_path):
    rec, pub = pair
    with pub.tee(tifffile.TiffWriter(tmp_path / "a.tif")) as tif:
        for stack in STACK:
            tif.write(stack, contiguous=True, **GRAY, metadata={"axes": "ZYX"})
    with pub.tee(tifffile.TiffWriter(tmp_path / "b.ome.tif")) as tif:
        tif.write(STACK, **GRAY)
        tif.write(STACK[0, :2], **GRAY, metadata={"axes": "CYX"})
    assert pub.flush(10)
    assert rec.layers["a"].coordinates.keys() >= {"page", "z"}
    for page, z in np.ndindex(3, 4):
        np.testing.assert_array_equal(plane_at(rec.layers["a"], page=page, z=z), STACK[page, z])
        # OME's own order of axes is z, c.
        np.testing.assert_array_equal(plane_at(rec.layers["b"], z=page, c=z), STACK[page, z])
    np.testing.assert_array_equal(plane_at(rec.layers["b/1"], c=1), STACK[0, 1])


def test_of_a_pyramid_the_full_resolution(pair, tmp_path):
    rec, pub = pair
    with pub.tee(tifffile.TiffWriter(tmp_path / "p.tif")) as tif:
        tif.write(STACK[0, 0], subifds=2)
        tif.write(STACK[0, 0, ::2, ::2], subfiletype=1)
        tif.write(STACK[0, 0, ::4, ::4])
        tif.write(STACK[0, 1])
        tif.write(STACK[0, 1, ::2, ::2], subfiletype=1)
    assert pub.flush(10)
    assert list(rec.layers) == ["p"]
    np.testing.assert_array_equal(np.asarray(rec.layers["p"].data), STACK[0, :2])


def test_colour(pair, tmp_path):
    rec, pub = pair
    picture = STACK[..., :3].transpose(0, 2, 3, 1)[0, :, :, :3].copy()  # y, x, s
    picture = np.ascontiguousarray(np.broadcast_to(picture, (20, 3, 3)))
    with pub.tee(tifffile.TiffWriter(tmp_path / "last.tif")) as tif:
        tif.write(picture, photometric="rgb")
    with pub.tee(tifffile.TiffWriter(tmp_path / "first.tif")) as tif:
        tif.write(np.moveaxis(picture, -1, 0).copy(), photometric="rgb", planarconfig="separate")
    with pub.tee(tifffile.TiffWriter(tmp_path / "said.ome.tif")) as tif:
        tif.write(STACK[:, :3].copy(), photometric="rgb", metadata={"axes": "TSYX"})
    assert pub.flush(10)
    for name in ("last", "first"):
        assert rec.layers[name].declare.rgb
        np.testing.assert_array_equal(plane_at(rec.layers[name], page=0), picture)
    np.testing.assert_array_equal(
        plane_at(rec.layers["said"], t=1), np.moveaxis(STACK[1, :3], 0, -1)
    )


def test_what_cannot_be_streamed_is_written_and_said_once(pair, tmp_path, caplog):
    _, pub = pair
    with pub.tee(tifffile.TiffWriter(tmp_path / "odd.tif")) as tif:
        tif.write(STACK[0, 0].astype("c8"))
        tif.write(STACK[0, 0].astype("c8"))
        tif.write(iter(STACK[0]), shape=(4, 20, 30), dtype="u2", **GRAY)
        tif.write(shape=(20, 30), dtype="u1")
    assert pages(tmp_path / "odd.tif") == 7
    assert pub.stats().published == 0
    assert [("complex64" in r.message, "computed" in r.message) for r in caplog.records] == [
        (True, False),
        (False, True),
    ]


def test_a_write_that_raises_streams_nothing(pair, tmp_path):
    _, pub = pair
    with pub.tee(tifffile.TiffWriter(tmp_path / "a.tif")) as tif:
        with pytest.raises(ValueError):
            tif.write(STACK, compression="none such")
        assert pub.stats().published == 0
        tif.write(STACK[0, 0])
        assert pub.stats().published == 1


def test_the_rest_of_a_writer_is_there(pair):
    _, pub = pair
    file = io.BytesIO()
    tif = pub.tee(tifffile.TiffWriter(file), name="bytes")
    offset = tif.write(STACK[0, 0], returnoffset=True)
    tif.overwrite_description("changed")
    assert tif.filehandle.tell() > offset[1]
    tif.close()
    assert file.getvalue().count(b"changed") == 1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=hnp.arrays(
        st.sampled_from(["u1", ">u2", "i4", "f4"]),
        hnp.array_shapes(min_dims=2, max_dims=5, min_side=2, max_side=4),
        elements=st.integers(0, 100),
    ),
    number=st.integers(0, 10**9),
)
def test_what_is_streamed_is_what_is_read_from_the_file(pair, data, number):
    rec, pub = pair
    name, file = f"layer {number} {data.shape} {data.dtype.str}", io.BytesIO()
    axes = "vuwyx"[-data.ndim :]
    with pub.tee(tifffile.TiffWriter(file), name=name, axes=axes) as tif:
        tif.write(data, photometric="minisblack", metadata={"axes": axes.upper()})
        read = tifffile.imread(io.BytesIO(file.getvalue()))
    assert pub.flush(10)
    layer = rec.layers[name]
    for position in np.ndindex(data.shape[:-2]):
        at = dict(zip(axes, position, strict=False))
        np.testing.assert_array_equal(plane_at(layer, **at, page=0), read[position])
