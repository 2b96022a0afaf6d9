"""OpenHCS's control port: a request in a pickle, which is read and never run, and the reply."""

from __future__ import annotations

import pickle
from typing import Any

from napari_streaming.errors import MalformedError
from napari_streaming.wire.codec import Buffer
from napari_streaming.wire.dialects.plain_pickle import read_plain
from napari_streaming.wording import counted

__all__ = ["MAX_REQUEST", "done", "pong", "read_request", "refusal", "settled"]

MAX_REQUEST = 64 * 1024
_AS_OPENHCS = {"application_id": "openhcs", "application_version": "0.8.6"}


def read_request(frame: Buffer) -> str:
    """Return the type of a request, such as "ping" or "clear_state".

    Raises
    ------
    MalformedError
        It is no pickle of plain values, or none of a dict with a type.
    """
    data = bytes(frame)
    if len(data) > MAX_REQUEST:
        raise MalformedError(f"a request of {len(data)} bytes, at most {MAX_REQUEST} allowed")
    request = read_plain(data)
    kind = request.get("type") if isinstance(request, dict) else None
    if not isinstance(kind, str):
        raise MalformedError("a request needs a 'type'")
    return kind


def pong(port: int) -> bytes:
    """Return the answer to a ping: a viewer that is ready.

    OpenHCS uses a viewer again, and leaves it alone, if it names the same application and
    version: this is the one that the dialect follows.
    """
    return _pickled(
        type="pong",
        port=port,
        control_port=port + 1000,
        ready=True,
        server="napari-streaming",
        server_type="napari",
        server_role="viewer",
        control_capabilities=["ping"],
        application=_AS_OPENHCS,
    )


def done(kind: str, message: str, payload: Any = None) -> bytes:
    """Return the answer to a request that was followed."""
    extra = {} if payload is None else {"payload": payload}
    return _pickled(status="success", type=f"{kind}_ack", message=message, **extra)


def settled(count: int) -> bytes:
    """Return the answer to "settle": so many images are in their places, and none waits."""
    return _pickled(
        status="success",
        type="settle_ack",
        message=f"{counted(count, 'image')} in place",
        settle_phase="complete",
        completed_update_count=count,
        total_update_count=count,
        active_route=None,
        active_route_work_unit_count=0,
        active_route_work_unit_active=False,
    )


def refusal(message: str, kind: str = "error") -> bytes:
    """Return the answer to a request that is not followed, and why."""
    return _pickled(status="error", type=kind, message=message)


def _pickled(**reply: Any) -> bytes:
    return pickle.dumps(reply)
