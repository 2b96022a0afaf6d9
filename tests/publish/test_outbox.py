from __future__ import annotations

import itertools
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from napari_streaming.errors import StateError
from napari_streaming.publish.history import History
from napari_streaming.publish.journal import Journal
from napari_streaming.publish.outbox import Outbox
from napari_streaming.publish.spool import Record, Spool
from napari_streaming.publish.staging import Parcel, Staged
from napari_streaming.transport.pool import Pool
from napari_streaming.wire.messages import (
    Ack,
    Attached,
    Declare,
    End,
    Gap,
    Item,
    Metric,
    Problem,
    Segment,
    Status,
    Subscribe,
)

BIG = 100_000
NO_SEGMENT = Segment("00", "", 0)


class Delivery:
    def __init__(self, done=True):
        self.done = done


class Link:
    """A viewer that takes what it is sent, until it is told not to."""

    def __init__(self, run="viewer", *, is_local=False):
        self.peer = SimpleNamespace(run=run)
        self.is_local = is_local
        self.got, self.room, self.done = [], 10**9, True

    def send(self, message, buffers=()):
        if self.room <= 0:
            return None
        self.room -= 1
        self.got.append((message, list(buffers)))
        return Delivery(self.done)

    def sent(self, kind=object):
        return [message for message, _ in self.got if isinstance(message, kind)]

    def numbers(self, stream=0):
        items = [item for item in self.sent(Item) if item.stream == stream]
        return [item.sequence for item in items if not item.preview]

    def previews(self):
        return [(item.stream, item.sequence) for item in self.sent(Item) if item.preview]


class Desk:
    """An outbox, and the publisher that fills it."""

    def __init__(self, max_bytes=10 * BIG, memory=2**20, past=0):
        self.pool = Pool(memory)
        self.spool = Spool(2**30)
        self.history = History(memory // 2, past, self.spool)
        self.now = 0.0
        self.journal = Journal()
        self.outbox = Outbox(max_bytes, lambda: None, self.journal, lambda: self.now)
        self.published = {}
        self.clock = itertools.count()

    def parcel(
        self,
        stream=0,
        nbytes=BIG,
        *,
        in_pool=False,
        on_disk=False,
        reliable=False,
        at=None,
        **extra,
    ):
        sequence = self.published[stream] = self.published.get(stream, -1) + 1
        slot = self.pool.allocate(nbytes) if in_pool else None
        if slot is not None:
            slot.buffer()[:] = bytes([sequence % 256]) * nbytes
            slot.seal()
        record = self.spool.write(bytes([sequence % 256]) * nbytes) if on_disk else None
        data = b"" if slot or record else bytes([sequence % 256]) * nbytes
        array = Staged("data", "|u1", (nbytes,), slot, data, record)
        now = float(next(self.clock))
        return Parcel(
            stream, sequence, now, at or {}, (array,), nbytes, extra, reliable, str(stream)
        )

    def put(self, stream=0, nbytes=BIG, **options):
        parcel = self.parcel(stream, nbytes, **options)
        self.history.keep(parcel)
        self.outbox.put(parcel)
        parcel.release()
        return parcel

    def open(self, link, segment=NO_SEGMENT, *, history=None, have=None, **wish):
        def declared():
            return [
                Declare(stream=s, name=str(s), kind="image", dtype="|u1", shape=(1, 1), axes="yx")
                for s in self.published
            ]

        self.outbox.expect()
        said = Subscribe(history, have or {}, **wish)
        self.outbox.open(link, said, declared, self.history.due, segment)

    def forget_latest(self):
        self.history.clear()


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.history.clear()
    made.outbox.close()
    assert made.spool.in_use == 0
    made.pool.close()


def test_all_is_sent_in_order_after_its_declaration(desk):
    link = Link()
    for _ in range(3):
        desk.put()
    desk.open(link)
    desk.outbox.send(link, 10 * BIG)
    assert [type(message) for message in link.sent()] == [Declare, Item, Item, Item, Item]
    assert link.numbers() == [0, 1, 2]
    assert not desk.outbox.is_idle
    desk.outbox.received(Ack(4, 1))
    assert desk.outbox.is_idle and desk.outbox.tally.acknowledged == 3


def test_no_more_is_under_way_than_the_window_lets(desk):
    link = Link()
    desk.open(link)
    for _ in range(5):
        desk.put()
    desk.outbox.send(link, 2 * BIG)
    assert link.numbers() == [0, 1]
    desk.outbox.send(link, 2 * BIG)
    assert link.numbers() == [0, 1]
    desk.outbox.received(Ack(1, 0))
    desk.outbox.send(link, 2 * BIG)
    assert link.numbers() == [0, 1, 2]


@pytest.mark.parametrize("window", [0, 1, BIG - 1])
def test_one_item_may_always_be_under_way(desk, window):
    link = Link()
    desk.open(link)
    desk.put()
    desk.put()
    desk.outbox.send(link, window)
    assert link.numbers() == [0]


def test_what_the_transport_does_not_take_stays(desk):
    link = Link()
    desk.open(link)
    link.room = 1
    desk.put()
    desk.put()
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0]
    link.room = 9
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0, 1]


