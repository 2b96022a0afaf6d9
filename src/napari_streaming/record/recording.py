"""A recording as a viewer of its own: of a publisher in this process, or of any URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_streaming.errors import StorageError, StreamingError
from napari_streaming.receive.receiver import Receiver
from napari_streaming.record.tape import Tape, TapeStats
from napari_streaming.settings import ReceiverSettings
from napari_streaming.transport.runtime import new_token

__all__ = ["Recording", "start_tape"]

_WARM = 64 * 2**20


class Recording:
    """Records what publishers send. It is a viewer like others: publishers never wait for it.

    Where the disk is slower than a publisher, a ``"reliable"`` stream waits on the publisher's
    side, and of a ``"latest"`` one items are given up; gaps stand in the recording.

    Parameters
    ----------
    path : str or Path
        ``"run.ome.zarr"``: a folder of this name is made, and a file ``run.nstream`` beside it,
        which is what napari opens.
    *urls : str
        As for :class:`Receiver`; none: give it to a :class:`Publisher`.

    Raises
    ------
    DataError
        There is something of this name, or no folder for it.
    StorageError
        It cannot be written.
    URLError, TransportError
        As for :class:`Receiver`.

    Attributes
    ----------
    receiver : Receiver
        What takes things in; it keeps none of them.

    Examples
    --------
    >>> with Publisher("tcp://127.0.0.1:5555", Recording("run.ome.zarr")) as pub:
    ...     pub.image("nuclei", plane, at={"well": "A01", "t": 3})
    """

    def __init__(self, path: str | Path, *urls: str) -> None:
        self._tell: Callable[[str], None] = lambda _: None
        self.receiver = Receiver(settings=ReceiverSettings(warm=_WARM), keep=False)
        self._tape = start_tape(Path(path), waits=True, tell=self._say)
        self.receiver.layers.taps.add(self._tape)
        try:
            for url in urls:
                self.receiver.open(url)
        except StreamingError:
            self.close()
            raise

    def _say(self, text: str) -> None:
        self.receiver.layers.say("error", text)
        self._tell(text)

    @property
    def path(self) -> Path:
        """Of the folder with the data."""
        return self._tape.path

    @property
    def index(self) -> Path:
        """Of the file that is opened."""
        return self._tape.index

    def stats(self) -> TapeStats:
        """Return how it is doing."""
        return self._tape.stats()

    def begin(self, tell: Callable[[str], None]) -> str:
        """Wait for a publisher of this process; return the URL that it connects to.

        Parameters
        ----------
        tell : callable
            Told once, in any thread, if nothing can be written any more.
        """
        self._tell = tell
        url = f"memory://record-{new_token()}"
        self.receiver.open(f"{url}?listen")
        return url

    def close(self) -> None:
        """Stop, and write what has come."""
        self.receiver.close()
        self.receiver.layers.taps.remove(self._tape)
        self._tape.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def start_tape(path: Path, *, waits: bool, tell: Callable[[str], None]) -> Tape:
    """Return a tape; parameters and errors as for :class:`Tape`, an OSError as a StorageError.

    Raises
    ------
    DataError, StorageError
        It cannot be written there.
    """
    try:
        return Tape(path, waits=waits, tell=tell)
    except OSError as error:
        raise StorageError(f"{path}: no recording can be written there: {error}") from error
