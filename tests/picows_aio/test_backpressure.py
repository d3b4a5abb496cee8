"""A receiver that does not keep up: what waits is bounded, the peer is held back, nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import connect
from picows_aio.asyncio.connection import Connection
from picows_aio.connection import queue_bounds
from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.pairs import SIDES, feed, open_pair, parked, turns
from tests.picows_aio.served import needs_proc, run_server
from tests.support import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, encode_frame

BOUNDS = [
    (16, 16, 4),
    (1, 1, 0),
    (0, 0, 0),
    ((8, 2), 8, 2),
    ((8, 8), 8, 8),
    ((8, None), 8, 2),
    ((3, 0), 3, 0),
]


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(("max_queue", "high", "low"), BOUNDS)
async def test_reading_pauses_above_the_high_mark_and_resumes_at_the_low_one(
    side: str, max_queue: Any, high: int, low: int
) -> None:
    async with asyncio.timeout(10), open_pair(side, max_queue=max_queue) as (connection, peer):
        total = high + 20
        for number in range(total):
            peer.write_frame(TEXT, str(number))
        await _until_paused(connection)
        assert connection.messages_waiting() == high + 1
        received = []
        while connection.is_reading_paused():
            received.append(await connection.recv())
        assert connection.messages_waiting() == min(low, high)
        while len(received) < total:
            received.append(await connection.recv())
            assert connection.messages_waiting() <= high + 1
        assert received == [str(number) for number in range(total)]


@pytest.mark.parametrize("max_queue", [None, (None, None)])
async def test_none_means_no_bound(side: str, max_queue: Any) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=max_queue, max_size=None) as (connection, peer):
        for number in range(5000):
            peer.write_frame(BINARY, b"%08d" % number + bytes(4992))
        peer.write_frame(PING)
        await peer.drain()
        assert await peer.read_frame() == Frame(PONG)
        assert connection.messages_waiting() == 5000
        assert not connection.is_reading_paused()
        for number in range(5000):
            assert (await connection.recv()).startswith(b"%08d" % number)


@pytest.mark.parametrize("max_queue", [-1, (1, 2), (2, -1)])
def test_other_bounds_are_refused(max_queue: Any) -> None:
    with pytest.raises(ValueError, match="max_queue must be"):
        queue_bounds(max_queue)


async def test_the_peer_is_held_back_and_released(side: str) -> None:
    """Back-pressure reaches the peer's socket: its writes wait."""
    async with asyncio.timeout(20), open_pair(side, max_queue=4) as (connection, peer):
        count, size = 400, 60_000
        for number in range(count):
            peer.write_frame(BINARY, b"%08d" % number + bytes(size - 8))
        writing = asyncio.create_task(peer.drain())
        await _until_paused(connection)
        await turns(20)
        assert not writing.done()
        assert connection.messages_waiting() == 5
        assert connection.bytes_received() < 7 * size + 65536
        for number in range(count):
            assert (await connection.recv())[:8] == b"%08d" % number
        await writing


async def test_pings_behind_a_full_queue_wait(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, max_queue=2, ping_interval=None) as (connection, peer):
        for number in range(6):
            peer.write_frame(TEXT, str(number))
        peer.write_frame(PING, b"behind")
        await _until_paused(connection)
        await turns(5)
        reading = asyncio.create_task(peer.read_frame())
        await turns(5)
        assert not reading.done()
        assert [await connection.recv() for _ in range(6)] == list("012345")
        assert await reading == Frame(PONG, b"behind")


async def test_large_messages_count_by_their_bytes(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=1000, max_size=2**20) as (connection, peer):
        for _ in range(40):
            peer.write_frame(BINARY, bytes(2**18))
        await _until_paused(connection)
        assert connection.messages_waiting() == 5
        for _ in range(40):
            assert len(await connection.recv()) == 2**18


@pytest.mark.parametrize(("max_queue", "high", "low"), BOUNDS)
async def test_a_streaming_reader_counts_fragments(side: str, max_queue: Any, high: int, low: int) -> None:
    async with asyncio.timeout(10), open_pair(side, max_queue=max_queue) as (connection, peer):
        stream = connection.recv_streaming()
        peer.write_frame(TEXT, "first", fin=False)
        assert await anext(stream) == "first"
        for number in range(high + 20):
            peer.write_frame(CONTINUATION, str(number), fin=False)
        await _until_paused(connection)
        assert connection.messages_waiting() == high + 1
        received = []
        while connection.is_reading_paused():
            received.append(await anext(stream))
        assert connection.messages_waiting() == min(low, high)
        peer.write_frame(CONTINUATION, "last")
        received += [part async for part in stream]
        assert received == [*map(str, range(high + 20)), "last"]


