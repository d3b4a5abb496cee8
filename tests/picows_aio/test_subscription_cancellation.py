"""`subscribe`: iterations that are cancelled, wherever they wait, leave nothing behind and lose nothing."""

import asyncio
import random

import pytest

from picows_aio import SubscriptionState
from tests.picows_aio.feeds import Refusing, feeding, follow, keep_quiet, tell_number
from tests.picows_aio.pairs import parked
from tests.support import listen


async def cancel(task):
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_cancelled_while_it_connects():
    async with asyncio.timeout(10), listen() as server, follow(server) as feed:
        waiting = asyncio.create_task(anext(feed))
        peer = await server.accept(upgrade=False)
        await peer.read_http_head()
        await cancel(waiting)
        await peer.read_eof()
        assert feed.attempts == 0
        waiting = asyncio.create_task(anext(feed))
        peer = await server.accept()
        peer.write_frame(1, "news")
        assert await waiting == "news"
        peer.close()


async def test_cancelled_while_it_backs_off_the_next_attempt_keeps_its_time():
    states = []
    with Refusing() as nobody:
        options = {"reconnect_delays": lambda: iter([1000, 0.001]), "on_state": states.append}
        async with asyncio.timeout(10), follow(nobody, **options) as feed:
            for _ in range(3):
                waiting = asyncio.create_task(anext(feed))
                while feed.state is not SubscriptionState.BACKING_OFF:
                    await asyncio.sleep(0.001)
                await parked(waiting)
                await cancel(waiting)
    assert states == [SubscriptionState.CONNECTING, SubscriptionState.BACKING_OFF, SubscriptionState.CLOSED]


async def test_cancelled_inside_on_open():
    is_held = True

    async def hold(connection):
        if is_held:
            await asyncio.Event().wait()

    async with asyncio.timeout(10), feeding(tell_number) as server, follow(server, on_open=hold) as feed:
        waiting = asyncio.create_task(anext(feed))
        while not server.connections:
            await asyncio.sleep(0.001)
        await parked(waiting)
        await cancel(waiting)
        await server.connections[0].wait_closed()
        is_held = False
        assert await anext(feed) == "connection 2"
        assert (feed.gaps, feed.attempts) == (0, 0)


async def test_cancelled_again_and_again_while_it_receives_loses_nothing():
    count = 500

    async def send_numbers(connection, number):
        for index in range(count):
            await connection.send(str(index))
            if index % 7 == 0:
                await asyncio.sleep(0)
        await connection.wait_closed()

    received = []
    cancellations = 0
    chance = random.Random(1)
    async with asyncio.timeout(20), feeding(send_numbers) as server, follow(server) as feed:
        received.append(await anext(feed))
        while len(received) < count:
            waiting = asyncio.create_task(anext(feed))
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if waiting.cancelled():
                cancellations += 1
            else:
                received.append(waiting.result())
        assert feed.gaps == 0
    assert received == [str(index) for index in range(count)]
    assert cancellations > 10


async def test_a_loop_cancelled_inside_its_context_can_be_begun_again():
    async with asyncio.timeout(10), feeding(keep_quiet) as server, follow(server) as feed:

        async def iterate():
            async for message in feed:
                return message

        looping = asyncio.create_task(iterate())
        while feed.connection is None:
            await asyncio.sleep(0.001)
        await parked(looping)
        await cancel(looping)
        connection = feed.connection
        await server.connections[0].send("news")
        assert await iterate() == "news"
        assert feed.connection is connection


async def test_a_loop_that_is_cancelled_without_context_closes_the_connection():
    async with asyncio.timeout(10), feeding(keep_quiet) as server:
        feed = follow(server)

        async def iterate():
            async for _ in feed:
                pytest.fail("nothing was sent")

        looping = asyncio.create_task(iterate())
        while feed.connection is None:
            await asyncio.sleep(0.001)
        await parked(looping)
        await cancel(looping)
        assert feed.state is SubscriptionState.CLOSED
        await server.connections[0].wait_closed()
