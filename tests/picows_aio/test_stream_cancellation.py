"""Consumers of streams, frames, views and batches cancelled at any point: nothing is lost, doubled or reordered.

As test_cancellation.py does it for recv(), whose ways to wait and to be cancelled are used here.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from picows import WSFrame
from picows_aio.asyncio.connection import Connection
from picows_aio.streaming import Stream
from tests.picows_aio.pairs import SIDES, feed, open_pair, parked, turns
from tests.picows_aio.test_cancellation import STEPS, WAYS, Numbered, Reader, Step
from tests.support import TEXT, encode_frame

Item = str | memoryview | WSFrame | list[str]


class Source:
    """One way to receive from a connection, with the methods that the ways to wait use."""

    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        self._iterator = iterator

    def recv(self) -> Coroutine[Any, Any, Any]:
        return self._iterator.__anext__()  # type: ignore[return-value]

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterator


def text_of(items: list[Item]) -> str:
    """The text of all messages in a line: a message may have come in two frames, or in a batch with others."""
    return "".join(
        "".join(item) if isinstance(item, list) else item if isinstance(item, str) else bytes(item).decode()
        for item in items
    )


async def consume_all(stream: Stream, into: list[str]) -> None:
    async for message in stream:
        into.append(message)  # type: ignore[arg-type]


async def open_stream(connection: Connection, stack: AsyncExitStack) -> Any:
    return await stack.enter_async_context(connection.stream(maxsize=5))


async def open_stream_of_two(connection: Connection, stack: AsyncExitStack) -> Any:
    """The other one has a consumer that nobody cancels, and it loses nothing either."""
    other = connection.stream(maxsize=3)
    task = asyncio.create_task(consume_all(other, received := []))
    await parked(task)

    async def check() -> None:
        while other.delivered < other.received:
            await asyncio.sleep(0)
        await other.aclose()
        await task
        assert other.dropped == 0
        assert "".join(received) == text_of([f"{number:06}" for number in range(len(received))])
        assert len(received) > 100

    stack.push_async_callback(check)
    return await open_stream(connection, stack)


SOURCES: dict[str, Callable[[Connection, AsyncExitStack], Coroutine[Any, Any, Any]]] = {
    "stream": open_stream,
    "stream of two": open_stream_of_two,
}
SHAPES: dict[str, Callable[[Connection], AsyncIterator[Any]]] = {
    "batches": lambda connection: connection.batches(),
    "limited batches": lambda connection: connection.batches(max_messages=3),
    "views": lambda connection: connection.views(),
    "frames": lambda connection: connection.frames(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*SOURCES, *SHAPES])
async def test_no_message_is_lost_doubled_or_reordered(kind: str, way: str) -> None:
    side = SIDES[len(way + kind) % 2]
    async with open_pair(side, max_queue=5) as (connection, peer), AsyncExitStack() as stack:
        numbered = Numbered(connection, peer)
        scripts: list[list[Step]] = []

        @settings(max_examples=50, suppress_health_check=list(HealthCheck))
        @given(steps=STEPS)
        def collect(steps: list[Step]) -> None:
            scripts.append(steps)

        collect()  # the loop runs already, so the examples run on it after they were made
        source = await SOURCES[kind](connection, stack) if kind in SOURCES else Source(SHAPES[kind](connection))
        items: list[Item] = []
        async with asyncio.timeout(60):
            for step in itertools.chain.from_iterable(scripts):
                await _cancel_reader(source, numbered, WAYS[way], step, items)
            numbered.end()
            await _receive_all(source, numbered, items)
        assert text_of(items) == text_of([f"{number:06}" for number in range(numbered.begun)])
        assert numbered.begun > 100  # the examples are random: not a handful
        if isinstance(source, Stream):
            assert (source.received, source.delivered, source.dropped) == (numbered.begun, numbered.begun, 0)


async def _cancel_reader(
    source: Any, numbered: Numbered, way: Callable[[Any], Reader], step: Step, items: list[Item]
) -> None:
    before, first_turns, then, last_turns, feeds, drains = step
    numbered.write(before)
    reader = way(source)
    await turns(first_turns)
    numbered.write(then)
    await turns(last_turns)
    if feeds:
        numbered.feed()
    reader.task.cancel()
    await asyncio.wait([reader.task])
    if not reader.task.cancelled():
        reader.task.exception()
    items += reader.took()
    await turns(2)  # a task that was shielded is cancelled now
    if drains:
        await _receive_all(source, numbered, items)


async def _receive_all(source: Any, numbered: Numbered, items: list[Item]) -> None:
    while len(text_of(items)) < 6 * numbered.complete:
        items[:] = [text_of(items)]
        items.append(await source.recv())


@pytest.mark.parametrize("kind", [*SOURCES, *SHAPES])
async def test_a_message_that_comes_in_the_turn_of_the_cancellation_stays(kind: str) -> None:
    """The task was woken for it already, and is cancelled before it runs."""
    async with asyncio.timeout(10), open_pair("client") as (connection, _), AsyncExitStack() as stack:
        source = await open_stream(connection, stack) if kind in SOURCES else Source(SHAPES[kind](connection))
        receiving = asyncio.create_task(source.recv())
        await parked(receiving)
        feed(connection, encode_frame(TEXT, "kept"))
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert text_of([await source.recv()]) == "kept"


@pytest.mark.parametrize("kind", [*SOURCES, *SHAPES])
async def test_a_task_that_is_cancelled_before_its_first_step_took_nothing(kind: str) -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, _), AsyncExitStack() as stack:
        source = await open_stream(connection, stack) if kind in SOURCES else Source(SHAPES[kind](connection))
        await turns(2)
        feed(connection, encode_frame(TEXT, "1"))
        receiving = asyncio.create_task(source.recv())
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert text_of([await source.recv()]) == "1"


@pytest.mark.parametrize("kind", [*SOURCES, *SHAPES])
async def test_a_timeout_of_zero_takes_nothing_or_the_message(kind: str) -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, _), AsyncExitStack() as stack:
        source = await open_stream(connection, stack) if kind in SOURCES else Source(SHAPES[kind](connection))
        items: list[Item] = []
        for number in range(200):
            feed(connection, encode_frame(TEXT, str(number)))
            try:
                async with asyncio.timeout(0):
                    items.append(await source.recv())
            except TimeoutError:
                items.append(await source.recv())
        assert text_of(items) == text_of([str(number) for number in range(200)])
