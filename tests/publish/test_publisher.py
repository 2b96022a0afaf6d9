from __future__ import annotations

import gc
import itertools
import threading
import time

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.errors import AddressInUseError, ClosedError, DataError, URLError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.receive.receiver import Receiver
from napari_streaming.settings import PublisherSettings
from napari_streaming.wire.messages import Ack, Declare, End, Gap, Item, Segment, Subscribe

MIB = 2**20
PLANE = np.arange(512 * 512, dtype=np.uint16).reshape(512, 512)  # half a MiB: in shared memory


@pytest.fixture(params=["memory://test", "tcp://127.0.0.1:0", "ipc://test"])
def pair(request, receiver, publisher):
    """A receiver and a publisher, connected."""
    rec = receiver(request.param + "?listen")
    return rec, publisher(where(rec))


def where(end):
    """Return the URL that the other side connects to."""
    (one,) = end.sources if isinstance(end, Receiver) else end.stats().sinks
    return one.url.partition("?")[0]


def read(rec, name, **at):
    layer = rec.layers[name]
    index = tuple(layer.coordinates[axis].index(at[axis]) for axis in layer.stack_axes)
    return np.asarray(layer.data[index])


def only_latest(pub, *planes):
    """Whether the publisher holds on to nothing but the latest of each stream."""
    pages = sum(-(-(plane.nbytes + 64) // 4096) * 4096 for plane in planes)
    return pub.stats().memory == pages


# ---- what can be published -------------------------------------------------------------

_RANDOM = np.random.default_rng(0)
ARRAYS = {
    "plain": PLANE,
    "not contiguous": PLANE[::2, ::-3],
    "big-endian": PLANE.astype(">u2"),
    "Fortran": np.asfortranarray(PLANE),
    "transposed volume": _RANDOM.integers(0, 99, (7, 80, 90)).transpose(2, 0, 1),
    "bool": PLANE % 3 == 0,
    "small": PLANE[:5, :4],
    "small big-endian": PLANE[:5, :4].astype(">f8"),
    "float16": (PLANE % 999).astype("f2"),
    "NaN": np.where(PLANE % 2, np.nan, PLANE).astype("f4"),
    "broadcast": np.broadcast_to(np.arange(300.0), (300, 300)),
    "rgb": _RANDOM.integers(0, 255, (200, 100, 3), dtype="u1"),
    "signed": -PLANE.astype("i8"),
    "one pixel": np.ones((1, 1)),
}


@pytest.mark.parametrize("what", list(ARRAYS))
def test_images_of_every_kind_arrive_as_they_are(pair, what):
    rec, pub = pair
    array = ARRAYS[what]
    pub.image(what, array)
    pub.image(what, array[..., ::-1] if array.ndim == 2 else array, at={"t": 1})
    assert pub.flush(10)
    data = rec.layers[what].data
    assert data.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(
        read(rec, what, t=1), array[..., ::-1] if array.ndim == 2 else array
    )


def test_lists_and_arrays_that_cannot_be_written(pair):
    rec, pub = pair
    frozen = PLANE.copy()
    frozen.flags.writeable = False
    pub.image("frozen", frozen)
    pub.image("list", [[1, 2], [3, 4]])
    pub.labels("labels", PLANE % 2 == 0)
    assert pub.flush(10)
    np.testing.assert_array_equal(read(rec, "frozen"), PLANE)
    np.testing.assert_array_equal(read(rec, "list"), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(read(rec, "labels"), PLANE % 2 == 0)
    assert rec.layers["labels"].kind == "labels"


def test_a_plane_may_be_changed_right_after_the_call(pair):
    rec, pub = pair
    plane = PLANE.copy()
    for number in range(5):
        plane[:] = number
        pub.image("a", plane, at={"t": number})
        plane[:] = 999
    assert pub.flush(10)
    assert np.asarray(rec.layers["a"].data)[:, 3, 3].tolist() == [0, 1, 2, 3, 4]


def test_points_with_features(pair):
    rec, pub = pair
    rows = np.array([[1, 2], [3, np.nan]], ">f4")
    pub.points("p", rows, features={"name": ["ä", "längst"], "n": [1, 2]}, at={"t": 0})
    pub.points("p", np.empty((0, 2)), features={"name": np.empty(0, "U"), "n": []}, at={"t": 1})
    many = np.arange(60_000.0).reshape(-1, 2)
    pub.points("many", many, features={"id": np.arange(30_000), "s": ["x"] * 30_000})
    pub.points("none", [])
    assert pub.flush(10)
    np.testing.assert_array_equal(rec.layers["p"].data, [[0, 1, 2], [0, 3, np.nan]])
    assert rec.layers["p"].features["name"].tolist() == ["ä", "längst"]
    np.testing.assert_array_equal(rec.layers["many"].data, many)
    assert rec.layers["many"].features["id"][-1] == 29_999
    assert rec.layers["none"].data.shape == (0, 2)
    assert not rec.sources[0].refused


@pytest.mark.parametrize(
    "name", ["🔬 Zellkerne", "\ud800\udfff", "日本", "a\nb", "\0", "x" * 256, "e\u0301", " "]
)
def test_any_name_arrives(receiver, publisher, name):
    rec, pub = receiver(), publisher()
    pub.image(name, PLANE, at={name: name})
    pub.metric(name, 1.0)
    pub.status("info", name)
    assert pub.flush(10)
    shown = name.encode("utf-8", "replace").decode()
    assert list(rec.layers) == [shown] and rec.layers[shown].coordinates == {shown: [shown]}
    assert list(rec.layers.metrics) == [shown] and rec.layers.log[-1].text == shown


def test_metrics_and_status(pair):
    rec, pub = pair
    for step in range(100):
        pub.metric("loss", np.float32(step) / 2, step)
    pub.metric("odd", float("nan"))
    pub.metric("odd", float("inf"))
    pub.status("warning", "x" * 70_000)
    assert pub.flush(10)
    assert list(rec.layers.metrics["loss"].values) == [step / 2 for step in range(100)]
    assert len(rec.layers.metrics["odd"].values) == 2
    assert len(rec.layers.log[-1].text) == 65_536
    with pytest.raises(DataError, match="info, warning"):
        pub.status("bad", "x")


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda pub: pub.image("a", PLANE, at={"t": float("nan")}), "finite number"),
        (lambda pub: pub.image("a", PLANE, at={"y": 1}), "axis of the plane"),
        (lambda pub: pub.image("x" * 300, PLANE), "1 to 256 characters"),
        (lambda pub: pub.image("a", PLANE.astype(complex)), "absolute value"),
        (lambda pub: pub.image("a", np.zeros((0, 4))), "no pixels"),
        (lambda pub: pub.metric("", 1), "1 to 256"),
        (lambda pub: pub.image("a", np.zeros((5000, 5000))), "PublisherSettings"),
    ],
)
def test_what_cannot_be_published_is_said_and_disturbs_nothing(receiver, publisher, call, hint):
    rec, pub = receiver(), publisher()
    with pytest.raises(DataError, match=hint):
        call(pub)
    pub.image("fine", PLANE)
    assert pub.flush(10)
    assert list(rec.layers) == ["fine"] and only_latest(pub, PLANE)


