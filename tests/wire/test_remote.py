"""Messages and frames of a session: what comes back, and what is refused."""

from __future__ import annotations

import math
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.errors import DataError, MalformedError, ProtocolError, VersionError
from napari_streaming.wire import frames, remote
from napari_streaming.wire.attributes import (
    CAMERA_ATTRIBUTES,
    DIMS_ATTRIBUTES,
    LAYER_ATTRIBUTES,
    check_changes,
)
from napari_streaming.wire.frames import FrameHeader, pack_frame, unpack_frame

PREFIX = remote.pack(remote.NeedKeyframe())[:6]
READERS = (remote.unpack_from_client, remote.unpack_from_server, remote.unpack_on_pixels)
TIMES = st.floats(0, 2**37, exclude_max=True)
HEADERS = st.builds(
    FrameHeader,
    sequence=st.integers(0, 2**63 - 1),
    width=st.integers(1, 7680),
    height=st.integers(1, 4320),
    codec=st.sampled_from(frames.CODECS),
    chroma=st.sampled_from(frames.CHROMAS),
    keyframe=st.booleans(),
    rendered=TIMES,
    encoded=TIMES,
    sent=TIMES,
    intent=st.integers(0, 2**63 - 1),
    camera=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 7),
    ndisplay=st.sampled_from((2, 3)),
)
TOKEN = "t"  # noqa: S105
GOOD = {"sequence": 1, "width": 4, "height": 2, "codec": "h264"}


def message(type_, **fields):
    return PREFIX + msgspec.msgpack.encode({"type": type_} | fields)


@given(HEADERS, st.binary(min_size=1, max_size=100))
def test_frames_come_back_as_they_were(header, payload):
    packed = b"".join(pack_frame(header, payload))
    assert len(packed) == frames.HEADER_SIZE + len(payload)
    unpacked, view = unpack_frame(packed)
    assert (unpacked, bytes(view)) == (header, payload)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_do_anything_but_be_refused(data, has_prefix):
    for start in (PREFIX, frames.FRAME_MAGIC + b"\x01\x00") if has_prefix else (b"",):
        for read in (*READERS, unpack_frame):
            try:
                read(start + data)
            except ProtocolError:
                continue


@given(st.integers(0, frames.HEADER_SIZE - 1), st.integers(0, 255))
def test_a_header_with_another_byte_is_refused_or_in_bounds(place, byte):
    packed = bytearray(b"".join(pack_frame(FrameHeader(**GOOD), b"abc")))
    packed[place] = byte
    try:
        header, payload = unpack_frame(packed)
    except ProtocolError:
        return
    assert pack_frame(header, payload)[0] == bytes(packed[: frames.HEADER_SIZE])


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"width": 7681},
        {"height": 0},
        {"height": 4321},
        {"sequence": -1},
        {"sequence": 2**63},
        {"intent": 2**63},
        {"codec": "av1"},
        {"chroma": "422"},
        {"ndisplay": 1},
        {"ndisplay": 4},
        {"camera": (0.0,) * 6},
        {"camera": (0.0,) * 6 + (math.nan,)},
        {"rendered": -1.0},
        {"sent": math.inf},
        {"encoded": math.nan},
    ],
)
def test_a_header_out_of_bounds_is_neither_packed_nor_read(wrong):
    with pytest.raises(MalformedError):
        pack_frame(FrameHeader(**(GOOD | wrong)), b"abc")
    try:
        bad = frames._LAYOUT.pack(*layout(FrameHeader(**(GOOD | wrong)))) + b"abc"
    except (ValueError, TypeError, frames.struct.error):
        return  # such a header has no bytes
    with pytest.raises(MalformedError):
        unpack_frame(bad)


def layout(h):
    return (
        *(frames.FRAME_MAGIC, 1, h.sequence, h.intent, h.rendered, h.encoded, h.sent, *h.camera),
        *(h.width, h.height, 3, frames.CODECS.index(h.codec), frames.CHROMAS.index(h.chroma)),
        *(h.keyframe, h.ndisplay),
    )


def test_frames_of_other_lengths_and_versions_are_refused():
    packed = b"".join(pack_frame(FrameHeader(**GOOD), b"abc"))
    for wrong in (packed[:-1], packed + b"x", packed[:50], packed[:6], b"", b"NPSS" + packed[4:]):
        with pytest.raises(MalformedError):
            unpack_frame(wrong)
    with pytest.raises(VersionError):
        unpack_frame(packed[:4] + b"\x02\x00" + packed[6:])
    for payload in (b"", bytes(frames.MAX_PAYLOAD + 1)):
        with pytest.raises(MalformedError):
            pack_frame(FrameHeader(**GOOD), payload)