def test_messages_overtake_what_waits_for_credit(desk):
    link = Link()
    desk.open(link)
    for _ in range(3):
        desk.put()
    desk.outbox.send(link, BIG)
    desk.journal.add_line(Status("info", "now", 0.0))
    desk.journal.add("loss", 1, 2, 3)
    desk.journal.add("loss", 2, 3, 4)
    desk.outbox.send(link, BIG)
    assert link.sent(Status) and link.numbers() == [0]
    assert link.sent(Metric) == [Metric("loss", [1, 2], [2, 3], [3, 4], 1)]


def test_a_sink_is_woken_for_the_first_value_that_waits(desk):
    link = Link()
    desk.open(link)
    for _ in range(2):
        assert desk.journal.add("loss", 1, 2, 3)
        assert not desk.journal.add("loss", 2, 3, 4)
        assert not desk.journal.add("other", 1, 2, 3)
        desk.outbox.send(link, BIG)


def test_no_value_waits_for_a_sink_that_nobody_wakes(desk):
    """The sink here does nothing unless it is woken, as that of a channel now and then does."""
    link, wake, count = Link(), threading.Semaphore(0), 2000
    desk.open(link)

    def produce():
        for number in range(count):
            if desk.journal.add("loss", number, number, number):
                wake.release()

    producers = [threading.Thread(target=produce) for _ in range(3)]
    for producer in producers:
        producer.start()
    came = 0
    while came < 3 * count:
        assert wake.acquire(timeout=10), f"{came} came"
        desk.outbox.send(link, BIG)
        desk.outbox.received(Ack(0, len(link.got)))
        came = sum(len(metric.values) for metric in link.sent(Metric))
    for producer in producers:
        producer.join()


def test_the_last_message_comes_after_everything(desk):
    link = Link()
    desk.open(link)
    desk.put()
    desk.put()
    desk.outbox.put_message(End(), last=True)
    desk.outbox.send(link, BIG)
    assert not link.sent(End) and not desk.outbox.is_idle
    desk.outbox.received(Ack(1, 0))
    desk.outbox.send(link, BIG)
    assert link.sent()[-1] == End()


# ---- when there is no room -------------------------------------------------------------


def test_the_newest_wins_and_the_viewer_is_told(desk):
    link = Link()
    for _ in range(25):
        desk.put()
    desk.open(link)
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers() == list(range(15, 25))
    assert link.sent(Gap) == [Gap(0, 0, 14, 15, "newer data took its place")]
    first = next(item for item in link.sent(Item) if not item.preview)
    assert link.sent().index(link.sent(Gap)[0]) < link.sent().index(first)
    assert desk.outbox.tally.dropped == 15


def test_the_last_of_a_slow_stream_survives_a_fast_one(desk):
    link = Link()
    desk.put(stream=1)
    desk.put(stream=2)
    for _ in range(50):
        desk.put(stream=0)
    desk.open(link)
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers(1) == [0] and link.numbers(2) == [0]
    assert link.numbers(0) == list(range(42, 50))


def test_when_all_are_the_last_of_their_stream_the_oldest_goes(desk):
    link = Link()
    for stream in range(12):
        desk.put(stream)
    desk.forget_latest()
    desk.open(link)
    desk.outbox.send(link, 100 * BIG)
    assert [item.stream for item in link.sent(Item)] == list(range(2, 12))
    assert {gap.stream for gap in link.sent(Gap)} == {0, 1}, "also without a later item"


def test_a_gap_at_the_end_is_told_too(desk):
    link = Link()
    desk.open(link)
    desk.put()
    desk.outbox.note_drop(0, 1)
    assert not desk.outbox.is_idle
    desk.outbox.send(link, 10 * BIG)
    desk.outbox.note_drop(0, 2)
    desk.outbox.send(link, 10 * BIG)
    assert sum(gap.count for gap in link.sent(Gap)) == 2
    desk.outbox.received(Ack(1, 2))
    assert desk.outbox.is_idle


def test_only_what_is_in_the_pool_makes_room_there(desk):
    for _ in range(2):
        desk.put(stream=0)
        desk.put(stream=1, in_pool=True)
    desk.forget_latest()
    assert desk.outbox.drop_superseded(in_pool=True)
    assert not desk.outbox.drop_superseded(in_pool=True)
    assert desk.outbox.drop_oldest(in_pool=True)
    assert not desk.outbox.drop_oldest(in_pool=True)
    assert desk.pool.in_use == 0 and desk.outbox.queued_bytes == 2 * BIG
    assert desk.outbox.drop_superseded() and not desk.outbox.drop_superseded()
    assert desk.outbox.drop_oldest() and not desk.outbox.drop_oldest()


