from __future__ import annotations

import functools
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.zstd import compress

from napari_streaming.remote.client import decoder as decoder_module
from napari_streaming.remote.client.codecs import Broken, VideoCodec
from napari_streaming.remote.client.decoder import Decoder
from napari_streaming.remote.server.capture import Picture
from napari_streaming.remote.server.encoders import encode_still, open_rung
from napari_streaming.wire.frames import FrameHeader

WAIT_S = 15
WIDTH, HEIGHT = 64, 48


def numbered(number, width=WIDTH, height=HEIGHT, chroma="420"):
    """A picture whose number can be read from its brightness."""
    small = (height // 2, width // 2) if chroma == "420" else (height, width)
    luma = np.tile(np.linspace(0, 20, width), (height, 1)) + 30 + 5 * number
    colour = np.full(small, 90, np.uint8), np.full(small, 160, np.uint8)
    return Picture((luma.astype(np.uint8), *colour), width, height, 0.0)


def number_of(frame):
    return round((float(frame.planes[0].mean()) - numbered(0).planes[0].mean()) / 5)


@functools.cache
def stream(name="libx264", keyframes=(), chroma="420", width=WIDTH, height=HEIGHT):
    """Units of the pictures 0 to 15, the first a keyframe, and those named."""
    encoder = open_rung(name, width, height, 60, 20_000_000, chroma)
    pictures = [numbered(number, width, height, chroma) for number in range(16)]
    units = [encoder.encode(p, keyframe=n in keyframes) for n, p in enumerate(pictures)]
    encoder.close()
    return units


def header_of(unit, sequence=0, **changes):
    fields = {"codec": unit.codec, "chroma": unit.chroma, "keyframe": unit.keyframe}
    fields |= {"width": WIDTH, "height": HEIGHT} | changes
    return FrameHeader(sequence=sequence, **fields)


class Client:
    """A decoder, what it called and showed, and a gate that holds its thread."""

    def __init__(self, takes=True):
        self.takes = takes
        self.asks = self.sequence = self.calls = 0
        self.shown = {}
        self.gate = threading.Event()
        self.gate.set()
        self.decoder = Decoder(self._on_frame, self._on_need_keyframe)

    def _on_frame(self):
        self.calls += 1
        if self.takes:
            frame = self.decoder.take()
            self.shown[frame.header.sequence] = frame
        assert self.gate.wait(WAIT_S)

    def _on_need_keyframe(self):
        self.asks += 1

    def put(self, unit, payload=None, **changes):
        """Put a unit; return its number in the order of all."""
        self.sequence += 1
        self.decoder.put(header_of(unit, self.sequence, **changes), payload or unit.data)
        return self.sequence

    def show(self, unit, payload=None, **changes):
        """Put a unit and return its picture."""
        sequence = self.put(unit, payload, **changes)
        return wait_until(lambda: self.shown.get(sequence))

    def settle(self):
        """Wait until all that was put is dealt with."""
        self.show(encode_still(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))

    def hold(self, unit):
        """Show a unit, and keep the thread from going on."""
        self.gate.clear()
        calls = self.calls
        self.put(unit)
        wait_until(lambda: self.calls > calls)


def wait_until(condition):
    deadline = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.001)
    return value


@pytest.fixture
def client():
    client = Client()
    yield client
    client.gate.set()
    client.decoder.close()


# ---- what goes well --------------------------------------------------------------------------


@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("name", ["libx264", "jpeg"])
def test_each_unit_is_its_picture(client, name, chroma):
    for number, unit in enumerate(stream(name, chroma=chroma)):
        frame = client.show(unit)
        assert number_of(frame) == number
        for plane, seen in zip(numbered(number, chroma=chroma).planes, frame.planes, strict=True):
            assert seen.shape == plane.shape
            assert np.abs(seen.astype(int) - plane).mean() < 2.5
            assert not seen.flags.writeable
    assert client.asks == 0


def test_pictures_stay_as_they_are_while_others_are_decoded(client):
    units = stream()
    frames = [client.show(unit) for unit in units]
    assert [number_of(frame) for frame in frames] == list(range(16))


def test_planes_of_odd_sizes_are_one_larger(client):
    frame = client.show(stream()[0], width=WIDTH - 1, height=HEIGHT - 1)
    assert frame.planes[0].shape == (HEIGHT, WIDTH)
    assert (frame.header.width, frame.header.height) == (WIDTH - 1, HEIGHT - 1)


