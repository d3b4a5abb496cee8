"""`subscribe(stale_after=...)`: no data for so long is the end of a connection, whatever the pings say."""

import asyncio
import contextlib

import pytest

from picows_aio import Gap, StaleError, State
from tests.picows_aio.feeds import follow
from tests.picows_aio.pairs import parked
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, listen
from tests.support.clock import SkippableClock
from tests.support.wire import close_payload

# uvloop keeps its clock to itself.
on_a_clock = pytest.mark.asyncio(loop_factories=["asyncio"])
SECOND = 1.0  # between two looks, where stale_after is 8


@contextlib.asynccontextmanager
async def following(tls_contexts=None, **options):
    """A subscription that waits for its second message, and the raw peer that sent the first."""
    async with listen(tls_contexts and tls_contexts.server) as server:
        if tls_contexts:
            options["ssl"] = tls_contexts.client
        feed = follow(server, ping_interval=None, **options)
        waiting = asyncio.create_task(anext(feed))
        peer = await server.accept()
        peer.write_frame(TEXT, "first")
        assert await waiting == "first"
        try:
            yield feed, peer, server
        finally:
            peer.close()
            await feed.aclose()


@contextlib.asynccontextmanager
async def on_clock(**options):
    """The same with `stale_after=8`, and a clock to move."""
    async with following(stale_after=8, **options) as (feed, peer, _):
        yield feed, peer, SkippableClock()


def arrival(feed, size):
    """Wait until so many bytes more have come in."""
    expected = feed.connection.bytes_received() + size
    return lambda: wait_for_bytes(feed, expected)


async def wait_for_bytes(feed, expected):
    while feed.connection.bytes_received() < expected:
        await asyncio.sleep(0)


async def test_a_server_that_answers_pings_and_sends_nothing_is_left():
    async def answer_pings(peer):
        pings = 0
        while (frame := await peer.read_frame()).opcode != CLOSE:
            assert frame.opcode == PING
            peer.write_frame(PONG, frame.payload)
            pings += 1
        return pings, frame.payload

    async with asyncio.timeout(10), listen() as server:
        options = {"stale_after": 0.2, "ping_interval": 0.01, "ping_timeout": 5, "gaps": "yield"}
        async with follow(server, **options) as feed:
            waiting = asyncio.create_task(anext(feed))
            silent = await server.accept()
            answering = asyncio.create_task(answer_pings(silent))
            pings, farewell = await answering
            assert pings > 3
            assert farewell == close_payload(1011, "no data for 0.2 s")
            other = await server.accept()
            other.write_frame(TEXT, "news")
            gap = await waiting
            assert isinstance(gap, Gap)
            assert isinstance(gap.reason, StaleError)
            assert isinstance(gap.reason, TimeoutError)
            assert gap.reason.stale_after == 0.2
            assert feed.last_error is gap.reason
            assert await anext(feed) == "news"
            other.close()


async def test_over_tls_nobody_waits_for_the_goodbye_of_a_silent_peer(tls_contexts):
    async with asyncio.timeout(10), following(tls_contexts, stale_after=0.1) as (feed, _, server):
        connection = feed.connection
        waiting = asyncio.create_task(anext(feed))
        other = await server.accept()
        assert connection.state is State.CLOSED
        other.write_frame(TEXT, "news")
        assert await waiting == "news"
        other.close()


@on_a_clock
async def test_it_takes_that_long_without_data_and_no_less():
    async with asyncio.timeout(200), on_clock() as (feed, peer, clock):
        waiting = asyncio.create_task(anext(feed))
        await parked(waiting)
        for _ in range(20):
            for _ in range(7):
                await clock.skip(SECOND)
            peer.write_frame(TEXT, "news")
            assert await waiting == "news"
            waiting = asyncio.create_task(anext(feed))
            await parked(waiting)
        connection = feed.connection
        await clock.skip(SECOND)  # the look that sees the last message
        for _ in range(7):
            await clock.skip(SECOND)
            assert connection.state is State.OPEN
        await clock.skip(SECOND)
        await connection.wait_closed()
        await feed.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting


@on_a_clock
async def test_a_loop_that_receives_is_noticed():
    """Messages that are taken by `async for`, at once, leave no other trace."""
    received = []

    async def iterate():
        async for message in feed:
            received.append(message)

    async with asyncio.timeout(80), on_clock(close_timeout=0.01) as (feed, peer, clock):
        connection = feed.connection
        looping = asyncio.create_task(iterate())
        for count in range(1, 40):
            peer.write_frame(BINARY, b"x")
            while len(received) < count:
                await asyncio.sleep(0)
            await clock.skip(SECOND)
        assert connection.state is State.OPEN
        await feed.aclose()
        await looping


