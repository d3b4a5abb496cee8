"""What the peer sent before its CLOSE frame is there to be received, as far as memory allows, whoever closes."""

import asyncio
import logging
from typing import Any

import pytest

from picows_aio import ConnectionClosed, ServerConnection, connect, serve
from picows_aio.asyncio.connection import Connection
from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.pairs import SIDES, open_pair, turns
from tests.picows_aio.served import needs_proc, run_server
from tests.support import BINARY, CONTINUATION, TEXT, RawPeer, encode_frame

LARGE = 2**18  # bytes; with what they cost besides, four of these are more than 1 MiB, the least bound
BOUND = 2**20


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("max_queue", [0, 3, (8, 2)])
async def test_close_reads_past_max_queue(side: str, max_queue: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The CLOSE frame of the peer stands behind what nobody received."""
    async with asyncio.timeout(10), open_pair(side, max_queue=max_queue) as (connection, peer):
        for number in range(500):
            peer.write_frame(TEXT, str(number))
        await _until_paused(connection)
        with caplog.at_level(logging.WARNING):
            await _close_both(connection, peer)
        assert connection.close_code == 1000
        assert [message async for message in connection] == [str(number) for number in range(500)]
        assert caplog.text == ""


async def test_a_server_that_is_closed_delivers_what_its_clients_sent() -> None:
    may_receive = asyncio.Event()
    received = []

    async def handler(connection: ServerConnection) -> None:
        await may_receive.wait()
        async for message in connection:
            received.append(message)
            await asyncio.sleep(0)

    async with asyncio.timeout(10), serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
            for number in range(100):
                await client.send(f"order {number}")
            (connection,) = server.connections
            await _until_paused(connection)
            server.close()
            may_receive.set()
            await client.wait_closed()
            await server.wait_closed()
    assert received == [f"order {number}" for number in range(100)]


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@pytest.mark.parametrize("deadline", [5])
def test_a_draining_server_delivers_what_its_clients_sent(loop: str, deadline: float) -> None:
    received: list[Any] = []

    async def handler(connection: ServerConnection) -> None:
        async for message in connection:
            received.append(message)
            await asyncio.sleep(0)

    async def main() -> None:
        server = await serve(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = await connect(f"ws://127.0.0.1:{port}/", proxy=None)
        for number in range(100):
            await client.send(f"order {number}")
        await (await client.ping())
        await server.drain(deadline, spread=0)
        await client.wait_closed()

    with asyncio.Runner(loop_factory=LOOP_FACTORIES[loop]) as runner:
        runner.run(asyncio.wait_for(main(), 10))
    assert received == [f"order {number}" for number in range(100)]


async def test_a_reader_at_work_is_waited_for(side: str, caplog: pytest.LogCaptureFixture) -> None:
    """There is more than fits: reading pauses as long as somebody receives, and nothing is lost."""
    async with asyncio.timeout(20), open_pair(side, max_queue=2) as (connection, peer):
        for number in range(60):
            peer.write_frame(BINARY, b"%06d" % number + bytes(LARGE))
        await _until_paused(connection)
        closing = asyncio.create_task(connection.close())
        assert (await peer.read_frame()).close_code == 1000
        ending = asyncio.create_task(_close_peer(peer))
        received = []
        async for message in connection:
            received.append(message)
            await turns(3)
            assert connection.messages_waiting() <= 5
        await asyncio.gather(closing, ending)
        assert [int(message[:6]) for message in received] == list(range(60))
        assert caplog.text == ""


async def test_reading_pauses_at_the_bound_in_bytes_while_somebody_receives(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=1) as (connection, peer):
        for _ in range(60):
            peer.write_frame(BINARY, bytes(LARGE))
        await _until_paused(connection)
        closing = asyncio.create_task(connection.close())
        while connection.messages_waiting() < 4:
            await asyncio.sleep(0)
        await _until_paused(connection)
        for _ in range(4):
            await connection.recv()
        await _until_paused(connection)
        assert connection.messages_waiting() == 4
        closing.cancel()
        await asyncio.wait([closing])


async def test_where_nobody_receives_the_rest_is_dropped_and_counted(
    side: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The task that closes may be the only one that received: it must not wait for itself."""
    async with asyncio.timeout(20), open_pair(side, max_queue=2, close_timeout=60) as (connection, peer):
        for number in range(60):
            peer.write_frame(BINARY, b"%06d" % number + bytes(LARGE))
        with caplog.at_level(logging.WARNING):
            await _close_both(connection, peer)
        assert connection.close_code == 1000
        assert [int(message[:6]) async for message in connection] == [0, 1, 2, 3]
        assert (
            "56 frames were dropped while the connection was closed: nobody received, and 4 messages wait already"
        ) in caplog.text


async def test_nothing_is_missing_in_the_middle(side: str) -> None:
    """Once something was dropped nothing more is kept, although a reader has made room."""
    async with asyncio.timeout(20), open_pair(side, max_queue=1, close_timeout=0.4) as (connection, peer):
        for text in "abcd":
            peer.write_frame(TEXT, text * LARGE)
        peer.write_frame(TEXT, "e" * LARGE, fin=False)
        peer.write_frame(CONTINUATION, "f" * LARGE, fin=False)
        closing = asyncio.create_task(connection.close())
        await peer.read_frame()
        await peer.drain()
        while connection.messages_waiting() < 4 or connection.is_reading_paused():
            await asyncio.sleep(0)
        peer.write_frame(CONTINUATION, "g" * LARGE)
        await _close_peer(peer)
        await closing
        assert [(await connection.recv())[0] for _ in range(4)] == list("abcd")
        with pytest.raises(ConnectionClosed):
            await connection.recv()


async def test_small_messages_count_for_what_they_cost(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, close_timeout=60) as (connection, peer):
        peer.write_bytes(encode_frame(TEXT, "", key=b"1234" if peer.is_client else None) * 100_000)
        await _close_both(connection, peer)
        assert connection.close_code == 1000
        assert connection.messages_waiting() == BOUND // 64 + 1


async def test_a_peer_that_goes_on_for_ever_meets_the_deadline(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=2, close_timeout=0.3) as (connection, peer):
        frame = encode_frame(BINARY, bytes(LARGE), key=b"1234" if peer.is_client else None)

        closing = asyncio.create_task(connection.close())
        while not closing.done():
            peer.write_bytes(frame)
            draining = asyncio.create_task(peer.drain())
            await asyncio.wait([closing, draining], return_when=asyncio.FIRST_COMPLETED)
            draining.cancel()
        assert connection.close_code == 1006


@pytest.mark.parametrize("receives", ["frames", "views", "batches"])
async def test_other_ways_to_receive_see_the_same(side: str, receives: str) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=2) as (connection, peer):
        iterator = getattr(connection, receives)()
        peer.write_frame(TEXT, "first")
        first = await anext(iterator)
        for number in range(200):
            peer.write_frame(TEXT, str(number))
        await _until_paused(connection)
        await _close_both(connection, peer)
        rest = [item async for item in iterator]
        items = [item for batch in [first, *rest] for item in batch] if receives == "batches" else [first, *rest]
        texts = [item if isinstance(item, str) else bytes(item).decode() for item in items]
        assert texts == ["first", *map(str, range(200))]


