"""Points, shapes, tracks, vectors and surfaces in a real napari window, row for row."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.layers import Points, Shapes, Surface, Tracks, Vectors
from qtpy.QtWidgets import QApplication

import napari_streaming as ns

pytestmark = pytest.mark.napari

PLANE = np.zeros((64, 64), np.uint8)
BOX = np.array([[10, 10], [10, 20], [20, 20], [20, 10]], "f4")
OUTLINE = np.array([[30, 30], [30, 50], [40, 55], [50, 50], [50, 30]], "f4")
ROWS = np.array([[1, 0, 2, 3], [1, 1, 5, 6], [1, 2, 9, 9], [2, 1, 7, 7], [2, 2, 40, 50.0]])
CORNERS = np.array([[5, 5], [5, 60], [60, 5], [60, 60]], "f4")
FACES = np.array([[0, 1, 2], [1, 2, 3]])


def received(dock, name: str) -> int:
    layers = dock.session.receiver.layers
    return layers[name].stats().shown if name in layers else 0


@pytest.fixture
def pub(dock):
    with ns.Publisher(dock.session.receiver.urls[0]) as publisher:
        yield publisher


@pytest.fixture
def arrived(dock, until):
    """Wait until so many items of each layer are shown."""

    def wait(**counts: int) -> None:
        until(lambda: all(received(dock, name) == count for name, count in counts.items()))

    return wait


def same(layer_data, expected):
    assert len(layer_data) == len(expected)
    for one, other in zip(layer_data, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def inner(layer):
    """Return the layer itself: a plugin's view of it hides what napari keeps private."""
    return getattr(layer, "__wrapped__", layer)


def canvas(viewer):
    QApplication.processEvents()
    return viewer.screenshot(canvas_only=True, flash=False)


# ---- each kind, as it was published ----------------------------------------------------


def test_shapes(viewer, pub, arrived):
    kinds = ["rectangle", "ellipse", "line", "path", "polygon"]
    outlines = [BOX, BOX + 20, BOX[:2], BOX[:3], OUTLINE]
    pub.shapes("s", outlines, shape_type=kinds, features={"area": np.arange(5.0)})
    arrived(s=1)
    layer = viewer.layers["s"]
    assert isinstance(layer, Shapes) and layer.shape_type == kinds and not layer.editable
    same(layer.data, outlines)
    assert layer.features["area"].tolist() == [0, 1, 2, 3, 4]
    assert (canvas(viewer)[..., :2].min(axis=-1) > 100).sum() > 100, "yellow outlines"
    pub.shapes("s", [OUTLINE], features={"area": [7.0]})
    arrived(s=2)
    same(layer.data, [OUTLINE])
    assert layer.features["area"].tolist() == [7]
    pub.shapes("s", [], features={"area": []})
    arrived(s=3)
    assert layer.data == [] and len(viewer.layers) == 1
    pub.shapes("s", [OUTLINE, BOX], features={"area": [7.0, 8.0]})
    arrived(s=4)
    same(layer.data, [OUTLINE, BOX])
    assert not layer.editable


def test_tracks(viewer, pub, arrived):
    pub.tracks("t", ROWS[::-1], graph={2: [1]}, features={"speed": np.arange(5.0)})
    arrived(t=1)
    layer = viewer.layers["t"]
    assert isinstance(layer, Tracks)
    np.testing.assert_array_equal(layer.data, ROWS)
    assert layer.features["speed"].tolist() == [4, 3, 2, 1, 0]
    assert layer.graph == {2: [1]}
    layer.color_by, layer.tail_width = "speed", 7
    pub.tracks("t", ROWS[:3], features={"speed": [1.0, 2.0, 3.0]})
    arrived(t=2)
    np.testing.assert_array_equal(layer.data, ROWS[:3])
    assert (layer.color_by, layer.tail_width, layer.graph) == ("speed", 7, {})
    pub.tracks("t", [], features={"speed": []})
    arrived(t=3)
    assert len(layer.data) == 1, "napari has no empty ones"
    canvas(viewer)
    pub.tracks("t", ROWS, features={"speed": np.arange(5.0)}, graph={2: [1, 99], 99: [1]})
    arrived(t=4)
    assert layer.graph == {2: [1]}, "there is no 99"
    assert layer.color_by == "speed"
    viewer.dims.current_step = (2, 0, 0)
    assert canvas(viewer)[..., :3].max() > 100


