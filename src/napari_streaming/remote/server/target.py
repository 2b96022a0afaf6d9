"""What is drawn into and read from: a texture that OpenGL can render to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from OpenGL import GL
from OpenGL.error import GLError

from napari_streaming.errors import ContextError

__all__ = ["Target", "opengl_errors", "wait_for_gpu"]


@contextmanager
def opengl_errors() -> Iterator[None]:
    """Raise what OpenGL complains of as ContextError."""
    try:
        yield
    except GLError as error:
        raise ContextError(f"OpenGL: {error.description!r} in {error.baseOperation}") from error


def wait_for_gpu() -> None:
    """Return when all that was asked of it is done: only then is a picture as old as it says."""
    GL.glFinish()


class Target:
    """A framebuffer object with a colour texture, in the current context.

    Parameters
    ----------
    width, height : int
        In pixels.
    depth : bool
        Whether things drawn into it hide each other.

    Attributes
    ----------
    framebuffer, texture : int
        OpenGL's names of them. They change with `resize`.
    width, height : int

    Raises
    ------
    ContextError
        When the driver cannot make one of this size.
    """

    def __init__(self, width: int, height: int, *, depth: bool) -> None:
        self.width, self.height, self._has_depth = width, height, depth
        self._make()

    def resize(self, width: int, height: int) -> None:
        """Replace it by one of another size; what was drawn is lost."""
        self.close()
        self.width, self.height = width, height
        self._make()

    def _make(self) -> None:
        bound = GL.glGetIntegerv(GL.GL_TEXTURE_BINDING_2D)
        self.texture = int(GL.glGenTextures(1))
        GL.glBindTexture(GL.GL_TEXTURE_2D, self.texture)
        GL.glTexImage2D(
            GL.GL_TEXTURE_2D, 0, GL.GL_RGBA8, self.width, self.height, 0,
            GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, None,
        )  # fmt: skip
        for name, value in (
            (GL.GL_TEXTURE_MIN_FILTER, GL.GL_NEAREST),
            (GL.GL_TEXTURE_MAG_FILTER, GL.GL_NEAREST),
            (GL.GL_TEXTURE_WRAP_S, GL.GL_CLAMP_TO_EDGE),
            (GL.GL_TEXTURE_WRAP_T, GL.GL_CLAMP_TO_EDGE),
        ):
            GL.glTexParameteri(GL.GL_TEXTURE_2D, name, value)
        GL.glBindTexture(GL.GL_TEXTURE_2D, bound)

        self.framebuffer = int(GL.glGenFramebuffers(1))
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self.framebuffer)
        GL.glFramebufferTexture2D(
            GL.GL_FRAMEBUFFER, GL.GL_COLOR_ATTACHMENT0, GL.GL_TEXTURE_2D, self.texture, 0
        )
        self._depth = 0
        if self._has_depth:
            self._depth = int(GL.glGenRenderbuffers(1))
            GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, self._depth)
            GL.glRenderbufferStorage(
                GL.GL_RENDERBUFFER, GL.GL_DEPTH24_STENCIL8, self.width, self.height
            )
            GL.glFramebufferRenderbuffer(
                GL.GL_FRAMEBUFFER, GL.GL_DEPTH_STENCIL_ATTACHMENT, GL.GL_RENDERBUFFER, self._depth
            )
        state = GL.glCheckFramebufferStatus(GL.GL_FRAMEBUFFER)
        if state != GL.GL_FRAMEBUFFER_COMPLETE:
            raise ContextError(f"no framebuffer of {self.width} x {self.height} (0x{state:x})")

    def close(self) -> None:
        """Free it."""
        GL.glDeleteFramebuffers(1, [self.framebuffer])
        GL.glDeleteTextures(1, [self.texture])
        if self._depth:
            GL.glDeleteRenderbuffers(1, [self._depth])