# ---- streams ---------------------------------------------------------------------------


def test_a_change_of_structure_makes_a_new_layer_and_coming_back_the_old_one(receiver, publisher):
    rec, pub = receiver(), publisher()
    for number in range(6):
        plane = PLANE if number % 2 == 0 else PLANE[:100]
        pub.image("a", plane, at={"t": number})
    assert pub.flush(10)
    assert list(rec.layers) == ["a", "a [2]"]
    assert [rec.layers[name].stats().received for name in rec.layers] == [3, 3]
    assert len(pub._engine.standing()) == 2, "streams do not pile up"
    assert only_latest(pub, PLANE, PLANE[:100])


def test_a_layer_is_declared_before_its_first_item(party, publisher, until):
    viewer = party("memory://test?listen", "view")
    pub = publisher()
    for number in range(20):
        pub.image(f"layer {number}", PLANE)
    assert pub.flush(10)
    declared = set()
    for message, _ in viewer.got:
        if isinstance(message, Declare):
            declared.add(message.stream)
        elif isinstance(message, Item):
            assert message.stream in declared


# ---- memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory://test", "tcp://127.0.0.1:0"])
def test_memory_comes_back(receiver, publisher, url):
    rec = receiver(url + "?listen")
    pub = publisher(where(rec))
    for number in range(200):
        pub.image("a", PLANE, at={"t": number % 7})
        pub.labels("b", PLANE[:300], at={"t": number % 7})
        pub.points("c", PLANE[:, :2])
    assert pub.flush(10)
    assert only_latest(pub, PLANE, PLANE[:300])


@pytest.mark.parametrize("share", [True, False])
def test_the_newest_is_delivered_and_the_rest_is_told(party, publisher, until, share):
    """A viewer that takes its time, and memory for three planes."""
    viewer = party("memory://test?listen", "view", attach=share, ack=False)
    pub = publisher(memory=4 * PLANE.nbytes)
    until(lambda: viewer.links)
    for number in range(100):
        pub.image("a", np.full_like(PLANE, number))
    assert not pub.flush(0.05)
    viewer.ack = True
    assert pub.flush(10)
    numbers = [i.sequence for i in viewer.messages(Item) if not i.preview]
    assert numbers[-1] == 99 and numbers == sorted(set(numbers))
    assert sum(gap.count for gap in viewer.messages(Gap)) == 100 - len(numbers)
    stats = pub.stats()
    assert (stats.published, stats.sent) == (100, len(numbers))
    assert stats.dropped == 100 - len(numbers)
    if not share:
        for item, buffers in viewer.got:
            if isinstance(item, Item):
                assert set(np.frombuffer(buffers[0], np.uint16)) == {item.sequence}
    assert only_latest(pub, PLANE)


def test_a_receiver_shows_what_was_dropped(receiver, publisher, until):
    pub = publisher(memory=4 * PLANE.nbytes)
    for number in range(50):
        pub.image("a", np.full_like(PLANE, number), at={"t": number})
    rec = receiver()
    assert pub.flush(10)
    stats = rec.layers["a"].stats()
    assert stats.received + stats.dropped == 50 and stats.dropped == pub.stats().dropped > 40
    assert (read(rec, "a", t=49) == 49).all()


