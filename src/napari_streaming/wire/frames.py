"""Pictures on `/pixels`: a header of fixed size, then what the encoder made.

The normative text is ``docs/session-protocol.md``. Every bound is checked before anything of the
header is believed.
"""

from __future__ import annotations

import math
import struct
from typing import Literal

from msgspec import Struct

from napari_streaming.errors import MalformedError, VersionError
from napari_streaming.wire.codec import Buffer

__all__ = [
    "CHROMAS",
    "CODECS",
    "FRAME_MAGIC",
    "HEADER_SIZE",
    "MAX_FRAME_HEIGHT",
    "MAX_FRAME_WIDTH",
    "MAX_PAYLOAD",
    "SESSION_VERSION",
    "Chroma",
    "Codec",
    "FrameHeader",
    "pack_frame",
    "unpack_frame",
]

FRAME_MAGIC = b"NPSF"
SESSION_VERSION = 1
MAX_FRAME_WIDTH, MAX_FRAME_HEIGHT = 7680, 4320
MAX_PAYLOAD = 64 * 1024 * 1024
Codec = Literal["h264", "jpeg", "zstd"]
Chroma = Literal["420", "444", "rgb"]
CODECS: tuple[Codec, ...] = ("h264", "jpeg", "zstd")
"""The codecs in the order of their numbers."""
CHROMAS: tuple[Chroma, ...] = ("420", "444", "rgb")
"""How colour is sampled, in the order of the numbers."""
# Without padding: sequence, intent, rendered, encoded, sent, camera; then width, height, length;
# then codec, chroma, keyframe, ndisplay.
_LAYOUT = struct.Struct("<4sHQQ3d7dHHI4B")
HEADER_SIZE = _LAYOUT.size


class FrameHeader(Struct, frozen=True, kw_only=True):
    """What a picture is, and what it shows.

    `width` and `height` are those of the picture in pixels, without the padding of its planes.
    `rendered`, `encoded` and `sent` are by the server's clock, in seconds. `intent` is the id of
    the last intent or input that the picture contains; 0: none. `camera` is what it was drawn
    with: center (z, y, x), zoom, angles (three, in degrees).
    """

    sequence: int
    width: int
    height: int
    codec: Codec
    chroma: Chroma = "420"
    keyframe: bool = False
    rendered: float = 0.0
    encoded: float = 0.0
    sent: float = 0.0
    intent: int = 0
    camera: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    ndisplay: int = 2


def pack_frame(header: FrameHeader, payload: Buffer) -> list[Buffer]:
    """Return the buffers of a message; the payload is not copied.

    Raises
    ------
    MalformedError
        The header or the payload is out of bounds.
    """
    nbytes = memoryview(payload).nbytes
    _check(header, nbytes)
    try:
        packed = _LAYOUT.pack(
            FRAME_MAGIC,
            SESSION_VERSION,
            header.sequence,
            header.intent,
            header.rendered,
            header.encoded,
            header.sent,
            *header.camera,
            header.width,
            header.height,
            nbytes,
            CODECS.index(header.codec),
            CHROMAS.index(header.chroma),
            header.keyframe,
            header.ndisplay,
        )
    except (struct.error, ValueError) as error:
        raise MalformedError(f"no header of a frame: {error}") from None
    return [packed, payload]


def unpack_frame(data: Buffer) -> tuple[FrameHeader, memoryview]:
    """Return the header of a message, and a view of its payload.

    Raises
    ------
    VersionError
        It is of another version.
    MalformedError
        Anything else is wrong.
    """
    view = memoryview(data).cast("B")
    if bytes(view[:4]) != FRAME_MAGIC:
        raise MalformedError(f"not a frame: starts with {bytes(view[:8])!r}")
    version = int.from_bytes(view[4:6], "little")
    if version != SESSION_VERSION:
        raise VersionError(f"frames of version {version}, this side speaks {SESSION_VERSION}")
    if len(view) < HEADER_SIZE:
        raise MalformedError(f"a frame of {len(view)} bytes, its header alone has {HEADER_SIZE}")
    _, _, sequence, intent, rendered, encoded, sent, *rest = _LAYOUT.unpack(view[:HEADER_SIZE])
    *camera, width, height, nbytes, codec, chroma, keyframe, ndisplay = rest
    payload = view[HEADER_SIZE:]
    if nbytes != len(payload):
        raise MalformedError(f"a frame of {nbytes} bytes comes with {len(payload)}")
    if codec >= len(CODECS) or chroma >= len(CHROMAS) or keyframe > 1:
        raise MalformedError(f"a frame of codec {codec}, chroma {chroma}, keyframe {keyframe}")
    header = FrameHeader(
        sequence=sequence,
        width=width,
        height=height,
        codec=CODECS[codec],
        chroma=CHROMAS[chroma],
        keyframe=bool(keyframe),
        rendered=rendered,
        encoded=encoded,
        sent=sent,
        intent=intent,
        camera=tuple(camera),
        ndisplay=ndisplay,
    )
    _check(header, len(payload))
    return header, payload


def _check(header: FrameHeader, nbytes: int) -> None:
    if not (1 <= header.width <= MAX_FRAME_WIDTH and 1 <= header.height <= MAX_FRAME_HEIGHT):
        raise MalformedError(f"a frame of {header.width} × {header.height} pixels")
    if not 1 <= nbytes <= MAX_PAYLOAD:
        raise MalformedError(f"a frame of {nbytes} bytes, 1 to {MAX_PAYLOAD} allowed")
    if not (0 <= header.sequence < 2**63 and 0 <= header.intent < 2**63):
        raise MalformedError(f"a frame with sequence {header.sequence}, intent {header.intent}")
    if header.ndisplay not in (2, 3) or len(header.camera) != 7:
        raise MalformedError(f"a frame with {header.ndisplay} dimensions and {header.camera}")
    if not all(map(math.isfinite, header.camera)):
        raise MalformedError(f"a frame drawn with the camera {header.camera}")
    if not all(0 <= time < 2**37 for time in (header.rendered, header.encoded, header.sent)):
        raise MalformedError("a frame out of time")
