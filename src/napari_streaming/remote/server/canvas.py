"""napari's own canvas without a window: the one shim over what napari keeps private.

napari's `VispyCanvas` draws every kind of layer and overlay, maps pixels to the world and feeds
the pointer to the camera and the layers. At home a Qt viewer stands around it; what that viewer
does for the canvas is done here instead. What is private and used is named in `known_napari`.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_streaming.remote.server.gl_context import Way, find_way, open_context
from napari_streaming.remote.server.known_napari import warn_of_unknown_napari
from napari_streaming.remote.server.without_qt import fonts, import_drawing

if TYPE_CHECKING:
    from napari_streaming.remote.server.target import Target

__all__ = ["HeadlessCanvas"]

_log = logging.getLogger(__name__)

# Qt has one application a process, and must have it to draw letters.
_qt_application: Any = None


class HeadlessCanvas:
    """Draws a viewer model into a texture.

    All methods belong to one thread, that which made it and which also owns the model.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        What to show.
    size : tuple of int
        Width and height in device pixels.
    pixel_ratio : float
        Device pixels per logical pixel; napari sizes text and lines in logical ones.
    way : Way, optional
        How to get OpenGL; found out otherwise.

    Attributes
    ----------
    viewer : napari.components.ViewerModel
    way : Way
        Who draws.

    Raises
    ------
    ContextError
        When this machine draws no OpenGL.
    """

    def __init__(
        self,
        viewer: Any,
        size: tuple[int, int] = (1280, 720),
        pixel_ratio: float = 1.0,
        *,
        way: Way | None = None,
    ) -> None:
        self.viewer = viewer
        self._size, self._ratio = size, pixel_ratio
        self._on_change: Callable[[], None] = lambda: None
        self._slices: deque[dict[Any, Any]] = deque()  # filled by napari's slicing threads
        self.way = way or _find_way()
        if "OpenGL" not in sys.modules:
            os.environ["PYOPENGL_PLATFORM"] = "glx" if self.way.name == "glx" else "egl"
        warn_of_unknown_napari()
        self._build()
        _bind_shortcuts()

    def _build(self) -> None:
        self._context = open_context(self.way)
        import_drawing()

        from napari._vispy.canvas import VispyCanvas
        from napari.utils.key_bindings import KeymapHandler

        from napari_streaming.remote.server.vispy_backend import offscreen_application

        self._keys = KeymapHandler()
        fonts, family = _fonts()
        self._canvas = VispyCanvas(
            viewer=self.viewer,
            key_map_handler=self._keys,
            font_manager=fonts,
            font_family=family,
            app=offscreen_application(self._context, self._size),
            size=self._logical_size(),
            show=False,
            dpi=96,
        )
        self._scene_canvas = self._canvas._scene_canvas
        self._backend = self._scene_canvas._backend
        _let_every_move_through(self._canvas)
        # A window system would tell the first size.
        self._backend.resize(self._logical_size(), self._size)
        for emitter, callback in self._connections():
            emitter.connect(callback)
        for layer in self.viewer.layers:
            self._add(layer)
        self._follow_active_layer()
        self._update_camera_depth()

    def _connections(self) -> Iterable[tuple[Any, Callable[..., None]]]:
        layers = self.viewer.layers
        return (
            (layers.events.inserted, self._on_inserted),
            (layers.events.inserted, self._update_camera_depth),
            (layers.events.removed, self._update_camera_depth),
            (self.viewer.dims.events.ndisplay, self._update_camera_depth),
            (layers.selection.events.active, self._follow_active_layer),
            (self.viewer._layer_slicer.events.ready, self._on_slices_ready),
        )

    def _logical_size(self) -> tuple[int, int]:
        width, height = self._size
        return max(1, round(width / self._ratio)), max(1, round(height / self._ratio))

    # What napari's Qt viewer does at home.

    def _on_inserted(self, event: Any) -> None:
        self._add(event.value)

    def _add(self, layer: Any) -> None:
        from napari._vispy import create_vispy_layer

        visual = create_vispy_layer(layer, font_info=self._canvas.font_info())
        self._canvas.add_layer_visual_mapping(layer, visual)

    def _follow_active_layer(self, event: object = None) -> None:
        active = self.viewer.layers.selection.active
        self._keys.keymap_providers = [self.viewer] if active is None else [active, self.viewer]

    def _on_slices_ready(self, event: Any) -> None:
        self._slices.append(event.value)
        self._on_change()

    def _update_camera_depth(self, event: object = None) -> None:
        """Set the depth the 3D camera sees: too little cuts, too much makes surfaces flicker."""
        if self.viewer.dims.ndisplay == 2 or not self.viewer.layers:
            return
        extent = self.viewer.layers.extent
        sides = extent.world[1] - extent.world[0] + extent.step
        diagonal = float(np.linalg.norm(sides[list(self.viewer.dims.displayed)]))
        self._canvas.camera._3D_camera.depth_value = min(
            128 * diagonal, 2 / (10 * float(np.finfo(np.float32).eps))
        )

    # Drawing.

    @property
    def vispy_canvas(self) -> Any:
        """The canvas of napari's own."""
        return self._canvas

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call something, in any thread, when another thread has sliced what is to be drawn."""
        self._on_change = on_change

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in device pixels."""
        return self._size

    @property
    def target(self) -> Target:
        """What the last draw is in, in the context that `make_current` switches to."""
        target: Target = self._backend.target
        return target

    @property
    def dirty(self) -> bool:
        """Whether something changed that is not drawn yet."""
        return bool(self._slices or self._backend.needs_draw)

    def make_current(self) -> None:
        """Make its OpenGL context that of the calling thread; raises ContextError."""
        self._context.make_current()

    def process_events(self) -> None:
        """Take in what other threads sliced, and let Qt's timers run."""
        while self._slices:
            self._apply(self._slices.popleft())
        if _qt_application is not None:
            _qt_application.processEvents()

    def _apply(self, slices: dict[Any, Any]) -> None:
        for reference, response in slices.items():
            layer = reference()
            if layer is not None:
                layer._slicing_state._update_slice_response(response)
                layer._slicing_state._update_loaded_slice_id(response.request_id)
                layer.events.set_data()
                layer._refresh_sync(
                    data_displayed=False, thumbnail=True, highlight=True, extent=False
                )

    def draw(self) -> None:
        """Draw what is to be seen now into the target; when it returns, that is done.

        Raises
        ------
        ContextError
            When the driver lost the context.
        """
        from napari_streaming.remote.server.target import opengl_errors, wait_for_gpu

        self.process_events()
        self._backend.needs_draw = False
        with opengl_errors():
            self._scene_canvas.set_current()
            self._scene_canvas.events.draw(region=None)
            wait_for_gpu()

    def resize(self, size: tuple[int, int], pixel_ratio: float = 1.0) -> None:
        """Change width and height in device pixels, and the device pixels per logical one."""
        if (size, pixel_ratio) != (self._size, self._ratio):
            self._size, self._ratio = size, pixel_ratio
            self._backend.resize(self._logical_size(), size)

    def rebuild(self) -> None:
        """Make everything that lived in the context anew, in a new one."""
        self._take_down()
        self._build()

    def close(self) -> None:
        """Let go of the viewer and of the GPU."""
        self._take_down()
        self._context.close()

    def _take_down(self) -> None:
        from napari.utils.events import disconnect_events

        for emitter, callback in self._connections():
            emitter.disconnect(callback)
        canvas = self._canvas
        overlays = [
            overlay for many in canvas._viewer_overlay_to_visual.values() for overlay in many
        ]
        for by_overlay in canvas._layer_overlay_to_visual.values():
            overlays.extend(by_overlay.values())
        for overlay in overlays:
            overlay.close()
        for layer, visual in canvas.layer_to_visual.items():
            disconnect_events(layer.events, canvas)
            disconnect_events(self.viewer.scene.camera.events, visual)
            visual.close()
        canvas.layer_to_visual.clear()
        disconnect_events(self.viewer.scene.camera.events, canvas.camera)
        disconnect_events(self.viewer.dims.events, canvas.camera)
        disconnect_events(self.viewer.dims.events, canvas)
        canvas._disconnect_events()

    # Pointer and keys; positions are in device pixels from the top left.

    def to_world(self, x: float, y: float) -> tuple[float, ...] | None:
        """Return the world coordinates under a device pixel; None between the views of a grid."""
        position = self._logical(x, y)
        view, _ = self._canvas._get_viewbox_at(position)
        if view is None:
            return None
        return tuple(float(value) for value in self._canvas._map_canvas2world(position, view))

    def _logical(self, x: float, y: float) -> Any:
        return np.array([x, y]) / self._ratio

    def pointer(
        self,
        kind: Literal["press", "release", "move", "double", "leave"],
        x: float,
        y: float,
        *,
        button: int = 0,
        buttons: Iterable[int] = (),
        modifiers: Iterable[str] = (),
    ) -> None:
        """Hand what the mouse did to napari, whose cameras move with the next draw.

        Parameters
        ----------
        kind : {"press", "release", "move", "double", "leave"}
        x, y : float
            Where, in device pixels.
        button : int
            Which was pressed or released: 1 left, 2 right, 3 middle, 0 none.
        buttons : iterable of int
            Those that are down.
        modifiers : iterable of str
            Of "shift", "control", "alt" and "meta".
        """
        self.viewer.mouse_over_canvas = kind != "leave"
        if kind == "leave":
            return
        hand_over = {
            "press": self._backend._vispy_mouse_press,
            "release": self._backend._vispy_mouse_release,
            "move": self._backend._vispy_mouse_move,
            "double": self._backend._vispy_mouse_double_click,
        }[kind]
        hand_over(
            pos=self._logical(x, y),
            button=button,
            buttons=list(buttons),
            modifiers=_modifiers(modifiers),
        )

    def wheel(
        self, x: float, y: float, dx: float, dy: float, modifiers: Iterable[str] = ()
    ) -> None:
        """Hand a turn of the wheel to napari; `dx` and `dy` in notches, up and right positive."""
        self._scene_canvas.events.mouse_wheel(
            pos=self._logical(x, y), delta=(dx, dy), modifiers=_modifiers(modifiers)
        )

    def key(
        self,
        kind: Literal["press", "release"],
        name: str,
        text: str = "",
        modifiers: Iterable[str] = (),
    ) -> None:
        """Hand a key to napari, by vispy's name ("Left", "Enter", "A"); unknown are ignored."""
        from vispy.util import keys

        if len(name) == 1:
            key = keys.Key(name.upper())
        else:
            named = (value for value in vars(keys).values() if isinstance(value, keys.Key))
            key = next((value for value in named if value.name == name), None)
        if key is not None:
            events = self._scene_canvas.events
            emitter = events.key_press if kind == "press" else events.key_release
            emitter(key=key, text=text, modifiers=_modifiers(modifiers))


