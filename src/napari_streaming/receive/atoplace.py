"""A URL of a receiver at which an atoplace server streams a placement."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import deque
from contextlib import ExitStack

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from napari_streaming.errors import MalformedError
from napari_streaming.receive.arena import Arena
from napari_streaming.receive.catalog import Catalog
from napari_streaming.receive.foreign import take_in
from napari_streaming.receive.intake import UnusableError
from napari_streaming.receive.source import SourceStats
from napari_streaming.uri import StreamURL
from napari_streaming.wire.dialects.atoplace import MAX_MESSAGE, Set, Told, Translator, command
from napari_streaming.wire.messages import (
    Control,
    Metric,
    Progress,
    Running,
    SetParameter,
    Status,
)

__all__ = ["AtoplaceSource"]

_TURN = 0.1
_PING_S = 5.0
_FIRST_RETRY, _LAST_RETRY = 0.1, 2.0
_PATIENCE = 5.0


class AtoplaceSource:
    """Connects to an atoplace server, and again whenever it is gone."""

    def __init__(self, url: StreamURL, catalog: Catalog, arena: Arena) -> None:
        self._url, self._catalog, self._arena = url, catalog, arena
        self._translator = Translator()
        self._wishes: deque[Control | SetParameter] = deque()
        self._state = "waiting for atoplace"
        self._is_connected = False
        self._refused = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"napari-streaming {url.address}", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> StreamURL:
        """Where."""
        return self._url

    def close(self, timeout: float = 1.0) -> None:
        """Disconnect."""
        self._closing.set()
        if threading.current_thread() is not self._thread:  # the garbage collector's choice
            self._thread.join(timeout)

    def ask(self, run: str, wish: Control | SetParameter) -> None:
        """Ask something of the program; from any thread."""
        if run == self._run_name:
            self._wishes.append(wish)

    def stats(self) -> SourceStats:
        """Return how it is doing."""
        programs = ("atoplace",) if self._is_connected else ()
        return SourceStats(self._url.redacted(), self._state, programs, self._refused)

    @property
    def _run_name(self) -> str:
        return self._url.address

    # ---- the thread -------------------------------------------------------------------

    def _run(self) -> None:
        pause = _FIRST_RETRY
        try:
            while not self._closing.is_set():
                try:
                    with self._connect() as there:
                        self._follow(there)
                    pause = _FIRST_RETRY
                except (OSError, WebSocketException) as error:
                    self._state = f"waiting for atoplace: {error}"
                    self._catalog.notify()
                self._closing.wait(pause)
                pause = min(2 * pause, _LAST_RETRY)
        finally:
            if not self._closing.is_set():
                self._state = f"internal error: {sys.exc_info()[1]!r}"
                self._catalog.notify()

    def _connect(self) -> ClientConnection:
        # A socket of our own, so that no proxy is asked.
        line = socket.create_connection((self._url.host, self._url.port), _PATIENCE)
        with ExitStack() as undo:
            undo.callback(line.close)
            address = self._url.address.removeprefix("atoplace+")
            there = connect(
                address, sock=line, max_size=MAX_MESSAGE, compression=None, open_timeout=_PATIENCE
            )
            undo.pop_all()
        return there

    def _follow(self, there: ClientConnection) -> None:
        """Take in what the server says until it is gone."""
        run, catalog = self._run_name, self._catalog
        catalog.run_began(run)
        catalog.program_came(run, "atoplace")
        self._is_connected, self._state = True, "connected to atoplace"
        catalog.notify()
        reason = "disconnected"
        ping_at = time.monotonic() + _PING_S
        try:
            while not self._closing.is_set():
                while self._wishes:
                    self._pass_on(self._wishes.popleft(), there)
                if time.monotonic() >= ping_at:
                    ping_at = time.monotonic() + _PING_S
                    there.send(json.dumps({"type": "ping"}))
                try:
                    self._take(there.recv(_TURN))
                except TimeoutError:
                    continue
        except ConnectionClosed as error:
            reason = str(error)
        finally:
            self._is_connected, self._state = False, f"waiting for atoplace: {reason}"
            catalog.program_left(run)
            catalog.run_ended(run)

    def _pass_on(self, wish: Control | SetParameter, there: ClientConnection) -> None:
        text = command(wish.action) if isinstance(wish, Control) else None
        if text is None:
            self._catalog.say("warning", "atoplace can only be paused, resumed and stopped")
        else:
            there.send(text)

    def _take(self, text: str | bytes) -> None:
        received = time.time()
        try:
            for one in self._translator.read(text, received):
                self._place(one, received)
        except (MalformedError, UnusableError) as error:
            self._refused += 1
            self._catalog.say("error", f"atoplace: {str(error)[:1000]}")

    def _place(self, told: Told, received: float) -> None:
        catalog, run = self._catalog, self._run_name
        if isinstance(told, Metric):
            catalog.add_metric(told, run)
        elif isinstance(told, Status):
            catalog.add_status(told, 0.0)
        elif isinstance(told, Running | Progress):
            catalog.program_told(run, told)
        else:
            self._place_set(told, received)

    def _place_set(self, told: Set, received: float) -> None:
        item, published = told.item, min(told.item.time, received)
        layer = self._catalog.declare(told.declare, self._run_name)
        take_in(
            self._catalog, self._arena, layer, told.declare, item, told.buffers, published, received
        )
