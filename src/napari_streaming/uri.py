"""Stream URLs: the one place that knows schemes, defaults and spellings.

A URL is *connected to*; with ``?listen`` it is bound and the other side connects::

    tcp://127.0.0.1:5555              connect
    tcp://127.0.0.1:5555?listen       wait there for others
    tcp://gpu1:5555#6c1b…             off this machine, with its token in the fragment
    tcp://127.0.0.1:5555?curve#6c1b…  through a tunnel, to a listener that encrypts
    ws://127.0.0.1:8765?listen        WebSocket, which browsers speak too
    wss://0.0.0.0:8765?listen&cert=c.pem&key=k.pem    the same with TLS, off this machine
    wss://gpu1:8765?cert=c.pem#6c1b…  connect; trusts this certificate besides the system's
    ipc://session                     a socket in the runtime folder of this user
    ipc:///path/to/socket             a socket at that path
    memory://name                     inside one process, for tests

The token stays in the fragment, which is never part of a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from platform import node
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from napari_streaming.errors import URLError

__all__ = ["DEFAULT_URL", "SCHEMES", "StreamURL", "parse_url"]

SCHEMES = ("tcp", "ws", "wss", "ipc", "memory")
DEFAULT_URL = "tcp://127.0.0.1:5555?listen"
_WITH_PORT = ("tcp", "ws", "wss")
_FLAGS = ("listen", "curve", "insecure")
_VALUES = ("cert", "key")


@dataclass(frozen=True, slots=True)
class StreamURL:
    """A parsed stream URL.

    Parameters
    ----------
    scheme : {"tcp", "ws", "wss", "ipc", "memory"}
    host : str
        Host name or address; empty for ``ipc`` and ``memory``.
    port : int
        0 for ``ipc`` and ``memory``; with `listen`, 0 means "any free port".
    path : str
        Socket path (``ipc``) or name (``ipc``, ``memory``).
    listen : bool
        Bind there instead of connecting.
    curve : bool
        Encrypt with CURVE although the host looks like this machine (``tcp``: a tunnel).
    insecure : bool
        Leave this machine without TLS (``ws``), or connect without a look at the listener's
        certificate (``wss``).
    cert : str
        File with the listener's certificate (``wss``): shown by who listens, trusted by who
        connects, besides those that the system trusts.
    key : str
        File with the certificate's private key, if it is not in the same file.
    token : str
        Shared secret, empty when it is to be found in the runtime folder.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    listen: bool = False
    curve: bool = False
    insecure: bool = False
    cert: str = ""
    key: str = ""
    token: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The URL without flags and token: what both sides agree on."""
        if self.scheme in _WITH_PORT:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{self.scheme}://{host}:{self.port}"
        return f"{self.scheme}://{quote(self.path)}"

    @property
    def is_local(self) -> bool:
        """Whether the address can only be reached from this machine."""
        if self.scheme not in _WITH_PORT or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def encrypted(self) -> bool:
        """Whether the connection must be encrypted."""
        return self.scheme == "wss" or (self.scheme == "tcp" and self.needs_token)

    @property
    def needs_token(self) -> bool:
        """Whether no connection can be tried without the token."""
        return self.curve or not self.is_local

    def with_token(self, token: str) -> StreamURL:
        """Return the same URL with this token."""
        return replace(self, token=token)

    def shareable(self) -> str:
        """Return what another person pastes to connect, token included."""
        everywhere = self.host in ("0.0.0.0", "::")  # noqa: S104
        host = node() if everywhere else self.host
        return str(replace(self, listen=False, host=host, cert="", key=""))

    def __str__(self) -> str:
        flags = [flag for flag in _FLAGS if getattr(self, flag)]
        flags += [f"{name}={quote(value)}" for name in _VALUES if (value := getattr(self, name))]
        query = "?" + "&".join(flags) if flags else ""
        return f"{self.address}{query}" + (f"#{quote(self.token)}" if self.token else "")

    def redacted(self) -> str:
        """Return the URL without its token, for messages and logs."""
        return str(replace(self, token=""))


def parse_url(text: str, *, listen: bool | None = None) -> StreamURL:
    """Parse a stream URL.

    Parameters
    ----------
    text : str
        For example ``"tcp://127.0.0.1:5555?listen"``.
    listen : bool, optional
        Whether to listen, whatever the text says.

    Returns
    -------
    StreamURL

    Raises
    ------
    URLError
        With the offending value and what to write instead.
    """
    text = text.strip()
    shown = text.partition("#")[0]  # a message must not give the token away
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{s}://" for s in SCHEMES)
        raise URLError(f"{shown!r}: a stream URL starts with one of {known}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise URLError(f"{shown!r}: {error}; write it like {DEFAULT_URL}") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key, value in options.items():
        if key not in (_VALUES if value else _FLAGS):
            written = f"{key}={value}" if value else key
            raise URLError(
                f"{shown!r}: unknown option {written!r}; there are ?listen, ?curve, ?insecure, "
                "?cert=… and ?key=…"
            )
    common = {
        "listen": "listen" in options if listen is None else listen,
        **{flag: flag in options for flag in _FLAGS[1:]},
        **{name: options.get(name, "") for name in _VALUES},
        "token": unquote(parts.fragment),
    }
    if {"cert", "key"} & set(options) and scheme != "wss":
        raise URLError(f"{shown!r}: ?cert and ?key are for wss")
    if common["insecure"] and not scheme.startswith("ws"):
        raise URLError(f"{shown!r}: ?insecure is for ws and wss")
    if common["curve"] and scheme.startswith("ws"):
        raise URLError(f"{shown!r}: ?curve is for tcp; write wss:// to encrypt a WebSocket")
    if scheme in _WITH_PORT:
        if not parts.hostname or port is None:
            raise URLError(f"{shown!r}: host and port are needed, like {DEFAULT_URL}")
        if parts.path.strip("/"):
            raise URLError(f"{shown!r}: a {scheme} URL has no path ({parts.path!r})")
        if port == 0 and not common["listen"]:
            raise URLError(f"{shown!r}: port 0 only makes sense with ?listen")
        return StreamURL(scheme, host=parts.hostname, port=port, **common)  # type: ignore[arg-type]
    path = unquote(parts.netloc + parts.path)
    if not path:
        raise URLError(f"{shown!r}: a name is needed, like {scheme}://session")
    if common["curve"]:
        raise URLError(f"{shown!r}: ?curve is for tcp; {scheme} never leaves this machine")
    if scheme == "ipc" and "/" in path and not path.startswith("/"):
        raise URLError(f"{shown!r}: write ipc://name or ipc:///absolute/path")
    return StreamURL(scheme, path=path, **common)  # type: ignore[arg-type]
