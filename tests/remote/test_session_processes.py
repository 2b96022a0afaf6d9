"""Sessions between processes that die."""

from __future__ import annotations

from pathlib import Path

from napari_streaming.uri import parse_session_url
from napari_streaming.wire import remote as wire

from .conftest import TOKEN, Watcher

ROOT = str(Path(__file__).parents[2])

SERVE = f"""
import sys; sys.path.insert(0, {ROOT!r})
from tests.remote.conftest import SmallStage, SessionServer, parse_session_url
stage = SmallStage()
stage.server = SessionServer(parse_session_url("ws://127.0.0.1:%d", listen=True), {TOKEN!r}, stage)
stage.server.start()
"""
WATCH = f"""
import sys; sys.path.insert(0, {ROOT!r})
from tests.remote.conftest import Watcher, parse_session_url
one = Watcher(parse_session_url(%r))
"""


def test_a_server_that_is_killed_is_missed_and_found_again(remote, until):
    first = remote()
    first.tell(SERVE % 0)
    first.answer()
    port = first("stage.server.url.port")
    one = Watcher(parse_session_url(f"ws://127.0.0.1:{port}/session#{TOKEN}"))
    try:
        until(lambda: one.snapshots)
        one.client.send_intent("layer", {"opacity": 0.25}, layer=1)
        until(lambda: one.messages(wire.Accepted))
        first.kill()
        until(lambda: one.state.startswith("lost"))
        assert one.client.send_intent("layer", {"opacity": 0.5}, layer=1) == 0
        second = remote()
        second.tell(SERVE % port)
        second.answer()
        until(lambda: one.state == "connected")
        until(lambda: len(one.snapshots) == 2)
        assert one.snapshots[1].layers[0].attributes == {"opacity": 1.0}
        one.client.send_intent("layer", {"opacity": 0.5}, layer=1)
        until(lambda: len(one.messages(wire.Accepted)) == 2)
    finally:
        one.client.close()


def test_a_client_that_is_killed_leaves_nothing(remote, server, stage, watcher, until):
    other = watcher()
    process = remote()
    process.tell(WATCH % str(server.url))
    process.answer()
    until(lambda: len(stage.pacings) == 2)
    process.kill()
    until(lambda: list(stage.pacings) == [other.client.number])
    until(lambda: len(server._states) == len(server._pixels) == 1)
    assert other.state == "connected"
