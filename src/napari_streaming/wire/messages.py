"""Every message of the protocol, frozen and validated.

The normative text is ``docs/protocol.md``. Bounds stand in the types, so that msgspec
refuses what lies outside before any of it reaches other code. Unknown fields are ignored
(a newer minor version may add some); unknown message types are refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = [
    "FEATURE_PREFIX",
    "PLANE_KINDS",
    "SHAPE_TYPES",
    "Ack",
    "Array",
    "Attached",
    "Block",
    "Codec",
    "Control",
    "ControlAction",
    "Coordinate",
    "Declare",
    "Elsewhere",
    "End",
    "Gap",
    "Hello",
    "Item",
    "LayerKind",
    "Message",
    "Metric",
    "Outline",
    "OutlineStep",
    "Parameter",
    "ParameterKind",
    "ParameterValue",
    "Peer",
    "Ping",
    "Pong",
    "Problem",
    "Progress",
    "QualityOfService",
    "Reject",
    "RunState",
    "Running",
    "Segment",
    "SetParameter",
    "Status",
    "StatusLevel",
    "Subscribe",
    "Want",
    "Welcome",
]

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Short = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=65536)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Time = Annotated[float, Meta(ge=0, lt=2**37)]  # before the year 6326: always a date
Amount = Annotated[float, Meta(ge=0)]
Step = Annotated[int, Meta(ge=1, lt=2**32)]
StreamId = Annotated[int, Meta(ge=0, lt=2**32)]
Dtype = Annotated[str, Meta(pattern=r"^([|]b1|[|][iu]1|<[iu][248]|<f[248]|<U[0-9]{1,4})\Z")]
FeatureDtype = Annotated[str, Meta(pattern=r"^([|]b1|[|][iu]1|<[iu][248]|<f[248]|U)\Z")]
Shape = Annotated[tuple[Annotated[int, Meta(ge=0, lt=2**40)], ...], Meta(max_length=16)]
Numbers = Annotated[tuple[float, ...], Meta(max_length=16)]
Names = Annotated[tuple[Name, ...], Meta(max_length=16)]
Column = Annotated[list[float], Meta(max_length=65536)]

Coordinate = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | Short
Values = Annotated[tuple[Coordinate, ...], Meta(min_length=1, max_length=65536)]
FEATURE_PREFIX = "features/"
"""Stands before a feature's name where it names an array of an item."""
SHAPE_TYPES = {
    "rectangle": (4, 4),
    "ellipse": (4, 4),
    "line": (2, 2),
    "path": (2, 2**63 - 1),
    "polygon": (3, 2**63 - 1),
}
"""The types of shapes in the order of their numbers, with the fewest and most vertices of each."""
LayerKind = Literal["image", "labels", "points", "shapes", "tracks", "vectors", "surface"]
PLANE_KINDS: tuple[LayerKind, ...] = ("image", "labels")
"""Of these an item holds planes; of the others sets of points and the like."""
Codec = Literal["", "zstd"]
QualityOfService = Literal["latest", "reliable"]
StatusLevel = Literal["info", "warning", "error", "complete"]
ControlAction = Literal["pause", "resume", "step", "stop"]
RunState = Literal["running", "paused", "stopping"]
ParameterKind = Literal["float", "int", "choice", "bool", "button", "text"]
ParameterValue = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | Text


class Peer(Struct, frozen=True, kw_only=True):
    """Who speaks: sent by both sides in the handshake.

    `host` names the machine and the user's view of it; equal values mean that shared
    memory may work. `window` is what a viewer lets a publisher have under way, in bytes.
    Publishers that are parts of one whole, the workers of a pipeline, share its layers.
    """

    role: Literal["publish", "view"]
    program: Short
    software: Short
    host: Short
    pid: Count
    run: Short
    window: Count = 0
    part_of: Short = ""


class Hello(Struct, frozen=True, tag="hello"):
    """The first message of the side that connected."""

    peer: Peer
    token: Short


class Welcome(Struct, frozen=True, tag="welcome"):
    """The answer to a good Hello; the session is open."""

    peer: Peer


