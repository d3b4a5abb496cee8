"""How streams end: with the connection, by their consumer, by what their functions raise, by being forgotten."""

import asyncio
import gc
import logging
import sys
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from picows_aio import ConnectionClosedError, ConnectionClosedOK
from picows_aio.asyncio.connection import Connection
from picows_aio.streaming import Stream
from tests.picows_aio.feeding import all_waiting, feed_messages, key_of, take_now, wire
from tests.picows_aio.pairs import SIDES, deadline, feed, open_both, open_pair, parked, turns
from tests.support import CLOSE, RawPeer, close_payload, encode_frame

Pair = tuple[Connection, RawPeer]


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    with deadline(20):
        async with open_pair(request.param) as (connection, peer):
            yield connection, peer


@pytest.fixture
def connection(pair: Pair) -> Connection:
    return pair[0]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Whatever dies meanwhile dies by its last reference."""
    gc.disable()
    yield
    gc.enable()


async def collect(stream: Stream, into: list[Any]) -> None:
    async for message in stream:
        into.append(message)


# With the connection


@pytest.mark.parametrize("is_parked", [True, False])
@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_a_normal_end_comes_after_the_messages(pair: Pair, code: int | None, is_parked: bool) -> None:
    connection, peer = pair
    async with connection.stream() as stream:
        received: list[str] = []
        task = asyncio.create_task(collect(stream, received))
        if is_parked:
            await parked(task)
        feed(connection, wire(connection, "1", "2") + _close(connection, code))
        peer.half_close()
        await task
        assert received == ["1", "2"]
        with pytest.raises(ConnectionClosedOK):
            await stream.recv()
        assert (stream.delivered, stream.dropped) == (2, 0)


@pytest.mark.parametrize("end", ["1011", "TCP ends", "TCP is reset", "broken frame"])
async def test_any_other_end_is_an_error_after_the_messages(pair: Pair, end: str) -> None:
    connection, peer = pair
    async with connection.stream() as stream, connection.stream() as late:
        received: list[str] = []
        task = asyncio.create_task(collect(stream, received))
        feed_messages(connection, "1", "2")
        await parked(task)
        if end == "1011":
            peer.write_close(1011, "broken")
            peer.half_close()
        elif end == "TCP ends":
            peer.half_close()
        elif end == "TCP is reset":
            peer.reset()
        else:
            peer.write_bytes(wire(connection, "3") + b"\xff\xff\xff")
            peer.half_close()
        with pytest.raises(ConnectionClosedError) as caught:
            await task
        assert caught.value.rcvd is None or caught.value.rcvd.code == 1011
        expected = ["1", "2", "3"] if end == "broken frame" else ["1", "2"]
        assert received == expected
        await connection.wait_closed()
        assert [take_now(late.recv()) for _ in expected] == expected
        with pytest.raises(ConnectionClosedError):
            await anext(late)


async def test_what_a_blocked_stream_held_back_comes_before_the_end(pair: Pair) -> None:
    connection, peer = pair
    async with connection.stream(maxsize=1) as stream:
        peer.write_bytes(wire(connection, *"123456789") + _close(connection, 1000))
        peer.half_close()
        while not connection.is_reading_paused():
            await asyncio.sleep(0)
        assert [message async for message in stream] == [*"123456789"]


async def test_close_of_our_own_while_streams_are_full(pair: Pair) -> None:
    """The peer's CLOSE frame stands behind what nobody takes: for it, only the bytes that wait are bounded."""
    connection, peer = pair
    async with connection.stream(maxsize=2) as stream, connection.stream(overflow="drop_oldest", maxsize=2) as newest:
        feed_messages(connection, *"123456")
        closing = asyncio.create_task(connection.close())
        assert (await peer.read_frame()).close_code == 1000
        assert take_now(stream.recv()) == "1"
        feed_messages(connection, "7")
        peer.write_close(1000)
        peer.half_close()
        await closing
        stats = stream.stats()
        assert (stats.received, stats.delivered, stats.dropped, stats.depth) == (7, 1, 0, 6)
        assert [message async for message in stream] == [*"234567"]
        assert [message async for message in newest] == ["6", "7"]


async def test_who_waits_in_several_streams_learns_of_the_end(connection: Connection) -> None:
    async with connection.stream() as first, connection.stream() as second:
        waiting = [asyncio.create_task(stream.recv()) for stream in (first, second)]
        for task in waiting:
            await parked(task)
        connection.transport.abort()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionClosedError, ConnectionClosedError]
    assert connection.stream_stats() == ()


async def test_a_handler_may_leave_its_loop_over_a_stream_by_the_end_of_the_connection() -> None:
    async with asyncio.timeout(20), open_both() as (client, server), server.stream() as stream:
        received: list[str] = []
        task = asyncio.create_task(collect(stream, received))
        for number in range(100):
            await client.send(str(number))
        await client.close()
        await task
        assert len(received) == 100


# By the consumer


async def test_aclose_ends_the_iteration_of_who_waits(connection: Connection) -> None:
    stream = connection.stream()
    task = asyncio.create_task(collect(stream, received := []))
    await parked(task)
    receiving_elsewhere = connection.stream()
    await stream.aclose()
    await task
    feed_messages(connection, "x")
    assert received == []
    assert all_waiting(receiving_elsewhere) == ["x"]
    other = asyncio.create_task(receiving_elsewhere.recv())
    await parked(other)
    await receiving_elsewhere.aclose()
    with pytest.raises(RuntimeError, match="stream 'stream-2' was closed"):
        await other


