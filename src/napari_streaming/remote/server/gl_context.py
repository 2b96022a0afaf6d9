"""OpenGL without a window: which way works on this machine, and a context made that way.

EGL is tried first, NVIDIA's own display before Mesa's surfaceless one and hardware before
software; then GLX on an X server, which is started if there is none (Xvfb). Drivers that
cannot start tend to end the process, so every way is tried in a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from napari_streaming.errors import ContextError

__all__ = ["GLContext", "Way", "find_way", "open_context"]

_TRY_S = 60.0
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")


@dataclass(frozen=True)
class Way:
    """One way to OpenGL that worked when it was tried.

    Attributes
    ----------
    name : str
        ``"egl"`` (the display the driver or ``EGL_PLATFORM`` chooses), ``"surfaceless"`` (Mesa's
        EGL display without a window system) or ``"glx"``.
    renderer : str
        What the driver calls the device, as "NVIDIA L4/PCIe/SSE2" or "llvmpipe (LLVM 15, 256)".
    display : str
        The X display that "glx" uses; empty otherwise.
    """

    name: str
    renderer: str
    display: str = ""

    @property
    def hardware(self) -> bool:
        """Whether a GPU draws."""
        return not any(word in self.renderer.lower() for word in _SOFTWARE)

    def __str__(self) -> str:
        how = {"egl": "EGL", "surfaceless": "EGL without a display", "glx": "GLX"}[self.name]
        return f"{self.renderer} through {how}" + (f" on {self.display}" if self.display else "")


class GLContext(ABC):
    """An OpenGL compatibility context that draws into framebuffer objects alone."""

    @abstractmethod
    def make_current(self) -> None:
        """Make this the context of the calling thread.

        Raises
        ------
        ContextError
            When the driver refuses.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the context. It must not be used again."""


class _EGLContext(GLContext):
    _SURFACELESS_MESA = 0x31DD
    _OPENGL_API, _OPENGL_BIT, _PBUFFER_BIT = 0x30A2, 0x0008, 0x0001
    _RENDERABLE_TYPE, _SURFACE_TYPE, _WIDTH, _HEIGHT = 0x3040, 0x3033, 0x3057, 0x3056
    _RED, _GREEN, _BLUE, _NONE = 0x3024, 0x3023, 0x3022, 0x3038

    def __init__(self, surfaceless: bool) -> None:
        self._egl = egl = _library("EGL")
        pointer, attributes = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
        egl.eglGetDisplay.restype = egl.eglGetProcAddress.restype = pointer
        egl.eglCreateContext.restype = egl.eglCreatePbufferSurface.restype = pointer
        egl.eglGetDisplay.argtypes = egl.eglDestroyContext.argtypes = None
        egl.eglInitialize.argtypes = [pointer, attributes, attributes]
        egl.eglChooseConfig.argtypes = [pointer, attributes, pointer, ctypes.c_int, attributes]
        egl.eglCreatePbufferSurface.argtypes = [pointer, pointer, attributes]
        egl.eglCreateContext.argtypes = [pointer, pointer, pointer, attributes]
        egl.eglMakeCurrent.argtypes = [pointer] * 4
        egl.eglDestroySurface.argtypes = egl.eglDestroyContext.argtypes = [pointer, pointer]

        self._display = self._surfaceless_display() if surfaceless else self._default_display()
        if not self._display or not egl.eglInitialize(self._display, None, None):
            raise self._error("no EGL display")
        config, count = ctypes.c_void_p(), ctypes.c_int()
        wanted = _ints(
            self._RENDERABLE_TYPE, self._OPENGL_BIT, self._SURFACE_TYPE, self._PBUFFER_BIT,
            self._RED, 8, self._GREEN, 8, self._BLUE, 8, self._NONE,
        )  # fmt: skip
        found = egl.eglChooseConfig(
            self._display, wanted, ctypes.byref(config), 1, ctypes.byref(count)
        )
        if not found or not count.value:
            raise self._error("EGL offers no OpenGL")
        egl.eglBindAPI(self._OPENGL_API)
        self._context = egl.eglCreateContext(self._display, config, None, _ints(self._NONE))
        if not self._context:
            raise self._error("EGL makes no context")
        # Pictures are drawn into framebuffer objects; a context just needs some surface.
        size = _ints(self._WIDTH, 1, self._HEIGHT, 1, self._NONE)
        self._surface = egl.eglCreatePbufferSurface(self._display, config, size)
        self.make_current()

    def _default_display(self) -> Any:
        # NVIDIA's EGL fails over a remote X server, so it must not see one.
        with _without("DISPLAY"):
            return self._egl.eglGetDisplay(None)

    def _surfaceless_display(self) -> Any:
        address = self._egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
        if not address:
            raise self._error("EGL knows no platforms")
        kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
        return kind(address)(self._SURFACELESS_MESA, None, None)

    def make_current(self) -> None:
        if not self._egl.eglMakeCurrent(self._display, self._surface, self._surface, self._context):
            raise self._error("EGL does not switch to the context")

    def close(self) -> None:
        self._egl.eglMakeCurrent(self._display, None, None, None)
        self._egl.eglDestroySurface(self._display, self._surface)
        self._egl.eglDestroyContext(self._display, self._context)

    def _error(self, what: str) -> ContextError:
        return ContextError(f"{what} (EGL error 0x{self._egl.eglGetError():x})")


class _GLXContext(GLContext):
    _DRAWABLE_TYPE, _PBUFFER_BIT, _RED, _GREEN, _BLUE = 0x8010, 0x0004, 8, 9, 10
    _WIDTH, _HEIGHT, _RGBA_TYPE = 0x8041, 0x8040, 0x8014

    def __init__(self, display: str) -> None:
        self._x, self._gl = _library("X11"), _library("GL")
        x, glx, pointer = self._x, self._gl, ctypes.c_void_p
        x.XOpenDisplay.restype = pointer
        x.XDefaultScreen.argtypes = x.XCloseDisplay.argtypes = [pointer]
        x.XFree.argtypes = [pointer]
        glx.glXChooseFBConfig.restype = ctypes.POINTER(pointer)
        glx.glXChooseFBConfig.argtypes = [pointer, ctypes.c_int, pointer, pointer]
        glx.glXCreatePbuffer.argtypes = [pointer, pointer, pointer]
        glx.glXCreatePbuffer.restype = ctypes.c_ulong
        glx.glXCreateNewContext.argtypes = [
            pointer, pointer, ctypes.c_int, pointer, ctypes.c_int
        ]  # fmt: skip
        glx.glXCreateNewContext.restype = pointer
        glx.glXMakeContextCurrent.argtypes = [pointer, ctypes.c_ulong, ctypes.c_ulong, pointer]
        glx.glXDestroyContext.argtypes = [pointer, pointer]

        self._display = x.XOpenDisplay(display.encode())
        if not self._display:
            raise ContextError(f"no X server at {display}")
        count = ctypes.c_int()
        configs = glx.glXChooseFBConfig(
            self._display,
            x.XDefaultScreen(self._display),
            _ints(
                self._DRAWABLE_TYPE, self._PBUFFER_BIT, self._RED, 8, self._GREEN, 8,
                self._BLUE, 8, 0,
            ),
            ctypes.byref(count),
        )  # fmt: skip
        if not count.value:
            raise ContextError(f"the X server at {display} offers no OpenGL")
        config = configs[0]
        x.XFree(configs)
        size = _ints(self._WIDTH, 1, self._HEIGHT, 1, 0)
        self._surface = glx.glXCreatePbuffer(self._display, config, size)
        self._context = glx.glXCreateNewContext(self._display, config, self._RGBA_TYPE, None, 1)
        if not self._context:
            raise ContextError(f"the X server at {display} makes no OpenGL context")
        self.make_current()

    def make_current(self) -> None:
        if not self._gl.glXMakeContextCurrent(
            self._display, self._surface, self._surface, self._context
        ):
            raise ContextError("GLX does not switch to the context")

    def close(self) -> None:
        self._gl.glXMakeContextCurrent(self._display, 0, 0, None)
        self._gl.glXDestroyContext(self._display, self._context)
        self._x.XCloseDisplay(self._display)


def open_context(way: Way) -> GLContext:
    """Make a context the given way, current in the calling thread.

    Raises
    ------
    ContextError
        When the way works no longer.
    """
    if way.name == "glx":
        return _GLXContext(way.display)
    return _EGLContext(surfaceless=way.name == "surfaceless")


def find_way(*, egl: bool = True) -> tuple[Way, list[str]]:
    """Try the ways to OpenGL, the best first.

    Parameters
    ----------
    egl : bool
        Whether EGL will do.

    Returns
    -------
    way : Way
        The first that draws with a GPU, else the first that draws. For "glx" an X server may
        have been started; it ends with this process.
    tried : list of str
        One line for each way that was passed over, with the reason.

    Raises
    ------
    ContextError
        When nothing draws; names what is missing.
    """
    software: Way | None = None
    tried: list[str] = []
    displays = ("egl",) if "EGL_PLATFORM" in os.environ else ("egl", "surfaceless")
    for name in displays if egl else ():
        match _attempt(name):
            case Way(hardware=True) as way:
                return way, tried
            case Way() as way:
                software = software or way
            case str(reason):
                tried.append(f"{name}: {reason}")
    if software:
        return software, tried
    display = os.environ.get("DISPLAY") or _start_x_server(tried)
    match _attempt("glx", display) if display else None:
        case Way() as way:
            return way, tried
        case str(reason):
            tried.append(f"glx on {display}: {reason}")
    raise ContextError(
        "this machine draws no OpenGL. Needed is libEGL with a driver (NVIDIA's, or Mesa:"
        " libegl1 and libgl1-mesa-dri) or else Xvfb with libGL. Tried:\n  " + "\n  ".join(tried)
    )


def _attempt(name: str, display: str = "") -> Way | str:
    """Make a context in a process of its own: the way, or why it does not work."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, name, display],
            capture_output=True,
            text=True,
            timeout=_TRY_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"does not answer within {_TRY_S:g} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return last or f"the driver ended the process ({done.returncode})"
    return Way(name, json.loads(done.stdout), display)


