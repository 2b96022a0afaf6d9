"""The pace of a client over simulated links, against what was measured over real ones."""

from __future__ import annotations

import heapq
import random
from statistics import median, quantiles

import pytest

from napari_streaming.errors import StateError
from napari_streaming.remote.server.pacing import HIGHEST_BITRATE, LOWEST_BITRATE, Pacing

FPS = 60
LONG = 20.0  # seconds


def stream(rate, round_trip, *, pacing=None, seconds=LONG, size=None, rates=None, seed=0):
    """Send pictures over a link; return (frames per second, ages in seconds) at arrival.

    The link holds everything that it cannot pass on at once, as TCP does: `rate` is in bits per
    second, `rates` are later ones by their time.
    """
    pacing = pacing or Pacing(FPS)
    noise = random.Random(seed)  # noqa: S311  # it is to be the same each time
    events = [(tick / FPS, 0, 0) for tick in range(int(seconds * FPS))]
    heapq.heapify(events)
    free, sequence, ages = 0.0, 0, []
    changes = sorted((rates or {}).items())
    while events:
        now, is_ack, number = heapq.heappop(events)
        while changes and changes[0][0] <= now:
            rate = changes.pop(0)[1]
        if is_ack:
            pacing.shown(number, now)
            continue
        if not pacing.may_send(now):
            continue
        sequence += 1
        nbytes = size or int(pacing.bitrate(now) / 8 / FPS * noise.uniform(0.9, 1.1))
        pacing.sent(sequence, nbytes, now)
        free = max(free, now) + nbytes * 8 / rate
        ages.append((free + round_trip / 2, free + round_trip / 2 - now))
        heapq.heappush(events, (free + round_trip, 1, sequence))
    return sequence / seconds, ages


def p95(ages, since=0.0):
    return quantiles([age for at, age in ages if at >= since], n=20)[-1]


@pytest.mark.parametrize(
    ("rate", "round_trip", "fps", "age"),
    [
        (100e6, 0.002, 59, 0.025),
        (100e6, 0.050, 59, 0.050),
        (100e6, 0.100, 59, 0.080),
        (10e6, 0.050, 50, 0.100),
        (10e6, 0.100, 50, 0.125),
        (5e6, 0.050, 50, 0.100),
    ],
)
def test_links_are_filled_and_not_flooded(rate, round_trip, fps, age):
    rate_seen, ages = stream(rate, round_trip)
    assert rate_seen >= fps
    assert p95(ages) <= age


def test_a_link_that_gets_slower_is_flooded_only_for_a_moment():
    pacing = Pacing(FPS)
    rate_seen, ages = stream(50e6, 0.05, pacing=pacing, rates={8: 5e6}, seconds=20)
    assert rate_seen >= 50
    assert p95(ages, since=12) <= 0.120
    assert pacing.bitrate(21) <= 6e6


def test_a_link_that_gets_faster_is_used():
    pacing = Pacing(FPS)
    stream(5e6, 0.05, pacing=pacing, rates={8: 50e6}, seconds=20)
    assert pacing.bitrate(20) > 15e6


def test_a_way_that_gets_longer_is_learned():
    pacing = Pacing(FPS)
    stream(100e6, 0.01, pacing=pacing, seconds=5)
    assert pacing.window == 2
    for number in range(1000, 3000):
        now = 10 + number / 50
        pacing.sent(number, 10_000, now)
        pacing.shown(number, now + 0.2)
        pacing.may_send(now + 0.2)
    assert pacing.window == 13


def test_a_window_of_two_is_the_floor_and_the_start():
    pacing = Pacing(FPS)
    assert pacing.window == 2
    pacing.sent(0, 1, 0.0)
    assert pacing.may_send(0.0)
    pacing.sent(1, 1, 0.0)
    assert not pacing.may_send(0.0)
    pacing.shown(1, 0.001)
    assert (pacing.under_way, pacing.window) == (0, 2)
    assert pacing.may_send(0.001)


def test_a_client_that_says_nothing_gets_nothing_and_less_later():
    pacing = Pacing(FPS)
    pacing.sent(0, 1, 0.0)
    pacing.sent(1, 1, 0.0)
    before = pacing.bitrate(0.0)
    assert not pacing.may_send(3600.0)
    assert pacing.bitrate(3600.0) < before


def test_small_pictures_do_not_lead_to_a_flood():
    pacing = Pacing(FPS)
    stream(10e6, 0.05, pacing=pacing, size=500)
    assert pacing.bitrate(LONG) <= 10e6


def test_the_bit_rate_stays_in_its_bounds():
    pacing = Pacing(FPS)
    stream(1e9, 0.002, pacing=pacing, seconds=60)
    assert pacing.bitrate(60) == HIGHEST_BITRATE
    pacing.want(FPS, 3e6)
    assert pacing.bitrate(60) == 3e6
    pacing.want(FPS, 0)
    assert pacing.bitrate(60) == HIGHEST_BITRATE
    slow = Pacing(FPS)
    stream(1e5, 0.05, pacing=slow, seconds=60)
    assert slow.bitrate(60) == LOWEST_BITRATE


def test_a_frame_that_was_never_sent_cannot_be_shown():
    pacing = Pacing(FPS)
    pacing.sent(3, 1, 0.0)
    with pytest.raises(StateError, match="frame 4"):
        pacing.shown(4, 0.1)
    pacing.shown(3, 0.1)
    pacing.shown(3, 0.2)  # a word too many does no harm
    assert pacing.under_way == 0


def test_half_of_the_pictures_are_young():
    _, ages = stream(10e6, 0.05)
    assert median(age for _, age in ages) <= 0.065