def test_vectors(viewer, pub, arrived):
    rows = np.random.default_rng(0).uniform(0, 60, (50, 2, 2)).astype("f4")
    pub.vectors("v", rows, features={"id": np.arange(50)})
    arrived(v=1)
    layer = viewer.layers["v"]
    assert isinstance(layer, Vectors)
    np.testing.assert_array_equal(layer.data, rows)
    assert layer.features["id"].tolist() == list(range(50))
    assert canvas(viewer)[..., :2].max() > 100
    for number, some in enumerate((rows[:3], rows[:0], rows), 2):
        pub.vectors("v", some, features={"id": np.arange(len(some))})
        arrived(v=number)
        np.testing.assert_array_equal(layer.data, some)
    assert len(viewer.layers) == 1


def test_surface(viewer, pub, arrived):
    pub.surface("f", CORNERS, FACES, [0, 1, 2, 5])
    arrived(f=1)
    layer = viewer.layers["f"]
    assert isinstance(layer, Surface)
    same(layer.data, (CORNERS, FACES, [0, 1, 2, 5]))
    assert tuple(layer.contrast_limits) == (0, 5)
    assert (canvas(viewer)[..., :3].max(axis=-1) > 60).mean() > 0.1
    pub.surface("f", CORNERS[:3], FACES[:1], [1, 2, 9])
    arrived(f=2)
    same(layer.data, (CORNERS[:3], FACES[:1], [1, 2, 9]))
    assert tuple(layer.contrast_limits) == (1, 9), "follow the data"
    layer.contrast_limits = (2, 3)
    pub.surface("f", np.empty((0, 2)), [])
    arrived(f=3)
    canvas(viewer)
    pub.surface("f", CORNERS, FACES)
    arrived(f=4)
    same(layer.data, (CORNERS, FACES, [1, 1, 1, 1]))
    assert tuple(layer.contrast_limits) == (2, 3), "as the user has set them"


def test_a_mesh_in_space(viewer, pub, arrived):
    corners = np.array([[0, 0, 0], [0, 40, 0], [0, 0, 40], [40, 0, 0]], "f4")
    faces = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    pub.surface("f", corners, faces, [0, 1, 2, 3], scale=(2, 1, 1))
    pub.points("p", corners)
    arrived(f=1, p=1)
    viewer.dims.ndisplay = 3
    assert (canvas(viewer)[..., :3].max(axis=-1) > 60).mean() > 0.05
    np.testing.assert_array_equal(viewer.layers["f"].scale, (2, 1, 1))


# ---- keys and appended rows ------------------------------------------------------------


def test_sets_are_replaced_by_key_and_appended_to(viewer, pub, arrived):
    for number, (key, append) in enumerate((("a", 0), ("b", 0), ("a", 0), ("b", 1)), 1):
        at = {"t": 0}
        pub.points("p", [[number, 0]], at=at, key=key, append=append, features={"n": [number]})
        pub.shapes("s", [OUTLINE + number], at=at, key=key, append=append)
        pub.tracks("t", ROWS + np.array([number * 10, 0, 0, 0]), key=key, append=append)
        pub.vectors("v", [[[number, 0], [1, 1]]], at=at, key=key, append=append)
        pub.surface("f", CORNERS + number, FACES, at=at, key=key, append=append)
    arrived(p=4, s=4, t=4, v=4, f=4)
    assert viewer.layers["p"].data[:, 1].tolist() == [2, 4, 3]
    assert viewer.layers["p"].features["n"].tolist() == [2, 4, 3]
    same([one[:, 1:] for one in viewer.layers["s"].data], [OUTLINE + n for n in (2, 4, 3)])
    assert sorted({int(n) for n in viewer.layers["t"].data[:, 0]}) == [21, 22, 31, 32, 41, 42]
    assert viewer.layers["v"].data[:, 0, 1].tolist() == [2, 4, 3]
    vertices, faces, _ = viewer.layers["f"].data
    np.testing.assert_array_equal(vertices[:, 1:], np.concatenate([CORNERS + n for n in (2, 4, 3)]))
    np.testing.assert_array_equal(faces, np.concatenate([FACES, FACES + 4, FACES + 8]))


def test_only_shapes_that_are_new_are_built(viewer, pub, arrived):
    pub.shapes("s", [OUTLINE, OUTLINE + 1], at={"t": 0})
    arrived(s=1)
    built = list(inner(viewer.layers["s"])._data_view.shapes)
    pub.shapes("s", [OUTLINE + 2], at={"t": 1})
    pub.shapes("s", [OUTLINE + 3], at={"t": 1}, append=True)
    arrived(s=3)
    pub.image("i", PLANE, at={"t": 2})  # the axis grows, the shapes stay
    arrived(i=1)
    now = inner(viewer.layers["s"])._data_view.shapes
    assert len(now) == 4 and now[:2] == built
    same([one[:, 1:] for one in viewer.layers["s"].data], [OUTLINE + n for n in range(4)])
    pub.shapes("s", [OUTLINE, OUTLINE + 9], at={"t": 0})
    arrived(s=4)
    same([one[:, 1:] for one in viewer.layers["s"].data], [OUTLINE + n for n in (2, 3, 0, 9)])


