"""Streams that are full: what waits is bounded, the connection stands still for those that block, and it lives."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import ConnectionClosedError
from picows_aio.asyncio.connection import Connection
from picows_aio.streaming import Stream
from tests.picows_aio.feeding import all_waiting, feed_messages, wire
from tests.picows_aio.pairs import SIDES, deadline, open_pair, parked, turns
from tests.support import CLOSE, PING, PONG, TEXT, RawPeer

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


async def test_the_peer_of_a_stream_that_blocks_is_held_back_and_released(pair: Pair) -> None:
    """Back-pressure reaches the peer's socket: its writes wait."""
    connection, peer = pair
    count, size = 400, 60_000
    async with connection.stream(maxsize=4) as stream:
        for number in range(count):
            peer.write_bytes(wire(connection, b"%08d" % number + bytes(size - 8)))
        writing = asyncio.create_task(peer.drain())
        while not connection.is_reading_paused():
            await asyncio.sleep(0)
        await turns(20)
        assert not writing.done()
        assert len(stream) == 4
        assert connection.bytes_received() < 6 * size + 65536
        for number in range(count):
            assert (await stream.recv())[:8] == b"%08d" % number
        await writing
        assert stream.high_water == 4


async def test_a_full_block_stream_is_logged_once_with_its_name(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with connection.stream(name="slow", maxsize=2) as slow, connection.stream(name="other") as other:
        for _ in range(3):
            feed_messages(connection, *"123456")
            for _ in range(6):
                await slow.recv()
        assert all_waiting(other) == [*"123456"] * 3
    records = [record.getMessage() for record in caplog.records if "is full" in record.getMessage()]
    assert records == [
        "stream 'slow' is full (2 messages, 2 bytes): reading pauses, and with it every stream of the connection"
    ]


async def test_closing_the_stream_that_blocks_lets_the_others_go_on(connection: Connection) -> None:
    slow = connection.stream(maxsize=1)
    async with connection.stream() as other:
        feed_messages(connection, *"12345")
        receiving = asyncio.create_task(collect(other, received := []))
        await parked(receiving)
        assert received == ["1"]
        await slow.aclose()
        while len(received) < 5:
            await asyncio.sleep(0)
        assert received == [*"12345"]
        assert (slow.received, slow.dropped) == (1, 1)
    await receiving


async def test_keepalive_says_that_a_stream_was_not_received() -> None:
    """While a stream blocks, answers to pings are not read; what waits in the stream can be."""
    async with (
        asyncio.timeout(20),
        open_pair("client", ping_interval=0.01, ping_timeout=0.01) as (connection, _),
        connection.stream(maxsize=2) as stream,
    ):
        feed_messages(connection, "1", "2", "3")
        await connection.wait_closed()
        assert [await stream.recv(), await stream.recv()] == ["1", "2"]
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout") as caught:
            await stream.recv()
        assert "the application did not receive: 2 messages wait for it" in str(caught.value.__cause__)


async def test_keepalive_goes_on_while_messages_are_dropped() -> None:
    async with (
        asyncio.timeout(20),
        open_pair("client", ping_interval=0.01, ping_timeout=5) as (connection, peer),
        connection.stream(overflow="drop_newest", maxsize=1) as stream,
    ):
        for _ in range(5):
            peer.write_bytes(wire(connection, *["x" * 100] * 500))
            ping = await peer.read_frame()
            assert ping.opcode == PING
            peer.write_frame(PONG, ping.payload)
        while stream.received < 2500 or connection.latency == 0:
            await asyncio.sleep(0)
        assert len(stream) == 1


async def test_pings_are_answered_while_messages_are_dropped(pair: Pair) -> None:
    connection, peer = pair
    async with connection.stream(overflow="drop_oldest", maxsize=1):
        peer.write_bytes(wire(connection, *["x" * 100] * 5000))
        peer.write_frame(PING, b"alive")
        assert (await peer.read_frame()).payload == b"alive"


async def test_a_stream_with_close_does_not_wait_for_one_that_blocks(pair: Pair) -> None:
    """The peer's CLOSE frame comes behind what nobody takes, and is found all the same."""
    connection, peer = pair
    async with (
        asyncio.timeout(8),
        connection.stream(maxsize=2),
        connection.stream(overflow="close", maxsize=1) as closing,
    ):
        for text in "1234":
            peer.write_frame(TEXT, text)
        assert (await peer.read_frame()).opcode == CLOSE
        peer.write_close(1000)
        peer.half_close()
        assert await closing.recv() == "1"
        with pytest.raises(ConnectionClosedError):
            await closing.recv()


async def test_a_filter_that_raises_cancellederror_ends_its_stream_alone(pair: Pair) -> None:
    connection, peer = pair

    def cancel(message: str | bytes) -> bool:
        raise asyncio.CancelledError

    async with asyncio.timeout(8), connection.stream(filter=cancel) as failing, connection.stream() as stream:
        peer.write_frame(TEXT, "1")
        assert await stream.recv() == "1"
        with pytest.raises(RuntimeError, match="raised CancelledError"):
            await failing.recv()
