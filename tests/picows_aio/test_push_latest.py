"""`push` with the policy "latest": messages kept aside for a peer that does not keep up."""

import asyncio
import random
import socket
from typing import Any

import pytest

from picows_aio import PushStats, SendPolicy, State
from picows_aio.extensions import Extension
from tests.picows_aio.pairs import open_both, open_pair
from tests.picows_aio.pushing import (
    FRAME,
    KEPT,
    MARK,
    NARROW,
    OVER,
    REPLACED,
    SENT,
    SIZE,
    NarrowPair,
    fill,
    numbered,
    read_numbers,
    read_until_drained,
    stall,
    waiting,
)
from tests.picows_aio.sites import records


async def test_latest_without_a_key_keeps_one(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("latest", max_bytes=MARK)
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = fill(connection, policy)
        assert connection.push(numbered(count), policy=policy) is KEPT
        for number in range(count + 1, 1000):
            assert connection.push(numbered(number), policy=policy) is REPLACED
        assert waiting(connection) <= MARK + FRAME
        assert connection.push_stats() == PushStats(sent=count, replaced=999 - count, kept=1, kept_bytes=SIZE)
        assert await read_until_drained(connection, peer) == [*range(count), 999]
        assert connection.push_stats() == PushStats(sent=count + 1, replaced=999 - count)


async def test_latest_keeps_one_for_each_key_in_the_order_in_which_these_came(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[5])
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = fill(connection, policy)
        pushed = [1003, 1001, 1002, 1011, 1021, 1012, 1004]
        outcomes = [connection.push(numbered(number), policy=policy) for number in pushed]
        assert outcomes == [KEPT, KEPT, KEPT, REPLACED, REPLACED, REPLACED, KEPT]
        assert await read_until_drained(connection, peer) == [*range(count), 1003, 1021, 1012, 1004]


async def test_what_is_kept_comes_before_what_is_pushed_later(narrow_pair: NarrowPair) -> None:
    """More is kept than fits under the mark, and pushing goes on while it is sent."""
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[:6])
    async with asyncio.timeout(20), narrow_pair() as (connection, peer):
        received: list[int] = []
        for number in range(500):
            connection.push(numbered(number), policy=policy)
            if number % 3 == 0:
                received += await read_numbers(peer, 1)
        while len(received) < 500:
            received += await read_numbers(peer, 1)
        assert received == list(range(500))
        assert connection.push_stats() == PushStats(sent=500)


async def test_what_is_kept_has_a_limit_over_which_the_oldest_are_dropped(narrow_pair: NarrowPair) -> None:
    """A message counts 256 bytes more than its size."""
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[:6], hard_limit=10 * (SIZE + 256))
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = fill(connection, policy)
        for number in range(count, 5000):
            assert connection.push(numbered(number), policy=policy) is KEPT
            assert connection.push_stats().kept_bytes <= 10 * SIZE
        stats = connection.push_stats()
        assert stats == PushStats(sent=count, dropped=4990 - count, kept=10, kept_bytes=10 * SIZE)
        assert await read_until_drained(connection, peer) == [*range(count), *range(4990, 5000)]


async def test_the_newest_message_is_kept_however_large_it_is() -> None:
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[:6], hard_limit=5000)
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, peer):
        count = fill(connection, policy)
        for number in (10, 11):
            connection.push(numbered(number), policy=policy)
        large = numbered(10) * 50
        assert connection.push(large, policy=policy) is REPLACED
        assert connection.push_stats() == PushStats(sent=count, dropped=1, replaced=1, kept=1, kept_bytes=len(large))
        await read_numbers(peer, count)
        assert (await peer.read_frame()).payload == large.encode()


async def test_without_a_limit_of_its_own_a_policy_has_one() -> None:
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[:6])
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, _):
        fill(connection, policy)
        for number in range(5000):
            connection.push(numbered(number), policy=policy)
        assert connection.push_stats().kept == 2**20 // (SIZE + 256)


