from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import MAX_BUFFER, MAX_HEADER
from napari_streaming.wire.envelope import MAX_FRAMES, Opener, seal


def fill(opener, data, sizes=(1 << 20,)):
    """Feed an opener in pieces of these sizes, in turn; return what it did not want."""
    turn = 0
    while data and len(opener.room()):
        size = min(sizes[turn % len(sizes)], len(opener.room()), len(data))
        opener.room()[:size] = data[:size]
        opener.filled(size)
        data, turn = data[size:], turn + 1
    return data


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_frames_come_back_however_they_are_cut(frames, sizes):
    data = b"".join(seal(frames))
    opener = Opener()
    assert fill(opener, data, sizes) == b""
    assert [bytes(frame) for frame in opener.frames()] == frames
    assert len(opener.room()) == 0


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_every_frame_starts_at_a_multiple_of_8(frames):
    at = 0
    for piece in seal(frames):
        if any(piece is frame for frame in frames if len(frame) > 1):
            assert at % 8 == 0
        at += len(piece)
    assert at % 8 == 0


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_a_message_that_ends_early_is_refused(frames, data):
    whole = b"".join(seal(frames))
    opener = Opener()
    fill(opener, whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(MalformedError, match="ends before"):
        opener.frames()


@pytest.mark.parametrize(
    "table",
    [
        [0],
        [MAX_FRAMES + 1],
        [2**64 - 1],
        [1, MAX_HEADER + 1],
        [2, 10, MAX_BUFFER + 1],
        [2, 10, 2**64 - 1],
    ],
)
def test_a_table_out_of_bounds_is_refused_before_anything_is_made(table):
    with pytest.raises(MalformedError, match="allowed"):
        fill(Opener(), struct.pack(f"<{len(table)}Q", *table))


def test_the_largest_table_is_taken():
    opener = Opener()
    fill(opener, struct.pack(f"<{1 + MAX_FRAMES}Q", MAX_FRAMES, *[0] * MAX_FRAMES))
    assert opener.frames() == [b""] * MAX_FRAMES


def test_large_frames_are_not_copied():
    plane = bytearray(1000)
    assert any(piece is plane for piece in seal([b"header", plane]))
