from __future__ import annotations

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_streaming.errors import DataError

NUMBERS = itertools.count()
RANDOM = np.random.default_rng(0)
STACK = RANDOM.integers(0, 999, (3, 4, 20, 30), dtype="u2")


@pytest.fixture
def pair(receiver, publisher):
    return receiver(), publisher()


def plane_at(layer, at):
    """Return the plane at coordinates; zeros, like a zarr array's, where none came."""
    if any(value not in layer.coordinates[axis] for axis, value in at.items()):
        return np.zeros(layer.data.shape[len(layer.stack_axes) :], layer.data.dtype)
    index = (
        layer.coordinates[axis].index(at[axis]) if axis in at else 0 for axis in layer.stack_axes
    )
    return np.asarray(layer.data[tuple(index)])


def assert_same(layer, array, lead=("t", "c", "z"), labels=None):
    """Compare a layer with an array whose last axes are y and x."""
    names = lead[-(array.ndim - 2) :] if array.ndim > 2 else ()
    for position in np.ndindex(array.shape[:-2]):
        at = dict(zip(names, position, strict=True))
        at |= {axis: values[at[axis]] for axis, values in (labels or {}).items()}
        np.testing.assert_array_equal(plane_at(layer, at), array[position], str(at))


def memory_array(data_or_shape=STACK.shape, dtype="u2", chunks=None, **how):
    shape = tuple(data_or_shape)
    chunks = chunks or (1,) * (len(shape) - 2) + (8, 16)
    return zarr.create_array({}, shape=shape, dtype=dtype, chunks=chunks, **how)


# ---- random writes: what the receiver shows is what the array holds ---------------------


@st.composite
def arrays(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=5, min_side=1, max_side=5))
    shape = (*shape[:-2], draw(st.integers(1, 9)), draw(st.integers(5, 9)))
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    dtype = draw(st.sampled_from(["u1", "u2", ">u2", "i4", "f4", ">f8", "?"]))
    return zarr.create_array({}, shape=shape, chunks=chunks, dtype=dtype)


def slices(length):
    return st.tuples(*[st.integers(-length - 1, length + 1) | st.none()] * 2).flatmap(
        lambda ends: st.sampled_from([slice(*ends), slice(*ends, 2), slice(*ends, 3)])
    )


def numbers(length):
    return st.integers(-length, length - 1)


@st.composite
def basic(draw, array):
    chosen = [draw(numbers(n) | slices(n)) for n in array.shape]
    first, last = sorted(draw(st.tuples(*[st.integers(0, array.ndim)] * 2)))
    if draw(st.booleans()):
        return (*chosen[:first], ..., *chosen[last:])
    return tuple(chosen[: max(1, last)])


@st.composite
def orthogonal(draw, array):
    return tuple(
        draw(
            numbers(n)
            | slices(n)
            | st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True)
            | hnp.arrays(bool, n)
        )
        for n in array.shape
    )