def test_too_many_status_lines_lose_the_oldest(desk):
    for number in range(65536 + 10):
        desk.journal.add_line(Status("info", str(number), 0.0))
        desk.journal.add("m", number, number, number)
    link = Link()
    desk.open(link)
    while (seen := len(link.got)) < 65536 + 2:
        desk.outbox.send(link, 0)
        assert len(link.got) > seen
        desk.outbox.received(Ack(0, len(link.got)))
    assert link.sent(Status)[0].text == "10" and link.sent(Status)[-1].text == str(65545)
    past, last = link.sent(Metric)
    assert past.values == list(range(0, 32778, 2)) and last.values == list(range(32778, 65546))


def test_a_frozen_viewer_does_not_make_metrics_pile_up(desk):
    link = Link()
    link.room = 0
    desk.open(link)
    for number in range(1000):
        desk.journal.add("m", number, number, number)
        desk.outbox.send(link, 0)
    link.room = 9
    desk.outbox.send(link, 0)
    assert [len(metric.values) for metric in link.sent(Metric)] == [1, 999]


# ---- links come and go -----------------------------------------------------------------


def test_what_was_not_acknowledged_is_sent_again(desk):
    first, second = Link(), Link()
    desk.open(first)
    desk.journal.add_line(Status("info", "a", 0.0))
    for _ in range(4):
        desk.put()
    desk.outbox.send(first, 3 * BIG)
    desk.outbox.received(Ack(1, 0))
    desk.outbox.suspend()
    desk.put()
    desk.open(second)
    desk.outbox.send(second, 10 * BIG)
    assert second.numbers() == [1, 2, 3, 4]
    assert len(second.sent(Status)) == 1
    assert desk.outbox.queued_bytes == 0


def test_a_viewer_that_is_new_gets_the_latest_of_each_stream(desk):
    first, second = Link("a"), Link("b")
    desk.open(first)
    for stream in (0, 1, 0, 2):
        desk.put(stream)
    desk.outbox.send(first, 10 * BIG)
    desk.outbox.received(Ack(4, 0))
    desk.outbox.suspend()
    desk.put(1)
    desk.open(second)
    desk.outbox.send(second, 10 * BIG)
    assert [(i.stream, i.sequence) for i in second.sent(Item)] == [(0, 1), (2, 0), (1, 1)]
    assert [d.stream for d in second.sent(Declare)] == [0, 1, 2]


def test_the_same_viewer_gets_nothing_twice(desk):
    first, second = Link("a"), Link("a")
    desk.open(first)
    desk.put()
    desk.outbox.send(first, 10 * BIG)
    desk.outbox.received(Ack(1, 0))
    desk.outbox.suspend()
    desk.open(second, have={0: 0})
    desk.outbox.send(second, 10 * BIG)
    assert not second.sent(Item)


def test_acknowledging_what_was_never_sent_is_an_offence(desk):
    desk.open(Link())
    for ack in (Ack(1, 0), Ack(0, 1)):
        with pytest.raises(StateError):
            desk.outbox.received(ack)


def test_nothing_of_a_viewer_that_left_is_kept(desk):
    link = Link()
    desk.open(link)
    for _ in range(3):
        desk.put(in_pool=True)
    desk.outbox.send(link, BIG)
    desk.outbox.close()
    desk.put(in_pool=True)  # by a publisher that looked just before
    desk.journal.add_line(Status("info", "late", 0.0))
    desk.journal.add("late", 1, 2, 3)
    desk.outbox.put_message(End(), last=True)
    assert desk.outbox.is_idle and desk.outbox.queued_bytes == 0
    desk.forget_latest()
    assert desk.pool.in_use == 0


# ---- reliable streams ------------------------------------------------------------------


def test_nothing_reliable_is_given_up(desk):
    link = Link()
    for _ in range(30):
        desk.put(0, reliable=True)
        desk.put(1)
    while desk.outbox.drop_superseded() or desk.outbox.drop_oldest():
        pass
    desk.open(link)
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers(0) == list(range(30))
    assert {gap.stream for gap in link.sent(Gap)} == {1}
    assert desk.outbox.unsafe == 30
    desk.outbox.received(Ack(len(link.sent(Item)), 0))
    assert desk.outbox.unsafe == 0


def test_what_is_live_goes_between_what_is_reliable(desk):
    link = Link()
    desk.open(link)
    for _ in range(10):
        desk.put(0, reliable=True)
    for _ in range(3):
        desk.put(1)
    desk.outbox.send(link, 100 * BIG)
    order = [item.stream for item in link.sent(Item)]
    assert order[:7] in ([0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 0])
    assert link.numbers(0) == list(range(10)) and link.numbers(1) == [0, 1, 2]


