from __future__ import annotations

import re
import typing

import msgspec
import pytest

from napari_streaming.remote import link
from napari_streaming.remote.server import door, roster
from napari_streaming.remote.server import server as server_module
from napari_streaming.wire import attributes, frames, inputs, remote, scene
from napari_streaming.wire.remote import pack

from .document import Document

DOCUMENT = Document("session-protocol.md", remote, scene, inputs, attributes)
section, rows, octets = DOCUMENT.section, DOCUMENT.rows, DOCUMENT.octets
SIDES = {
    ("client", "`/state`"): remote.FromClient,
    ("server", "`/state`"): remote.FromServer,
    ("client", "`/pixels`"): remote.OnPixels,
}
MESSAGES = sorted({m for u in SIDES.values() for m in typing.get_args(u)}, key=lambda m: m.__name__)
PARTS = (scene.Layer, scene.Dims, scene.Camera, scene.Canvas)


@pytest.mark.parametrize("message", [*MESSAGES, *PARTS])
def test_each_message_has_its_fields_types_and_defaults(message):
    fields = msgspec.structs.fields(message)
    if not fields:
        assert "It has no fields." in section(message.__name__)
        return
    kinds = typing.get_type_hints(message, include_extras=True)
    table = rows(message.__name__, "Field")
    assert [row[:3] for row in table] == [
        [f"`{f.name}`", DOCUMENT.written(kinds[f.name]), DOCUMENT.default(f)] for f in fields
    ]
    assert all(len(row) == 4 and row[3] for row in table)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_type_is_its_name_in_lower_case(message):
    assert message.__struct_config__.tag == message.__name__.lower()


def test_there_are_no_other_messages():
    messages = DOCUMENT.text.split("\n## Messages\n")[1].split("\n## ")[0]
    headings = re.findall(r"^### (\w+)$", messages, re.M)
    assert sorted(headings) == sorted(m.__name__ for m in [*MESSAGES, *PARTS])


def test_each_side_says_what_the_code_lets_it_say():
    assert {(side, on): says.split(", ") for side, on, says in rows("Who says what", "Side")} == {
        key: [message.__name__ for message in typing.get_args(says)] for key, says in SIDES.items()
    }


@pytest.mark.parametrize("row", rows("Bounds", "Type"), ids=lambda row: row[0])
def test_the_bounds_are_those_of_the_types(row):
    name, bounds = row
    if name == "Value":
        assert "at most three arrays deep" in bounds
    else:
        kind = next(kind for kind, alias in DOCUMENT.aliases.items() if alias == name)
        assert DOCUMENT.bounds(kind) == bounds


def test_every_named_type_has_its_bounds():
    cells = [row[1] for message in (*MESSAGES, *PARTS) for row in fields_of(message)]
    cells += [row[2] for row in rows("Attributes", "Of")]
    cells += [row[1] for row in rows("Bounds", "Type")]
    used = {name for cell in cells for name in re.findall(r"(?<![`\w])[A-Z]\w+", cell)}
    parts = {part.__name__ for part in PARTS} | {"Scalars"}
    assert used - parts == {row[0] for row in rows("Bounds", "Type")}


def fields_of(message):
    return rows(message.__name__, "Field") if msgspec.structs.fields(message) else []


def test_the_attributes_are_those_in_use():
    common = set.intersection(*(set(kind) for kind in attributes.LAYER_ATTRIBUTES.values()))
    there_are = {"all layers": {n: attributes.LAYER_ATTRIBUTES["image"][n] for n in common}}
    there_are |= {
        kind: {name: type_ for name, type_ in of.items() if name not in common}
        for kind, of in attributes.LAYER_ATTRIBUTES.items()
    }
    there_are["dims"] = attributes.DIMS_ATTRIBUTES
    there_are["camera"] = attributes.CAMERA_ATTRIBUTES
    there_are["scene"] = attributes.SCENE_ATTRIBUTES
    assert {(of, name.strip("`")): kind for of, name, kind in rows("Attributes", "Of")} == {
        (of, name): DOCUMENT._part(kind) if kind is not bool else "bool"
        for of, names in there_are.items()
        for name, kind in names.items()
    }


@pytest.mark.parametrize(
    ("name", "kind", "unpack"),
    [
        ("hello", remote.Hello, remote.unpack_from_client),
        ("intent", remote.Intent, remote.unpack_from_client),
    ],
)
def test_the_examples_are_what_is_sent(name, kind, unpack):
    message = DOCUMENT.described(name, kind)
    assert pack(message) == octets(name)
    assert unpack(octets(name)) == message


def test_the_frame_of_the_example_is_what_is_sent():
    header = DOCUMENT.described("frame", frames.FrameHeader)
    assert b"".join(frames.pack_frame(header, bytes(range(3)))) == octets("frame")
    unpacked, payload = frames.unpack_frame(octets("frame"))
    assert (unpacked, bytes(payload)) == (header, bytes(range(3)))


def test_the_layout_of_frames_is_the_one_in_use():
    spans = [re.split(r"\D", row[0]) for row in rows("Frames", "Bytes")]
    starts = [int(span[0]) for span in spans]
    ends = [int(span[-1]) for span in spans]
    assert starts == [0, *(end + 1 for end in ends[:-1])]
    assert ends[-1] + 1 == frames.HEADER_SIZE
    text = section("Frames")
    assert f"a header of {frames.HEADER_SIZE} bytes" in text.replace("\n", " ")
    assert f"1 to {frames.MAX_FRAME_WIDTH} |" in text
    assert f"1 to {frames.MAX_FRAME_HEIGHT} |" in text
    assert f"1 to {frames.MAX_PAYLOAD} |" in text
    for numbered in (frames.CODECS, frames.CHROMAS):
        assert ", ".join(f"{number} `{name}`" for number, name in enumerate(numbered)) in text


def test_sizes_times_and_versions_are_those_in_use():
    transport = section("Transport").replace("\n", " ")
    assert f"at most {remote.MAX_TO_SERVER} bytes" in transport
    assert f"at most {remote.MAX_TO_CLIENT} bytes" in transport
    assert f"within {door.HELLO_WITHIN:.0f} seconds" in transport
    pace = section("Pace").replace("\n", " ")
    more = 1e6 / link._SLOWEST_LINK
    assert f"within {link._TIMEOUT:.0f} second, and {more:.0f} more for each megabyte" in pace
    assert f"silent for {server_module._SILENCE:.0f} seconds" in section("Session")
    assert f"For {roster.KEPT_FOR:.0f} seconds" in section("Resuming")
    assert f"within {roster.ANSWER_WITHIN:.0f} seconds" in section("Control")
    assert f"{roster.MOST_CLIENTS} clients" in section("Errors")
    assert DOCUMENT.text.startswith(f"# The session protocol, version {remote.SESSION_VERSION}\n")
    assert pack(remote.NeedKeyframe())[:6] == octets("hello")[:6]


def test_commands_are_those_in_use():
    there_are = [row[0].strip("`") for row in rows("Commands", "Command")]
    assert there_are == list(typing.get_args(remote.CommandName))
    assert f"the command `{server_module._FOR_VIEWERS[0]}`" in section("Control")
