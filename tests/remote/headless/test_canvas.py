from __future__ import annotations

import logging
import threading
from itertools import pairwise

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.notifications import show_info  # noqa: F401 - napari's settings need it

from napari_streaming.errors import ContextError
from napari_streaming.remote.server import known_napari
from napari_streaming.remote.server.canvas import HeadlessCanvas
from napari_streaming.remote.server.capture import Capture


def test_this_napari_is_known_and_has_all_that_is_used_of_it(viewer, canvas):
    """Fails on a new napari: look what changed, then add it to KNOWN_NAPARI."""
    assert known_napari.missing_names(viewer, canvas.vispy_canvas) == []
    installed = ".".join(known_napari.version("napari").split(".")[:2])
    assert installed in known_napari.KNOWN_NAPARI


def test_what_is_gone_is_named(viewer, canvas, monkeypatch):
    monkeypatch.setattr(known_napari, "_CANVAS_NAMES", ("camera._4D_camera", "view"))
    monkeypatch.setattr(known_napari, "_CLASS_NAMES", ("napari.layers:Layer.nothing",))
    missing = known_napari.missing_names(viewer, canvas.vispy_canvas)
    assert missing == ["napari.layers:Layer.nothing", "VispyCanvas.camera._4D_camera"]


def test_an_unknown_napari_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(known_napari, "KNOWN_NAPARI", ("0.1",))
    with caplog.at_level(logging.WARNING):
        known_napari.warn_of_unknown_napari()
    assert "knows 0.1" in caplog.text


def test_a_scene_at_rest_is_not_dirty_and_a_change_makes_it_so(viewer, canvas, look, gradient):
    layer = viewer.add_image(gradient)
    before = look()
    assert before.max() > 0
    assert not canvas.dirty
    canvas.process_events()
    assert not canvas.dirty

    layer.colormap = "viridis"
    assert canvas.dirty
    assert (look() != before).any()


def test_a_change_in_3d_and_of_dims_and_a_removal_are_drawn(viewer, canvas, look):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.random((6, 30, 40), "f4"))
    seen = [look()]
    viewer.dims.set_point(0, 4)
    seen.append(look())
    viewer.dims.ndisplay = 3
    seen.append(look())
    viewer.scene.camera.angles = (20, 40, 60)
    seen.append(look())
    viewer.dims.ndisplay = 2
    assert (look() == seen[1]).all()
    viewer.layers.clear()
    seen.append(look())
    assert all((a != b).any() for a, b in pairwise(seen))
    assert not seen[-1].any()


def test_size_is_in_device_pixels_and_napari_is_told_logical_ones(viewer, canvas, look, gradient):
    viewer.add_image(gradient)
    canvas.resize((401, 303), 2.0)
    viewer.reset_view()
    assert look().shape == (303, 401, 3)
    assert tuple(viewer.canvas.size) == (152, 200)  # height first, rounded
    for size in ((1, 1), (7680, 4320), (320, 240)):
        canvas.resize(size)
        assert look().shape == (*size[::-1], 3)


def test_device_pixels_map_to_the_world_as_drawn(viewer, canvas, look):
    spot = np.zeros((60, 80), np.uint8)
    spot[40, 20] = 255
    viewer.add_image(spot, scale=(2, 2), translate=(5, 7), interpolation2d="nearest")
    for size, ratio in (((320, 240), 1.0), ((640, 480), 2.0)):
        canvas.resize(size, ratio)
        viewer.reset_view()
        rows, columns = np.nonzero(look()[..., 0])
        world = canvas.to_world(columns.mean() + 0.5, rows.mean() + 0.5)
        assert world == pytest.approx((5 + 2 * 40, 7 + 2 * 20), abs=0.5)


def test_dragging_pans_by_as_many_pixels(viewer, canvas, look, gradient):
    viewer.add_image(gradient)
    look()
    held = canvas.to_world(100, 100)
    canvas.pointer("press", 100, 100, button=1, buttons=[1])
    for x in (110, 120, 130):  # at once: none may be dropped
        canvas.pointer("move", x, 90, buttons=[1])
    canvas.pointer("release", 130, 90, button=1)
    assert canvas.dirty
    look()
    assert canvas.to_world(130, 90) == pytest.approx(held, abs=0.05)


def test_the_wheel_zooms_about_the_pointer(viewer, canvas, look, gradient):
    viewer.add_image(gradient)
    look()
    under, zoom = canvas.to_world(50, 60), viewer.scene.camera.zoom
    canvas.wheel(50, 60, 0, 2)
    look()
    assert viewer.scene.camera.zoom > zoom
    assert canvas.to_world(50, 60) == pytest.approx(under, abs=0.05)


def test_dragging_in_3d_turns(viewer, canvas, look):
    viewer.add_image(np.random.default_rng(0).random((6, 30, 40), "f4"))
    viewer.dims.ndisplay = 3
    before = look()
    angles = viewer.scene.camera.angles
    canvas.pointer("press", 100, 100, button=1, buttons=[1])
    for x in (120, 140):
        canvas.pointer("move", x, 110, buttons=[1])
    canvas.pointer("release", 140, 110, button=1)
    assert (look() != before).any()
    assert viewer.scene.camera.angles != angles


