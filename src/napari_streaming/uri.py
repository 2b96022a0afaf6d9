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
    ws://127.0.0.1:8766/session#6c1b…   no stream, but a remote session

The token stays in the fragment, which is never part of a request.

A dialect stands before a plus sign. A viewer that listens there takes what another program's
senders say; they have no tokens::

    openhcs+tcp://127.0.0.1:5555?listen            as OpenHCS has it: control on port 6555
    openhcs+tcp://0.0.0.0:5555?listen&insecure     from anywhere, unprotected
    openhcs+tcp://127.0.0.1:5555?listen&pickle     pickled arrays as well
    openhcs+ipc://5555?listen                      ~/.openhcs/ipc/openhcs-zmq-5555.sock
    openhcs+ipc:///path/to/socket-5555.sock?listen

Or a viewer connects to what another program serves::

    atoplace+ws://127.0.0.1:8765                   a placement, as atoplace streams it
    atoplace+ws://gpu1:8765?insecure               from another machine, unprotected
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from platform import node
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from napari_streaming.errors import URLError

__all__ = [
    "DEFAULT_URL",
    "SCHEMES",
    "StreamURL",
    "is_session_url",
    "parse_session_url",
    "parse_url",
]

SCHEMES = ("tcp", "ws", "wss", "ipc", "memory", "openhcs+tcp", "openhcs+ipc", "atoplace+ws")
DEFAULT_URL = "tcp://127.0.0.1:5555?listen"
_WITH_PORT = ("tcp", "ws", "wss")
_SESSION = re.compile(r"(\s*wss?://[^/?#]*)/(session)/?(?=[?#]|\s*\Z)")
_OPTIONS = {
    "listen": SCHEMES[:-1],
    "curve": ("tcp",),
    "insecure": ("ws", "wss", "openhcs+tcp", "openhcs+ipc", "atoplace+ws"),
    "pickle": ("openhcs+tcp", "openhcs+ipc"),
    "cert": ("wss",),
    "key": ("wss",),
}
_VALUES = ("cert", "key")
_CONTROL_PORT_AFTER = 1000