async def test_fragments_that_are_streamed_come_to_their_end(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, max_queue=2) as (connection, peer):
        stream = connection.recv_streaming()
        peer.write_frame(TEXT, "first", fin=False)
        assert await anext(stream) == "first"
        for number in range(100):
            peer.write_frame(CONTINUATION, str(number), fin=number == 99)
        await _until_paused(connection)
        await _close_both(connection, peer)
        assert [part async for part in stream] == [str(number) for number in range(100)]


# Streams


async def test_a_stream_takes_more_than_its_maxsize_while_closing(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side) as (connection, peer), connection.stream(maxsize=3) as stream:
        for number in range(200):
            peer.write_frame(TEXT, str(number))
        await _until_paused(connection)
        await _close_both(connection, peer)
        assert [message async for message in stream] == [str(number) for number in range(200)]
        assert stream.dropped == 0


async def test_a_consumer_at_work_is_waited_for(side: str) -> None:
    async with (
        asyncio.timeout(20),
        open_pair(side) as (connection, peer),
        connection.stream(maxsize=3, max_bytes=1000) as stream,
    ):
        for number in range(200):
            peer.write_frame(TEXT, f"{number:0100}")
        await _until_paused(connection)
        closing = asyncio.create_task(connection.close())
        await peer.read_frame()
        ending = asyncio.create_task(_close_peer(peer))
        received = []
        async for message in stream:
            received.append(int(message))
            await turns(3)
        await asyncio.gather(closing, ending)
        assert received == list(range(200))
        assert (stream.dropped, stream.high_water) == (0, 7)


async def test_a_stream_that_nobody_reads_drops_its_end_and_only_its_own(
    side: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        asyncio.timeout(20),
        open_pair(side, close_timeout=60) as (connection, peer),
        connection.stream(maxsize=3, max_bytes=1000, name="idle") as idle,
        connection.stream(maxsize=1000, name="roomy") as roomy,
    ):
        for number in range(200):
            peer.write_frame(TEXT, f"{number:0100}")
        await _until_paused(connection)
        closing = asyncio.create_task(connection.close())
        await peer.read_frame()
        with caplog.at_level(logging.WARNING):
            while connection.is_reading_paused():
                await asyncio.sleep(0)
            while len(roomy) < 200:
                await asyncio.sleep(0)
            assert await idle.recv() == f"{0:0100}"
            peer.write_frame(TEXT, f"{200:0100}")
            await _close_peer(peer)
            await closing
        assert connection.close_code == 1000
        assert [int(message) async for message in idle] == [1, 2, 3, 4, 5, 6]
        assert [int(message) async for message in roomy] == list(range(201))
        assert (idle.dropped, roomy.dropped) == (194, 0)
        assert (
            "stream 'idle': 194 messages were dropped while the connection was closed: nobody received, and 6 wait "
            "already"
        ) in caplog.text


@needs_proc
@pytest.mark.parametrize("loop", LOOP_FACTORIES)
def test_memory_is_bounded_while_closing(loop: str) -> None:
    """The peer answers CLOSE with a flood, and the application waits in close()."""
    with run_server("closing", loop, close_timeout=20) as served:
        before = served.resident_size()
        _, peak = served.flood(encode_frame(BINARY, bytes(2**16), key=b"1234"), 400)
        _, peak_of_small = served.flood(encode_frame(TEXT, "x", key=b"1234") * 10_000, 100)
        assert max(peak, peak_of_small) - before < BOUND + 2**21


async def _until_paused(connection: Connection) -> None:
    while not connection.is_reading_paused():
        await asyncio.sleep(0)


async def _close_both(connection: Connection, peer: RawPeer) -> None:
    closing = asyncio.create_task(connection.close())
    assert (await peer.read_frame()).close_code == 1000
    await _close_peer(peer)
    await closing


async def _close_peer(peer: RawPeer) -> None:
    peer.write_close(1000)
    await peer.drain()
    peer.half_close()