@pytest.mark.parametrize("name", ["libx264", "jpeg"])
@pytest.mark.parametrize("width", [16, 130, 296, 324, 630, 712])
def test_any_width_is_taken(client, name, width):
    planes = tuple(np.full(shape, 90, np.uint8) for shape in ((98, width), *[(49, width // 2)] * 2))
    with closing(open_rung(name, width, 98, 60, 10_000_000)) as encoder:
        unit = encoder.encode(Picture(planes, width, 98, 0.0), keyframe=True)
    assert client.show(unit, width=width, height=98).planes[0].shape == (98, width)


@pytest.mark.parametrize("shape", [(1, 1, 3), (47, 65, 3), (480, 640, 3)])
def test_a_still_is_exact(client, shape):
    rgb = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    frame = client.show(encode_still(rgb), height=shape[0], width=shape[1])
    np.testing.assert_array_equal(frame.planes[0], rgb)


def test_a_still_between_units_harms_nothing(client):
    units = stream()
    client.show(units[0])
    client.show(encode_still(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    assert number_of(client.show(units[1])) == 1


def test_a_stream_of_another_size_starts_with_its_keyframe(client):
    small, large = stream(), stream(width=128, height=96)
    client.show(small[0])
    assert client.show(large[0], width=128, height=96).planes[0].shape == (96, 128)
    assert number_of(client.show(large[1], width=128, height=96)) == 1
    over = client.put(small[1])
    client.settle()
    assert client.asks == 1
    assert over not in client.shown


def test_units_of_memory_that_is_someone_elses(client):
    unit = stream()[0]
    message = bytearray(b"header" + unit.data)
    assert number_of(client.show(unit, payload=memoryview(message)[6:])) == 0


def test_the_newest_picture_wins(client):
    units = stream()
    client.takes = False
    client.hold(units[0])
    for unit in units[1:]:
        client.put(unit)
    client.gate.set()
    # All are decoded, since each builds on the one before; one is left to take.
    wait_until(lambda: client.calls == len(units))
    assert number_of(client.decoder.take()) == 15
    assert client.decoder.take() is None


def test_a_keyframe_overtakes_what_waits(client):
    units = stream(keyframes=(8,))
    client.hold(units[0])
    sequences = [client.put(unit) for unit in units[1:9]]
    client.gate.set()
    client.settle()
    assert set(client.shown) & set(sequences) == set(sequences[-1:])
    assert number_of(client.shown[sequences[-1]]) == 8


def test_a_still_that_is_overtaken_is_not_decoded(client):
    client.hold(stream()[0])
    still = client.put(encode_still(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    unit = client.put(stream()[1])
    client.gate.set()
    client.settle()
    assert unit in client.shown
    assert still not in client.shown


# ---- what does not ---------------------------------------------------------------------------


@pytest.fixture
def one_ask(monkeypatch):
    monkeypatch.setattr(decoder_module, "_ASK_AGAIN_S", 3600.0)


@pytest.mark.usefixtures("one_ask")
def test_nothing_is_shown_before_a_keyframe_and_it_is_asked_for_once(client):
    units = stream(keyframes=(8,))
    for unit in units[1:8]:
        client.put(unit)
        client.settle()
    assert client.asks == 1
    assert number_of(client.show(units[8])) == 8


def test_a_keyframe_that_does_not_come_is_asked_for_again(client, monkeypatch, until):
    monkeypatch.setattr(decoder_module, "_ASK_AGAIN_S", 0.05)
    client.put(stream()[1])
    until(lambda: client.asks == 1)
    # The keyframe comes damaged at once, and nothing after it: the decoder asks by itself.
    client.put(stream()[0], stream()[0].data[:40])
    until(lambda: client.asks == 2)


def damaged(data, how):
    match how:
        case "truncated":
            return data[: len(data) // 2]
        case "random":
            return np.random.default_rng(0).bytes(len(data))
        case "zero":
            return bytes(len(data))
        case "headless":
            return data[len(data) // 2 :]
        case "one byte":
            return data[:1]


@pytest.mark.usefixtures("one_ask")
@pytest.mark.parametrize("how", ["truncated", "random", "zero", "headless", "one byte"])
@pytest.mark.parametrize("name", ["libx264", "jpeg", "zstd"])
def test_damage_costs_the_pictures_up_to_the_next_keyframe(client, name, how, until):
    if name == "zstd":
        random = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        units = [encode_still(random)] * 16
    else:
        units = stream(name, keyframes=(8,))
    client.show(units[0])
    lost = {client.put(units[1], damaged(units[1].data, how))}
    until(lambda: client.asks == 1)
    if name == "libx264":
        lost.add(client.put(units[2]))  # which has nothing to build on
        client.settle()
    assert not lost & set(client.shown)
    frame = client.show(units[8])
    assert name == "zstd" or number_of(frame) == 8
    assert client.asks == 1


@pytest.mark.usefixtures("one_ask")
@pytest.mark.parametrize("name", ["libx264", "jpeg"])
@pytest.mark.parametrize(
    "lie",
    [
        {"width": 16, "height": 16},
        {"width": 7680, "height": 4320},
        {"height": HEIGHT + 16},
        {"chroma": "444"},
        {"chroma": "rgb"},
    ],
)
def test_a_picture_that_is_not_what_its_header_says_is_not_shown(client, name, lie):
    lied = client.put(stream(name)[0], **lie)
    client.settle()
    assert client.asks == 1
    assert lied not in client.shown
    assert number_of(client.show(stream(name)[0])) == 0


@pytest.mark.usefixtures("one_ask")
@pytest.mark.parametrize(
    "payload",
    [
        compress(bytes(HEIGHT * WIDTH * 3 + 1), 1),
        compress(bytes(HEIGHT * WIDTH * 3 - 1), 1),
        compress(bytes(10**8), 1),
        # A frame that does not say how large it is, of one raw block without content.
        b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00",
        b"\x28\xb5\x2f\xfd\xc0" + b"\xff" * 20,
    ],
)
def test_a_still_of_another_size_is_not_decompressed(client, payload, until):
    client.put(encode_still(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), payload)
    until(lambda: client.asks == 1)
    assert not client.shown


def test_no_memory_is_taken_for_a_picture_larger_than_announced():
    unit = stream(width=640, height=480)[0]
    codec = VideoCodec(header_of(unit))
    with pytest.raises(Broken) as broken:
        codec.decode(unit.data)
    assert "announced" not in str(broken.value)  # FFmpeg refused, and decoded nothing


@pytest.mark.usefixtures("one_ask")
def test_a_unit_without_a_picture_or_with_two(client):
    units = stream(keyframes=(8,))
    client.show(units[0])
    # Parameter sets and information come first, each after a start code; the slices last.
    parts = units[8].data.split(b"\0\0\1")
    headers = b"\0\0\1".join(part for part in parts if not part or part[0] & 31 not in (1, 5))
    lost = [client.put(units[8], headers), client.put(units[8], units[0].data + units[1].data)]
    client.settle()
    assert client.asks == 1
    assert not set(lost) & set(client.shown)
    assert number_of(client.show(units[8])) == 8


@pytest.mark.usefixtures("one_ask")
def test_a_queue_that_nobody_empties_is_bounded(client):
    units = stream(keyframes=(8,))
    client.hold(units[0])
    for _ in range(10_000):
        client.put(units[1])
    assert len(client.decoder._waiting) <= 64
    client.gate.set()
    client.settle()
    assert client.asks == 1
    lost = client.put(units[1])
    client.settle()
    assert lost not in client.shown
    assert number_of(client.show(units[8])) == 8


def test_an_overrun_asks_by_itself(client, until):
    client.hold(stream()[0])
    for _ in range(65):
        client.put(stream()[1])
    assert not client.decoder._waiting
    client.gate.set()
    until(lambda: client.asks == 1)


@pytest.mark.usefixtures("one_ask")
def test_after_a_reset_everything_starts_anew(client):
    units = stream()
    client.hold(units[0])
    lost = [client.put(units[1])]
    client.decoder.reset()
    assert client.decoder.take() is None
    client.gate.set()
    lost.append(client.put(units[2]))
    client.settle()
    assert client.asks == 1
    assert not set(lost) & set(client.shown)
    assert number_of(client.show(units[0])) == 0


def test_what_was_being_decoded_at_a_reset_is_not_shown(client, monkeypatch):
    real, begun, resets = VideoCodec.decode, threading.Event(), threading.Event()

    def slow(codec, payload):
        begun.set()
        assert resets.wait(WAIT_S)
        return real(codec, payload)

    monkeypatch.setattr(VideoCodec, "decode", slow)
    lost = client.put(stream()[0])
    assert begun.wait(WAIT_S)
    client.decoder.reset()
    resets.set()
    client.settle()
    assert lost not in client.shown


def test_closing_from_a_callback_and_twice():
    done = threading.Event()

    def close():
        decoder.close()
        done.set()

    decoder = Decoder(close)
    decoder.put(header_of(stream()[0]), stream()[0].data)
    assert done.wait(WAIT_S)
    decoder.close()
    assert not decoder._thread.is_alive()


# ---- anything at all -------------------------------------------------------------------------

changes = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=6)
header_changes = st.fixed_dictionaries(
    {},
    optional={
        "codec": st.sampled_from(["h264", "jpeg", "zstd"]),
        "chroma": st.sampled_from(["420", "444", "rgb"]),
        "keyframe": st.booleans(),
        "width": st.integers(1, 200),
        "height": st.integers(1, 200),
    },
)
damages = st.lists(
    st.one_of(
        st.tuples(st.just("bytes"), st.binary(min_size=1, max_size=300), header_changes),
        st.tuples(st.integers(0, 15), st.tuples(changes, st.integers(0, 400)), header_changes),
        st.tuples(st.just("reset"), st.none(), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(damages)
def test_no_bytes_stop_the_decoder(steps):
    units = stream(keyframes=(4, 8, 12))
    client = Client()
    try:
        for kind, what, lie in steps:
            if kind == "reset":
                client.decoder.reset()
                continue
            if kind == "bytes":
                client.put(units[0], payload=what, **lie)
                continue
            bits, length = what
            data = bytearray(units[kind].data)
            for place, mask in bits:
                data[place % len(data)] ^= mask
            client.put(units[kind], payload=bytes(data)[: length or None], **lie)
        client.put(units[8])
        client.settle()
        assert number_of(client.show(units[9])) == 9
        assert client.decoder._thread.is_alive()
    finally:
        client.decoder.close()
