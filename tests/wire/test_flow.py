from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import StateError
from napari_streaming.wire.flow import Drops, Heard, Rate, Receipts, SendWindow, Sequence
from napari_streaming.wire.messages import Ack, Gap, Metric, Status

in_any_time = settings(deadline=None)

SEND_OR_ACK = st.lists(
    st.tuples(st.just("send"), st.integers(0, 60))
    | st.tuples(st.just("ack"), st.integers(-2, 6))
    | st.tuples(st.just("clear"), st.just(0)),
    max_size=60,
)


@in_any_time
@given(st.integers(0, 100), SEND_OR_ACK)
def test_a_window_keeps_the_books_of_a_plain_list(limit, steps):
    window = SendWindow(limit)
    under_way, sent, acknowledged = [], 0, 0
    for what, number in steps:
        if what == "send":
            fits = not under_way or sum(size for _, size in under_way) + number <= limit
            assert window.admits(number) == fits
            if fits:
                window.sent(f"item {sent}", number)
                under_way.append((f"item {sent}", number))
                sent += 1
        elif what == "clear":
            assert window.clear() == [thing for thing, _ in under_way]
            under_way = []
        elif 0 <= number <= len(under_way):
            acknowledged += number
            freed, under_way = under_way[:number], under_way[number:]
            assert window.acknowledge(acknowledged) == [thing for thing, _ in freed]
        else:
            with pytest.raises(StateError):
                window.acknowledge(acknowledged + number)
        assert len(window) == len(under_way)
        assert window.size == sum(size for _, size in under_way)


def test_one_thing_may_always_be_under_way():
    window = SendWindow(10)
    assert window.admits(1000)
    window.sent("big", 1000)
    assert not window.admits(0)
    window.acknowledge(1)
    assert window.admits(10)


def test_a_window_may_shrink_and_grow():
    window = SendWindow(10)
    window.sent("a", 4)
    window.limit = 5
    assert (window.admits(1), window.admits(2)) == (True, False)


def test_a_wrong_acknowledgement_changes_nothing():
    window = SendWindow(100)
    for thing in "abc":
        window.sent(thing, 10)
    window.acknowledge(2)
    for total in (1, 4):
        with pytest.raises(StateError) as caught:
            window.acknowledge(total)
        assert caught.value.code == "state"
    assert (len(window), window.size) == (1, 10)
    assert window.acknowledge(2) == []
    assert window.acknowledge(3) == ["c"]


@in_any_time
@given(st.lists(st.sampled_from(["item", "message", "take"]), max_size=60))
def test_receipts_free_in_the_window_what_was_taken_in(steps):
    items, notes, receipts = SendWindow(10**9), SendWindow(10**9), Receipts()
    freed = {"item": [], "message": []}
    sent = {"item": [], "message": []}
    for number, step in enumerate([*steps, "take"]):
        if step != "take":
            (items if step == "item" else notes).sent(number, 1)
            sent[step].append(number)
            getattr(receipts, step)()
            continue
        due = freed != sent
        ack = receipts.take()
        assert ack == (Ack(len(sent["item"]), len(sent["message"])) if due else None)
        if ack:
            freed["item"] += items.acknowledge(ack.items)
            freed["message"] += notes.acknowledge(ack.messages)
        assert freed == sent
    assert receipts.take() is None


@in_any_time
@given(st.lists(st.integers(0, 30), max_size=40))
def test_a_sequence_takes_each_number_once(numbers):
    sequence, highest, taken = Sequence(), -1, []
    for number in numbers:
        new = number > highest
        assert sequence.accept(number) == new
        if new:
            taken.append(number)
            highest = number
    assert sequence.last == highest
    assert sequence.duplicates == len(numbers) - len(taken)
    assert sequence.missing == len(set(range(highest + 1)) - set(taken))


def test_what_a_late_joiner_missed_is_no_loss():
    sequence = Sequence()
    assert sequence.accept(40, first_of_session=True)
    assert sequence.accept(43)
    assert (sequence.missing, sequence.last) == (2, 43)


