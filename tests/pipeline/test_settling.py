from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_streaming.pipeline.settling import Settling


@pytest.fixture
def settling():
    return Settling(1.0)


def test_what_stays_the_same_is_due(settling):
    settling.note("a", 1, 0.0)
    assert settling.due(0.9) == []
    assert settling.due(1.0) == ["a"]


def test_what_changes_waits_anew(settling):
    settling.note("a", 1, 0.0)
    settling.note("a", 2, 0.9)
    assert settling.due(1.5) == []
    settling.note("a", 2, 1.8)  # seen again, as it was
    assert settling.due(1.9) == ["a"]


def test_what_is_done_comes_back_only_when_it_changes(settling):
    settling.note("a", 1, 0.0)
    settling.finish("a")
    settling.note("a", 1, 5.0)
    assert (settling.due(9.0), len(settling)) == ([], 0)
    settling.note("a", 2, 9.0, wait=0.0)
    assert settling.due(9.0) == ["a"]
    settling.note("a", 1, 9.0)  # changed back
    assert settling.due(99.0) == []


def test_it_is_tried_again_after_longer_and_longer_and_given_up(settling):
    settling.note("a", 1, 0.0)
    now, pauses = 1.0, []
    while settling.retry("a", now):
        start = now
        while not settling.due(now):
            now += 0.5
        pauses.append(now - start)
    assert pauses == [2.0, 4.0, 8.0]


def test_a_change_while_it_is_retried_starts_anew(settling):
    settling.note("a", 1, 0.0)
    for _ in range(3):
        assert settling.retry("a", 0.0)
    settling.note("a", 2, 0.0)
    assert settling.due(1.0) == ["a"]
    assert settling.retry("a", 1.0)


def test_what_is_gone_is_new_when_it_comes_back(settling):
    settling.note("a", 1, 0.0)
    settling.finish("a")
    settling.forget_all(lambda key: key == "a")
    assert not settling.is_done("a")
    settling.note("a", 1, 0.0)
    assert settling.due(1.0) == ["a"]


EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.floats(0.0, 0.7)), max_size=30)


@given(EVENTS)
def test_nothing_is_due_early_or_twice_and_nothing_is_lost(events):
    """Against a model: of each key, since when it looks as it does, and what was taken last."""
    settling: Settling[int] = Settling(1.0)
    looks: dict[int, tuple[int, float]] = {}
    taken: dict[int, int] = {}
    now = 0.0
    for key, stamp, pause in [*events, *[(k, s, 2.0) for k, (s, _) in looks.items()]]:
        now += pause
        for due in settling.due(now):
            look, since = looks[due]
            assert now - since >= 1.0
            assert taken.get(due) != look
            settling.finish(due)
            taken[due] = look
        before = looks.get(key)
        if before is None or before[0] != stamp:
            looks[key] = (stamp, now)
        settling.note(key, stamp, now)
    for due in settling.due(now + 1.0):
        taken[due] = looks[due][0]
    assert taken == {key: look for key, (look, _) in looks.items()}
