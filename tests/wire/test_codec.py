from __future__ import annotations

import msgspec
import numpy as np
import pytest

from napari_streaming.errors import MalformedError, VersionError
from napari_streaming.wire.codec import MAX_BUFFER, MAX_HEADER, as_array, pack, unpack
from napari_streaming.wire.messages import (
    Ack,
    Array,
    Block,
    Declare,
    End,
    Gap,
    Hello,
    Item,
    Metric,
    Peer,
    Ping,
    Pong,
    Segment,
    Status,
    Subscribe,
)

DTYPES = ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<U3"]
PREFIX = b"NPST\x01\x00"

PEER = Peer(role="publish", program="p", software="s", host="h", pid=1, run="r")
PLANE = Item(0, 7, 1.5, {"t": 3}, (Array("data", "<u2", (2, 3)),))
IMAGE = Declare(
    stream=0, name="a", kind="image", dtype="<u2", shape=(2, 3), axes=("y", "x"), features={}
)


def frames(message, *buffers, **changes):
    """Return the frames of a message in which some fields are other than the type allows."""
    fields = {**msgspec.to_builtins(message), **changes}
    return [PREFIX + msgspec.msgpack.encode(fields), *buffers]


def array(**changes):
    return [{"name": "data", "dtype": "|u1", "shape": [2], **changes}]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_comes_back_without_a_copy(dtype):
    sent = np.arange(6).reshape(2, 3).astype(dtype)
    data = bytearray(sent.tobytes())
    item = Item(0, 0, 0.0, {}, (Array("data", dtype, (2, 3)),))
    message, (buffer,) = unpack([pack(item), data])
    received = as_array(message.arrays[0], buffer)
    np.testing.assert_array_equal(received, sent)
    assert received.dtype == dtype
    data[:] = bytes(len(data))
    np.testing.assert_array_equal(received, np.zeros((2, 3), dtype))


def test_buffers_belong_to_the_arrays_that_have_no_block():
    block = Block("s", 4096, 1)
    arrays = (Array("a", "|u1", (2,)), Array("b", "|u1", (9,), block), Array("c", "|u1", (3,)))
    item = Item(0, 0, 0.0, {}, arrays)
    assert unpack([pack(item), b"aa", b"ccc"]) == (item, [b"aa", b"ccc"])
    with pytest.raises(MalformedError, match="2 buffers for 0 inline"):
        unpack([pack(Item(0, 0, 0.0, {}, arrays[1:2])), b"aa", b"ccc"])


def test_a_message_starts_with_magic_and_version():
    assert pack(End()) == PREFIX + b"\x82\xa4type\xa3end\xa6reason\xa0"


@pytest.mark.parametrize("junk", [[], [b""], [b"NPS"], [b"npst\1\0\x80"], [b"GET / HTTP/1.1\r\n"]])
def test_what_has_no_magic_is_malformed(junk):
    with pytest.raises(MalformedError):
        unpack(junk)


@pytest.mark.parametrize("version", [b"", b"\0\0", b"\2\0", b"\1\1", b"\xff\xff"])
def test_another_version_is_told_apart_whatever_follows(version):
    for rest in (b"", b"\xc1 no msgpack", bytes(MAX_HEADER)):
        if version or not rest:
            with pytest.raises(VersionError) as caught:
                unpack([b"NPST" + version + rest, b"a buffer"])
            assert caught.value.code == "version"


def test_the_header_may_be_just_so_long():
    def header(length):
        padding = length - len(frames(End(), x=b"x" * 70_000)[0]) + 70_000
        return frames(End(), x=b"x" * padding)[0]

    assert len(header(MAX_HEADER)) == MAX_HEADER
    assert unpack([header(MAX_HEADER)]) == (End(), [])
    with pytest.raises(MalformedError, match="header of 4194305 bytes"):
        unpack([header(MAX_HEADER + 1)])