def test_what_was_lost_while_the_connection_was_down_is_a_loss():
    sequence = Sequence()
    sequence.accept(0, first_of_session=True)
    assert sequence.accept(5, first_of_session=True)
    assert sequence.missing == 4
    assert not sequence.accept(5, first_of_session=True)


@in_any_time
@given(st.lists(st.sampled_from(["keep", "keep and tell", "drop"]), max_size=40))
def test_gaps_tell_exactly_what_a_sequence_misses(fates):
    drops, sequence, told = Drops(), Sequence(), []
    for number, fate in enumerate([*fates, "keep and tell"]):
        if fate == "drop":
            drops.add(number, "full")
            continue
        if fate == "keep and tell":
            told.append(drops.take(3))
        sequence.accept(number)
    gaps = [gap for gap in told if gap is not None]
    assert sum(gap.count for gap in gaps) == sequence.missing == drops.total == fates.count("drop")
    for gap in gaps:
        inside = fates[gap.first : gap.last + 1]
        assert (gap.stream, gap.count, gap.reason) == (3, inside.count("drop"), "full")
        assert inside[0] == inside[-1] == "drop"


def test_drops_are_told_once_as_a_range():
    drops = Drops()
    assert drops.take(0) is None
    for number in (7, 9, 5):
        drops.add(number, "full")
    assert drops.take(0) == Gap(0, 5, 9, 3, "full")
    assert drops.take(0) is None
    drops.add(2, "slow")
    assert drops.take(1) == Gap(1, 2, 2, 1, "slow")
    assert drops.total == 4


@in_any_time
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 9)), max_size=60),
    st.integers(0, 3000),
)
def test_a_rate_is_what_happened_lately(steps, rest):
    rate, events, now = Rate(span=2.0), [], 0.0
    for milliseconds, amount in steps:
        now += milliseconds / 1000
        rate.add(amount, now)
        events.append((now, amount))
    now += rest / 1000
    within = [sum(a for t, a in events if t >= now - age) for age in (1.949, 2.001)]
    assert within[0] <= rate.per_second(now) * 2.0 <= within[1]


def test_a_rate_falls_to_zero():
    rate = Rate(span=2.0)
    for step in range(100):
        rate.add(0.1, step / 10)
    assert rate.per_second(9.9) == pytest.approx(1.0, rel=0.06)
    assert rate.per_second(12.0) == 0.0


# ---- what was said ---------------------------------------------------------------------

PARTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.integers(1, 30), st.integers(0, 12), st.integers(1, 4)
    ),
    max_size=30,
)


def metric(name, first, count, every=1):
    values = [float(first + every * n) for n in range(count)]
    return Metric(name, values, values, values, first, every)


@in_any_time
@given(PARTS)
def test_of_a_metric_what_is_above_all_before_is_news(parts):
    heard, last = Heard(), {}
    for name, first, count, every in parts:
        said = metric(name, first, count, every)
        fresh = [value for value in said.values if value > last.get(name, 0)]
        news = heard.news(said)
        if news is None:
            assert not fresh
        else:
            assert news.steps == news.values == news.times == fresh
            assert not fresh or metric(name, news.first, len(fresh), every) == news
        last[name] = max([last.get(name, 0), *fresh])
        assert {name: number for name, number in heard.metrics.items() if number} == {
            name: number for name, number in last.items() if number
        }


def test_of_lines_those_with_higher_numbers_are_news():
    heard = Heard()
    numbers = [1, 3, 2, 3, 0, 4, 0, 9]
    assert [heard.is_news(Status("info", "", 0.0, number)) for number in numbers] == [
        True, True, False, False, True, True, True, True
    ]  # fmt: skip
    assert heard.line == 9


def test_what_has_no_number_is_always_news():
    heard, said = Heard(), Metric("m", [1.0], [2.0], [3.0])
    assert heard.news(said) is said and heard.news(said) is said
    assert heard.metrics == {}


def test_metrics_without_end_take_no_room_without_end():
    heard = Heard()
    for number in range(10_000):
        heard.news(metric(f"m{number}", 1, 5))
    assert heard.news(metric("m9999", 1, 5)) is None
    assert heard.metrics == {f"m{number}": 5 for number in range(9999, 9999 - 1024, -1)}
    assert len(heard._metrics) == 4096