def test_an_outline_that_napari_cannot_fill_is_a_path(viewer, pub, arrived):
    spike = np.array([[0, 0], [0, 5], [0, 0], [5, 0]], "f4")
    pub.shapes("s", [OUTLINE, spike, BOX])
    arrived(s=1)
    layer = viewer.layers["s"]
    same(layer.data[::2], [OUTLINE, BOX])
    if layer.shape_type[1] == "path":  # a compiled napari can fill it
        np.testing.assert_array_equal(layer.data[1], [*spike, spike[0]])
    pub.shapes("s", [OUTLINE, spike])
    arrived(s=2)
    assert layer.nshapes == 2


# ---- where they are shown --------------------------------------------------------------


def in_view(layer):
    layer = inner(layer)
    if isinstance(layer, Shapes):
        return int(layer._data_view._displayed.sum())
    if isinstance(layer, Surface):
        return len(layer._view_faces)
    return len(layer._view_indices)


def test_what_lacks_an_axis_is_shown_all_along_it(viewer, pub, arrived):
    for well in ("A", "B"):
        for t in range(30):
            pub.image("i", PLANE, at={"well": well, "t": t})
        at = {"well": well}
        pub.points("p", [[1, 1], [2, 2]], at=at)
        pub.shapes("s", [BOX, OUTLINE], at=at)
        pub.vectors("v", np.ones((2, 2, 2)), at=at)
        pub.surface("f", CORNERS, FACES, at=at)
    arrived(i=60, p=2, s=2, v=2, f=2)
    layers = [viewer.layers[name] for name in ("p", "s", "v", "f")]
    assert [len(layer.data) for layer in layers] == [4, 4, 4, 3], "each once"
    assert viewer.dims.nsteps[:2] == (2, 30)
    for step in ((0, 0), (0, 29), (1, 17)):
        viewer.dims.current_step = (*step, 0, 0)
        assert [in_view(layer) for layer in layers] == [2, 2, 2, 2]
    pub.points("p", [[5, 5]], at={"well": "A", "t": 7})
    arrived(p=3)
    for t, count in ((6, 2), (7, 3), (8, 2)):
        viewer.dims.current_step = (0, t, 0, 0)
        assert in_view(viewer.layers["p"]) == count
    pub.surface("f", CORNERS, FACES, at={"well": "B", "t": 29, "c": 1})
    arrived(f=3)
    for t, count in ((28, 2), (29, 4)):
        viewer.dims.current_step = (0, 1, t, 0, 0)
        assert in_view(viewer.layers["f"]) == count


def test_tracks_of_the_well_on_show(viewer, pub, arrived):
    for number, well in enumerate(("A", "B")):
        for t in (10, 20, 30):
            pub.image("i", PLANE, at={"well": well, "t": t})
        times = ROWS * [1, 10, 1, 1] + [10 * number, 10, 0, 0]
        pub.tracks("t", times, at={"well": well}, graph={10 * number + 2: 10 * number + 1})
    arrived(i=6, t=2)
    layer = viewer.layers["t"]
    assert layer.ndim == 3, "time is the first axis, as napari wants it"
    np.testing.assert_array_equal(layer.data, ROWS + np.array([10, 0, 0, 0]))
    assert layer.graph == {12: [11]}
    viewer.dims.current_step = (0, 1, 0, 0)
    np.testing.assert_array_equal(layer.data, ROWS)
    assert layer.graph == {2: [1]}
    assert layer.current_time == 1
    viewer.dims.current_step = (0, 2, 0, 0)
    assert layer.current_time == 2
    pub.tracks("t", [[5, 10, 1, 1]], at={"well": "A"}, append=True)
    arrived(t=3)
    np.testing.assert_array_equal(layer.data, [*ROWS, [5, 0, 1, 1]])


