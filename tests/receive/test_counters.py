from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.receive.counters import LayerCounters
from napari_streaming.receive.latency import Quantiles, Recent, Stages


def arrive(counters, *, at, count=1, nbytes=100, waited=0.0, took=0.0):
    """Have items that were published `waited` before they were received, placed `took` after."""
    for _ in range(count):
        counters.arrived(nbytes, at - took - waited, at - took, at)


def test_before_the_first_there_is_nothing():
    stats = LayerCounters().stats(0.0)
    assert (stats.received, stats.shown, stats.dropped, stats.gaps, stats.gap_reason) == (
        0, 0, 0, 0, "",
    )  # fmt: skip
    for quantiles in (stats.stages.received, stats.stages.placed, stats.stages.total):
        assert math.isnan(quantiles.p50) and math.isnan(quantiles.p95)
    assert LayerCounters().recent(0.0) == Recent()


def test_items_are_counted():
    counters = LayerCounters()
    for number in range(10):
        arrive(counters, at=10 + number / 10)
    counters.refused()
    stats = counters.stats(11.0)
    assert (stats.received, stats.refused, stats.bytes) == (10, 1, 1000)
    assert stats.per_second == pytest.approx(5) and stats.bytes_per_second == pytest.approx(500)
    assert counters.stats(100.0).per_second == 0
    assert counters.received == 10


# ---- stages ----------------------------------------------------------------------------


def test_each_stage_has_its_own_time():
    counters = LayerCounters()
    counters.arrived(1, 10.0, 10.5, 10.75)
    counters.shown(1, 12.75)
    assert counters.stats(13.0).stages == Stages(
        received=Quantiles(0.5, 0.5),
        placed=Quantiles(0.25, 0.25),
        shown=Quantiles(2.0, 2.0),
        total=Quantiles(2.75, 2.75),
    )


def test_the_quantiles_are_those_of_all_items():
    counters = LayerCounters()
    for number in range(1, 101):
        counters.arrived(1, 0.0, float(number), float(number))
    assert counters.stats(0.0).stages.received == Quantiles(50, 95)


def test_what_was_not_shown_yet_is_not_in_the_whole():
    counters = LayerCounters()
    arrive(counters, at=10.0, waited=1.0)
    assert math.isnan(counters.stats(20.0).stages.total.p50)
    counters.shown(1, 11.0)
    arrive(counters, at=12.0, waited=5.0)
    stages = counters.stats(20.0).stages
    assert stages.total == Quantiles(2, 2)
    assert stages.received == Quantiles(1, 5)


def test_all_that_became_visible_at_once_is_timed():
    counters = LayerCounters()
    for second in range(4):
        arrive(counters, at=10.0 + second)
    counters.shown(3, 14.0)
    assert counters.stats(0.0).stages.total == Quantiles(3, 4)
    counters.shown(3, 99.0)  # nothing new: the viewer only looked again
    assert counters.stats(0.0).stages.total == Quantiles(3, 4)
    counters.shown(4, 14.0)
    assert counters.stats(0.0).stages.total == Quantiles(2, 4)


def test_a_clock_that_is_off_makes_no_negative_times():
    counters = LayerCounters()
    arrive(counters, at=10.0, waited=-0.1)
    counters.shown(1, 10.0)
    assert counters.stats(0.0).stages.total == Quantiles(0, 0)
    assert counters.recent(10.0) == Recent(late=((0, 0.0),))


class Slow:
    """The same from whole lists."""

    def __init__(self):
        self.items, self.seen = [], 0

    def arrived(self, published, received, placed):
        self.items.append([published, received, placed, math.nan])

    def shown(self, count, now):
        for item in self.items[self.seen : count]:
            item[3] = now
        self.seen = count

    def total(self):
        waits = [shown - published for published, _, _, shown in self.items[-1024:]]
        waits = sorted(wait for wait in waits if not math.isnan(wait))
        ranks = (math.ceil(len(waits) * share) - 1 for share in (0.5, 0.95))
        return tuple(waits[rank] for rank in ranks) if waits else None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), max_size=8))