def test_slow_streams_survive_a_fast_one(receiver, publisher):
    pub = publisher(memory=8 * PLANE.nbytes)
    pub.labels("once", PLANE)
    pub.image("too", PLANE)
    for number in range(50):
        pub.image("fast", PLANE, at={"t": number})
    rec = receiver()
    assert pub.flush(10)
    assert set(rec.layers) == {"once", "too", "fast"}
    assert rec.layers["once"].stats().received == 1
    assert rec.layers["fast"].latest["t"] == len(rec.layers["fast"].coordinates["t"]) - 1


def test_small_memory_is_not_full_because_it_is_being_touched(publisher, until):
    """With room for two planes, the second is never given up for the first."""
    for _ in range(20):
        pub = publisher("memory://nobody", memory=2 * (PLANE.nbytes + 4096) + 4096)
        pub.image("a", PLANE)
        pub.image("b", PLANE)
        assert pub.stats().dropped == 0
        pub.close(0)


def test_without_any_viewer_nothing_waits_and_nothing_fails(publisher):
    pub = publisher("memory://test?listen", memory=4 * PLANE.nbytes)
    for number in range(50):
        pub.image("a", PLANE, at={"t": number})
        pub.metric("m", number)
    assert pub.flush(0)
    assert only_latest(pub, PLANE)
    alone = publisher("memory://nobody", memory=4 * PLANE.nbytes)
    for _ in range(50):
        alone.image("a", PLANE)
    assert not alone.flush(0.05)
    assert 46 <= alone.stats().dropped <= 49


def test_a_publisher_without_urls_does_nothing(publisher):
    pub = Publisher()
    pub.image("a", PLANE)
    assert pub.flush(0) and pub.stats().published == 1 and pub.urls == ()
    pub.close()


# ---- lent memory -----------------------------------------------------------------------


def test_a_lent_plane_is_published_without_a_copy(pair):
    rec, pub = pair
    pub.image("a", PLANE)
    assert pub.flush(10)
    before = pub.stats().memory
    for number in range(20):
        with pub.allocate(PLANE.shape, PLANE.dtype) as plane:
            plane[:] = number
            pub.image("a", plane, at={"t": number})
            assert not plane.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                plane[0, 0] = 1
    assert pub.flush(10)
    assert np.asarray(rec.layers["a"].data)[:, 5, 5].tolist() == list(range(20))
    assert pub.stats().memory == before


def test_no_copy_is_made_of_a_lent_plane(publisher, monkeypatch):
    from napari_streaming.publish import staging

    pub = publisher("memory://test?listen")
    copies = []
    monkeypatch.setattr(staging.np, "copyto", lambda into, source: copies.append(source))
    with pub.allocate(PLANE.shape, PLANE.dtype) as plane:
        plane[:] = 0
        pub.image("a", plane)
        assert pub.stats().memory == -(-(PLANE.nbytes + 64) // 4096) * 4096
    with pub.allocate(PLANE.shape, bool) as mask:
        mask[:] = False
        pub.labels("b", mask)
        assert not mask.flags.writeable, "also where the labels are another view of it"
    assert not copies


def test_lent_memory_in_another_byte_order_arrives_right(pair):
    rec, pub = pair
    with pub.allocate(PLANE.shape, ">u2") as plane:
        plane[:] = PLANE
        pub.image("a", plane)
    assert pub.flush(10)
    np.testing.assert_array_equal(read(rec, "a"), PLANE)


def test_a_part_of_lent_memory_is_copied(pair):
    rec, pub = pair
    with pub.allocate(PLANE.shape, PLANE.dtype) as plane:
        plane[:] = PLANE
        pub.image("part", plane[:256])
        pub.image("turned", plane.T)
        assert plane.flags.writeable
    assert pub.flush(10)
    np.testing.assert_array_equal(read(rec, "part"), PLANE[:256])
    np.testing.assert_array_equal(read(rec, "turned"), PLANE.T)


def test_lent_memory_that_was_not_published_comes_back_and_is_closed(publisher):
    pub = publisher("memory://test?listen")
    with pytest.raises(ZeroDivisionError), pub.allocate(PLANE.shape, PLANE.dtype) as plane:
        1 / 0  # noqa: B018
    assert pub.stats().memory == 0
    assert not plane.flags.writeable, "it is another plane's by now"


def test_lent_memory_when_there_is_none_left(receiver, publisher):
    pub = publisher(memory=3 * PLANE.nbytes)
    rec = receiver()
    with pub.allocate(PLANE.shape, PLANE.dtype) as one, pub.allocate(PLANE.shape, "u2") as two:
        with pub.allocate(PLANE.shape, PLANE.dtype) as three:
            one[:], two[:], three[:] = 1, 2, 3
        pub.image("one", one)
        pub.image("two", two)
    assert pub.flush(10)
    pub.image("three", three)
    assert pub.flush(10)
    for number, name in enumerate(("one", "two", "three"), 1):
        assert (read(rec, name) == number).all()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 3), object), ((3, 3), "M8[s]"), ((-1, 3), "u1"), ((3, 3), complex)]
)
def test_what_cannot_be_lent(publisher, shape, dtype):
    pub = publisher("memory://nobody")
    with pytest.raises(DataError), pub.allocate(shape, dtype):
        pass
    assert pub.stats().memory == 0