@on_a_clock
async def test_messages_that_wait_for_a_slow_consumer_are_data():
    async with asyncio.timeout(100), on_clock() as (feed, peer, clock):
        connection = feed.connection
        peer.write_frame(TEXT, "second")
        peer.write_frame(TEXT, "third")
        while connection.messages_waiting() < 2:
            await asyncio.sleep(0)
        for expected in ("second", "third"):
            for _ in range(20):
                await clock.skip(SECOND)
            assert await anext(feed) == expected
        await clock.skip(SECOND)  # the look that sees it
        for _ in range(7):
            await clock.skip(SECOND)
            assert connection.state is State.OPEN
        await clock.skip(SECOND)
        await connection.wait_closed()


@on_a_clock
async def test_where_reading_is_paused_nothing_can_come():
    """A part of a message can be enough for that, while nobody receives."""
    async with asyncio.timeout(60), on_clock(max_size=None) as (feed, peer, clock):
        connection = feed.connection
        peer.write_frame(BINARY, b"", fin=False)
        for _ in range(18):
            peer.write_frame(CONTINUATION, bytes(2**20), fin=False)
        while not connection.is_reading_paused():
            await asyncio.sleep(0)
        assert connection.messages_waiting() == 0
        for _ in range(20):
            await clock.skip(SECOND)
        assert connection.state is State.OPEN
        peer.write_frame(CONTINUATION, b"")
        assert len(await anext(feed)) == 18 * 2**20
        assert feed.connection is connection


@on_a_clock
@pytest.mark.parametrize("in_fragments", [True, False])
async def test_parts_of_a_message_are_data(in_fragments):
    part = b"x" * 1000
    async with asyncio.timeout(80), on_clock() as (feed, peer, clock):
        connection = feed.connection
        if in_fragments:
            peer.write_frame(BINARY, b"", fin=False)
        else:
            peer.write_bytes(b"\x82\x7e" + (40 * len(part)).to_bytes(2, "big"))
        for index in range(40):
            has_arrived = arrival(feed, len(part))
            if in_fragments:
                peer.write_frame(CONTINUATION, part, fin=index == 39)
            else:
                peer.write_bytes(part)
            await has_arrived()
            await clock.skip(SECOND)
        assert await anext(feed) == 40 * part
        assert feed.connection is connection


@on_a_clock
@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_control_frames_are_no_data_however_many_and_large(opcode):
    payload = bytes(125)
    async with asyncio.timeout(40), on_clock() as (feed, peer, clock):
        connection = feed.connection
        looks = 0
        while connection.state is State.OPEN:
            has_arrived = arrival(feed, 40 * (2 + len(payload)))
            for _ in range(40):
                peer.write_frame(opcode, payload)
            await has_arrived()
            await clock.skip(SECOND)
            looks += 1
        assert looks <= 9
        await connection.wait_closed()


@on_a_clock
async def test_a_loop_that_stood_still_blames_nobody():
    """What came meanwhile waits in the kernel, and is read before the next look."""
    async with asyncio.timeout(530), on_clock() as (feed, _, clock):
        connection = feed.connection
        for _ in range(5):
            await clock.skip(100)
        assert connection.state is State.OPEN


@on_a_clock
async def test_without_stale_after_silence_is_no_fault():
    async with asyncio.timeout(51 * 10**5), following() as (feed, _, __):
        clock = SkippableClock()
        for _ in range(50):
            await clock.skip(10**5)
        assert feed.connection.state is State.OPEN


@on_a_clock
async def test_a_quiet_connection_that_lasted_a_minute_was_no_failure():
    for seconds, failures in ((59, 1), (61, 0)):
        async with asyncio.timeout(100), listen() as server:
            options = {"reconnect_delays": lambda: iter([1000]), "ping_interval": None}
            async with follow(server, **options) as feed:
                waiting = asyncio.create_task(anext(feed))
                peer = await server.accept()
                while feed.connection is None:
                    await asyncio.sleep(0)
                await SkippableClock().skip(seconds)
                peer.close()
                while feed.connection is not None:
                    await asyncio.sleep(0)
                assert feed.attempts == failures
                await feed.aclose()
                with pytest.raises(StopAsyncIteration):
                    await waiting
