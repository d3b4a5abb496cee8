"""`broadcast` where some do not keep up: what each policy does with them, and what the report says."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import BroadcastReport, PushOutcome, PushStats, SendPolicy, SkippedConnection, broadcast
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import open_both, open_pair, turns
from tests.picows_aio.pushing import DROPPED, EVICTED, FRAME, MARK, NARROW, SIZE, numbered, read_numbers, stall, waiting
from tests.picows_aio.sites import records
from tests.support import TEXT, Frame, RawPeer

BLOCK = SendPolicy("block", max_bytes=MARK)
POLICIES = [
    BLOCK,
    SendPolicy("drop_newest", max_bytes=MARK),
    SendPolicy("latest", max_bytes=MARK, key=lambda message: message[5]),
    SendPolicy("evict", max_bytes=MARK, evict_after=3600, hard_limit=20 * MARK),
]


@contextlib.asynccontextmanager
async def slow_and_quick(**settings: Any) -> AsyncIterator[tuple[Connection, RawPeer, Connection, RawPeer]]:
    """Two connections of servers, the first with little room in the kernel, and their peers."""
    async with (
        open_pair("server", **NARROW, **settings) as (slow, slow_peer),
        open_pair("server", **settings) as (quick, quick_peer),
    ):
        yield slow, slow_peer, quick, quick_peer


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.overflow)
async def test_a_slow_client_delays_nobody_and_is_accounted_for(policy: SendPolicy) -> None:
    """Each connection is in one part of each report, and what the reports say is what arrives."""
    async with asyncio.timeout(20), slow_and_quick() as (slow, slow_peer, quick, quick_peer):
        before = stall(slow, BLOCK)
        expected = list(range(before))
        for number in range(500):
            report = broadcast([slow, quick], numbered(number), policy=policy)
            assert await read_numbers(quick_peer, 1) == [number]
            assert report.sent + report.kept + len(report.skipped) == 2
            assert report.over == ((slow,) if report.sent == 2 else ())
            expected += [number] * (report.sent - 1)
            if policy is not BLOCK:
                assert waiting(slow) <= 20 * MARK + FRAME
        assert quick.push_stats() == PushStats(sent=500)
        stats = slow.push_stats()
        assert stats.sent == len(expected)
        if stats.is_evicted:
            assert stats.dropped == 1  # afterwards it was closed
            return
        assert stats.pushed == before + 500
        if policy.key is not None:
            assert stats.kept == 10
            expected += range(490, 500)
        assert await read_numbers(slow_peer, len(expected)) == expected


async def test_the_report_of_block_waits_for_those_over_the_mark() -> None:
    async with asyncio.timeout(10), slow_and_quick() as (slow, slow_peer, quick, _):
        count = stall(slow, BLOCK)
        report = broadcast([slow, quick], numbered(count), policy=BLOCK)
        assert report == BroadcastReport(2, 0, 0, (), (slow,))
        assert await report.drained(timeout=0) == (slow,)
        draining = asyncio.create_task(report.drained())
        await turns(5)
        assert not draining.done()
        await read_numbers(slow_peer, count + 1)
        assert await draining == ()
        assert await broadcast([slow, quick], "x", policy=BLOCK).drained() == ()


async def test_the_report_does_not_wait_for_those_that_are_closed() -> None:
    async with asyncio.timeout(10), slow_and_quick() as (slow, slow_peer, *_):
        stall(slow, BLOCK)
        report = broadcast([slow], "x", policy=BLOCK)
        draining = asyncio.create_task(report.drained())
        await turns(5)
        slow_peer.reset()
        assert await draining == ()


async def test_the_report_of_drop_newest_names_who_was_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """It was chosen, so neither the log nor `raise_exceptions` takes it for an error."""
    async with asyncio.timeout(10), slow_and_quick() as (slow, _, quick, _):
        stall(slow, BLOCK)
        policy = SendPolicy("drop_newest", max_bytes=MARK)
        report = broadcast([slow, quick], "x", policy=policy, raise_exceptions=True)
        assert report == BroadcastReport(1, 0, 0, (SkippedConnection(slow, DROPPED),), ())
        assert records(caplog, "WARNING") == []


async def test_the_report_of_latest_counts_what_is_kept_and_replaced() -> None:
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[0])
    async with asyncio.timeout(10), slow_and_quick() as (slow, slow_peer, quick, _):
        count = stall(slow, BLOCK)
        reports = [broadcast([slow, quick], message, policy=policy) for message in ("a1", "b1", "a2")]
        assert [(report.sent, report.kept, report.replaced) for report in reports] == [(1, 1, 0), (1, 1, 0), (1, 1, 1)]
        await read_numbers(slow_peer, count)
        assert [frame.payload for frame in await slow_peer.read_frames(2)] == [b"a2", b"b1"]


async def test_the_report_of_evict_names_who_is_sent_away() -> None:
    async with asyncio.timeout(10), slow_and_quick() as (slow, _, quick, _):
        stall(slow, BLOCK)
        policy = SendPolicy("evict", max_bytes=MARK, evict_after=1, hard_limit=2 * MARK)
        report = broadcast([slow, quick], "x", policy=policy)
        assert report == BroadcastReport(1, 0, 0, (SkippedConnection(slow, EVICTED),), ())
        assert report.evicted == (slow,)
        assert broadcast([slow], "x", policy=policy).skipped == (SkippedConnection(slow, PushOutcome.CLOSED),)


async def test_the_clock_of_evict_runs_without_another_message() -> None:
    async with asyncio.timeout(10), slow_and_quick() as (slow, *_):
        stall(slow, BLOCK)
        assert broadcast([slow], "x", policy=SendPolicy("evict", max_bytes=MARK, evict_after=0.01)).over == (slow,)
        await slow.wait_closed()
        assert slow.push_stats().is_evicted


async def test_each_connection_has_its_own_policy_unless_the_call_has_one() -> None:
    async with asyncio.timeout(10), slow_and_quick() as (slow, _, quick, _):
        stall(slow, BLOCK)
        slow.send_policy = SendPolicy("drop_newest", max_bytes=MARK)
        report = broadcast([slow, quick], "x")
        assert (report.sent, report.skipped) == (1, (SkippedConnection(slow, DROPPED),))
        assert quick.push_stats() == PushStats()
        assert broadcast([slow, quick], "x", policy=BLOCK).sent == 2


async def test_other_policies_are_refused() -> None:
    with pytest.raises(TypeError, match="policy must be a SendPolicy or None, not str"):
        broadcast([], "x", policy="latest")  # type: ignore[arg-type]


async def test_a_key_is_asked_for_once_and_only_when_something_is_kept() -> None:
    asked: list[str] = []

    def key(message: str) -> int:
        asked.append(message)
        return 0

    policy = SendPolicy("latest", max_bytes=MARK, key=key)
    async with asyncio.timeout(10), slow_and_quick() as (slow, _, quick, _), slow_and_quick() as (another, *_):
        broadcast([slow, quick, another], "first", policy=policy)
        stall(slow, BLOCK)
        stall(another, BLOCK)
        assert broadcast([slow, quick, another], "second", policy=policy).kept == 2
        assert asked == ["second"]


@pytest.mark.parametrize("key", [lambda message: message.missing, lambda message: [message]])
async def test_a_key_that_fails_leaves_out_who_needs_it(key: Any, caplog: pytest.LogCaptureFixture) -> None:
    policy = SendPolicy("latest", max_bytes=MARK, key=key)
    async with asyncio.timeout(10), slow_and_quick() as (slow, _, quick, quick_peer):
        stall(slow, BLOCK)
        report = broadcast([slow, quick], "x", policy=policy)
        assert await quick_peer.read_frame() == Frame(TEXT, b"x")
        ((skipped, outcome, exception),) = report.skipped
        assert (skipped, outcome, report.sent) == (slow, PushOutcome.FAILED, 1)
        assert exception is not None
        assert type(exception.__cause__) in (AttributeError, TypeError)
        text = "skipped broadcast: the key of the send policy failed"
        assert records(caplog, "WARNING") == [("websockets.server", text)]
        with pytest.raises(ExceptionGroup):
            broadcast([slow, quick], "x", policy=policy, raise_exceptions=True)


async def test_latest_keeps_what_would_land_in_a_fragmented_message() -> None:
    release = asyncio.Event()

    async def fragments() -> AsyncIterator[str]:
        yield "first"
        await release.wait()

    async with asyncio.timeout(10), open_pair("server") as (connection, peer):
        sending = asyncio.create_task(connection.send(fragments()))
        await peer.read_frame()
        assert broadcast([connection], "x", policy=SendPolicy("latest"), raise_exceptions=True).kept == 1
        with pytest.raises(ExceptionGroup):
            broadcast([connection], "x", policy=BLOCK, raise_exceptions=True)
        release.set()
        await sending
        assert [frame.payload for frame in await peer.read_frames(2)] == [b"", b"x"]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.overflow)
async def test_with_compression_it_is_the_same(policy: SendPolicy) -> None:
    """Each of these connections encodes its own frames, and only what is sent."""
    letters = random.Random(1).choices
    texts = [str(number % 7).rjust(6) + "".join(letters("abcdefgh", k=SIZE)) for number in range(100)]
    async with asyncio.timeout(20), open_both(compression="deflate", max_queue=None) as (client, server):
        reports = [broadcast([server], text, policy=policy) for text in texts]
        assert all(report.sent + report.kept + len(report.skipped) == 1 for report in reports)
        stats = server.push_stats()
        assert stats.pushed == 100
        received = [await client.recv() for _ in range(stats.sent + stats.kept)]
        expected = [text for text, report in zip(texts, reports, strict=True) if report.sent]
        assert received[: len(expected)] == expected


async def test_a_connection_that_is_given_twice_gets_it_twice() -> None:
    async with asyncio.timeout(10), open_pair("server") as (connection, peer):
        assert broadcast([connection] * 2, numbered(0), policy=BLOCK).sent == 2
        assert await read_numbers(peer, 2) == [0, 0]
        assert connection.push_stats() == PushStats(sent=2)