def test_the_last_thousand_are_those_that_count(steps):
    counters, slow, now = LayerCounters(), Slow(), 0
    for is_shown, amount in steps:
        if is_shown:
            now += amount
            count = min(slow.seen + amount, len(slow.items))
            counters.shown(count, float(now))
            slow.shown(count, float(now))
            continue
        for _ in range(amount):
            now += 1
            counters.arrived(1, now - 1.0, now - 0.5, float(now))
            slow.arrived(now - 1.0, now - 0.5, float(now))
    total = counters.stats(0.0).stages.total
    expected = slow.total()
    if expected is None:
        assert math.isnan(total.p50)
    else:
        assert (total.p50, total.p95) == expected


# ---- losses ----------------------------------------------------------------------------


def test_drops_without_an_item_between_them_are_one_gap():
    counters = LayerCounters()
    counters.dropped(3, "newer ones came", 1.0)
    counters.dropped(1, "overwritten", 1.0)
    stats = counters.stats(0.0)
    assert (stats.dropped, stats.gaps, stats.gap_reason) == (4, 1, "overwritten")
    arrive(counters, at=2.0)
    counters.dropped(2, "newer ones came", 3.0)
    stats = counters.stats(0.0)
    assert (stats.dropped, stats.gaps, stats.gap_reason) == (6, 2, "newer ones came")


def test_a_gap_of_what_is_here_is_none():
    counters = LayerCounters()
    counters.dropped(0, "told again", 1.0)
    stats = counters.stats(0.0)
    assert (stats.dropped, stats.gaps, stats.gap_reason) == (0, 0, "")
    assert counters.recent(1.0) == Recent()


# ---- the last half minute --------------------------------------------------------------


def test_the_longest_wait_of_each_quarter_of_a_second_is_kept():
    counters = LayerCounters()
    for shown_at, waited in ((100.0, 1.0), (100.1, 3.0), (100.2, 2.0), (100.5, 0.5)):
        arrive(counters, at=shown_at, waited=waited)
        counters.shown(counters.received, shown_at)
    assert counters.recent(100.5) == Recent(late=((2, pytest.approx(3)), (0, pytest.approx(0.5))))


def test_of_items_shown_together_the_one_that_waited_longest_counts():
    counters = LayerCounters()
    for second in range(5):
        arrive(counters, at=10.0 + second)
    counters.shown(5, 15.0)
    assert counters.recent(15.0) == Recent(late=((0, 5.0),))


def test_losses_are_noted_once_in_a_quarter_of_a_second():
    counters = LayerCounters()
    for now in (10.0, 10.1, 11.0):
        counters.dropped(1, "x", now)
    assert counters.recent(11.0) == Recent(lost=(4, 0))


def test_what_is_older_than_half_a_minute_is_forgotten():
    counters = LayerCounters()
    for quarter in range(400):
        now = 1000 + quarter / 4
        arrive(counters, at=now, waited=1.0)
        counters.shown(counters.received, now)
        counters.dropped(1, "x", now)
    recent = counters.recent(1000 + 399 / 4)
    assert [ago for ago, _ in recent.late] == list(recent.lost) == list(range(119, -1, -1))
    assert len(counters.recent(1000 + 409 / 4).late) == 110
    assert counters.recent(2000.0) == Recent()


# ---- threads ---------------------------------------------------------------------------


def test_counters_are_read_while_others_count():
    """A rate that forgets old events in two threads at once loses its balance, or worse."""
    counters, errors = LayerCounters(), []

    def count():
        now = 0.0
        try:
            for _ in range(3000):
                now += 0.5
                arrive(counters, at=now)
                counters.shown(counters.received, now)
                counters.dropped(1, "x", now)
                counters.stats(now + 1.9)
                counters.recent(now)
        except Exception as error:  # noqa: BLE001  # the test shows it
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    stats = counters.stats(10_000.0)
    assert (stats.received, stats.dropped) == (9000, 9000)
    assert np.isfinite(stats.stages.total.p95)
