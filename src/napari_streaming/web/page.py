"""The files of the browser viewer, as a publisher that listens hands them out.

The browser is told to run nothing but these files, to connect to nobody but who sent them,
and to let no other page look into this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from napari_streaming.transport.base import HttpResponse

__all__ = ["page"]

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # the next publisher at this address may be a newer one
}


def page(path: str, headers: Mapping[str, str]) -> HttpResponse | None:
    """Return a file of the browser viewer; an :data:`HttpHandler`.

    Parameters
    ----------
    path : str
        As asked for; ``/`` is the page itself. There are no queries.
    headers : mapping of str to str
        Of the request; nothing depends on them.

    Returns
    -------
    HttpResponse or None
        None: there is no such file.
    """
    name = "index.html" if path == "/" else path.removeprefix("/")
    body = _files().get(name)
    if body is None:
        return None
    kind = _TYPES[name.rpartition(".")[2]]
    return HttpResponse(200, body, {"Content-Type": kind, **_HEADERS})


@cache
def _files() -> dict[str, bytes]:
    """Return all files by name: nothing else can be asked for, whatever the path says."""
    return {file.name: file.read_bytes() for file in (files(__package__) / "static").iterdir()}