class Reject(Struct, frozen=True, tag="reject"):
    """No session (any more), and why."""

    code: Short
    reason: Text


class Declare(Struct, frozen=True, tag="declare", kw_only=True):
    """A stream and the layer it makes, before its first item.

    `shape` and `dtype` are those of one plane, or of one row of coordinates; `features`
    maps column names to dtypes, ``U`` for strings. `axes` names the axes of the plane or of
    the coordinates; `scale`, `units` and `translate` run along them. Empty tuples mean "not
    said".
    """

    stream: StreamId
    name: Name
    kind: LayerKind
    dtype: Dtype
    shape: Shape
    axes: Names
    scale: Numbers = ()
    translate: Numbers = ()
    units: Annotated[tuple[Short, ...], Meta(max_length=16)] = ()
    rgb: bool = False
    colormap: Short = ""
    contrast_limits: tuple[float, float] | None = None
    features: Annotated[dict[Name, FeatureDtype], Meta(max_length=256)] = {}
    qos: QualityOfService = "latest"


class Block(Struct, frozen=True, array_like=True):
    """Where an array lies in shared memory, instead of a buffer.

    `generation` stands in the block's own header as long as the block holds this array.
    """

    segment: Short
    offset: Count
    generation: Positive


class Array(Struct, frozen=True, omit_defaults=True):
    """One array of an item: in shared memory, or in the next buffer, compressed or not."""

    name: Name
    dtype: Dtype
    shape: Shape
    block: Block | None = None
    codec: Codec = ""


class Item(Struct, frozen=True, tag="item", omit_defaults=True):
    """One plane, or one set of points, shapes and the like, at named coordinates.

    `sequence` counts the items of its stream from 0 without holes; `time` is the
    publisher's clock (seconds since the epoch) when the call was made. `along` names
    coordinates that run along leading axes: several planes in one item. `offset` is where
    a part of a plane lies in it; of pixels along y and x only every `step`-th is there. Sets
    with different keys stand beside each other at the same coordinates; one that is appended
    adds its rows to what is there. A `preview` comes again in its turn, and what is there
    `again` because of a Want came before. `scale` and `translate` hold for this item only.
    """

    stream: StreamId
    sequence: Count
    time: Time
    at: Annotated[dict[Name, Coordinate], Meta(max_length=16)]
    arrays: Annotated[tuple[Array, ...], Meta(min_length=1, max_length=260)]
    along: Annotated[dict[Name, Values], Meta(max_length=15)] = {}
    offset: Annotated[tuple[Count, ...], Meta(max_length=16)] = ()
    scale: Numbers = ()
    translate: Numbers = ()
    key: Short = ""
    append: bool = False
    preview: bool = False
    step: Step = 1
    again: bool = False


class Metric(Struct, frozen=True, tag="metric"):
    """Values of one quantity, in columns; numbered `first`, `first` + `every`, ...; 0: not."""

    name: Name
    steps: Column
    values: Column
    times: Column
    first: Count = 0
    every: Positive = 1


class Status(Struct, frozen=True, tag="status"):
    """A line for the user. A publisher's are numbered from 1; 0: it has no number."""

    level: StatusLevel
    text: Text
    time: Time
    number: Count = 0


class OutlineStep(Struct, frozen=True, kw_only=True):
    """One step of an outline: what becomes of its output, and how far it is."""

    name: Name
    written: Short
    streamed: bool
    why: Short
    done: Count = 0
    failed: Count = 0
    total: Count = 0


class Outline(Struct, frozen=True, tag="outline"):
    """What a pipeline does, step by step; takes the place of an earlier one of this title."""

    title: Name
    steps: Annotated[tuple[OutlineStep, ...], Meta(max_length=1024)]


class Elsewhere(Struct, frozen=True, tag="elsewhere"):
    """Another publisher of the same whole listens there; the URL holds its token."""

    url: Text


class Running(Struct, frozen=True, tag="running"):
    """Whether a program that can be steered runs, who said so, and what is to come."""

    state: RunState
    by: Short = ""
    note: Text = ""


