from __future__ import annotations

import av
import numpy as np
import pytest
from numcodecs.zstd import decompress

from napari_streaming.bench.sequences import SEQUENCES, planes_of, psnr, rgb_of
from napari_streaming.errors import DataError, EncoderError
from napari_streaming.remote.server import encoders
from napari_streaming.remote.server.capture import Picture
from napari_streaming.remote.server.encoders import RUNGS, choose, encode_still, open_rung
from napari_streaming.remote.server.ladder import trial

FPS, BITRATE = 60, 20_000_000
SOFTWARE = ("libx264", "jpeg")


@pytest.fixture(autouse=True)
def private_cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "cache"  # one for all: each rung is tried once
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))


@pytest.fixture
def opened():
    """Open a rung that works here, or skip the test."""
    open_ones = []

    def open_it(name, width=64, height=48, chroma="420", bitrate=BITRATE):
        reason = "" if name in SOFTWARE else trial(name).reasons[chroma]
        if reason:
            pytest.skip(f"{name}: {reason}")
        open_ones.append(open_rung(name, width, height, FPS, bitrate, chroma))
        return open_ones[-1]

    yield open_it
    for encoder in open_ones:
        encoder.close()


def numbered(number, width=64, height=48, chroma="420"):
    """A picture whose number can be read from its brightness, with a slope in each plane."""
    luma = 30 + 5 * number + np.linspace(0, 20, width).astype(np.uint8)
    small = (height // 2, width // 2) if chroma == "420" else (height, width)
    u = np.linspace(80, 140, small[1]).astype(np.uint8)
    v = np.linspace(180, 120, small[0]).astype(np.uint8)[:, None]
    planes = (
        np.broadcast_to(luma.astype(np.uint8), (height, width)),
        *(np.broadcast_to(plane, small) for plane in (u, v)),
    )
    return Picture(planes, width, height, 0.0)


def noisy(seed, width=640, height=480):
    random = np.random.default_rng(seed)
    shapes = [(height, width), (height // 2, width // 2), (height // 2, width // 2)]
    planes = tuple(random.integers(16, 236, shape, np.uint8) for shape in shapes)
    return Picture(planes, width, height, 0.0)


class Player:
    """FFmpeg's decoder as any client would have it."""

    def __init__(self, unit):
        self.context = av.CodecContext.create("mjpeg" if unit.codec == "jpeg" else "h264", "r")
        self.context.flags |= int(av.codec.context.Flags.low_delay)

    def show(self, unit):
        (self.frame,) = self.context.decode(av.Packet(unit.data))
        return tuple(
            np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width]
            for plane in self.frame.planes
        )


def play(units):
    player = Player(units[0])
    return [player.show(unit) for unit in units]


# ---- what every rung must do; hardware where this machine has some ---------------------------


@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("name", RUNGS)
def test_one_in_one_out_and_it_is_that_one(opened, name, chroma):
    encoder = opened(name, 640, 480, chroma)
    pictures = [numbered(number, 640, 480, chroma) for number in range(12)]
    player = None
    for number, picture in enumerate(pictures):
        unit = encoder.encode(picture)
        assert (unit.codec, unit.chroma) == (encoder.codec, chroma)
        player = player or Player(unit)
        for plane, seen in zip(picture.planes, player.show(unit), strict=True):
            # The next number is 5 away.
            assert np.abs(plane.astype(int) - seen).mean() < 2.5, number


@pytest.mark.parametrize("name", RUNGS)
def test_keyframes_come_when_asked_for_and_stand_alone(opened, name):
    encoder = opened(name, 640, 480)
    units = [encoder.encode(numbered(n, 640, 480), keyframe=n == 7) for n in range(12)]
    if encoder.codec == "h264":
        assert [n for n, unit in enumerate(units) if unit.keyframe] == [0, 7]
    first, *_ = play(units[7:])
    np.testing.assert_allclose(first[0].mean(), numbered(7, 640, 480).planes[0].mean(), atol=2)


# ---- software --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOFTWARE)
@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("size", [(16, 16), (18, 34), (130, 2), (7680, 4320)])
def test_every_even_size_goes_through(opened, name, chroma, size):
    picture = numbered(3, *size, chroma=chroma)
    (planes,) = play([opened(name, *size, chroma, 200_000_000).encode(picture)])
    assert [plane.shape for plane in planes] == [plane.shape for plane in picture.planes]
    for plane, seen in zip(picture.planes, planes, strict=True):
        assert psnr(plane, seen) > 30


@pytest.mark.parametrize("name", SOFTWARE)
def test_odd_sizes_and_other_pictures_are_the_callers_fault(opened, name):
    with pytest.raises(DataError, match="even"):
        open_rung(name, 63, 48, FPS, BITRATE)
    encoder = opened(name)
    for picture in (numbered(0, 32, 48), numbered(0, chroma="444"), noisy(0)):
        with pytest.raises(DataError, match="planes of"):
            encoder.encode(picture)
    assert encoder.encode(numbered(0)).keyframe  # and nothing is broken by it


def test_the_colours_are_labelled(opened):
    unit = opened("libx264").encode(numbered(0))
    player = Player(unit)
    player.show(unit)
    frame = player.frame
    described = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert described == (1, 1, 1, 1)  # BT.709 three times, limited range


def test_no_frame_takes_much_more_than_its_share(opened):
    encoder = opened("libx264", 640, 480, bitrate=8_000_000)
    sizes = [len(encoder.encode(noisy(n), keyframe=n == 20).data) for n in range(40)]
    assert max(sizes) < 1.2 * 8_000_000 / 8 / FPS
    assert np.mean(sizes) > 0.5 * 8_000_000 / 8 / FPS


# JPEG does not get as small: its pictures know nothing of each other.
@pytest.mark.parametrize(("name", "times"), [("libx264", 1), ("jpeg", 8)])
def test_the_bitrate_changes_at_once_and_without_a_keyframe(opened, name, times):
    encoder = opened(name, 640, 480)
    settled = {}
    for rate in (20, 8, 40, 12):
        share = times * rate * 1e6 / 8 / FPS
        encoder.set_bitrate(times * rate * 10**6)
        units = [encoder.encode(noisy(n)) for n in range(16)]
        settled[rate] = np.mean([len(unit.data) for unit in units[8:]])
        assert settled[rate] == pytest.approx(share, rel=0.5)
        if name == "libx264":
            assert [unit.keyframe for unit in units] == [rate == 20] + 15 * [False]
            # From the second on: the first still pays for what the ones before it took.
            assert max(len(unit.data) for unit in units[1:]) < 1.3 * share
    assert sorted(settled, key=settled.get) == [8, 12, 20, 40]


def test_a_rate_out_of_this_world_is_bounded(opened):
    encoder = opened("libx264")
    for rate in (0, 10**12):
        encoder.set_bitrate(rate)
        assert encoder.encode(numbered(1)).data


def test_colour_survives_the_whole_way_as_far_as_its_sampling_allows():
    quality = {}
    rgb = next(SEQUENCES["rotate"](320, 240))
    for chroma in ("420", "444"):
        encoder = open_rung("libx264", 320, 240, FPS, 100_000_000, chroma)
        units = [encoder.encode(Picture(planes_of(rgb, chroma), 320, 240, 0.0)) for _ in range(8)]
        encoder.close()
        quality[chroma] = psnr(rgb, rgb_of(play(units)[-1]))
    assert quality["420"] > 30
    assert quality["444"] > 38


# ---- choosing --------------------------------------------------------------------------------


def test_the_first_rung_that_works_is_chosen_and_then_the_next():
    works = [name for name in RUNGS if trial(name).works]
    assert set(SOFTWARE) <= set(works)
    for passed, name in enumerate(works):
        encoder = choose(640, 480, FPS, BITRATE, without=works[:passed])
        assert encoder.name == name
        encoder.close()


def test_one_may_be_wanted():
    encoder = choose(64, 48, FPS, BITRATE, "jpeg", "444")
    assert (encoder.name, encoder.codec, encoder.chroma) == ("jpeg", "jpeg", "444")
    encoder.close()


def test_when_nothing_works_every_reason_is_said():
    with pytest.raises(EncoderError, match=r"libx264: failed before; jpeg: failed before"):
        choose(64, 48, FPS, BITRATE, without=RUNGS)
    with pytest.raises(EncoderError, match="h264_qsv"):
        choose(64, 48, FPS, BITRATE, "h264_qsv", "444")
    with pytest.raises(EncoderError, match="no encoder 'h266'"):
        choose(64, 48, FPS, BITRATE, "h266")


def test_a_rung_that_passed_its_trial_but_does_not_open_is_passed_over(monkeypatch):
    real = encoders.open_rung

    def refuse(name, *arguments):
        if name != "jpeg":
            raise EncoderError(f"{name} has had enough")
        return real(name, *arguments)

    monkeypatch.setattr(encoders, "open_rung", refuse)
    encoder = choose(64, 48, FPS, BITRATE)
    assert encoder.name == "jpeg"
    encoder.close()


@pytest.mark.parametrize("name", RUNGS)
def test_a_rung_opens_or_says_why_not(name):
    try:
        open_rung(name, 640, 480, FPS, BITRATE).close()
    except EncoderError as error:
        assert str(error)


# ---- stills ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 3), (47, 65, 3), (480, 640, 3)])
def test_a_still_loses_nothing(shape):
    rgb = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    unit = encode_still(rgb[:, ::-1])  # not contiguous
    assert (unit.codec, unit.chroma, unit.keyframe) == ("zstd", "rgb", True)
    back = np.frombuffer(decompress(unit.data), np.uint8).reshape(shape)
    np.testing.assert_array_equal(back, rgb[:, ::-1])


def test_a_still_that_no_frame_can_carry_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (4320, 7680, 3), np.uint8)
    with pytest.raises(EncoderError, match="a still of"):
        encode_still(noise)


# ---- the sequences that all this is measured with --------------------------------------------


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_move(name):
    sequence = SEQUENCES[name](96, 64)
    first, second = next(sequence).copy(), next(sequence)
    assert first.shape == second.shape == (64, 96, 3)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)


def test_planes_and_back():
    rgb = next(SEQUENCES["rotate"](96, 64))
    assert psnr(rgb, rgb_of(planes_of(rgb, "444"))) > 45
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    assert [int(plane[0, 0]) for plane in planes_of(white)] == [235, 128, 128]
    assert [int(plane[0, 0]) for plane in planes_of(black)] == [16, 128, 128]
