from __future__ import annotations

import itertools

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_streaming.record.shards import GrowingArray, ShardFiles, decompress

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(
    stacked=st.integers(0, 3),
    shape=st.sampled_from([(4, 5), (2, 4, 5), (4, 5, 3)]),
    dtype=st.sampled_from(["|b1", "|u1", "<u2", "<i4", "<i8", "<f2", "<f4", "<f8"]),
    data=st.data(),
)
def test_zarr_reads_what_was_written(tmp_path_factory, stacked, shape, dtype, data):
    root = tmp_path_factory.mktemp("array")
    ndim = stacked + len(shape)
    # The stack's dimensions keep their order; the plane's may stand anywhere.
    order = data.draw(
        st.permutations(range(ndim)).filter(lambda o: sorted(o[:stacked]) == list(o[:stacked]))
    )
    files = ShardFiles(root, limit=2)
    array = GrowingArray(files, "a", [f"d{i}" for i in range(ndim)], order, shape, np.dtype(dtype))
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    places = st.tuples(*[st.integers(0, 40)] * stacked)
    expected: dict[tuple[int, ...], np.ndarray] = {}
    for place in data.draw(st.lists(places, min_size=1, max_size=12)):
        plane = random.integers(0, 100, shape).astype(dtype)
        chunk = array.write(place, plane)
        expected[place] = plane
        raw = (root / chunk.path).read_bytes()[chunk.offset : chunk.offset + chunk.nbytes]
        assert np.array_equal(decompress(raw, shape, np.dtype(dtype)), plane)
        assert np.array_equal(array.read(place), plane)
        if data.draw(st.booleans()):
            array.append(place, plane[1:])  # a part, which nothing points to
    assert array.describe()
    assert not array.describe()
    stored = np.transpose(zarr.open_array(root / "a", mode="r")[...], order)
    assert stored.dtype == np.dtype(dtype)
    assert stored.shape[:stacked] == tuple(max(p[i] for p in expected) + 1 for i in range(stacked))
    for place in itertools.product(*map(range, stored.shape[:stacked])):
        assert np.array_equal(stored[place], expected.get(place, np.zeros(shape, dtype)))
    files.close()


def test_what_is_read_while_it_is_written_is_whole(tmp_path):
    files = ShardFiles(tmp_path)
    array = GrowingArray(files, "a", ["t", "y", "x"], (0, 1, 2), (8, 8), np.dtype("<u2"))
    for t in range(300):  # three shards
        array.write((t,), np.full((8, 8), t, np.uint16))
        array.describe()
        if t % 37 == 0:
            read = zarr.open_array(tmp_path / "a", mode="r")[:, 0, 0]
            assert read.tolist() == list(range(t + 1))
    assert len(list((tmp_path / "a" / "c").iterdir())) == 3
    files.close()


def test_shards_are_of_bounded_size():
    files = ShardFiles(None)
    array = GrowingArray(files, "a", list("tczyx"), range(5), (200, 2048, 2048), np.dtype("<u2"))
    document = array._document()
    sharding = document["codecs"][0]["configuration"]
    shard = document["chunk_grid"]["configuration"]["chunk_shape"]
    assert sharding["index_location"] == "start"
    assert shard[0] * shard[1] * 200 * 2048 * 2048 * 2 <= 2**31


def test_a_damaged_plane_is_an_error():
    with pytest.raises(ValueError, match="damaged"):
        decompress(b"no blosc at all, certainly", (4, 5), np.dtype("<u2"))