@dataclass(frozen=True, slots=True)
class StreamURL:
    """A parsed stream URL.

    Parameters
    ----------
    scheme : str
        One of `SCHEMES`.
    host : str
        Host name or address; empty for ``ipc`` and ``memory``.
    port : int
        0 for ``ipc`` and ``memory`` of our own; with `listen`, 0 means "any free port".
    path : str
        Socket path (``ipc``) or name (``ipc``, ``memory``); of a remote session, "session".
    listen : bool
        Bind there instead of connecting.
    curve : bool
        Encrypt with CURVE although the host looks like this machine (``tcp``: a tunnel).
    insecure : bool
        Leave this machine without TLS (``ws``), connect without a look at the listener's
        certificate (``wss``), or listen to other machines although anybody there may speak (a
        dialect).
    pickle : bool
        Of a dialect: read pickled arrays, without running them.
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
    pickle: bool = False
    cert: str = ""
    key: str = ""
    token: str = field(default="", repr=False)

    @property
    def dialect(self) -> str:
        """Whose protocol is spoken there: "openhcs", "atoplace", or nothing for our own."""
        return self.scheme.rpartition("+")[0]

    @property
    def carrier(self) -> str:
        """What carries it: the scheme without the dialect."""
        return self.scheme.rpartition("+")[2]

    @property
    def address(self) -> str:
        """The URL without flags and token: what both sides agree on."""
        if self.carrier in _WITH_PORT:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")
        return f"{self.scheme}://{quote(self.path)}"

    @property
    def is_local(self) -> bool:
        """Whether the address can only be reached from this machine."""
        if self.carrier not in _WITH_PORT or self.host == "localhost":
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
        return not self.dialect and (self.curve or not self.is_local)

    def with_token(self, token: str) -> StreamURL:
        """Return the same URL with this token."""
        return replace(self, token=token)

    def to_publish(self) -> StreamURL:
        """Return the same URL, if a publisher can use it.

        Raises
        ------
        URLError
            It is of a dialect, which is only understood and never spoken.
        """
        if self.dialect:
            raise URLError(
                f"{self}: the dialect of {self.dialect} is for viewers; publish to "
                f"another URL of the viewer's, like {DEFAULT_URL.removesuffix('?listen')}"
            )
        return self

    def shareable(self) -> str:
        """Return what another person pastes to connect, token included."""
        return str(self._seen_by_others())

    def page(self) -> str:
        """Return what a browser opens to look at a listener, token included; empty if it cannot."""
        if not (self.listen and self.scheme in ("ws", "wss")):
            return ""
        there = self._seen_by_others()
        address = there.address.replace("ws", "http", 1)
        return f"{address}/#{quote(self.token)}"

    def _seen_by_others(self) -> StreamURL:
        everywhere = self.host in ("0.0.0.0", "::")  # noqa: S104
        host = node() if everywhere else self.host
        return replace(self, listen=False, host=host, cert="", key="")

    def __str__(self) -> str:
        given = {name: value for name in _OPTIONS if (value := getattr(self, name))}
        flags = [f"{k}={quote(v)}" if isinstance(v, str) else k for k, v in given.items()]
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
        _check_option(shown, scheme, key, value)
    common: dict[str, Any] = {name: name in options for name in _OPTIONS if name not in _VALUES}
    common |= {name: options.get(name, "") for name in _VALUES}
    common["listen"] = common["listen"] if listen is None else listen
    common["token"] = unquote(parts.fragment)
    path = unquote(parts.netloc + parts.path)
    carrier = scheme.rpartition("+")[2]
    if carrier in _WITH_PORT:
        if not parts.hostname or port is None:
            needed = f"{scheme}://127.0.0.1:5555?listen"
            raise URLError(f"{shown!r}: host and port are needed, like {needed}")
        if is_session_url(text):
            raise URLError(f"{shown!r}: this is a remote session and no stream; open it in napari")
        if parts.path.strip("/"):
            raise URLError(f"{shown!r}: a {scheme} URL has no path ({parts.path!r})")
        if port == 0 and not common["listen"]:
            raise URLError(f"{shown!r}: port 0 only makes sense with ?listen")
        url = StreamURL(scheme, host=parts.hostname, port=port, **common)
    elif not path:
        raise URLError(f"{shown!r}: a name is needed, like {scheme}://session")
    elif carrier == "ipc" and "/" in path and not path.startswith("/"):
        raise URLError(f"{shown!r}: write {scheme}://name or {scheme}:///absolute/path")
    else:
        url = StreamURL(scheme, path=path, **common)
    if url.dialect == "atoplace":
        return _checked_atoplace(url, shown)
    return _checked_openhcs(url, shown) if url.dialect else url


def is_session_url(text: str) -> bool:
    """Return whether this is, or means to be, the URL of a remote session."""
    return _SESSION.match(text) is not None


def parse_session_url(text: str, *, listen: bool = False) -> StreamURL:
    """Parse the URL of a remote session, like ``ws://127.0.0.1:8766/session#6c1b…``.

    Parameters
    ----------
    text : str
        Who listens may leave out the path and the token.
    listen : bool
        Whether to listen there.

    Returns
    -------
    StreamURL
        Its `path` is "session".

    Raises
    ------
    URLError
        With the offending value and what to write instead.
    """
    shown = text.strip().partition("#")[0]
    example = "ws://127.0.0.1:8766/session#TOKEN"
    match = _SESSION.match(text)
    if match is None and not (listen and text.strip().startswith(("ws://", "wss://"))):
        raise URLError(f"{shown!r}: a remote session is written like {example}")
    url = parse_url(match[1] + text[match.end() :] if match else text, listen=listen)
    if not (url.token or listen):
        raise URLError(
            f"{shown!r}: the token is missing; paste all that the server says: {example}"
        )
    return replace(url, path="session")


def _check_option(shown: str, scheme: str, key: str, value: str) -> None:
    """Raise URLError for an option that does not exist, or not there."""
    schemes = _OPTIONS.get(key, ())
    if not schemes or bool(value) != (key in _VALUES):
        written = f"{key}={value}" if value else key
        known = [f"?{k}=…" if k in _VALUES else f"?{k}" for k, s in _OPTIONS.items() if scheme in s]
        raise URLError(f"{shown!r}: unknown option {written!r}; there are {' and '.join(known)}")
    if scheme not in schemes:
        hint = "; write wss:// to encrypt a WebSocket" if (key, scheme) == ("curve", "ws") else ""
        raise URLError(f"{shown!r}: ?{key} is for {' and '.join(schemes)}{hint}")


def _checked_openhcs(url: StreamURL, shown: str) -> StreamURL:
    """Return the URL with what OpenHCS has: two ports, no tokens."""
    if url.token:
        raise URLError(f"{shown!r}: OpenHCS senders have no token; leave out the #")
    if url.carrier == "ipc":
        named = re.fullmatch(r"([0-9]{1,5})|/.*-([0-9]{1,5})\.[^/]*", url.path, re.DOTALL)
        if named is None:
            raise URLError(
                f"{shown!r}: OpenHCS has a port here, too: write openhcs+ipc://5555, "
                "or the path of a socket that ends like it, /path/to/socket-5555.sock"
            )
        url = replace(url, port=int(named[1] or named[2]))
    if not (url.port or url.carrier == "tcp") or url.port + _CONTROL_PORT_AFTER > 65535:
        raise URLError(
            f"{shown!r}: OpenHCS uses this port and the one {_CONTROL_PORT_AFTER} above: "
            f"choose one from 1 to {65535 - _CONTROL_PORT_AFTER}"
        )
    if url.is_local:
        return url
    if url.pickle:
        raise URLError(f"{shown!r}: ?pickle is for this machine only, 127.0.0.1 or openhcs+ipc")
    if not url.insecure:
        raise URLError(
            f"{shown!r}: OpenHCS has neither tokens nor encryption, whoever reaches this port "
            "could show anything; listen at 127.0.0.1, or add ?insecure if only those that "
            "you trust can reach it"
        )
    return url


def _checked_atoplace(url: StreamURL, shown: str) -> StreamURL:
    """Return the URL of a server that has neither tokens nor encryption."""
    if url.listen:
        raise URLError(f"{shown!r}: atoplace is the server: press Connect, or leave out ?listen")
    if url.token:
        raise URLError(f"{shown!r}: atoplace has no token; leave out the #")
    if not (url.is_local or url.insecure):
        raise URLError(
            f"{shown!r}: atoplace has neither tokens nor encryption; reach it through a tunnel, "
            "or add ?insecure if you trust everybody in between"
        )
    return url
