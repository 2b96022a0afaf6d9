"""A Chromium without a window, driven over its DevTools protocol: for tests and benchmarks."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

from napari_streaming.errors import StreamingError

__all__ = ["Chromium", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE = 30.0
_FLAGS = (
    "--headless=new",
    "--no-first-run",
    "--use-gl=angle",
    "--use-angle=swiftshader",  # graphics computed by the processor
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--remote-debugging-port=0",
)


def find_chromium() -> str:
    """Return the path of a Chromium or Chrome; empty if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), "")


class Chromium:
    """One page in a browser of its own, which ends with the object.

    Parameters
    ----------
    url : str
        What it opens.
    width, height : int
        Of the page, in pixels.

    Attributes
    ----------
    complaints : list of str
        Errors of scripts, and what the browser refused to load or to run.

    Raises
    ------
    StreamingError
        There is no Chromium, or it did not start.
    """

    def __init__(self, url: str, *, width: int = 1200, height: int = 800) -> None:
        self.complaints: list[str] = []
        self._number = 0
        self._folder = tempfile.TemporaryDirectory(
            prefix="ns-chromium-", ignore_cleanup_errors=True
        )
        self._process = _start(self._folder.name)
        self._socket: ClientConnection | None = None
        self._undo = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.close)
            port, path = self._wait_for_port()
            address = f"ws://127.0.0.1:{port}{path}"
            self._socket = self._undo.enter_context(connect(address, max_size=None, proxy=None))
            self._session = ""
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
            self.resize(width, height)
            self.go(url)
            undo.pop_all()

    def _wait_for_port(self) -> tuple[str, str]:
        file = Path(self._folder.name) / "DevToolsActivePort"
        deadline = time.monotonic() + _PATIENCE
        while not (file.exists() and len(said := file.read_text().split()) == 2):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StreamingError("Chromium did not start")
            time.sleep(0.02)
        return said[0], said[1]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result.

        Raises
        ------
        StreamingError
            The browser refuses.
        """
        assert self._socket is not None
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=_PATIENCE))
            if answer.get("id") == self._number:
                break
            self._note(answer)
        if "error" in answer:
            raise StreamingError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded":
            entry = event["params"]["entry"]
            if entry["level"] == "error":
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    def go(self, url: str) -> None:
        """Open another page, even if only the fragment differs."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page another size, in pixels; a phone's has a finger instead of a mouse."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is waited for.

        Raises
        ------
        StreamingError
            It threw an error.
        """
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            said = details.get("exception", {}).get("description", details["text"])
            raise StreamingError(f"{script}: {said}")
        return result["result"].get("value")

    def until(self, script: str, accept: Callable[[Any], object] = bool) -> Any:
        """Return the first value of an expression that is accepted; errors count as None.

        Raises
        ------
        StreamingError
            It takes too long.
        """
        deadline = time.monotonic() + _PATIENCE
        value = None
        while True:
            try:
                value = self.run(script)
            except StreamingError as error:  # the page is not that far
                value, why = None, str(error)
            else:
                why = repr(value)
            if accept(value):
                return value
            if time.monotonic() > deadline:
                raise StreamingError(f"{script} stays {why}; {self.complaints}")
            time.sleep(0.02)

    def press(self, key: str, code: str = "", text: str = "") -> None:
        """Press and let go of a key, named as in ``KeyboardEvent.key``."""
        about = {"key": key, "code": code or key, "windowsVirtualKeyCode": _KEYS.get(key, 0)}
        if text:
            about["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the page."""
        about = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **about)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **about)

    def picture(self) -> bytes:
        """Return what the page looks like, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        self._undo.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_KEYS = {
    "Tab": 9,
    " ": 32,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


def _start(folder: str) -> subprocess.Popen[bytes]:
    program = find_chromium()
    if not program:
        raise StreamingError("there is no Chromium: apt-get install chromium, or Chrome")
    # Its sandbox needs rights that root and containers do not have.
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return subprocess.Popen(
        [program, *_FLAGS, *as_root, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
