"""Metrics and lines: every viewer gets each of them once, whenever it comes and goes."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.publish import journal as module
from napari_streaming.publish.journal import Journal, _Series
from napari_streaming.publish.outbox import Outbox
from napari_streaming.wire.codec import pack, unpack
from napari_streaming.wire.flow import Heard
from napari_streaming.wire.messages import Ack, End, Metric, Segment, Status, Subscribe

NO_SEGMENT = Segment("00", "", 0)


class Link:
    """A connection: what was sent arrives in order, maybe later, maybe only some of it."""

    is_local = False

    def __init__(self, run="viewer"):
        self.peer = SimpleNamespace(run=run)
        self.under_way = []

    def send(self, message, buffers=()):
        self.under_way.append(unpack([pack(message)])[0])
        return SimpleNamespace(done=True)


class Viewer:
    """What a viewer has: the numbers of lines, and of each metric's values, which equal them."""

    def __init__(self):
        self.heard = Heard()
        self.values, self.lines = {}, []

    def wish(self, history=None):
        return Subscribe(history, metrics=self.heard.metrics, line=self.heard.line)

    def take(self, message):
        if isinstance(message, Metric):
            if (news := self.heard.news(message)) is not None:
                assert news.steps == news.values == news.times
                first, end = news.first, news.first + news.every * len(news.values)
                assert news.values == list(range(first, end, news.every))
                self.values.setdefault(news.name, []).extend(int(value) for value in news.values)
        elif isinstance(message, Status) and self.heard.is_news(message):
            assert message.text == str(message.number)
            self.lines.append(message.number)


class Program:
    """A publisher's journal, in which each value is its number."""

    def __init__(self):
        self.journal, self.counts, self.line = Journal(), {}, 0

    def add(self, name="m", count=1):
        for _ in range(count):
            number = self.counts[name] = self.counts.get(name, 0) + 1
            self.journal.add(name, number, number, number)

    def say(self, count=1):
        for _ in range(count):
            self.line += 1
            self.journal.add_line(Status("info", str(self.line), 0.0))

    def outbox(self):
        return Outbox(10**9, lambda: None, self.journal)

    def open(self, outbox, link, wish):
        outbox.expect()
        outbox.open(link, wish, list, lambda subscribe, waiting: [], NO_SEGMENT)

    def show(self, viewer, history=None):
        """Have a viewer come, take in all there is, and go; return what it was sent."""
        outbox, link, sent = self.outbox(), Link(), []
        self.open(outbox, link, viewer.wish(history))
        while not outbox.is_idle:
            outbox.send(link, 0)
            assert link.under_way or outbox.is_idle
            sent += link.under_way
            link.under_way.clear()
            outbox.received(Ack(0, len(sent)))
        for message in sent:
            viewer.take(message)
        outbox.close()
        return sent


@pytest.fixture
def program():
    return Program()


STEPS = st.lists(
    st.tuples(st.just("add"), st.sampled_from("ab"), st.integers(1, 40))
    | st.tuples(st.just("say"), st.just(""), st.integers(1, 3))
    | st.tuples(st.just("send"), st.just(""), st.just(0))
    | st.tuples(st.just("arrive"), st.just(""), st.integers(1, 4))
    | st.tuples(st.just("late"), st.just(""), st.integers(1, 4))
    | st.tuples(st.just("ack"), st.just(""), st.integers(0, 4))
    | st.tuples(st.just("break"), st.sampled_from(["lost", "late"]), st.just(0))
    | st.tuples(st.just("open"), st.just(""), st.just(0)),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.booleans(), st.sampled_from([None, 5]))
def test_nothing_comes_twice_and_nothing_is_missed(steps, listens, limit):
    """However often the connection breaks, whatever of it was lost or is late."""
    with pytest.MonkeyPatch.context() as patch:
        if limit:
            patch.setattr(module, "_MOST_VALUES", limit)
            patch.setattr(module, "_VALUES_AT_ONCE", 2)
        program, viewer = Program(), Viewer()
        outbox, link, acknowledged, late = program.outbox(), None, 0, []
        for what, which, count in steps:
            if what == "add":
                program.add(which, count)
            elif what == "say":
                program.say(count)
            elif what == "open" and link is None:
                outbox = program.outbox() if listens else outbox
                link, arrived, acknowledged = Link(), 0, 0
                program.open(outbox, link, viewer.wish())
            elif what == "late":
                for message in late[:count]:
                    viewer.take(message)
                del late[:count]
            elif link is None:
                continue
            elif what == "send":
                outbox.send(link, 0)
            elif what == "arrive":
                for message in link.under_way[:count]:
                    viewer.take(message)
                    arrived += 1
                del link.under_way[:count]
            elif what == "ack":
                acknowledged = min(arrived, acknowledged + count)
                outbox.received(Ack(0, acknowledged))
            elif what == "break":
                # In one connection the order stays, also of what it delivers after its end.
                late = link.under_way if which == "late" else []
                outbox.close() if listens else outbox.suspend()
                link = None
        program.show(viewer)
        for name, count in program.counts.items():
            got = viewer.values[name]
            assert got == sorted(set(got)) and got[-1] == count, "each of them once"
            if not limit:
                assert got == list(range(1, count + 1))
            else:
                assert set(got) >= set(range(max(1, count - limit + 1), count + 1))
        assert viewer.lines == list(range(1, program.line + 1))