# ---- viewers come and go ---------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory://test", "tcp://127.0.0.1:0", "ipc://test"])
def test_a_late_joiner_gets_the_declarations_and_the_last_values(receiver, publisher, until, url):
    pub = publisher(url + "?listen")
    for number in range(5):
        pub.image("a", np.full_like(PLANE, number), at={"t": number})
        pub.points("b", [[number, 1]], at={"t": number})
    for _ in range(3):
        rec = receiver(where(pub))
        until(lambda rec=rec: len(rec.layers) == 2)
        until(lambda rec=rec: all(layer.stats().received for layer in rec.layers.values()))
        assert (read(rec, "a", t=4) == 4).all()
        assert rec.layers["b"].data.tolist() == [[0, 4, 1]]
        assert rec.layers["a"].stats().dropped == 0
    assert pub.flush(10) and pub.stats().sinks[0].viewers == 3


def test_a_viewer_that_comes_in_the_middle_misses_nothing_from_then_on(party, publisher, until):
    """Nothing falls between what a late joiner is given and what is published meanwhile."""
    pub = publisher("memory://test?listen")
    stop = threading.Event()

    def publish():
        number = 0
        while not stop.wait(0.0005):
            number += 1
            pub.points(f"layer {number % 50}", [[number, 0]])

    thread = threading.Thread(target=publish)
    thread.start()
    viewers = []
    for _ in range(20):
        viewers.append(party("memory://test", "view"))
        until(lambda: viewers[-1].messages(Item))
    stop.set()
    thread.join()
    assert pub.flush(10)
    for viewer in viewers:
        assert not viewer.refusals and not viewer.lost_because
        by_stream = {}
        for item in viewer.messages(Item):
            by_stream.setdefault(item.stream, []).append(item.sequence)
        for numbers in by_stream.values():
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
        told = {declare.stream for declare in viewer.messages(Declare)}
        assert told == set(by_stream) and len(told) == len(pub._engine.standing())


def test_viewers_that_leave_take_nothing_with_them(party, publisher, until):
    pub = publisher("memory://test?listen", memory=8 * PLANE.nbytes)
    stop = threading.Event()

    def publish():
        while not stop.is_set():
            pub.image("a", PLANE)

    thread = threading.Thread(target=publish)
    thread.start()
    for number in range(30):
        viewer = party("memory://test", "view", ack=number % 2 == 0)
        until(lambda viewer=viewer: viewer.messages(Item))
        viewer.close()
    stop.set()
    thread.join()
    until(lambda: pub.stats().sinks[0].viewers == 0)
    until(lambda: only_latest(pub, PLANE))


def test_a_viewer_that_left_in_the_middle_of_a_plane_takes_no_memory(party, publisher, until):
    """What the dead connection of a remote viewer still reads is freed in the end."""
    pub = publisher("tcp://127.0.0.1:0?listen", memory=64 * MIB)
    big = np.zeros((2048, 2048), np.uint16)
    for _ in range(2):
        viewer = party(where(pub), "view", host="elsewhere")
        until(lambda viewer=viewer: viewer.links)
        blocked = threading.Event()
        viewer.on_received = lambda link, message, blocked=blocked: blocked.wait(10)
        for _ in range(6):
            pub.image("a", big)
        until(lambda: pub.stats().sent)
        blocked.set()
        viewer.close()
        until(lambda: pub.stats().sinks[0].viewers == 0)
    until(lambda: only_latest(pub, big))