@st.composite
def write(draw, teed):
    """Write something in one of zarr's ways."""
    way = draw(st.sampled_from(["basic", "orthogonal", "points", "mask", "blocks", "append"]))
    if way == "append":
        axis = draw(st.integers(0, teed.ndim - 3)) if teed.ndim > 2 else None
        if axis is None:
            return
        shape = list(teed.shape)
        shape[axis] = draw(st.integers(0, 2))
        teed.append(values(draw, tuple(shape), teed.dtype), axis)
        return
    if way == "blocks":
        counts = [-(-n // size) for n, size in zip(teed.shape, teed.chunks, strict=True)]
        where = tuple(draw(st.integers(0, n - 1) | st.just(slice(None))) for n in counts)
        teed.blocks[where] = values(draw, (), teed.dtype)
        return
    if way == "mask":
        mask = draw(hnp.arrays(bool, teed.shape))
        value = values(draw, (), teed.dtype)
        if draw(st.booleans()):
            teed[mask] = value
        else:
            teed.set_mask_selection(mask, value)
        return
    if way == "points":
        count = draw(st.integers(1, 4))
        where = tuple(draw(st.lists(numbers(n), min_size=count, max_size=count))
                      for n in teed.shape)  # fmt: skip
        teed.vindex[where] = values(draw, (), teed.dtype)
        return
    where = draw(basic(teed) if way == "basic" else orthogonal(teed))
    target = teed if way == "basic" else teed.oindex
    shape = np.shape(target[where])
    target[where] = values(draw, draw(st.sampled_from([shape, ()])), teed.dtype)


def values(draw, shape, dtype):
    """Return something of a shape to write, of this dtype or another one."""
    array = np.asarray(draw(hnp.arrays("u1", shape, elements=st.integers(0, 200))))
    form = draw(st.sampled_from(["plain", "float", "list", "big-endian", "Fortran"]))
    if form == "list" and array.size:
        return array.astype(dtype).tolist()
    other = {"float": "f8", "big-endian": ">i4"}.get(form, dtype)
    return np.asarray(array.astype(other), order="F" if form == "Fortran" else "C")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_after_random_writes_the_layer_equals_the_array(data, pair):
    rec, pub = pair
    array = data.draw(arrays())
    name = f"layer {next(NUMBERS)}"
    teed = pub.tee(array, name=name, axes=("u", "t", "c", "y", "x")[-array.ndim :])
    for _ in range(data.draw(st.integers(1, 6))):
        data.draw(write(teed))
    assert pub.flush(10)
    if name in rec.layers:
        stats = rec.layers[name].stats()
        assert not stats.dropped and not stats.refused
        assert_same(rec.layers[name], array[...], ("u", "t", "c"))
    else:
        assert not array[...].any()


# ---- arrays ------------------------------------------------------------------------------


def items(pub):
    return pub.stats().published


def test_what_is_streamed_is_still_a_zarr_array(pair):
    rec, pub = pair
    array = pub.tee(memory_array(), name="a", at={"well": "A01"})
    assert isinstance(array, zarr.Array) and array == pub.tee(array)
    assert array.update_attributes({"by": "me"}).attrs["by"] == "me"
    array.with_config({"write_empty_chunks": True})[0, 1] = STACK[0, 1]
    array.resize((5, 4, 20, 30))
    array[4, 3] = STACK[2, 2]
    assert array.append(STACK[:1], axis=0) == (6, 4, 20, 30)
    assert pub.flush(10)
    layer = rec.layers["a"]
    assert layer.coordinates == {"well": ["A01"], "c": [0, 4, 5], "z": [0, 1, 2, 3]}
    assert_same(layer, array[...], ("c", "z"))


def test_a_tile_of_a_plane_is_streamed_as_a_tile(pair):
    rec, pub = pair
    array = pub.tee(memory_array(), name="a")
    array[1, 2, 5:9, 10:] = STACK[1, 2, 5:9, 10:]
    array[1, 2, 0, 3] = 7
    assert items(pub) == 2 and pub.flush(10)
    expected = np.zeros_like(STACK[1, 2])
    expected[5:9, 10:], expected[0, 3] = STACK[1, 2, 5:9, 10:], 7
    np.testing.assert_array_equal(plane_at(rec.layers["a"], {"c": 1, "z": 2}), expected)
    assert rec.layers["a"].stats().bytes == 4 * 20 * 2 + 2


def test_small_planes_travel_together_and_big_ones_alone(receiver, publisher):
    rec, pub = receiver(), publisher(memory=64 * 2**20)
    small = pub.tee(memory_array(), name="small")
    small[:] = STACK
    assert items(pub) == 3  # one for each c, with all of z
    big = pub.tee(memory_array((3, 2048, 2048), chunks=(1, 2048, 2048), dtype="u1"), name="big")
    big[:] = RANDOM.integers(0, 9, big.shape, "u1")
    assert items(pub) == 3 + 3 and pub.flush(10)
    assert_same(rec.layers["small"], STACK, ("c", "z"))
    assert_same(rec.layers["big"], big[...])


def test_a_write_that_raises_streams_nothing(pair):
    _, pub = pair
    array = pub.tee(memory_array(), name="a")
    for bad in (lambda: array.__setitem__((9, 0), 1), lambda: array.append(STACK[0])):
        with pytest.raises((IndexError, ValueError)):
            bad()
    array[0] = STACK[0]
    assert items(pub) == 1


def test_a_store_that_fails_streams_nothing(pair):
    class Full(zarr.storage.MemoryStore):
        async def set(self, key, value, byte_range=None):
            if "/c/" in f"/{key}":
                raise OSError("no space left on device")
            await super().set(key, value, byte_range)

    _, pub = pair
    array = pub.tee(zarr.create_array(Full(), shape=(3, 8, 8), dtype="u1"), name="a")
    with pytest.raises(OSError, match="no space"):
        array[0] = 1
    assert items(pub) == 0


def test_a_row_that_is_repeated(pair):
    rec, pub = pair
    array = pub.tee(memory_array((20, 30), chunks=(20, 30)), name="a")
    array[...] = np.arange(30)[None]
    assert pub.flush(10)
    assert_same(rec.layers["a"], np.broadcast_to(np.arange(30), (20, 30)))


def test_rows_and_planes_in_any_order(pair):
    rec, pub = pair
    array = pub.tee(memory_array(), name="a")
    array.oindex[[2, 0], 3, [5, 4, 6]] = STACK[:2, 0, :3]
    array.oindex[[2, 1], 1] = STACK[:2, 1]
    assert pub.flush(10)
    assert_same(rec.layers["a"], array[...], ("c", "z"))


def test_names_of_axes_labels_and_the_order_of_axes(pair):
    rec, pub = pair
    array = zarr.create_array(
        {}, name="deep/raw", shape=(2, 30, 20, 3), dtype="u2", dimension_names="cxyt"
    )
    teed = pub.tee(array, labels={"c": ["DAPI", "GFP"], "t": [0.0, 0.5, 1.5]})
    teed[...] = STACK.transpose(1, 3, 2, 0)[:2]
    assert pub.flush(10)
    layer = rec.layers["raw"]
    assert dict(layer.coordinates) == {"c": ["DAPI", "GFP"], "t": [0.0, 0.5, 1.5]}
    for c, t in np.ndindex(2, 3):
        at = {"c": ["DAPI", "GFP"][c], "t": [0.0, 0.5, 1.5][t]}
        np.testing.assert_array_equal(plane_at(layer, at), STACK[t, c])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["c", "z", "y", "x"]),
        (["time", None, "y", "x"], ["time", "z", "y", "x"]),
        (["z", None, "y", "x"], ["z", "axis_1", "y", "x"]),
        (["y", "y", "y", "x"], ["c", "z", "y", "x"]),
        (["month", "level", "lat", "lon"], ["month", "level", "lat", "lon"]),
    ],
)
def test_names_that_are_missing_or_not_unique(pair, names, expected):
    rec, pub = pair
    pub.tee(memory_array(dimension_names=names), name="a")[:] = STACK
    assert pub.flush(10)
    assert [*rec.layers["a"].stack_axes, *rec.layers["a"].declare.axes] == expected
    assert_same(rec.layers["a"], STACK, expected[:2])