class Progress(Struct, frozen=True, tag="progress"):
    """How far a program is; a `total` of 0: it does not know."""

    done: Amount
    total: Amount = 0.0
    text: Short = ""


class Parameter(Struct, frozen=True, tag="parameter", kw_only=True):
    """A number, word or button of the program that viewers may set, and its value now."""

    name: Name
    kind: ParameterKind
    value: ParameterValue
    minimum: float | None = None
    maximum: float | None = None
    choices: Annotated[tuple[Short, ...], Meta(max_length=1024)] = ()
    by: Short = ""


class Control(Struct, frozen=True, tag="control"):
    """What a viewer wants the program to do."""

    action: ControlAction


class SetParameter(Struct, frozen=True, tag="setparameter"):
    """A value that a viewer wants a parameter to have; of a button anything."""

    name: Name
    value: ParameterValue


class Gap(Struct, frozen=True, tag="gap"):
    """`count` items of a stream, between two sequence numbers, were not sent, and why."""

    stream: StreamId
    first: Count
    last: Count
    count: Count
    reason: Text


class Subscribe(Struct, frozen=True, tag="subscribe"):
    """What a viewer wants to be sent, before any item; a later one takes its place.

    `history` is how many of the last items of each stream, None for all that there are;
    `have` is the last sequence number that it has of a stream of this publisher's run.
    `metrics` and `line` are those of the last value of each metric, and of the last line.
    `streams` are the names that it wants, all if empty; `max_fps` limits the items of each
    stream in a second, `max_mb_s` all items together, in 10^6 bytes in a second; 0: no limit.
    `codecs` are those that it understands. Of planes it wants a `region`, from (y, x) up to
    another (y, x), and of that at most `max_side` pixels along each side; 0: all of them.
    """

    history: Count | None = None
    have: Annotated[dict[StreamId, Count], Meta(max_length=65536)] = {}
    streams: Annotated[tuple[Name, ...], Meta(max_length=1024)] = ()
    max_fps: Amount = 0.0
    max_mb_s: Amount = 0.0
    codecs: Annotated[tuple[Short, ...], Meta(max_length=16)] = ()
    metrics: Annotated[dict[Name, Count], Meta(max_length=1024)] = {}
    line: Count = 0
    max_side: Count = 0
    region: tuple[Count, Count, Count, Count] | None = None


class Want(Struct, frozen=True, tag="want"):
    """The plane at some coordinates, in full: a viewer has less of it, and studies it."""

    stream: StreamId
    at: Annotated[dict[Name, Coordinate], Meta(max_length=16)]


class Segment(Struct, frozen=True, tag="segment"):
    """Shared memory that items will refer to; the viewer answers Attached."""

    segment: Short
    address: Short
    size: Count


class Attached(Struct, frozen=True, tag="attached"):
    """Whether the viewer could map a segment; if not, planes come inline."""

    segment: Short
    ok: bool
    reason: Text = ""


class Ack(Struct, frozen=True, tag="ack"):
    """How many items, and how many other messages, were taken in since the session opened.

    Each acknowledged byte is credit for another one.
    """

    items: Count
    messages: Count


class Problem(Struct, frozen=True, tag="problem"):
    """Something of the peer's could not be used; the session goes on."""

    code: Short
    text: Text


class Ping(Struct, frozen=True, tag="ping"):
    """A question: are you there, and what time is it."""

    time: Time


class Pong(Struct, frozen=True, tag="pong"):
    """The answer: the Ping's own time, and the answering side's clock."""

    time: Time
    now: Time


class End(Struct, frozen=True, tag="end"):
    """Nothing new will be published; items that waited for credit may still follow."""

    reason: Text = ""


Message = (
    Hello | Welcome | Reject | Declare | Item | Metric | Status | Outline | Elsewhere | Running
    | Progress | Parameter | Control | SetParameter | Gap | Subscribe | Want | Segment | Attached
    | Ack | Problem | Ping | Pong | End
)  # fmt: skip