@pytest.mark.parametrize("preview", [False, True])
def test_what_is_on_disk_is_sent_from_there(desk, preview):
    link = Link(is_local=True)
    if not preview:
        desk.open(link, desk.pool.segment)
    for number in range(5):
        desk.put(reliable=True, on_disk=number % 2 == 0, in_pool=number % 2 == 1)
    if preview:
        desk.open(link, desk.pool.segment)
    desk.outbox.received(Attached(desk.pool.segment.segment, True))
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers() == list(range(5)) and link.previews() == [(0, 4)] * preview
    for message, buffers in link.got:
        if isinstance(message, Item):
            assert len(buffers) == (message.sequence % 2 == 0)
            assert all(set(bytes(b)) == {message.sequence} for b in buffers)


def test_what_comes_while_the_disk_is_read_does_not_mix_up(desk):
    """The parcel that goes next is another one by the time that the first is read."""
    link = Link()
    desk.open(link)
    desk.put(1)
    desk.put(2, reliable=True)
    read = Record.read

    def read_slowly(self):
        Record.read = read
        desk.put(1)
        return read(self)

    Record.read = read_slowly
    desk.put(0, reliable=True, on_disk=True)
    desk.put(0, reliable=True, on_disk=True)
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers(0) == [0, 1] and link.numbers(1) == [0, 1]
    for message, buffers in link.got:
        if isinstance(message, Item):
            assert {bytes(b)[0] for b in buffers} == {message.sequence}


def test_what_the_disk_lost_is_told(desk):
    link = Link()
    desk.open(link)
    for _ in range(3):
        desk.put(reliable=True, on_disk=True)
    desk.history._reliable[1].arrays[0].record._file.file.truncate(BIG)
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers() == [0] and sum(gap.count for gap in link.sent(Gap)) == 2
    desk.outbox.received(Ack(1, len(link.sent(Gap))))
    assert desk.outbox.is_idle and desk.outbox.tally.dropped == 2


# ---- history ---------------------------------------------------------------------------


def test_the_past_is_announced_by_its_last_item(desk):
    link = Link()
    desk.put(2)
    for _ in range(3):
        desk.put(0, reliable=True)
        desk.put(1, append=True)
    desk.open(link)
    desk.outbox.send(link, 100 * BIG)
    assert link.previews() == [(0, 2)], "not what is added, nor what comes at once anyway"
    assert link.sent(Item)[0].preview
    assert [link.numbers(stream) for stream in range(3)] == [[0, 1, 2], [0, 1, 2], [0]]
    assert (desk.outbox.tally.sent, desk.outbox.tally.bytes) == (7, 8 * BIG)
    desk.outbox.received(Ack(8, len(link.sent(Declare))))
    assert desk.outbox.is_idle and desk.outbox.tally.acknowledged == 7


def test_names_keep_the_order_in_which_they_come(desk):
    link = Link()
    for well in ("B", "A", "C"):
        desk.put(at={"t": 0, "well": well})
    desk.open(link)
    desk.outbox.send(link, 100 * BIG)
    assert link.previews() == [] and link.numbers() == [0, 1, 2]


def test_previews_make_room_before_anything_else(desk):
    for _ in range(2):
        desk.put(in_pool=True)
    desk.open(Link())
    assert desk.outbox.drop_superseded(in_pool=True) and desk.outbox.tally.dropped == 0
    assert desk.outbox.drop_superseded(in_pool=True) and desk.outbox.tally.dropped == 1


def test_nothing_is_sent_before_the_viewer_said_what(desk):
    link = Link()
    desk.outbox.expect()
    assert not desk.outbox.is_idle and desk.outbox.is_stuck
    desk.put()
    desk.journal.add_line(Status("info", "x", 0.0))
    desk.outbox.send(link, 100 * BIG)
    assert not link.sent()
    desk.outbox.suspend()
    desk.outbox.drop_oldest()
    assert not desk.outbox.is_idle, "the line waits"


def test_what_is_kept_before_it_is_queued_is_sent_once(desk):
    """A viewer opens in the middle of a call that publishes."""
    link = Link()
    parcel = desk.parcel()
    desk.history.keep(parcel)
    desk.open(link)
    desk.outbox.put(parcel)
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers() == [0]
    parcel.release()


def test_what_is_not_kept_any_more_is_told_to_a_viewer_that_comes_back(desk):
    for _ in range(6):
        desk.put()
    desk.outbox = Outbox(
        10 * BIG, lambda: None, desk.journal
    )  # as a publisher that listens makes one
    link = Link()
    desk.open(link, have={0: 2, 7: 3})
    desk.outbox.send(link, 100 * BIG)
    assert link.numbers() == [5] and link.sent(Gap) == [Gap(0, 3, 4, 2, "it came too late")]
    assert desk.outbox.tally.dropped == 2


