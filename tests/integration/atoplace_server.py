"""A server that says what atoplace's says, written from a description of its messages."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from websockets.asyncio.server import serve

REFS = ("U1", "R1", "<b>C1</b>")


def frame(index):
    return {
        "index": index,
        "label": f"step {index}",
        "iteration": 10 * index,
        "phase": "legalise",
        "components": {ref: [10.0 * n + index, 20.0 * n, 90.0] for n, ref in enumerate(REFS)},
        "modules": {"U1": "power"},
        "forces": {"U1": [[1.5, -2.0, "net"], [0.5, 0.0, "overlap"]], "gone": [[1, 1, "net"]]},
        "overlaps": [],
        "movement": {"R1": [0.0, 3.0, 3.0]},
        "connections": [],
        "energy": 100.0 / (index + 1) if index != 2 else float("nan"),
        "max_move": 1.0,
        "overlap_count": 3,
        "total_wire_length": 123.0,
    }


class Server:
    def __init__(self):
        self.clients, self.paused, self.stopped = set(), False, False

    async def tell(self, **said):
        for client in list(self.clients):
            await client.send(json.dumps(said))

    async def talk(self, client):
        await client.send(json.dumps({"type": "welcome", "fps": 10.0, "paused": self.paused}))
        self.clients.add(client)
        try:
            async for text in client:
                wish = json.loads(text)["type"]
                if wish == "ping":
                    await client.send(json.dumps({"type": "pong"}))
                    continue
                self.paused = {"pause": True, "resume": False}.get(wish, self.paused)
                self.stopped = self.stopped or wish == "stop"
                await self.tell(
                    type="control_state", paused=self.paused, stop_requested=self.stopped
                )
        finally:
            self.clients.discard(client)

    async def run(self, port):
        async with serve(self.talk, "127.0.0.1", port) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            index = 0
            while not self.stopped:
                await asyncio.sleep(0.02)
                if self.clients and not self.paused:
                    await self.tell(type="frame", data=frame(index), timestamp=time.time())
                    await self.tell(type="status", status="warning", message=f"at {index}")
                    await self.tell(type="stats", data={"clients": 1, "uptime": 2.5, "x": "no"})
                    index += 1
            await self.tell(type="status", status="complete", message="done")
            await asyncio.sleep(0.2)


asyncio.run(Server().run(int(sys.argv[1])))
