from __future__ import annotations

import gc
import threading
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.transport import blocks as blocks_module
from napari_streaming.transport.blocks import PAGE, Blocks

PAGES = 24


def make(memory=PAGES, *, with_thread=False, **options):
    """Return blocks; without the thread only the test touches pages."""
    if isinstance(memory, int):
        memory = np.zeros(memory * PAGE, np.uint8)
    if with_thread:
        return Blocks(memory, **options)
    with mock.patch.object(blocks_module, "_touch_ahead", lambda reference, lock: None):
        return Blocks(memory, **options)


def longest_gap(taken, first):
    """Return the longest stretch of pages that nothing takes: the plain model."""
    free = np.ones(PAGES, bool)
    free[:first] = False
    for offset, pages in taken:
        free[offset : offset + pages] = False
    best = run = 0
    for is_free in free:
        run = run + 1 if is_free else 0
        best = max(best, run)
    return best


operations = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 9 * PAGE)),
        st.tuples(st.just("give"), st.integers(0, 30)),
        st.tuples(st.just("touch"), st.just(0)),
    ),
    max_size=60,
)


@given(operations, st.integers(0, 2 * PAGE))
@settings(deadline=None)
def test_blocks_behave_like_a_plain_map_of_pages(steps, first):
    blocks, held = make(first=first), {}
    reserved = -(-first // PAGE)
    for number, (step, value) in enumerate(steps, 1):
        if step == "take":
            pages = -(-value // PAGE)
            offset = blocks.allocate(value)
            taken = [(o // PAGE, -(-n // PAGE)) for o, n, _ in held.values()]
            if offset is None:
                assert longest_gap(taken, reserved) < pages
                continue
            assert offset % PAGE == 0 and offset // PAGE >= reserved
            assert all(offset // PAGE + pages <= o or o + n <= offset // PAGE for o, n in taken), (
                "it overlaps another one"
            )
            blocks.memory[offset : offset + value] = number
            held[number] = (offset, value, number)
        elif step == "give" and held:
            offset, value, _ = held.pop(list(held)[value % len(held)])
            blocks.give_back(offset, value)
        elif step == "touch":
            blocks.touch_some()
        assert blocks.in_use == sum(-(-n // PAGE) * PAGE for _, n, _ in held.values())
    for offset, value, number in held.values():
        assert (blocks.memory[offset : offset + value] == number).all(), "it was written to"
        blocks.give_back(offset, value)
    assert blocks.in_use == 0
    assert blocks.allocate((PAGES - reserved) * PAGE) == reserved * PAGE, "it came back in pieces"


def test_touching_never_writes_into_what_was_allocated():
    blocks = make(ahead=PAGES * PAGE)
    first = blocks.allocate(3 * PAGE)
    blocks.memory[first : first + 3 * PAGE] = 7
    while blocks.touch_some():
        pass
    assert (blocks.memory[first : first + 3 * PAGE] == 7).all()
    assert blocks.allocate((PAGES - 3) * PAGE) is not None


def test_touched_pages_are_reused_before_untouched_ones():
    blocks = make()
    offsets = []
    for _ in range(50):
        offsets.append(blocks.allocate(2 * PAGE))
        blocks.give_back(offsets[-1], 2 * PAGE)
    assert set(offsets) == {0}


class SlowMemory(np.ndarray):
    """Memory in which a page fault takes until the test lets it go on."""

    started = threading.Event()
    go_on = threading.Event()

    def __setitem__(self, key, value):
        self.started.set()
        assert self.go_on.wait(10)
        super().__setitem__(key, value)


def test_memory_that_is_being_touched_is_not_taken_for_full(in_thread):
    memory = np.zeros(PAGES * PAGE, np.uint8).view(SlowMemory)
    blocks = make(memory, ahead=memory.nbytes)
    toucher = threading.Thread(target=blocks.touch_some)
    toucher.start()
    assert memory.started.wait(5)
    threading.Timer(0.05, memory.go_on.set).start()
    assert in_thread(blocks.allocate, memory.nbytes) == 0
    toucher.join()


def test_the_garbage_collector_may_give_blocks_back_at_any_moment(in_thread):
    blocks = make(256)

    class Holder:
        def __init__(self, offset):
            self.offset, self.me = offset, self  # a cycle: only the collector ends it

        def __del__(self):
            blocks.give_back(self.offset, PAGE)

    def churn():
        for count in range(3000):
            gc.set_threshold(count % 11 + 1)  # so that it comes at every line once
            offset = blocks.allocate(PAGE)
            if offset is not None:
                Holder(offset)
        gc.collect()

    thresholds = gc.get_threshold()
    try:
        in_thread(churn)
    finally:
        gc.set_threshold(*thresholds)
    assert blocks.in_use == 0


def test_threads_never_get_the_same_memory():
    blocks, wrong = make(512, with_thread=True, ahead=64 * PAGE), []

    def work(mark):
        random = np.random.default_rng(mark)
        for _ in range(300):
            nbytes = int(random.integers(1, 40 * PAGE))
            offset = blocks.allocate(nbytes)
            if offset is not None:
                blocks.memory[offset : offset + nbytes] = mark
                if not (blocks.memory[offset : offset + nbytes] == mark).all():
                    wrong.append(mark)
                blocks.give_back(offset, nbytes)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and blocks.in_use == 0


def test_the_thread_ends_with_its_blocks(until):
    def ours():
        return {t for t in threading.enumerate() if t.name == "napari-streaming-memory"}

    before = ours()
    blocks = make(with_thread=True, ahead=PAGES * PAGE)
    (thread,) = ours() - before
    del blocks
    gc.collect()
    until(lambda: not thread.is_alive())
