"""PlaneStack and StackView against a plain numpy model, with all of it in memory or on disk."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.placement import Axis
from napari_streaming.receive.plane_memory import PlaneMemory
from napari_streaming.receive.plane_stack import PlaneStack, StackView

PLANE = (5, 4)
PAGE = 4096
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def arena():
    return Arena()


@pytest.fixture(scope="module", params=[0, 3 * PAGE, 2**30], ids=["spilled", "mixed", "held"])
def memory(request, arena, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield PlaneMemory(request.param, arena, lambda text: pytest.fail(text))


class Model:
    """A stack over t and c, and the same as an array."""

    def __init__(self, memory, arena, nt=4, nc=3):
        self.stack = PlaneStack(PLANE, np.dtype("<u2"), memory)
        self.axes = [Axis("t"), Axis("c")]
        for axis, count in zip(self.axes, (nt, nc), strict=True):
            for value in range(count):
                axis.add(value)
        self.array = np.zeros((nt, nc, *PLANE), np.uint16)
        self.present = np.zeros((nt, nc), bool)
        self._arena, self._count = arena, 0

    def put(self, t, c):
        self._count += 1
        plane = self._arena.allocate(PLANE, np.dtype("<u2"))
        plane[:] = np.arange(20).reshape(PLANE) + 100 * self._count
        self.array[t, c] = plane
        self.present[t, c] = True
        self.stack.make_room()
        self.stack.put({"t": t, "c": c}, plane)

    @property
    def view(self):
        return StackView(self.stack, [axis.view() for axis in self.axes])


places = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=20)


def basic_key(data, shape):
    """Draw integers, slices and at most one ellipsis that fit a shape."""
    count = data.draw(st.integers(0, len(shape)))
    key = [
        data.draw(st.one_of(st.integers(-n, n - 1), st.slices(n)) if n else st.slices(n))
        for n in shape[:count]
    ]
    if data.draw(st.booleans()):
        # All that stands after an ellipsis is counted from the end.
        split = data.draw(st.integers(0, len(key)))
        tail = shape[len(shape) - (len(key) - split) :]
        key[split:] = [
            data.draw(st.one_of(st.integers(-n, n - 1), st.slices(n)) if n else st.slices(n))
            for n in tail
        ]
        key.insert(split, Ellipsis)
    return key[0] if len(key) == 1 and data.draw(st.booleans()) else tuple(key)


@SETTINGS
@given(places=places, data=st.data())
def test_like_numpy_indexed_twice(memory, arena, places, data):
    model = Model(memory, arena)
    for place in places:
        model.put(*place)
    view, expected = model.view, model.array
    for _ in range(2):
        key = basic_key(data, expected.shape)
        view, expected = view[key], expected[key]
        assert view.shape == expected.shape
        assert view.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(view), expected)


def test_a_deep_copy_is_an_array_that_nothing_is_added_to(memory, arena):
    model = Model(memory, arena)
    model.put(1, 2)
    for view, expected in ((model.view, model.array), (model.view[1], model.array[1])):
        copied, before = copy.deepcopy(view), expected.copy()
        model.put(1, 2)
        np.testing.assert_array_equal(copied, before)
        copied[:] = 0  # and everybody may write to
    np.testing.assert_array_equal(np.asarray(model.view), model.array)


@SETTINGS
@given(places=places, data=st.data())
def test_like_numpy_with_fancy_keys(memory, arena, places, data):
    model = Model(memory, arena)
    for place in places:
        model.put(*place)
    n = len(model.array)
    key = data.draw(
        st.one_of(
            st.lists(st.integers(-n, n - 1), max_size=6).map(lambda x: np.array(x, int)),
            st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
            st.sampled_from([None, (None, Ellipsis), ([1, 0], [0, 2]), (slice(None), [2, 0])]),
        )
    )
    np.testing.assert_array_equal(model.view[key], model.array[key])


@SETTINGS
@given(places=places)
def test_says_what_is_present(memory, arena, places):
    model = Model(memory, arena)
    for place in places:
        model.put(*place)
    assert model.view.count_missing() == (~model.present).sum()
    for t, c in np.ndindex(4, 3):
        assert model.view.is_present((t, c)) == model.present[t, c]
        assert model.view[::-1].is_present((t, c)) == model.present[::-1][t, c]
        assert model.view[t].is_present((c - 3,)) == model.present[t, c - 3]


def test_is_present_needs_a_position_inside(memory, arena):
    view = Model(memory, arena).view
    for position in [(4, 0), (0,), (0, 0, 0)]:
        with pytest.raises(IndexError):
            view.is_present(position)


@SETTINGS
@given(places=places)
def test_arrays_handed_out_never_change(memory, arena, places):
    model = Model(memory, arena)
    handed_out = []
    for t, c in places:
        model.put(t, c)
        handed_out.append((model.view[t, c], model.array[t, c].copy()))
        handed_out.append((model.view[t, c, 1:3, ::-1], model.array[t, c, 1:3, ::-1].copy()))
    for got, then in handed_out:
        assert not got.flags.writeable
        np.testing.assert_array_equal(got, then)


def test_a_view_keeps_its_shape_while_the_stack_grows(memory, arena):
    model = Model(memory, arena, nt=2, nc=1)
    model.put(1, 0)
    before = model.view
    model.axes[0].add(0.5)  # in between: later positions move, but not in this view
    model.axes[0].add(2)
    plane = np.full(PLANE, 7, np.uint16)
    model.stack.make_room()
    model.stack.put({"t": 0.5, "c": 0}, plane)
    assert before.shape == (2, 1, *PLANE)
    np.testing.assert_array_equal(np.asarray(before), model.array)
    now = model.view
    assert now.shape == (4, 1, *PLANE)
    assert not now.is_like(before)
    np.testing.assert_array_equal(now[1, 0], plane)
    np.testing.assert_array_equal(now[2, 0], model.array[1, 0])


def test_planes_with_fewer_coordinates_stand_everywhere(memory, arena):
    model = Model(memory, arena)
    whole, row = np.full(PLANE, 1, np.uint16), np.full(PLANE, 2, np.uint16)
    model.array[:], model.array[2] = whole, row
    for at, plane in (({}, whole), ({"t": 2}, row)):
        model.stack.make_room()
        model.stack.put(at, plane)
    model.put(2, 1)
    np.testing.assert_array_equal(np.asarray(model.view), model.array)
    assert model.view.count_missing() == 0
    assert len(model.stack) == 3


def test_cleared(memory, arena):
    model = Model(memory, arena)
    for t in range(4):
        model.put(t, 0)
    kept = model.view[0, 0]
    model.stack.clear()
    assert len(model.stack) == 0
    assert not np.asarray(model.view).any()
    np.testing.assert_array_equal(kept, model.array[0, 0])
    model.put(1, 1)
    np.testing.assert_array_equal(model.view[1, 1], model.array[1, 1])


def test_slicing_reads_nothing_and_reading_only_what_is_left(memory, arena, monkeypatch):
    model = Model(memory, arena)
    model.put(2, 1)
    read = []
    monkeypatch.setattr(memory, "read", lambda plane: read.append(plane) or plane.array)
    cropped = model.view[:, :, 1:3, 2:]
    assert isinstance(cropped, StackView)
    assert cropped[1:].nbytes == 3 * 3 * 2 * 2 * 2
    assert not read
    assert isinstance(cropped[2, 1], np.ndarray)
    assert len(read) == 1


def test_a_whole_plane_is_no_copy(arena):
    model = Model(PlaneMemory(2**30, arena, pytest.fail), arena)
    model.put(0, 0)
    first = model.view[0, 0]
    assert np.shares_memory(first, model.view[0, 0, 1:])
    assert np.shares_memory(first, np.asarray(model.view[:, 0])[0]) is False


def test_array_protocol(memory, arena):
    model = Model(memory, arena)
    model.put(0, 0)
    view = model.view[:1]
    assert np.asarray(view, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        view.__array__(copy=False)
    assert len(model.view) == 4
    assert model.view.size == 240
    assert "StackView" in repr(model.view)
    with pytest.raises(IndexError):
        view[0, 0, 0, 0, 0]
    with pytest.raises(IndexError):
        view[..., 0, ...]