def test_tracks_with_an_axis_behind_time(viewer, pub, arrived):
    for t in range(3):
        pub.image("i", PLANE, at={"t": t, "c": "DAPI"})
    pub.tracks("t", ROWS)
    arrived(i=3, t=1)
    layer = viewer.layers["t"]
    assert viewer.dims.axis_labels[:2] == ("t", "c") and layer.ndim == 4
    np.testing.assert_array_equal(layer.data[:, [0, 1, 3, 4]], ROWS)
    viewer.dims.current_step = (1, 0, 0, 0)
    assert layer.current_time == 1


def test_tracks_with_more_axes_than_napari_can_show(viewer, pub, arrived):
    for t in range(3):
        for z in range(2):
            pub.image("i", PLANE, at={"t": t, "c": "DAPI", "z": z})
    pub.tracks("t", ROWS)
    arrived(i=6, t=1)
    layer = viewer.layers["t"]
    assert viewer.dims.axis_labels == ("t", "c", "z", "y", "x") and layer.ndim == 3
    for t, count in ((2, 5), (1, 3), (0, 1)):
        viewer.dims.current_step = (t, 0, 1, 0, 0)
        assert len(layer.data) == count, "up to the time shown"
        assert (layer.data[:, 1] == 1).all(), "on z"
    canvas(viewer)


def test_numbers_that_napari_cannot_count(viewer, pub, arrived):
    far = ROWS.copy()
    far[:3, 0], far[3:, 0] = -5, 2**50
    far[:, 1] *= 1e18
    pub.tracks("t", far, graph={2**50: -5})
    pub.points("p", [[1e300, 1, 1], [np.nan, 2, 2]])
    pub.vectors("v", [[[1e30, 1, 1], [-1e30, 1, 1]]])
    arrived(t=1, p=1, v=1)
    layer = viewer.layers["t"]
    assert layer.data[:, 0].tolist() == [0, 0, 0, 1, 1] and layer.graph == {1: [0]}
    assert layer.features["track_id"].tolist() == [-5] * 3 + [2**50] * 2
    canvas(viewer)
    pub.tracks("t", ROWS)
    arrived(t=2)
    np.testing.assert_array_equal(layer.data, ROWS)


def test_times_before_zero(viewer, pub, arrived):
    pub.tracks("t", ROWS - [0, 5, 0, 0])
    arrived(t=1)
    np.testing.assert_array_equal(viewer.layers["t"].data, ROWS)


def test_points_in_a_stack_of_planes(viewer, pub, arrived):
    for z in (0, 10, 20):
        pub.image("i", PLANE, at={"z": z})
    pub.points("p", [[10, 5, 6], [15, 7, 8]], axes=("z", "y", "x"), scale=(3, 1, 1))
    arrived(i=3, p=1)
    layer = viewer.layers["p"]
    assert layer.data.tolist() == [[1, 5, 6], [1.5, 7, 8]]
    assert viewer.dims.ndim == 3 and layer.scale.tolist() == [1, 1, 1]


# ---- what the user changes -------------------------------------------------------------


def test_colours_of_the_user_are_kept(viewer, pub, arrived):
    def publish(count, number):
        at = {"t": 0}
        pub.points("p", np.ones((count, 2)), at=at)
        pub.shapes("s", [BOX + i for i in range(count)], at=at)
        pub.vectors("v", np.ones((count, 2, 2)), at=at)
        arrived(p=number, s=number, v=number)

    publish(2, 1)
    points, shapes, vectors = layers = [viewer.layers[name] for name in ("p", "s", "v")]
    points.face_color = points.border_color = shapes.face_color = "red"
    shapes.edge_color = vectors.edge_color = "blue"
    shapes.edge_width, points.size, points.symbol = 3, 21, "square"
    vectors.edge_width, vectors.vector_style = 4, "line"
    for layer in layers:
        layer.opacity, layer.blending, layer.name = 0.3, "additive", f"my {layer.name}"
    viewer.layers.move(0, 3)
    for number, count in enumerate((5, 1, 0, 3), 2):
        publish(count, number)
        red, blue = ([[1, 0, 0, 1]] * count, [[0, 0, 1, 1]] * count)
        if not count:
            continue
        np.testing.assert_array_equal(points.face_color, red)
        np.testing.assert_array_equal(points.border_color, red)
        np.testing.assert_array_equal(shapes.face_color, red)
        np.testing.assert_array_equal(shapes.edge_color, blue)
        np.testing.assert_array_equal(vectors.edge_color, blue)
        assert shapes.edge_width == [3] * count and points.size.tolist() == [21] * count
        assert {str(symbol) for symbol in points.symbol} == {"square"}
    assert [layer.name for layer in viewer.layers] == ["my s", "my v", "my p"]
    assert {(layer.opacity, str(layer.blending)) for layer in layers} == {(0.3, "additive")}
    assert (vectors.edge_width, vectors.vector_style) == (4, "line")