def test_how_much_a_viewer_may_have_under_way_depends_on_how_many_there_are(
    party, publisher, until
):
    pub = publisher("memory://test?listen")
    share = pub._engine.window_share()
    assert share == 8 * MIB
    viewers = [party("memory://test", "view") for _ in range(2)]
    until(lambda: pub._engine.window_share() == share // 2)
    viewers[0].close()
    until(lambda: pub._engine.window_share() == share)


def test_a_frozen_viewer_does_not_keep_anything_from_another(party, publisher, until):
    pub = publisher("memory://test?listen", memory=8 * PLANE.nbytes)
    frozen = party("memory://test", "view", ack=False)
    good = party("memory://test", "view")
    until(lambda: pub.stats().sinks[0].viewers == 2)
    for number in range(100):
        pub.image("a", PLANE, at={"t": number})
        until(lambda n=number: len(good.messages(Item)) > n)
    assert len(frozen.messages(Item)) < 5
    frozen.ack = True
    assert pub.flush(10)
    assert frozen.messages(Item)[-1].sequence == 99


def test_a_viewer_without_shared_memory_gets_the_pixels(party, publisher, until):
    pub = publisher("memory://test?listen")
    viewer = party("memory://test", "view", host="another machine")
    until(lambda: viewer.links)
    pub.image("a", PLANE)
    assert pub.flush(10)
    assert not viewer.messages(Segment)
    ((_, buffers),) = [got for got in viewer.got if isinstance(got[0], Item)]
    np.testing.assert_array_equal(np.frombuffer(buffers[0], "u2").reshape(512, 512), PLANE)


def test_a_viewer_that_breaks_the_rules_is_not_fed_any_more_but_the_rest_is(
    party, publisher, until
):
    pub = publisher("memory://test?listen")
    bad, good = party("memory://test", "view"), party("memory://test", "view")
    until(lambda: pub.stats().sinks[0].viewers == 2)
    bad.say(Ack(99, 99))
    until(lambda: bad.lost_because)
    assert "acknowledged" in bad.lost_because[0]
    pub.image("a", PLANE)
    until(lambda: good.messages(Item))


# ---- history ---------------------------------------------------------------------------


def numbers(viewer):
    """Return the sequence numbers that a viewer was sent, previews aside."""
    return [item.sequence for item in viewer.messages(Item) if not item.preview]


@pytest.mark.parametrize("qos", ["latest", "reliable"])
@pytest.mark.parametrize(("history", "expected"), [(None, 8), (3, 3), (1, 1), (0, 1), (99, 8)])
def test_a_late_joiner_gets_the_history_that_it_asks_for(
    party, publisher, until, qos, history, expected
):
    pub = publisher("memory://test?listen", history=8 * MIB)
    for number in range(8):
        pub.image("a", np.full_like(PLANE, number), at={"t": number}, qos=qos)
    viewer = party("memory://test", "view", subscribe=Subscribe(history))
    until(lambda: viewer.messages(Declare))  # it has been heard
    pub.image("a", np.full_like(PLANE, 8), at={"t": 8}, qos=qos)
    assert pub.flush(10)
    assert numbers(viewer) == list(range(8 - expected, 9))
    previews = [item.sequence for item in viewer.messages(Item) if item.preview]
    assert len(previews) <= 1 and (not previews or viewer.messages(Item)[0].preview)
    assert pub.stats().sent == expected + 1 and pub.stats().dropped == 0


def test_history_is_kept_as_long_as_memory_is_free(receiver, publisher):
    """Half of the pool at most, and whatever else is published comes first."""
    pub = publisher("memory://test?listen", history=99 * MIB)
    for number in range(100):
        pub.image("a", np.full_like(PLANE, number), at={"t": number})
    assert 7 * MIB < pub.stats().memory < 9 * MIB
    rec = receiver("memory://test")
    assert rec.wait_for("a", 10) and pub.flush(10)
    steps = rec.layers["a"].coordinates["t"]
    assert sorted(steps) == list(range(100 - len(steps), 100)) and 10 < len(steps) < 20
    assert all((read(rec, "a", t=t) == t).all() for t in steps)
    pub.image("big", np.zeros((1700, 2000), np.uint16))
    late = receiver("memory://test")
    assert late.wait_for("big", 10) and pub.flush(10)
    assert late.layers["a"].coordinates["t"][-1] == 99 and pub.stats().dropped == 0


@pytest.mark.parametrize("way", ["viewer listens", "publisher listens"])
def test_a_viewer_that_comes_back_gets_what_it_has_not(party, publisher, until, way):
    listens = {"viewer listens": ("?listen", ""), "publisher listens": ("", "?listen")}[way]
    viewers_url, publishers_url = ("memory://test" + listen for listen in listens)
    pub = publisher(publishers_url)
    first = party(viewers_url, "view", run="the same", ack=False)
    for number in range(6):
        pub.points("a", [[number, 0]], qos="reliable")
    until(lambda: len(numbers(first)) == 6)
    first.close()
    pub.points("a", [[6, 0]], qos="reliable")
    second = party(viewers_url, "view", run="the same", subscribe=Subscribe(None, {0: 3}))
    until(lambda: second.links)
    assert pub.flush(10)
    assert numbers(second) == [4, 5, 6]
    assert not second.messages(Gap) and pub.stats().dropped == 0


def test_a_connection_that_breaks_costs_a_receiver_nothing(receiver, publisher, until):
    """The same receiver, the same publisher: nothing twice, nothing lost."""
    rec, pub = receiver(), publisher()
    endpoint = pub._engine._sinks[0]._channel.endpoint
    for number in range(300):
        pub.points("a", [[number, 0]], at={"t": number}, qos="reliable")
        pub.metric("m", number, number)
        if number % 30 == 15:
            until(lambda n=number: rec.layers and rec.layers["a"].stats().received > n - 10)
            endpoint.reconnect(endpoint.url)
    assert pub.flush(15)
    assert len([line for line in rec.layers.log if "is gone" in line.text]) > 5
    stats = rec.layers["a"].stats()
    assert (stats.received, stats.dropped) == (300, 0)
    assert rec.layers["a"].coordinates["t"] == list(range(300))
    assert list(rec.layers.metrics["m"].values) == list(range(300))


def test_every_viewer_gets_every_value(receiver, publisher, until):
    urls = [f"memory://{name}" for name in "abc"]
    receivers = [receiver(url + "?listen") for url in urls]
    pub = publisher(*urls)
    for number in range(100):
        pub.metric("m", number, number)
    assert pub.flush(15)
    assert [list(rec.layers.metrics["m"].values) for rec in receivers] == [list(range(100))] * 3


# ---- reliable streams ------------------------------------------------------------------


def test_nothing_reliable_is_lost_while_nobody_is_there(receiver, publisher, until, tmp_path):
    pub = publisher(memory=8 * PLANE.nbytes, spool_folder=str(tmp_path))
    for number in range(50):
        pub.image("a", np.full_like(PLANE, number), at={"t": number}, qos="reliable")
    assert pub.stats().memory <= 4 * (PLANE.nbytes + 4096)
    assert pub.stats().spool >= 46 * PLANE.nbytes
    assert not list(tmp_path.iterdir())
    for _ in range(2):
        with receiver() as rec:
            until(lambda rec=rec: rec.layers and rec.layers["a"].stats().received == 50)
            assert all((read(rec, "a", t=t) == t).all() for t in range(50))
            assert pub.flush(20)
    assert pub.stats().dropped == 0
    pub.close()
    assert (pub.stats().memory, pub.stats().spool) == (0, 0)


def test_what_is_live_has_room_whatever_is_reliable(receiver, publisher):
    pub = publisher(memory=8 * PLANE.nbytes)
    for number in range(50):
        pub.image("a", PLANE, at={"t": number}, qos="reliable")
        with pub.allocate(PLANE.shape, PLANE.dtype) as plane:
            plane[:] = number
            pub.image("lent", plane, at={"t": number}, qos="reliable")
        pub.image("live", np.full_like(PLANE, number), at={"t": number})
    rec = receiver()
    assert pub.flush(20)
    assert rec.layers["live"].stats().received >= 3
    assert (read(rec, "live", t=49) == 49).all()
    assert rec.layers["a"].stats().received == rec.layers["lent"].stats().received == 50
    assert all((read(rec, "lent", t=t) == t).all() for t in range(50))


def test_points_that_are_reliable_and_small_do_not_fill_the_memory(receiver, publisher):
    pub = publisher(memory=2 * MIB)
    for number in range(1000):
        pub.points("p", [[number, 1]], features={"s": ["é"]}, at={"t": number}, qos="reliable")
    assert pub.stats().spool > 0
    rec = receiver()
    assert pub.flush(20)
    assert rec.layers["p"].stats().received == 1000
    assert sorted(rec.layers["p"].data[:, 1]) == list(range(1000))


@pytest.mark.parametrize("disk", [{"spool": 0}, {"spool": 4 * MIB}, {"spool_folder": "/dev/null"}])
def test_without_room_the_newest_is_lost_and_that_is_said_once(
    receiver, publisher, caplog, until, disk
):
    pub = publisher(memory=8 * PLANE.nbytes, **disk)
    for number in range(30):
        pub.image("a", PLANE, at={"t": number}, qos="reliable")
    dropped = pub.stats().dropped
    assert dropped == (18 if disk.get("spool") else 26)
    assert len([r for r in caplog.records if "reliable streams are lost" in r.message]) == 1
    rec = receiver()
    assert pub.flush(10)
    assert rec.layers["a"].coordinates["t"] == list(range(30 - dropped))
    assert rec.layers["a"].stats().dropped == dropped
    (line,) = [line for line in rec.layers.log if "reliable" in line.text]
    assert line.level == "warning"
    pub.image("a", PLANE, at={"t": 99}, qos="reliable")
    assert pub.flush(10), "there is room again, where the oldest ones were"
    assert rec.layers["a"].coordinates["t"][-1] == 99 and pub.stats().dropped == dropped


def test_what_nobody_took_in_is_said_at_the_end(publisher, caplog):
    pub = publisher()
    for _ in range(3):
        pub.image("a", PLANE, qos="reliable")
    pub.close(0)
    assert "3 items of reliable streams" in caplog.text


# ---- threads ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory://test", "tcp://127.0.0.1:0", "ipc://test"])
def test_four_threads_publish_at_once(receiver, publisher, url):
    rec = receiver(url + "?listen")
    pub = publisher(where(rec), memory=128 * MIB)
    errors = []

    def work(which):
        try:
            for number in range(50):
                plane = np.full((300, 300), which * 1000 + number, np.uint16)
                pub.image("shared", plane, at={"thread": which, "t": number})
                pub.image(f"own {which}", plane, at={"t": number})
                pub.metric("m", number)
                pub.stats()
                if number % 10 == 0:
                    pub.flush(0.01)
        except Exception as error:  # noqa: BLE001  # the test shows it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert pub.flush(20) and pub.stats().dropped == 0
    values = np.asarray(rec.layers["shared"].data)
    for which, number in itertools.product(range(4), range(50)):
        assert (read(rec, "shared", thread=which, t=number) == which * 1000 + number).all()
    assert values.shape == (4, 50, 300, 300) or values.shape == (50, 4, 300, 300)
    assert len(rec.layers.metrics["m"].values) == 200
    assert only_latest(pub, *[np.empty((300, 300), "u2")] * 5)


# ---- flush, close, afterwards ----------------------------------------------------------


def test_flush_means_that_every_viewer_has_everything(party, publisher, until):
    one = party("memory://one?listen", "view")
    two = party("memory://two?listen", "view", ack=False)
    pub = publisher("memory://one", "memory://two")
    pub.status("info", "hi")
    until(lambda: one.got and two.got)
    assert not pub.flush(0.1)
    two.ack = True
    assert pub.flush(10)


def test_flush_waits_for_a_connecting_publisher_whose_viewer_is_not_there(publisher):
    pub = publisher("memory://nobody")
    pub.metric("m", 1)
    start = time.monotonic()
    assert not pub.flush(0.2)
    assert 0.15 < time.monotonic() - start < 2


def test_close_sends_what_waits_and_the_end_comes_last(party, publisher, until):
    viewer = party("memory://test?listen", "view")
    pub = publisher()
    for _ in range(30):
        pub.image("a", PLANE)
    pub.close()
    until(lambda: viewer.messages(End))
    assert [item.sequence for item in viewer.messages(Item) if not item.preview] == list(range(30))
    assert isinstance([m for m, _ in viewer.got][-1], End)


@pytest.mark.parametrize("url", ["memory://test", "tcp://127.0.0.1:0"])
def test_close_is_bounded_with_a_frozen_viewer(party, publisher, until, url):
    viewer = party(url + "?listen", "view", ack=False)
    pub = publisher(viewer.url, close_timeout=0.5)
    pub.image("a", PLANE)
    until(lambda: viewer.messages(Item))
    start = time.monotonic()
    pub.close()
    assert 0.4 < time.monotonic() - start < 2
    assert threading.active_count() < 50


def test_closing_from_many_threads_happens_once(party, publisher, until):
    viewer = party("memory://test?listen", "view")
    pub = publisher()
    until(lambda: viewer.links)
    threads = [threading.Thread(target=pub.close) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pub.close()
    assert len(viewer.messages(End)) == 1


def test_closing_while_others_publish(party, publisher, until):
    party("memory://test?listen", "view")
    pub = publisher()
    seen = []

    def work():
        try:
            while True:
                pub.image("a", PLANE)
                pub.metric("m", 1)
                pub.status("info", "x")
        except ClosedError:
            seen.append(True)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: pub.stats().published > 20)
    pub.close()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda pub: pub.image("a", PLANE),
        lambda pub: pub.labels("a", PLANE),
        lambda pub: pub.points("a", [[1, 2]]),
        lambda pub: pub.metric("a", 1),
        lambda pub: pub.status("info", "a"),
        lambda pub: pub.allocate((3, 3), "u1").__enter__(),
        lambda pub: pub.flush(0),
    ],
)
def test_after_close_every_call_says_so(publisher, call):
    pub = publisher("memory://test?listen")
    pub.close()
    with pytest.raises(ClosedError, match="make a new one"):
        call(pub)
    pub.close()
    assert pub.stats().published == 0


