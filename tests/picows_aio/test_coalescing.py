"""Answers to what one read brought leave together, and a lone answer leaves at once."""

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, open_pair, parked
from tests.support import RawPeer
from tests.support.wire import BINARY, encode_frame

COUNT = 16
MESSAGES = [b"message %d" % number for number in range(COUNT)]


async def by_iteration(connection: Connection) -> AsyncIterator[Any]:
    async for message in connection:
        yield message


async def by_recv(connection: Connection) -> AsyncIterator[Any]:
    while True:
        yield await connection.recv()


async def by_frames(connection: Connection) -> AsyncIterator[Any]:
    async for frame in connection.frames():
        yield bytes(frame)


async def by_fragments(connection: Connection) -> AsyncIterator[Any]:
    while True:
        async for fragment in connection.recv_streaming():
            yield fragment


async def by_stream(connection: Connection) -> AsyncIterator[Any]:
    async with connection.stream() as stream:
        async for message in stream:
            yield message


Read = Callable[[Connection], AsyncIterator[Any]]
WAYS = [by_iteration, by_recv, by_frames, by_fragments, by_stream]


def write_at_once(peer: RawPeer, messages: list[bytes]) -> None:
    """One write of all of them, which one read takes."""
    key = b"abcd" if peer.is_client else None
    peer.write_bytes(b"".join(encode_frame(BINARY, message, key=key) for message in messages))


def has_arrived(peer: RawPeer, seconds: float = 0) -> bool:
    """Whether there is something for the peer, while nothing else can run."""
    return bool(select.select([peer.sock], [], [], seconds)[0])


async def answer(connection: Connection, read: Read, count: int, note: Callable[[], None]) -> None:
    """Echo so many messages; what `note` sees is what each `send()` has done by itself."""
    async for message in read(connection):
        await connection.send(message)
        note()
        count -= 1
        if count == 0:
            return


@pytest.mark.parametrize("read", WAYS)
@pytest.mark.parametrize("side", SIDES)
async def test_answers_to_one_read_leave_together(side: str, read: Read) -> None:
    arrived: list[bool] = []
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        answering = asyncio.create_task(answer(connection, read, COUNT, lambda: arrived.append(has_arrived(peer))))
        await parked(answering)
        write_at_once(peer, MESSAGES)
        assert [frame.payload for frame in await peer.read_frames(COUNT)] == MESSAGES
        await answering
    assert arrived == [False] * COUNT


async def check_it_is_answered_at_once(connection: Connection, peer: RawPeer, read: Read) -> None:
    """One message: the answer has arrived before its consumer goes on."""
    arrived: list[bool] = []
    answering = asyncio.create_task(answer(connection, read, 1, lambda: arrived.append(has_arrived(peer, 5))))
    await parked(answering)
    write_at_once(peer, MESSAGES[:1])
    assert (await peer.read_frame()).payload == MESSAGES[0]
    await answering
    assert arrived == [True]


@pytest.mark.parametrize("read", WAYS)
@pytest.mark.parametrize("side", SIDES)
async def test_a_lone_message_is_answered_at_once(side: str, read: Read) -> None:
    """Before its consumer goes on: what that does next may take long."""
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        await check_it_is_answered_at_once(connection, peer, read)


@pytest.mark.parametrize("side", SIDES)
async def test_a_stream_that_nobody_reads_does_not_delay_answers(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer), connection.stream():
        await check_it_is_answered_at_once(connection, peer, by_stream)


@pytest.mark.parametrize("side", SIDES)
async def test_answers_leave_when_the_consumer_waits_for_something_else(side: str) -> None:
    """Messages that wait do not hold back the answers to those before them."""
    go_on = asyncio.Event()

    async def consume(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message)
            await go_on.wait()

    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        consuming = asyncio.create_task(consume(connection))
        await parked(consuming)
        write_at_once(peer, MESSAGES)
        assert (await peer.read_frame()).payload == MESSAGES[0]
        go_on.set()
        assert [frame.payload for frame in await peer.read_frames(COUNT - 1)] == MESSAGES[1:]
        consuming.cancel()
