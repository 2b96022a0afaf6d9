"""A way to the viewer that never drops: it waits where a publisher would keep or give up.

What is to be streamed lies in files anyway, so nothing is read before a viewer takes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event

import numpy as np

from napari_streaming.errors import DataError
from napari_streaming.publish.files import ImageFile
from napari_streaming.publish.publisher import Publisher
from napari_streaming.wire.messages import StatusLevel

__all__ = ["Outlet", "Stopped"]

_UNDER_WAY = 64 * 1024 * 1024
_POLL = 0.02
_SAY_AFTER = 1.0
_FEW = 16  # layers, more than anybody wants to toggle by hand


class Stopped(Exception):  # no error: somebody wants it to end
    """It is to end, and something was still waiting for a viewer."""


class Outlet:
    """Streams planes of files, as fast as viewers take them.

    Parameters
    ----------
    publisher : Publisher
    stop : Event
        Ends waiting.
    tell : callable
        Called with a line for the user.
    many : str
        What to tell once there are many layers, if anything.
    """

    def __init__(
        self, publisher: Publisher, stop: Event, tell: Callable[[str], None], many: str = ""
    ) -> None:
        self._publisher, self._stop, self._tell, self._many = publisher, stop, tell, many
        self._is_waiting = False
        self._looks: dict[str, list[tuple[tuple[int, ...], str, bool]]] = {}

    def plane(
        self,
        layer: str,
        plane: np.ndarray,
        at: Mapping[str, int | str],
        image: ImageFile,
        *,
        as_labels: bool,
    ) -> None:
        """Stream one plane of an image file, as soon as there is room for it.

        Raises
        ------
        DataError
            It cannot be streamed.
        Stopped
            Nobody took it before the end.
        """
        self._wait(plane.nbytes)
        self._note_look(layer, plane, as_labels=as_labels)
        pub = self._publisher
        if not as_labels:
            pub.image(
                layer, plane, at=at, rgb=image.rgb, scale=image.scale, units=image.units,
                qos="reliable",
            )  # fmt: skip
        elif image.rgb:
            raise DataError(f"{layer!r} is a colour image, and cannot be shown as labels")
        else:
            pub.labels(
                layer, plane, at=at, scale=image.scale, units=image.units, qos="reliable"
            )  # fmt: skip

    def _note_look(self, layer: str, plane: np.ndarray, *, as_labels: bool) -> None:
        """Say once of each kind of plane why viewers show it apart from others of its layer."""
        look = (plane.shape, plane.dtype.name, as_labels)
        looks = self._looks.setdefault(layer, [])
        if look in looks:
            return
        looks.append(look)
        if len(self._looks) > _FEW and self._many:
            self._tell(self._many)
            self._many = ""
        if len(looks) > 1:
            self._tell(
                f"{layer} is {_described(look)} now, and was {_described(looks[0])}: viewers show "
                f'that as another layer, "{layer} [{len(looks)}]", beside the first one'
            )

    def _wait(self, nbytes: int) -> None:
        """Wait until there are viewers, and they have room for some bytes."""
        since = time.monotonic()
        while True:
            sinks = self._publisher.stats().sinks
            queued = max(sink.queued_bytes for sink in sinks)
            if all(sink.viewers for sink in sinks):
                if self._is_waiting:
                    self._is_waiting = False
                    self._tell("a viewer is there")
                if not queued or queued + nbytes <= _UNDER_WAY:
                    return
            elif not self._is_waiting and time.monotonic() - since > _SAY_AFTER:
                self._is_waiting = True
                absent = next(sink for sink in sinks if not sink.viewers)
                self._tell(
                    f"{absent.url}: no viewer is there to take what was found ({absent.state}); "
                    "waiting. Start one with: napari-streaming view"
                )
            if self._stop.wait(_POLL):
                raise Stopped

    def say(self, level: StatusLevel, text: str) -> None:
        """Tell the user, here and at the viewer."""
        self._tell(text)
        self._publisher.status(level, text)


def _described(look: tuple[tuple[int, ...], str, bool]) -> str:
    shape, dtype, as_labels = look
    return f"{' x '.join(map(str, shape))} {dtype}{' labels' * as_labels}"