def our_threads():
    return {t for t in threading.enumerate() if t.name.startswith("napari-streaming")}


def test_nothing_stays_behind(until):
    before = our_threads()
    with Receiver("ipc://test?listen") as rec, Publisher("ipc://test") as pub:
        pub.image("a", PLANE)
        assert pub.flush(10)
    assert rec.layers["a"].data[0, 0] == 0, "its layers stay readable"
    del rec, pub
    gc.collect()
    until(lambda: our_threads() <= before)


def test_a_publisher_that_nobody_holds_any_more_is_closed(party, until):
    viewer = party("memory://test?listen", "view")
    before = our_threads()
    Publisher("memory://test").image("a", PLANE)
    until(lambda: viewer.messages(End))
    assert len(viewer.messages(Item)) == 1
    until(lambda: our_threads() == before)


def test_a_url_that_cannot_be_used_leaves_nothing_open(publisher, until):
    publisher("ipc://taken?listen")
    before = our_threads()
    for urls, error in (
        (("memory://a?listen", "ipc://taken?listen"), AddressInUseError),
        (("memory://a?listen", "http://x"), URLError),
        (("memory://a?listen", "memory://a?listen"), AddressInUseError),
    ):
        with pytest.raises(error):
            Publisher(*urls)
    until(lambda: our_threads() <= before)


