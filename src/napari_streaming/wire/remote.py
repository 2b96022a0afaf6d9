"""The messages of a remote session, frozen and validated, and their bytes.

The normative text is ``docs/session-protocol.md``. Two WebSocket connections make a session:
`/state` carries what stands here, `/pixels` the frames of :mod:`napari_streaming.wire.frames`
and, from the client, what stands in `OnPixels`. Bounds stand in the types, so that msgspec
refuses what lies outside before any of it reaches other code.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from napari_streaming.errors import MalformedError, VersionError
from napari_streaming.wire.attributes import Changes
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.frames import (
    SESSION_VERSION,
    Chroma,
    FrameHeader,
    pack_frame,
    unpack_frame,
)
from napari_streaming.wire.inputs import (
    Height,
    Input,
    IntentId,
    Key,
    Pointer,
    Ratio,
    Resize,
    Wheel,
    Width,
)
from napari_streaming.wire.messages import Count, Short, Text, Time
from napari_streaming.wire.scene import (
    Camera,
    CameraChanged,
    Canvas,
    CanvasChanged,
    Dims,
    DimsChanged,
    Layer,
    LayerAdded,
    LayerChanged,
    LayerRemoved,
    LayerReshaped,
    LayersReordered,
    SceneChanged,
    SceneDelta,
    Snapshot,
    Thumbnail,
)

__all__ = [
    "MAX_DATA",
    "MAX_TO_CLIENT",
    "MAX_TO_SERVER",
    "SESSION_MAGIC",
    "SESSION_VERSION",
    "Accepted",
    "Attach",
    "Camera",
    "CameraChanged",
    "Canvas",
    "CanvasChanged",
    "Command",
    "CommandName",
    "Controller",
    "Dims",
    "DimsChanged",
    "FrameHeader",
    "FromClient",
    "FromServer",
    "GiveControl",
    "Hello",
    "Input",
    "Intent",
    "IntentTarget",
    "Key",
    "Layer",
    "LayerAdded",
    "LayerChanged",
    "LayerRemoved",
    "LayerReshaped",
    "LayersReordered",
    "NeedKeyframe",
    "Notice",
    "OnPixels",
    "Ping",
    "Pointer",
    "Pong",
    "Quality",
    "Reject",
    "Rejected",
    "Reply",
    "Resize",
    "SceneChanged",
    "SceneDelta",
    "Shown",
    "Snapshot",
    "Stats",
    "StatusText",
    "TakeControl",
    "Thumbnail",
    "Tooltip",
    "Welcome",
    "Wheel",
    "pack",
    "pack_frame",
    "unpack_frame",
    "unpack_from_client",
    "unpack_from_server",
    "unpack_on_pixels",
]

T = TypeVar("T")

SESSION_MAGIC = b"NPSS"
_PREFIX = SESSION_MAGIC + SESSION_VERSION.to_bytes(2, "little")
MAX_TO_SERVER = 1024 * 1024
MAX_TO_CLIENT = 64 * 1024 * 1024
MAX_DATA = MAX_TO_CLIENT - 65536

ClientId = Annotated[int, Meta(ge=0, lt=2**31)]
Codecs = Annotated[tuple[Short, ...], Meta(max_length=16)]
Amount = Annotated[float, Meta(ge=0, le=1e100)]
Role = Literal["control", "view"]
IntentTarget = Literal["layer", "dims", "camera", "scene"]
CommandName = Literal["open", "list", "remove", "reorder", "screenshot", "reset_view"]
NoticeLevel = Literal["info", "warning", "error"]
Bytes = Annotated[bytes, Meta(max_length=MAX_DATA)]


# ---- the beginning -------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag="hello", kw_only=True):
    """The first message of a client.

    `width` and `height` are those of its canvas in device pixels, `ratio` how many of them make a
    logical one. `resume` names the session that a broken connection belonged to; empty: none.
    """

    token: Short
    role: Role = "control"
    name: Short = ""
    software: Short = ""
    width: Width = 1024
    height: Height = 768
    ratio: Ratio = 1.0
    codecs: Codecs = ("h264", "jpeg", "zstd")
    resume: Short = ""


class Welcome(Struct, frozen=True, tag="welcome", kw_only=True):
    """The answer to a good Hello: `session` is a secret that opens `/pixels`, and resumes.

    `client` numbers this client in the session; its intents begin at `client` * 2**32.
    """

    session: Short
    client: ClientId
    role: Role
    software: Short
    encoder: Short
    resumed: bool = False


class Reject(Struct, frozen=True, tag="reject"):
    """No session (any more), and why."""

    code: Short
    reason: Text


# ---- what a client wants -------------------------------------------------------------------


class Intent(Struct, frozen=True, tag="intent"):
    """A wish to change attributes, all or none; answered Accepted or Rejected.

    `layer` names the layer if `target` is "layer".
    """

    id: IntentId
    target: IntentTarget
    changes: Changes
    layer: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0


class Accepted(Struct, frozen=True, tag="accepted"):
    """An intent was carried out: what the attributes are now."""

    id: IntentId
    applied: Changes


class Rejected(Struct, frozen=True, tag="rejected"):
    """An intent was not carried out, and why; `actual` is what the attributes are."""

    id: IntentId
    reason: Text
    actual: Changes = {}


class Quality(Struct, frozen=True, tag="quality", kw_only=True):
    """How pictures are to be: `bitrate` in bits per second at most, 0: as the link allows."""

    chroma: Chroma = "420"
    bitrate: Annotated[int, Meta(ge=0, le=10**9)] = 0
    fps: Annotated[float, Meta(ge=1, le=240)] = 60.0
    refine: bool = True


class Command(Struct, frozen=True, tag="command"):
    """Something to be done, answered with a Reply of the same id."""

    id: IntentId
    name: CommandName
    arguments: Changes = {}


class Reply(Struct, frozen=True, tag="reply", kw_only=True):
    """What a command led to; `error` says why it failed, empty: it did not."""

    id: IntentId
    error: Text = ""
    values: Changes = {}
    data: Bytes = b""


# ---- who steers ----------------------------------------------------------------------------


class TakeControl(Struct, frozen=True, tag="takecontrol"):
    """A client wants to steer; if somebody does, that one is asked."""


class GiveControl(Struct, frozen=True, tag="givecontrol"):
    """The controller hands over to a client; 0 declines whoever asks."""

    client: ClientId


class Controller(Struct, frozen=True, tag="controller", kw_only=True):
    """Who steers, and who asks to; 0: nobody."""

    client: ClientId
    name: Short = ""
    asking: ClientId = 0
    asking_name: Short = ""


# ---- words and numbers ---------------------------------------------------------------------


class StatusText(Struct, frozen=True, tag="statustext"):
    """What is under the cursor, for the status bar."""

    text: Text


class Tooltip(Struct, frozen=True, tag="tooltip"):
    """What to show beside the cursor; empty: nothing."""

    text: Text


class Notice(Struct, frozen=True, tag="notice"):
    """A word for the user."""

    level: NoticeLevel
    text: Text


class Stats(Struct, frozen=True, tag="stats", kw_only=True):
    """How the server does, for this client."""

    encoder: Short = ""
    fps: Amount = 0.0
    bitrate: Amount = 0.0
    render_ms: Amount = 0.0
    encode_ms: Amount = 0.0
    round_trip_ms: Amount = 0.0
    clients: Count = 1


class Ping(Struct, frozen=True, tag="ping"):
    """Asks for a Pong with the same time."""

    time: Time


class Pong(Struct, frozen=True, tag="pong"):
    """Repeats a Ping's time, and adds this side's clock."""

    time: Time
    now: Time


# ---- from the client on /pixels ------------------------------------------------------------


class Attach(Struct, frozen=True, tag="attach"):
    """The first message on `/pixels`: which session this is of."""

    session: Short


class Shown(Struct, frozen=True, tag="shown"):
    """A frame was shown, or passed over for a later one, and all before it: credit."""

    sequence: Count


class NeedKeyframe(Struct, frozen=True, tag="needkeyframe"):
    """The decoder cannot go on without a keyframe."""


FromClient = Hello | Intent | Input | Quality | Command | TakeControl | GiveControl | Ping
FromServer = (
    Welcome
    | Reject
    | Snapshot
    | SceneDelta
    | Accepted
    | Rejected
    | Reply
    | Controller
    | StatusText
    | Tooltip
    | Notice
    | Stats
    | Pong
)
OnPixels = Attach | Shown | NeedKeyframe
Message = FromClient | FromServer | OnPixels

_encoder = msgspec.msgpack.Encoder()
_from_client: msgspec.msgpack.Decoder[FromClient] = msgspec.msgpack.Decoder(FromClient)
_from_server: msgspec.msgpack.Decoder[FromServer] = msgspec.msgpack.Decoder(FromServer)
_on_pixels: msgspec.msgpack.Decoder[OnPixels] = msgspec.msgpack.Decoder(OnPixels)


def pack(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _PREFIX + _encoder.encode(message)


def unpack_from_client(data: Buffer) -> FromClient:
    """Return a message that came from a client on `/state`.

    Raises
    ------
    VersionError
        It is of another version.
    MalformedError
        Anything else is wrong.
    """
    return _decode(_from_client, data, MAX_TO_SERVER)


def unpack_from_server(data: Buffer) -> FromServer:
    """Return a message that came from the server on `/state`; raises as the other does."""
    return _decode(_from_server, data, MAX_TO_CLIENT)


def unpack_on_pixels(data: Buffer) -> OnPixels:
    """Return a message that came from a client on `/pixels`; raises as the other does."""
    return _decode(_on_pixels, data, MAX_TO_SERVER)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: Buffer, limit: int) -> T:
    view = memoryview(data)
    if bytes(view[:4]) != SESSION_MAGIC:
        raise MalformedError(f"not a message of a session: starts with {bytes(view[:8])!r}")
    version = int.from_bytes(view[4:6], "little")
    if version != SESSION_VERSION:
        raise VersionError(f"session protocol {version}, this side speaks {SESSION_VERSION}")
    if len(view) > limit:
        raise MalformedError(f"a message of {len(view)} bytes, at most {limit} allowed")
    try:
        message: T = decoder.decode(view[len(_PREFIX) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Such an error may quote megabytes of the peer's, and goes into logs and a Reject.
        raise MalformedError(f"not a valid message: {str(error)[:500]}") from None
    return message
