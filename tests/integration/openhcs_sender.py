"""A sender as OpenHCS's are, written from notes about its wire format and nothing of ours.

A test runs it in a process of its own and calls it there, method by method. What a method
returns is the viewer's reply.
"""

from __future__ import annotations

import json
import os
import pickle
import time
import uuid
from multiprocessing import shared_memory

import numpy as np
import zmq

COMPONENTS = ["site", "channel", "z_index", "timepoint", "well"]
TIMEOUT_MS = 15_000


class Sender:
    """Sends to the viewer on a port, over tcp or ipc."""

    def __init__(self, port: int, mode: str = "tcp") -> None:
        self.port, self.mode = port, mode
        self.context = zmq.Context()
        self.acks = self.context.socket(zmq.PULL)

    def url(self, port: int) -> str:
        if self.mode == "tcp":
            return f"tcp://127.0.0.1:{port}"
        return f"ipc://{os.path.expanduser('~')}/.openhcs/ipc/openhcs-zmq-{port}.sock"

    # ---- sockets

    def ask(self, port: int, frames: list[bytes]) -> bytes:
        """Send on a socket made for that, wait for the reply."""
        with self.context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.sndtimeo = socket.rcvtimeo = TIMEOUT_MS
            socket.connect(self.url(port))
            socket.send_multipart(frames)
            return socket.recv()

    def data(self, message: object) -> dict:
        return json.loads(self.ask(self.port, [json.dumps(message).encode()]))

    def raw(self, *frames: str) -> dict:
        """Send bytes as they are, given in hex."""
        return json.loads(self.ask(self.port, [bytes.fromhex(frame) for frame in frames]))

    def control(self, kind: str, **more: object) -> dict:
        request = pickle.dumps({"type": kind, **more})
        return pickle.loads(self.ask(self.port + 1000, [request]))  # noqa: S301

    def raw_control(self, *frames: str) -> dict:
        frames = [bytes.fromhex(frame) for frame in frames]
        return pickle.loads(self.ask(self.port + 1000, frames))  # noqa: S301

    def count_acks(self) -> None:
        """Listen to what the viewer says of each image."""
        self.acks.bind(self.url(7555))

    def next_ack(self) -> dict:
        assert self.acks.poll(TIMEOUT_MS), "no ack came"
        return self.acks.recv_json()

    # ---- messages

    def shared(self, array: np.ndarray) -> shared_memory.SharedMemory:
        name = f"napari_{uuid.uuid4().hex[:12]}"
        memory = shared_memory.SharedMemory(name, create=True, size=max(1, array.nbytes))
        np.ndarray(array.shape, array.dtype, memory.buf)[...] = array
        return memory

    def images(self, planes: list[dict], **message: object) -> dict:
        """Send planes in one batch; each is a dict with ``array`` and fields of the item."""
        memories, items = [], []
        for plane in planes:
            array = np.array(plane.pop("array"), plane.pop("as", "uint16"))
            memories.append(self.shared(array))
            items.append(
                {
                    "path": "/plate/images/plane.tif",
                    "shape": list(array.shape),
                    "dtype": str(array.dtype),
                    "shm_name": memories[-1].name,
                    **self.item("image", plane.pop("at")),
                    **plane,
                }
            )
        try:
            return self.data(self.batch(items, **message))
        finally:  # the sender owns it
            for memory in memories:
                memory.close()
                memory.unlink()

    def shapes(self, shapes: list[dict], at: dict, kind: str = "shapes", **message: object) -> dict:
        item = {"path": "/plate/results/rois.roi.zip", "shapes": shapes, **self.item(kind, at)}
        return self.data(self.batch([item], **message))

    def item(self, kind: str, at: dict) -> dict:
        return {
            "data_type": kind,
            "metadata": at,
            "producer_identity": {
                "origin": "pipeline",
                "output_kind": "main",
                "output_key": "image",
                "projection_key": "main",
                "step_name": "denoise",
                "pipeline_position": 0,
                "step_scope_id": None,
                "invocation_key": None,
                "artifact_kind": None,
            },
            "image_id": str(uuid.uuid4()),
        }

    def batch(self, items: list[dict], **message: object) -> dict:
        modes = dict.fromkeys(COMPONENTS, "stack")
        return {
            "type": "batch",
            "timestamp": time.time(),
            "images": items,
            "display_config": {
                "component_modes": modes | message.pop("modes", {}),
                "component_order": COMPONENTS,
                "colormap": "gray",
                "variable_size_handling": message.pop("sizes", "separate_layers"),
            },
            "component_names_metadata": message.pop("names", {}),
            "component_value_domain": {},
            **message,
        }

    # ---- as it was before there were batches

    def single(self, array: list, **fields: object) -> dict:
        """Send one image in shared memory, without a batch around it."""
        array = np.array(array, "float32")
        memory = self.shared(array)
        try:
            about = {"shape": list(array.shape), "dtype": "float32", "shm_name": memory.name}
            return self.data(about | fields)
        finally:
            memory.close()
            memory.unlink()

    def pickled(self, array: list, dtype: str = "uint16", **fields: object) -> dict:
        message = {"path": "direct.tif", "data": np.array(array, dtype)} | fields
        return json.loads(self.ask(self.port, [pickle.dumps(message)]))

    def evil(self, path: str, *, control: bool) -> dict:
        """Send a pickle that makes a file where it is loaded."""

        class Evil:
            def __reduce__(self) -> tuple:
                return open, (path, "w")

        if control:
            request = pickle.dumps({"type": "ping", "payload": Evil()})
            return pickle.loads(self.ask(self.port + 1000, [request]))  # noqa: S301
        message = {"path": "x", "data": Evil()}
        return json.loads(self.ask(self.port, [pickle.dumps(message)]))
