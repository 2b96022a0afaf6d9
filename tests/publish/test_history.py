from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_streaming.publish.history import History
from napari_streaming.publish.spool import Spool
from napari_streaming.publish.staging import Parcel, Staged
from napari_streaming.wire.messages import Subscribe

BIG = 100_000
LEAST = 16 * 1024


class Shelf:
    """A history, and what its publisher puts there."""

    def __init__(self, room=10 * BIG, past=10 * BIG, spool=10 * BIG, folder=""):
        self.spool = Spool(spool, folder)
        self.history = History(room, past, self.spool)
        self.published = {}
        self.clock = itertools.count()

    def put(self, stream=0, nbytes=BIG, *, reliable=False, now=None):
        """Publish a parcel as the engine does, and return it; a viewer may retain it."""
        sequence = self.published[stream] = self.published.get(stream, -1) + 1
        data = np.full(nbytes, sequence % 256, np.uint8)
        if not reliable or self.history.admits(nbytes):
            staged = (Staged("data", "|u1", (nbytes,), None, data.tobytes()),)
        else:
            staged = self.history.stage_on_disk({"data": data})
        now = next(self.clock) if now is None else now
        parcel = Parcel(stream, sequence, now, {}, staged, nbytes, {}, reliable)
        self.history.keep(parcel)
        return parcel

    def due(self, history=None, have=None, waiting=()):
        parcels = self.history.due(Subscribe(history, have or {}), waiting)
        for parcel in parcels:
            for array in parcel.arrays:
                assert bytes(array.buffer()) == bytes([parcel.sequence % 256]) * parcel.nbytes
            parcel.release()
        return [(parcel.stream, parcel.sequence) for parcel in parcels]

    def publish(self, count=1, **options):
        """Publish parcels that no viewer waits for."""
        for _ in range(count):
            self.put(**options).release()


@pytest.fixture
def shelf():
    made = []

    def make(**options):
        made.append(Shelf(**options))
        return made[-1]

    yield make
    for one in made:
        one.history.clear()
        assert one.spool.in_use == 0


# ---- what a viewer gets ----------------------------------------------------------------


@pytest.mark.parametrize("reliable", [False, True])
def test_a_viewer_gets_as_much_as_it_asks_for(shelf, reliable):
    one = shelf()
    one.publish(5, reliable=reliable)
    everything = [(0, number) for number in range(5)]
    assert one.due() == everything
    assert one.due(3) == everything[2:]
    assert one.due(99) == everything
    assert one.due(1) == one.due(0) == [(0, 4)]


@pytest.mark.parametrize("reliable", [False, True])
def test_a_viewer_that_was_here_before_gets_what_it_has_not(shelf, reliable):
    one = shelf()
    one.publish(5, reliable=reliable)
    one.publish(2, stream=7, reliable=reliable)
    assert one.due(have={0: 2, 7: 1}) == [(0, 3), (0, 4)]
    assert one.due(0, have={0: 2}) == [(0, 3), (0, 4), (7, 1)], "the number is for new streams"
    assert one.due(have={0: 4, 7: 1, 3: 9}) == []


def test_streams_come_in_the_order_in_which_they_were_published(shelf):
    one = shelf()
    for number in range(6):
        one.publish(stream=number % 3, reliable=number % 3 == 1)
    assert one.due() == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


def test_a_clock_that_is_set_back_does_not_turn_a_stream_around(shelf):
    one = shelf()
    for now in (5.0, 6.0, 1.0, 2.0):
        one.publish(now=now)
    assert one.due() == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_what_waits_anyway_is_counted_once(shelf):
    one = shelf(past=2 * BIG)
    waiting = [one.put() for _ in range(5)]
    assert one.due() == [(0, 2), (0, 3), (0, 4)]
    assert one.due(waiting=waiting) == [(0, number) for number in range(5)]
    assert one.due(2, waiting=waiting) == [(0, 3), (0, 4)]
    assert one.due(have={0: 1}, waiting=waiting) == [(0, 2), (0, 3), (0, 4)]
    for parcel in waiting:
        parcel.release()


# ---- memory ----------------------------------------------------------------------------


def test_the_past_takes_no_more_than_its_room(shelf):
    one = shelf(past=3 * BIG)
    one.publish(50)
    one.publish(50, stream=1)
    assert one.due() == [(0, 49), (1, 46), (1, 47), (1, 48), (1, 49)]
    assert shelf(past=0).due() == []


