"""A vispy backend without windows: its canvas draws into a framebuffer object.

vispy has such a backend of its own, for EGL; it cannot be resized, knows one EGL display that it
opens when imported, and lacks what napari expects of a Qt widget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from vispy.app.application import Application
from vispy.app.base import BaseApplicationBackend, BaseCanvasBackend, BaseTimerBackend

from napari_streaming.remote.server.gl_context import GLContext
from napari_streaming.remote.server.target import Target

__all__ = ["NoApplication", "OffscreenBackend", "offscreen_application"]


def offscreen_application(gl_context: GLContext, size: tuple[int, int]) -> Application:
    """Return a vispy application for one canvas.

    Parameters
    ----------
    gl_context : GLContext
        What it draws with; current.
    size : tuple of int
        Width and height in device pixels.
    """
    application: Application = NoApplication()
    application.backend_module.CanvasBackend = partial(OffscreenBackend, gl_context, size)
    return application


class NoApplication(Application):
    """A vispy application that has no windows and no loop of events."""

    def _use(self, _backend_name: str | None = None) -> None:
        wanted = ("title", "size", "position", "show", "vsync", "resizable", "parent")
        self._backend_module = SimpleNamespace(
            capability=dict.fromkeys(wanted, True), TimerBackend=BaseTimerBackend
        )
        self._backend = _ApplicationBackend()


class _ApplicationBackend(BaseApplicationBackend):
    def _vispy_get_backend_name(self) -> str:
        return "offscreen"

    def _vispy_get_native_app(self) -> _ApplicationBackend:
        return self

    def _vispy_process_events(self) -> None:
        """Nothing waits: what happens to the canvas is handed to it directly."""

    def _vispy_quit(self) -> None:
        """Nothing runs."""


class _NoSignal:
    """Stands for a signal of a Qt widget that never comes."""

    def connect(self, callback: Callable[..., object]) -> None:
        """Take a callback that will not be called."""

    def disconnect(self, callback: Callable[..., object]) -> None:
        """Forget it."""


class OffscreenBackend(BaseCanvasBackend):
    """What vispy draws into and gets its events from.

    Attributes
    ----------
    target : Target
        Holds the picture.
    needs_draw : bool
        Whether something changed since this was last set to False.
    """

    destroyed = screen_changed = _NoSignal()
    _double_click_supported = True  # else the base class guesses them from two clicks

    def __init__(
        self,
        gl_context: GLContext,
        device_size: tuple[int, int],
        vispy_canvas: Any,
        **options: Any,
    ) -> None:
        super().__init__(vispy_canvas)
        self._gl_context = gl_context
        given = self._process_backend_kwargs(options)
        given.context.shared.add_ref("offscreen", self)
        self._size: tuple[int, int] = given.size
        self.needs_draw = True
        self.target = Target(*device_size, depth=True)
        vispy_canvas.set_current()
        vispy_canvas.events.initialize()

    def resize(self, size: tuple[int, int], device_size: tuple[int, int]) -> None:
        """Change the size, given in logical and in device pixels, and tell the scene."""
        self._size = size
        self._vispy_set_current()
        self.target.resize(*device_size)
        self._vispy_canvas.set_current()
        self._vispy_canvas.events.resize(size=size, physical_size=device_size)
        self._vispy_update()

    # What vispy asks of a backend.

    def _vispy_set_current(self) -> None:
        self._gl_context.make_current()

    def _vispy_get_fb_bind_location(self) -> int:
        return self.target.framebuffer

    def _vispy_get_size(self) -> tuple[int, int]:
        return self._size

    def _vispy_get_physical_size(self) -> tuple[int, int]:
        return self.target.width, self.target.height

    def _vispy_set_size(self, w: float, h: float) -> None:
        # napari sends back every size that it is told.
        size = int(w), int(h)
        if size != self._size:
            scale = self.target.width / self._size[0]
            self.resize(size, (round(size[0] * scale), round(size[1] * scale)))

    def _vispy_get_position(self) -> tuple[int, int]:
        return 0, 0

    def _vispy_update(self) -> None:
        self.needs_draw = True

    def _vispy_swap_buffers(self) -> None:
        """There is one buffer."""

    def _vispy_set_title(self, title: str) -> None:
        """There is no window."""

    def _vispy_set_visible(self, visible: bool) -> None:
        """There is no window."""

    def _vispy_close(self) -> None:
        """Leave the context to its owner."""

    def _vispy_mouse_move(self, **event: Any) -> Any:
        # The base class drops moves within 10 ms of the last; here the last move has to count.
        self._last_time = 0
        return super()._vispy_mouse_move(**event)

    # What napari asks of a Qt widget.

    def enterEvent(self, event: object) -> None:
        """Nothing to do when the pointer comes."""

    def leaveEvent(self, event: object) -> None:
        """Nothing to do when it leaves."""

    def parentWidget(self) -> None:
        """Return nothing: no widget is around this one."""

    def setCursor(self, cursor: object) -> None:
        """Show no pointer: the client has one."""
