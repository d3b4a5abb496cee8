"""`subscribe`: how iterations end, and how subscriptions are closed, whatever they are doing."""

import asyncio

import pytest

from picows_aio import ConnectionClosedOK, State, SubscriptionState
from tests.picows_aio.feeds import Refusing, collect, feeding, follow, keep_quiet, tell_number
from tests.picows_aio.pairs import parked
from tests.support import listen


async def test_a_loop_that_is_left_closes_the_connection():
    async with asyncio.timeout(10), feeding(tell_number) as server:
        async for message in follow(server):
            assert message == "connection 1"
            break
        await server.connections[0].wait_closed()
        assert server.connections[0].close_code == 1000


async def test_an_exception_in_a_loop_closes_the_connection():
    async def iterate(feed):
        async for _ in feed:
            raise KeyError("the body's")

    async with asyncio.timeout(10), feeding(tell_number) as server:
        feed = follow(server)
        with pytest.raises(KeyError):
            await iterate(feed)
        while feed.state is not SubscriptionState.CLOSED:
            await asyncio.sleep(0.001)
        await feed.aclose()
        assert server.connections[0].close_code == 1000


async def test_inside_its_context_a_loop_can_be_left_and_begun_again():
    async def count(connection, number):
        for index in range(5):
            await connection.send(str(index))
        await connection.wait_closed()

    received = []
    async with asyncio.timeout(10), feeding(count) as server, follow(server) as feed:
        for _ in range(5):
            async for message in feed:
                received.append(message)
                break
        assert feed.state is SubscriptionState.OPEN
    assert received == ["0", "1", "2", "3", "4"]
    assert feed.state is SubscriptionState.CLOSED


async def test_what_was_received_before_aclose_is_handed_out():
    async def count(connection, number):
        for index in range(5):
            await connection.send(str(index))
        await connection.wait_closed()

    received = []
    async with asyncio.timeout(10), feeding(count) as server:
        feed = follow(server)
        async for message in feed:
            received.append(message)
            while feed.connection.messages_waiting() < 5 - len(received):
                await asyncio.sleep(0.001)
            await feed.aclose()
    assert received == ["0", "1", "2", "3", "4"]


async def test_another_task_may_close_it_while_a_loop_waits_for_a_message():
    async with asyncio.timeout(10), feeding(keep_quiet) as server, follow(server) as feed:
        collecting = asyncio.create_task(collect(feed))
        while feed.connection is None:
            await asyncio.sleep(0.001)
        await parked(collecting)
        await feed.aclose()
        assert await collecting == []
        assert server.connections[0].close_code == 1000


async def test_another_task_may_close_it_while_it_backs_off():
    states = []
    with Refusing() as nobody:
        feed = follow(nobody, reconnect_delays=lambda: iter([1000]), on_state=states.append)
        async with asyncio.timeout(10):
            collecting = asyncio.create_task(collect(feed))
            while feed.state is not SubscriptionState.BACKING_OFF:
                await asyncio.sleep(0.001)
            await asyncio.gather(feed.aclose(), feed.aclose())
            assert await collecting == []
            await feed.aclose()
    assert states[-2:] == [SubscriptionState.BACKING_OFF, SubscriptionState.CLOSED]


async def test_another_task_may_close_it_while_it_connects():
    async with asyncio.timeout(10), listen() as server:
        feed = follow(server)
        collecting = asyncio.create_task(collect(feed))
        peer = await server.accept(upgrade=False)
        await peer.read_http_head()
        await feed.aclose()
        assert await collecting == []
        await peer.read_eof()


@pytest.mark.parametrize("closer", ["another task", "on_open"])
async def test_it_may_be_closed_while_on_open_runs(closer):
    async def never_returns(connection):
        if closer == "on_open":
            await feed.aclose()
        await asyncio.Event().wait()

    async with asyncio.timeout(10), feeding(keep_quiet) as server:
        feed = follow(server, on_open=never_returns)
        collecting = asyncio.create_task(collect(feed))
        while not server.connections:
            await asyncio.sleep(0.001)
        await feed.aclose()
        assert await collecting == []
        await server.connections[0].wait_closed()


async def test_it_may_be_closed_in_the_moment_in_which_on_open_returns():
    closing = []

    async def close(connection):
        closing.append(asyncio.create_task(feed.aclose()))
        await asyncio.sleep(0)

    async with asyncio.timeout(10), feeding(keep_quiet) as server:
        feed = follow(server, on_open=close)
        assert await collect(feed) == []
        await closing[0]
        assert feed.connection is None
        await server.connections[0].wait_closed()


async def test_aclose_waits_until_on_open_has_cleaned_up():
    is_clean = False
    introduced = asyncio.Event()

    async def clean_up_slowly(connection):
        nonlocal is_clean
        introduced.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            is_clean = True

    async with asyncio.timeout(10), feeding(keep_quiet) as server:
        feed = follow(server, on_open=clean_up_slowly)
        collecting = asyncio.create_task(collect(feed))
        await introduced.wait()
        await feed.aclose()
        assert is_clean
        await collecting


async def test_a_closed_subscription_cannot_be_used():
    async with asyncio.timeout(10), feeding(tell_number) as server:
        async with follow(server) as feed:
            await anext(feed)
            with pytest.raises(RuntimeError, match="was entered already"):
                await feed.__aenter__()
        with pytest.raises(StopAsyncIteration):
            await anext(feed)
        for use in (anext(feed), collect(feed), feed.__aenter__()):
            with pytest.raises(RuntimeError, match=f"subscription to {server.url} is closed: subscribe anew"):
                await use
        unused = follow(server)
        await unused.aclose()
        with pytest.raises(RuntimeError, match="is closed"):
            await collect(unused)


async def test_closing_leaves_no_connection_open():
    async with asyncio.timeout(10), feeding(tell_number) as server:
        async with follow(server, stale_after=100) as feed:
            await anext(feed)
            connection = feed.connection
        assert connection.state is State.CLOSED
        await server.connections[0].wait_closed()
        with pytest.raises(ConnectionClosedOK):
            await connection.recv()
