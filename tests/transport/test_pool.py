from __future__ import annotations

import gc
import os
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_streaming.errors import TransportError
from napari_streaming.transport import pool as pool_module
from napari_streaming.transport.blocks import PAGE
from napari_streaming.transport.pool import AttachedSegment, Pool
from napari_streaming.wire.messages import Block, Segment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd is of Linux")

SIZE = 64 * PAGE


@pytest.fixture
def pool():
    made = Pool(SIZE)
    yield made
    made.close()


def filled(pool, value, pages=1):
    slot = pool.allocate(pages * PAGE - 64)
    slot.array((slot.nbytes,), np.dtype("u1"))[:] = value
    slot.seal()
    return slot


def read(attached, block, nbytes=PAGE - 64):
    into = np.empty(nbytes, np.uint8)
    return attached.copy(block, [into]), into


# ---- slots -----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["make", "keep", "let"]), st.integers(0, 9))))
@settings(deadline=None, max_examples=50)
def test_a_slot_lives_as_long_as_somebody_uses_it(steps):
    pool, users = Pool(SIZE), {}
    for step, which in steps:
        slots = list(users)
        if step == "make" and (slot := pool.allocate(PAGE)) is not None:
            slot.array((PAGE,), np.dtype("u1"))[:] = slot.generation % 256
            slot.seal()
            users[slot] = 1
        elif slots and step == "keep":
            slot = slots[which % len(slots)]
            assert slot.retain() is slot
            users[slot] += 1
        elif slots and step == "let":
            slot = slots[which % len(slots)]
            slot.release()
            users[slot] -= 1
            if not users[slot]:
                del users[slot]
        assert pool.in_use == len(users) * 2 * PAGE
    assert len({slot.generation for slot in users}) == len(users)
    for slot in users:
        assert (slot.array((PAGE,), np.dtype("u1")) == slot.generation % 256).all()
    pool.close()


def test_a_full_pool_says_so_and_recovers(pool):
    slots = []
    while (slot := pool.allocate(10 * PAGE)) is not None:
        slots.append(slot)
    assert len(slots) == 5
    slots.pop(2).release()
    assert pool.allocate(10 * PAGE) is not None
    assert pool.allocate(10 * PAGE) is None


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_the_room_of_a_pool_is_what_one_block_can_have(pool, more, fits):
    assert (pool.allocate(pool.room + more) is not None) == fits


# ---- readers ---------------------------------------------------------------------------


def test_what_was_written_is_read(pool):
    attached = AttachedSegment(pool.segment)
    slots = [filled(pool, value) for value in (1, 2, 3)]
    for slot, value in zip(slots, (1, 2, 3), strict=True):
        good, into = read(attached, slot.block())
        assert good and (into == value).all()


def test_an_unsealed_block_cannot_be_read(pool):
    slot = pool.allocate(100)
    assert not read(AttachedSegment(pool.segment), slot.block(), 100)[0]


def test_a_block_that_was_given_away_is_noticed(pool):
    attached, slot = AttachedSegment(pool.segment), filled(pool, 1)
    block = slot.block()
    slot.release()
    assert not read(attached, block)[0], "it is free"
    again = filled(pool, 2)
    assert again.block().offset == block.offset
    assert not read(attached, block)[0], "it holds another plane"
    assert read(attached, again.block())[0]


def test_a_block_that_is_given_away_during_the_copy_is_noticed(pool, monkeypatch):
    attached, slot = AttachedSegment(pool.segment), filled(pool, 1)
    block, copy = slot.block(), np.copyto

    def slow_copy(into, source):
        slot.release()
        filled(pool, 2)
        copy(into, source)

    monkeypatch.setattr(pool_module.np, "copyto", slow_copy)
    assert not read(attached, block)[0]


