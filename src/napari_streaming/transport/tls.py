"""TLS settings of a wss URL."""

from __future__ import annotations

import ssl

from napari_streaming.errors import TransportError
from napari_streaming.uri import StreamURL

__all__ = ["client_context", "server_context"]


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
