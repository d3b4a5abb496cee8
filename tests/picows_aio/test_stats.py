"""`stats()`: totals of connections and streams, before, while and after a connection is open."""

import asyncio
import dataclasses
from typing import Any

import pytest

import picows_aio
from picows_aio import ConnectionStats, State, StreamStats
from tests.picows_aio.pairs import SIDES, open_both, open_pair, turns
from tests.picows_aio.sites import running
from tests.support import BINARY, CONTINUATION, PING, PONG, TEXT, Frame

ZERO = ConnectionStats(
    state=State.CONNECTING,
    messages_waiting=0,
    bytes_waiting=0,
    is_reading_paused=False,
    latency=0.0,
    frames_sent=0,
    frames_received=0,
    bytes_sent=0,
    bytes_received=0,
    pings_sent=0,
    pings_received=0,
    write_backlog=0,
    streams=(),
)


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


async def test_all_is_zero_before_the_connection_is_open() -> None:
    seen: list[ConnectionStats] = []

    def look(connection: Any, request: Any) -> None:
        seen.append(connection.stats())

    async with asyncio.timeout(10), running(process_request=look) as site, site.connect():
        assert seen == [ZERO]


async def test_frames_and_bytes_are_those_on_the_wire(side: str) -> None:
    """RFC 6455 section 5.2: a small frame has 2 bytes of header, and 4 more for the key of a client."""
    sent_header, received_header = (6, 2) if side == "client" else (2, 6)
    async with asyncio.timeout(10), open_pair(side, ping_interval=None) as (connection, peer):
        assert connection.stats() == dataclasses.replace(ZERO, state=State.OPEN)
        peer.write_frame(TEXT, "abc")
        peer.write_frame(BINARY, b"de", fin=False)
        peer.write_frame(CONTINUATION, b"f")
        peer.write_frame(PING, b"")
        assert await peer.read_frame() == Frame(PONG)
        await connection.send("hello")
        expected = dataclasses.replace(
            ZERO,
            state=State.OPEN,
            messages_waiting=2,
            bytes_waiting=6,
            frames_sent=2,
            frames_received=4,
            bytes_sent=2 * sent_header + 5,
            bytes_received=4 * received_header + 6,
            pings_received=1,
        )
        assert connection.stats() == expected
        assert [await connection.recv(), await connection.recv()] == ["abc", b"def"]
        assert connection.stats() == dataclasses.replace(expected, messages_waiting=0, bytes_waiting=0)


async def test_pings_and_their_latency_show() -> None:
    async with asyncio.timeout(10), open_both(ping_interval=None) as (client, server):
        await (await client.ping())
        assert (client.stats().pings_sent, server.stats().pings_received) == (1, 1)
        assert client.stats().latency == client.latency > 0


async def test_a_pause_shows(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, max_queue=2) as (connection, peer):
        for _ in range(10):
            peer.write_frame(TEXT, "x" * 10)
        while not connection.stats().is_reading_paused:
            await turns()
        assert (connection.stats().messages_waiting, connection.stats().bytes_waiting) == (3, 30)
        for _ in range(10):
            await connection.recv()
        assert not connection.stats().is_reading_paused


async def test_what_the_socket_does_not_take_is_the_backlog(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, send_buffer_size=4096, receive_buffer_size=4096) as (connection, _):
        assert connection.stats().write_backlog == 0
        sending = asyncio.create_task(connection.send(bytes(10_000_000)))
        await turns(5)
        stats = connection.stats()
        assert 0 < stats.write_backlog == connection.transport.get_write_buffer_size()
        assert stats.bytes_sent > 10_000_000
        sending.cancel()
        await asyncio.wait([sending])


