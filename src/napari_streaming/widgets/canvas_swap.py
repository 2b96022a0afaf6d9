"""Another widget in the place of napari's canvas, and the canvas back. Public Qt only."""

from __future__ import annotations

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
    """

    def __init__(self, canvas: QWidget, replacement: QWidget) -> None:
        self._canvas, self._replacement = canvas, replacement
        self._had_focus = canvas.hasFocus()
        self._is_there = True
        replacement.destroyed.connect(self._note_end)
        layout = canvas.parentWidget().layout()
        layout.insertWidget(layout.indexOf(canvas), replacement, 1)
        canvas.hide()
        replacement.show()

    def restore(self) -> None:
        """Show the canvas as it was, and let go of the replacement."""
        if not self._is_there:  # the window was closed, and both with it
            return
        self._replacement.hide()
        self._canvas.parentWidget().layout().removeWidget(self._replacement)
        self._replacement.setParent(None)
        self._replacement.deleteLater()
        self._canvas.show()
        if self._had_focus:
            self._canvas.setFocus()

    def _note_end(self) -> None:
        self._is_there = False