def test_colours_that_were_picked_in_the_controls_are_those_of_all(viewer, pub, arrived):
    pub.shapes("s", [BOX, OUTLINE])
    pub.points("p", np.ones((2, 2)))
    arrived(s=1, p=1)
    viewer.layers["s"].current_edge_color = "#00ff00"  # what napari's colour button does
    viewer.layers["p"].current_border_color = "#00ff00"
    viewer.layers["p"].current_size = 33
    pub.shapes("s", [BOX, OUTLINE, OUTLINE])
    pub.points("p", np.ones((3, 2)))
    arrived(s=2, p=2)
    np.testing.assert_array_equal(viewer.layers["s"].edge_color, [[0, 1, 0, 1]] * 3)
    np.testing.assert_array_equal(viewer.layers["p"].border_color, [[0, 1, 0, 1]] * 3)
    assert viewer.layers["p"].size.tolist() == [33] * 3
    np.testing.assert_array_equal(viewer.layers["s"].face_color, [[0, 0, 0, 0]] * 3)


def test_colours_by_a_feature_follow_the_feature(viewer, pub, arrived):
    def publish(values, number):
        rows = len(values)
        pub.points("p", np.ones((rows, 2)), features={"v": values})
        pub.shapes("s", [BOX] * rows, features={"v": values})
        pub.vectors("v", np.ones((rows, 2, 2)), features={"v": values})
        arrived(p=number, s=number, v=number)

    publish([0.0, 1.0, 0.25], 1)
    points, shapes, vectors = (viewer.layers[name] for name in ("p", "s", "v"))
    points.face_color = shapes.edge_color = vectors.edge_color = "v"
    before = shapes.edge_color.copy()
    publish([1.0, 0.0, 0.25, 0.25], 2)
    expected = before[[1, 0, 2, 2]]
    for colours in (points.face_color, shapes.edge_color, vectors.edge_color):
        np.testing.assert_allclose(colours, expected, atol=1e-6)


def test_a_new_axis_keeps_what_the_user_changed(viewer, pub, arrived):
    pub.points("p", np.ones((2, 2)))
    pub.shapes("s", [BOX])
    pub.vectors("v", np.ones((2, 2, 2)))
    pub.surface("f", CORNERS, FACES)
    pub.tracks("t", ROWS)
    arrived(p=1, s=1, v=1, f=1, t=1)
    for layer in viewer.layers:
        layer.opacity, layer.visible = 0.4, False
        layer.name = f"my {layer.name}"
    viewer.layers["my s"].face_color = viewer.layers["my p"].face_color = "red"
    viewer.layers["my v"].edge_color, viewer.layers["my v"].length = "red", 3
    order = [layer.name for layer in viewer.layers]
    viewer.layers.selection = {viewer.layers["my s"]}
    at = {"well": 1}
    pub.points("p", np.ones((1, 2)), at=at)
    pub.shapes("s", [OUTLINE], at=at)
    pub.vectors("v", np.ones((1, 2, 2)), at=at)
    pub.surface("f", CORNERS, FACES, at=at)
    pub.tracks("t", ROWS, at=at)
    arrived(p=2, s=2, v=2, f=2, t=2)
    assert [layer.name for layer in viewer.layers] == order
    assert [layer.ndim for layer in viewer.layers] == [3, 3, 3, 3, 3]
    assert all(layer.opacity == 0.4 and not layer.visible for layer in viewer.layers)
    assert viewer.layers.selection == {viewer.layers["my s"]}
    for name in ("my s", "my p"):
        assert viewer.layers[name].face_color.tolist() == [[1, 0, 0, 1]] * len(
            viewer.layers[name].data
        )
    assert viewer.layers["my v"].edge_color.tolist() == [[1, 0, 0, 1]] * 3
    assert viewer.layers["my v"].length == 3
    assert isinstance(viewer.layers["my p"], Points)


def test_a_layer_that_was_removed_stays_removed(viewer, dock, pub, arrived, until):
    pub.shapes("s", [BOX], at={"t": 0})
    pub.tracks("t", ROWS, at={"well": 0})
    arrived(s=1, t=1)
    viewer.layers.clear()
    gc.collect()
    pub.shapes("s", [BOX], at={"t": 1})
    pub.tracks("t", ROWS, at={"well": 1})
    layers = dock.session.receiver.layers
    until(lambda: layers["s"].stats().received == layers["t"].stats().received == 2)
    dock.session.tick()
    assert not viewer.layers
