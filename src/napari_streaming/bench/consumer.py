"""A viewer without a window, in a process of its own, for the benchmarks.

It prints the URL where it listens, takes in what comes until its stdin closes, and then
prints how many items came and how many did not.
"""

from __future__ import annotations

import subprocess
import sys
import time
from types import TracebackType

import psutil
from msgspec import structs

from napari_streaming.errors import StreamingError
from napari_streaming.receive.receiver import Receiver

__all__ = ["Consumer"]

_INLINE = "--inline"


class Consumer:
    """A receiver in another process, started and ended from this one.

    Parameters
    ----------
    url : str
        Where it listens.
    inline : bool
        Have planes come inside the messages instead of through shared memory.

    Attributes
    ----------
    url : str
        Where it is reached.

    Raises
    ------
    StreamingError
        It did not start.
    """

    def __init__(self, url: str, *, inline: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, url, *([_INLINE] if inline else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self._process.communicate()
            raise StreamingError("the consumer did not start: its own message says why")

    def rest(self) -> None:
        """Wait until it has nothing to do: memory is touched ahead of need at first."""
        process, spent = psutil.Process(self._process.pid), -1.0
        while spent != (spent := sum(process.cpu_times()[:2])):
            time.sleep(0.2)

    def freeze(self) -> None:
        """Stop it as a debugger does: it keeps its connection and its memory."""
        psutil.Process(self._process.pid).suspend()

    def kill(self) -> None:
        """End it at once, as when a window crashes."""
        self._process.kill()

    def finish(self) -> tuple[int, int]:
        """End it; return how many items it received and how many it was told it lost."""
        said, _ = self._process.communicate(timeout=10)
        received, dropped = said.split()
        return int(received), int(dropped)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()  # a frozen one, too
        self._process.communicate()


def _consume(url: str, *, inline: bool) -> None:
    with Receiver() as receiver:
        if inline:  # on another machine, that is: there, shared memory is not offered
            receiver._me = structs.replace(receiver._me, host="elsewhere")
        print(receiver.open(url), flush=True)
        sys.stdin.read()
        stats = [layer.stats() for layer in receiver.layers.values()]
        print(sum(layer.received for layer in stats), sum(layer.dropped for layer in stats))


if __name__ == "__main__":
    _consume(sys.argv[1], inline=_INLINE in sys.argv)
