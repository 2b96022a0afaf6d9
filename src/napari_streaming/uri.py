"""Stream URLs: the one place that knows schemes, defaults and spellings.

A URL is *connected to*; with ``?listen`` it is bound and the other side connects::

    tcp://127.0.0.1:5555              connect
    tcp://127.0.0.1:5555?listen       wait there for others
    tcp://gpu1:5555#6c1b…             off this machine, with its token in the fragment
    tcp://127.0.0.1:5555?curve#6c1b…  through a tunnel, to a listener that encrypts
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

SCHEMES = ("tcp", "ipc", "memory")
DEFAULT_URL = "tcp://127.0.0.1:5555?listen"
_FLAGS = {"listen", "curve"}


@dataclass(frozen=True, slots=True)
class StreamURL:
    """A parsed stream URL.

    Parameters
    ----------
    scheme : {"tcp", "ipc", "memory"}
    host : str
        Host name or address; empty unless ``tcp``.
    port : int
        0 unless ``tcp``; with `listen`, 0 means "any free port".
    path : str
        Socket path (``ipc``) or name (``ipc``, ``memory``).
    listen : bool
        Bind there instead of connecting.
    curve : bool
        Encrypt although the host looks like this machine (a tunnel).
    token : str
        Shared secret, empty when it is to be found in the runtime folder.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    listen: bool = False
    curve: bool = False
    token: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The URL without flags and token: what both sides agree on."""
        if self.scheme == "tcp":
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"tcp://{host}:{self.port}"
        return f"{self.scheme}://{quote(self.path)}"

    @property
    def is_local(self) -> bool:
        """Whether the address can only be reached from this machine."""
        if self.scheme != "tcp" or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def encrypted(self) -> bool:
        """Whether the connection must be encrypted."""
        return self.curve or not self.is_local

    def with_token(self, token: str) -> StreamURL:
        """Return the same URL with this token."""
        return replace(self, token=token)

    def shareable(self) -> str:
        """Return what another person pastes to connect, token included."""
        everywhere = self.host in ("0.0.0.0", "::")  # noqa: S104
        return str(replace(self, listen=False, host=node() if everywhere else self.host))

    def __str__(self) -> str:
        flags = [f for f in ("listen", "curve") if getattr(self, f)]
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
    flags = {
        f"{key}={value}" if value else key
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
    }
    if unknown := flags - _FLAGS:
        raise URLError(
            f"{shown!r}: unknown option {sorted(unknown)[0]!r}; there are ?listen and ?curve"
        )
    common = {
        "listen": "listen" in flags if listen is None else listen,
        "curve": "curve" in flags,
        "token": unquote(parts.fragment),
    }
    if scheme == "tcp":
        if not parts.hostname or port is None:
            raise URLError(f"{shown!r}: host and port are needed, like {DEFAULT_URL}")
        if parts.path.strip("/"):
            raise URLError(f"{shown!r}: a tcp URL has no path ({parts.path!r})")
        if port == 0 and not common["listen"]:
            raise URLError(f"{shown!r}: port 0 only makes sense with ?listen")
        return StreamURL("tcp", host=parts.hostname, port=port, **common)  # type: ignore[arg-type]
    path = unquote(parts.netloc + parts.path)
    if not path:
        raise URLError(f"{shown!r}: a name is needed, like {scheme}://session")
    if common["curve"] and scheme != "tcp":
        raise URLError(f"{shown!r}: ?curve is for tcp; {scheme} never leaves this machine")
    if scheme == "ipc" and "/" in path and not path.startswith("/"):
        raise URLError(f"{shown!r}: write ipc://name or ipc:///absolute/path")
    return StreamURL(scheme, path=path, **common)  # type: ignore[arg-type]
