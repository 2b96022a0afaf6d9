"""What the headless canvas uses of napari's private side, and of which napari that is known."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import version
from typing import Any

__all__ = ["KNOWN_NAPARI", "missing_names", "warn_of_unknown_napari"]

_log = logging.getLogger(__name__)

KNOWN_NAPARI = ("0.9",)
"""The minor versions of napari that the headless canvas was tested with."""

_CLASS_NAMES = (
    "napari._vispy:create_vispy_layer",
    "napari._vispy.canvas:VispyCanvas.add_layer_visual_mapping",
    "napari._vispy.canvas:VispyCanvas.font_info",
    "napari._vispy.canvas:VispyCanvas._disconnect_events",
    "napari._vispy.canvas:VispyCanvas._get_viewbox_at",
    "napari._vispy.canvas:VispyCanvas._map_canvas2world",
    "napari._vispy.canvas:VispyCanvas._on_mouse_move",
    "napari._vispy.utils.qt_font:QtFontManager",
    "napari.layers:Layer._refresh_sync",
    "napari.utils.action_manager:action_manager.bind_shortcut",
    "napari.utils.events:disconnect_events",
    "napari.utils.key_bindings:KeymapHandler.on_key_press",
)
_CANVAS_NAMES = (
    "_key_map_handler.keymap_providers",
    "_layer_overlay_to_visual",
    "_scene_canvas._backend",
    "_viewer_overlay_to_visual",
    "camera._3D_camera.depth_value",
    "layer_to_visual",
)
_VIEWER_NAMES = ("_layer_slicer.events.ready", "scene.camera", "canvas.size")


def warn_of_unknown_napari() -> None:
    """Say that this napari was not tested with, if so; the canvas is tried all the same."""
    installed = version("napari")
    if ".".join(installed.split(".")[:2]) not in KNOWN_NAPARI:
        _log.warning(
            "napari %s is new to napari-streaming, which knows %s: the canvas may fail.",
            installed,
            ", ".join(KNOWN_NAPARI),
        )


def missing_names(viewer: Any, canvas: Any) -> list[str]:
    """Return the names of what this napari does not have.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    canvas : napari._vispy.canvas.VispyCanvas
        What shows it.

    Returns
    -------
    list of str
    """
    missing = []
    for name in _CLASS_NAMES:
        module, _, path = name.partition(":")
        if not _has(import_module(module), path):
            missing.append(name)
    missing += [f"ViewerModel.{path}" for path in _VIEWER_NAMES if not _has(viewer, path)]
    missing += [f"VispyCanvas.{path}" for path in _CANVAS_NAMES if not _has(canvas, path)]
    return missing


def _has(owner: object, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True