def test_what_a_viewer_has_is_not_sent_again_although_it_was_not_acknowledged(desk):
    first, second = Link("a"), Link("a")
    desk.open(first)
    for _ in range(4):
        desk.put(0)
        desk.put(1, reliable=True)
    desk.outbox.send(first, 100 * BIG)
    desk.outbox.suspend()
    desk.open(second, have={0: 1, 1: 2})
    desk.outbox.send(second, 100 * BIG)
    assert second.numbers(0) == [2, 3] and second.numbers(1) == [3]
    assert not second.sent(Gap)


# ---- shared memory ---------------------------------------------------------------------


def blocks(link):
    return [item.arrays[0].block for item in link.sent(Item)]


@pytest.mark.parametrize(("answer", "shared"), [(True, True), (False, False)])
def test_planes_wait_for_the_answer_whether_memory_is_shared(desk, answer, shared):
    link = Link(is_local=True)
    desk.open(link, desk.pool.segment)
    desk.put(in_pool=True)
    desk.outbox.send(link, 10 * BIG)
    assert link.sent() == [desk.pool.segment, *link.sent(Declare)] and not link.sent(Item)
    desk.outbox.received(Attached(desk.pool.segment.segment, answer))
    desk.outbox.send(link, 10 * BIG)
    assert [block is not None for block in blocks(link)] == [shared]
    assert len(link.got[-1][1]) == (0 if shared else 1)


def test_a_viewer_elsewhere_cannot_claim_to_share_memory(desk):
    link = Link(is_local=False)
    desk.open(link, desk.pool.segment)
    desk.outbox.received(Attached(desk.pool.segment.segment, True))
    desk.put(in_pool=True)
    desk.outbox.send(link, 10 * BIG)
    assert blocks(link) == [None] and not link.sent(Segment)


def test_small_items_do_not_wait_for_the_answer(desk):
    link = Link(is_local=True)
    desk.open(link, desk.pool.segment)
    desk.put()
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0]


# ---- memory that a dead connection still reads -----------------------------------------


@pytest.mark.parametrize("ends", ["suspend", "close"])
def test_memory_is_kept_until_a_dead_connection_lets_go(desk, ends):
    link = Link()
    link.done = False
    desk.open(link)
    for _ in range(3):
        desk.put(in_pool=True)
    desk.outbox.send(link, 10 * BIG)
    deliveries = [delivery for _, delivery, _, _ in desk.outbox._items]
    desk.forget_latest()
    getattr(desk.outbox, ends)()
    while desk.outbox.drop_oldest():
        pass
    held = desk.pool.in_use
    assert held >= 3 * BIG and not desk.outbox.leave_limbo()
    deliveries[1].done = True
    assert not desk.outbox.leave_limbo() and desk.pool.in_use < held
    deliveries[0].done = deliveries[2].done = True
    assert desk.outbox.leave_limbo() and desk.pool.in_use == 0


def test_a_delivery_that_ends_at_the_worst_moment_is_not_forgotten(desk):
    class Flickering(Delivery):
        """Done the second time that somebody asks."""

        asked = 0

        @property
        def done(self):
            self.asked += 1
            return self.asked > 1

        @done.setter
        def done(self, value):
            pass

    link = Link()
    link.send = lambda message, buffers=(): Flickering()
    desk.open(link)
    desk.put(in_pool=True)
    desk.outbox.send(link, 10 * BIG)
    desk.forget_latest()
    desk.outbox.suspend()
    desk.outbox.drop_oldest()
    for _ in range(3):
        desk.outbox.leave_limbo()
    assert desk.pool.in_use == 0


# ---- all of it, in any order -----------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 2)),
        st.tuples(st.just("send"), st.integers(0, 6)),
        st.tuples(st.just("ack"), st.integers(0, 4)),
        st.tuples(st.just("room"), st.sampled_from([0, 1, 3, 1000])),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
