"""Why a connection to a server ended, in words, and whether to try again."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from http import HTTPStatus

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from napari_streaming.errors import ProtocolError, StreamingError, VersionError

__all__ = ["LostError", "RefusedError", "in_words"]

_TRY_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class LostError(StreamingError):
    """The connection is gone, and may come back."""


class RefusedError(StreamingError):
    """The server does not want us, and will not the next time either."""


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Turn whatever ends a connection into a LostError or a RefusedError."""
    try:
        yield
    except InvalidStatus as error:
        body = (error.response.body or b"")[:200].decode(errors="replace").strip()
        status = error.response.status_code
        kind = LostError if status in _TRY_AGAIN else RefusedError
        raise kind(f"the server answers {status}: {body}") from None
    except InvalidHandshake as error:
        raise RefusedError(f"who listens there is no session server: {error}") from None
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(
            f"the server's certificate is not trusted: {error.verify_message}; add ?cert=… "
            "with the server's certificate to the URL"
        ) from None
    except TimeoutError:
        raise LostError("the server does not answer") from None
    except ConnectionClosed:
        raise LostError("the connection broke") from None
    except VersionError as error:
        raise RefusedError(f"the server is of another version: {error}") from None
    except ProtocolError as error:
        raise LostError(f"the server breaks the protocol: {error}") from None
    except OSError as error:
        raise LostError(error.strerror or str(error)) from None
