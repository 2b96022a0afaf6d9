"""From OpenGL to memory: pixels as they are, or turned into planes by the GPU on the way.

Imported once there is a context: PyOpenGL settles then which library made it.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from OpenGL import GL

from napari_streaming.remote.server.target import Target

__all__ = ["PlanesOnGPU", "read_rgba"]

_PACK_INVERT_MESA = 0x8758
_START = ctypes.c_void_p(0)

_VERTEX = """
#version 130
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    gl_Position = vec4(4.0 * corner - 1.0, 0.0, 1.0);
}
"""

# Every fragment holds four bytes of the planes, which lie one after the other. The weights are
# those of BT.709 for values of 0 to 1, in its limited range.
_FRAGMENT = """
#version 130
uniform sampler2D picture;
uniform ivec2 size;        // of the planes in pixels, the width in whole groups of eight
uniform int subsampled;    // 1 where chroma has half the width and half the height
out vec4 bytes;

const vec3 LUMA = vec3(0.2126, 0.7152, 0.0722);

vec3 pixel(int x, int y) {
    ivec2 drawn = textureSize(picture, 0);
    x = min(x, drawn.x - 1);
    y = min(y, drawn.y - 1);
    return texelFetch(picture, ivec2(x, drawn.y - 1 - y), 0).rgb;  // OpenGL counts from below
}

vec3 chroma_pixel(int x, int y) {
    if (subsampled == 0) return pixel(x, y);
    x *= 2; y *= 2;
    return 0.25 * (pixel(x, y) + pixel(x + 1, y) + pixel(x, y + 1) + pixel(x + 1, y + 1));
}

