"""A viewer in a process of its own: found if it is there, started if not, stopped if ours."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType

from napari_streaming.errors import (
    AddressInUseError,
    StreamingError,
    URLError,
    VersionError,
    ViewerError,
)
from napari_streaming.publish.cold_start import cold_start_bar
from napari_streaming.publish.viewer_launch import (
    find_viewer,
    last_words,
    launch,
    log_of,
    report_its_end,
    software,
)
from napari_streaming.transport.runtime import find_listing
from napari_streaming.transport.starting import stage_of
from napari_streaming.uri import DEFAULT_URL, StreamURL, parse_url

__all__ = ["Viewer", "start_viewer"]

logger = logging.getLogger(__name__)

_POLL = 0.05


class Viewer:
    """A napari window that listens at a URL, in a process of its own.

    Whoever starts it finds it again, and so does each later run: there is one for each
    address. Nobody stops a viewer but the object that started it.

    Parameters
    ----------
    url : str
        Where it listens on this machine, and publishers connect to.
    persistent : bool
        Whether a viewer that this object starts outlives the program. False: it is stopped
        when the ``with`` block or the interpreter ends. One that was there before always
        stays.

    Raises
    ------
    URLError
        No viewer can be started for this URL.
    ViewerError
        `persistent` is neither True nor False.

    Examples
    --------
    >>> viewer = Viewer("tcp://127.0.0.1:5555").start()
    >>> with Publisher(viewer.url) as pub:
    ...     pub.image("nuclei", plane, at={"well": "A01", "t": 3})
    """

    def __init__(
        self, url: str = parse_url(DEFAULT_URL).address, *, persistent: bool = True
    ) -> None:
        self._url = _for_viewer(parse_url(url))
        if not isinstance(persistent, bool):
            raise ViewerError(f"persistent={persistent!r}: use True or False")
        self._persistent = persistent
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._started_in: float | None = None

    def __repr__(self) -> str:
        return f"Viewer({self.url!r}, persistent={self._persistent})"

    @property
    def url(self) -> str:
        """Where publishers connect to. Programs of this user need no token."""
        return self._url.address

    @property
    def log(self) -> Path:
        """Where a viewer that was started from a program writes what it has to say."""
        return log_of(self._url)

    @property
    def is_running(self) -> bool:
        """Whether a viewer listens there, whoever started it."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """The process of the viewer that listens there; None if none does."""
        listing = find_listing(self._url)
        return listing.pid if listing is not None and listing.role == "view" else None

    @property
    def is_ours(self) -> bool:
        """Whether this object started the viewer, and so may stop it."""
        process = self._process
        return process is not None and os.getpid() == self._owner and process.poll() is None

    @property
    def started_in(self) -> float | None:
        """Seconds that :meth:`start` waited for the viewer; None before."""
        return self._started_in

    def start(self, timeout: float = 60.0) -> Viewer:
        """Start the viewer unless it is there, and wait until it listens.

        On a terminal a progress bar shows how far it is. Ctrl+C in that terminal does not
        reach the viewer.

        Parameters
        ----------
        timeout : float
            Seconds to wait at the most.

        Returns
        -------
        Viewer
            This one; ``is_ours`` says whether a viewer was started or found.

        Raises
        ------
        AddressInUseError
            Another program listens there, or a publisher.
        VersionError
            The viewer there speaks another protocol.
        ViewerError
            There is no screen, or the viewer failed while it started, or took too long: it
            goes on then unless ``persistent=False``, and the next call waits on.
        """
        begin, before = time.monotonic(), self._process
        try:
            with cold_start_bar(self._url) as show:
                while (found := find_viewer(self._url)) is None:
                    self._keep_starting(before, time.monotonic() - begin, timeout)
                    show()
                    time.sleep(_POLL)
        except StreamingError:
            if not self._persistent:
                self.stop()
            raise
        finally:
            if self._process is not None and self._process is not before:
                report_its_end(self._process, self._url)
        self._started_in = time.monotonic() - begin
        how = "started" if self.is_ours else "found"
        logger.info("%s: viewer %s in %.1f s", self.url, how, self._started_in)
        if found.software != software():
            logger.warning("the viewer there is %s, this is %s", found.software, software())
        return self

    def _keep_starting(
        self, before: subprocess.Popen[bytes] | None, waited: float, timeout: float
    ) -> None:
        """Start the viewer, unless somebody does; complain if it ends or takes too long.

        That the one `before` ended is no failure of this start.
        """
        process = self._process
        if process is not None and process.poll() is not None:
            self._process = None
            if process is not before:
                raise ViewerError(f"{self.url}: {last_words(process, self.log)}")
        stage = stage_of(self._url)
        if waited > timeout:
            raise ViewerError(
                f"{self.url}: the viewer does not listen after {timeout:g} s "
                f"({stage or 'nobody starts it'}). Wait longer with start(timeout=...); what it "
                f"says is in {self.log}"
            )
        if stage is None and self._process is None:
            self._process, self._owner = launch(self._url), os.getpid()
            if self._process is not None and not self._persistent:
                atexit.register(self.stop)

    def stop(self, timeout: float = 10.0) -> bool:
        """Stop the viewer if this object started it: ask first, then kill.

        Parameters
        ----------
        timeout : float
            Seconds that napari may take to close.

        Returns
        -------
        bool
            Whether it was stopped. False: there is none, or it was started by somebody else,
            and is left alone.
        """
        atexit.unregister(self.stop)
        process = self._process
        if process is None or not self.is_ours:
            return False
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None
        return True

    def __enter__(self) -> Viewer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._persistent:
            self.stop()


def start_viewer(url: StreamURL) -> bool:
    """Start a viewer that listens at a URL, unless one does already; wait for nothing.

    The viewer outlives this process. Why there is none, if so, goes to the log as a warning.

    Parameters
    ----------
    url : StreamURL
        On this machine, to be connected to.

    Returns
    -------
    bool
        Whether a viewer was started.

    Raises
    ------
    URLError
        No viewer can be started for this URL.
    """
    _for_viewer(url)
    try:
        process = launch(url) if find_viewer(url) is None else None
    except (AddressInUseError, VersionError, ViewerError) as error:
        logger.warning("%s; the program goes on without a viewer", error)
        return False
    if process is not None:
        report_its_end(process, url)
    return process is not None


def _for_viewer(url: StreamURL) -> StreamURL:
    """Return a URL, if a viewer can be started there."""
    if url.listen or not url.is_local or url.scheme == "memory":
        raise URLError(
            f"{url.redacted()}: a viewer is started on this machine, to be connected to; "
            "use a URL like tcp://127.0.0.1:5555, or start the viewer yourself"
        )
    if url.token:  # others would see it in the list of processes
        raise URLError(
            f"{url.redacted()}: leave out the token, what follows the #: a viewer that is started "
            "from a program makes its own, which your other programs find by themselves"
        )
    return url