def test_colour(pair):
    rec, pub = pair
    pictures = RANDOM.integers(0, 255, (2, 20, 30, 3), "u1")
    guessed = pub.tee(memory_array(pictures.shape, "u1", (1, 20, 30, 3)), name="guessed")
    guessed[:] = pictures
    guessed[1, :, :, 0] = 9  # a colour is never alone
    said = pub.tee(memory_array((3, 20, 30), "u2", (3, 20, 30)), name="said", axes="syx")
    said[:] = pictures[0].transpose(2, 0, 1)
    assert pub.flush(10)
    for name in ("guessed", "said"):
        assert rec.layers[name].declare.rgb
    expected = pictures[1].copy()
    expected[..., 0] = 9
    np.testing.assert_array_equal(plane_at(rec.layers["guessed"], {"z": 1}), expected)
    np.testing.assert_array_equal(plane_at(rec.layers["said"], {}), pictures[0])


@pytest.mark.parametrize("dtype", ["c8", "<U5", "M8[s]"])
def test_what_cannot_be_streamed_is_written_and_said_once(pair, caplog, dtype):
    _, pub = pair
    array = pub.tee(zarr.create_array({}, shape=(3, 4, 4), dtype=dtype, zarr_format=2), name="odd")
    value = np.ones((4, 4)).astype(dtype)
    for t in range(3):
        array[t] = value
    assert (array[...] == value).all() and items(pub) == 0
    (record,) = caplog.records
    assert "odd" in record.message and str(np.dtype(dtype)) in record.message


