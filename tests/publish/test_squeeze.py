from __future__ import annotations

import numpy as np
import pytest

from napari_streaming.publish.squeeze import Squeeze
from napari_streaming.publish.staging import Parcel, Staged

MIB = 2**20


def parcel(stream=0, data=None):
    pixels = bytes(4 * MIB) if data is None else data
    array = Staged("data", "<u2", (len(pixels) // 2,), None, pixels)
    return Parcel(stream, 0, 0.0, {}, (array,), len(pixels), {})


class Line:
    """A link that carries so many bytes in a second, and who squeezes for it."""

    def __init__(self, rate, codecs=("zstd",)):
        self.now, self.rate = 100.0, rate
        self.squeeze = Squeeze(codecs, lambda: self.now)

    def carry(self, nbytes, *, ahead=2):
        """Send pieces of a MiB, `ahead` of which are under way at a time."""
        one = parcel()
        for number in range(nbytes // MIB + ahead):
            if number < nbytes // MIB:
                self.squeeze.sent(one, MIB)
            if number >= ahead:
                self.now += MIB / self.rate
                self.squeeze.acknowledged(MIB)


@pytest.mark.parametrize(("rate", "wanted"), [(10e6, True), (100e6, True), (1e9, False)])
def test_a_link_that_is_slower_than_the_codec_gets_less(rate, wanted):
    line = Line(rate)
    assert not line.squeeze.wants(parcel())  # nobody knows yet
    line.carry(max(8 * MIB, int(rate)))
    assert line.squeeze.link == pytest.approx(rate, rel=0.5)
    assert line.squeeze.wants(parcel()) is wanted


def test_an_idle_link_says_nothing_of_its_speed():
    line = Line(1e3)
    for _ in range(100):
        line.squeeze.sent(parcel(), MIB - 1)
        line.now += 1
        line.squeeze.acknowledged(MIB - 1)
    assert line.squeeze.link == np.inf


def test_who_does_not_understand_it_gets_nothing_compressed():
    line = Line(1e6, ())
    line.carry(8 * MIB)
    assert not line.squeeze.wants(parcel())
    assert line.squeeze.window(64 * MIB) == 64 * MIB


def test_no_more_is_under_way_than_the_link_carries_in_half_a_second():
    line = Line(10e6)
    assert line.squeeze.window(64 * MIB) == 64 * MIB
    line.carry(20 * MIB)
    assert MIB <= line.squeeze.window(64 * MIB) <= 10e6


def test_noise_is_sent_as_it_is_and_tried_again_later():
    line = Line(10e6)
    line.carry(8 * MIB)
    noise = parcel(1, np.random.default_rng(0).integers(0, 256, 65536, np.uint8).tobytes())
    assert line.squeeze.wants(noise)
    (packed,) = line.squeeze.pack(noise)
    assert packed.codec == "" and len(packed.data) == 65536
    assert not line.squeeze.wants(noise) and line.squeeze.wants(parcel())
    for _ in range(64):
        line.squeeze.sent(noise, 0)
    line.squeeze._ratios.clear()
    assert line.squeeze.wants(noise)


def test_a_link_that_nothing_fills_is_tried_again():
    line = Line(10e6)
    line.carry(8 * MIB)
    for _ in range(10):
        line.now += 11
        line.squeeze.sent(parcel(), 1000)
        line.squeeze.acknowledged(1000)
    assert not line.squeeze.wants(parcel())