def _find_way() -> Way:
    # PyOpenGL, which napari draws with, asks once which library makes the contexts: when it is
    # imported. In a process with windows it settled on the X server's.
    egl = "OpenGL" not in sys.modules or os.environ.get("PYOPENGL_PLATFORM") == "egl"
    way, tried = find_way(egl=egl)
    _log.info("OpenGL by %s", way)
    if way.name == "glx":
        _log.warning("Without EGL, drawing goes through the X server %s.", way.display)
    for line in tried:
        _log.log(logging.WARNING if way.name == "glx" else logging.INFO, "  %s", line)
    return way


def _fonts() -> tuple[Any, str]:
    """Return what makes letters, and the family of the default font."""
    global _qt_application
    if import_drawing():
        return fonts()
    from napari._vispy.utils.qt_font import QtFontManager
    from qtpy.QtGui import QGuiApplication

    if QGuiApplication.instance() is None:
        _qt_application = QGuiApplication(["napari-streaming", "-platform", "offscreen"])
    return QtFontManager(), QGuiApplication.font().family()


def _let_every_move_through(canvas: Any) -> None:
    # napari calls this at most every 5 ms, by a timer of a Qt event loop that is not there.
    emitter = canvas._scene_canvas.events.mouse_move
    for callback in emitter.callbacks:
        if hasattr(callback, "throttle"):
            emitter.disconnect(callback)
    emitter.connect(canvas._on_mouse_move)


def _bind_shortcuts() -> None:
    """Let the keys of the user's settings do what they do at home."""
    from napari.settings import get_settings
    from napari.utils.action_manager import action_manager

    with warnings.catch_warnings():
        # Some actions want a Qt viewer, which is not here; then their keys do nothing.
        warnings.filterwarnings("ignore", "Could not resolve type hint")
        for action, shortcuts in get_settings().shortcuts.shortcuts.items():
            for shortcut in shortcuts:
                action_manager.bind_shortcut(action, shortcut)


def _modifiers(names: Iterable[str]) -> tuple[Any, ...]:
    from vispy.util import keys

    known = {key.name.lower(): key for key in (keys.SHIFT, keys.CONTROL, keys.ALT, keys.META)}
    return tuple(known[name] for name in names if name in known)