void main() {
    int across = size.x / 4;
    int index = int(gl_FragCoord.y) * across + int(gl_FragCoord.x);
    int luma = across * size.y;
    if (index < luma) {
        ivec2 at = ivec2((index % across) * 4, index / across);
        for (int i = 0; i < 4; i++)
            bytes[i] = (16.0 + 219.0 * dot(LUMA, pixel(at.x + i, at.y))) / 255.0;
        return;
    }
    index -= luma;
    int chroma = subsampled == 1 ? luma / 4 : luma;
    bool red = index >= chroma;
    if (red) index -= chroma;
    across = subsampled == 1 ? across / 2 : across;
    ivec2 at = ivec2((index % across) * 4, index / across);
    for (int i = 0; i < 4; i++) {
        vec3 colour = chroma_pixel(at.x + i, at.y);
        float y = dot(LUMA, colour);
        float difference = red ? (colour.r - y) / 1.5748 : (colour.b - y) / 1.8556;
        bytes[i] = (128.0 + 224.0 * difference) / 255.0;
    }
}
"""


def read_rgba(target: Target, into: NDArray[np.uint8]) -> None:
    """Read a target, its top row first.

    Parameters
    ----------
    target : Target
    into : ndarray of uint8, shape (at least height, at least width, 4)
        C-contiguous. Where it is larger than the target, the last column and row are repeated.
    """
    height, width = target.height, target.width
    GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, target.framebuffer)
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
    GL.glPixelStorei(GL.GL_PACK_ROW_LENGTH, into.shape[1])
    upside_down = _can_invert()
    if upside_down:
        GL.glPixelStorei(_PACK_INVERT_MESA, 1)
    GL.glReadPixels(0, 0, width, height, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, into)
    GL.glPixelStorei(GL.GL_PACK_ROW_LENGTH, 0)
    if upside_down:
        GL.glPixelStorei(_PACK_INVERT_MESA, 0)
    else:
        into[:height] = into[:height][::-1].copy()
    into[:height, width:] = into[:height, width - 1 : width]
    into[height:] = into[height - 1]


@cache
def _can_invert() -> bool:
    names = (
        GL.glGetStringi(GL.GL_EXTENSIONS, i) for i in range(GL.glGetInteger(GL.GL_NUM_EXTENSIONS))
    )
    return b"GL_MESA_pack_invert" in names


class PlanesOnGPU:
    """Turns targets into planar YUV with a shader, so that few bytes cross the bus.

    Parameters
    ----------
    subsampled : bool
        Whether chroma has half the width and height ("420"), or not ("444").
    """

    def __init__(self, subsampled: bool) -> None:
        self._subsampled = subsampled
        self._program = _program()
        self._uniforms = {
            name: GL.glGetUniformLocation(self._program, name) for name in ("size", "subsampled")
        }
        self._packed: Target | None = None
        self._buffer = int(GL.glGenBuffers(1))

    def read(self, target: Target, width: int, height: int) -> NDArray[np.uint8]:
        """Return all planes one after the other.

        Parameters
        ----------
        target : Target
            What to read.
        width, height : int
            The size of the luma plane: even, at least the target's, the width divisible by 8.

        Returns
        -------
        ndarray of uint8, shape (width * height * 3 / 2 or * 3,)
            The caller's to keep.
        """
        rows = height * 3 // 2 if self._subsampled else height * 3
        if self._packed is None:
            self._packed = Target(width // 4, rows, depth=False)
        elif (self._packed.width, self._packed.height) != (width // 4, rows):
            self._packed.resize(width // 4, rows)
        with _state_kept():
            self._convert(target, self._packed, width, height)
            return self._download(self._packed, width * rows)

    def _convert(self, target: Target, packed: Target, width: int, height: int) -> None:
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, packed.framebuffer)
        GL.glViewport(0, 0, packed.width, packed.height)
        GL.glUseProgram(self._program)
        GL.glUniform2i(self._uniforms["size"], width, height)
        GL.glUniform1i(self._uniforms["subsampled"], int(self._subsampled))
        GL.glActiveTexture(GL.GL_TEXTURE0)
        GL.glBindTexture(GL.GL_TEXTURE_2D, target.texture)
        GL.glDrawArrays(GL.GL_TRIANGLES, 0, 3)

    def _download(self, packed: Target, size: int) -> NDArray[np.uint8]:
        # A driver copies to a buffer of its own faster than to memory that it does not know.
        GL.glBindBuffer(GL.GL_PIXEL_PACK_BUFFER, self._buffer)
        GL.glBufferData(GL.GL_PIXEL_PACK_BUFFER, size, None, GL.GL_STREAM_READ)
        GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
        GL.glReadPixels(0, 0, packed.width, packed.height, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, _START)
        planes = np.empty(size, np.uint8)
        GL.glGetBufferSubData(GL.GL_PIXEL_PACK_BUFFER, 0, size, planes)
        return planes

    def close(self) -> None:
        """Free what it has in the context."""
        GL.glDeleteBuffers(1, [self._buffer])
        GL.glDeleteProgram(self._program)
        if self._packed is not None:
            self._packed.close()


def _program() -> int:
    program = int(GL.glCreateProgram())
    for kind, source in ((GL.GL_VERTEX_SHADER, _VERTEX), (GL.GL_FRAGMENT_SHADER, _FRAGMENT)):
        shader = GL.glCreateShader(kind)
        GL.glShaderSource(shader, source.strip())
        GL.glCompileShader(shader)
        assert GL.glGetShaderiv(shader, GL.GL_COMPILE_STATUS), GL.glGetShaderInfoLog(shader)
        GL.glAttachShader(program, shader)
        GL.glDeleteShader(shader)
    GL.glBindFragDataLocation(program, 0, "bytes")
    GL.glLinkProgram(program)
    assert GL.glGetProgramiv(program, GL.GL_LINK_STATUS), GL.glGetProgramInfoLog(program)
    return program


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """Put back what vispy believes to be set; it does not ask OpenGL."""
    switches = (GL.GL_BLEND, GL.GL_DEPTH_TEST, GL.GL_CULL_FACE, GL.GL_SCISSOR_TEST)
    on = [switch for switch in switches if GL.glIsEnabled(switch)]
    program = GL.glGetIntegerv(GL.GL_CURRENT_PROGRAM)
    framebuffer = GL.glGetIntegerv(GL.GL_DRAW_FRAMEBUFFER_BINDING)
    viewport = GL.glGetIntegerv(GL.GL_VIEWPORT)
    unit = GL.glGetIntegerv(GL.GL_ACTIVE_TEXTURE)
    GL.glActiveTexture(GL.GL_TEXTURE0)
    texture = GL.glGetIntegerv(GL.GL_TEXTURE_BINDING_2D)
    for switch in on:
        GL.glDisable(switch)
    try:
        yield
    finally:
        for switch in on:
            GL.glEnable(switch)
        GL.glUseProgram(program)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, framebuffer)
        GL.glViewport(*viewport)
        GL.glBindTexture(GL.GL_TEXTURE_2D, texture)
        GL.glActiveTexture(unit)
        GL.glBindBuffer(GL.GL_PIXEL_PACK_BUFFER, 0)
