"""Streams that are opened, closed and received from in the middle of a read: by their functions, and by consumers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from picows_aio import ConcurrencyError
from picows_aio.asyncio.connection import Connection
from picows_aio.streaming import Stream
from tests.picows_aio.feeding import NothingWaitsError, all_waiting, feed_messages, take_now
from tests.picows_aio.pairs import SIDES, deadline, open_pair, parked, turns


@pytest.fixture(params=SIDES)
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    with deadline(20):
        async with open_pair(request.param) as (connection, _):
            await turns(2)
            yield connection


def close_now(stream: Stream) -> None:
    """Close a stream where nothing can be awaited."""
    take_now(stream.aclose())


async def in_a_read(connection: Connection, *messages: str) -> None:
    """A read outside of all tasks, so that consumers are stepped inside it."""
    done = asyncio.get_running_loop().create_future()

    def read() -> None:
        feed_messages(connection, *messages)
        done.set_result(None)

    asyncio.get_running_loop().call_soon(read)
    await done


@pytest.mark.parametrize("function", ["filter", "key"])
async def test_a_function_opens_a_stream(connection: Connection, function: str) -> None:
    """It gets what comes after that message."""
    opened: list[Stream] = []

    def opens(message: str) -> bool:
        if message == "2":
            opened.append(connection.stream())
        return True

    options: dict[str, Any] = {"filter": {"filter": opens}, "key": {"key": opens, "overflow": "latest"}}[function]
    async with connection.stream(**options) as stream, connection.stream() as other:
        feed_messages(connection, "1", "2", "3", "4")
        async with opened[0] as inner:
            assert all_waiting(inner) == ["3", "4"]
        assert all_waiting(stream) == (["1", "2", "3", "4"] if function == "filter" else ["4"])
        assert all_waiting(other) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("function", ["filter", "key"])
async def test_a_function_closes_its_own_stream(connection: Connection, function: str) -> None:
    def closes(message: str) -> bool:
        if message == "2":
            close_now(stream)
        return True

    options: dict[str, Any] = {"filter": {"filter": closes}, "key": {"key": closes, "overflow": "latest"}}[function]
    stream = connection.stream(**options)
    other = connection.stream()
    feed_messages(connection, "1", "2", "3")
    assert (stream.received, stream.dropped, len(stream)) == (2, 2, 0)
    assert all_waiting(other) == ["1", "2", "3"]
    await other.aclose()


async def test_a_function_closes_all_streams(connection: Connection) -> None:
    """What comes then is for recv()."""

    def closes(message: str) -> bool:
        if message == "2":
            for stream in streams:
                close_now(stream)
        return True

    streams = [connection.stream(), connection.stream(filter=closes), connection.stream()]
    feed_messages(connection, "1", "2", "3", "4")
    assert [(stream.received, stream.dropped) for stream in streams] == [(2, 2), (2, 2), (1, 1)]
    assert [await connection.recv(), await connection.recv()] == ["3", "4"]


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
async def test_a_function_receives_from_its_own_stream(connection: Connection, overflow: str) -> None:
    taken: list[str] = []

    def takes(message: str) -> bool:
        if message == "3":
            taken.extend(all_waiting(stream))
        return True

    options: dict[str, Any] = {"overflow": overflow, "filter": takes}
    if overflow == "latest":
        options |= {"key": lambda message: int(message) % 2}
    async with connection.stream(**options) as stream:
        feed_messages(connection, "1", "2", "3", "4")
        assert taken == ["1", "2"]
        assert all_waiting(stream) == ["3", "4"]
        stats = stream.stats()
        assert (stats.received, stats.delivered, stats.dropped) == (4, 4, 0)


async def test_a_function_cannot_receive_what_is_not_parsed_yet(connection: Connection) -> None:
    seen: list[str] = []

    def looks(message: str) -> bool:
        with pytest.raises(ConcurrencyError):
            take_now(connection.recv())
        with pytest.raises(NothingWaitsError):
            take_now(stream.recv())
        seen.append(message)
        return False

    async with connection.stream(filter=looks) as stream:
        feed_messages(connection, "1", "2")
        assert seen == ["1", "2"]


async def _consume(stream: Stream, into: list[Any], act: Callable[[Any], None] = lambda message: None) -> None:
    async for message in stream:
        into.append(message)
        act(message)


async def test_a_consumer_opens_a_stream_inside_the_read(connection: Connection) -> None:
    """All of the read was delivered already: the new stream gets what the next one brings."""
    opened: list[Stream] = []

    def opens(message: str) -> None:
        if message == "1":
            opened.append(connection.stream())

    async with connection.stream() as stream:
        task = asyncio.create_task(_consume(stream, received := [], opens))
        await parked(task)
        await in_a_read(connection, "1", "2")
        assert received == ["1", "2"]
        await in_a_read(connection, "3")
        assert all_waiting(opened[0]) == ["3"]
        await opened[0].aclose()
    await task
    assert received == ["1", "2", "3"]


@pytest.mark.parametrize("closes_first", [True, False])
async def test_a_consumer_closes_another_stream_inside_the_read(connection: Connection, closes_first: bool) -> None:
    streams = [connection.stream(), connection.stream()]
    actor, victim = streams if closes_first else reversed(streams)
    received: list[list[str]] = [[], []]

    def closes(message: str) -> None:
        close_now(victim)

    tasks = [
        asyncio.create_task(_consume(actor, received[0], closes)),
        asyncio.create_task(_consume(victim, received[1])),
    ]
    for task in tasks:
        await parked(task)
    await in_a_read(connection, "1", "2")
    await tasks[1]
    assert received == [["1", "2"], [] if closes_first else ["1", "2"]]
    assert (victim.received, victim.dropped) == (2, 2 if closes_first else 0)
    await actor.aclose()
    await tasks[0]


async def test_a_consumer_closes_the_last_stream_and_receives_otherwise(connection: Connection) -> None:
    received: list[str] = []

    async def consume() -> None:
        async with connection.stream() as stream:
            received.append(await stream.recv())
        received.append(await connection.recv())
        async with connection.stream() as stream:
            received.append(await stream.recv())

    task = asyncio.create_task(consume())
    await parked(task)
    for text in ("1", "2", "3"):
        await in_a_read(connection, text)
    await task
    assert received == ["1", "2", "3"]


async def test_a_consumer_that_blocks_and_one_that_closes_it_in_one_read(connection: Connection) -> None:
    """The read goes on where it stopped, in the same turn."""
    blocked = connection.stream(maxsize=1)

    def closes(message: str) -> None:
        if message == "2":
            close_now(blocked)

    async with connection.stream() as stream:
        task = asyncio.create_task(_consume(stream, received := [], closes))
        await parked(task)
        await in_a_read(connection, "1", "2", "3", "4")
        assert received == ["1"]
        assert await blocked.recv() == "1"
        await turns(3)
        assert received == ["1", "2", "3", "4"]
    await task


async def test_a_consumer_keeps_up_with_a_read_that_is_larger_than_its_stream(connection: Connection) -> None:
    async with connection.stream(maxsize=3) as stream, connection.stream(maxsize=5) as other:
        tasks = [asyncio.create_task(_consume(stream, a := [])), asyncio.create_task(_consume(other, b := []))]
        for task in tasks:
            await parked(task)
        messages = [str(number) for number in range(1000)]
        await in_a_read(connection, *messages)
        assert a == b == messages
        assert (stream.high_water, other.high_water) == (3, 3)
    await asyncio.gather(*tasks)


async def test_closing_the_connection_inside_the_read(connection: Connection) -> None:
    def closes(message: str) -> None:
        connection.transport.abort()

    stream, other = connection.stream(), connection.stream()
    tasks = [asyncio.create_task(_consume(stream, a := [], closes)), asyncio.create_task(_consume(other, b := []))]
    for task in tasks:
        await parked(task)
    await in_a_read(connection, "1", "2", "3")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["ConnectionClosedError"] * 2
    assert a == b == ["1", "2", "3"]
    for source in (stream, other):
        await source.aclose()
