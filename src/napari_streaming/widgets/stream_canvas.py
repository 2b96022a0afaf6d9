"""Shows the pictures of a remote session where napari's canvas was, and takes the user's input."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_streaming.wire.inputs import Key, Pointer, Wheel

__all__ = ["StreamCanvas"]

_BUTTONS = {
    Qt.MouseButton.LeftButton: 1,
    Qt.MouseButton.RightButton: 2,
    Qt.MouseButton.MiddleButton: 3,
    Qt.MouseButton.BackButton: 4,
    Qt.MouseButton.ForwardButton: 5,
}
_MODIFIERS = {
    Qt.KeyboardModifier.ShiftModifier: "shift",
    Qt.KeyboardModifier.ControlModifier: "control",
    Qt.KeyboardModifier.AltModifier: "alt",
    Qt.KeyboardModifier.MetaModifier: "meta",
}
_KEYS = {
    Qt.Key.Key_Left: "Left",
    Qt.Key.Key_Right: "Right",
    Qt.Key.Key_Up: "Up",
    Qt.Key.Key_Down: "Down",
    Qt.Key.Key_Home: "Home",
    Qt.Key.Key_End: "End",
    Qt.Key.Key_PageUp: "PageUp",
    Qt.Key.Key_PageDown: "PageDown",
    Qt.Key.Key_Insert: "Insert",
    Qt.Key.Key_Delete: "Delete",
    Qt.Key.Key_Backspace: "Backspace",
    Qt.Key.Key_Return: "Enter",
    Qt.Key.Key_Enter: "Enter",
    Qt.Key.Key_Escape: "Escape",
    Qt.Key.Key_Space: "Space",
    Qt.Key.Key_Tab: "Tab",
    Qt.Key.Key_Shift: "Shift",
    Qt.Key.Key_Control: "Control",
    Qt.Key.Key_Alt: "Alt",
    Qt.Key.Key_Meta: "Meta",
} | {getattr(Qt.Key, f"Key_F{number}"): f"F{number}" for number in range(1, 13)}
_A_NOTCH = 120.0  # of Qt's wheel, an eighth of a degree each
_GREY = QColor(0, 0, 0, 150)


class StreamCanvas(QWidget):
    """A picture, letterboxed, one pixel for one where the sizes agree.

    Signals
    -------
    input : (object)
        A function that makes the message of what the user did, given its id.
    resized : (int, int, float)
        The size in device pixels, and how many of them make a logical one.
    presented : (int)
        The number of a frame that is on the screen.
    """

    input = Signal(object)
    resized = Signal(int, int, float)
    presented = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pixels: NDArray[np.uint8] | None = None  # the image looks at its memory
        self._image = QImage()
        self._sequence: int | None = None  # of a frame that is to be presented
        self._words = ""
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Remote canvas")

    @property
    def pixels(self) -> NDArray[np.uint8] | None:
        """What is shown: uint8 of shape (height, width, 4), BGRA; None before the first frame."""
        return self._pixels

    @property
    def image(self) -> QImage:
        """What is shown, as one can keep it; null before the first frame."""
        return self._image.copy()

    def device_size(self) -> tuple[int, int, float]:
        """Return its width and height in device pixels, and how many make a logical one."""
        ratio = self.devicePixelRatioF()
        return max(1, round(self.width() * ratio)), max(1, round(self.height() * ratio)), ratio

    def show_pixels(self, pixels: NDArray[np.uint8], sequence: int) -> None:
        """Show a picture as soon as the screen takes one; an earlier one that waits is left out.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (height, width, 4)
            BGRA, rows contiguous. Not to be changed any more.
        sequence : int
            The number of its frame, for `presented`.
        """
        height, width, _ = pixels.shape
        self._pixels, self._sequence = pixels, sequence
        memory: Any = pixels.data
        layout = QImage.Format.Format_RGB32
        self._image = QImage(memory, width, height, pixels.strides[0], layout)
        self.update()

    def say(self, words: str) -> None:
        """Grey the picture out and write this over it; nothing: show the picture as it is."""
        if words != self._words:
            self._words = words
            self.update()

    # ---- the screen ------------------------------------------------------------------

    def picture_rect(self) -> QRectF:
        """Return where the picture lies, in logical pixels."""
        ratio = self.devicePixelRatioF()
        width, height = self._image.width() / ratio, self._image.height() / ratio
        if not width or not height:
            return QRectF(self.rect())
        scale = min(self.width() / width, self.height() / height)
        if abs(scale - 1) < 1.5 / max(width, height):  # within a pixel: exact ones
            scale = 1.0
        left, top = (self.width() - width * scale) / 2, (self.height() - height * scale) / 2
        return QRectF(round(left), round(top), width * scale, height * scale)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the picture, and say which it is."""
        painter = QPainter(self)
        target = self.picture_rect()
        if self._image.isNull() or target != QRectF(self.rect()):
            painter.fillRect(self.rect(), Qt.GlobalColor.black)
        if not self._image.isNull():
            painter.drawImage(target, self._image)
        if self._words:
            painter.fillRect(self.rect(), _GREY)
            painter.setPen(Qt.GlobalColor.white)
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(QRectF(self.rect()).adjusted(20, 20, -20, -20), flags, self._words)
        painter.end()
        if self._sequence is not None:
            sequence, self._sequence = self._sequence, None
            self.presented.emit(sequence)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Have pictures of the new size made."""
        super().resizeEvent(event)
        self.resized.emit(*self.device_size())

    # ---- the user --------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Pass it on."""
        self._point("press", event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Pass it on."""
        self._point("release", event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Pass it on."""
        self._point("move", event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Pass it on."""
        self._point("double", event)

    def leaveEvent(self, event: QEvent) -> None:
        """Pass it on: nothing is under the cursor any more."""
        QToolTip.hideText()
        self.input.emit(lambda number: Pointer(id=number, kind="leave", x=0.0, y=0.0))

    def _point(
        self, kind: Literal["press", "release", "move", "double"], event: QMouseEvent
    ) -> None:
        x, y = self._where(event.position())
        held = tuple(number for button, number in _BUTTONS.items() if event.buttons() & button)
        button = _BUTTONS.get(event.button(), 0)
        modifiers = _modifiers(event)
        self.input.emit(
            lambda number: Pointer(
                id=number, kind=kind, x=x, y=y, button=button, buttons=held, modifiers=modifiers
            )
        )
        event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Pass it on."""
        x, y = self._where(event.position())
        turned, modifiers = event.angleDelta(), _modifiers(event)
        dx, dy = turned.x() / _A_NOTCH, turned.y() / _A_NOTCH
        self.input.emit(
            lambda number: Wheel(id=number, x=x, y=y, dx=dx, dy=dy, modifiers=modifiers)
        )
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Pass it on, unless it is a shortcut of the window's."""
        self._press("press", event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """Pass it on."""
        self._press("release", event)

    def _press(self, kind: Literal["press", "release"], event: QKeyEvent) -> None:
        name = _name_of(event)
        if not name or (kind == "release" and event.isAutoRepeat()):
            event.ignore()
            return
        text, modifiers = event.text()[:16], _modifiers(event)
        self.input.emit(
            lambda number: Key(id=number, kind=kind, key=name, text=text, modifiers=modifiers)
        )
        event.accept()

    def _where(self, position: QPointF) -> tuple[float, float]:
        """Return where a point lies in the picture, in its own pixels."""
        target = self.picture_rect()
        width = self._image.width() or target.width() * self.devicePixelRatioF()
        height = self._image.height() or target.height() * self.devicePixelRatioF()
        x = (position.x() - target.left()) / max(1.0, target.width()) * width
        y = (position.y() - target.top()) / max(1.0, target.height()) * height
        return x, y


def _modifiers(event: Any) -> tuple[Any, ...]:
    held = event.modifiers()
    return tuple(name for modifier, name in _MODIFIERS.items() if held & modifier)


def _name_of(event: QKeyEvent) -> str:
    """Return vispy's name of a key; empty: it has none."""
    name: str | None = _KEYS.get(Qt.Key(event.key()))
    if name is not None:
        return name
    code = event.key()
    text: str = event.text()
    return chr(code).upper() if 32 < code < 127 else text[:1]