@settings(deadline=None, max_examples=200)
def test_every_item_arrives_once_or_is_told_as_missing(todo):
    """Whatever happens: one viewer, its connection lost and found, and no room."""
    desk = Desk(max_bytes=4 * BIG)
    link = Link()
    desk.open(link)
    acked_items = acked_notes = 0
    arrived, told = {}, {}

    def take_in():
        for message in link.sent()[take_in.seen :]:
            if isinstance(message, Item):
                if message.preview:
                    continue
                numbers = arrived.setdefault(message.stream, [])
                if not numbers or message.sequence > numbers[-1]:
                    numbers.append(message.sequence)
            elif isinstance(message, Gap):
                gaps = told.setdefault(message.stream, {})
                if message.first not in gaps:  # it may come again, and be of what is here
                    last = max(arrived.get(message.stream, [-1]))
                    here = min(message.count, max(0, last + 1 - message.first))
                    gaps[message.first] = message.count - here
        take_in.seen = len(link.got)

    take_in.seen = 0
    for step, value in todo:
        if step == "put":
            desk.put(value, in_pool=True)
        elif step == "send":
            desk.outbox.send(link, value * BIG)
            take_in()
        elif step == "ack":
            acked_items = min(acked_items + value, len(link.sent(Item)))
            acked_notes = min(acked_notes + value, len(link.got) - len(link.sent(Item)))
            desk.outbox.received(Ack(acked_items, acked_notes))
        elif step == "room":
            link.room = value
        elif step == "lose":
            desk.outbox.suspend()
            link, acked_items, acked_notes, take_in.seen = Link(), 0, 0, 0
            desk.open(link)
    link.room = 10**9
    while not desk.outbox.is_idle:
        desk.outbox.send(link, 10**9)
        take_in()
        desk.outbox.received(Ack(len(link.sent(Item)), len(link.got) - len(link.sent(Item))))
    for stream, last in desk.published.items():
        numbers = arrived[stream]
        assert numbers[-1] == last, "the newest always arrives"
        assert len(numbers) + sum(told.get(stream, {}).values()) == last + 1
    desk.forget_latest()
    assert desk.pool.in_use == 0 and desk.outbox.queued_bytes == 0
    desk.pool.close()


reliable_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 7)),
        st.tuples(st.just("send"), st.integers(0, 6)),
        st.tuples(st.just("ack"), st.integers(0, 4)),
        st.tuples(st.just("room"), st.sampled_from([0, 1, 3, 1000])),
        st.tuples(st.sampled_from(["come back", "come anew", "come to another box"]), st.just(0)),
    ),
    max_size=60,
)


@given(reliable_steps)
@settings(deadline=None, max_examples=300)
def test_reliable_items_arrive_whatever_happens(todo):
    """Viewers that come back, others in their place, and no room: all of it, in order, once."""
    desk = Desk(max_bytes=3 * BIG, past=2 * BIG)
    arrived: dict[int, list[int]] = {}
    link, seen = Link("viewer 0"), 0
    desk.open(link)

    def take_in():
        nonlocal seen
        for message, buffers in link.got[seen:]:
            if isinstance(message, Item) and not message.preview:
                numbers = arrived.setdefault(message.stream, [])
                assert not numbers or message.sequence > numbers[-1], "nothing comes twice"
                assert set(bytes(buffers[0])) == {message.sequence}
                numbers.append(message.sequence)
        seen = len(link.got)

    def acknowledge(count):
        items = len(link.sent(Item))
        desk.outbox.received(Ack(min(items, acked + count), len(link.got) - items))
        return min(items, acked + count)

    acked = 0
    for step, value in todo:
        if step == "put":
            reliable = value % 4 < 2
            desk.put(value % 4, reliable=reliable, in_pool=not reliable, on_disk=value < 2)
        elif step == "send":
            desk.outbox.send(link, value * BIG)
            take_in()
        elif step == "ack":
            acked = acknowledge(value)
        elif step == "room":
            link.room = value
        else:
            run = link.peer.run
            if step == "come anew":
                arrived.clear()
                run += "'"
            if step == "come to another box":
                desk.outbox.close()
                desk.outbox = Outbox(3 * BIG, lambda: None, desk.journal)
            else:
                desk.outbox.suspend()
            link, seen, acked = Link(run), 0, 0
            desk.open(link, have={stream: numbers[-1] for stream, numbers in arrived.items()})
    link.room = 10**9
    while not desk.outbox.is_idle:
        desk.outbox.send(link, 10**9)
        take_in()
        acked = acknowledge(10**9)
    for stream, last in desk.published.items():
        if stream < 2:
            assert arrived[stream] == list(range(last + 1))
        else:
            assert arrived[stream][-1] == last
    desk.history.clear()
    assert desk.pool.in_use == 0 and desk.spool.in_use == 0 and desk.outbox.queued_bytes == 0
    desk.pool.close()


def test_a_producer_never_waits_for_a_queue_being_sent(desk):
    link = Link()
    slow = link.send
    link.send = lambda message, buffers=(): (time.sleep(0.001), slow(message, buffers))[1]
    desk.open(link)
    for _ in range(200):
        desk.put(nbytes=1)
    thread = threading.Thread(target=desk.outbox.send, args=(link, 10**9))
    thread.start()
    waited = []
    for _ in range(20):
        before = len(link.got)
        desk.put(nbytes=1)
        waited.append(len(link.got) - before)
        time.sleep(0.002)
    thread.join()
    assert max(waited) < 10, "for one or two of 200, however busy the machine is"


# ---- what a viewer wants of what is to come


