from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog
from napari_streaming.wire.messages import Declare, Metric, Outline, OutlineStep, Status


@pytest.fixture
def catalog():
    return Catalog(Arena(), 2**30)


def image(name="a", stream=0, **changes):
    fields = {"kind": "image", "dtype": "<f4", "shape": (4, 5), "axes": ("y", "x")}
    return Declare(stream=stream, name=name, **(fields | changes))


def plane(value, shape=(4, 5)):
    return np.full(shape, value, np.float32)


# ---- layers ----------------------------------------------------------------------------


def test_the_same_structure_is_the_same_layer(catalog):
    first = catalog.declare(image())
    assert catalog.declare(image(stream=7, colormap="red", contrast_limits=(0, 1))) is first
    assert list(catalog) == ["a"] and len(catalog) == 1 and catalog["a"] is first


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dtype": "<u2"}, "dtype uint16, before float32"),
        ({"shape": (5, 4)}, "shape 5 x 4, before 4 x 5"),
        ({"axes": ("a", "b")}, "axes a, b, before y, x"),
        ({"units": ("um", "um")}, "units um, um, before none"),
        (
            {"kind": "labels", "dtype": "<i4"},
            "kind labels, before image; dtype int32, before float32",
        ),
    ],
)
def test_another_structure_is_a_new_revision_until_the_old_one_comes_back(catalog, changes, why):
    first, second = catalog.declare(image()), catalog.declare(image(**changes))
    third = catalog.declare(image(shape=(9, 9)))
    assert [first.name, second.name, third.name] == ["a", "a [2]", "a [3]"]
    assert catalog.declare(image(**changes)) is second and catalog.declare(image()) is first
    assert catalog.log[0].text == f"'a' is shown as 'a [2]' from now on: {why}"
    assert len(catalog.log) == 2


def test_a_name_that_looks_like_a_revision(catalog):
    catalog.declare(image("a [2]", shape=(1, 1)))
    catalog.declare(image("a"))
    assert catalog.declare(image("a", shape=(2, 2))).name == "a [3]"


def test_planes_stack_along_their_coordinates(catalog):
    layer = catalog.declare(image())
    assert layer.data.shape == (4, 5) and layer.stack_axes == ()
    assert layer.put_plane({"t": 5}, plane(5))
    assert layer.put_plane({"t": 2}, plane(2))
    assert not layer.put_plane({"t": 2}, plane(22))
    assert layer.axes == ("t", "y", "x") and layer.coordinates == {"t": [2, 5]}
    assert np.asarray(layer.data)[:, 0, 0].tolist() == [22, 5]
    assert layer.latest == {"t": 0}
    assert layer.data[1, 2, 3] == 5


def test_a_shared_axis_grows_in_every_layer(catalog):
    one, two = catalog.declare(image("one")), catalog.declare(image("two"))
    one.put_plane({"t": 0}, plane(1))
    two.put_plane({"t": 7}, plane(2))
    assert one.data.shape == two.data.shape == (2, 4, 5)
    assert np.asarray(one.data)[:, 0, 0].tolist() == [1, 0]


def test_a_plane_cannot_be_changed_by_who_looks_at_it(catalog):
    layer = catalog.declare(image())
    layer.put_plane({"t": 0}, plane(1))
    with pytest.raises(ValueError, match="read-only"):
        layer.data[0][:] = 9


def test_points_and_their_features_are_of_one_moment(catalog):
    layer = catalog.declare(
        Declare(
            stream=0, name="p", kind="points", dtype="<f8", shape=(2,), axes=("y", "x"),
            features={"id": "<i8"},
        )
    )  # fmt: skip
    stop = threading.Event()

    def put():
        number = 0
        while not stop.is_set():
            number += 1
            rows = number % 50
            layer.put_set({}, {"data": np.zeros((rows, 2)), "features/id": np.arange(rows)})

    thread = threading.Thread(target=put)
    thread.start()
    for _ in range(300):
        joined = layer.geometry()
        assert len(joined["data"]) == len(joined["features/id"])
    stop.set()
    thread.join()
    assert layer.kind == "points" and layer.data.shape[1] == 2


# ---- contrast --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planes", "limits"),
    [
        ([], None),
        ([plane(0)], (0, 1)),
        ([plane(3)], (3, 4)),
        ([plane(0), plane(0.001)], (0, 0.001)),
        ([plane(5), plane(-5)], (-5, 5)),
        ([plane(np.nan)], None),
        ([plane(np.nan), plane(2), plane(np.inf)], (2, 3)),
    ],
)
def test_limits_follow_the_data(catalog, planes, limits):
    layer = catalog.declare(image())
    for number, one in enumerate(planes):
        layer.put_plane({"t": number}, one)
    assert layer.contrast_limits == (limits and pytest.approx(limits))


def test_narrow_gray_images_have_limits_and_rgb_has_none(catalog):
    narrow = catalog.declare(image(dtype="|u1", shape=(9, 3)))
    narrow.put_plane({}, np.full((9, 3), 7, np.uint8))
    assert narrow.contrast_limits == (7, 8)
    rgb = catalog.declare(image("rgb", dtype="<f4", shape=(9, 9, 3), rgb=True))
    rgb.put_plane({}, np.ones((9, 9, 3), np.float32))
    assert rgb.contrast_limits is None


def test_declared_limits_stay(catalog):
    layer = catalog.declare(image(contrast_limits=(0, 9)))
    layer.put_plane({}, plane(100))
    assert layer.contrast_limits == (0, 9)


# ---- changes, metrics, log -------------------------------------------------------------


def test_what_changed_is_told_once_in_the_order_of_the_change(catalog):
    one, two = catalog.declare(image("one")), catalog.declare(image("two"))
    catalog.touch(two, all_layers=False)
    catalog.touch(one, all_layers=False)
    catalog.touch(two, all_layers=False)
    assert catalog.take_dirty() == [two, one] and catalog.take_dirty() == []
    catalog.touch(one, all_layers=True)
    assert set(catalog.take_dirty()) == {one, two}


def test_waiting_ends_with_a_change(catalog):
    version = catalog.version
    threading.Timer(0.05, catalog.say, ("info", "hi")).start()
    start = time.monotonic()
    catalog.wait(version, 10)
    assert catalog.version != version and time.monotonic() - start < 5
    catalog.wait(catalog.version, 0.01)


def test_metrics_and_log_are_bounded(catalog):
    for number in range(1200):
        catalog.add_status(Status("info", str(number), 100.0), 40.0)
    assert len(catalog.log) == 1000 and catalog.log[-1].text == "1199"
    assert catalog.log[-1].time == 60.0
    columns = [float(n) for n in range(60_000)]
    for _ in range(18):
        catalog.add_metric(Metric("m", columns, columns, columns))
    series = catalog.metrics["m"]
    assert len(series.steps) == len(series.values) == len(series.times) == 1_000_000


def test_of_outlines_the_last_of_each_title_is_kept(catalog):
    for done in range(3):
        step = OutlineStep(name="segment", written="", streamed=True, why="", done=done)
        catalog.set_outline(Outline("cells", (step,)))
    for number in range(100):
        catalog.set_outline(Outline(f"more {number}", ()))
        if number == 50:
            assert catalog.outlines["cells"].steps[0].done == 2
    assert len(catalog.outlines) == 64, "a program cannot fill the memory with them"
