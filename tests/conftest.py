from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from napari_streaming.publish.publisher import Publisher
from napari_streaming.receive.receiver import Receiver
from napari_streaming.settings import PublisherSettings, ReceiverSettings
from napari_streaming.transport.channel import Channel
from napari_streaming.transport.runtime import host_identity, new_token, runtime_folder
from napari_streaming.uri import parse_url
from napari_streaming.wire.flow import Receipts
from napari_streaming.wire.messages import Attached, Item, Peer, Segment, Subscribe

WAIT_S = 15
SUBSCRIBE = Subscribe()


@pytest.fixture(autouse=True)
def private_runtime(monkeypatch) -> Iterator[str]:
    """A runtime folder of the test's own, with a path short enough for sockets."""
    folder = tempfile.mkdtemp(prefix="ns-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    runtime_folder.cache_clear()
    yield folder
    runtime_folder.cache_clear()
    shutil.rmtree(folder)


def wait_until(condition: Callable[[], Any], timeout: float = WAIT_S) -> Any:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.002)
    return value


@pytest.fixture
def until():
    return wait_until


class Party:
    """One side of the protocol, scripted by a test; the handler of a channel of its own."""

    def __init__(
        self, url: str, role: str, *, ack=True, attach=True, subscribe=SUBSCRIBE, **about: Any
    ) -> None:
        self.ack, self.attach = ack and role == "view", attach
        self.subscribe = subscribe if role == "view" else None
        self.links, self.got, self.lost_because, self.refusals = [], [], [], []
        self.on_received: Callable[..., None] = lambda link, message: None
        self._receipts: dict[Any, Receipts] = {}
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        described = {"program": role, "software": "test", "pid": os.getpid(), "window": 2**30}
        described |= {"host": host_identity(), "run": new_token()} | about
        self.channel = Channel(parse_url(url), Peer(role=role, **described), self)
        self.channel.start()

    @property
    def url(self) -> str:
        """Where the other side connects to; it finds the token by itself."""
        return self.channel.url.address

    def messages(self, kind: type) -> list[Any]:
        return [message for message, _ in list(self.got) if isinstance(message, kind)]

    def do(self, job: Callable[[], Any]) -> Any:
        """Return the result of a call in the channel's thread."""
        future: Future[Any] = Future()
        self._jobs.put((future, job))
        self.channel.wake()
        return future.result(WAIT_S)

    def say(self, message: Any, *buffers: bytes) -> Any:
        """Send a message over the only link."""
        (link,) = wait_until(lambda: self.links)
        return self.do(lambda: link.send(message, buffers))

    def close(self) -> None:
        self.channel.close(WAIT_S)

    # ---- what the channel calls

    def opened(self, link: Any) -> None:
        self.links.append(link)
        self._receipts[link] = Receipts()
        if self.subscribe is not None:
            link.send(self.subscribe)

    def received(self, link: Any, message: Any, buffers: Any) -> None:
        self.got.append((message, [bytes(buffer) for buffer in buffers]))
        if isinstance(message, Item):
            self._receipts[link].item()
        else:
            self._receipts[link].message()
        if isinstance(message, Segment):
            link.send(Attached(message.segment, self.attach))
        self.on_received(link, message)

    def lost(self, link: Any, reason: str) -> None:
        self.links.remove(link)
        self.lost_because.append(reason)

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)

    def turn(self) -> None:
        while not self._jobs.empty():
            future, job = self._jobs.get()
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001  # it belongs to who asked
                future.set_exception(error)
        for link in list(self.links) if self.ack else []:
            ack = self._receipts[link].take()
            if ack is not None and link.send(ack) is None:
                self._receipts[link].take_back()


@pytest.fixture
def party() -> Iterator[Callable[..., Party]]:
    """Make parties, by URL and role."""
    made: list[Party] = []

    def make(url: str, role: str, **options: Any) -> Party:
        made.append(Party(url, role, **options))
        return made[-1]

    yield make
    for one in reversed(made):
        one.close()


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """Make receivers, which listen by default."""
    made: list[Receiver] = []

    def make(url: str = "memory://test?listen", **settings: Any) -> Receiver:
        made.append(Receiver(url, settings=ReceiverSettings(**({"warm": 0} | settings))))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def publisher() -> Iterator[Callable[..., Publisher]]:
    """Make publishers, with 16 MiB of memory and no history by default."""
    made: list[Publisher] = []

    def make(*urls: str, **settings: Any) -> Publisher:
        settings = {"memory": 16 * 2**20, "close_timeout": 0.3, "history": 0} | settings
        made.append(
            Publisher(*(urls or ("memory://test",)), settings=PublisherSettings(**settings))
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


_OBEY = """
import json, sys, traceback
names = {}
for line in sys.stdin:
    code, answer = json.loads(line), {"value": None}
    try:
        code = compile(code, "<test>", "eval")
    except SyntaxError:
        pass
    try:
        if isinstance(code, str):
            exec(code, names)
        else:
            answer["value"] = eval(code, names)
        text = json.dumps(answer)
    except Exception:
        text = json.dumps({"error": traceback.format_exc()})
    print(text, flush=True)
"""


class Remote:
    """A Python process of its own that runs what a test tells it, piece by piece."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments, "-c", _OBEY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def tell(self, code: str) -> None:
        """Have code run, without waiting for it; :meth:`answer` waits."""
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return the value of the oldest code told that was not asked for yet."""
        line = self._process.stdout.readline()
        assert line, "the process ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def __call__(self, code: str) -> Any:
        """Run code and return the value of an expression; it must be possible in JSON."""
        self.tell(code)
        return self.answer()

    def until(self, code: str) -> Any:
        return wait_until(lambda: self(code))

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> float:
        """Let it come to its end; return the seconds that took."""
        start = time.monotonic()
        self._process.stdin.close()
        assert self._process.wait(WAIT_S) == 0
        return time.monotonic() - start

    def clean_up(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except BrokenPipeError:  # something was told, and it died before it was read
            return


@pytest.fixture
def remote() -> Iterator[Callable[..., Remote]]:
    """Start Python processes."""
    made: list[Remote] = []

    def start(*arguments: str) -> Remote:
        made.append(Remote(*arguments))
        return made[-1]

    yield start
    for one in made:
        one.clean_up()


@pytest.fixture
def in_thread() -> Callable[..., Any]:
    """Call something in a thread that is given up if it hangs, and return the result."""

    def call(function: Callable[..., Any], *arguments: Any, timeout: float = WAIT_S) -> Any:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*arguments))
            except Exception as error:  # noqa: BLE001  # it belongs to who asked
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future.result(timeout)

    return call


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """Options of a URL that name a certificate of 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return f"cert={folder}/cert.pem", f"key={folder}/key.pem"