def test_unknown_fields_are_ignored():
    assert unpack(frames(Ack(1, 2), colour=["x", {"y": None}])) == (Ack(1, 2), [])
    nested = frames(PLANE, bytes(2), arrays=array(endian="big"))
    assert unpack(nested)[0].arrays == (Array("data", "|u1", (2,)),)
    longer = frames(PLANE, arrays=array(block=["s", 4096, 1, "x"]))
    assert unpack(longer)[0].arrays[0].block == Block("s", 4096, 1)


def test_optional_fields_may_be_missing():
    assert unpack([PREFIX + b"\x81\xa4type\xa3end"]) == (End(), [])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x91\xa3end",
        b"\x81\xa4type\xa4nope",
        b"\x81\xa4type\xa3end\xc0",  # something follows
        b"\x82\xa4type\xa3end\xa6reason\xa2a",  # something is missing
        b"\x82\xa4type\xa3end\xa6reason\xa2\xff\xff",  # no UTF-8
        b"\x82\xa4type\xa3end\xa6reason\xc4\x01a",  # bytes, not text
        b"\x82\xa4type\xa3end\x01\x02",  # a key that is no text
        b"\x82\xa4type\xa3end\xa1x" + b"\x91" * 100_000 + b"\xc0",  # very deep
        b"\x82\xa4type\xa3end\xa1x\xdf\xff\xff\xff\xff",  # claims more than there is
        b"\x84\xa4type\xa6metric\xa4name\xa1a\xa5steps\xdd\xff\xff\xff\xff\xa6values\x90",
    ],
)
def test_bytes_that_are_no_message_are_malformed(raw):
    with pytest.raises(MalformedError) as caught:
        unpack([PREFIX + raw])
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (Hello(PEER, ""), {"token": "x" * 257}),
        (Hello(PEER, ""), {"token": None}),
        (Hello(PEER, ""), {"peer": {}}),
        (Hello(PEER, ""), {"peer": {**msgspec.to_builtins(PEER), "role": "admin"}}),
        (Hello(PEER, ""), {"peer": {**msgspec.to_builtins(PEER), "window": -1}}),
        (IMAGE, {"stream": 2**32}),
        (IMAGE, {"stream": -1}),
        (IMAGE, {"stream": 1.5}),
        (IMAGE, {"name": ""}),
        (IMAGE, {"name": "x" * 257}),
        (IMAGE, {"kind": "mesh"}),
        (IMAGE, {"qos": "best"}),
        (IMAGE, {"shape": [1] * 17}),
        (IMAGE, {"shape": [-1]}),
        (IMAGE, {"shape": [2**40]}),
        (IMAGE, {"shape": [2**20, 2**20]}),
        (IMAGE, {"axes": ["x"] * 17}),
        (IMAGE, {"scale": [1.0] * 17}),
        (IMAGE, {"contrast_limits": [1.0]}),
        (IMAGE, {"features": {"score": "O"}}),
        (IMAGE, {"features": {"label": "U\n"}}),
        (IMAGE, {"features": {str(n): "<f8" for n in range(257)}}),
        (PLANE, {"sequence": 2**63}),
        (PLANE, {"arrays": []}),
        (PLANE, {"arrays": array(block=["s", 4096, 1]) * 261}),
        (PLANE, {"arrays": array(block=["s", 4096])}),
        (PLANE, {"arrays": array(block=["s", -4096, 1])}),
        (PLANE, {"at": {str(n): n for n in range(17)}}),
        (PLANE, {"time": float("nan")}),
        (PLANE, {"time": 2.0**37}),
        (PLANE, {"along": {"t": []}}),
        (PLANE, {"along": {"t": [0] * 65537}}),
        (PLANE, {"along": {"t": [float("nan")]}}),
        (PLANE, {"offset": [-1]}),
        (PLANE, {"append": 1}),
        (Subscribe(), {"history": -1}),
        (Subscribe(), {"have": {-1: 0}}),
        (Metric("a", [], [], []), {"values": [0.0]}),
        (Metric("a", [1.0], [1.0], [1.0]), {"times": []}),
        (Metric("a", [], [], []), {"every": 0}),
        (Metric("a", [], [], []), {"first": -1}),
        (Metric("a", [1.0] * 2, [1.0] * 2, [1.0] * 2), {"first": 2**62, "every": 2**62}),
        (Subscribe(), {"metrics": {str(n): 1 for n in range(1025)}}),
        (Subscribe(), {"metrics": {"": 1}}),
        (Subscribe(), {"line": -1}),
        (Metric("a", [], [], []), dict.fromkeys(("steps", "values", "times"), [0.0] * 65537)),
        (Status("info", "", 0.0), {"level": "debug"}),
        (Status("info", "", 0.0), {"text": "x" * 65537}),
        (Status("info", "", 0.0), {"time": float("inf")}),
        (Gap(0, 1, 2, 2, ""), {"count": -1}),
        (Segment("s", "", 1), {"size": 2**63}),
        (Ack(0, 0), {"items": True}),
        (Ping(0.0), {"time": -1.0}),
        (Pong(0.0, 0.0), {"now": float("nan")}),
    ],
)
def test_a_message_out_of_bounds_is_malformed(message, changes):
    buffers = [bytes(12)] if isinstance(message, Item) else []
    assert unpack(frames(message, *buffers))[0] == message
    with pytest.raises(
        MalformedError,
        match=r"not a valid message|too big|different lengths|a coordinate of|numbers beyond",
    ):
        unpack(frames(message, *buffers, **changes))


