"""What wakes a thread that waits in a poller, from any other thread, for a few microseconds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import threading

__all__ = ["Waker"]

if sys.platform != "win32":
    # This keeps the interpreter's lock. `os.write` lets it go, the woken thread takes it, and
    # who published a plane gets it back milliseconds later where all cores are busy.
    _write = ctypes.PyDLL(None).write
    _write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)


class Waker:
    """A pipe to oneself; where only sockets can be polled, a pair of those.

    Attributes
    ----------
    fd : int
        Becomes readable when somebody rings.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = self._is_rung = False
        if sys.platform == "win32":
            self._receiving, self._sending = socket.socketpair()
            self._receiving.setblocking(False)
            self._sending.setblocking(False)
            self.fd = self._receiving.fileno()
        else:
            self.fd, self._end = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._end, False)

    def ring(self) -> None:
        """Wake who waits; nothing happens where somebody rang already, or after the end."""
        if self._is_rung:
            return
        with self._lock:  # else a late ring could go to whatever gets the same number
            if self._is_closed:
                return
            self._is_rung = True
            if sys.platform == "win32":
                with contextlib.suppress(BlockingIOError):
                    self._sending.send(b"\0")
            else:
                _write(self._end, b"\0", 1)

    def drain(self) -> None:
        """Take in every ring so far. Only in the thread that waits."""
        with contextlib.suppress(BlockingIOError):
            if sys.platform == "win32":
                while len(self._receiving.recv(4096)) == 4096:
                    pass
            else:
                while len(os.read(self.fd, 4096)) == 4096:
                    pass
        # Last: a byte that comes after this one was read must not be taken for it.
        self._is_rung = False

    def close(self) -> None:
        """Let go of the pipe."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if sys.platform == "win32":
                self._receiving.close()
                self._sending.close()
            else:
                os.close(self.fd)
                os.close(self._end)