def test_layers_get_the_mouse_with_modifiers_and_double_clicks(viewer, canvas, look):
    layer = viewer.add_labels(np.zeros((60, 80), np.uint8))
    layer.brush_size = 5
    look()
    layer.mode = "paint"
    canvas.pointer("press", 160, 120, button=1, buttons=[1])
    canvas.pointer("release", 160, 120, button=1)
    assert layer.data.any()

    seen = []
    layer.mouse_double_click_callbacks.append(lambda _, event: seen.append(event.modifiers))
    layer.mouse_drag_callbacks.append(lambda _, event: seen.append(event.modifiers))
    canvas.pointer("press", 9, 9, button=1, buttons=[1], modifiers=["shift", "alt"])
    canvas.pointer("release", 9, 9, button=1)
    canvas.pointer("double", 9, 9, button=1, buttons=[1])
    assert [[str(key.name) for key in keys] for keys in seen] == [["Shift", "Alt"], []]


def test_every_move_of_the_pointer_counts(viewer, canvas, look, gradient):
    viewer.add_image(gradient)
    look()
    seen = []
    viewer.mouse_move_callbacks.append(lambda _, event: seen.append(event.position))
    for x in range(100, 120):
        canvas.pointer("move", x, 50)
    assert seen == [canvas.to_world(x, 50) for x in range(100, 120)]
    assert tuple(viewer.cursor.position) == seen[-1]


def test_the_viewer_knows_whether_the_pointer_is_over_the_canvas(viewer, canvas):
    canvas.pointer("move", 10, 10)
    assert viewer.mouse_over_canvas
    canvas.pointer("leave", 0, 0)
    assert not viewer.mouse_over_canvas


def test_keys_do_what_they_do_at_home(viewer, canvas):
    viewer.add_image(np.zeros((5, 30, 30)))
    labels = viewer.add_labels(np.zeros((5, 30, 30), np.uint8))
    point = viewer.dims.point[0]
    canvas.key("press", "Left")
    assert viewer.dims.point[0] == point - 1
    canvas.key("press", "M")
    assert labels.selected_label == 1
    canvas.key("press", "Y", modifiers=["control"])
    assert viewer.dims.ndisplay == 3
    canvas.key("press", "no such key")


def test_slices_of_other_threads_are_drawn(viewer, canvas, look):
    settings = get_settings()
    woken = threading.Event()
    canvas.watch(woken.set)
    settings.experimental.async_ = True
    try:
        layer = viewer.add_image(np.random.default_rng(0).random((6, 30, 40), "f4"))
        assert woken.wait(15)
        woken.clear()
        first = look()
        viewer.dims.set_point(0, 5)
        assert woken.wait(15)
        assert canvas.dirty
        assert (look() != first).any()
        assert layer.loaded
    finally:
        settings.experimental.async_ = False


def test_overlays_have_letters(viewer, canvas, look):
    viewer.add_image(np.zeros((60, 80), np.uint8))
    blank = look()
    viewer.canvas.overlays.text.visible = True
    viewer.canvas.overlays.text.text = "words"
    with_text = look()
    assert (with_text != blank).any()
    viewer.canvas.overlays.text.text = "other"
    assert (look() != with_text).any()


def test_a_rebuilt_canvas_draws_the_same(viewer, canvas, look, gradient):
    viewer.add_image(gradient)
    viewer.add_points([[10, 20], [30, 40]])
    viewer.canvas.overlays.scale_bar.visible = True
    before = look()
    canvas.rebuild()
    assert (Capture().read_rgb(canvas.target) != before).any()
    assert (look() == before).all()


def test_a_canvas_for_a_viewer_that_shows_3d_already_sees_as_deep(viewer, canvas, look):
    viewer.dims.ndisplay = 3
    viewer.add_image(np.zeros((6, 30, 40), np.uint8), scale=(100, 100, 100))
    depth = canvas.vispy_canvas.camera._3D_camera.depth_value
    canvas.rebuild()
    assert canvas.vispy_canvas.camera._3D_camera.depth_value == depth


def test_a_lost_context_is_said(viewer, canvas, gradient):
    viewer.add_image(gradient)
    canvas.draw()
    canvas._context.close()
    viewer.scene.camera.zoom *= 2
    with pytest.raises(ContextError):
        canvas.draw()
    canvas.rebuild()
    canvas.draw()


def test_a_closed_canvas_has_let_go_of_the_viewer(way, gradient):
    viewer = ViewerModel()
    bare = _callbacks(viewer)
    canvas = HeadlessCanvas(viewer, (64, 48), way=way)
    layer = viewer.add_image(gradient)
    canvas.draw()
    assert _callbacks(viewer) > bare
    canvas.close()
    layer.colormap = "viridis"
    viewer.dims.ndisplay = 3
    viewer.add_points([[1, 2]])
    viewer.layers.clear()
    assert _callbacks(viewer) == bare


def _callbacks(viewer: ViewerModel) -> int:
    groups = (
        viewer.events, viewer.dims.events, viewer.layers.events, viewer.scene.camera.events,
        viewer.canvas.events, viewer.cursor.events, viewer.layers.selection.events,
    )  # fmt: skip
    return sum(len(emitter.callbacks) for group in groups for emitter in group.emitters.values())
