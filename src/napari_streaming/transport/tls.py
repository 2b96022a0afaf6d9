"""TLS of WebSocket URLs: the settings of wss, and no ws through a network."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace

from napari_streaming.errors import TransportError
from napari_streaming.uri import StreamURL

__all__ = ["client_context", "refuse_plain_text", "server_context"]


def server_context(url: StreamURL) -> ssl.SSLContext:
    """Return the settings of who listens.

    Raises
    ------
    TransportError
        There is no certificate, or it cannot be used.
    """
    if not url.cert:
        raise TransportError(
            f"{url.redacted()}: a certificate is needed, like "
            "wss://0.0.0.0:8765?listen&cert=/path/cert.pem&key=/path/key.pem"
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # The password of a key that has one is asked for at no terminal: nobody may be there.
        context.load_cert_chain(url.cert, url.key or None, password="")
    except (OSError, ssl.SSLError) as error:
        raise TransportError(f"cannot use the certificate {url.cert}: {error}") from None
    return context


def client_context(url: StreamURL) -> ssl.SSLContext:
    """Return the settings of who connects.

    Raises
    ------
    TransportError
        The certificate to trust cannot be read.
    """
    context = ssl.create_default_context()
    if url.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif url.cert:
        try:
            context.load_verify_locations(url.cert)
        except (OSError, ssl.SSLError) as error:
            raise TransportError(f"cannot use the certificate {url.cert}: {error}") from None
    return context


def refuse_plain_text(url: StreamURL) -> None:
    """Refuse to send a token and data through a network for everybody to read.

    Raises
    ------
    TransportError
        That would happen; says what to do instead.
    """
    if url.scheme == "wss" or url.is_local or url.insecure:
        return
    here = replace(url, host="127.0.0.1", token="")
    there = f"ssh -L {url.port}:127.0.0.1:{url.port}"
    how = (
        f"use wss:// with ?cert=… and ?key=…; or listen at {here} and have the others tunnel "
        f"with '{there} {socket.gethostname()}'"
        if url.listen
        else f"use wss://, if they listen so; or tunnel with '{there} {url.host}' to {here}"
    )
    raise TransportError(
        f"{url.redacted()} would send all data and the token unencrypted through the network: "
        f"{how}; or say ?insecure where you trust everybody on the way"
    )
