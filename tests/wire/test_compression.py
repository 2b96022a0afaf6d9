from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import zstd

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import as_array, pack, unpack
from napari_streaming.wire.compression import compress, decompress
from napari_streaming.wire.messages import Array, Item

PIXELS = np.arange(600, dtype="<u2").reshape(20, 30)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["|u1", "<u2", "<f4", "<i8", "<U3"]), st.integers(1, 999))
def test_what_is_compressed_comes_back(dtype, size):
    array = np.arange(size).astype(dtype)
    data = compress(array.tobytes(), array.itemsize)
    assert decompress(data, array.itemsize, array.nbytes).tobytes() == array.tobytes()


def test_the_bytes_are_shuffled_as_the_document_says():
    content = np.frombuffer(zstd.decompress(compress(PIXELS.tobytes(), 2)), np.uint8)
    low, high = PIXELS.reshape(-1) % 256, PIXELS.reshape(-1) // 256
    assert content.tolist() == [*low, *high]


def test_an_item_may_bring_a_compressed_buffer():
    data = compress(PIXELS.tobytes(), 2)
    item = Item(0, 0, 0.0, {}, (Array("data", "<u2", PIXELS.shape, None, "zstd"),))
    message, (buffer,) = unpack([pack(item), data])
    assert message == item and len(buffer) < PIXELS.nbytes
    assert (as_array(message.arrays[0], buffer) == PIXELS).all()


@pytest.mark.parametrize("change", [{"codec": "lz9"}, {"shape": (2, 3)}, {"codec": ""}])
def test_a_buffer_that_does_not_fit_is_refused(change):
    described = {"name": "data", "dtype": "<u2", "shape": PIXELS.shape, "codec": "zstd"} | change
    item = Item(0, 0, 0.0, {}, (Array(**described),))
    with pytest.raises(MalformedError):
        unpack([pack(item), compress(PIXELS.tobytes(), 2)])


GOOD = compress(PIXELS.tobytes(), 2)
BOMB = compress(bytes(2**24), 1)


@pytest.mark.parametrize(
    "data",
    [
        b"", GOOD[:5], GOOD[:-1], GOOD[:40], b"\0" * 40, BOMB, GOOD + b"\0" * 9,
        compress(bytes(1199), 1), compress(bytes(1201), 1), GOOD + BOMB,
        b"\x28\xb5\x2f\xfd\x00\x58" + GOOD[6:],
    ],
)  # fmt: skip
def test_what_does_not_hold_just_these_bytes_is_refused(data):
    with pytest.raises(MalformedError):
        decompress(data, 2, PIXELS.nbytes)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=5))
def test_flipped_bytes_are_refused_or_give_as_many(flips):
    data = bytearray(GOOD)
    for at, value in flips:
        data[at] = value
    try:
        assert len(decompress(data, 2, PIXELS.nbytes)) == PIXELS.nbytes
    except MalformedError:
        assert flips