async def test_aclose_drops_what_waits_and_counts_it(connection: Connection) -> None:
    async with connection.stream() as stream:
        feed_messages(connection, "1", "23", "456")
        assert await stream.recv() == "1"
    stats = stream.stats()
    assert (stats.delivered, stats.dropped, stats.dropped_bytes, stats.depth) == (1, 2, 5, 0)
    feed_messages(connection, "later")
    assert stream.received == 3


@pytest.mark.parametrize("overflow", ["block", "latest"])
async def test_a_consumer_may_close_its_stream_while_it_processes(connection: Connection, overflow: str) -> None:
    received = []
    stream = connection.stream(overflow=overflow, maxsize=3, **({"key": len} if overflow == "latest" else {}))
    feed_messages(connection, "1", "22", "333", "4444")
    async for message in stream:
        received.append(message)
        if len(received) == 2:
            await stream.aclose()
    assert len(received) == 2
    await turns(2)
    assert not connection.is_reading_paused()


async def test_async_with_closes_after_an_exception(connection: Connection) -> None:
    with pytest.raises(KeyError):
        async with connection.stream() as stream:
            raise KeyError
    assert "closed" in repr(stream)
    feed_messages(connection, "x")
    assert await connection.recv() == "x"


async def test_a_task_that_is_cancelled_closes_its_stream(connection: Connection) -> None:
    async def consume() -> None:
        async with connection.stream() as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(consume())
    await parked(task)
    task.cancel()
    await asyncio.wait([task])
    feed_messages(connection, "x")
    assert await connection.recv() == "x"


# By what its functions raise


@pytest.mark.parametrize("which", ["filter", "key", "hash", "equality"])
async def test_what_a_function_raises_ends_that_stream_only(connection: Connection, which: str) -> None:
    class Picky:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    functions: dict[str, dict[str, Any]] = {
        "filter": {"filter": lambda message: message != "3" or 1 / 0},
        "key": {"key": lambda message: message != "3" or 1 / 0, "overflow": "latest"},
        "hash": {"key": lambda message: [] if message == "3" else message, "overflow": "latest"},
        "equality": {"key": lambda message: 2 if message == "2" else Picky(), "overflow": "latest"},
    }
    async with connection.stream(**functions[which]) as stream, connection.stream() as other:
        task = asyncio.create_task(collect(stream, received := []))
        await parked(task)
        feed_messages(connection, "1", "2", "3", "4")
        with pytest.raises((ZeroDivisionError, TypeError), match=r"division|unhashable|^$"):
            await task
        assert received == {"key": ["2"]}.get(which, ["1", "2"])
        assert all_waiting(other) == ["1", "2", "3", "4"]
        assert (stream.received, stream.delivered + stream.dropped) == (3, 3)
        with pytest.raises(RuntimeError, match="is closed"):
            await stream.recv()
    await connection.send("alive")


async def test_what_comes_after_a_stream_ended_by_itself_is_for_recv(connection: Connection) -> None:
    async with connection.stream(filter=int) as stream:
        feed_messages(connection, "1", "x", "3")
        assert await connection.recv() == "3"
        assert await stream.recv() == "1"
        assert connection.stream_stats() == (stream.stats(),)
        with pytest.raises(ValueError, match="invalid literal"):
            await stream.recv()
        feed_messages(connection, "4")
        assert await connection.recv() == "4"


async def test_an_error_that_nobody_received_is_logged(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with connection.stream(filter=int, name="whole"):
        feed_messages(connection, "x")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "stream 'whole' ended and nobody received why"
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


# By being forgotten


async def test_a_forgotten_stream_warns_and_gives_its_place_up(connection: Connection, no_collector: None) -> None:
    stream = connection.stream(name="lost", maxsize=1)
    feed_messages(connection, "1", "2")
    with pytest.warns(ResourceWarning, match="unclosed <Stream 'lost' open, 1 messages wait, 0 dropped>"):
        del stream
    assert await connection.recv() == "2"


async def test_a_stream_left_by_break_is_forgotten(connection: Connection, no_collector: None) -> None:
    feed_messages(connection, "0")

    async def consume() -> None:
        async for message in connection.stream(replay=True):
            assert message == "0"
            break

    with pytest.warns(ResourceWarning, match="unclosed <Stream"):
        await consume()
    feed_messages(connection, "1")
    assert await connection.recv() == "1"


async def test_it_does_so_where_warnings_are_errors(
    connection: Connection, no_collector: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connection.stream()
    feed_messages(connection, "x")
    assert await connection.recv() == "x"
    assert [type(unraisable.exc_value) for unraisable in raised] == [ResourceWarning]
    raised.clear()


@pytest.mark.parametrize("way", ["closed", "ended", "failed", "cancelled"])
async def test_nothing_keeps_a_connection_that_had_streams(no_collector: None, way: str) -> None:
    """No reference cycle is left behind: the collector is not needed."""

    async def consume(connection: Connection) -> None:
        async with connection.stream(filter=int, overflow="drop_oldest") as stream:
            async for _ in stream:
                pass

    async def live() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        async with open_both() as (client, server):
            task = asyncio.create_task(consume(client))
            await parked(task)
            await server.send("x" if way == "failed" else "1")
            if way == "ended":
                await server.close()
            elif way == "cancelled":
                task.cancel()
            elif way == "closed":
                await client.close()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is not None:
                assert isinstance(task.exception(), ValueError)
            return weakref.ref(client), weakref.ref(server)

    async with asyncio.timeout(20):
        client, server = await live()
        await turns(5)
        while client() is not None or server() is not None:
            await asyncio.sleep(0)


def _close(connection: Connection, code: int | None) -> bytes:
    return encode_frame(CLOSE, b"" if code is None else close_payload(code), key=key_of(connection))
