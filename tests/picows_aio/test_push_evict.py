"""`push` with the policy "evict": peers that do not keep up are sent away."""

import asyncio

import pytest

from picows_aio import ConnectionClosedError, PushStats, SendPolicy, State
from tests.picows_aio.pairs import turns
from tests.picows_aio.pushing import (
    EVICTED,
    FRAME,
    MARK,
    OVER,
    NarrowPair,
    numbered,
    read_numbers,
    stall,
    waiting,
)
from tests.picows_aio.sites import records
from tests.support import CLOSE
from tests.support.clock import SkippableClock

ONLY_ASYNCIO = pytest.mark.asyncio(loop_factories=["asyncio"])  # whose time can be moved


async def test_evict_closes_with_1013_after_the_time_over_the_mark(
    narrow_pair: NarrowPair, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer that reads after all is told."""
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=0.01)
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = stall(connection, policy)
        while not connection.push_stats().is_evicted:
            await asyncio.sleep(0)
        with pytest.raises(ConnectionClosedError):
            connection.push("x", policy=policy)
        assert await read_numbers(peer, count) == list(range(count))
        frame = await peer.read_frame()
        assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, 1013, "reads too slowly")
        peer.write_close(1013)
        peer.half_close()
        with pytest.raises(ConnectionClosedError, match="sent 1013") as caught:
            await connection.recv()
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert connection.push_stats() == PushStats(sent=count, is_evicted=True)
        ((_, line),) = records(caplog, "WARNING")
        assert line.startswith("evicted, because the peer reads too slowly: ")
        assert line.endswith("bytes wait to be sent, for 0.01 s over the mark of 10000")


async def test_evict_does_not_wait_for_a_peer_that_does_not_read(narrow_pair: NarrowPair) -> None:
    """Whatever `close_timeout` is."""
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=0.01)
    async with asyncio.timeout(10), narrow_pair(close_timeout=None) as (connection, _):
        stall(connection, policy)
        sending = asyncio.create_task(connection.send("x"))
        await connection.wait_closed()
        with pytest.raises(ConnectionClosedError):
            await sending


@ONLY_ASYNCIO
async def test_evict_allows_exactly_its_time(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=5)
    async with asyncio.timeout(100), narrow_pair() as (connection, _):
        clock = SkippableClock()
        stall(connection, policy)
        await clock.skip(3)
        assert connection.push(numbered(0), policy=policy) is OVER
        await clock.skip(1.5)
        assert not connection.push_stats().is_evicted
        await clock.skip(0.6)
        assert connection.push_stats().is_evicted


@ONLY_ASYNCIO
@pytest.mark.parametrize("pushes_meanwhile", [False, True])
async def test_evict_counts_from_anew_once_the_connection_was_under_the_mark(
    narrow_pair: NarrowPair, pushes_meanwhile: bool
) -> None:
    """With a mark far above `write_limit`, where the transport says nothing about the mark."""
    policy = SendPolicy("evict", max_bytes=5 * MARK, evict_after=5)
    async with asyncio.timeout(100), narrow_pair(write_limit=1000) as (connection, peer):
        clock = SkippableClock()
        stall(connection, policy)
        await clock.skip(3)
        while waiting(connection) > 3 * MARK:
            await peer.read_frame()
        if pushes_meanwhile:
            stall(connection, policy)
            await clock.skip(3)
            assert not connection.push_stats().is_evicted
        await clock.skip(2.2)
        assert connection.push_stats().is_evicted is pushes_meanwhile


@ONLY_ASYNCIO
async def test_evict_gives_more_time_when_it_was_the_loop_that_stood_still(narrow_pair: NarrowPair) -> None:
    """Meanwhile nothing was offered to the peer. It happens once."""
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=5)
    async with asyncio.timeout(100), narrow_pair() as (connection, _):
        clock = SkippableClock()
        stall(connection, policy)
        await clock.skip(8)
        assert not connection.push_stats().is_evicted
        await clock.skip(2.5)
        assert not connection.push_stats().is_evicted
        await clock.skip(1)
        assert connection.push_stats().is_evicted


@ONLY_ASYNCIO
async def test_evict_forgets_a_connection_that_drained_or_closes(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=5)
    async with asyncio.timeout(100), narrow_pair() as (connection, peer):
        clock = SkippableClock()
        await read_numbers(peer, stall(connection, policy))
        await connection.drained()
        await clock.skip(6)
        stall(connection, policy)
        closing = asyncio.create_task(connection.close())
        await turns(3)
        await clock.skip(6)
        assert not connection.push_stats().is_evicted
        peer.reset()
        await closing


@ONLY_ASYNCIO
async def test_evict_leaves_a_connection_that_its_peer_closes(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=5)
    async with asyncio.timeout(100), narrow_pair() as (connection, peer):
        clock = SkippableClock()
        stall(connection, policy)
        peer.write_close(1000)
        while connection.state is State.OPEN:
            await asyncio.sleep(0)
        await clock.skip(6)
        assert not connection.push_stats().is_evicted
        peer.reset()
        await connection.wait_closed()


async def test_over_the_hard_limit_evict_comes_at_once(
    narrow_pair: NarrowPair, caplog: pytest.LogCaptureFixture
) -> None:
    policy = SendPolicy("evict", max_bytes=MARK, evict_after=3600, hard_limit=30 * MARK)
    async with asyncio.timeout(10), narrow_pair() as (connection, _):
        count = stall(connection, policy)
        while (outcome := connection.push(numbered(count), policy=policy)) is OVER:
            count += 1
            assert waiting(connection) <= 30 * MARK + FRAME
        assert outcome is EVICTED
        assert connection.push_stats() == PushStats(sent=count, dropped=1, is_evicted=True)
        assert records(caplog, "WARNING")[0][1].endswith("more than the hard limit of 300000")
