"""A viewer that shows the scene of a remote server: connection, pictures and layers together."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_streaming.errors import ClosedError, DataError, IntentError
from napari_streaming.napari_plugin.remote_layers import RemoteLayers
from napari_streaming.remote.client.client import SessionClient
from napari_streaming.remote.client.convert import Converter
from napari_streaming.remote.client.decoder import Decoder
from napari_streaming.remote.client.mirror import Mirror
from napari_streaming.transport.runtime import program_name
from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire
from napari_streaming.wire.attributes import Value
from napari_streaming.wire.flow import Rate
from napari_streaming.wire.frames import FrameHeader
from napari_streaming.wire.inputs import Input

__all__ = ["RemoteSession", "RemoteStats"]

_LATENCIES = 240
_STILL_WITHIN = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class RemoteStats:
    """How a session is doing.

    Parameters
    ----------
    fps : float
        Pictures shown per second.
    bitrate : float
        Bits that came per second.
    latency : (float, float)
        From drawing there to the screen here, in seconds: half of the pictures, 95 % of them;
        NaN before the first.
    round_trip : float
        The shortest round trip, in seconds; infinite before the first.
    width, height : int
        Of the last picture, in pixels.
    codec : str
        Of the last picture, and how its colours are sampled.
    server : Stats or None
        What the server says of itself.
    """

    fps: float
    bitrate: float
    latency: tuple[float, float]
    round_trip: float
    width: int
    height: int
    codec: str
    server: wire.Stats | None


class RemoteSession:
    """Shows a remote scene in a viewer until it is closed. Only in the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Its own layers are hidden meanwhile.
    url : str
        Of the session, with its token.
    size : (int, int, float)
        Of the canvas: width and height in device pixels, and how many make a logical one.
    wake : callable
        Called from any thread when `tick` has something to do; must not wait.

    Attributes
    ----------
    state : str
        "connecting", "connected", "lost: …" or "refused: …".
    picture : Signal(ndarray, int)
        Pixels to show, BGRA, and the number of their frame, which `presented` wants to hear.
    state_changed : Signal(str)
    controller_changed : Signal(Controller)
    tooltip : Signal(str)

    Raises
    ------
    URLError, TransportError
        The URL cannot be used.
    """

    picture = Signal(np.ndarray, int)
    state_changed = Signal(str)
    controller_changed = Signal(wire.Controller)
    tooltip = Signal(str)

    def __init__(
        self, viewer: Any, url: str, size: tuple[int, int, float], wake: Callable[[], None]
    ) -> None:
        self._viewer, self._wake = viewer, wake
        self._came: deque[wire.Snapshot | wire.FromServer | str] = deque()
        self._converter, self._converted = Converter(), deque[_Shown](maxlen=1)
        self._shown: _Shown | None = None  # and not presented yet
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._frames, self._bits = Rate(), Rate()
        self._header: FrameHeader | None = None
        self._server_stats: wire.Stats | None = None
        self._layers: RemoteLayers | None = None
        self._last_put = -1
        self.state = "connecting"
        self._decoder = Decoder(self._on_decoded, self._on_need_keyframe)
        width, height, ratio = size
        self._client = SessionClient(
            parse_session_url(url),
            on_snapshot=self._on_message,
            on_message=self._on_message,
            on_frame=self._on_frame,
            on_state=self._on_state,
            hello=wire.Hello(
                token="",
                name=program_name(),
                software=f"napari-streaming/{version('napari-streaming')}",
                width=width,
                height=height,
                ratio=ratio,
            ),
        )
        self._mirror = Mirror(self._client.send_intent)
        self._client.start()

    def close(self) -> None:
        """Leave the session, and give the viewer back as it was."""
        self._client.close()
        self._decoder.close()
        if self._layers is not None:
            self._layers.close()
            self._layers = None

    # ---- what the user does ----------------------------------------------------------

    def send_input(self, make: Callable[[int], Input]) -> None:
        """Pass on what the user did."""
        self._client.send_input(make)

    def resize(self, width: int, height: int, ratio: float) -> None:
        """Have pictures of another size."""
        self._client.resize(width, height, ratio)

    def want(self, quality: wire.Quality) -> None:
        """Have pictures of another quality."""
        self._client.want(quality)

    def take_control(self) -> None:
        """Ask to steer."""
        self._client.take_control()

    def give_control(self, client: int) -> None:
        """Let another client steer; 0 declines whoever asks."""
        self._client.give_control(client)

    def command(self, name: wire.CommandName, **arguments: Value) -> Future[wire.Reply]:
        """Have the server do something; the Future of its reply."""
        return self._client.command(name, **arguments)

    def still(self) -> bytes:
        """Wait for the server's picture without loss, with all that was wished for until now.

        Returns
        -------
        bytes
            A PNG file.

        Raises
        ------
        ClosedError
            The session is not connected, or the server does not answer.
        IntentError
            It says why it sends none.
        """
        if self._layers is not None:
            self._layers.flush()
        try:
            reply = self.command("screenshot").result(_STILL_WITHIN)
        except (TimeoutError, CancelledError):
            raise ClosedError("the server does not answer") from None
        if reply.error:
            raise IntentError(reply.error)
        return reply.data

    @property
    def number(self) -> int:
        """What the server calls this client."""
        return self._client.number

    @property
    def mirror(self) -> Mirror:
        """The scene as the server has it."""
        return self._mirror

    def presented(self, sequence: int) -> None:
        """Note that a picture is on the screen: the server may send another."""
        self._client.shown(sequence)
        shown, self._shown = self._shown, None
        now = time.monotonic()
        if shown is not None and shown.header.sequence == sequence:
            if shown.header.codec != "zstd":  # which waits for the scene to rest
                self._latencies.append(now + self._client.clock_offset - shown.header.rendered)
            if self._layers is not None:
                self._layers.frame_shown(shown.header.intent)
        self._frames.add(1, now)

    def stats(self) -> RemoteStats:
        """Return how it is doing."""
        now, header = time.monotonic(), self._header
        return RemoteStats(
            fps=self._frames.per_second(now),
            bitrate=self._bits.per_second(now),
            latency=_quantiles(self._latencies),
            round_trip=self._client.round_trip,
            width=header.width if header else 0,
            height=header.height if header else 0,
            codec=f"{header.codec} {header.chroma}" if header else "",
            server=self._server_stats,
        )

    # ---- what comes ------------------------------------------------------------------

    def tick(self) -> None:
        """Take in what came."""
        while self._came:
            message = self._came.popleft()
            if isinstance(message, str):
                self._change_state(message)
            else:
                self._take(message)
        if self._converted:
            shown = self._shown = self._converted.pop()
            self._header = shown.header
            self.picture.emit(shown.pixels, shown.header.sequence)

    def _change_state(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)

    def _take(self, message: wire.Snapshot | wire.FromServer) -> None:
        match message:
            case wire.StatusText():
                self._viewer.status = message.text
            case wire.Tooltip():
                self.tooltip.emit(message.text)
            case wire.Stats():
                self._server_stats = message
            case wire.Controller():
                self.controller_changed.emit(message)
            case wire.Notice():
                self.notify(message.level, message.text)
            case _:
                self._mirror_in(message)

    def _mirror_in(self, message: Any) -> None:
        try:
            self._mirror.apply(message)
        except DataError as error:  # of one message, hostile or from a newer server
            self.notify("warning", f"the server says what makes no sense here: {error}")
        if self._layers is None and isinstance(message, wire.Snapshot):
            self._layers = RemoteLayers(self._viewer, self._mirror, self._client.command)

    def notify(self, level: str, text: str) -> None:
        """Tell the user something, as napari does."""
        from napari.utils import notifications

        show = {"error": notifications.show_error, "warning": notifications.show_warning}
        show.get(level, notifications.show_info)(text)

    # ---- in other threads ------------------------------------------------------------

    def _on_message(self, message: wire.Snapshot | wire.FromServer | str) -> None:
        self._came.append(message)
        self._wake()

    def _on_state(self, state: str) -> None:
        self._decoder.reset()  # here: frames of the new connection may come before the next tick
        self._on_message(state)

    def _on_frame(self, header: FrameHeader, payload: memoryview) -> None:
        self._last_put = header.sequence
        self._bits.add(8 * len(payload), time.monotonic())
        self._decoder.put(header, payload)

    def _on_need_keyframe(self) -> None:
        # What cannot be decoded will never be shown: it must not keep the server waiting.
        self._client.shown(self._last_put)
        self._client.need_keyframe()

    def _on_decoded(self) -> None:
        frame = self._decoder.take()
        if frame is not None:
            self._converted.append(_Shown(self._converter.bgra(frame), frame.header))
            self._wake()


def _quantiles(seconds: Collection[float]) -> tuple[float, float]:
    if not seconds:
        return math.nan, math.nan
    half, most = np.quantile(list(seconds), (0.5, 0.95))
    return float(half), float(most)


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A picture on its way to the screen."""

    pixels: NDArray[np.uint8]
    header: FrameHeader
