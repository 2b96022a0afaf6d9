"""What napari's drawing imports of Qt, for a machine where none is installed.

napari draws with OpenGL, through vispy, but the modules that do so name Qt: for the letters, how
wide a text is, and the shape of the cursor. Where there is Qt, it is taken, so that a text looks
here as at home. Elsewhere these names are there while napari's modules are imported; the letters
are then FreeType's, in the one font that vispy brings along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["fonts", "import_drawing"]

_DRAWING = "napari._vispy.canvas"
_FAMILY = "OpenSans"
_PIXELS_PER_POINT = 96 / 72  # as Qt has it without a screen


def import_drawing() -> bool:
    """Import the modules that draw; return whether that was done without Qt.

    What is in Qt's place is so only meanwhile: whoever asks for Qt later is told that there is
    none.
    """
    try:
        import qtpy  # noqa: F401  # says whether there is any
    except ImportError:  # qtpy is not installed, or finds nothing
        if _DRAWING not in sys.modules:
            with _in_place():
                import_module(_DRAWING)
        return True
    return False


def fonts() -> tuple[Any, str]:
    """Return what makes letters, and the family of the default font."""
    from vispy.visuals.text.text import FontManager, TextureFont

    class Letters(TextureFont):
        """The letters of a font, as large as Qt's: vispy takes a point for a pixel."""

        ratio = 4

        def __init__(self, font: dict[str, Any], renderer: Any) -> None:
            super().__init__(font, renderer)
            self._font["size"] = round(self._font["size"] * _PIXELS_PER_POINT)

    class Manager(FontManager):
        """Keeps the fonts that were made."""

        def get_font(self, face: str, bold: bool = False, italic: bool = False) -> Letters:
            """Return a font; whatever face is wanted, there is one."""
            key = f"{bold}-{italic}"
            if key not in self._fonts:
                font = {"face": _FAMILY, "bold": bold, "italic": italic}
                self._fonts[key] = Letters(font, self._renderer)
            letters: Letters = self._fonts[key]
            return letters

    return Manager(), _FAMILY


class _Names:
    """Stands for an enumeration: every member, and their members, are just different."""

    def __getattr__(self, name: str) -> _Names:
        if name.startswith("_"):
            raise AttributeError(name)
        member = _Names()
        setattr(self, name, member)
        return member


class _Nothing:
    """Stands for what only a window uses."""


class _Size:
    def __init__(self, width: float, height: float) -> None:
        self._width, self._height = width, height

    def width(self) -> float:
        return self._width

    def height(self) -> float:
        return self._height


class _Rect:
    def __init__(self, _left: float, _top: float, width: float, height: float) -> None:
        self._size = _Size(width, height)

    def size(self) -> _Size:
        return self._size


class _Font:
    """A font of a size in points."""

    def __init__(self, _family: str, points: float) -> None:
        self.pixels = points * _PIXELS_PER_POINT
        self.is_bold = self.is_italic = False

    def family(self) -> str:
        return _FAMILY

    def setBold(self, value: bool) -> None:
        self.is_bold = value

    def setItalic(self, value: bool) -> None:
        self.is_italic = value


class _FontMetrics:
    """How large texts are, in pixels."""

    def __init__(self, font: _Font) -> None:
        self._pixels = font.pixels
        self._face = _face(font.is_bold, font.is_italic)

    def height(self) -> float:
        """Return the height of a line."""
        height: int = self._face.ascender - self._face.descender
        return height * self._pixels / float(self._face.units_per_EM)

    def boundingRect(self, _within: _Rect, _flags: object, text: str) -> _Rect:
        """Return how much room a text takes."""
        lines = text.split("\n")
        width = max(sum(map(self._advance, line)) for line in lines)
        return _Rect(0, 0, width, len(lines) * self.height())

    def _advance(self, letter: str) -> float:
        return _advance(self._face, letter) * self._pixels


@lru_cache
def _face(is_bold: bool, is_italic: bool) -> Any:
    from freetype import Face
    from vispy.util.fonts._vispy_fonts import _get_vispy_font_filename

    return Face(_get_vispy_font_filename(_FAMILY, is_bold, is_italic))


@lru_cache(4096)
def _advance(face: Any, letter: str) -> float:
    """Return how far to the right the next letter is, in heights of the font."""
    from freetype import FT_LOAD_NO_SCALE

    face.load_char(letter, FT_LOAD_NO_SCALE)
    return float(face.glyph.advance.x) / float(face.units_per_EM)


class _Application:
    @staticmethod
    def font() -> _Font:
        return _Font(_FAMILY, 10)


class _Unthrottled:
    """A function that superqt would call less often, by a timer of Qt's."""

    def __init__(self, function: Callable[..., Any], timeout: int = 0) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    throttle = __call__


@contextmanager
def _in_place() -> Iterator[None]:
    """Have the names of Qt that napari's drawing imports."""
    from vispy.app import _default_app

    from napari_streaming.remote.server.vispy_backend import NoApplication

    application = NoApplication()
    _default_app.default_app = application  # napari wants that of Qt, which is none here
    names = ("qtpy", "qtpy.QtCore", "qtpy.QtGui", "superqt", "superqt.utils")
    modules = qtpy, core, gui, _, utils = [ModuleType(name) for name in names]
    vars(qtpy).update(API_NAME=application.backend_name)
    vars(core).update(Qt=_Names(), QRectF=_Rect)
    vars(core).update(dict.fromkeys(("QPoint", "QPointF", "QSize"), _Nothing))
    vars(gui).update(QFont=_Font, QFontMetricsF=_FontMetrics, QGuiApplication=_Application)
    vars(gui).update(dict.fromkeys(("QCursor", "QImage", "QPainter", "QPen", "QPixmap"), _Nothing))
    vars(utils).update(qthrottled=_Unthrottled, qdebounced=_Unthrottled)
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
