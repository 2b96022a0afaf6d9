from __future__ import annotations

import dataclasses
import gc
import itertools
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from napari_streaming.receive import source as source_module
from napari_streaming.transport.pool import Pool
from napari_streaming.wire.compression import CODECS
from napari_streaming.wire.messages import (
    Ack,
    Array,
    Attached,
    Block,
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

PIXELS = np.arange(20, dtype="<u2").reshape(4, 5)
IMAGE = Declare(stream=0, name="a", kind="image", dtype="<u2", shape=(4, 5), axes=("y", "x"))
POINTS = Declare(
    stream=1, name="p", kind="points", dtype="<f8", shape=(2,), axes=("y", "x"),
    features={"id": "<i4", "s": "U"},
)  # fmt: skip


def changed(declare, **changes):
    fields = {field: getattr(declare, field) for field in declare.__struct_fields__}
    return Declare(**(fields | changes))


def data(shape=(4, 5), dtype="<u2", name="data", block=None):
    return Array(name, dtype, shape, block)


def item(sequence=0, *, at=None, arrays=None, stream=0, **more):
    return Item(stream, sequence, 0.0, at or {}, arrays or (data(),), **more)


def zeros(message):
    """Return buffers that fit an item."""
    return [bytes(np.zeros(a.shape, a.dtype).nbytes) for a in message.arrays if a.block is None]


@pytest.fixture
def pair(receiver, party, until):
    rec = receiver()
    pub = party("memory://test", "publish")
    until(lambda: pub.links and rec.sources[0].publishers)
    return rec, pub


def settle(pub, until, items, messages):
    until(lambda: pub.messages(Ack) and pub.messages(Ack)[-1] == Ack(items, messages))


def test_everything_finds_its_place_and_is_acknowledged(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    pub.say(item(), PIXELS.tobytes())
    pub.say(Metric("m", [1.0], [2.0], [3.0]))
    pub.say(Status("warning", "careful", 5.0))
    pub.say(Gap(0, 1, 2, 2, "full"))
    pub.say(item(3, at={"t": 1}), (PIXELS + 1).tobytes())
    pub.say(Problem("x", "it hurts"))
    pub.say(End("bye"))
    settle(pub, until, 2, 6)
    layer = rec.layers["a"]
    np.testing.assert_array_equal(layer.data[0], PIXELS + 1)
    assert (layer.stats().received, layer.stats().dropped, layer.stats().bytes) == (2, 2, 80)
    assert [line.text for line in rec.layers.log] == [
        "careful", "publish: it hurts", "publish has ended",
    ]  # fmt: skip
    pub.close()
    until(lambda: not rec.sources[0].publishers)
    assert len(rec.layers.log) == 3, "it had said so"


def test_a_run_of_several_publishers_ends_once(receiver, party, until):
    rec = receiver()
    workers = [party("memory://test", "publish", part_of="run 7") for _ in range(3)]
    until(lambda: len(rec.sources[0].publishers) == 3)
    for worker in workers:
        worker.say(End("bye"))
        settle(worker, until, 0, 1)
    assert [line.text for line in rec.layers.log] == ["publish has ended"]


def test_a_publisher_that_goes_without_a_word_is_reported(pair, until):
    rec, pub = pair
    pub.close()
    until(lambda: not rec.sources[0].publishers)
    assert "publish is gone" in rec.layers.log[-1].text
    assert rec.sources[0].state == "listening"


# ---- what does not match its declaration -----------------------------------------------

FITTING = (data((3, 2), "<f8"), data((3,), "<i4", "features/id"), data((3,), "<U4", "features/s"))
MISMATCHES = [
    item(arrays=(data((5, 4)),)),
    item(arrays=(data((4, 5, 1)),)),
    item(arrays=(data(dtype="<i2"),)),
    item(arrays=(data(name="other"),)),
    item(arrays=(data(), data(name="more"))),
    item(arrays=(data(), data())),
    item(at={"y": 1}),
    item(stream=1, arrays=(data((3, 2), "<f8"),)),
    item(stream=1, arrays=(data((3,), "<f8"),)),
    item(stream=1, arrays=(data((3, 3), "<f8"), data((3,), "<i4", "features/id"))),
    item(
        stream=1,
        arrays=(
            data((3, 2), "<f8"), data((2,), "<i4", "features/id"), data((3,), "<U4", "features/s"),
        ),
    ),
    item(
        stream=1,
        arrays=(
            data((3, 2), "<f8"), data((3,), "<i8", "features/id"), data((3,), "<U4", "features/s"),
        ),
    ),
    item(
        stream=1,
        arrays=(data((3, 2), "<f8"), data((3,), "<i4", "id"), data((3,), "<U4", "features/s")),
    ),
    item(arrays=(data((2, 4, 5)),)),
    item(arrays=(data((2, 4, 5)),), along={"z": (0, 1, 2)}),
    item(arrays=(data((4, 5)),), along={"z": (0, 1, 2, 3)}),
    item(arrays=(data((2, 4, 5)),), along={"y": (0, 1)}),
    item(arrays=(data((2, 4, 5)),), along={"z": (0, 1)}, at={"z": 0}),
    item(arrays=(data((2, 2)),), offset=(3, 0)),
    item(arrays=(data((2, 2)),), offset=(2**62, 0)),
    item(arrays=(data((2, 2)),), offset=(0,)),
    item(arrays=(data((2, 2)),), offset=(0, 0, 0)),
    item(arrays=(data((0, 2)),), offset=(0, 0)),
    item(arrays=(data((2,)),), offset=(0, 0)),
    item(scale=(1.0,)),
    item(scale=(1.0, 0.0)),
    item(scale=(1.0, float("inf"))),
    item(translate=(float("nan"), 0.0)),
    *(
        item(stream=1, arrays=FITTING, **field)
        for field in ({"offset": (0, 0)}, {"scale": (1, 1)}, {"translate": (1, 1)})
    ),
    item(stream=1, arrays=(data((2, 3, 2), "<f8"), *FITTING[1:]), along={"z": (0, 1)}),
]  # fmt: skip


@pytest.mark.parametrize("wrong", MISMATCHES)
def test_an_item_that_does_not_match_is_refused_and_the_rest_goes_on(pair, until, wrong):
    rec, pub = pair
    pub.say(IMAGE)
    pub.say(POINTS)
    pub.say(wrong, *zeros(wrong))
    pub.say(item(1), PIXELS.tobytes())
    settle(pub, until, 2, 2)
    (problem,) = pub.messages(Problem)
    assert problem.code == "mismatch" and "item 0" in problem.text
    name = "a" if wrong.stream == 0 else "p"
    assert rec.layers[name].stats().refused == 1
    assert rec.layers["a"].stats().received == 1
    assert any(line.level == "error" for line in rec.layers.log)
    assert not pub.lost_because


def test_an_item_that_does_not_match_is_refused_once(pair, until):
    _, pub = pair
    pub.say(IMAGE)
    for _ in range(2):
        pub.say(MISMATCHES[0], *zeros(MISMATCHES[0]))
    settle(pub, until, 2, 1)
    assert len(pub.messages(Problem)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": ("y",)}, {"axes": ("y", "y")}, {"axes": ("z", "y", "x")}, {"shape": (4, 0)},
        {"shape": (4,)}, {"rgb": True}, {"scale": (1.0,)}, {"scale": (1.0, 0.0)},
        {"scale": (1.0, float("nan"))}, {"translate": (1.0, float("inf"))}, {"units": ("um",)},
        {"contrast_limits": (1.0, 0.0)}, {"contrast_limits": (0.0, float("inf"))},
        {"dtype": "<U3"}, {"kind": "labels", "dtype": "<f4"}, {"kind": "labels", "rgb": True},
        {"kind": "points", "dtype": "<f8"}, {"kind": "points", "dtype": "<f8", "shape": (3,)},
    ],
)  # fmt: skip
def test_a_declaration_that_contradicts_itself_ends_the_session(pair, until, changes):
    rec, pub = pair
    pub.say(changed(IMAGE, **changes))
    until(lambda: pub.lost_because)
    assert "malformed" in pub.lost_because[0] and "'a'" in pub.lost_because[0]
    assert not rec.layers


@pytest.mark.parametrize(
    "declare",
    [
        IMAGE, POINTS, changed(IMAGE, scale=(1.0, -2.0), units=("um", "")),
        changed(IMAGE, dtype="|u1", shape=(4, 5, 3), rgb=True), changed(IMAGE, dtype="|b1"),
        changed(IMAGE, kind="labels"), changed(POINTS, dtype="<f4"),
        changed(IMAGE, contrast_limits=(-1.0, 1.0)),
    ],
)  # fmt: skip
def test_a_declaration_that_is_right_is_taken(pair, until, declare):
    rec, pub = pair
    pub.say(declare)
    settle(pub, until, 0, 1)
    assert list(rec.layers) == [declare.name] and not pub.lost_because


@pytest.mark.parametrize("message", [item(), Gap(0, 0, 0, 1, "x")])
def test_what_was_never_declared_ends_the_session(pair, until, message):
    _, pub = pair
    pub.say(message, *(zeros(message) if isinstance(message, Item) else ()))
    until(lambda: pub.lost_because)
    assert "never declared" in pub.lost_because[0]
    until(lambda: pub.links)


def test_text_that_is_none_is_refused(pair, until):
    rec, pub = pair
    pub.say(POINTS)
    points = (
        data((1, 2), "<f8"),
        data((1,), "<i4", "features/id"),
        data((1,), "<U1", "features/s"),
    )
    pub.say(item(stream=1, arrays=points), bytes(16), bytes(4), b"\xff\xff\xff\x7f")
    settle(pub, until, 1, 1)
    assert "no text" in pub.messages(Problem)[0].text
    assert rec.layers["p"].stats().refused == 1


def test_empty_text_is_text(pair, until):
    rec, pub = pair
    pub.say(POINTS)
    points = (
        data((2, 2), "<f8"),
        data((2,), "<i4", "features/id"),
        data((2,), "<U0", "features/s"),
    )
    pub.say(item(stream=1, arrays=points), bytes(32), bytes(8), b"")
    settle(pub, until, 1, 1)
    assert rec.layers["p"].features["s"].tolist() == ["", ""]


def test_no_memory_is_a_problem_and_no_end(pair, until, monkeypatch):
    rec, pub = pair
    pub.say(IMAGE)

    def full(shape, dtype):
        raise MemoryError("no 40 bytes for planes")

    with monkeypatch.context() as patch:
        patch.setattr(rec._arena, "allocate", full)
        pub.say(item(0), PIXELS.tobytes())
        settle(pub, until, 1, 1)
    pub.say(item(1), PIXELS.tobytes())
    settle(pub, until, 2, 1)
    stats = rec.layers["a"].stats()
    assert (stats.received, stats.refused) == (1, 1)
    assert "no 40 bytes" in pub.messages(Problem)[0].text


# ---- numbers ---------------------------------------------------------------------------


def test_what_comes_again_after_a_reconnect_is_taken_once(receiver, party, until):
    rec = receiver()
    for attempt in range(2):
        pub = party("memory://test", "publish", run="the same")
        pub.say(IMAGE)
        for number in range(attempt * 2, 4 + attempt * 2):
            pub.say(item(number, at={"t": number}), (PIXELS * 0 + number).tobytes())
        settle(pub, until, 4, 1)
        pub.close()
    stats = rec.layers["a"].stats()
    assert stats.received == 6 and stats.dropped == 0
    assert np.asarray(rec.layers["a"].data)[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_another_run_starts_to_count_anew(receiver, party, until):
    rec = receiver()
    for run in ("one", "two"):
        pub = party("memory://test", "publish", run=run)
        pub.say(IMAGE)
        pub.say(item(), PIXELS.tobytes())
        settle(pub, until, 1, 1)
        pub.close()
    assert rec.layers["a"].stats().received == 2


@pytest.mark.parametrize(
    ("gap", "dropped"),
    [
        (Gap(0, 4, 9, 6, "x"), 6),
        (Gap(0, 2, 3, 2, "x"), 0),
        (Gap(0, 2, 9, 8, "x"), 6),
        (Gap(0, 3, 9, 2, "x"), 1),
    ],
)
def test_a_gap_told_again_or_of_what_is_here_is_not_counted(receiver, party, until, gap, dropped):
    rec = receiver()
    for attempt in range(2):
        pub = party("memory://test", "publish", run="the same")
        pub.say(IMAGE)
        for number in range(4) if attempt == 0 else ():
            pub.say(item(number), PIXELS.tobytes())
        pub.say(gap)
        settle(pub, until, 4 * (1 - attempt), 2)
        pub.close()
    assert rec.layers["a"].stats().dropped == dropped


def test_what_was_said_and_comes_again_after_a_reconnect_is_shown_once(receiver, party, until):
    rec = receiver()
    for attempt in range(3):
        pub = party("memory://test", "publish", run="the same")
        (wish,) = until(lambda pub=pub: pub.messages(Subscribe))
        assert (wish.metrics, wish.line) == (({"m": 2 * attempt}, attempt) if attempt else ({}, 0))
        columns = [[float(number) for number in range(1, 2 * attempt + 3)]] * 3
        for message in (
            Metric("m", *columns, 1),
            Metric("m", *columns, 1),
            *(Status("info", "careful", 5.0, number) for number in range(1, attempt + 2)),
            Metric("plain", [1.0], [2.0], [3.0]),
        ):
            pub.say(message)
        settle(pub, until, 0, 4 + attempt)
        pub.close()
        until(lambda: not rec.sources[0].publishers)
    lines = [line.text for line in rec.layers.log if line.text == "careful"]
    assert list(rec.layers.metrics["m"].values) == [1, 2, 3, 4, 5, 6]
    assert list(rec.layers.metrics["plain"].values) == [2, 2, 2], "what has no number is news"
    assert lines == ["careful"] * 3


def test_what_the_old_link_says_late_is_shown_once(receiver, party, until):
    """A connection that broke may deliver what it held after the new one did the same."""
    rec = receiver()
    old, new = (party("memory://test", "publish", run="the same") for _ in range(2))
    until(lambda: len(rec.sources[0].publishers) == 2)
    said = [Metric("m", [1.0], [2.0], [3.0], 1), Status("info", "careful", 5.0, 1)]
    for count, pub in enumerate([new, old, new], start=1):
        for message in said:
            pub.say(message)
        settle(pub, until, 0, 2 * (1 + (count == 3)))
    assert list(rec.layers.metrics["m"].values) == [2]
    assert [line.text for line in rec.layers.log] == ["careful"]


def test_what_was_said_two_links_ago_is_shown_once(receiver, party, until):
    """A connection may break again before anything was said."""
    rec = receiver()
    metric = Metric("m", [1.0], [2.0], [3.0], 1)
    for said in ([metric], [], [metric]):
        pub = party("memory://test", "publish", run="the same")
        until(lambda pub=pub: pub.links)
        for message in said:
            pub.say(message)
            settle(pub, until, 0, 1)
        pub.close()
        until(lambda: not rec.sources[0].publishers)
    assert list(rec.layers.metrics["m"].values) == [2]


# ---- history ---------------------------------------------------------------------------


def test_a_viewer_says_at_once_what_it_wants(receiver, party, until):
    for history in (None, 0, 7):
        rec = receiver(f"memory://{history}?listen", history=history)
        for attempt in range(2):
            pub = party(f"memory://{history}", "publish", run="the same")
            (wish,) = until(lambda pub=pub: pub.messages(Subscribe))
            assert pub.got[0][0] == wish
            assert wish == Subscribe(history, {0: 3} if attempt else {}, codecs=CODECS)
            pub.say(IMAGE)
            pub.say(POINTS)
            pub.say(item(3), PIXELS.tobytes())
            settle(pub, until, 1, 2)
            pub.close()
        other = party(f"memory://{history}", "publish", run="another")
        (wish,) = until(lambda other=other: other.messages(Subscribe))
        assert wish == Subscribe(history, codecs=CODECS)
        other.close()
        assert rec.layers["a"].stats().received == 1


def preview(sequence, **options):
    message = item(sequence, **options)
    return structs.replace(message, preview=True)


def test_a_preview_is_shown_and_counts_for_nothing(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    pub.say(preview(2, at={"t": 2}), (PIXELS + 2).tobytes())
    settle(pub, until, 1, 1)
    layer = rec.layers["a"]
    np.testing.assert_array_equal(layer.data[0], PIXELS + 2)
    assert (layer.stats().received, layer.stats().bytes) == (0, 0)
    for number in range(3):
        pub.say(item(number, at={"t": number}), (PIXELS + number).tobytes())
    settle(pub, until, 4, 1)
    assert sorted(layer.coordinates["t"]) == [0, 1, 2]
    assert np.asarray(layer.data)[:, 0, 0].tolist() == layer.coordinates["t"]
    stats = layer.stats()
    assert (stats.received, stats.dropped, stats.refused) == (3, 0, 0)


def test_a_preview_that_comes_late_does_not_replace_what_is_newer(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    pub.say(item(5), PIXELS.tobytes())
    for number in (4, 5):
        pub.say(preview(number), (PIXELS * 0).tobytes())
    pub.say(structs.replace(preview(6), append=True), (PIXELS * 0).tobytes())
    settle(pub, until, 4, 1)
    np.testing.assert_array_equal(rec.layers["a"].data, PIXELS)
    assert rec.layers["a"].stats().received == 1


def test_a_preview_that_cannot_be_used_is_refused_in_its_turn(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    wrong = MISMATCHES[0]
    pub.say(structs.replace(wrong, preview=True), *zeros(wrong))
    settle(pub, until, 1, 1)
    assert not pub.messages(Problem) and rec.layers["a"].stats().refused == 0
    pub.say(wrong, *zeros(wrong))
    settle(pub, until, 2, 1)
    assert len(pub.messages(Problem)) == 1 and rec.layers["a"].stats().refused == 1


# ---- how late, and what was lost --------------------------------------------------------


def test_the_stages_are_timed_from_the_publishers_call(pair, until, monkeypatch):
    rec, pub = pair
    pub.say(IMAGE)
    settle(pub, until, 0, 1)
    start = time.time() + 100  # no item is older than the connection
    seconds = itertools.count(1)
    clock = SimpleNamespace(time=lambda: start + next(seconds))
    with monkeypatch.context() as patch:
        patch.setattr(source_module, "time", clock)
        pub.say(structs.replace(item(), time=start), PIXELS.tobytes())
        settle(pub, until, 1, 1)
    stages = rec.layers["a"].stats().stages
    assert stages.received.p50 == pytest.approx(1, abs=1e-3)
    assert stages.placed.p50 == pytest.approx(1, abs=1e-3)


def test_what_was_published_before_the_connection_did_not_wait_for_the_viewer(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    pub.say(structs.replace(item(), time=1.0), PIXELS.tobytes())
    settle(pub, until, 1, 1)
    assert 0 <= rec.layers["a"].stats().stages.received.p95 < 60


def test_gaps_are_counted_with_the_reason_of_the_last(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    for number in (0, 3, 6):
        pub.say(item(number), PIXELS.tobytes())
        pub.say(Gap(0, number + 1, number + 2, 2, f"reason {number}"))
    settle(pub, until, 3, 4)
    stats = rec.layers["a"].stats()
    assert (stats.dropped, stats.gaps, stats.gap_reason) == (6, 3, "reason 6")


# ---- shared memory ---------------------------------------------------------------------


@pytest.fixture
def pool():
    made = Pool(2**20)
    yield made
    made.close()


def mapped():
    gc.collect()
    return Path("/proc/self/maps").read_text().count("memfd:napari-streaming")


def in_pool(pool, value):
    slot = pool.allocate(40)
    slot.array((4, 5), np.dtype("<u2"))[:] = value
    slot.seal()
    return slot


def test_shared_planes_are_copied_out_before_they_are_acknowledged(pair, pool, until):
    rec, pub = pair
    pub.say(pool.segment)
    pub.say(IMAGE)
    until(lambda: pub.messages(Attached) == [Attached(pool.segment.segment, True)])
    for number in range(20):
        slot = in_pool(pool, number)
        pub.say(item(number, at={"t": number}, arrays=(data(block=slot.block()),)))
        settle(pub, until, number + 1, 2)
        slot.release()
    assert np.asarray(rec.layers["a"].data)[:, 1, 1].tolist() == list(range(20))


def test_a_plane_that_was_overwritten_counts_as_dropped(pair, pool, until):
    rec, pub = pair
    pub.say(pool.segment)
    pub.say(IMAGE)
    slot = in_pool(pool, 1)
    block = slot.block()
    slot.release()
    pub.say(item(arrays=(data(block=block),)))
    settle(pub, until, 1, 2)
    stats = rec.layers["a"].stats()
    assert (stats.received, stats.dropped, stats.gaps) == (0, 1, 1)
    assert "overwritten" in stats.gap_reason
    pub.say(Gap(0, 0, 0, 1, "newer data took its place"))
    settle(pub, until, 1, 3)
    assert rec.layers["a"].stats().dropped == 1, "it is the same one"


@pytest.mark.parametrize(
    "change",
    [
        {"segment": "ff" * 16}, {"segment": "x"}, {"size": 4096}, {"address": "memfd:1:99999"},
        {"address": "shm:x"}, {"address": ""}, {"address": "memfd:x"},
    ],
)  # fmt: skip
def test_a_segment_that_cannot_be_mapped_is_answered_so(pair, pool, until, change):
    _, pub = pair
    fields = {"segment": pool.segment.segment, "address": pool.segment.address, "size": 2**20}
    segment = Segment(**(fields | change))
    pub.say(segment)
    (answer,) = until(lambda: pub.messages(Attached))
    assert not answer.ok and answer.reason and answer.segment == segment.segment
    pub.say(IMAGE)
    pub.say(item(), PIXELS.tobytes())
    settle(pub, until, 1, 2)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Block("00" * 16, 4096, 1), "not attached"),
        (Block("OURS", 2**20, 1), "outside"),
        (Block("OURS", 5, 1), "outside"),
    ],
)
def test_a_block_that_cannot_be_ends_the_session(pair, pool, until, block, why):
    _, pub = pair
    pub.say(pool.segment)
    pub.say(IMAGE)
    ours = pool.segment.segment if block.segment == "OURS" else block.segment
    pub.say(item(arrays=(data(block=Block(ours, block.offset, block.generation)),)))
    until(lambda: pub.lost_because)
    assert why in pub.lost_because[0]


def test_the_memory_of_a_publisher_that_is_gone_is_let_go(pair, pool, until):
    _, pub = pair
    before = mapped()
    pub.say(pool.segment)
    until(lambda: mapped() == before + 1)
    pub.close()
    until(lambda: mapped() == before)


def test_a_receiver_that_closes_lets_go_too(pair, pool, until):
    rec, pub = pair
    before = mapped()
    pub.say(pool.segment)
    until(lambda: mapped() == before + 1)
    rec.close()
    assert mapped() == before


# ---- the receiver ----------------------------------------------------------------------


def test_urls_come_and_go(receiver, party, until):
    rec = receiver("tcp://127.0.0.1:0?listen")
    second = rec.open("tcp://127.0.0.1:0?listen")
    third = rec.open("ipc://a?listen#secret")
    assert len(rec.sources) == 3 and rec.urls[1:] == (second, third)
    assert "secret" in third and "secret" not in str(rec.sources)
    pub = party(second, "publish")
    until(lambda: pub.links)
    rec.shut(second)
    until(lambda: pub.lost_because)
    assert len(rec.sources) == 2
    assert rec.open("ipc://a?listen") and len(rec.sources) == 2, "opened anew"


def test_wait_for_says_what_there_is(pair, until):
    rec, pub = pair
    pub.say(IMAGE)
    with pytest.raises(TimeoutError, match=r"no layer 'b'.*there are: a"):
        rec.wait_for("b", 0.1)
    pub.say(item(), PIXELS.tobytes())
    assert rec.wait_for("a", 10) is rec.layers["a"]


def test_a_refused_publisher_is_counted_and_explained(receiver, party, until):
    rec = receiver("ipc://test?listen#right")
    pub = party("ipc://test#wrong", "publish")
    until(lambda: pub.refusals)
    until(lambda: rec.sources[0].refused)
    assert "token" in rec.sources[0].state
    good = party("ipc://test", "publish")
    until(lambda: good.links)
    until(lambda: rec.sources[0].state == "connected to publish")
    assert dataclasses.asdict(rec.sources[0])["publishers"] == ("publish",)


def test_acknowledgements_that_do_not_fit_come_later(pair, until, monkeypatch):
    rec, pub = pair
    (source,) = rec._sources.values()
    (link,) = source._publishers
    refused = []
    send = source_module.Link.send

    def full_at_first(self, message, buffers=()):
        if self is link and isinstance(message, Ack) and len(refused) < 3:
            refused.append(message)
            return None
        return send(self, message, buffers)

    monkeypatch.setattr(source_module.Link, "send", full_at_first)
    pub.say(IMAGE)
    settle(pub, until, 0, 1)
    assert len(refused) == 3


def test_what_is_asked_for_may_change(receiver, party, until):
    one = receiver(streams=("a",), max_fps=5.0)
    pub = party("memory://test", "publish")
    assert until(lambda: pub.messages(Subscribe)) == [Subscribe(None, {}, ("a",), 5.0, 0.0, CODECS)]
    one.limit(max_mb_s=2)
    one.limit(streams=())
    until(lambda: len(pub.messages(Subscribe)) > 1)
    until(lambda: pub.messages(Subscribe)[-1] == Subscribe(None, {}, (), 5.0, 2.0, CODECS))
    with pytest.raises(ValueError, match="max_fps"):
        one.limit(max_fps=-1)
    with pytest.raises(ValueError, match="streams"):
        one.limit(streams=["a" * 300])


@pytest.mark.parametrize("scheme", ["memory://paced", "tcp://127.0.0.1:0", "ws://127.0.0.1:0"])
def test_a_receiver_gets_no_more_than_it_wants(publisher, receiver, until, scheme):
    pub = publisher(f"{scheme}?listen")
    there = pub.urls[0] if pub.urls else scheme
    slow = receiver(there, streams=("wanted",), max_fps=10)
    quick = receiver(there)
    until(lambda: pub.stats().sinks[0].viewers == 2)
    began = time.monotonic()
    for number in range(50):
        pub.image("wanted", np.full((8, 8), number, np.uint8))
        pub.image("other", np.zeros((8, 8), np.uint8))
        time.sleep(0.005)  # a pace, not a wait
    until(lambda: "wanted" in slow.layers and np.max(slow.layers["wanted"].data) == 49)
    spent = time.monotonic() - began
    stats = slow.layers["wanted"].stats()
    assert stats.received <= 10 * spent + 2
    until(lambda: slow.layers["wanted"].stats().dropped + stats.received == 50)
    assert "10 items a second" in slow.layers["wanted"].stats().gap_reason
    assert slow.layers["other"].stats().received == 0
    until(lambda: quick.layers["wanted"].stats().received == 50)
    slow.limit(streams=(), max_fps=0)
    until(lambda: slow.layers["other"].stats().received)
