"""Smaller planes: what a publisher takes of them, and what a receiver makes of that."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from napari_streaming.publish.reduce import Reducer, Reduction
from napari_streaming.publish.staging import Parcel, Staged
from napari_streaming.receive.checks import mismatch
from napari_streaming.receive.receiver import Receiver
from napari_streaming.receive.reduced import Reduced, Whole
from napari_streaming.settings import ReceiverSettings
from napari_streaming.wire.messages import Array, Declare, Item, Subscribe, Want

RNG = np.random.default_rng(0)


# ---- one plane against numpy ---------------------------------------------------------


def sides(most=23):
    return st.tuples(*[st.integers(1, most)] * 2)


def spans(length):
    return st.tuples(*[st.integers(0, length + 3)] * 2).map(sorted).filter(lambda p: p[0] < p[1])


@st.composite
def wishes(draw, plane):
    region = None
    if draw(st.booleans()):
        (top, bottom), (left, right) = draw(spans(plane[0])), draw(spans(plane[1]))
        region = (top, left, bottom, right)
    return Subscribe(max_side=draw(st.integers(0, 12)), region=region)


@st.composite
def cuts(draw, length):
    """Return where a side is cut into tiles."""
    inner = draw(st.sets(st.integers(1, max(1, length - 1)), max_size=4))
    edges = sorted({0, length} | {one for one in inner if one < length})
    return [*itertools.pairwise(edges)]


def expected(plane, wish, y):
    """Return the plane as the viewer has it, and how many pixels that takes; by the words."""
    shape = plane.shape[y : y + 2]
    top, left, bottom, right = wish.region or (0, 0, *shape)
    bottom, right = min(bottom, shape[0]), min(right, shape[1])
    side = max(bottom - top, right - left)
    step = 1
    while wish.max_side and -(-side // step) > wish.max_side:
        step += 1
    rows, columns = np.arange(top, bottom, step), np.arange(left, right, step)
    seen = np.zeros_like(plane)
    lead = (slice(None),) * y
    for row in rows:
        for column in columns:
            here = (*lead, slice(row, row + step), slice(column, column + step))
            seen[here] = plane[(*lead, slice(row, row + 1), slice(column, column + 1))]
    inner = plane.size // (shape[0] * shape[1])
    return seen, step, len(rows) * len(columns) * inner


def cut_of_another(parcel, cut):
    """Return what another viewer wants of a parcel, who has a step of its own."""
    return dataclasses.replace(cut, step=cut.step + 1)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), kind=st.sampled_from(["yx", "zyx", "rgb", "labels", "along"]))
def test_tiles_of_a_smaller_plane_are_the_smaller_plane_of_the_tiles(data, kind):
    side = data.draw(sides())
    shape = {"zyx": (2, *side), "rgb": (*side, 3)}.get(kind, side)
    lead = (2,) if kind == "along" else ()
    axes = ("z", "y", "x") if kind == "zyx" else ("y", "x")
    y = len(axes) - 2
    declare = Declare(
        stream=1, name="a", kind="labels" if kind == "labels" else "image", dtype="<u2",
        shape=shape, axes=axes, rgb=kind == "rgb",
    )  # fmt: skip
    planes = np.arange(1, 1 + np.prod(lead + shape), dtype="<u2").reshape(lead + shape)
    wish = data.draw(wishes(side))
    rows, columns = data.draw(cuts(side[0])), data.draw(cuts(side[1]))
    tiles = data.draw(st.permutations([(r, c) for r in rows for c in columns]))
    reduction, reducer = Reduction(wish), Reducer()
    seen = [np.zeros(shape, "<u2") for _ in range(lead[0] if lead else 1)]
    sent = 0
    for number, ((top, bottom), (left, right)) in enumerate(tiles):
        tile = planes[(..., slice(top, bottom), slice(left, right), *[slice(None)] * declare.rgb)]
        extra = {"offset": (0,) * y + (top, left)} if len(tiles) > 1 else {}
        extra |= {"along": {"c": (0, 1)}} if lead else {}
        staged = Staged("data", "<u2", tile.shape, None, tile.tobytes())
        parcel = Parcel(1, number, 0.0, {}, (staged,), tile.nbytes, extra, declare=declare)
        cut = reduction.cut(parcel)
        small = parcel if cut is None else reducer.reduce(parcel, cut)
        if cut is not None:
            assert small.nbytes == cut.nbytes and reducer.reduce(parcel, cut) is small
            other = cut_of_another(parcel, cut)
            assert reducer.reduce(parcel, other).extra["step"] == other.step
        if not small.nbytes:
            continue
        (array,) = small.arrays
        assert len(array.buffer()) == small.nbytes == array.nbytes
        told = Array("data", array.dtype, array.shape)
        item = Item(1, number, 0.0, {}, (told,), **small.extra)
        assert not mismatch(item, declare)
        sent += small.nbytes // 2
        pixels = np.frombuffer(array.buffer(), "<u2").reshape(array.shape)
        for plane, mine in zip(seen, pixels if lead else [pixels], strict=True):
            whole = np.asarray(Reduced(mine, Whole.of(item, declare, mine.shape)))
            at = item.offset or (0,) * len(axes)
            plane[tuple(slice(o, o + n) for o, n in zip(at, whole.shape, strict=False))] = whole
    for mine, plane in zip(seen, planes if lead else [planes], strict=True):
        wanted, step, count = expected(plane, wish, y)
        np.testing.assert_array_equal(mine, wanted)
    assert sent == count * len(seen)
    if wish.max_side:
        assert step == 1 or count <= wish.max_side**2 * plane.size // (side[0] * side[1])


KEYS = st.slices(30) | st.just(slice(None))


@settings(deadline=None)
@given(st.data(), sides(), sides(5))
def test_a_part_that_is_read_is_that_of_the_enlarged_plane(data, shape, steps):
    pixels = np.arange(-(-shape[0] // steps[0]) * -(-shape[1] // steps[1]))
    pixels = pixels.reshape(-(-shape[0] // steps[0]), -1)
    reduced = Reduced(pixels, Whole(shape, steps))
    full = np.repeat(np.repeat(pixels, steps[0], 0), steps[1], 1)[: shape[0], : shape[1]]
    key = tuple(
        data.draw(st.integers(0, length - 1) | KEYS)
        for length in shape[: data.draw(st.integers(0, 2))]
    )
    np.testing.assert_array_equal(reduced[key], full[key])
    np.testing.assert_array_equal(reduced[(*key, ...)], full[(*key, ...)])
    assert reduced[key].dtype == pixels.dtype


# ---- a publisher and a receiver elsewhere --------------------------------------------


@pytest.fixture
def elsewhere():
    """Make receivers that are sent pixels inside the messages, as one far away is."""
    with contextlib.ExitStack() as undo:

        def make(url, **wish):
            made = undo.enter_context(Receiver(settings=ReceiverSettings(warm=0, **wish)))
            made._me = structs.replace(made._me, host="elsewhere")
            made.open(url)
            return made

        yield make


@pytest.fixture(params=["ws", "tcp"])
def program(request, publisher):
    return publisher(f"{request.param}://127.0.0.1:0?listen", memory=64 * 2**20, history=2**24)


def connected(program, until, count=1):
    until(lambda: program.stats().sinks[0].viewers == count)
    assert program.flush(15)  # they said what they want: else previews would come as well


def enlarged(plane, step):
    some = plane[::step, ::step]
    return np.repeat(np.repeat(some, step, 0), step, 1)[: plane.shape[0], : plane.shape[1]]


def test_smaller_planes_come_in_fewer_bytes_and_are_shown_as_large(program, elsewhere, until):
    plane = RNG.integers(0, 4000, (700, 500)).astype(np.uint16)
    nuclei = RNG.integers(0, 99, (700, 500)).astype(np.int32)
    tissue = RNG.integers(0, 255, (300, 300, 3)).astype(np.uint8)
    small, smaller, all_of_it = (elsewhere(program.urls[0], max_side=n) for n in (256, 100, 0))
    connected(program, until, 3)
    for t in range(3):
        program.image("cells", plane + t, at={"t": t}, scale=(0.5, 0.5))
    program.labels("nuclei", nuclei)
    program.image("tissue", tissue)
    program.points("spots", np.ones((5, 2)))
    assert program.flush(15)
    for viewer, steps in ((small, (3, 2)), (smaller, (7, 3)), (all_of_it, (1, 1))):
        layers = viewer.layers
        assert layers["cells"].data.shape == (3, 700, 500)
        for t in range(3):
            np.testing.assert_array_equal(layers["cells"].data[t], enlarged(plane + t, steps[0]))
        np.testing.assert_array_equal(layers["nuclei"].data, enlarged(nuclei, steps[0]))
        np.testing.assert_array_equal(layers["tissue"].data, enlarged(tissue, steps[1]))
        assert layers["spots"].data.shape == (5, 2)
        assert bool(layers["cells"].planes.reduced_at({"t": 1})) is (steps[0] > 1)
        count = -(-700 // steps[0]) * -(-500 // steps[0])
        assert layers["cells"].stats().bytes == 3 * 2 * count
        assert not layers["cells"].stats().refused
    np.testing.assert_array_equal(
        small.layers["cells"].data[1:, 10:600:7, 3],
        [enlarged(plane + t, 3)[10:600:7, 3] for t in (1, 2)],
    )
    # What is sent counts, for limits and in the numbers.
    mine = sum(
        layer.stats().bytes for rec in (small, smaller, all_of_it) for layer in rec.layers.values()
    )
    assert program.stats().sinks[0].tally.bytes == mine


def test_a_region_lands_where_it_is(program, elsewhere, until):
    plane = RNG.integers(1, 4000, (400, 500)).astype(np.uint16)
    some = elsewhere(program.urls[0], region=(100, 50, 220, 1000))
    few = elsewhere(program.urls[0], region=(100, 50, 220, 250), max_side=64)
    connected(program, until, 2)
    program.image("cells", plane, at={"t": 0})
    for y in (0, 200):
        program.image("tiles", plane[y : y + 200], offset=(y, 0), plane_shape=plane.shape)
    program.image("corner", plane[:90, :40])
    assert program.flush(15)
    seen = np.zeros_like(plane)
    seen[100:220, 50:] = plane[100:220, 50:]
    np.testing.assert_array_equal(some.layers["cells"].data[0], seen)
    np.testing.assert_array_equal(some.layers["tiles"].data, seen)
    seen = np.zeros_like(plane)
    seen[100:220, 50:250] = enlarged(plane[100:220, 50:250], 4)
    np.testing.assert_array_equal(few.layers["cells"].data[0], seen)
    np.testing.assert_array_equal(few.layers["tiles"].data, seen)
    for viewer in (some, few):
        assert not viewer.layers["corner"].stats().received  # the region is outside of it
        assert not sum(layer.stats().dropped for layer in viewer.layers.values())
    assert few.layers["cells"].stats().bytes == 2 * 30 * 50


def test_a_plane_that_is_wanted_comes_in_full(program, elsewhere, until):
    planes = RNG.integers(0, 4000, (4, 400, 500)).astype(np.uint16)
    viewer = elsewhere(program.urls[0], max_side=64)
    connected(program, until)
    for t, plane in enumerate(planes):
        program.image("cells", plane, at={"t": t, "well": "A01"})
    assert program.flush(15)
    layer = viewer.layers["cells"]
    before = layer.stats()
    assert layer.latest["t"] == 3
    viewer.want("cells", {"t": 1, "well": "A01", "of another": 5})
    until(lambda: not layer.planes.reduced_at({"t": 1, "well": "A01"}))
    shown = np.asarray(layer.data)
    np.testing.assert_array_equal(shown[1, 0], planes[1])
    for t in (0, 2, 3):
        np.testing.assert_array_equal(shown[t, 0], enlarged(planes[t], 8))
    assert layer.latest["t"] == 3 and layer.stats().received == before.received == 4
    program.image("cells", planes[0], at={"t": 4, "well": "A01"})  # what comes stays small
    assert program.flush(15) and layer.planes.reduced_at({"t": 4, "well": "A01"})
    viewer.want("cells", {"t": 77, "well": "A01"})
    until(lambda: any("not kept" in line.text for line in viewer.layers.log))
    with pytest.raises(KeyError):
        viewer.want("nothing")


def test_parts_of_a_wanted_plane_come_in_full(program, elsewhere, until):
    plane = RNG.integers(0, 4000, (256, 300)).astype(np.uint16)
    viewer = elsewhere(program.urls[0], max_side=32)
    connected(program, until)
    program.image("cells", np.zeros_like(plane))
    for x in (0, 100, 200):
        tile = plane[:, x : x + 100]
        program.image("cells", tile, offset=(0, x), plane_shape=plane.shape)
    assert program.flush(15)
    np.testing.assert_array_equal(viewer.layers["cells"].data, enlarged(plane, 10))
    viewer.want("cells")
    until(lambda: (np.asarray(viewer.layers["cells"].data) == plane).all())


def test_a_viewer_may_change_its_mind(program, elsewhere, until):
    plane = RNG.integers(0, 4000, (400, 500)).astype(np.uint16)
    viewer = elsewhere(program.urls[0])
    connected(program, until)

    def shows(wanted):
        program.image("cells", plane)  # until the viewer's wish is there
        assert program.flush(15)
        return np.array_equal(viewer.layers["cells"].data, wanted)

    until(lambda: shows(plane))
    viewer.limit(max_side=100)
    until(lambda: shows(enlarged(plane, 5)))
    viewer.limit(region=(0, 0, 100, 100))
    seen = enlarged(plane, 5)
    seen[:100, :100] = plane[:100, :100]
    until(lambda: shows(seen))
    viewer.limit(region=(), max_side=0)
    until(lambda: shows(plane))
    for wrong in ({"max_side": -1}, {"region": (5, 0, 5, 9)}, {"region": (1, 2)}):
        with pytest.raises(ValueError, match=r"max_side|region|values"):
            viewer.limit(**wrong)


def test_reliable_planes_are_smaller_too_whether_from_memory_or_disk(publisher, elsewhere, until):
    program = publisher("ws://127.0.0.1:0?listen", memory=2 * 2**20)
    plane = RNG.integers(0, 4000, (400, 500)).astype(np.uint16)
    for t in range(8):  # more than half of the memory: most go to the disk
        program.image("cells", plane + t, at={"t": t}, qos="reliable")
    assert program.stats().spool
    viewer = elsewhere(program.urls[0], max_side=100)
    connected(program, until)
    assert program.flush(15)
    for t in range(8):
        np.testing.assert_array_equal(viewer.layers["cells"].data[t], enlarged(plane + t, 5))
    viewer.want("cells", {"t": 0})
    until(lambda: not viewer.layers["cells"].planes.reduced_at({"t": 0}))
    np.testing.assert_array_equal(viewer.layers["cells"].data[0], plane)


def test_who_shares_memory_gets_all_of_each_plane(publisher, receiver, until):
    program = publisher("tcp://127.0.0.1:0?listen")
    plane = RNG.integers(0, 4000, (400, 500)).astype(np.uint16)
    viewer = receiver(program.urls[0], max_side=64, region=(0, 0, 9, 9))
    connected(program, until)
    program.image("cells", plane)
    assert program.flush(15)
    np.testing.assert_array_equal(viewer.layers["cells"].data, plane)


def test_what_is_recorded_is_in_full(program, elsewhere, until, tmp_path):
    plane = RNG.integers(0, 4000, (400, 500)).astype(np.uint16)
    viewer = elsewhere(program.urls[0], max_side=100)
    connected(program, until)
    heard = []

    class Tap:
        def heard(self, peer, message, declare=None, arrays=None):
            if isinstance(message, Item):
                heard.append((message, arrays["data"][0]))

        def left(self, peer, reason):
            pass

    tap = Tap()
    viewer.layers.taps.add(tap)

    def is_full():
        program.image("cells", plane)
        assert program.flush(15)
        return heard and np.array_equal(heard[-1][1], plane)

    until(is_full)
    for item, array in heard:  # those that were under way: as good as they were
        assert item.step == 1 and array.shape == plane.shape
        assert np.array_equal(array, plane) or np.array_equal(array, enlarged(plane, 5))
    viewer.layers.taps.remove(tap)

    def is_reduced():
        program.image("cells", plane)
        return program.flush(15) and viewer.layers["cells"].planes.reduced_at({})

    until(is_reduced)


# ---- hostile ones --------------------------------------------------------------------

DECLARE = Declare(stream=1, name="a", kind="image", dtype="|u1", shape=(10, 12), axes=("y", "x"))


@pytest.mark.parametrize(
    ("shape", "step", "offset", "problem"),
    [
        ((10, 12), 4, (), "every 4 pixels, declared"),
        ((3, 2), 4, (), "every 4 pixels, declared"),
        ((4, 3), 4, (), "every 4 pixels, declared"),
        ((3, 3), 4, (2, 0), "a part of shape"),
        ((3, 3), 2**31, (0, 0), "a part of shape"),
        ((1, 1), 4, (10, 0), "a part of shape"),
        ((0, 1), 4, (1, 0), "a part of shape"),
        ((3, 3), 4, (), ""),
        ((3, 3), 4, (1, 3), ""),
        ((1, 1), 2**31, (), ""),
    ],
)
def test_a_step_with_a_wrong_shape_is_refused(receiver, party, until, shape, step, offset, problem):
    viewer = receiver()
    program = party("memory://test", "publish")
    program.say(DECLARE)
    array = Array("data", "|u1", shape)
    pixels = bytes(range(1, 1 + int(np.prod(shape))))
    program.say(Item(1, 0, 1.0, {}, (array,), offset=offset, step=step), pixels)
    layer = until(lambda: viewer.layers.get("a"))
    until(lambda: layer.stats().received + layer.stats().refused)
    assert bool(layer.stats().refused) == bool(problem)
    if problem:
        assert problem in viewer.layers.log[-1].text
    else:
        assert np.asarray(layer.data).shape == (10, 12)
        assert np.asarray(layer.data).max() == len(pixels)


def test_a_want_of_what_never_was_is_answered(publisher, party, until):
    program = publisher("memory://test?listen")
    viewer = party("memory://test", "view")
    viewer.say(Want(2**32 - 1, {"t": 1}))
    (problem,) = until(lambda: [m for m, _ in viewer.got if type(m).__name__ == "Problem"])
    assert problem.code == "gone"
    program.image("a", np.zeros((3, 3), np.uint8))
    assert program.flush(10)
