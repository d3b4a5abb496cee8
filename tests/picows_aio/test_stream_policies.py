"""Streams of one connection under overload: what each policy keeps, and that streams do not disturb each other."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import ConnectionClosedError
from picows_aio.asyncio.connection import Connection
from picows_aio.streaming import Stream
from tests.picows_aio.feeding import all_waiting, feed_messages, take_now
from tests.picows_aio.pairs import SIDES, deadline, open_pair, turns
from tests.support import RawPeer

Pair = tuple[Connection, RawPeer]


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    with deadline(20):
        async with open_pair(request.param) as (connection, peer):
            yield connection, peer


@pytest.fixture
def connection(pair: Pair) -> Connection:
    return pair[0]


def numbers(*bounds: int) -> list[str]:
    return [str(number) for number in range(*bounds)]


def totals(stream: Stream) -> tuple[int, int, int, int, int]:
    """Received, delivered, dropped, filtered, waiting: they add up."""
    stats = stream.stats()
    assert stats.received == stats.delivered + stats.dropped + stats.filtered + stats.depth
    assert stats.received_bytes == (
        stats.delivered_bytes + stats.dropped_bytes + stats.filtered_bytes + stats.depth_bytes
    )
    return stats.received, stats.delivered, stats.dropped, stats.filtered, stats.depth


async def test_a_stream_yields_messages_in_order_and_of_their_type(connection: Connection) -> None:
    async with connection.stream() as stream:
        feed_messages(connection, "a", b"b", "", b"", "\u20ac")
        feed_messages(connection, "fragmented", b"fragments", parts=3)
        assert [await anext(stream) for _ in range(7)] == ["a", b"b", "", b"", "\u20ac", "fragmented", b"fragments"]
        assert totals(stream) == (7, 7, 0, 0, 0)
        assert stream.stats().delivered_bytes == 1 + 1 + 3 + 10 + 9


async def test_every_stream_gets_every_message_and_the_same_object(connection: Connection) -> None:
    async with connection.stream() as first, connection.stream() as second:
        feed_messages(connection, b"shared")
        feed_messages(connection, b"assembled", parts=2)
        for _ in range(2):
            assert await first.recv() is await second.recv()


async def test_drop_oldest_keeps_the_newest(connection: Connection) -> None:
    async with connection.stream(maxsize=4, overflow="drop_oldest") as stream:
        feed_messages(connection, *numbers(100))
        assert not connection.is_reading_paused()
        assert totals(stream) == (100, 0, 96, 0, 4)
        assert all_waiting(stream) == numbers(96, 100)
        assert (stream.high_water, stream.dropped, stream.delivered, stream.received) == (4, 96, 4, 100)


async def test_drop_newest_keeps_the_oldest(connection: Connection) -> None:
    async with connection.stream(maxsize=4, overflow="drop_newest") as stream:
        feed_messages(connection, *numbers(100))
        assert not connection.is_reading_paused()
        assert totals(stream) == (100, 0, 96, 0, 4)
        assert take_now(stream.recv()) == "0"
        feed_messages(connection, "100", "101")
        assert all_waiting(stream) == ["1", "2", "3", "100"]


async def test_latest_keeps_the_newest_message(connection: Connection) -> None:
    async with connection.stream(overflow="latest") as stream:
        feed_messages(connection, *numbers(100))
        assert totals(stream) == (100, 0, 99, 0, 1)
        assert all_waiting(stream) == ["99"]
        feed_messages(connection, "next")
        assert all_waiting(stream) == ["next"]
        assert stream.high_water == 1


async def test_latest_keeps_one_message_of_each_key_in_the_order_in_which_keys_came(connection: Connection) -> None:
    async with connection.stream(overflow="latest", key=lambda message: message[0]) as stream:
        feed_messages(connection, "b1", "a1", "c1", "a2", "b2", "a3")
        assert totals(stream) == (6, 0, 3, 0, 3)
        assert take_now(stream.recv()) == "b2"
        feed_messages(connection, "b3", "c2")
        assert all_waiting(stream) == ["a3", "c2", "b3"]


async def test_latest_with_a_new_key_drops_the_oldest_one(connection: Connection) -> None:
    async with connection.stream(overflow="latest", maxsize=2, key=lambda message: message[0]) as stream:
        feed_messages(connection, "a1", "b1", "a2", "c1")
        assert all_waiting(stream) == ["b1", "c1"]
        assert totals(stream) == (4, 2, 2, 0, 0)


async def test_latest_with_a_larger_message_drops_the_oldest_ones_but_not_that(connection: Connection) -> None:
    options: dict[str, Any] = {"overflow": "latest", "max_bytes": 10, "key": lambda message: message[0]}
    async with connection.stream(**options) as stream:
        feed_messages(connection, "a", "b", "c", "c" * 9)
        assert all_waiting(stream) == ["b", "c" * 9]
        feed_messages(connection, "a", "b", "c", "a" * 9)
        assert all_waiting(stream) == ["c", "a" * 9]
        feed_messages(connection, "a", "b", "a" * 30)
        assert all_waiting(stream) == ["a" * 30]
        assert totals(stream)[0] == 11


@pytest.mark.parametrize("key", [float("nan"), (), 0, "text", frozenset({1})], ids=repr)
async def test_latest_knows_a_key_again(connection: Connection, key: object) -> None:
    """Not a number is not equal to itself, but it is the same object."""
    keys = iter([key, "other", key, key])
    async with connection.stream(overflow="latest", max_bytes=5, key=lambda message: next(keys)) as stream:
        feed_messages(connection, "1", "2", "33333", "4")
        assert all_waiting(stream) == ["4"]


async def test_keys_that_are_equal_are_one_key(connection: Connection) -> None:
    keys = iter([1, 1.0, True, 2])
    async with connection.stream(overflow="latest", key=lambda message: next(keys)) as stream:
        feed_messages(connection, "int", "float", "bool", "other")
        assert all_waiting(stream) == ["bool", "other"]


async def test_the_age_of_the_oldest_message_is_that_of_the_one_that_came_first(connection: Connection) -> None:
    """Not of the one that is taken next: `latest` keeps the place of a key, and its message may be the newest."""
    async with connection.stream(overflow="latest", key=lambda message: message[0]) as stream:
        assert stream.stats().oldest_age is None
        feed_messages(connection, "a1")
        feed_messages(connection, "b1")
        came = time.monotonic()
        while time.monotonic() < came + 0.01:
            await asyncio.sleep(0)
        feed_messages(connection, "a2")
        oldest_age = stream.stats().oldest_age
        assert oldest_age is not None
        assert 0.01 <= oldest_age < 20


async def test_the_age_is_right_after_streams_closed_during_a_read(connection: Connection) -> None:
    first = connection.stream(filter=lambda message: take_now(first.aclose()))
    feed_messages(connection, "x")
    closed = time.monotonic()
    while time.monotonic() < closed + 0.05:
        await asyncio.sleep(0)
    opened = time.monotonic()
    async with connection.stream() as second:
        feed_messages(connection, "y")
        oldest_age = second.stats().oldest_age
        assert oldest_age is not None
        assert oldest_age <= time.monotonic() - opened


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest", "block", "close"])
async def test_one_message_may_be_larger_than_all_the_room(connection: Connection, overflow: str) -> None:
    async with connection.stream(overflow=overflow, max_bytes=10) as stream:
        feed_messages(connection, b"x" * 1000)
        assert totals(stream) == (1, 0, 0, 0, 1)
        assert len(await stream.recv()) == 1000


async def test_bytes_count_like_messages(connection: Connection) -> None:
    async with (
        connection.stream(overflow="drop_oldest", max_bytes=10) as oldest,
        connection.stream(overflow="drop_newest", max_bytes=10) as newest,
    ):
        feed_messages(connection, "1234", "5678", "90", "x", "yyyy")
        assert all_waiting(oldest) == ["90", "x", "yyyy"]
        assert all_waiting(newest) == ["1234", "5678", "90"]
        feed_messages(connection, "\u20ac" * 3, "a", "bc")
        assert all_waiting(oldest) == ["a", "bc"]
        assert all_waiting(newest) == ["\u20ac" * 3, "a"]
        assert (oldest.stats().received_bytes, oldest.stats().dropped_bytes) == (15 + 12, 8 + 9)


async def test_maxsize_of_one(connection: Connection) -> None:
    async with (
        connection.stream(overflow="drop_oldest", maxsize=1) as oldest,
        connection.stream(overflow="drop_newest", maxsize=1) as newest,
        connection.stream(overflow="latest", maxsize=1, key=lambda message: message) as latest,
    ):
        feed_messages(connection, "1", "2", "3", "3")
        assert [all_waiting(stream) for stream in (oldest, newest, latest)] == [["3"], ["1"], ["3"]]
        assert [stream.high_water for stream in (oldest, newest, latest)] == [1, 1, 1]


async def test_block_holds_the_connection_and_loses_nothing(connection: Connection) -> None:
    async with connection.stream(maxsize=1) as single, connection.stream(overflow="drop_oldest", maxsize=3) as other:
        feed_messages(connection, *numbers(50))
        assert connection.is_reading_paused()
        assert (len(single), len(other)) == (1, 1)
        assert [await single.recv() for _ in range(50)] == numbers(50)
        assert totals(other) == (50, 0, 47, 0, 3)
        await turns(2)
        assert not connection.is_reading_paused()
        assert single.high_water == 1


async def test_block_reads_on_when_a_quarter_is_left(connection: Connection) -> None:
    async with connection.stream(maxsize=8) as stream:
        feed_messages(connection, *numbers(30))
        for left in (7, 6, 5, 4, 3):
            await stream.recv()
            assert connection.is_reading_paused()
            assert len(stream) == left
        await stream.recv()
        assert not connection.is_reading_paused()
        await turns(2)
        assert len(stream) == 8


async def test_block_counts_bytes(connection: Connection) -> None:
    async with connection.stream(max_bytes=100) as stream:
        feed_messages(connection, *["x" * 30] * 10)
        assert len(stream) == 4
        assert connection.is_reading_paused()
        for _ in range(10):
            assert await stream.recv() == "x" * 30


async def test_messages_without_bytes_are_bounded_by_their_number(connection: Connection) -> None:
    async with connection.stream(max_bytes=1, maxsize=3) as stream:
        feed_messages(connection, *[""] * 10)
        assert len(stream) == 3
        assert [await stream.recv() for _ in range(10)] == [""] * 10


async def test_a_filter_keeps_messages_out(connection: Connection) -> None:
    async with (
        connection.stream(maxsize=2, filter=lambda message: int(message) % 2) as odd,
        connection.stream(maxsize=2, overflow="drop_oldest", filter=lambda message: "5" in message) as five,
    ):
        feed_messages(connection, "0", "2", "4", "5", "6")
        assert not connection.is_reading_paused()
        assert all_waiting(odd) == ["5"]
        assert all_waiting(five) == ["5"]
        assert totals(odd) == (5, 1, 0, 4, 0)
        assert (odd.filtered, odd.stats().filtered_bytes) == (4, 4)


async def test_a_key_is_not_asked_for_what_the_filter_refuses(connection: Connection) -> None:
    asked: list[str] = []

    def key(message: str) -> str:
        asked.append(message)
        return message

    async with connection.stream(overflow="latest", key=key, filter=lambda message: message != "b") as stream:
        feed_messages(connection, "a", "b", "c")
        assert asked == ["a", "c"]
        assert totals(stream) == (3, 0, 0, 1, 2)


@pytest.mark.parametrize("side", SIDES)
async def test_close_ends_the_connection_with_a_reason_and_keeps_what_waits(side: str) -> None:
    """RFC 6455 section 7.4.1: 1008 says that a policy was violated, 1013 that it may be tried again later."""
    async with asyncio.timeout(20), open_pair(side) as (connection, peer):
        stream = connection.stream(overflow="close", maxsize=3, name="orders")
        other = connection.stream(overflow="drop_oldest", maxsize=100)
        feed_messages(connection, *numbers(6))
        close = await peer.read_frame()
        assert close.close_code == (1008 if side == "client" else 1013)
        assert close.payload[2:] == b"stream orders is full"
        feed_messages(connection, "late")
        assert totals(stream) == (4, 0, 1, 0, 3)
        assert [await stream.recv() for _ in range(3)] == numbers(3)
        receiving = asyncio.create_task(stream.recv())
        await turns(2)
        peer.close()
        with pytest.raises(ConnectionClosedError, match="stream orders is full"):
            await receiving
        assert [await other.recv() for _ in range(7)] == [*numbers(6), "late"]


@pytest.mark.parametrize("side", SIDES)
async def test_close_acts_also_while_a_message_is_sent_in_fragments(side: str) -> None:
    """RFC 6455 section 5.4: control frames may be sent between fragments."""
    async with asyncio.timeout(20), open_pair(side) as (connection, peer):
        more = asyncio.Event()

        async def fragments() -> AsyncIterator[str]:
            yield "a"
            await more.wait()
            yield "b"

        sending = asyncio.create_task(connection.send(fragments()))
        assert (await peer.read_frame()).payload == b"a"
        async with connection.stream(overflow="close", maxsize=1):
            feed_messages(connection, "1", "2")
            assert (await peer.read_frame()).close_code == (1008 if side == "client" else 1013)
        more.set()
        peer.close()
        with pytest.raises(ConnectionClosedError):
            await sending


@pytest.mark.parametrize("name", ["n" * 500, "\u20ac" * 100, "\ud800", "line\nbreak"], ids=ascii)
async def test_any_name_fits_into_the_reason(name: str) -> None:
    async with (
        asyncio.timeout(20),
        open_pair("client") as (connection, peer),
        connection.stream(overflow="close", maxsize=1, name=name),
    ):
        feed_messages(connection, "1", "2")
        close = await peer.read_frame()
        assert close.close_code == 1008
        assert len(close.payload) <= 125
        close.payload[2:].decode()


async def test_streams_with_different_policies_do_not_disturb_each_other(connection: Connection) -> None:
    async with (
        connection.stream(maxsize=1000) as block,
        connection.stream(maxsize=10, overflow="drop_oldest") as oldest,
        connection.stream(maxsize=10, overflow="drop_newest") as newest,
        connection.stream(maxsize=10, overflow="latest", key=lambda message: int(message) % 7) as latest,
        connection.stream(maxsize=1000, overflow="close") as close,
    ):
        for first in range(0, 900, 100):
            feed_messages(connection, *numbers(first, first + 100))
        assert all_waiting(block) == all_waiting(close) == numbers(900)
        assert all_waiting(oldest) == numbers(890, 900)
        assert all_waiting(newest) == numbers(10)
        assert sorted(map(int, all_waiting(latest))) == [*range(893, 900)]
        for stats in connection.stream_stats():
            assert stats.received == stats.delivered + stats.dropped == 900
        assert [stats.overflow for stats in connection.stream_stats()] == [
            "block", "drop_oldest", "drop_newest", "latest", "close",
        ]  # fmt: skip
