from __future__ import annotations

import asyncio

import numpy as np
import pytest

import napari_streaming as ns
from napari_streaming.wire.messages import Control, Item, Running

PLANE = np.ones((40, 50), np.uint16)
SETTINGS = ns.PublisherSettings(memory=2**24, close_timeout=0.3)


async def until(condition):
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def viewer(party):
    return party("memory://aio?listen", "view")


def test_it_streams_and_waits_for_viewers(viewer):
    async def main():
        async with ns.aio.Publisher("memory://aio", settings=SETTINGS) as pub:
            pub.image("a", PLANE, at={"t": 0})
            pub.metric("loss", 1.0)
            assert await pub.flush(10)
            assert pub.stats().sent == 1 and pub.urls == ()
        with pytest.raises(ns.StreamingError, match="closed"):
            await pub.flush()

    asyncio.run(main())
    assert len(viewer.messages(Item)) == 1


def test_flush_lets_others_run():
    async def main():
        async with ns.aio.Publisher("memory://nobody", settings=SETTINGS) as pub:
            pub.image("a", PLANE)
            flush, turns = asyncio.create_task(pub.flush(0.2)), 0
            while not flush.done():
                turns += 1
                await asyncio.sleep(0)
            assert not await flush and turns > 1

    asyncio.run(main())


def test_a_coroutine_waits_while_paused_and_others_do_not(viewer):
    async def main():
        async with ns.aio.Publisher("memory://aio", settings=SETTINGS) as pub:
            done, ticks = [], 0

            async def work():
                async for i in pub.steps(range(1000)):
                    done.append(i)
                    await asyncio.sleep(0.001)

            task = asyncio.create_task(work())
            await until(lambda: len(done) > 2 and viewer.messages(Running))
            await asyncio.to_thread(viewer.say, Control("pause"))
            await until(lambda: pub.paused)
            waiting = asyncio.create_task(pub.checkpoint())
            await asyncio.sleep(0)
            before = len(done)
            while ticks < 100:
                ticks += 1
                await asyncio.sleep(0)
            assert len(done) <= before + 1 and not waiting.done()
            await asyncio.to_thread(viewer.say, Control("stop"))
            await task
            with pytest.raises(ns.StopRequested, match="view"):
                await waiting
            assert not await pub.wait_resumed() and len(done) < 1000
            with pytest.raises(ns.StopRequested):
                await pub.checkpoint()

    asyncio.run(main())


def test_it_has_the_calls_of_the_other_publisher():
    both = {name for name in dir(ns.Publisher) if not name.startswith("_")}
    assert both == {name for name in dir(ns.aio.Publisher) if not name.startswith("_")}


def test_the_package_has_nothing_else():
    with pytest.raises(AttributeError, match="bio"):
        _ = ns.bio
