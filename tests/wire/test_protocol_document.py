from __future__ import annotations

import re
import typing

import msgspec
import pytest

from napari_streaming import errors
from napari_streaming.transport import ws_connection
from napari_streaming.wire import codec, envelope, messages, session
from napari_streaming.wire.codec import pack, unpack
from napari_streaming.wire.compression import CODECS
from napari_streaming.wire.messages import Array, Block, Message, OutlineStep, Peer

from .document import Document

DOCUMENT = Document("protocol.md", messages)
section, rows, octets = DOCUMENT.section, DOCUMENT.rows, DOCUMENT.octets
written, default = DOCUMENT.written, DOCUMENT.default
LISTS = (
    "LayerKind", "StatusLevel", "QualityOfService", "RunState", "ParameterKind", "ControlAction"
)  # fmt: skip
MESSAGES = typing.get_args(Message)
PARTS = (Peer, Array, Block, OutlineStep)


@pytest.mark.parametrize(("name", "buffers"), [("hello", []), ("item", ["item-buffer"])])
def test_the_examples_are_what_is_sent(name, buffers):
    message = DOCUMENT.described(name, Message)
    assert pack(message) == octets(name)
    assert unpack([octets(name), *map(octets, buffers)])[0] == message


def test_the_buffer_of_the_example_holds_its_pixels():
    message, (buffer,) = unpack([octets("item"), octets("item-buffer")])
    pixels = codec.as_array(message.arrays[0], buffer)
    assert pixels.tolist() == [[0, 1, 2], [256, 4096, 65535]]


def test_the_envelope_of_the_example_holds_both_frames():
    frames = [octets("item"), octets("item-buffer")]
    sent = b"".join(envelope.seal(frames))
    assert sent == octets("envelope") + frames[0] + bytes(1) + frames[1] + bytes(4)


def test_the_bounds_over_websocket_are_those_in_use():
    text = section("Over WebSocket")
    assert f"the number of frames: 1 to {envelope.MAX_FRAMES} |" in text
    assert f"a message has at most {ws_connection.MAX_FIRST} bytes" in text
    assert f"none after {ws_connection._ADMISSION:.0f} seconds" in text
    assert f"nothing for {ws_connection._SILENCE:.0f} seconds" in text
    (arrays,) = [row for row in rows("Item", "Field") if row[0] == "`arrays`"]
    assert arrays[1] == f"1 to {envelope.MAX_FRAMES - 1} × Array"


def test_the_block_of_the_example_ends_the_array():
    header = octets("item").replace(b"\x83\xa4name", b"\x84\xa4name") + octets("block")
    message, buffers = unpack([header])
    block = Block("0123456789abcdef" * 2, 8192, 5)
    assert message.arrays[0].block == block == DOCUMENT.described("block", Block)
    assert (pack(message), buffers) == (header, [])


@pytest.mark.parametrize("message", [*MESSAGES, *PARTS])
def test_each_message_has_its_fields_types_and_defaults(message):
    kinds = typing.get_type_hints(message, include_extras=True)
    table = rows(message.__name__, "Field")
    assert [row[:3] for row in table] == [
        [f"`{f.name}`", written(kinds[f.name]), default(f)] for f in msgspec.structs.fields(message)
    ]
    assert all(len(row) == 4 and row[3] for row in table)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_type_is_its_name_in_lower_case(message):
    assert message.__struct_config__.tag == message.__name__.lower()


def test_there_are_no_other_messages():
    headings = re.findall(
        r"^### (\w+)$", DOCUMENT.text.split("\n## Messages\n")[1].split("\n## ")[0], re.M
    )
    assert sorted(headings) == sorted(m.__name__ for m in [*MESSAGES, *PARTS])


def test_every_named_type_has_its_bounds():
    in_fields = {n for n in DOCUMENT.aliases.values() if re.search(rf"[|→×] {n} \|", DOCUMENT.text)}
    assert in_fields | {"Coordinate"} == {row[0] for row in rows("Bounds", "Type")}


def number(text):
    power = re.match(r"(\d+)\^(\d+)( - 1)?$", text)
    return int(power[1]) ** int(power[2]) - bool(power[3]) if power else int(text)


@pytest.mark.parametrize("row", rows("Bounds", "Type"), ids=lambda row: row[0])
def test_the_bounds_are_those_of_the_types(row):
    name, _, bounds = row
    kind = getattr(messages, name)
    meta = typing.get_args(kind)[-1]
    if words := re.match(
        r"(?:(\d+) to|at most) (\d+) (code points|floats|ints|Names|Coordinates)", bounds
    ):
        assert (meta.min_length or 0, meta.max_length) == (int(words[1] or 0), int(words[2]))
        if name == "Shape":
            side = typing.get_args(typing.get_args(typing.get_args(kind)[0])[0])[1]
            assert bounds.endswith("each 0 to 2^40 - 1")
            assert (side.ge, side.lt) == (0, 2**40)
    elif words := re.match(r"(\d+) to (.*)$", bounds):
        highest = meta.lt - 1 if meta.le is None else meta.le
        assert (meta.ge, highest) == (int(words[1]), number(words[2]))
    elif name == "Time":
        assert bounds.endswith("at least 0, below 2^37")
        assert (meta.ge, meta.lt) == (0, 2**37)
    elif name == "Codec":
        assert ("", *re.findall("`(.+?)`", bounds)) == typing.get_args(kind) == ("", *CODECS)
    elif name in LISTS:
        assert tuple(re.findall("`(.+?)`", bounds)) == typing.get_args(kind)
    elif name == "FeatureDtype":
        dtype = typing.get_args(messages.Dtype)[1].pattern
        assert meta.pattern == dtype.replace("<U[0-9]{1,4}", "U")
    else:
        assert name in ("Dtype", "Coordinate", "ParameterValue", "Amount")


def test_the_pattern_of_dtypes_is_the_one_in_use():
    (pattern,) = re.findall(r"```regex\n(.*)\n```", section("Dtypes"))
    assert pattern == typing.get_args(messages.Dtype)[1].pattern


def test_the_sizes_and_the_version_are_those_in_use():
    assert f"at most {codec.MAX_HEADER} bytes" in section("Bounds")
    assert f"at most {codec.MAX_BUFFER} bytes" in section("Bounds")
    assert DOCUMENT.text.startswith(f"# The streaming protocol, version {codec.VERSION}\n")
    assert pack(messages.End())[:6] == octets("hello")[:6]


def test_the_transitions_are_those_in_use():
    assert {
        (state, side, message): following
        for state, side, message, following in rows("Session", "State")
    } == {
        (state.name, "listens" if listens else "connects", message.__name__): following.name
        for (state, listens, message), following in session.TRANSITIONS.items()
    }


def test_the_roles_say_what_the_code_lets_them_say():
    assert {role: says.split(", ") for role, says in rows("Roles", "Role")} == {
        role: [message.__name__ for message in says] for role, says in session._SPOKEN_BY.items()
    }


def test_the_reject_codes_are_those_in_use():
    raised = [errors.MalformedError, errors.VersionError, errors.StateError]
    raised += [session._TokenError, session._RoleError]
    assert [code.strip("`") for code, _ in rows("Errors", "Code")] == [e.code for e in raised]


def test_the_types_of_shapes_are_those_in_use():
    (content,) = [row[3] for row in rows("Item", "Kind") if row[1] == "`types`"]
    numbers = enumerate(messages.SHAPE_TYPES)
    assert content == ", ".join(f"{number} {name}" for number, name in numbers)