def test_neither_rows_nor_planes_that_are_too_big_fail_the_write(receiver, publisher, caplog):
    pub = publisher(memory=2**20)
    row = pub.tee(memory_array((5,), chunks=(5,)), name="row")
    row[2:] = 7
    big = pub.tee(memory_array((1100, 1100), chunks=(1100, 1100)), name="big")
    big[...] = 1
    big[:10, :10] = 2  # a part that fits is streamed even so
    assert row[4] == 7 and big[0, 0] == 2 and items(pub) == 1
    assert [("row" in r.message, "big" in r.message) for r in caplog.records] == [
        (True, False),
        (False, True),
    ]


def test_after_the_publisher_is_closed_writes_go_on(pair, caplog):
    _, pub = pair
    array = pub.tee(memory_array(), name="a")
    pub.close()
    array[0] = 1
    array[1] = 2
    assert array[1, 3, 5, 5] == 2
    assert len(caplog.records) == 1 and "closed" in caplog.text


def test_several_threads(pair):
    rec, pub = pair
    array = pub.tee(memory_array(chunks=(1, 1, 10, 10)), name="a")
    tiles = [(*p, slice(y, y + 10), slice(x, x + 10))
             for p in np.ndindex(3, 4) for y in (0, 10) for x in (0, 10, 20)]  # fmt: skip

    def write(tile):
        if tile[0] == 1:  # these are read back, while others write to the same planes
            lines = np.arange(tile[2].start, tile[2].stop)
            array.oindex[tile[0], tile[1], lines, tile[3]] = STACK[tile]
            array.oindex[tile[0], tile[1], lines[::2], tile[3]] = 0
        else:
            array[tile] = STACK[tile]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, tiles))
    assert pub.flush(10)
    assert_same(rec.layers["a"], array[...], ("c", "z"))


def test_dask_with_several_threads(pair, tmp_path):
    rec, pub = pair
    data = da.from_array(STACK, chunks=(1, 2, 10, 30))
    stored = pub.tee(memory_array(chunks=(1, 1, 10, 10)), name="stored")
    da.store(data, stored, lock=False, scheduler="threads", num_workers=4)
    disk = zarr.create_array(tmp_path / "disk.zarr", shape=STACK.shape, chunks=(1, 2, 10, 30),
                             dtype="u2")  # fmt: skip
    data.to_zarr(pub.tee(disk))
    assert pub.flush(10)
    for name in ("stored", "disk"):
        assert_same(rec.layers[name], STACK, ("c", "z"))


def test_what_goes_to_another_process_is_a_plain_array_or_group(pair, tmp_path):
    _, pub = pair
    group = pub.tee(zarr.open_group(tmp_path / "g.zarr"))
    array = group.create_array("a", shape=(8, 8), dtype="u1")
    assert type(pickle.loads(pickle.dumps(array))) is zarr.Array  # noqa: S301
    assert type(pickle.loads(pickle.dumps(group))) is zarr.Group  # noqa: S301


