"""`merge`: one loop over many connections, fair, losing nothing, and holding nobody longer than it lasts."""

import asyncio
import contextlib
import gc
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picows_aio import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, merge
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, feed, open_pair, parked, turns
from tests.support import BINARY, CONTINUATION, TEXT, RawPeer, encode_frame

Pairs = tuple[list[Connection], list[RawPeer]]


@contextlib.asynccontextmanager
async def open_pairs(count: int, **options: Any) -> AsyncIterator[Pairs]:
    """Connections of both sides in turn, and their raw peers."""
    async with contextlib.AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(open_pair(SIDES[n % 2], **options)) for n in range(count)]
        yield [connection for connection, _ in pairs], [peer for _, peer in pairs]


@pytest.fixture
async def pairs() -> AsyncIterator[Pairs]:
    async with open_pairs(3) as opened:
        yield opened


async def test_it_yields_the_connection_and_the_message(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10), merge(*connections) as merged:
        for number, (connection, peer) in enumerate(zip(connections, peers, strict=True)):
            waiting = asyncio.create_task(anext(merged))  # type: ignore[arg-type]
            await parked(waiting)
            peer.write_frame(TEXT, f"text {number}")
            assert await waiting == (connection, f"text {number}")
            peer.write_frame(BINARY, b"bytes")
            assert await anext(merged) == (connection, b"bytes")
            peer.write_frame(TEXT, "in ", fin=False)
            peer.write_frame(CONTINUATION, "pieces")
            assert await anext(merged) == (connection, "in pieces")


async def test_each_connection_gives_one_message_in_its_turn(pairs: Pairs) -> None:
    """Also of what waited before the merge was made."""
    connections, peers = pairs
    async with asyncio.timeout(10):
        await _let_wait(connections, peers, [4, 2, 3])
        async with merge(*connections) as merged:
            taken = [(connections.index(source), message) for source, message in await _take(merged, 9)]
        assert taken == [
            *((0, "0"), (1, "0"), (2, "0")),
            *((0, "1"), (1, "1"), (2, "1")),
            *((0, "2"), (2, "2")),
            (0, "3"),
        ]


async def test_a_firehose_does_not_keep_others_waiting() -> None:
    async with asyncio.timeout(10), open_pairs(2, max_queue=4) as (connections, peers):
        for number in range(500):
            peers[0].write_frame(TEXT, str(number))
        while not connections[0].is_reading_paused():
            await turns()
        await _let_wait(connections[1:], peers[1:], [3])
        async with merge(*connections) as merged:
            taken = await _take(merged, 503)
            assert [source for source, _ in taken[:6]] == [connections[0], connections[1]] * 3
            assert [message for source, message in taken if source is connections[0]] == [*map(str, range(500))]


async def test_back_pressure_reaches_the_peers_and_lets_go() -> None:
    async with asyncio.timeout(20), open_pairs(2, max_queue=2) as (connections, peers):
        async with merge(*connections) as merged:
            for peer in peers:
                for number in range(200):
                    peer.write_frame(BINARY, b"%08d" % number + bytes(60_000))
            draining = [asyncio.create_task(peer.drain()) for peer in peers]
            while not all(connection.is_reading_paused() for connection in connections):
                await turns()
            await turns(20)
            assert not any(task.done() for task in draining)
            assert [connection.messages_waiting() for connection in connections] == [3, 3]
            taken = await _take(merged, 400)
            await asyncio.gather(*draining)
        for connection in connections:
            numbers = [int(message[:8]) for source, message in taken if source is connection]
            assert numbers == list(range(200))


@pytest.mark.parametrize("max_queue", [0, 1, 16, None])
async def test_a_burst_is_taken_whatever_may_wait(max_queue: int | None) -> None:
    async with asyncio.timeout(10), open_pairs(2, max_queue=max_queue) as (connections, peers):
        async with merge(*connections) as merged:
            taking = asyncio.create_task(_take(merged, 200))
            await parked(taking)
            for connection, peer in zip(connections, peers, strict=True):
                feed(connection, b"".join(_frame(peer, str(number)) for number in range(100)))
            taken = await taking
        for connection in connections:
            assert [message for source, message in taken if source is connection] == [*map(str, range(100))]


async def test_what_is_sent_inside_the_loop_goes_out_while_it_waits(pairs: Pairs) -> None:
    connections, peers = pairs

    async def relay() -> None:
        async for _, message in merge(*connections):
            for other in connections:
                await other.send(message)

    async with asyncio.timeout(10):
        relaying = asyncio.create_task(relay())
        for number in range(20):
            peers[number % 3].write_frame(TEXT, str(number))
            assert [(await peer.read_frame()).payload for peer in peers] == [b"%d" % number] * 3
        relaying.cancel()
        await asyncio.wait([relaying])


