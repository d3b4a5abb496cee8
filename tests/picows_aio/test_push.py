"""`push`: what can be pushed, and the policies "block" and "drop_newest"."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from picows_aio import (
    ClientConnection,
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    PushStats,
    Request,
    SendPolicy,
    ServerConnection,
)
from tests.picows_aio.pairs import open_both, open_pair, turns
from tests.picows_aio.pushing import (
    DROPPED,
    FRAME,
    KEPT,
    MARK,
    NARROW,
    OVER,
    REPLACED,
    SENT,
    NarrowPair,
    fill,
    numbered,
    read_numbers,
    stall,
    waiting,
)
from tests.support import BINARY, CONTINUATION, TEXT, Frame

# What can be pushed


@pytest.mark.parametrize(
    ("message", "text", "frame"),
    [
        ("é", None, Frame(TEXT, "é".encode())),
        (b"\xff", None, Frame(BINARY, b"\xff")),
        (bytearray(b"a"), None, Frame(BINARY, b"a")),
        (memoryview(b"abcd")[::2], None, Frame(BINARY, b"ac")),
        (b"a", True, Frame(TEXT, b"a")),
        ("a", False, Frame(BINARY, b"a")),
    ],
)
@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_message_is_whatever_send_takes_as_one(message: Any, text: Any, frame: Frame, is_kept: bool) -> None:
    """Also when it is kept aside: what the caller does with a buffer afterwards changes nothing."""
    policy = SendPolicy("latest", max_bytes=MARK)
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, peer):
        count = fill(connection, policy) if is_kept else 0
        message = bytearray(message) if isinstance(message, bytearray) else message
        assert connection.push(message, text=text, policy=policy) is (KEPT if is_kept else SENT)
        if isinstance(message, bytearray):
            message[:] = b"z"
        await read_numbers(peer, count)
        assert await peer.read_frame() == frame


@pytest.mark.parametrize("message", [None, 1, ["a"], {"a": 1}, object()])
async def test_other_types_are_refused(message: Any) -> None:
    async with asyncio.timeout(10), open_pair("server") as (connection, _):
        with pytest.raises(TypeError, match=r"^data must be str or bytes$"):
            connection.push(message)


async def test_other_policies_are_refused() -> None:
    async with asyncio.timeout(10), open_pair("server") as (connection, _):
        with pytest.raises(TypeError, match="policy must be a SendPolicy or None, not str"):
            connection.push("x", policy="latest")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="policy must be a SendPolicy or None, not dict"):
            connection.send_policy = {}  # type: ignore[assignment]
        assert connection.send_policy is None
        assert connection.push_stats() == PushStats()


async def test_text_that_has_no_utf8_is_refused_also_when_it_would_be_kept() -> None:
    policy = SendPolicy("latest", max_bytes=MARK)
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, _):
        with pytest.raises(UnicodeEncodeError):
            connection.push("\ud800", policy=policy)
        fill(connection, policy)
        with pytest.raises(UnicodeEncodeError):
            connection.push("\ud800", policy=policy)
        assert connection.push_stats().kept == 0


@pytest.mark.parametrize("policy", [None, SendPolicy(), SendPolicy("latest")])
async def test_a_closed_connection_says_so(policy: SendPolicy | None) -> None:
    async with asyncio.timeout(10), open_both() as (client, server):
        client.send_policy = policy
        await server.close()
        await client.wait_closed()
        with pytest.raises(ConnectionClosedOK):
            client.push("x")


# Under the mark, and without a policy


@pytest.mark.parametrize(
    "policy",
    [None, SendPolicy(), SendPolicy("drop_newest"), SendPolicy("latest"), SendPolicy("evict", evict_after=1)],
)
async def test_under_the_mark_every_message_is_sent(narrow_pair: NarrowPair, policy: SendPolicy | None) -> None:
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        connection.send_policy = policy
        for number in range(100):
            assert connection.push(numbered(number)) is SENT
            assert await read_numbers(peer, 1) == [number]
        assert connection.push_stats().pushed == (100 if policy else 0)


async def test_without_a_policy_everything_is_queued(narrow_pair: NarrowPair) -> None:
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        assert {connection.push(numbered(number)) for number in range(300)} == {SENT}
        assert waiting(connection) > 100_000
        assert await read_numbers(peer, 300) == list(range(300))


async def test_frames_that_are_only_gathered_are_no_backlog() -> None:
    """Small messages of one turn are gathered; the socket has room for all of these."""
    policy = SendPolicy("drop_newest", max_bytes=2000)
    async with asyncio.timeout(10), open_pair("server") as (connection, peer):
        assert {connection.push(numbered(number), policy=policy) for number in range(100)} == {SENT}
        assert await read_numbers(peer, 100) == list(range(100))


async def test_the_mark_is_that_of_write_limit_unless_the_policy_has_one(narrow_pair: NarrowPair) -> None:
    async with asyncio.timeout(10), narrow_pair(write_limit=20_000) as (connection, _):
        connection.send_policy = SendPolicy("drop_newest")
        fill(connection, connection.send_policy)
        assert 20_000 < waiting(connection) <= 20_000 + FRAME
        fill(connection, SendPolicy("drop_newest", max_bytes=60_000))
        assert 60_000 < waiting(connection) <= 60_000 + FRAME


async def test_a_mark_below_write_limit_lowers_that(narrow_pair: NarrowPair) -> None:
    """There is one queue: `send()` waits above the same mark, and drained is below a quarter of it."""
    async with asyncio.timeout(10), narrow_pair(write_limit=100_000) as (connection, peer):
        count = stall(connection, SendPolicy(max_bytes=MARK))
        sending = asyncio.create_task(connection.send("after"))
        await turns(5)
        assert not sending.done()
        await read_numbers(peer, count)
        await sending
        assert await peer.read_frame() == Frame(TEXT, b"after")


async def test_the_policy_of_a_call_comes_before_that_of_the_connection() -> None:
    policy = SendPolicy("drop_newest", max_bytes=MARK)
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, _):
        connection.send_policy = policy
        assert connection.send_policy is policy
        fill(connection, policy)
        assert connection.push("x") is DROPPED
        assert connection.push("x", policy=SendPolicy(max_bytes=MARK)) is OVER
        connection.send_policy = None
        assert connection.push("x") is SENT


async def test_a_connection_can_have_its_policy_before_it_opens() -> None:
    def choose(connection: ServerConnection, request: Request) -> None:
        connection.send_policy = SendPolicy("drop_newest", max_bytes=MARK)

    async with asyncio.timeout(10), open_pair("server", process_request=choose, **NARROW) as (connection, _):
        stall(connection, SendPolicy(max_bytes=MARK))
        assert connection.push("x") is DROPPED


# "block"


async def test_block_queues_and_says_when_to_wait(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("block", max_bytes=MARK)
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = stall(connection, policy)
        assert connection.push(numbered(count), policy=policy) is OVER
        drained = asyncio.create_task(connection.drained())
        await turns(5)
        assert not drained.done()
        assert await read_numbers(peer, count + 1) == list(range(count + 1))
        await drained
        assert not connection.is_writing_paused()
        assert connection.push(numbered(0), policy=policy) is SENT
        assert connection.push_stats() == PushStats(sent=count + 2)


async def test_waiting_until_drained_ends_with_the_connection() -> None:
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, peer):
        stall(connection, SendPolicy())
        drained = asyncio.create_task(connection.drained())
        await turns(5)
        peer.reset()
        await drained
        await connection.drained()


# "drop_newest"


async def test_drop_newest_drops_what_comes_over_the_mark(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("drop_newest", max_bytes=MARK)
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = fill(connection, policy)
        for _ in range(1000):
            assert connection.push(numbered(-1), policy=policy) is DROPPED
        assert MARK < waiting(connection) <= MARK + FRAME
        assert connection.push_stats() == PushStats(sent=count, dropped=1000)
        assert await read_numbers(peer, count) == list(range(count))
        await connection.drained()
        assert connection.push(numbered(count), policy=policy) is SENT
        assert await read_numbers(peer, 1) == [count]


# Beside other senders


@pytest.mark.parametrize("policy", [None, SendPolicy(), SendPolicy("drop_newest"), SendPolicy("evict", evict_after=1)])
async def test_nothing_is_pushed_into_a_fragmented_message(policy: SendPolicy | None) -> None:
    """RFC 6455 section 5.4: the fragments of one message must not be interleaved with those of another."""
    release = asyncio.Event()
    async with asyncio.timeout(10), open_pair("server") as (connection, peer):
        sending = asyncio.create_task(connection.send(_fragments(release)))
        assert await peer.read_frame() == Frame(TEXT, b"first", fin=False)
        with pytest.raises(ConcurrencyError, match="sending a fragmented message"):
            connection.push("x", policy=policy)
        release.set()
        await sending
        assert connection.push("after", policy=policy) is SENT
        assert [frame.payload for frame in await peer.read_frames(3)] == [b"second", b"", b"after"]


async def test_latest_waits_for_the_end_of_a_fragmented_message(narrow_pair: NarrowPair) -> None:
    release = asyncio.Event()
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        connection.send_policy = SendPolicy("latest")
        sending = asyncio.create_task(connection.send(_fragments(release)))
        assert await peer.read_frame() == Frame(TEXT, b"first", fin=False)
        assert [connection.push("a"), connection.push("b")] == [KEPT, REPLACED]
        release.set()
        await sending
        frames = await peer.read_frames(3)
        assert frames[0] == Frame(CONTINUATION, b"second", fin=False)
        assert [frame.payload for frame in frames] == [b"second", b"", b"b"]


async def test_closing_inside_a_fragmented_message_drops_what_is_kept() -> None:
    async with asyncio.timeout(10), open_pair("server") as (connection, peer):
        sending = asyncio.create_task(connection.send(_fragments(release := asyncio.Event())))
        assert await peer.read_frame() == Frame(TEXT, b"first", fin=False)
        connection.push("a", policy=SendPolicy("latest"))
        closing = asyncio.create_task(connection.close())
        assert (await peer.read_frame()).close_code == 1011
        peer.write_close(1011)
        peer.close()
        await closing
        release.set()
        with pytest.raises(ConnectionClosedError):
            await sending
        assert connection.push_stats() == PushStats(dropped=1)


async def _fragments(release: asyncio.Event) -> AsyncIterator[str]:
    yield "first"
    await release.wait()
    yield "second"


# Accounting

MIXED = [
    SendPolicy("block", max_bytes=MARK),
    SendPolicy("drop_newest", max_bytes=2 * MARK),
    SendPolicy("latest", max_bytes=MARK, key=lambda message: message[4:6], hard_limit=20_000),
    SendPolicy("latest", max_bytes=3 * MARK),
]


@pytest.mark.parametrize("policies", [MIXED[:1], MIXED[1:2], MIXED[2:3], MIXED], ids=["1", "2", "3", "all"])
@pytest.mark.parametrize("seed", range(3))
async def test_every_message_is_accounted_for(
    narrow_pair: NarrowPair, policies: Sequence[SendPolicy], seed: int
) -> None:
    """Pushed = delivered + dropped + replaced + kept, at every moment, and in the end byte by byte."""
    chance = random.Random(seed)
    async with asyncio.timeout(20), narrow_pair() as (connection, peer):
        received: list[int] = []
        pushed = 0
        for _ in range(200):
            for _ in range(chance.randrange(20)):
                connection.push(numbered(pushed), policy=chance.choice(policies))
                pushed += 1
                stats = connection.push_stats()
                assert stats.pushed == stats.sent + stats.dropped + stats.replaced + stats.kept == pushed
            readable = connection.push_stats().sent - len(received)
            received += await read_numbers(peer, chance.randrange(min(readable, 20) + 1))
        while len(received) < connection.push_stats().sent or connection.push_stats().kept:
            received += await read_numbers(peer, 1)
        stats = connection.push_stats()
        assert len(received) == len(set(received)) == stats.sent
        assert stats.pushed == pushed
        assert stats.kept == stats.kept_bytes == 0


async def test_a_client_can_be_subclassed_and_pushes_too() -> None:
    async with asyncio.timeout(10), open_both() as (client, server):
        assert isinstance(client, ClientConnection)
        client.push("to the server", policy=SendPolicy())
        assert await server.recv() == "to the server"