def test_stats_name_the_url_without_its_token(publisher):
    pub = publisher("ipc://test?listen#secret")
    (sink,) = pub.stats().sinks
    assert "secret" not in sink.url and sink.state == "waiting for a viewer"
    assert pub.urls == ("ipc://test#secret",)


def test_why_there_is_no_viewer(party, publisher, until):
    party("ipc://test?listen#right", "view")
    pub = publisher("ipc://test#wrong")
    until(lambda: "token" in pub.stats().sinks[0].state)


def test_a_publisher_with_a_name_that_is_no_unicode(party, until):
    viewer = party("memory://test?listen", "view")
    with Publisher("memory://test", name="\udcff" + "x" * 300):
        until(lambda: viewer.links)
        assert viewer.links[0].peer.program == "?" + "x" * 255


def test_settings_and_names_at_the_top():
    assert PublisherSettings().memory == 512 * MIB
    assert set(ns.__all__) <= set(dir(ns))


# ---- forks and the end of the interpreter ----------------------------------------------

FORK = """
import os, threading, time
import numpy as np
import napari_streaming as ns
pub = ns.Publisher({url!r}, settings=ns.PublisherSettings(memory=2**24))
plane = np.zeros((512, 512), "u2")
stop = threading.Event()
def work():
    while not stop.is_set():
        pub.image("busy", plane)
        pub.stats()
threads = [threading.Thread(target=work) for _ in range(2)]
for t in threads: t.start()
bad = []
for _ in range(20):
    time.sleep(0.005)
    child = os.fork()
    if not child:
        calls = [
            lambda: pub.image("a", plane), lambda: pub.metric("m", 1), lambda: pub.flush(1),
            lambda: pub.status("info", "x"), lambda: pub.allocate((9, 9), "u1").__enter__(),
            lambda: pub.stats(),
        ]
        raised = 0
        for call in calls:
            try:
                call()
            except ns.StreamingError as error:
                raised += "after a fork" in str(error)
        pub.close()
        os._exit(0 if raised == len(calls) else 1)
    deadline = time.monotonic() + 5
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    if done[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
    if done[0] == 0 or done[1]:
        bad.append(done)
stop.set()
for t in threads: t.join()
for n in range(10): pub.points("after", [[n, n]], at={{"t": n}})
good = pub.flush(10)
"""