def _start_x_server(tried: list[str]) -> str | None:
    """Start Xvfb on a display that it chooses; it ends with this process."""
    program = shutil.which("Xvfb")
    if program is None:
        tried.append("Xvfb: not installed")
        return None
    read, write = os.pipe()
    subprocess.Popen(
        [program, "-displayfd", str(write), "-terminate", "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()
    if not number:
        tried.append("Xvfb: did not start")
        return None
    # It ends when its last client leaves: this connection, which this process holds to its end.
    _library("X11").XOpenDisplay(f":{number}".encode())
    return f":{number}"


def _library(name: str) -> Any:
    found = ctypes.util.find_library(name)
    if found is None:
        raise ContextError(f"lib{name} is not installed")
    return ctypes.CDLL(found)


def _ints(*values: int) -> Any:
    return (ctypes.c_int * len(values))(*values)


@contextlib.contextmanager
def _without(variable: str) -> Any:
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value


def _main(name: str, display: str) -> None:
    """Say who draws; the process of `_attempt`."""
    try:
        context = open_context(Way(name, "", display))
    except ContextError as error:
        sys.exit(str(error))
    gl = _library("GL")
    gl.glGetString.restype = ctypes.c_char_p
    renderer = gl.glGetString(0x1F01)
    if renderer is None:
        sys.exit("no renderer")
    print(json.dumps(renderer.decode(errors="replace")))
    context.close()


if __name__ == "__main__":
    _main(*sys.argv[1:])