@given(st.lists(st.integers(1, 70), max_size=30), st.integers(1, 12), st.integers(-3, 2000))
def test_the_last_values_stay_and_the_others_are_thinned_evenly(counts, limit, number):
    series = _Series()
    for count in counts:
        fresh = range(series.count + 1, series.count + count + 1)
        series.extend([float(n) for n in fresh for _ in range(3)], limit)
    kept = list(series.after("m", 0))
    numbers = [n for m in kept for n in m.values]
    assert all(
        m.values == list(range(m.first, m.first + m.every * len(m.values), m.every)) for m in kept
    )
    assert len(numbers) <= 3 * limit and numbers == sorted(set(numbers))
    assert numbers[-limit:] == list(range(max(1, series.count - limit + 1), series.count + 1))
    assert not numbers or numbers[0] == 1
    after = [n for m in series.after("m", number) for n in m.values]
    assert after == [n for n in numbers if n > number]


def test_a_newcomer_gets_what_it_asks_for(program):
    program.add("m", 300)
    program.add("n", 2)
    program.say(1500)
    for history, values, line in ((None, 300, 501), (0, 1, 1500), (1, 1, 1500), (7, 7, 1494)):
        viewer = Viewer()
        program.show(viewer, history)
        assert viewer.values["m"] == list(range(301 - values, 301))
        assert viewer.values["n"] == list(range(max(1, 3 - values), 3))
        assert viewer.lines == list(range(line, 1501))


def test_who_comes_back_gets_all_since_whatever_it_asks_for(program):
    viewer = Viewer()
    program.say()
    program.add()
    program.show(viewer, history=0)
    program.add("m", 5)
    program.say(2000)
    program.show(viewer, history=0)
    assert not program.show(viewer, history=0)
    assert viewer.values == {"m": list(range(1, 7))}
    assert viewer.lines == list(range(1, 2002))


def test_lines_that_wait_for_a_first_viewer_all_come(program):
    outbox, link, viewer = program.outbox(), Link(), Viewer()
    program.say(3000)
    assert not outbox.is_idle, "the lines wait"
    program.open(outbox, link, viewer.wish())
    for acknowledged in range(0, 3001, 1000):
        outbox.received(Ack(0, acknowledged))
        outbox.send(link, 0)
    for message in link.under_way:
        viewer.take(message)
    assert viewer.lines == list(range(1, 3001))


def test_what_was_said_before_does_not_wait_for_a_new_sink(program):
    program.add()
    program.say()
    outbox = program.outbox()
    assert outbox.is_idle
    program.add()
    assert not outbox.is_idle
    outbox.close()
    assert outbox.is_idle


def test_few_long_lines_are_kept(program):
    for _ in range(100):
        program.journal.add_line(Status("info", "x" * 65536, 0.0))
        assert sum(len(line.text) for line in program.journal._lines) <= 2**22
    mark = program.journal.mark()
    program.journal.place(mark, Subscribe())
    numbers = [line.number for line in program.journal.read(mark)]
    assert numbers == list(range(101 - len(numbers), 101)) and len(numbers) == 64


def test_names_without_end_take_no_room_without_end(program):
    for number in range(20_000):
        program.journal.add(f"m{number}", 1, 1, 1)
        assert len(program.journal._gathered) <= 4097
    viewer = Viewer()
    program.show(viewer)
    assert len(viewer.values) == 4096
    assert len(program.show(viewer)) == 4096 - 1024, "a Subscribe names no more"
    assert all(values == [1] for values in viewer.values.values())


def test_a_long_past_keeps_no_items_waiting(program):
    """Of very much only some is under way, and the End still comes behind all of it."""
    for name in "abcdef":
        program.add(name, 30_000)
    outbox, link, viewer = program.outbox(), Link(), Viewer()
    program.open(outbox, link, viewer.wish())
    outbox.put_message(End(), last=True)
    sent, most = 0, 0
    while not outbox.is_idle:
        outbox.send(link, 0)
        under_way, link.under_way = link.under_way, []
        most = max(most, sum(len(m.values) for m in under_way if isinstance(m, Metric)))
        assert outbox._notes.send_next(link) is None, "items may go"
        sent += len(under_way)
        outbox.received(Ack(0, sent))
        for message in under_way:
            viewer.take(message)
    assert isinstance(under_way[-1], End)
    assert most <= 100_000
    assert viewer.values == {name: list(range(1, 30_001)) for name in "abcdef"}


def test_who_adds_and_who_reads_do_not_disturb_each_other(program):
    """Several threads add, several viewers read: each gets all, in order."""
    journal, count, done = program.journal, 20_000, threading.Event()
    marks = [journal.mark() for _ in range(3)]
    got = [Viewer() for _ in marks]

    def produce(name):
        for number in range(1, count + 1):
            journal.add(name, number, number, number)

    def read(mark, viewer):
        while not done.is_set() or journal.has_news(mark):
            for message in journal.read(mark):
                viewer.take(message)

    producers = [threading.Thread(target=produce, args=(name,)) for name in "abc"]
    readers = [threading.Thread(target=read, args=both) for both in zip(marks, got, strict=True)]
    for thread in (*producers, *readers):
        thread.start()
    for thread in producers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    for viewer in got:
        assert viewer.values == {name: list(range(1, count + 1)) for name in "abc"}


def test_what_had_not_arrived_when_a_connection_broke_waits_again(program):
    outbox, viewer = program.outbox(), Viewer()
    program.add("m", 3)
    program.say(2)
    for acknowledged in (0, 1, 3):
        link = Link()
        program.open(outbox, link, viewer.wish())
        outbox.send(link, 0)
        for message in link.under_way[:acknowledged]:
            viewer.take(message)
        outbox.received(Ack(0, min(acknowledged, len(link.under_way))))
        outbox.suspend()
        assert outbox.is_idle == (acknowledged == 3)
    assert (viewer.values, viewer.lines) == ({"m": [1, 2, 3]}, [1, 2])
