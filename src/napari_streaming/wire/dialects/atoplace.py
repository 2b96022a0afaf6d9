"""What an atoplace server says in JSON, as layers, metrics and states of our own protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import pack, unpack
from napari_streaming.wire.messages import (
    FEATURE_PREFIX,
    Array,
    ControlAction,
    Declare,
    Item,
    LayerKind,
    Metric,
    Progress,
    Running,
    Status,
    StatusLevel,
)

__all__ = ["MAX_MESSAGE", "Set", "Translator", "command"]

MAX_MESSAGE = 16 * 1024 * 1024
_METRICS = ("energy", "max_move", "overlap_count", "total_wire_length")
_AXES = ("y", "x")
_COMMANDS = {"pause": "pause", "resume": "resume", "stop": "stop"}

Pose = Annotated[tuple[float, ...], Meta(min_length=2, max_length=3)]
Force = Annotated[list[float | str], Meta(min_length=2, max_length=3)]


class _Frame(Struct):
    """One state of a placement; what is missing is not shown."""

    index: Annotated[int, Meta(ge=0, le=2**53)] = 0
    iteration: Annotated[int, Meta(ge=0, le=2**53)] = 0
    label: str = ""
    phase: str = ""
    components: dict[str, Pose] = {}
    modules: dict[str, str | None] = {}
    forces: dict[str, list[Force]] = {}
    movement: dict[str, Pose] = {}
    energy: float | None = None
    max_move: float | None = None
    overlap_count: float | None = None
    total_wire_length: float | None = None


class _Said(Struct):
    """Any message of a server."""

    type: Literal["welcome", "frame", "stats", "status", "control_state", "pong"]
    data: dict[str, Any] = {}
    timestamp: Annotated[float, Meta(ge=0, lt=2**37)] | None = None
    paused: bool = False
    stop_requested: bool = False
    status: str = "info"
    message: str = ""


class Set(NamedTuple):
    """What a frame adds to one layer."""

    declare: Declare
    item: Item
    buffers: Sequence[bytes]


Told = Set | Metric | Status | Running | Progress


class Translator:
    """Turns what a server says into what one of our publishers would have said."""

    def __init__(self) -> None:
        self._streams: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def read(self, text: str | bytes, now: float) -> list[Told]:
        """Return what a message means.

        Parameters
        ----------
        text : str or bytes
            As it came; a binary message is none.
        now : float
            The time in seconds.

        Raises
        ------
        MalformedError
            It is no message of an atoplace server.
        """
        if not isinstance(text, str):
            raise MalformedError("a binary message, where all are JSON")
        try:
            said = msgspec.convert(json.loads(text), _Said)  # it may hold NaN, which is no JSON
            return self._told(said, now)
        except (ValueError, RecursionError, UnicodeEncodeError, OverflowError) as error:
            raise MalformedError(f"no message of atoplace's: {str(error)[:300]}") from None

    def _told(self, said: _Said, now: float) -> list[Told]:
        if said.type == "frame":
            frame = msgspec.convert(said.data, _Frame)
            return self._frame(frame, now if said.timestamp is None else said.timestamp)
        if said.type in ("welcome", "control_state"):
            state = "paused" if said.paused else "running"
            return [Running("stopping" if said.stop_requested else state)]  # type: ignore[arg-type]
        if said.type == "status":
            level: StatusLevel = "info"
            if said.status in get_args(StatusLevel):
                level = said.status  # type: ignore[assignment]
            return [Status(level, _clean(said.message)[:65536], now)]
        if said.type == "stats":
            return _metrics(said.data, now, now, "server ")
        return []

    def _frame(self, frame: _Frame, time: float) -> list[Told]:
        places = {
            ref: pose for ref, pose in frame.components.items() if all(map(math.isfinite, pose))
        }
        values = {name: getattr(frame, name) for name in _METRICS}
        text = ": ".join(filter(None, (frame.phase, frame.label)))
        told: list[Told] = [Progress(float(frame.iteration), text=_clean(text)[:256])]
        told += _metrics(values, float(frame.index), time)
        at = {"frame": frame.index}
        told.append(self._components(places, frame.modules, at, time))
        pushes = [(ref, *force) for ref, forces in frame.forces.items() for force in forces]
        if pushes:
            told.append(self._arrows("forces", places, pushes, at, time))
        if frame.movement:
            moves = [(ref, *move[:2]) for ref, move in frame.movement.items()]
            told.append(self._arrows("movement", places, moves, at, time))
        return told

    def _components(
        self,
        places: Mapping[str, Pose],
        modules: Mapping[str, str | None],
        at: Mapping[str, int],
        time: float,
    ) -> Set:
        data = np.array([(pose[1], pose[0]) for pose in places.values()], "<f8").reshape(-1, 2)
        turned = [pose[2] if len(pose) > 2 else 0.0 for pose in places.values()]
        features = {
            "ref": _words(places),
            "module": _words(modules.get(ref) or "" for ref in places),
            "rotation": np.array(turned, "<f8"),
        }
        return self._set("components", "points", data, features, at, time)

    def _arrows(
        self,
        name: str,
        places: Mapping[str, Pose],
        arrows: Iterable[tuple[Any, ...]],
        at: Mapping[str, int],
        time: float,
    ) -> Set:
        """Return arrows that begin at components; those that end nowhere are left out."""
        kept = [
            one
            for one in arrows
            if one[0] in places
            and all(isinstance(part, int | float) and math.isfinite(part) for part in one[1:3])
        ]
        data = [((places[r][1], places[r][0]), (fy, fx)) for r, fx, fy, *_ in kept]
        features = {
            "ref": _words(one[0] for one in kept),
            "kind": _words(str(one[3]) if len(one) > 3 else "" for one in kept),
        }
        return self._set(
            name, "vectors", np.array(data, "<f8").reshape(-1, 2, 2), features, at, time
        )

    def _set(
        self,
        name: str,
        kind: LayerKind,
        data: np.ndarray,
        features: Mapping[str, np.ndarray],
        at: Mapping[str, int],
        time: float,
    ) -> Set:
        stream = self._streams.setdefault(name, len(self._streams))
        number = self._counts[name] = self._counts.get(name, -1) + 1
        declare = Declare(
            stream=stream,
            name=name,
            kind=kind,
            dtype="<f8",
            shape=(2,),
            axes=_AXES,
            features={k: "U" if v.dtype.kind == "U" else v.dtype.str for k, v in features.items()},
        )
        arrays = {"data": data} | {FEATURE_PREFIX + k: v for k, v in features.items()}
        described = tuple(Array(k, v.dtype.str, v.shape) for k, v in arrays.items())
        item, buffers = unpack(
            [
                pack(Item(stream, number, time, dict(at), described)),
                *(array.tobytes() for array in arrays.values()),
            ]
        )
        assert isinstance(item, Item)
        return Set(declare, item, [bytes(buffer) for buffer in buffers])


def command(action: ControlAction) -> str | None:
    """Return what a server is told to do; None if it knows no such thing."""
    wanted = _COMMANDS.get(action)
    return None if wanted is None else json.dumps({"type": wanted})


def _metrics(values: Mapping[str, Any], step: float, time: float, prefix: str = "") -> list[Told]:
    return [
        Metric(_clean(prefix + name)[:256], [step], [float(value)], [time])
        for name, value in values.items()
        if (isinstance(value, int | float) and abs(value) < 2**1000) or value != value
    ]


def _words(words: Iterable[str]) -> np.ndarray:
    array = np.array([_clean(word)[:9999] for word in words], "U")
    return array.astype(f"<U{max(1, array.dtype.itemsize // 4)}")


def _clean(text: str) -> str:
    """Return text that can be sent: JSON may hold lone surrogates."""
    return text.encode("utf-8", "replace").decode()