# How it ends


async def test_it_ends_when_all_connections_were_closed_normally(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        for number, peer in enumerate(peers):
            peer.write_frame(TEXT, f"last of {number}")
            peer.write_close(1000 + number % 2)
            peer.half_close()
        taken = [(source, message) async for source, message in merge(*connections)]
        assert sorted(message for _, message in taken) == ["last of 0", "last of 1", "last of 2"]
        assert all(message == f"last of {connections.index(source)}" for source, message in taken)


async def test_one_end_does_not_end_the_others(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10), merge(*connections) as merged:
        waiting = asyncio.create_task(anext(merged))  # type: ignore[arg-type]
        peers[0].write_close(1000)
        peers[0].half_close()
        await connections[0].wait_closed()
        assert not waiting.done()
        peers[1].write_frame(TEXT, "still here")
        assert await waiting == (connections[1], "still here")


async def test_an_abnormal_end_is_raised_after_the_last_message_and_iterating_goes_on(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        merged = merge(*connections)
        peers[1].write_frame(TEXT, "last words")
        peers[1].half_close()
        assert await anext(merged) == (connections[1], "last words")
        with pytest.raises(ConnectionClosedError):
            await anext(merged)
        peers[2].write_frame(TEXT, "x")
        assert await anext(merged) == (connections[2], "x")
        with pytest.raises(ConnectionClosedError):
            await connections[1].recv()
        for peer in (peers[0], peers[2]):
            peer.write_close(1000)
            peer.half_close()
        assert [pair async for pair in merged] == []


async def test_connections_that_are_closed_already_give_what_waits(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        for connection, peer in zip(connections, peers, strict=True):
            peer.write_frame(TEXT, "x")
            peer.write_close(1000)
            peer.half_close()
            await connection.wait_closed()
        assert [pair async for pair in merge(*connections)] == [(connection, "x") for connection in connections]


async def test_a_merge_of_nothing_ends_at_once() -> None:
    assert [pair async for pair in merge()] == []


async def test_on_closed_is_told_of_every_end_after_the_last_message(pairs: Pairs) -> None:
    connections, peers = pairs
    story: list[Any] = []
    async with asyncio.timeout(10):
        peers[0].write_frame(TEXT, "first")
        peers[0].write_close(1000)
        peers[0].half_close()
        peers[1].write_frame(TEXT, "second")
        peers[1].half_close()
        for connection in connections[:2]:
            await connection.wait_closed()
        merged = merge(*connections, on_closed=lambda connection, error: story.append((connection, type(error))))
        taking = asyncio.create_task(_collect(merged, story))
        await parked(taking)
        assert story == [
            (connections[0], "first"),
            (connections[1], "second"),
            (connections[0], ConnectionClosedOK),
            (connections[1], ConnectionClosedError),
        ]
        peers[2].write_close(4000)
        peers[2].half_close()
        await taking
        assert story[4:] == [(connections[2], ConnectionClosedError)]


async def test_what_on_closed_raises_leaves_the_loop_and_iterating_goes_on(pairs: Pairs) -> None:
    connections, peers = pairs

    def on_closed(connection: Connection, error: Exception) -> None:
        raise LookupError("no replacement") from error

    async with asyncio.timeout(10), merge(*connections, on_closed=on_closed) as merged:
        waiting = asyncio.create_task(anext(merged))  # type: ignore[arg-type]
        await parked(waiting)
        peers[0].write_close(1000)
        peers[0].half_close()
        with pytest.raises(LookupError, match="no replacement"):
            await waiting
        peers[1].write_frame(TEXT, "x")
        assert await anext(merged) == (connections[1], "x")


async def test_on_closed_may_close_the_merge(pairs: Pairs) -> None:
    connections, peers = pairs
    closing: list[asyncio.Task[None]] = []
    async with asyncio.timeout(10):
        merged = merge(
            *connections, on_closed=lambda connection, error: closing.append(asyncio.create_task(merged.aclose()))
        )
        taking = asyncio.create_task(_collect(merged, []))
        await parked(taking)
        peers[0].half_close()
        await taking
        await closing[0]
        await _is_free(connections[1], peers[1])


# Letting go


async def test_aclose_ends_the_iteration_of_a_task_that_waits(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        merged = merge(*connections)
        taking = asyncio.create_task(_collect(merged, []))
        await parked(taking)
        await merged.aclose()
        await taking
        await merged.aclose()
        assert [pair async for pair in merged] == []
        for connection, peer in zip(connections, peers, strict=True):
            await _is_free(connection, peer)


async def test_what_was_not_taken_stays_with_the_connections(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        await _let_wait(connections, peers, [2, 2, 2])
        async with merge(*connections) as merged:
            await _take(merged, 4)
        assert [connection.messages_waiting() for connection in connections] == [0, 1, 1]
        assert [await connection.recv() for connection in connections[1:]] == ["1", "1"]


@pytest.mark.parametrize("way", ["break", "never iterated", "cancelled while waiting", "error"])
async def test_a_merge_that_is_dropped_sets_the_connections_free(pairs: Pairs, way: str) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        if way == "break":
            peers[0].write_frame(TEXT, "x")
            async for _ in merge(*connections):
                break
        elif way == "never iterated":
            merge(*connections)
        elif way == "cancelled while waiting":
            taking = asyncio.create_task(_collect(merge(*connections), []))
            await parked(taking)
            taking.cancel()
            await asyncio.wait([taking])
            del taking
        else:
            peers[0].half_close()
            with pytest.raises(ConnectionClosedError):
                await _collect(merge(*connections), [])
        gc.collect()  # a traceback may have held it
        for connection, peer in list(zip(connections, peers, strict=True))[1:]:
            await _is_free(connection, peer)


async def test_a_merge_that_only_its_waiting_task_knows_lasts(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(anext(merge(*connections)))  # type: ignore[arg-type]
        await parked(waiting)
        gc.collect()
        peers[1].write_frame(TEXT, "x")
        assert await waiting == (connections[1], "x")


# Bad use


@pytest.mark.parametrize("way", ["recv", "anext", "recv_streaming", "frames", "views", "batches", "stream", "merge"])
async def test_there_is_no_other_reader_while_a_merge_lasts(pairs: Pairs, way: str) -> None:
    connections, peers = pairs
    ways: dict[str, Any] = {
        "recv": lambda connection: connection.recv(),
        "anext": anext,
        "recv_streaming": lambda connection: anext(connection.recv_streaming()),
        "frames": lambda connection: anext(connection.frames()),
        "views": lambda connection: anext(connection.views()),
        "batches": lambda connection: anext(connection.batches()),
        "stream": lambda connection: connection.stream(),
        "merge": lambda connection: merge(connections[1], connection),
    }
    async with asyncio.timeout(10):
        merged = merge(connections[0], connections[2])
        with pytest.raises(ConcurrencyError, match=r"merge\(\) waits$"):
            await ways[way](connections[0])
        peers[0].write_frame(TEXT, "x")
        assert await anext(merged) == (connections[0], "x")
        await _is_free(connections[1], peers[1])


async def test_a_connection_with_another_reader_is_refused_and_the_others_are_free(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        receiving = asyncio.create_task(connections[1].recv(), name="the first reader")
        await parked(receiving)
        with pytest.raises(ConcurrencyError, match="the first reader waits"):
            merge(*connections)
        await _is_free(connections[0], peers[0])
        peers[1].write_frame(TEXT, "x")
        assert await receiving == "x"


async def test_a_connection_with_streams_is_refused(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        async with connections[1].stream(name="prices"):
            with pytest.raises(ConcurrencyError, match="streams 'prices'"):
                merge(*connections)
        await _is_free(connections[0], peers[0])
        merged = merge(*connections)
        peers[1].write_frame(TEXT, "x")
        assert await anext(merged) == (connections[1], "x")


async def test_a_connection_twice_is_refused(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        with pytest.raises(ConcurrencyError, match=r"merge\(\) waits$"):
            merge(connections[0], connections[1], connections[0])
        await _is_free(connections[0], peers[0])


@pytest.mark.parametrize("wrong", [None, "ws://localhost/", object()])
async def test_other_things_than_connections_are_refused(pairs: Pairs, wrong: Any) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        with pytest.raises(TypeError, match=rf"^merge\(\) takes connections, not {type(wrong).__name__}$"):
            merge(connections[0], wrong)
        with pytest.raises(TypeError, match=r"^merge\(\) takes connections, not list$"):
            merge(connections)  # type: ignore[type-var]
        with pytest.raises(TypeError, match=r"^on_closed must be a function"):
            merge(connections[0], on_closed="log")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^on_closed must be a plain function, not a coroutine function"):
            merge(connections[0], on_closed=_never_awaited)
        await _is_free(connections[0], peers[0])


async def _never_awaited(connection: Connection, error: Exception) -> None:
    """A coroutine function, where a plain one belongs."""


async def test_a_connection_of_another_loop_is_refused(pairs: Pairs) -> None:
    connections, peers = pairs

    def merge_elsewhere() -> None:
        async def main() -> None:
            merge(connections[0])

        asyncio.run(main())

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(merge_elsewhere)
        await _is_free(connections[0], peers[0])


async def test_two_tasks_cannot_share_a_merge(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10), merge(*connections) as merged:
        waiting = asyncio.create_task(anext(merged))  # type: ignore[arg-type]
        await parked(waiting)
        with pytest.raises(ConcurrencyError, match="iterates over this merge"):
            await anext(merged)
        peers[0].write_frame(TEXT, "x")
        assert await waiting == (connections[0], "x")


async def test_a_merge_takes_over_from_every_other_way_to_receive(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10):
        await _let_wait(connections, peers, [2, 2, 2])
        assert bytes(await anext(connections[0].frames())) == b"0"
        assert bytes(await anext(connections[1].views())) == b"0"
        assert await anext(connections[2].batches(max_messages=1)) == ["0"]
        taken = await _take(merge(*connections), 3)
        assert taken == [(connection, "1") for connection in connections]


# Cancellation

STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 4), min_size=3, max_size=3),  # messages of each peer before the reader starts
        st.integers(0, 3),  # turns of the loop before it goes on
        st.lists(st.integers(0, 4), min_size=3, max_size=3),  # messages of each peer then
        st.integers(0, 3),  # turns before the cancellation
        st.booleans(),  # whether the next reader has a merge of its own
    ),
    min_size=1,
    max_size=20,
)


async def test_cancelling_loses_doubles_and_reorders_nothing() -> None:
    scripts: list[Any] = []

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(steps=STEPS)
    def collect(steps: Any) -> None:
        scripts.append(steps)

    collect()  # the loop runs already, so the examples run on it after they were made
    async with asyncio.timeout(60), open_pairs(3, max_queue=3) as (connections, peers):
        written = [0, 0, 0]
        taken: list[Any] = []
        merged = merge(*connections)
        for before, first_turns, then, last_turns, is_new in itertools.chain.from_iterable(scripts):
            _write(peers, written, before)
            reader = asyncio.create_task(_collect(merged, taken))
            await turns(first_turns)
            _write(peers, written, then)
            await turns(last_turns)
            reader.cancel()
            await asyncio.wait([reader])
            if is_new:
                await merged.aclose()
                merged = merge(*connections)
        while len(taken) < sum(written):
            taken.append(await anext(merged))
    for number, connection in enumerate(connections):
        assert [message for source, message in taken if source is connection] == [*map(str, range(written[number]))]
    assert sum(written) > 1000


async def test_a_message_that_comes_in_the_turn_of_the_cancellation_stays(pairs: Pairs) -> None:
    connections, peers = pairs
    async with asyncio.timeout(10), merge(*connections) as merged:
        waiting = asyncio.create_task(anext(merged))  # type: ignore[arg-type]
        await parked(waiting)
        waiting.cancel()
        feed(connections[2], _frame(peers[2], "kept"))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await anext(merged) == (connections[2], "kept")


def _write(peers: list[RawPeer], written: list[int], counts: list[int]) -> None:
    for number, (peer, count) in enumerate(zip(peers, counts, strict=True)):
        for _ in range(count):
            peer.write_frame(TEXT, str(written[number]))
            written[number] += 1


def _frame(peer: RawPeer, text: str) -> bytes:
    return encode_frame(TEXT, text, key=b"1234" if peer.is_client else None)


async def _let_wait(connections: list[Connection], peers: list[RawPeer], counts: list[int]) -> None:
    """Have each connection receive so many numbered messages that nobody takes."""
    for connection, peer, count in zip(connections, peers, counts, strict=True):
        for number in range(count):
            peer.write_frame(TEXT, str(number))
        while connection.messages_waiting() < count:
            await turns()


async def _take(merged: Any, count: int) -> list[tuple[Connection, Any]]:
    return [await anext(merged) for _ in range(count)]


async def _collect(merged: Any, taken: list[Any]) -> None:
    async for pair in merged:
        taken.append(pair)


async def _is_free(connection: Connection, peer: RawPeer) -> None:
    peer.write_frame(TEXT, "free")
    assert await connection.recv() == "free"
