"""Another widget in the place of napari's canvas, and the canvas back.

Public Qt only, but for screenshots: all that napari takes of its canvas come from one method of
the widget around it, which is another one as long as the canvas is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtGui import QImage
from qtpy.QtWidgets import QMainWindow, QWidget

__all__ = ["CanvasSwap", "find_canvas"]


def find_canvas(widget: QWidget) -> QWidget | None:
    """Return the canvas of the napari window that a widget is docked in, floating or not.

    Parameters
    ----------
    widget : QWidget
        Anything in the window.

    Returns
    -------
    QWidget or None
        None: it is in no napari window.
    """
    window: QWidget | None = widget.window()
    while window is not None and not isinstance(window, QMainWindow):
        parent = window.parentWidget()  # a floating dock is a window of its own
        window = None if parent is None else parent.window()
    centre = None if window is None else window.centralWidget()
    if centre is None:
        return None
    children = centre.findChildren(QWidget)
    return next((child for child in children if hasattr(child, "_vispy_canvas")), None)


class CanvasSwap:
    """Puts a widget where the canvas is. The canvas is hidden, never moved: its OpenGL stays.

    Parameters
    ----------
    canvas : QWidget
        As :func:`find_canvas` returns it.
    replacement : QWidget
        Becomes a part of the window.
    picture : callable
        Returns what napari is to save as a screenshot of its canvas.
    """

    def __init__(
        self, canvas: QWidget, replacement: QWidget, picture: Callable[[], QImage]
    ) -> None:
        self._canvas, self._replacement, self._picture = canvas, replacement, picture
        self._had_focus = canvas.hasFocus()
        self._is_there = True
        self._photographer = _photographer_of(canvas)
        vars(self._photographer)["_screenshot"] = self._screenshot
        replacement.destroyed.connect(self._note_end)
        layout = canvas.parentWidget().layout()
        layout.insertWidget(layout.indexOf(canvas), replacement, 1)
        canvas.hide()
        replacement.show()

    def restore(self) -> None:
        """Show the canvas as it was, and let go of the replacement."""
        vars(self._photographer).pop("_screenshot", None)  # the class's own is there again
        if not self._is_there:  # the window was closed, and both with it
            return
        self._replacement.hide()
        self._canvas.parentWidget().layout().removeWidget(self._replacement)
        self._replacement.setParent(None)
        self._replacement.deleteLater()
        self._canvas.show()
        if self._had_focus:
            self._canvas.setFocus()

    def _screenshot(
        self,
        flash: bool = True,
        size: tuple[int, int] | None = None,
        scale: float = 1.0,
        fit_to_data_extent: bool = False,
    ) -> QImage:
        """Take the place of napari's own; raises ValueError if more is wanted than there is."""
        if size is not None or scale != 1 or fit_to_data_extent:
            raise ValueError("a remote session has its picture as it is shown, in no other size")
        return self._picture()

    def _note_end(self) -> None:
        self._is_there = False


def _photographer_of(canvas: QWidget) -> Any:
    """Return what takes napari's screenshots: a widget around the canvas; else the canvas."""
    widget: QWidget | None = canvas
    while widget is not None and not hasattr(widget, "_screenshot"):
        widget = widget.parentWidget()
    return widget or canvas