DTYPES_REFUSED = ["O", ">u2", "<U99999", "|u1\n", "u1", "<i1", "<f16", "<c8", "|V8", "<M8[s]", ""]


@pytest.mark.parametrize("dtype", DTYPES_REFUSED)
def test_other_dtypes_are_malformed(dtype):
    with pytest.raises(MalformedError):
        unpack(frames(PLANE, bytes(2), arrays=array(dtype=dtype)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2**63, True, None])
def test_a_coordinate_is_finite_and_in_range(value):
    with pytest.raises(MalformedError):
        unpack(frames(PLANE, bytes(12), at={"t": value}))


@pytest.mark.parametrize("value", [0, -(2**63), 2**63 - 1, 0.25, 1e300, "", "x" * 256])
def test_coordinates_keep_their_type(value):
    (back,) = unpack(frames(PLANE, bytes(12), at={"t": value}))[0].at.values()
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(
    ("message", "buffers"),
    [
        (PLANE, []),
        (PLANE, [bytes(11)]),
        (PLANE, [bytes(13)]),
        (PLANE, [bytes(12), b""]),
        (End(), [b""]),
    ],
)
def test_buffers_fit_the_arrays(message, buffers):
    with pytest.raises(MalformedError, match="buffer"):
        unpack([pack(message), *buffers])


@pytest.mark.parametrize("shape", [[2**16, 2**16 + 1], [2**39] * 16, [2**39, 2**39, 0]])
@pytest.mark.parametrize(("where", "buffers"), [(None, [b""]), (["s", 4096, 1], [])])
def test_an_array_that_is_too_big_is_malformed(shape, where, buffers):
    with pytest.raises(MalformedError, match="too big"):
        unpack(frames(PLANE, *buffers, arrays=array(shape=shape, block=where)))
    biggest = array(shape=[MAX_BUFFER], block=["s", 4096, 1])
    assert unpack(frames(PLANE, arrays=biggest))[0].arrays[0].shape == (MAX_BUFFER,)


def test_a_generation_of_zero_never_refers_to_a_block():
    with pytest.raises(MalformedError):
        unpack(frames(PLANE, arrays=array(block=["s", 4096, 0])))


def test_metrics_may_be_nan():
    metric = unpack([pack(Metric("a", [1.0], [float("nan")], [0.0]))])[0]
    assert np.isnan(metric.values).tolist() == [True]


def test_an_error_never_quotes_a_large_value():
    with pytest.raises(MalformedError) as caught:
        unpack(frames(IMAGE, kind="k" * 100_000))
    assert len(str(caught.value)) < 1000
