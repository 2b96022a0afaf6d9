"""What was drawn, as planes that an encoder takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Picture"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One drawn picture, in the limited range of BT.709.

    Parameters
    ----------
    planes : tuple of ndarray of uint8
        Y, U and V: (height, width) each, U and V half of it both ways for 4:2:0.
    width, height : int
        Pixels, both even.
    rendered : float
        When it was drawn, in seconds of ``time.monotonic``.
    """

    planes: tuple[NDArray[np.uint8], ...]
    width: int
    height: int
    rendered: float