def test_a_fork_is_told_so_and_does_not_disturb_its_parent(receiver, remote):
    rec = receiver("ipc://test?listen")
    other = remote()
    other(FORK.format(url="ipc://test"))
    assert other("[bad, good]") == [[], True]
    assert rec.layers["after"].stats().received == 10
    assert rec.layers["busy"].stats().refused == 0


def test_a_forked_process_ends_by_itself(receiver, remote):
    rec = receiver("ipc://test?listen")
    other = remote()
    other("import os, sys, napari_streaming as ns; pub = ns.Publisher('ipc://test')")
    other("pub.metric('m', 1); pub.flush()")
    other(
        """
child = os.fork()
if not child:
    sys.stdin.close()
    sys.exit(7)  # with all that happens at exit
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    )
    assert other("status") == 7
    other("pub.metric('m', 2)")
    assert other("pub.flush()")
    assert len(rec.layers.metrics["m"].values) == 2


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "ipc://test"])
def test_the_interpreter_ends_with_a_frozen_viewer_and_without_close(remote, url):
    viewer, pipeline = remote(), remote()
    viewer("from napari_streaming.receive.receiver import Receiver")
    viewer(f"r = Receiver('{url}?listen')")
    address = viewer("r.sources[0].url").partition("?")[0]
    pipeline("import napari_streaming as ns, numpy as np")
    pipeline(f"pub = ns.Publisher({address!r}, settings=ns.PublisherSettings(close_timeout=0.5))")
    pipeline("pub.image('a', np.zeros((2000, 2000)))")
    assert pipeline("pub.flush()")
    viewer.freeze()
    pipeline("for n in range(30): pub.image('a', np.zeros((2000, 2000)), at={'t': n})")
    assert pipeline.end() < 5
    viewer.thaw()
    viewer.until("r.layers['a'].stats().received > 1")


def test_the_interpreter_ends_with_nobody_there(remote):
    pipeline = remote()
    pipeline("import napari_streaming as ns")
    pipeline("pub = ns.Publisher('ipc://nobody', settings=ns.PublisherSettings(close_timeout=0.3))")
    pipeline("pub.metric('m', 1)")
    assert pipeline.end() < 5


@pytest.mark.parametrize("ready", [True, False])
def test_what_waits_when_the_interpreter_ends_still_goes_out(receiver, remote, until, ready):
    """Pixels too, for which pyzmq needs a thread that it cannot start that late any more."""
    pipeline = remote()
    pipeline(
        """
import weakref
class Other: pass
other = Other()
weakref.finalize(other, int)  # whose exit handler comes before those of pyzmq
import numpy as np
import napari_streaming as ns
import napari_streaming.publish.publisher as module
module.host_identity = lambda: "another machine"
pub = ns.Publisher("ipc://test", settings=ns.PublisherSettings(close_timeout=10))
def publish(n):
    for t in range(n):
        pub.image("a", np.full((512, 512), t, "u2"), at={"t": t})
"""
    )
    rec = receiver("ipc://test?listen", window=PLANE.nbytes) if ready else None
    if ready:
        pipeline("publish(1)")
        assert pipeline("pub.flush(10)")
    pipeline("publish(20)")
    ending = threading.Thread(target=pipeline.end)
    ending.start()
    rec = rec or receiver("ipc://test?listen", window=PLANE.nbytes)
    ending.join(15)
    until(lambda: rec.layers["a"].stats().received == 20 + ready)
    assert np.asarray(rec.layers["a"].data)[:, 7, 7].tolist() == list(range(20))
    assert rec.layers.log[-1].level == "complete"


def test_a_forked_process_makes_a_publisher_of_its_own(receiver, remote):
    rec = receiver("ipc://test?listen")
    other = remote()
    other("import os, numpy as np, napari_streaming as ns; pub = ns.Publisher('ipc://test')")
    other("pub.image('parent', np.zeros((512, 512), 'u2'), at={'t': 0}); pub.flush()")
    other(
        """
child = os.fork()
if not child:
    with ns.Publisher("ipc://test") as mine:
        mine.image("child", np.ones((512, 512), "u2"), at={"t": 1})
        os._exit(0 if mine.flush(10) else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    )
    assert other("status") == 0
    assert (read(rec, "child", t=1) == 1).all()
    other("pub.image('parent', np.ones((512, 512), 'u2'), at={'t': 1})")
    assert other("pub.flush(10)")
    assert (read(rec, "parent", t=1) == 1).all()
