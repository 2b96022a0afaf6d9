"""How long the end of a run waits for viewers."""

from __future__ import annotations

import numpy as np
import pytest

from napari_streaming.pipeline import streaming
from napari_streaming.pipeline.streaming import Streams
from napari_streaming.pipeline.values import About
from napari_streaming.publish.publisher import Publisher
from napari_streaming.wire.messages import Item

URL = "memory://test"


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(streaming, "time", clock)
    return clock


@pytest.fixture
def waits(monkeypatch, clock):
    """Seconds that somebody was ready to wait for a viewer, all of which pass at once."""
    waits = []

    def flush(publisher, timeout=5.0):
        if timeout:
            waits.append(timeout)
            clock.now += timeout
        return real(publisher, 0)

    real = Publisher.flush
    monkeypatch.setattr(Publisher, "flush", flush)
    return waits


def show(streams, well):
    plane = np.zeros((8, 8), np.uint8)
    streams.show(URL, [plane], [f"a/{well}.tif"], [{"well": well}], About(name="a"))


def test_a_viewer_that_took_everything_is_not_waited_for(party, waits, until):
    viewer = party(URL + "?listen", "view")
    with Streams([URL], run="r", name="n") as streams:
        show(streams, "A01")
        until(lambda: streams._publishers[URL].stats().sinks[0].tally.acknowledged)
        until(lambda: streams._pulses[URL].feel())
    assert len(viewer.messages(Item)) == 1 and not waits


def test_a_viewer_that_has_taken_nothing_for_long_is_not_waited_for(party, waits, clock, until):
    viewer = party(URL + "?listen", "view", ack=False)
    with Streams([URL], run="r", name="n") as streams:
        show(streams, "A01")
        until(lambda: viewer.messages(Item))
        clock.now += 0.1
        show(streams, "A02")  # here it is seen that it owes something
        clock.now += 10
    assert not waits


def test_a_viewer_that_may_be_about_to_take_it_is_waited_for_a_moment(party, waits, clock, until):
    viewer = party(URL + "?listen", "view", ack=False)
    with Streams([URL], run="r", name="n") as streams:
        clock.now += 10
        show(streams, "A01")
        until(lambda: viewer.messages(Item))
        show(streams, "A02")
    assert waits == [pytest.approx(0.5)]


def test_nobody_there_is_not_waited_for_after_a_long_run(waits, clock):
    with Streams([URL], run="r", name="n") as streams:
        show(streams, "A01")
        show(streams, "A02")
        clock.now += 10
    assert not waits
