"""How a WebSocket connection begins: one HTTP request and its answer, at both ends.

Browsers let any page connect to any address, and say in ``Origin`` which page it is. Only
pages of this very server may; programs that are no browsers send no Origin and need the token.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from platform import node
from typing import NamedTuple
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from napari_streaming.transport.base import HttpHandler
from napari_streaming.uri import StreamURL

__all__ = ["MAX_HEAD", "Answer", "ClientHandshake", "answer"]

MAX_HEAD = 16384
"""The most bytes that a request or its answer may have."""
_NO_PAGE = "Here listens napari-streaming, for programs that speak WebSocket.\n"


class Answer(NamedTuple):
    """What a request is answered with.

    Parameters
    ----------
    data : bytes
        To be sent.
    is_open : bool
        Whether frames follow, instead of the end.
    refused : str
        Why somebody who wanted to connect may not; for people.
    """

    data: bytes
    is_open: bool
    refused: str = ""


def answer(head: bytes, url: StreamURL, http: HttpHandler | None) -> Answer:
    """Answer a request.

    Parameters
    ----------
    head : bytes
        All of the request, its empty line included.
    url : StreamURL
        Where we listen.
    http : HttpHandler, optional
        Has the pages.
    """
    protocol = ServerProtocol()
    protocol.receive_data(head)
    request = next(iter(protocol.events_received()), None)
    if not isinstance(request, Request):
        return _refuse(HTTPStatus.BAD_REQUEST, "no valid HTTP request")
    if "Upgrade" not in request.headers:
        return _page(request, url, http)
    if request.path != "/":
        return _refuse(HTTPStatus.NOT_FOUND, "streams are at the path /, without a query")
    origins = request.headers.get_all("Origin")
    if origins and not _is_own(origins, request.headers, url):
        return _refuse(HTTPStatus.FORBIDDEN, f"pages of {origins[0][:256]!r} may not connect")
    response = protocol.accept(request)
    if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        return Answer(response.serialize(), False, "no valid WebSocket handshake")
    return Answer(response.serialize(), True)


def _page(request: Request, url: StreamURL, http: HttpHandler | None) -> Answer:
    method = getattr(request, "method", "GET")  # older versions of the library know no other
    if method == "GET" and http is not None and _names_us(_host(request.headers), url):
        page = http(request.path, dict(request.headers.raw_items()))
        if page is not None:
            return _respond(page.status, page.body, page.headers)
    status = HTTPStatus.UPGRADE_REQUIRED if request.path == "/" else HTTPStatus.NOT_FOUND
    status = status if method == "GET" else HTTPStatus.METHOD_NOT_ALLOWED
    headers = {"Upgrade": "websocket"} if status is HTTPStatus.UPGRADE_REQUIRED else {}
    return _respond(status, _NO_PAGE.encode(), {"Content-Type": "text/plain", **headers})


def _refuse(status: HTTPStatus, reason: str) -> Answer:
    response = _respond(status, f"{reason}\n".encode(), {"Content-Type": "text/plain"})
    return response._replace(refused=reason)


def _respond(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    length = {"Content-Length": str(len(body)), "Connection": "close"}
    response = Response(status, HTTPStatus(status).phrase, Headers({**headers, **length}), body)
    return Answer(response.serialize(), False)


def _host(headers: Headers) -> str:
    hosts = headers.get_all("Host")
    return hosts[0].lower() if len(hosts) == 1 else ""


def _is_own(origins: list[str], headers: Headers, url: StreamURL) -> bool:
    """Whether a page came from this server, by the address that its browser knows."""
    host = _host(headers)
    scheme = "https" if url.scheme == "wss" else "http"
    return origins == [f"{scheme}://{host}"] and _names_us(host, url)


def _names_us(host: str, url: StreamURL) -> bool:
    """Whether a Host header cannot be a name that a stranger made lead here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("localhost", url.host, node().lower()):
            return True
        ip_address(name)
    except ValueError:
        return False
    return True


class ClientHandshake:
    """The request of who connects, and its answer."""

    def __init__(self, url: StreamURL) -> None:
        self._protocol = ClientProtocol(parse_uri(f"{url.address}/"))
        self.request = self._protocol.connect().serialize()

    def problem(self, head: bytes) -> str:
        """Return why an answer opens no connection; empty if it does."""
        status, _, _ = head.partition(b"\r\n")
        if not status.startswith(b"HTTP/1.1 101 "):
            said = status[:100].decode("ascii", "backslashreplace")
            return f"who listens there does not speak WebSocket with us: {said}"
        self._protocol.receive_data(head)
        if self._protocol.state is not State.OPEN:
            return "who listens there answers no valid WebSocket handshake"
        return ""
