"""A URL of a receiver at which OpenHCS senders show what they have.

A sender is answered when what it sent is in its place, or is told why it is not.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

from napari_streaming.errors import MalformedError, StreamingError
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog, Sizes
from napari_streaming.receive.checks import contradiction, mismatch
from napari_streaming.receive.foreign import take_in
from napari_streaming.receive.intake import UnusableError
from napari_streaming.receive.source import SourceStats
from napari_streaming.receive.streamed_layer import StreamedLayer
from napari_streaming.transport.foreign_memory import foreign_memory
from napari_streaming.transport.openhcs import OpenHcsSockets, Request
from napari_streaming.uri import StreamURL
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.dialects import openhcs_control as control
from napari_streaming.wire.dialects.openhcs import (
    Piece,
    Translator,
    batch_reply,
    image_ack,
    wanted_modes,
)
from napari_streaming.wire.dialects.openhcs_messages import Batch, Image, read_batch
from napari_streaming.wording import counted

__all__ = ["OpenHcsSource"]

_TURN = 0.25
_SIZES: dict[str, Sizes] = {"pad_to_max": "pad", "separate_layers": "split"}
_NOT_OURS_TO_END = (
    "this viewer was not started by OpenHCS: it stays until its user closes it or presses Stop"
)


class OpenHcsSource:
    """Takes in what OpenHCS senders show at one URL.

    Raises
    ------
    TransportError
        The address cannot be used.
    """

    def __init__(self, url: StreamURL, catalog: Catalog, arena: Arena) -> None:
        self._catalog, self._arena = catalog, arena
        self._translator = Translator()
        self._layers: dict[int, StreamedLayer] = {}  # by stream
        self._sockets = OpenHcsSockets(url)
        self._run_name = self.url.address
        self._state = "listening to OpenHCS"
        self._placed = self._refused = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"napari-streaming {self.url.address}", daemon=True
        )
        catalog.run_began(self._run_name)
        self._thread.start()

    @property
    def url(self) -> StreamURL:
        """Where, with the port as it really is."""
        return self._sockets.url

    def close(self, timeout: float = 1.0) -> None:
        """Stop listening."""
        self._closing.set()
        self._sockets.wake()
        if threading.current_thread() is not self._thread:  # the garbage collector's choice
            self._thread.join(timeout)

    def stats(self) -> SourceStats:
        """Return how it is doing."""
        placed = f"; {self._placed} images came" if self._placed else ""
        return SourceStats(self.url.redacted(), self._state + placed, (), self._refused)

    # ---- the thread -------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                for request in self._sockets.poll(_TURN):
                    self._sockets.answer(request, self._reply(request))
        finally:
            if not self._closing.is_set():
                self._state = f"internal error: {sys.exc_info()[1]!r}"
            self._catalog.run_ended(self._run_name)
            self._catalog.notify()
            self._sockets.close()

    def _reply(self, request: Request) -> bytes:
        is_data = request.channel == "data"
        try:
            if len(request.frames) != 1:
                raise MalformedError(f"a message of {len(request.frames)} frames, not of one")
            (frame,) = request.frames
            return self._take_batch(frame) if is_data else self._follow(frame)
        except MalformedError as error:
            self._refuse(f"{request.channel} message refused: {error}")
            return batch_reply([str(error)]) if is_data else control.refusal(str(error))

    def _refuse(self, problem: str) -> None:
        self._refused += 1
        self._catalog.say("error", f"OpenHCS: {problem}")

    # ---- control ----------------------------------------------------------------------

    def _follow(self, frame: Buffer) -> bytes:
        kind = control.read_request(frame)
        if kind == "ping":
            return control.pong(self.url.port)
        if kind == "settle":
            return control.settled(self._placed)
        if kind == "state":
            return control.done(kind, "see the payload", self._describe())
        if kind == "clear_state":
            for layer in self._layers.values():
                layer.clear()
                self._catalog.touch(layer, all_layers=False)
            return control.done(kind, f"{counted(len(self._layers), 'layer')} emptied")
        if kind in ("shutdown", "force_shutdown"):
            return control.refusal(_NOT_OURS_TO_END, f"{kind}_refused")
        return control.refusal(f"{kind[:100]!r} is not known here", f"{kind[:100]}_ack")

    def _describe(self) -> dict[str, object]:
        """Return what there is, for a program that asks."""
        layers = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "axes": list(layer.axes),
                "received": layer.received,
            }
            for layer in self._layers.values()
        ]
        return {"layers": layers, "placed": self._placed, "refused": self._refused}

    # ---- data -------------------------------------------------------------------------

    def _take_batch(self, frame: Buffer) -> bytes:
        received = time.time()
        batch = read_batch(frame, pickles=self.url.pickle)
        self._propose(batch)
        problems, acks = list[str](), list[bytes]()
        for number in range(len(batch.images)):
            path, image_id = batch.said(number, "path"), batch.said(number, "image_id")
            name, problem = f"image {number}" + (f" ({path[-200:]})" if path else ""), ""
            try:
                self._take_image(batch.image(number), batch, received)
            except (StreamingError, UnusableError) as error:
                problem = str(error)[:1000]
                problems.append(f"{name}: {problem}")
                self._refuse(f"{name} refused: {problem}")
            else:
                self._placed += 1
            if image_id:
                acks.append(image_ack(image_id, self.url.port, time.time(), problem))
        self._sockets.acknowledge(acks)
        return batch_reply(problems)

    def _propose(self, batch: Batch) -> None:
        """Have it shown as the sender would like, where nobody has chosen anything yet."""
        for dimension, mode in wanted_modes(batch).items():
            self._catalog.propose_mode(dimension, mode)
        sizes = _SIZES.get(batch.display_config.variable_size_handling or "")
        if sizes is not None:
            self._catalog.propose_sizes(sizes)

    def _take_image(self, image: Image, batch: Batch, received: float) -> None:
        for piece in self._translator.pieces(image, batch, received):
            item, buffers = piece.checked(self._buffers(piece))
            layer = self._layer(piece)
            take_in(
                self._catalog, self._arena, layer, piece.declare, item, buffers, item.time, received
            )

    def _buffers(self, piece: Piece) -> Sequence[Buffer]:
        if piece.shared is None:
            return piece.buffers
        layout = piece.shared.layout
        return [layout.buffer(foreign_memory(piece.shared.name, layout.nbytes))]

    def _layer(self, piece: Piece) -> StreamedLayer:
        """Return where a piece belongs; nothing is made for one that cannot be placed."""
        stream = piece.declare.stream
        if stream not in self._layers:
            if problem := contradiction(piece.declare) or mismatch(piece.item, piece.declare):
                raise UnusableError(problem)
            self._layers[stream] = self._catalog.declare(piece.declare, self._run_name)
        return self._layers[stream]
