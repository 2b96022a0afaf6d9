from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.receive.batching import Batcher, BatchingPolicy


def test_a_single_change_is_due_at_once_by_default():
    batcher = Batcher(BatchingPolicy())
    batcher.changed("a", 10.0)
    assert batcher.due(10.0) == ["a"]
    assert batcher.due(10.1) == []


def test_a_burst_is_shown_once_it_is_over():
    batcher = Batcher(BatchingPolicy(min_interval=0.1, max_wait=1.0))
    for now in (0.0, 0.05, 0.1):
        batcher.changed("a", now)
        assert batcher.due(now) == []
    assert batcher.due(0.15) == []
    assert batcher.due(0.21) == ["a"]


def test_a_burst_without_an_end_is_shown_after_the_longest_wait():
    batcher = Batcher(BatchingPolicy(min_interval=0.1, max_wait=0.5))
    shown = []
    for step in range(100):
        now = step / 50
        batcher.changed("a", now)
        shown += [now for _ in batcher.due(now)]
    assert shown[0] == pytest.approx(0.5)
    assert max(b - a for a, b in itertools.pairwise(shown)) <= 0.52 + 0.02


def test_the_newest_come_first_but_none_waits_for_ever():
    batcher = Batcher(BatchingPolicy(max_wait=0.05, max_layers=1))
    batcher.changed("old", 0.0)
    batcher.changed("new", 0.01)
    assert batcher.due(0.02) == ["new"]
    batcher.changed("new", 0.03)
    assert batcher.due(0.06) == ["old"]
    assert batcher.due(0.06) == ["new"]


def test_after_a_costly_update_the_user_has_as_much_time():
    batcher = Batcher(BatchingPolicy(max_wait=0.05))
    batcher.took(0.03, now=1.0)
    batcher.changed("a", 1.0)
    assert batcher.due(1.02) == []
    assert batcher.due(1.031) == ["a"]
    batcher.took(5.0, now=2.0)
    batcher.changed("a", 2.0)
    assert batcher.due(2.051) == ["a"], "never longer than the longest wait"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.001, 0.2)), max_size=60),
    st.floats(0, 0.1),
    st.integers(1, 3),
)
def test_every_change_is_shown_in_time(changes, min_interval, max_layers):
    policy = BatchingPolicy(min_interval=min_interval, max_wait=0.1, max_layers=max_layers)
    batcher, now, pending = Batcher(policy), 0.0, {}
    for name, pause in changes:
        batcher.changed(name, now)
        pending.setdefault(name, now)
        end = now + pause
        while now < end:
            for shown in batcher.due(now):
                assert now - pending.pop(shown) <= policy.max_wait + 3 * 0.01 + 1e-9
            now += 0.01
    for _ in range(20):
        for shown in batcher.due(now):
            pending.pop(shown)
        now += 0.01
    assert not pending


@pytest.mark.parametrize(
    "wrong", [{"min_interval": -1}, {"min_interval": 1, "max_wait": 0.5}, {"max_layers": 0}]
)
def test_a_policy_that_cannot_be_kept_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BatchingPolicy(**wrong)