async def test_a_key_that_fails_is_the_callers(narrow_pair: NarrowPair) -> None:
    def fail(message: str) -> str:
        raise ZeroDivisionError

    async with asyncio.timeout(10), narrow_pair() as (connection, _):
        count = fill(connection, SendPolicy(max_bytes=MARK))
        with pytest.raises(ZeroDivisionError):
            connection.push("x", policy=SendPolicy("latest", max_bytes=MARK, key=fail))
        with pytest.raises(TypeError, match="unhashable"):
            connection.push("x", policy=SendPolicy("latest", max_bytes=MARK, key=list))
        assert connection.push_stats() == PushStats(sent=count)


async def test_what_is_kept_is_sent_before_the_close_frame(narrow_pair: NarrowPair) -> None:
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[:6])
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = fill(connection, policy)
        for number in range(count, count + 30):
            connection.push(numbered(number), policy=policy)
        closing = asyncio.create_task(connection.close())
        assert await read_numbers(peer, count + 30) == list(range(count + 30))
        assert (await peer.read_frame()).close_code == 1000
        peer.write_close(1000)
        peer.half_close()
        await closing
        assert connection.push_stats() == PushStats(sent=count + 30)


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_what_is_kept_when_the_peer_goes_counts_as_dropped(narrow_pair: NarrowPair, end: str) -> None:
    async with asyncio.timeout(10), narrow_pair() as (connection, peer):
        count = stall(connection, SendPolicy(max_bytes=MARK))
        assert connection.push(numbered(count), policy=SendPolicy("latest", max_bytes=MARK)) is KEPT
        if end == "reset":
            peer.reset()
        else:
            peer.write_close(1000)
            while connection.state is State.OPEN:
                await asyncio.sleep(0)
            assert await read_numbers(peer, count) == list(range(count))
            assert (await peer.read_frame()).close_code == 1000
            peer.close()
        await connection.wait_closed()
        assert connection.push_stats() == PushStats(sent=count, dropped=1)


async def test_other_limits_of_the_transport_do_not_keep_messages_for_ever() -> None:
    """With higher ones the transport never pauses, and so never says that it has drained."""
    policy = SendPolicy("latest", max_bytes=MARK)
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, peer):
        connection.push(numbered(0), policy=policy)
        await read_numbers(peer, 1)
        connection.transport.set_write_buffer_limits(high=10**9)
        count = fill(connection, policy)
        assert connection.push(numbered(count), policy=policy) is KEPT
        assert await read_numbers(peer, count) == list(range(count))
        while waiting(connection):
            await asyncio.sleep(0)
        assert connection.push(numbered(count + 1), policy=policy) is SENT
        assert await read_numbers(peer, 2) == [count, count + 1]


async def test_only_what_is_sent_is_compressed() -> None:
    """A message that was compressed and not sent would be missing in the context of those after it."""
    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[-1])
    letters = random.Random(1).choices
    texts = ["".join(letters("abcdefghijklmnop", k=2000)) + str(number % 7) for number in range(500)]
    async with asyncio.timeout(20), open_both(compression="deflate", max_queue=None) as (client, server):
        client.transport.pause_reading()
        for end in (client, server):
            end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sent = [text for text in texts if server.push(text, policy=policy) in (SENT, OVER)]
        assert server.push_stats().replaced > 100
        assert server.push_stats().kept == 7
        client.transport.resume_reading()
        received = [str(await client.recv()) for _ in range(len(sent) + 7)]
        assert received[: len(sent)] == sent
        assert sorted(received[len(sent) :]) == sorted(texts[-7:])


async def test_a_kept_message_that_an_extension_refuses_is_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Extension):
        name = "x-refusing"

        def encode(self, frame: Any) -> Any:
            raise ZeroDivisionError

    policy = SendPolicy("latest", max_bytes=MARK, key=lambda message: message[:6])
    async with asyncio.timeout(10), open_pair("server", **NARROW) as (connection, peer):
        count = fill(connection, policy)
        for number in range(2):
            connection.push(numbered(number), policy=policy)
        connection.set_extensions([Refusing()])
        await read_numbers(peer, count)
        while connection.push_stats().kept:
            await asyncio.sleep(0)
        assert connection.push_stats() == PushStats(sent=count, dropped=2)
        expected = ("websockets.server", "failed to write a message that was kept aside")
        assert records(caplog, "ERROR") == [expected, expected]