def test_small_ones_do_not_pile_up(shelf):
    one = shelf(past=10 * LEAST)
    one.publish(50, nbytes=10)
    assert len(one.due()) == 11


def test_the_past_makes_room_and_the_last_ones_stay(shelf):
    one = shelf()
    one.publish(3)
    one.publish(2, stream=1)
    assert one.history.forget_superseded() and one.due() == [(0, 1), (0, 2), (1, 0), (1, 1)]
    assert one.history.forget_superseded() and one.history.forget_superseded()
    assert not one.history.forget_superseded()
    assert one.due() == [(0, 2), (1, 1)]


def test_forgetting_frees_once_nobody_else_waits(shelf):
    one = shelf()
    parcel = one.put()
    one.publish()
    assert not parcel.is_idle
    assert one.history.forget_superseded() and parcel.is_idle
    parcel.release()


# ---- reliable streams ------------------------------------------------------------------


def test_what_every_viewer_has_moves_to_disk_and_the_newest_stay_in_memory(shelf):
    one = shelf(room=3 * BIG)
    one.publish(8, reliable=True)
    assert one.spool.in_use == 5 * BIG
    assert one.due() == [(0, number) for number in range(8)]


def test_what_a_viewer_waits_for_stays_and_the_newest_go_to_disk(shelf):
    one = shelf(room=3 * BIG)
    held = [one.put(reliable=True) for _ in range(8)]
    assert [parcel.is_on_disk for parcel in held] == [False] * 3 + [True] * 5
    assert one.due() == [(0, number) for number in range(8)]
    for parcel in held:
        parcel.release()


def test_when_the_disk_is_full_the_oldest_go_that_every_viewer_has(shelf):
    one = shelf(room=3 * BIG, spool=5 * BIG)
    one.publish(20, reliable=True)
    assert one.due() == [(0, number) for number in range(12, 20)]
    assert one.spool.in_use == 5 * BIG


def test_nothing_goes_that_a_viewer_waits_for(shelf):
    one = shelf(room=3 * BIG, spool=5 * BIG)
    held = [one.put(reliable=True) for _ in range(8)]
    with pytest.raises(OSError, match="spool"):
        one.put(reliable=True)
    assert one.due() == [(0, number) for number in range(8)]
    for parcel in held[:4]:
        parcel.release()
    one.publish(stream=1, reliable=True)
    assert one.due() == [(0, number) for number in range(1, 8)] + [(1, 0)]
    for parcel in held[4:]:
        parcel.release()


@pytest.mark.parametrize("disk", [{"spool": 0}, {"folder": "/dev/null"}])
def test_without_a_disk_memory_is_all_there_is(shelf, disk):
    one = shelf(room=3 * BIG, **disk)
    one.publish(10, reliable=True)
    assert one.due() == [(0, 7), (0, 8), (0, 9)]
    held = [one.put(reliable=True) for _ in range(3)]
    with pytest.raises(OSError, match=r"spool|/dev/null"):
        one.put(reliable=True)
    assert one.due() == [(0, 10), (0, 11), (0, 12)]
    for parcel in held:
        parcel.release()


def test_one_that_is_larger_than_memory_goes_to_disk_and_moves_nothing_there(shelf):
    one = shelf(room=3 * BIG)
    one.publish(2, reliable=True)
    one.publish(nbytes=4 * BIG, reliable=True)
    assert one.spool.in_use == 4 * BIG
    assert one.due() == [(0, 0), (0, 1), (0, 2)]


def test_reliable_streams_and_others_do_not_take_each_others_room(shelf):
    one = shelf(room=3 * BIG, past=2 * BIG)
    one.publish(8, reliable=True)
    one.publish(8, stream=1)
    assert one.due()[-3:] == [(1, 5), (1, 6), (1, 7)] and len(one.due()) == 11


def test_arrays_of_any_layout_are_written_as_they_are(shelf):
    one = shelf()
    arrays = {
        "turned": np.arange(12, dtype=">u2").reshape(3, 4).T,
        "empty": np.empty((0, 2)),
        "text": np.array(["ä", "längst"]),
        "no text": np.empty(2, "<U0"),
        "bool": np.arange(5) % 2 == 0,
    }
    staged = one.history.stage_on_disk(arrays)
    for array, found in zip(arrays.values(), staged, strict=True):
        assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("<").str
        assert found.buffer() == array.astype(found.dtype).tobytes()
        found.release()