def test_a_stream_that_is_not_wanted_is_declared_and_no_more(desk):
    link = Link()
    for stream in (0, 1):
        desk.put(stream)
    desk.open(link, streams=("1",))
    for stream in (0, 1):
        desk.put(stream)
    desk.outbox.send(link, 10 * BIG)
    assert len(link.sent(Declare)) == 2 and not link.sent(Gap)
    assert (link.numbers(0), link.numbers(1)) == ([], [0, 1])
    assert desk.outbox.tally.dropped == 0


def test_the_newest_win_while_a_stream_is_held_back(desk):
    link = Link()
    desk.open(link, max_fps=2.0)
    for _ in range(5):
        desk.put()
        desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0]
    assert desk.outbox.held_for == 0.5
    desk.put(stream=1)  # another one is not
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers(1) == [0] and not link.sent(Gap)
    desk.now = 0.5
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0, 4] and desk.outbox.held_for is None
    assert link.sent(Gap) == [Gap(0, 1, 3, 3, "this viewer wants 2 items a second")]


def test_a_volume_is_that_of_all_streams(desk):
    link = Link()
    desk.open(link, max_mb_s=BIG / 1e6)
    for stream in (0, 1):
        desk.put(stream)
        desk.outbox.send(link, 10 * BIG)
    assert (link.numbers(0), link.numbers(1)) == ([0], [])
    assert desk.outbox.held_for == pytest.approx(1)
    desk.now = 1.0
    desk.outbox.send(link, 10 * BIG)
    assert (link.numbers(0), link.numbers(1)) == ([0], [0])


def test_nothing_comes_last_before_what_is_held_back(desk):
    link = Link()
    desk.open(link, max_fps=1.0)
    for _ in range(2):
        desk.put()
    desk.outbox.put_message(End(), last=True)
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0] and not link.sent(End)
    desk.now = 1.0
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0, 1] and link.sent(End)


def test_a_viewer_that_wants_more_gets_what_is_kept_of_it_and_nothing_twice():
    desk, link = Desk(past=10 * BIG), Link()
    desk.open(link, streams=("0",))
    for stream in (0, 1, 0, 1):
        desk.put(stream)
    desk.outbox.send(link, BIG)  # one of two
    desk.outbox.amend(Subscribe(), desk.history.due)
    for stream in (0, 1):
        desk.put(stream)
    desk.outbox.send(link, 10 * BIG)
    assert (link.numbers(0), link.numbers(1)) == ([0, 1, 2], [0, 1, 2])
    assert not link.sent(Gap)
    desk.outbox.amend(Subscribe(streams=("1",)), desk.history.due)
    for stream in (0, 1):
        desk.put(stream)
    desk.outbox.send(link, 10 * BIG)
    assert (link.numbers(0), link.numbers(1)) == ([0, 1, 2], [0, 1, 2, 3])


def test_the_next_viewer_is_not_held_to_what_the_last_one_wanted(desk):
    desk.open(Link(), streams=("1",), max_fps=1.0)
    desk.outbox.suspend()
    for _ in range(3):
        desk.put()
    link = Link("another")
    desk.open(link)
    desk.outbox.send(link, 10 * BIG)
    assert link.numbers() == [0, 1, 2]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.booleans()), max_size=60),
    st.sampled_from([0.0, 2.0, 8.0]),
    st.sampled_from([0.0, 0.3, 2.0]),
)
def test_whatever_is_put_the_pace_is_kept_and_the_last_arrives(story, max_fps, max_mb_s):
    """Streams 2 and 3 are reliable: nothing of them is lost, it only comes later."""
    desk, link = Desk(max_bytes=1000 * BIG), Link()
    desk.open(link, max_fps=max_fps, max_mb_s=max_mb_s)
    went: list[tuple[float, int]] = []

    def send():
        before = len(link.sent(Item))
        desk.outbox.send(link, 1000 * BIG)
        went.extend((desk.now, item.stream) for item in link.sent(Item)[before:])

    for stream, milliseconds, sends in story:
        desk.put(stream, reliable=stream >= 2)
        desk.now += milliseconds / 1000
        if sends:
            send()
    while True:
        send()
        if (wait := desk.outbox.held_for) is None:
            break
        desk.now += wait + 1e-9
    for stream in range(4):
        numbers, count = link.numbers(stream), desk.published.get(stream, -1) + 1
        lost = sum(gap.count for gap in link.sent(Gap) if gap.stream == stream)
        assert numbers == sorted(set(numbers)) and len(numbers) + lost == count
        assert not count or numbers[-1] == count - 1
        assert not lost or (stream < 2 and (max_fps or max_mb_s))
        times = [when for when, of in went if of == stream]
        if max_fps:
            assert all(b - a >= 1 / max_fps - 1e-6 for a, b in itertools.pairwise(times))
    if max_mb_s and went:
        spent = went[-1][0] - went[0][0]
        assert (len(went) - 1) * BIG <= spent * max_mb_s * 1e6 + 1
    desk.history.clear()
    desk.outbox.close()
    desk.pool.close()