def test_a_fork_writes_and_streams_nothing(remote, receiver, tmp_path):
    receiver("ipc://test?listen")
    other = remote()
    other("import os, zarr, napari_streaming as ns; pub = ns.Publisher('ipc://test')")
    other(f"path = {str(tmp_path / 'a.zarr')!r}")
    other("array = zarr.create_array(path, shape=(2, 8, 8), chunks=(1, 8, 8), dtype='u1')")
    other(
        """
array = pub.tee(array)
array._tee.outlet(array)._lock.acquire()  # as if another thread were streaming at that moment
child = os.fork()
if not child:
    os._exit(0 if array.shape == (2, 8, 8) and not array._tee.outlet(array).write(
        array.shape, array.dtype, lambda _: [], array.get_orthogonal_selection) else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    )
    assert other("status") == 0


def test_what_is_no_target(pair, tmp_path):
    _, pub = pair
    with pytest.raises(DataError, match=r"ndarray.*use a zarr\.Array"):
        pub.tee(STACK)
    array = memory_array()
    for options in ({"axes": "yx"}, {"axes": "yyxx"}, {"kind": "points"}, {"at": {"t": None}},
                    {"name": ""}, {"labels": {"c": [None]}}):  # fmt: skip
        with pytest.raises(DataError):
            pub.tee(array, **options)


# ---- groups ------------------------------------------------------------------------------


def test_every_way_to_make_an_array_in_a_group(pair):
    rec, pub = pair
    group = pub.tee(zarr.create_group({}), name="g")
    assert isinstance(group, zarr.Group)
    group["set"] = STACK
    group.create_array("created", data=STACK, dimension_names=("c", "z", "y", "x"))
    group.create_array("not written", data=STACK, write_data=False)
    group.create_array("copied", data=memory_array())
    group.create_group("in").require_group("side").create_array("later", shape=(20, 30), dtype="u2")
    group["in"]["side/later"][...] = STACK[0, 0]
    group.require_array("required", shape=(20, 30), dtype="u2")[:10] = STACK[0, 0, :10]
    group.zeros(name="zeros", shape=(20, 30), dtype="u2")[:] = STACK[0, 1]
    group.zeros_like(name="like", data=STACK)[1:] = STACK[1:]
    for name, array in group.arrays():
        if name == "like":
            array[0] = STACK[0]
    assert {type(node) for _, node in group.members()} == {type(group), type(group["set"])}
    assert pub.flush(10)
    names = {"set", "created", "copied", "in/side/later", "required", "zeros", "like"}
    assert set(rec.layers) == {f"g/{name}" for name in names}
    for name in ("set", "created", "like"):
        assert_same(rec.layers[f"g/{name}"], STACK, ("c", "z"))
    np.testing.assert_array_equal(plane_at(rec.layers["g/zeros"], {}), STACK[0, 1])


OME = {
    "multiscales": [{
        "axes": [{"name": "t", "type": "time"}, {"name": "ch", "type": "channel"},
                 {"name": "y", "type": "space", "unit": "micrometer"},
                 {"name": "x", "type": "space", "unit": "micrometer"}],
        "datasets": [
            {"path": f"s{n}", "coordinateTransformations":
             [{"type": "scale", "scale": [1, 1, 0.5 * 2**n, 0.25 * 2**n]}]} for n in range(2)
        ],
    }],
    "omero": {"channels": [{"label": f"stain {n}"} for n in range(4)]},
}  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda ome: {"ome": ome}, lambda ome: ome])
def test_ome_metadata_of_a_group(pair, tmp_path, wrap):
    rec, pub = pair
    plain = zarr.create_group(tmp_path / "exp.ome.zarr", attributes=wrap(OME))
    group = pub.tee(plain, at={"well": "A01"})
    for n in range(2):
        level = group.create_array(f"s{n}", shape=(3, 4, 20 // 2**n, 30 // 2**n), dtype="u2")
        level[...] = STACK[:, :, :: 2**n, :: 2**n]
    assert pub.flush(10)
    assert list(rec.layers) == ["exp"]
    layer = rec.layers["exp"]
    assert layer.coordinates["ch"] == [f"stain {n}" for n in range(4)]
    assert layer.coordinates["well"] == ["A01"]
    assert_same(layer, STACK, ("t", "ch"), {"ch": [f"stain {n}" for n in range(4)]})
    assert layer.declare.scale == (0.5, 0.25) and layer.declare.units == ("micrometer",) * 2


def test_labels_of_an_image(pair, tmp_path):
    rec, pub = pair
    group = pub.tee(zarr.create_group(tmp_path / "exp.zarr", attributes={"ome": OME}), name="E")
    group.create_array("s0", data=STACK)
    cells = group.create_group("labels/cells")
    cells.attrs["ome"] = {"image-label": {}, "multiscales": [{"datasets": [{"path": "0"}]}]}
    cells.create_array("0", data=(STACK[0, 0] > 500).astype("i4"))
    group.create_array("labels/found", data=(STACK[0, 0] > 700).astype("u1"))
    assert pub.flush(10)
    kinds = {name: layer.kind for name, layer in rec.layers.items()}
    assert kinds == {"E": "image", "E/cells": "labels", "E/found": "labels"}


def test_a_pyramid_that_is_said_to_be_one_only_afterwards(pair):
    """As ome-zarr's own writer does it."""
    rec, pub = pair
    group = pub.tee(zarr.create_group({}))
    for n in range(3):
        group.create_array(f"{n}", data=STACK[..., :: 2**n, :: 2**n])
    group.create_array("10", shape=(25, 30), dtype="u2")[...] = 1  # longer: no resolution of it
    group.attrs["ome"] = OME
    assert pub.flush(10)
    assert set(rec.layers) == {"0", "10"}


def test_yaozarrs_writes_through_a_tee(pair, tmp_path):
    from yaozarrs import v05
    from yaozarrs.write.v05 import prepare_image, write_image

    rec, pub = pair
    dims = [v05_dim("t", "time", 1), v05_dim("y", "space", 0.5), v05_dim("x", "space", 0.5)]
    image = v05.Image(multiscales=[v05.Multiscale.from_dims(dims, n_levels=2)])
    data = [STACK[:, 0], STACK[:, 0, ::2, ::2]]

    def create(path, shape, dtype, chunks, *, shards, overwrite, compression, dimension_names):
        return pub.tee(zarr.create_array(
            str(path), shape=shape, dtype=dtype, chunks=chunks, shards=shards,
            overwrite=overwrite, dimension_names=dimension_names,
        ))  # fmt: skip

    write_image(tmp_path / "one.ome.zarr", image, data, writer=create)
    _, arrays = prepare_image(
        tmp_path / "two.ome.zarr", image, [(one.shape, one.dtype) for one in data], writer="zarr"
    )
    for path, array in arrays.items():
        pub.tee(array)[...] = data[int(path)]
    assert pub.flush(10)
    assert set(rec.layers) == {"one", "two"}
    for layer in rec.layers.values():
        assert_same(layer, STACK[:, 0], ("t",))
        assert layer.declare.scale == (0.5, 0.5)


def v05_dim(name, kind, scale):
    from yaozarrs import DimSpec

    return DimSpec(name=name, type=kind, scale=scale, scale_factor=1 if kind == "time" else 2)


def test_damaged_metadata_is_said_and_passed_over(pair, caplog):
    rec, pub = pair
    group = pub.tee(zarr.create_group({}, attributes={"ome": {"multiscales": 7}}))
    group.create_array("a", data=STACK)
    assert pub.flush(10)
    assert "damaged" in caplog.text and list(rec.layers) == ["a"]
