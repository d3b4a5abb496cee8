"""Receiving cancelled at any point: no message is lost, doubled or reordered.

A cancelled call that was awaited directly took nothing. Where asyncio makes a task of the call, the message is in that
task's result or waits still.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, feed, open_pair, parked, turns
from tests.support import CONTINUATION, TEXT, RawPeer, encode_frame

Taken = list[str]


@dataclass
class Reader:
    """A task that receives, and how to find out what it took."""

    task: asyncio.Future[Any]
    took: Callable[[], Taken]


def _result_of(task: asyncio.Future[Any]) -> Taken:
    return [task.result()] if task.done() and not task.cancelled() and task.exception() is None else []


def direct(connection: Connection) -> Reader:
    taken: Taken = []

    async def consume() -> None:
        while True:
            taken.append(await connection.recv())

    return Reader(asyncio.create_task(consume()), lambda: taken)


def iteration(connection: Connection) -> Reader:
    taken: Taken = []

    async def consume() -> None:
        async for message in connection:
            taken.append(message)

    return Reader(asyncio.create_task(consume()), lambda: taken)


def timeout(connection: Connection) -> Reader:
    taken: Taken = []

    async def consume() -> None:
        while True:
            async with asyncio.timeout(60):
                message = await connection.recv()
            taken.append(message)

    return Reader(asyncio.create_task(consume()), lambda: taken)


def task(connection: Connection) -> Reader:
    receiving = asyncio.create_task(connection.recv())
    return Reader(receiving, lambda: _result_of(receiving))


def wait_for(connection: Connection) -> Reader:
    async def receive() -> Any:
        return await asyncio.wait_for(connection.recv(), 60)

    receiving = asyncio.create_task(receive())
    return Reader(receiving, lambda: _result_of(receiving))


def gather(connection: Connection) -> Reader:
    receiving = asyncio.create_task(connection.recv())
    return Reader(asyncio.gather(receiving, asyncio.sleep(0)), lambda: _result_of(receiving))


def shield(connection: Connection) -> Reader:
    receiving = asyncio.create_task(connection.recv())
    outer = asyncio.shield(receiving)

    def took() -> Taken:
        receiving.cancel()
        return _result_of(receiving)

    return Reader(outer, took)


WAYS = {way.__name__: way for way in (direct, iteration, timeout, task, wait_for, gather, shield)}

Step = tuple[int, int, int, int, bool, bool]

STEPS = st.lists(
    st.tuples(
        st.integers(0, 6),  # frames to write before the reader starts
        st.integers(0, 4),  # turns of the loop before it goes on
        st.integers(0, 6),  # frames to write then
        st.integers(0, 4),  # turns before the cancellation
        st.booleans(),  # whether another frame comes in the very turn of the cancellation
        st.booleans(),  # whether all that waits is received afterwards, so that the next reader is parked
    ),
    min_size=1,
    max_size=25,
)


class Numbered:
    """Writes numbered messages, every third one in two fragments that may be far apart."""

    def __init__(self, connection: Connection, peer: RawPeer) -> None:
        self._connection = connection
        self._peer = peer
        self._key = b"1234" if peer.is_client else None
        self._tail = b""
        self._size = 0
        self.begun = 0

    @property
    def complete(self) -> int:
        """Messages of which all frames were written."""
        return self.begun - bool(self._tail)

    def write(self, count: int) -> None:
        """Let the peer write so many frames."""
        self._peer.write_bytes(b"".join(self._frame() for _ in range(count)))

    def feed(self) -> None:
        """One frame that is read now, if nothing is under way that it would overtake."""
        if self._connection.bytes_received() == self._size and not self._connection.is_reading_paused():
            feed(self._connection, self._frame())

    def end(self) -> None:
        """Complete a message that was begun."""
        self._peer.write_bytes(self._tail)
        self._tail = b""

    def _frame(self) -> bytes:
        frame, self._tail = self._tail, b""
        if not frame:
            text = f"{self.begun:06}"
            self.begun += 1
            frame = encode_frame(TEXT, text, key=self._key)
            if self.begun % 3 == 0:
                frame = encode_frame(TEXT, text[:3], fin=False, key=self._key)
                self._tail = encode_frame(CONTINUATION, text[3:], key=self._key)
        self._size += len(frame)
        return frame


@pytest.mark.parametrize("way", WAYS)
async def test_no_message_is_lost_doubled_or_reordered(way: str) -> None:
    side = SIDES[len(way) % 2]
    async with open_pair(side, max_queue=5) as (connection, peer):
        numbered = Numbered(connection, peer)
        received: Taken = []
        scripts: list[list[Step]] = []

        @settings(max_examples=100, suppress_health_check=list(HealthCheck))
        @given(steps=STEPS)
        def collect(steps: list[Step]) -> None:
            scripts.append(steps)

        collect()  # the loop runs already, so the examples run on it after they were made
        async with asyncio.timeout(60):
            for step in itertools.chain.from_iterable(scripts):
                await _cancel_reader(connection, numbered, WAYS[way], step, received)
            numbered.end()
            await _receive_all(connection, numbered, received)
        assert received == [f"{number:06}" for number in range(numbered.begun)]
        assert numbered.begun > 1000


async def _cancel_reader(
    connection: Connection, numbered: Numbered, way: Callable[[Connection], Reader], step: Step, received: Taken
) -> None:
    before, first_turns, then, last_turns, feeds, drains = step
    numbered.write(before)
    reader = way(connection)
    await turns(first_turns)
    numbered.write(then)
    await turns(last_turns)
    if feeds:
        numbered.feed()
    reader.task.cancel()
    await asyncio.wait([reader.task])
    if not reader.task.cancelled():
        reader.task.exception()
    received += reader.took()
    await turns(2)  # a task that was shielded is cancelled now
    if drains:
        await _receive_all(connection, numbered, received)


async def _receive_all(connection: Connection, numbered: Numbered, received: Taken) -> None:
    while len(received) < numbered.complete:
        received.append(await connection.recv())


async def test_a_message_that_comes_in_the_turn_of_the_cancellation_stays() -> None:
    """The task was woken for it already, and is cancelled before it runs."""
    async with asyncio.timeout(10), open_pair("client") as (connection, _):
        receiving = asyncio.create_task(connection.recv())
        await parked(receiving)
        feed(connection, encode_frame(TEXT, "kept"))
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert await connection.recv() == "kept"


async def test_a_task_that_is_cancelled_before_its_first_step_took_nothing() -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, peer):
        peer.write_frame(TEXT, "1")
        peer.write_frame(TEXT, "2")
        assert await connection.recv() == "1"
        receiving = asyncio.create_task(connection.recv())
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert await connection.recv() == "2"


async def test_a_timeout_of_zero_takes_nothing_or_the_message() -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, _):
        received = []
        for number in range(200):
            feed(connection, encode_frame(TEXT, str(number)))
            try:
                async with asyncio.timeout(0):
                    received.append(await connection.recv())
            except TimeoutError:
                received.append(await connection.recv())
        assert received == [str(number) for number in range(200)]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="wait_for makes no task of a coroutine since Python 3.12")
async def test_wait_for_with_its_own_task() -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, peer):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.recv(), 0.001)
        peer.write_frame(TEXT, "x")
        assert await asyncio.wait_for(connection.recv(), 5) == "x"


async def test_a_cancelled_send_in_fragments_closes_with_1011() -> None:
    """Half a message cannot be taken back."""
    async with asyncio.timeout(10), open_pair("client") as (connection, peer):
        never: Awaitable[Any] = asyncio.Event().wait()

        async def source() -> Any:
            yield "a"
            await never

        sending = asyncio.create_task(connection.send(source()))
        assert (await peer.read_frame()).payload == b"a"
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await peer.read_frame()).close_code == 1011
