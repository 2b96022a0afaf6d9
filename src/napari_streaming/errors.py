"""Every error that napari-streaming raises on purpose.

::

    StreamingError
    ├── URLError              a URL that cannot be used (also a ValueError)
    ├── DataError             an array or a name that cannot be streamed (also a ValueError)
    ├── ClosedError           a call on something closed, or carried over a fork
    ├── StopRequested         a viewer wants the program to end
    ├── PipelineError         a pipeline that cannot run as described, or wells that failed
    ├── EncoderError          a video encoder that does not work here, or no more
    ├── StorageError          values that cannot be kept or read back, and where
    ├── TransportError        the address or the shared memory cannot be used (also an OSError)
    │   └── AddressInUseError somebody else listens there
    ├── ViewerError           a viewer that cannot be started
    └── ProtocolError         the other side broke the protocol
        ├── MalformedError    bytes that are no message, or a message out of bounds
        ├── VersionError      another protocol version
        └── StateError        a valid message at the wrong time

``DataError`` and ``ClosedError`` blame the caller, ``ProtocolError`` the peer: code that
reads from a socket catches the latter alone.
"""

from __future__ import annotations

__all__ = [
    "AddressInUseError",
    "ClosedError",
    "DataError",
    "EncoderError",
    "MalformedError",
    "PipelineError",
    "ProtocolError",
    "StateError",
    "StopRequested",
    "StorageError",
    "StreamingError",
    "TransportError",
    "URLError",
    "VersionError",
    "ViewerError",
]


class StreamingError(Exception):
    """Base of all errors of this package."""


class URLError(StreamingError, ValueError):
    """A stream URL that cannot be used as given."""


class DataError(StreamingError, ValueError):
    """An array, a name or a coordinate that cannot be streamed."""


class ClosedError(StreamingError):
    """A call on a publisher or receiver that is closed."""


class StopRequested(StreamingError):  # no error, but what somebody asked for
    """A viewer wants the program to end; raised where the program says that it may."""


class PipelineError(StreamingError):
    """A pipeline that cannot run as it is described, or that ran and failed for some wells."""


class EncoderError(StreamingError):
    """A video encoder that does not work on this machine, or that stopped working."""


class StorageError(StreamingError):
    """Values that cannot be saved or loaded: which path and backend, why, and what to do."""


class TransportError(StreamingError, OSError):
    """An address or a piece of shared memory that cannot be used."""


class AddressInUseError(TransportError):
    """Another program listens at the address."""


class ViewerError(StreamingError):
    """A viewer that cannot be started: no screen, or it failed while it started."""


class ProtocolError(StreamingError):
    """The peer broke the protocol.

    Attributes
    ----------
    code : str
        A short machine-readable reason, sent to the peer.
    """

    code = "protocol"


class MalformedError(ProtocolError):
    """Bytes that are not a message, or a message outside its bounds."""

    code = "malformed"


class VersionError(ProtocolError):
    """The peer speaks another version of the protocol."""

    code = "version"


class StateError(ProtocolError):
    """A valid message at a time when the protocol does not allow it."""

    code = "state"