@pytest.mark.parametrize(
    "wrong",
    [
        message("hello"),
        message("hello", token="x" * 257),
        message("hello", token=TOKEN, width=0),
        message("hello", token=TOKEN, width=7681),
        message("hello", token=TOKEN, ratio=math.nan),
        message("hello", token=TOKEN, role="admin"),
        message("intent", id=0, target="dims", changes={}),
        message("intent", id=2**63, target="dims", changes={}),
        message("intent", id=1, target="file", changes={}),
        message("intent", id=1, target="dims", changes={"a": [[[[1]]]]}),
        message("intent", id=1, target="dims", changes={"a": [0] * 1025}),
        message("intent", id=1, target="dims", changes={"a": {"b": 1}}),
        message("intent", id=1, target="dims", changes={"a": b"bytes"}),
        message("intent", id=1, target="dims", changes={"a" * 65: 1}),
        message("intent", id=1, target="dims", changes={str(i): 1 for i in range(65)}),
        message("pointer", id=1, kind="move", x=math.inf, y=0),
        message("pointer", id=1, kind="move", x=0, y=0, button=6),
        message("pointer", id=1, kind="move", x=0, y=0, modifiers=["hyper"]),
        message("command", id=1, name="run"),
        message("resize", id=1, width=10, height=4321),
        message("quality", fps=0),
        message("quality", bitrate=10**9 + 1),
        message("welcome", session="s"),
        message("ping", time=1, now=2) + b"x",
        message("none"),
        PREFIX,
        PREFIX + b"\x93",
    ],
)
def test_what_a_client_may_not_say_is_refused(wrong):
    with pytest.raises(MalformedError):
        remote.unpack_from_client(wrong)


def test_fields_of_newer_versions_are_ignored():
    assert remote.unpack_from_client(message("ping", time=1, more=[1])) == remote.Ping(1.0)


def test_a_message_that_is_too_big_is_not_decoded():
    big = message("command", id=1, name="list", arguments={"path": "x" * 1000})
    with pytest.raises(MalformedError, match="at most"):
        remote.unpack_from_client(big + bytes(remote.MAX_TO_SERVER))


def test_a_thumbnail_has_its_pixels():
    good = remote.Thumbnail(1, 2, 3, bytes(24))
    assert remote.unpack_from_server(remote.pack(good)) == good
    with pytest.raises(MalformedError):
        remote.unpack_from_server(message("thumbnail", layer=1, width=2, height=2, pixels=b"x"))


def test_the_longest_reply_fits():
    reply = remote.Reply(id=1, data=bytes(remote.MAX_DATA))
    assert remote.unpack_from_server(remote.pack(reply)) == reply


def test_changes_get_the_types_of_their_attributes():
    image = LAYER_ATTRIBUTES["image"]
    assert check_changes(image, {"contrast_limits": [1, 2], "visible": True}) == {
        "contrast_limits": (1.0, 2.0),
        "visible": True,
    }
    stops = [[0.0, 0, 0, 0, 1], [1.0, 1, 0, 0, 1]]
    assert check_changes(image, {"colormap": stops})["colormap"][1] == (1.0, 1.0, 0.0, 0.0, 1.0)
    assert check_changes(image, {"colormap": "viridis"}) == {"colormap": "viridis"}
    assert check_changes(LAYER_ATTRIBUTES["points"], {"size": None}) == {"size": None}


@pytest.mark.parametrize(
    ("attributes", "changes", "words"),
    [
        (LAYER_ATTRIBUTES["image"], {"data": 1}, "no attribute 'data'"),
        (LAYER_ATTRIBUTES["image"], {"opacity": 1.5}, "opacity: "),
        (LAYER_ATTRIBUTES["image"], {"opacity": True}, "opacity: "),
        (LAYER_ATTRIBUTES["image"], {"contrast_limits": [1]}, "contrast_limits: "),
        (LAYER_ATTRIBUTES["image"], {"colormap": [[0, 0, 0, 0, 0]]}, "colormap: "),
        (LAYER_ATTRIBUTES["image"], {"gamma": 0}, "gamma: "),
        (LAYER_ATTRIBUTES["labels"], {"selected_label": 1.5}, "selected_label: "),
        (LAYER_ATTRIBUTES["points"], {"face_color": "red"}, "face_color: "),
        (CAMERA_ATTRIBUTES, {"zoom": math.nan}, "zoom: "),
        (DIMS_ATTRIBUTES, {"ndisplay": 4}, "ndisplay: "),
        (DIMS_ATTRIBUTES, {"point": "here"}, "point: "),
    ],
)
def test_changes_of_other_types_are_refused_with_words(attributes, changes, words):
    with pytest.raises(DataError, match=words):
        check_changes(attributes, changes)


def test_each_message_has_one_meaning():
    for union in (remote.FromClient, remote.FromServer, remote.OnPixels):
        tags = [kind.__struct_config__.tag for kind in typing.get_args(union)]
        assert len(tags) == len(set(tags))
