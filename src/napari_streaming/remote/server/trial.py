"""Try one encoder: encode two pictures, decode them again and compare the pixels.

Run as a program, since a driver may crash or hang: ``python -m ... RUNG`` writes a line of JSON
for each chroma, with the reason why it does not work, empty if it does.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from numpy.typing import NDArray

from napari_streaming.errors import EncoderError
from napari_streaming.remote.server.capture import Picture
from napari_streaming.remote.server.encoders import Encoder, open_rung
from napari_streaming.wire.frames import Chroma

__all__ = ["TRIED", "try_encoder"]

TRIED: tuple[Chroma, ...] = ("420", "444")
_WIDTH, _HEIGHT, _FPS, _BITRATE = 640, 480, 60, 20_000_000
# Of 255: far more than coding changes smooth pictures by, far less than a wrong picture would.
_TOLERANCE = 6.0


def try_encoder(encoder: Encoder) -> str:
    """Return why an encoder of 640 by 480 does not work; empty if it does.

    Raises
    ------
    EncoderError
        It says itself that it does not.
    """
    import av

    decoder = av.CodecContext.create("mjpeg" if encoder.codec == "jpeg" else "h264", "r")
    decoder.flags |= int(av.codec.context.Flags.low_delay)
    for step in range(2):
        picture = _picture(step, encoder.chroma)
        unit = encoder.encode(picture)
        if step == 0 and not unit.keyframe:
            return "its first unit is no keyframe"
        frames = decoder.decode(av.Packet(unit.data))
        if len(frames) != 1:
            return f"{len(frames)} pictures came of its unit {step}"
        for plane, name, decoded in zip(picture.planes, "YUV", frames[0].planes, strict=True):
            rows = np.frombuffer(memoryview(decoded), np.uint8)
            seen = rows.reshape(decoded.height, decoded.line_size)[:, : decoded.width]
            if seen.shape != plane.shape:
                return f"{name} comes back as {seen.shape}, it was {plane.shape}"
            error = float(np.abs(seen.astype(np.int16) - plane).mean())
            if error > _TOLERANCE:
                return f"{name} comes back changed, by {error:.0f} of 255 in the mean"
    return ""


def _picture(step: int, chroma: Chroma) -> Picture:
    """Return a smooth picture, each plane with its own direction, that moves with the steps."""
    y, x = np.indices((_HEIGHT, _WIDTH), np.float32)
    x += 8 * step
    waves = (np.sin(x / 40) * np.cos(y / 50), np.sin(x / 60), np.cos(y / 70))
    luma, u, v = ((128 + 80 * wave).astype(np.uint8) for wave in waves)
    planes: tuple[NDArray[np.uint8], ...] = (luma, u, v)
    if chroma == "420":
        planes = (luma, u[::2, ::2], v[::2, ::2])
    return Picture(planes, _WIDTH, _HEIGHT, 0.0)


def main(name: str) -> None:
    """Try a rung with each chroma and write what came of it."""
    import av

    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    for chroma in TRIED:
        # FFmpeg says the reason in its log, and little in its errors.
        with av.logging.Capture(local=False) as lines:
            try:
                encoder = open_rung(name, _WIDTH, _HEIGHT, _FPS, _BITRATE, chroma)
                reason = try_encoder(encoder)
                encoder.close()
            except (EncoderError, av.FFmpegError) as error:
                said = dict.fromkeys(text.strip() for _, _, text in lines)
                reason = "; ".join(said) or str(error)
        print(json.dumps({"chroma": chroma, "reason": reason}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