async def test_a_message_under_way_without_a_reader_counts_by_its_bytes(side: str) -> None:
    """Where messages have no limit, fragments that nobody waits for have one all the same."""
    async with asyncio.timeout(20), open_pair(side, max_size=None) as (connection, peer):
        fragment = bytes(2**20)
        peer.write_frame(BINARY, fragment, fin=False)
        for _ in range(39):
            peer.write_frame(CONTINUATION, fragment, fin=False)
        peer.write_frame(CONTINUATION)
        await _until_paused(connection)
        assert connection.bytes_received() < 2**24 + 2 * 2**20
        assert len(await connection.recv()) == 40 * 2**20


async def test_nothing_is_lost_between_a_slow_reader_and_bursts(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=(5, 1)) as (connection, peer):
        for number in range(3000):
            peer.write_frame(TEXT, f"{number:06}" + "x" * (number % 700))
        received = []
        while len(received) < 3000:
            if len(received) % 7 == 0:
                await turns(len(received) % 5)
            received.append(await connection.recv())
        assert [int(message[:6]) for message in received] == list(range(3000))


async def test_a_close_of_the_peer_is_seen_when_the_queue_has_room() -> None:
    async with asyncio.timeout(10), open_pair("client", max_queue=2) as (connection, peer):
        for number in range(10):
            peer.write_frame(TEXT, str(number))
        peer.write_close(1001)
        peer.half_close()
        await _until_paused(connection)
        assert [message async for message in connection] == [str(number) for number in range(10)]
        assert connection.close_code == 1001


async def test_what_was_read_before_tcp_ended_is_delivered(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, max_queue=2) as (connection, peer):
        peer.write_bytes(_numbered(peer, 10))
        peer.half_close()
        await _until_paused(connection)
        received = []
        async for message in _until_error(connection):
            received.append(message)
        assert received == [str(number) for number in range(10)]


async def test_one_read_may_bring_many_turns_of_the_queue(side: str) -> None:
    """A reader that keeps up empties the queue inside the read, and the rest is parsed without another read."""
    async with asyncio.timeout(10), open_pair(side, max_queue=4) as (connection, peer):
        received: list[str] = []
        task = asyncio.create_task(_collect(connection, received))
        await parked(task)
        done = asyncio.Event()

        def read() -> None:
            feed(connection, _numbered(peer, 100))
            done.set()

        asyncio.get_running_loop().call_soon(read)
        await done.wait()
        assert received == [str(number) for number in range(100)]
        task.cancel()
        await asyncio.wait([task])


@needs_proc
@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@pytest.mark.parametrize("receives", ["nothing", "fragments"])
def test_the_memory_of_a_receiver_that_does_not_receive_is_bounded(loop: str, receives: str) -> None:
    """128 MiB are offered; the kernel's buffers take some, the receiver 17 messages and one read."""
    size = 65536
    with run_server(receives, loop, max_queue=16, max_size=2**28, ping_interval=None) as served:
        if receives == "fragments":
            served.sock.sendall(encode_frame(BINARY, bytes(size), fin=False, key=b"1234"))
            frame = encode_frame(CONTINUATION, bytes(size), fin=False, key=b"1234")
        else:
            frame = encode_frame(BINARY, bytes(size), key=b"1234")
        before = served.resident_size()
        sent = served.send_until_it_stalls(frame, 2048)
        assert sent < 32 * 2**20
        assert served.resident_size() - before < 17 * size + 65536 + 2**21


async def test_the_settings_reach_a_client_of_connect() -> None:
    with run_server("messages") as served:
        port = served.sock.getpeername()[1]
        async with asyncio.timeout(10), connect(f"ws://127.0.0.1:{port}/", max_queue=(2, 1), proxy=None) as client:
            await client.send("x")


def _numbered(peer: RawPeer, count: int) -> bytes:
    key = b"1234" if peer.is_client else None
    return b"".join(encode_frame(TEXT, str(number), key=key) for number in range(count))


async def _until_paused(connection: Connection) -> None:
    while not connection.is_reading_paused():
        await asyncio.sleep(0)


async def _collect(connection: Connection, received: list[str]) -> None:
    async for message in connection:
        received.append(message)


async def _until_error(connection: Connection) -> AsyncIterator[str]:
    from picows_aio import ConnectionClosedError

    try:
        async for message in connection:
            yield message
    except ConnectionClosedError:
        return