IMAGE = Declare(stream=0, name="0", kind="image", dtype="|u1", shape=(100, 1000), axes=("y", "x"))


def image(desk, **options):
    """Publish a plane of 100 × 1000 pixels."""
    parcel = desk.parcel(**options)
    (array,) = parcel.arrays
    parcel.arrays = (structs.replace(array, shape=(100, 1000)),)
    parcel.declare = IMAGE
    desk.history.keep(parcel)
    desk.outbox.put(parcel)
    parcel.release()


def test_what_is_sent_of_a_plane_counts_and_not_what_is_not():
    desk, link = Desk(past=10 * BIG), Link()
    desk.open(link, max_side=100, max_mb_s=0.001)
    for _ in range(2):
        image(desk)
    desk.outbox.send(link, 2000)
    assert link.numbers() == [0] and desk.outbox.held_for == pytest.approx(1.0)
    desk.now = 1.0
    desk.outbox.send(link, 2000)  # enough for two of 10 × 100, and for no whole one
    assert link.numbers() == [0, 1] and not link.sent(Gap)
    assert all(item.step == 10 for item in link.sent(Item))
    assert [item.arrays[0].shape for item in link.sent(Item)] == [(10, 100)] * 2
    assert desk.outbox.tally.bytes == desk.outbox.tally.inline == 2000


def test_what_is_wanted_goes_ahead_in_full_and_once():
    desk, link = Desk(past=10 * BIG), Link()
    desk.open(link, max_side=100)
    for _ in range(3):
        image(desk)
    desk.outbox.send(link, 2000)
    assert link.numbers() == [0, 1]
    for _ in range(2):
        desk.outbox.send_again(desk.history.find(0, {}))
    desk.outbox.received(Ack(2, 0))
    desk.outbox.send(link, 10 * BIG)
    *_, wanted, last = link.sent(Item)
    assert (wanted.sequence, wanted.again, wanted.step) == (2, True, 1)
    assert (last.sequence, last.again, last.step) == (2, False, 10)
    assert desk.outbox.tally.sent == 3
    desk.outbox.received(Ack(4, 0))
    assert desk.outbox.is_idle and desk.outbox.tally.acknowledged == 3
    desk.outbox.close()
    desk.history.clear()


def test_what_is_wanted_is_given_up_when_memory_is_short_and_that_is_told():
    desk, link = Desk(past=10 * BIG), Link()
    desk.open(link)
    image(desk, in_pool=True)
    desk.outbox.send(link, 10 * BIG)
    desk.outbox.received(Ack(1, 0))
    desk.outbox.send_again(desk.history.find(0, {}))
    assert desk.outbox.drop_superseded(in_pool=True)
    assert not desk.outbox.drop_superseded(in_pool=True)
    desk.outbox.send_again(desk.history.find(1, {}))
    desk.outbox.send(link, 10 * BIG)
    assert [problem.code for problem in link.sent(Problem)] == ["gone", "gone"]
    assert len(link.sent(Item)) == 1 and not link.sent(Gap)
    desk.outbox.send_again(desk.history.find(0, {}))
    desk.outbox.suspend()  # who comes back asks again
    link = Link()
    desk.open(link, history=0, have={0: 0})
    desk.outbox.send(link, 10 * BIG)
    assert not link.sent(Item)
    desk.outbox.close()
    desk.history.clear()
    assert not desk.pool.in_use


def test_the_plane_that_is_found_is_the_one_that_is_shown(desk):
    for at in ({"t": 1}, {"t": 1, "z": 2}, {"t": 2}):
        for _ in range(2):
            image(desk, reliable=True, at=at)
    image(desk, reliable=True, at={"t": 2}, offset=(0, 0))
    image(desk, reliable=True, at={}, along={"t": (5, 6), "z": (7.0,)})

    def found(**at):
        parcels = desk.history.find(0, at)
        for parcel in parcels:
            parcel.release()
        return [parcel.sequence for parcel in parcels]

    assert found(t=1) == found(t=1, z=9) == found(t=1.0, other="a") == [1]
    assert found(t=1, z=2) == [3]
    assert found(t=2) == [5, 6]
    assert found(t=6, z=7) == [7]
    assert found(t=6) == found(t=9) == found() == []


def test_a_plane_that_was_made_smaller_may_be_wanted_before_it_went():
    desk, link = Desk(past=10 * BIG), Link()
    desk.open(link, max_side=100)
    image(desk)
    link.room = 0
    desk.outbox.send(link, 10 * BIG)
    desk.outbox.send_again(desk.history.find(0, {}))
    link.room = 2
    desk.outbox.send(link, 10 * BIG)
    assert [(item.again, item.step) for item in link.sent(Item)] == [(True, 1), (False, 10)]
    desk.outbox.close()
    desk.history.clear()