async def test_fragments_that_wait_count_in_messages_and_bytes(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        fragments = connection.recv_streaming()
        peer.write_frame(BINARY, b"first", fin=False)
        assert await anext(fragments) == b"first"
        peer.write_frame(CONTINUATION, b"abc", fin=False)
        peer.write_frame(CONTINUATION, b"de", fin=False)
        while connection.stats().messages_waiting < 2:
            await turns()
        assert connection.stats().bytes_waiting == 5
        peer.write_frame(CONTINUATION, b"")
        assert [part async for part in fragments] == [b"abc", b"de", b""]
        assert (connection.stats().messages_waiting, connection.stats().bytes_waiting) == (0, 0)


@pytest.mark.parametrize("code", [1000, 1011, None])
async def test_totals_stay_after_the_end(side: str, code: int | None) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        peer.write_frame(TEXT, "abc")
        await connection.send("x")
        if code is not None:
            peer.write_close(code)
        peer.half_close()
        await connection.wait_closed()
        stats = connection.stats()
        assert (stats.state, stats.messages_waiting, stats.bytes_waiting) == (State.CLOSED, 1, 3)
        assert stats.frames_received == (1 if code is None else 2)
        assert stats.bytes_received > 3
        assert stats.frames_sent >= 1
        assert stats.write_backlog == 0
        assert await connection.recv() == "abc"
        assert connection.stats().messages_waiting == 0


# With streams


async def test_streams_show_as_long_as_they_are_open(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        async with connection.stream(name="all") as everything:
            async with connection.stream(name="two", overflow="drop_oldest", maxsize=2) as two:
                for text in ("a", "bb", "ccc"):
                    peer.write_frame(TEXT, text)
                while everything.received < 3:
                    await turns()
                stats = connection.stats()
                assert [stream.name for stream in stats.streams] == ["all", "two"]
                assert (stats.messages_waiting, stats.bytes_waiting) == (5, 11)
                assert await everything.recv() == "a"
                assert connection.stats().streams[0] == everything.stats() or everything.stats().oldest_age is not None
                assert _counts(two.stats()) == (3, 0, 1, 0, 2)
            assert [stream.name for stream in connection.stats().streams] == ["all"]
            assert connection.stats().messages_waiting == 2
        assert connection.stats().streams == ()
        assert connection.stream_totals() == {"block": (3, 1, 2, 0), "drop_oldest": (3, 0, 3, 0)}


async def test_messages_in_streams_count_after_the_end_too(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        async with connection.stream(name="late") as stream:
            peer.write_frame(TEXT, "abc")
            peer.half_close()
            await connection.wait_closed()
            stats = connection.stats()
            assert (stats.messages_waiting, stats.bytes_waiting) == (1, 3)
            assert [(stream.name, stream.depth) for stream in stats.streams] == [("late", 1)]
            assert await stream.recv() == "abc"
            assert connection.stats().messages_waiting == 0
        assert connection.stats().streams == ()


async def test_a_stream_that_ended_and_was_dropped_is_closed(side: str) -> None:
    """By its filter, or by the end of the connection: nobody can take what waits in it."""
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        stream = connection.stream(filter=int)
        peer.write_frame(TEXT, "1")
        peer.write_frame(TEXT, "x")
        while stream.received < 2:
            await turns()
        assert connection.stats().messages_waiting == 1
        del stream
        assert (connection.stats().messages_waiting, connection.stats().streams) == (0, ())
        peer.write_frame(TEXT, "2")
        assert await connection.recv() == "2"
        stream = connection.stream()
        peer.write_frame(TEXT, "3")
        peer.half_close()
        await connection.wait_closed()
        del stream
        assert (connection.stats().messages_waiting, connection.stats().streams) == (0, ())
        assert connection.stream_totals() == {"block": (3, 0, 3, 0)}


async def test_totals_of_all_streams_are_kept_by_policy(side: str) -> None:
    """Also of streams that were closed, dropped or open when the connection ended."""
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        assert connection.stream_totals() == {}
        for text in "ab":
            async with connection.stream(filter="b".__ne__) as stream:
                peer.write_frame(TEXT, text)
                while stream.received < 1:
                    await turns()
        newest = connection.stream(overflow="drop_newest", maxsize=1)
        latest = connection.stream(overflow="latest")
        for text in "cd":
            peer.write_frame(TEXT, text)
        peer.half_close()
        await connection.wait_closed()
        assert await latest.recv() == "d"
        expected = {"block": (2, 0, 1, 1), "drop_newest": (2, 0, 1, 0), "latest": (2, 1, 1, 0)}
        assert connection.stream_totals() == expected
        await newest.aclose()
        await latest.aclose()
        assert connection.stream_totals() == expected | {"drop_newest": (2, 0, 2, 0)}


async def test_the_age_of_the_oldest_message(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer), connection.stream() as stream:
        assert stream.stats().oldest_age is None
        peer.write_frame(TEXT, "a")
        while stream.received < 1:
            await turns()
        first = stream.stats().oldest_age
        second = stream.stats().oldest_age
        assert first is not None
        assert second is not None
        assert 0 <= first <= second < 10
        await stream.recv()
        assert stream.stats().oldest_age is None


def test_they_are_plain_frozen_dataclasses() -> None:
    assert dataclasses.asdict(ZERO)["streams"] == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        ZERO.frames_sent = 1  # type: ignore[misc]
    for cls in (picows_aio.ConnectionStats, picows_aio.StreamStats):
        assert cls.__doc__
        for name in (field.name for field in dataclasses.fields(cls)):
            assert f"{name}:" in cls.__doc__


def _counts(stats: StreamStats) -> tuple[int, int, int, int, int]:
    return stats.received, stats.delivered, stats.dropped, stats.filtered, stats.depth
