"""MessagePack in the browser, held against the one that programs use."""

from __future__ import annotations

import json

import msgspec
import pytest

VALUES = [
    None, True, False, 0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1,
    -1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**53) + 1,
    0.5, -1.25e300, "", "é" * 31, "x" * 32, "y" * 300, "z" * 70000, "\U0001f52c",
    [], list(range(15)), list(range(16)), [0] * 70000, {}, {"a": {"b": [1, {"c": None}]}},
    {str(i): i for i in range(16)}, {str(i): i for i in range(70000)}, {"__proto__": 1},
]  # fmt: skip
RUN = (
    "(async () => {{ const {{ decode, encode }} = await import('/msgpack.js'); "
    "const bytes = Uint8Array.from({0}); return {1}; }})()"
)


@pytest.fixture
def there(page, publisher):
    page.open(publisher("ws://127.0.0.1:0?listen").pages[0])
    return lambda data, script: page.chromium.run(RUN.format(list(data), script))


def test_all_values_are_read_and_written(there):
    packed = msgspec.msgpack.encode(VALUES)
    assert json.loads(there(packed, "JSON.stringify(decode(bytes))")) == VALUES
    assert msgspec.msgpack.decode(bytes(there(packed, "[...encode(decode(bytes))]"))) == VALUES


def test_integers_of_64_bits_become_numbers(there):
    packed = msgspec.msgpack.encode([2**63 - 1, -(2**63), 2**64 - 1])
    assert there(packed, "decode(bytes)") == [float(2**63), -float(2**63), float(2**64)]


def test_what_is_cut_off_is_an_error(there):
    packed = msgspec.msgpack.encode({"type": "item", "at": {"t": 1.5}, "arrays": [[1, 2], "abc"]})
    cut = (
        "bytes.map((_, i) => { try { decode(bytes.subarray(0, i)); return 0; } "
        "catch { return 1; } }).every(Boolean)"
    )
    assert there(packed, cut) is True


@pytest.mark.parametrize(
    "junk",
    [b"\xc1", b"\x00\x00", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 100,
     b"\xa1\xff", b"\xc7\x01\x05a", b"\x81\x90\x01"],
)  # fmt: skip
def test_junk_is_an_error(there, junk):
    caught = "(() => { try { return decode(bytes); } catch (error) { return 'an error'; } })()"
    assert there(junk, caught) == "an error"
