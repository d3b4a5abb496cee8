"""Streams of a connection: how they are opened, who receives what, and what they do to the rest of the connection."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import ConcurrencyError, ConnectionClosedOK
from picows_aio.asyncio.connection import Connection
from picows_aio.streaming import Stream
from tests.picows_aio.feeding import all_waiting, feed_messages, key_of, take_now, wire
from tests.picows_aio.pairs import SIDES, deadline, feed, open_both, open_pair, parked, turns
from tests.support import CONTINUATION, TEXT, RawPeer, encode_frame

Pair = tuple[Connection, RawPeer]


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    with deadline(20):
        async with open_pair(request.param) as (connection, peer):
            yield connection, peer


@pytest.fixture
def connection(pair: Pair) -> Connection:
    return pair[0]


async def collect(stream: Stream, into: list[Any]) -> None:
    async for message in stream:
        into.append(message)


# Who receives what


async def test_recv_and_iteration_name_the_streams_that_are_open(connection: Connection) -> None:
    async with connection.stream(name="orders"), connection.stream():
        for receiving in (connection.recv(), anext(connection), anext(connection.views()), anext(connection.frames())):
            with pytest.raises(ConcurrencyError, match="streams 'orders', 'stream-2': receive from these, or close"):
                await receiving
        with pytest.raises(ConcurrencyError, match="streams 'orders', 'stream-2'"):
            await anext(connection.batches())
        with pytest.raises(ConcurrencyError, match="streams 'orders', 'stream-2'"):
            await anext(connection.recv_streaming())


async def test_recv_works_again_when_all_streams_are_closed(connection: Connection) -> None:
    first, second = connection.stream(), connection.stream()
    feed_messages(connection, "a")
    await first.aclose()
    with pytest.raises(ConcurrencyError, match="streams 'stream-2'"):
        await connection.recv()
    await second.aclose()
    feed_messages(connection, "b")
    assert await connection.recv() == "b"
    assert connection.stream_stats() == ()


async def test_what_came_before_the_first_stream_stays_with_recv(connection: Connection) -> None:
    feed_messages(connection, "before")
    async with connection.stream() as stream:
        feed_messages(connection, "with")
        assert all_waiting(stream) == ["with"]
    feed_messages(connection, "after")
    assert [await connection.recv(), await connection.recv()] == ["before", "after"]


async def test_replay_begins_with_what_waits_for_recv(connection: Connection) -> None:
    feed_messages(connection, "1", "two", b"3")
    feed_messages(connection, "four", parts=2)
    async with connection.stream(replay=True, filter=lambda message: message != "1") as stream:
        feed_messages(connection, "5")
        assert all_waiting(stream) == ["two", b"3", "four", "5"]
        assert stream.stats().received_bytes == 1 + 3 + 1 + 4 + 1
        assert stream.filtered == 1


async def test_replay_finds_nothing_where_another_stream_took_all(connection: Connection) -> None:
    feed_messages(connection, "1")
    async with connection.stream(replay=True) as first, connection.stream(replay=True) as second:
        feed_messages(connection, "2")
        assert (all_waiting(first), all_waiting(second)) == (["1", "2"], ["2"])


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest", "block"])
async def test_policies_hold_for_what_is_replayed(connection: Connection, overflow: str) -> None:
    feed_messages(connection, "1", "2", "3")
    async with connection.stream(replay=True, maxsize=1, overflow=overflow) as stream:
        assert connection.is_reading_paused() == (overflow == "block")
        expected = {"drop_newest": ["1"], "block": ["1", "2", "3"]}
        assert all_waiting(stream) == expected.get(overflow, ["3"])


async def test_what_a_stream_that_ends_cannot_replay_stays_with_recv(connection: Connection) -> None:
    feed_messages(connection, "1", "2", "x", "4", "5")
    async with connection.stream(replay=True, filter=int) as stream:
        assert [await stream.recv(), await stream.recv()] == ["1", "2"]
        with pytest.raises(ValueError, match="invalid literal"):
            await stream.recv()
    assert stream.dropped == 1
    assert [await connection.recv(), await connection.recv()] == ["4", "5"]


async def test_a_connection_that_recv_had_paused_reads_on_for_streams() -> None:
    async with asyncio.timeout(10), open_pair("client", max_queue=1) as (connection, _):
        await turns(2)
        feed_messages(connection, "1", "2", "3", "4")
        assert connection.is_reading_paused()
        async with connection.stream() as stream:
            assert [await stream.recv(), await stream.recv()] == ["3", "4"]
        assert connection.is_reading_paused()
        assert [await connection.recv(), await connection.recv()] == ["1", "2"]


async def test_a_stream_gets_the_message_that_was_under_way_when_it_was_opened(connection: Connection) -> None:
    feed(connection, encode_frame(TEXT, "be", fin=False, key=key_of(connection)))
    async with connection.stream() as stream:
        feed(connection, encode_frame(CONTINUATION, "gun", key=key_of(connection)))
        assert await stream.recv() == "begun"
        feed(connection, encode_frame(TEXT, "e", fin=False, key=key_of(connection)))
    feed(connection, encode_frame(CONTINUATION, "nd", key=key_of(connection)))
    assert await connection.recv() == "end"


async def test_a_stream_is_not_opened_while_somebody_receives(connection: Connection) -> None:
    receiving = asyncio.create_task(connection.recv(), name="the reader")
    await parked(receiving)
    with pytest.raises(ConcurrencyError, match="the reader waits"):
        connection.stream()
    feed_messages(connection, "x")
    assert await receiving == "x"
    async with connection.stream():
        pass


async def test_a_stream_is_not_opened_within_a_message(connection: Connection) -> None:
    feed(connection, encode_frame(TEXT, "a", fin=False, key=key_of(connection)))
    parts = connection.recv_streaming()
    assert await anext(parts) == "a"
    with pytest.raises(ConcurrencyError, match="not taken whole"):
        connection.stream()
    feed(connection, encode_frame(CONTINUATION, "b", key=key_of(connection)))
    assert [part async for part in parts] == ["b"]
    feed(connection, encode_frame(TEXT, "c", fin=False, key=key_of(connection)))
    assert bytes(await anext(connection.frames())) == b"c"
    with pytest.raises(ConcurrencyError, match="part of a message"):
        connection.stream()


async def test_compressed_messages() -> None:
    async with (
        asyncio.timeout(20),
        open_both(compression="deflate") as (client, server),
        client.stream() as stream,
        client.stream(overflow="latest") as latest,
    ):
        await server.send("x" * 10_000)
        await server.send([b"y" * 3000, b"z" * 3000])
        assert await stream.recv() == "x" * 10_000
        assert await stream.recv() == b"y" * 3000 + b"z" * 3000
        assert stream.stats().delivered_bytes == 16_000
        assert await latest.recv() == b"y" * 3000 + b"z" * 3000


# Consumers


@pytest.mark.parametrize("comes", ["in one read", "through the socket"])
async def test_consumers_run_beside_each_other(pair: Pair, comes: str) -> None:
    connection, peer = pair
    messages = [str(number) for number in range(500)]
    received: list[list[str]] = [[], [], []]
    async with (
        connection.stream() as first,
        connection.stream(maxsize=3) as second,
        connection.stream(overflow="drop_oldest", maxsize=600) as third,
        asyncio.TaskGroup() as group,
    ):
        for stream, into in zip((first, second, third), received, strict=True):
            await parked(group.create_task(collect(stream, into)))
        if comes == "in one read":
            asyncio.get_running_loop().call_soon(feed_messages, connection, *messages)
        else:
            peer.write_bytes(wire(connection, *messages))
        while not len(received[0]) == len(received[1]) == len(received[2]) == 500:
            await asyncio.sleep(0)
        for stream in (first, second, third):
            await stream.aclose()
    assert received == [messages] * 3


async def test_two_consumers_of_one_stream(connection: Connection) -> None:
    async with connection.stream(name="prices") as stream:
        first = asyncio.create_task(stream.recv(), name="the first one")
        await parked(first)
        for receiving in (stream.recv(), anext(stream)):
            with pytest.raises(ConcurrencyError, match=r"'prices' has a consumer already: the first one waits"):
                await receiving
        feed_messages(connection, "1", "2")
        with pytest.raises(ConcurrencyError):  # it was woken and has not run yet
            await stream.recv()
        assert await first == "1"
        assert await stream.recv() == "2"


async def test_a_cancelled_consumer_leaves_everything(connection: Connection) -> None:
    async with connection.stream() as stream:
        receiving = asyncio.create_task(stream.recv())
        await parked(receiving)
        feed_messages(connection, "kept")
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert await stream.recv() == "kept"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.recv(), 0.001)
        feed_messages(connection, "next")
        assert await asyncio.wait_for(stream.recv(), 10) == "next"


async def test_messages_come_as_objects_of_a_coroutine(connection: Connection) -> None:
    async with connection.stream() as stream:
        feed_messages(connection, "a", "b")
        assert await asyncio.gather(stream.recv(), stream.recv()) == ["a", "b"]
        receiving = stream.recv()
        assert receiving.__qualname__ == "Stream.recv"
        assert asyncio.iscoroutine(receiving)
        receiving.close()
        with pytest.warns(RuntimeWarning, match=r"'Stream.recv' was never awaited"):
            stream.recv()


# Bad use


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"overflow": "newest"}, ValueError, "overflow must be one of 'block', 'drop_oldest', .*, not 'newest'"),
        ({"overflow": None}, ValueError, "overflow must be one of"),
        ({"overflow": []}, ValueError, "overflow must be one of"),
        ({"maxsize": 0}, ValueError, "maxsize must be from 1 to"),
        ({"maxsize": -1}, ValueError, "maxsize must be from 1 to"),
        ({"maxsize": 2**70}, ValueError, "maxsize must be from 1 to"),
        ({"maxsize": None}, TypeError, "maxsize must be an int, not NoneType"),
        ({"maxsize": 1.5}, TypeError, "maxsize must be an int, not float"),
        ({"maxsize": True}, TypeError, "maxsize must be an int, not bool"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be from 1 to"),
        ({"max_bytes": "1"}, TypeError, "max_bytes must be an int, not str"),
        ({"key": len}, ValueError, 'key goes with overflow="latest" only'),
        ({"key": "symbol", "overflow": "latest"}, TypeError, "key must be a function, not "),
        ({"filter": "x"}, TypeError, "filter must be a function, not "),
        ({"filter": asyncio.sleep}, TypeError, "filter must be a plain function, not a coroutine function"),
        ({"name": b"x"}, TypeError, "name must be a str, not bytes"),
        ({"size": 3}, TypeError, "unexpected keyword argument"),
    ],
)
async def test_bad_arguments(options: dict[str, Any], error: type[Exception], text: str) -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, _):
        with pytest.raises(error, match=text):
            connection.stream(**options)
        feed_messages(connection, "x")
        assert await connection.recv() == "x"


async def test_the_largest_bounds(connection: Connection) -> None:
    async with connection.stream(maxsize=sys.maxsize, max_bytes=sys.maxsize) as stream:
        feed_messages(connection, "x")
        assert take_now(stream.recv()) == "x"


async def test_a_closed_stream_says_so(connection: Connection) -> None:
    stream = connection.stream(name="done")
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(RuntimeError, match="stream 'done' is closed: open another with stream"):
        await stream.recv()
    with pytest.raises(RuntimeError, match="stream 'done' is closed"):
        async for _ in stream:
            pass
    with pytest.raises(RuntimeError, match="stream 'done' is closed"):
        async with stream:
            pass
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_what_connections_make_is_made_by_them_only(connection: Connection) -> None:
    """Not a crash of the interpreter."""
    async with connection.stream() as stream:
        receiving = [stream.recv(), connection.recv()]
        iterators = [connection.frames(), connection.views(), connection.batches()]
        for kind in {type(made) for made in receiving}:
            with pytest.raises(TypeError, match="made by the methods of a"):
                take_now(kind())
        for made in iterators:
            with pytest.raises(TypeError, match="made by the methods of a connection only"):
                take_now(anext(type(made)()))
        for made in receiving:
            made.close()


def test_streams_are_made_by_connections() -> None:
    with pytest.raises(TypeError):
        Stream()
    for arguments in [(None, None), (1, 2)]:
        with pytest.raises(TypeError):
            Stream.__new__(Stream, *arguments)


async def test_a_stream_of_a_closed_connection(pair: Pair) -> None:
    connection, peer = pair
    feed_messages(connection, "left", "over")
    peer.write_close(1000)
    peer.half_close()
    await connection.wait_closed()
    with pytest.raises(ConnectionClosedOK):
        connection.stream()
    async with connection.stream(replay=True) as stream:
        assert [message async for message in stream] == ["left", "over"]
    with pytest.raises(ConnectionClosedOK):
        await connection.recv()


async def test_what_a_stream_says_of_itself(connection: Connection) -> None:
    async with connection.stream(name="prices", overflow="drop_oldest", maxsize=1) as stream:
        assert stream
        feed_messages(connection, "1", "2")
        assert repr(stream) == "<Stream 'prices' open, 1 messages wait, 1 dropped>"
        (stats,) = connection.stream_stats()
        assert (stats.name, stats.overflow, stats.received) == (stream.name, "drop_oldest", 2)
    assert repr(stream) == "<Stream 'prices' closed, 0 messages wait, 2 dropped>"