@pytest.mark.parametrize(
    ("offset", "nbytes"),
    [(1, 8), (PAGE + 64, 8), (SIZE, 8), (SIZE - PAGE, PAGE), (0, SIZE), (2**62 // PAGE * PAGE, 8)],
)
def test_a_block_outside_the_segment_is_refused(pool, offset, nbytes):
    attached = AttachedSegment(pool.segment)
    with pytest.raises(TransportError, match="outside"):
        attached.copy(Block(pool.segment.segment, offset, 1), [np.empty(nbytes, np.uint8)])


# ---- what is no segment of ours --------------------------------------------------------


def memfd(size, *, seal=True):
    import fcntl

    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return fd


def changed(of, **changes):
    fields = {"segment": of.segment, "address": of.address, "size": of.size}
    return Segment(**(fields | changes))


def test_another_size_or_identity_is_refused(pool):
    for changes in (
        {"size": SIZE - PAGE},
        {"size": SIZE + PAGE},
        {"size": 0},
        {"size": 2**63 - 1},
        {"segment": secrets.token_hex(16)},
        {"segment": ""},
        {"segment": "no hex"},
        {"segment": pool.segment.segment[:-2]},
        {"segment": pool.segment.segment.upper() + "ß"},
    ):
        with pytest.raises(TransportError):
            AttachedSegment(changed(pool.segment, **changes))


def test_memory_that_may_shrink_is_refused():
    fd = memfd(SIZE, seal=False)
    with pytest.raises(TransportError, match="sealed"):
        AttachedSegment(Segment("00" * 16, f"memfd:{os.getpid()}:{fd}", SIZE))
    os.close(fd)


def test_foreign_sealed_memory_is_refused():
    fd = memfd(SIZE)
    with pytest.raises(TransportError, match="another segment"):
        AttachedSegment(Segment("00" * 16, f"memfd:{os.getpid()}:{fd}", SIZE))
    os.close(fd)


def test_memory_of_another_user_is_refused(pool, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(TransportError, match="another user"):
        AttachedSegment(pool.segment)


def test_files_and_pipes_are_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    reading, writing = os.pipe()
    with path.open("rb") as file:
        for fd in (file.fileno(), reading, writing):
            with pytest.raises(TransportError):
                AttachedSegment(Segment("00" * 16, f"memfd:{os.getpid()}:{fd}", SIZE))
    os.close(reading)
    os.close(writing)


@given(st.one_of(st.text(max_size=40), st.from_regex(r"(memfd|shm):.{0,20}", fullmatch=True)))
@settings(deadline=None)
def test_garbage_addresses_are_refused(address):
    with pytest.raises(TransportError):
        AttachedSegment(Segment("00" * 16, address, SIZE))


@pytest.mark.parametrize(
    "address",
    ["memfd:1:../../mem", "memfd:-1:3", "memfd:1", "memfd:" + "9" * 300 + ":1", "memfd:²:1"],
)
def test_tricky_addresses_are_refused(address):
    with pytest.raises(TransportError):
        AttachedSegment(Segment("00" * 16, address, SIZE))


# ---- processes -------------------------------------------------------------------------

ATTACH = """
import msgspec, numpy as np
from napari_streaming.transport.pool import AttachedSegment
from napari_streaming.wire.messages import Block, Segment
attached = AttachedSegment(Segment({segment!r}, {address!r}, {size}))
def read(offset, generation, nbytes):
    into = np.empty(nbytes, np.uint8)
    good = attached.copy(Block({segment!r}, offset, generation), [into])
    return good, sorted(set(into.tolist()))
"""


def attach_code(pool):
    s = pool.segment
    return ATTACH.format(segment=s.segment, address=s.address, size=s.size)


def test_another_process_reads_the_same_memory_until_it_lets_go(pool, remote):
    other = remote()
    other(attach_code(pool))
    slot = filled(pool, 7)
    block = slot.block()
    assert other(f"read({block.offset}, {block.generation}, {slot.nbytes})") == [True, [7]]
    pool.close()
    assert other(f"read({block.offset}, {block.generation}, {slot.nbytes})") == [True, [7]]
    with pytest.raises(AssertionError, match="cannot map"):
        other(attach_code(pool))


def test_a_forked_process_reads_the_same_memory(remote):
    parent = remote()
    parent(
        """
import os, numpy as np
from napari_streaming.transport.pool import AttachedSegment, Pool
pool = Pool(1 << 20)
slot = pool.allocate(100)
slot.array((100,), np.dtype("u1"))[:] = 5
slot.seal()
child = os.fork()
if not child:
    into = np.empty(100, "u1")
    good = AttachedSegment(pool.segment).copy(slot.block(), [into])
    os._exit(42 if good and (into == 5).all() else 1)
status = os.waitpid(child, 0)[1]
"""
    )
    assert parent("os.waitstatus_to_exitcode(status)") == 42


def test_memory_cannot_be_written_through_a_readers_mapping(pool):
    attached = AttachedSegment(pool.segment)
    assert not attached._memory.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        attached._memory.flags.writeable = True


def test_nothing_stays_open():
    def open_files():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def mapped():
        return Path("/proc/self/maps").read_text().count("napari-streaming")

    before = open_files(), mapped()
    for _ in range(5):
        pool = Pool(SIZE)
        attached = AttachedSegment(pool.segment)
        assert read(attached, filled(pool, 1).block())[0]
        pool.close()
        pool.close()
        del pool, attached
    assert (open_files(), mapped()) == before


def test_a_sparse_segment_takes_no_memory_until_it_is_used():
    pool = Pool(1 << 40)
    assert pool.allocate(1000) is not None
    pool.close()
