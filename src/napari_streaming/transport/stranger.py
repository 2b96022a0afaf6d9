"""Programs that listen where one of ours is looked for: whether one does, and which it is."""

from __future__ import annotations

import socket

from napari_streaming.uri import StreamURL

__all__ = ["is_answered", "who_listens"]

_ANSWER_S = 0.5


def is_answered(url: StreamURL) -> bool:
    """Return whether anybody takes connections at an address of this machine.

    Only tcp is asked: elsewhere nobody is, as far as this can tell.
    """
    if url.scheme != "tcp":
        return False
    try:
        socket.create_connection((url.host, url.port), _ANSWER_S).close()
    except TimeoutError:  # somebody listens who does not get round to accept
        return True
    except OSError:
        return False
    return True


def who_listens(url: StreamURL) -> str:
    """Return the name and process of who listens at an address, as far as they can be seen."""
    import psutil  # 10 ms, and needed only where something is wrong

    if url.scheme == "tcp" and url.is_local:
        hosts = ("127.0.0.1", "::1", url.host, "0.0.0.0", "::")  # noqa: S104  # not bound
        try:
            for found in psutil.net_connections(kind="tcp"):
                if (
                    found.status == psutil.CONN_LISTEN
                    and found.laddr.port == url.port
                    and found.laddr.ip in hosts
                    and found.pid
                ):
                    return f"{psutil.Process(found.pid).name()} (process {found.pid})"
        except psutil.Error:  # some systems tell this to administrators alone
            pass
    return "another program"
