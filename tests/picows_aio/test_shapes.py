"""frames(), views() and batches(): what they yield, and that they are readers like any other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from picows import WSFrame, WSMsgType
from picows_aio import ConcurrencyError, ConnectionClosedError
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.feeding import all_waiting, feed_messages, key_of, take_now, wire
from tests.picows_aio.pairs import SIDES, deadline, feed, open_both, open_pair, parked, turns
from tests.support import BINARY, CONTINUATION, PING, RSV1, RSV2, TEXT, RawPeer, encode_frame

Pair = tuple[Connection, RawPeer]
Reader = Callable[[Connection], AsyncIterator[Any]]
READERS: dict[str, Reader] = {
    "frames": lambda connection: connection.frames(),
    "views": lambda connection: connection.views(),
    "batches": lambda connection: connection.batches(),
}


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    with deadline(20):
        async with open_pair(request.param) as (connection, peer):
            await turns(2)
            yield connection, peer


@pytest.fixture
def connection(pair: Pair) -> Connection:
    return pair[0]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


def plain(item: WSFrame | memoryview | list[Any]) -> Any:
    """What a reader yielded, so that it can be compared."""
    return [part.encode() for part in item] if isinstance(item, list) else bytes(item)


# frames()


async def test_frames_are_as_on_the_wire(connection: Connection) -> None:
    frames = [(TEXT, b"whole", True), (BINARY, b"", False), (CONTINUATION, b"middle", False), (CONTINUATION, b"", True)]
    first = asyncio.create_task(anext(connection.frames()))  # type: ignore[arg-type]
    await parked(first)
    for opcode, payload, fin in frames:
        feed(connection, encode_frame(opcode, payload, fin=fin, key=key_of(connection)))
        feed(connection, encode_frame(PING, b"between", key=key_of(connection)))
    taken = [await first, *[await anext(connection.frames()) for _ in frames[1:]]]
    assert [(int(frame.msg_type), bytes(frame), bool(frame.fin)) for frame in taken] == frames
    assert {type(frame) for frame in taken} == {WSFrame}


async def test_what_waits_as_messages_comes_as_frames_of_whole_messages(connection: Connection) -> None:
    feed_messages(connection, "text \u20ac", b"binary")
    feed_messages(connection, "in fragments", b"in fragments", parts=3)
    frames = [await anext(connection.frames()) for _ in range(4)]
    kinds = [frame.msg_type for frame in frames]
    assert kinds == [WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.BINARY]
    assert [bytes(frame) for frame in frames] == ["text \u20ac".encode(), b"binary", *[b"in fragments"] * 2]
    assert frames[0].get_payload_as_utf8_text() == "text \u20ac"


async def test_fragments_that_came_before_are_frames_too(connection: Connection) -> None:
    for opcode, payload in ((TEXT, b"a"), (CONTINUATION, b"b")):
        feed(connection, encode_frame(opcode, payload, fin=False, key=key_of(connection)))
    frames = connection.frames()
    taken = [await anext(frames), await anext(frames)]
    feed(connection, encode_frame(CONTINUATION, b"c", key=key_of(connection)))
    taken.append(await anext(frames))
    assert [(bytes(frame), bool(frame.fin)) for frame in taken] == [(b"a", False), (b"b", False), (b"c", True)]


async def test_the_rest_of_a_message_of_frames_is_not_for_others(connection: Connection, reader: Reader) -> None:
    feed(connection, encode_frame(TEXT, b"a", fin=False, key=key_of(connection)))
    assert bytes(await anext(connection.frames())) == b"a"
    for receiving in (connection.recv, connection.__anext__, connection.views().__anext__):
        with pytest.raises(ConcurrencyError, match=r"frames\(\) has taken a part of a message: take its other frames"):
            await receiving()
    feed(connection, encode_frame(CONTINUATION, b"b", key=key_of(connection)) + wire(connection, "next"))
    assert bytes(await anext(connection.frames())) == b"b"
    assert plain(await anext(reader(connection))) in (b"next", [b"next"])


async def test_a_message_that_the_end_of_the_connection_cut_is_no_reason_to_say_something_else(pair: Pair) -> None:
    connection, peer = pair
    peer.write_frame(TEXT, b"a", fin=False)
    assert bytes(await anext(connection.frames())) == b"a"
    peer.half_close()
    await connection.wait_closed()
    with pytest.raises(ConnectionClosedError):
        await connection.recv()


@pytest.mark.parametrize("raw", [True, False])
async def test_frames_of_an_extension(raw: bool) -> None:
    async with asyncio.timeout(20), open_both(compression="deflate") as (client, server):
        if not raw:
            with pytest.raises(ValueError, match="pass raw=True to get it as it is, take messages by views"):
                client.frames()
            return
        await server.send("x" * 1000, compress=True)
        frame = await anext(client.frames(raw=True))
        assert frame.rsv1
        assert frame.payload_size < 100
        for receiving in (client.recv, client.views().__anext__):
            with pytest.raises(ConcurrencyError, match="messages cannot be put together any more"):
                await receiving()
        with pytest.raises(ConcurrencyError, match="messages cannot be put together any more"):
            client.stream()


async def test_frames_of_an_extension_that_nobody_took_become_messages() -> None:
    async with asyncio.timeout(20), open_both(compression="deflate") as (client, server):
        reading = asyncio.create_task(anext(client.frames(raw=True)))  # type: ignore[arg-type]
        await parked(reading)
        reading.cancel()
        await asyncio.wait([reading])
        for number in range(3):
            await server.send(f"{number}" * 1000)
        await server.send(["4" * 1000, "5" * 1000])
        assert [await client.recv() for _ in range(4)] == ["0" * 1000, "1" * 1000, "2" * 1000, "4" * 1000 + "5" * 1000]


@pytest.mark.parametrize("rsv", [RSV1, RSV2])
async def test_reserved_bits_that_nobody_agreed_on(pair: Pair, reader: Reader, rsv: int) -> None:
    """RFC 6455 section 5.2: the connection fails."""
    connection, peer = pair
    reading = asyncio.create_task(anext(reader(connection)))  # type: ignore[arg-type]
    await parked(reading)
    peer.write_frame(TEXT, b"x", rsv=rsv)
    assert (await peer.read_frame()).close_code == 1002
    peer.half_close()
    with pytest.raises(ConnectionClosedError):
        await reading


# views()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
@pytest.mark.parametrize("comes", ["before", "to who waits"])
async def test_views_are_of_whole_messages(connection: Connection, size: int, comes: str) -> None:
    messages = ["\u20ac" * (size // 3), bytes(range(256)) * (size // 256 + 1)]
    views = connection.views()
    taken: list[memoryview] = []
    if comes == "to who waits":
        reading = asyncio.create_task(anext(views))  # type: ignore[arg-type]
        await parked(reading)
    feed_messages(connection, *messages)
    feed_messages(connection, *messages, parts=3)
    if comes == "to who waits":
        taken.append(await reading)
    while len(taken) < 4:
        taken.append(await anext(views))
    expected = [messages[0].encode(), messages[1]] * 2
    assert [bytes(view) for view in taken] == expected
    assert all(view.readonly and view.contiguous and view.format == "B" for view in taken)


async def test_views_of_compressed_messages() -> None:
    async with asyncio.timeout(20), open_both(compression="deflate") as (client, server):
        messages = ["x" * 5000, b"y" * 5000, "short", ["frag", "ments" * 1000]]
        for message in messages:
            await server.send(message)
        views = client.views()
        assert [bytes(await anext(views)) for _ in messages] == [
            b"x" * 5000, b"y" * 5000, b"short", b"frag" + b"ments" * 1000,
        ]  # fmt: skip


# batches()


@pytest.mark.parametrize("waits", [True, False])
async def test_a_batch_is_all_that_one_read_brought(waits: bool) -> None:
    """Whatever `max_queue` is."""
    async with asyncio.timeout(20), open_pair("client", max_queue=16) as (connection, _):
        await turns(2)
        messages = [str(number) for number in range(3000)]
        if waits:
            reading = asyncio.create_task(anext(connection.batches()))  # type: ignore[arg-type]
            await parked(reading)
            feed_messages(connection, *messages)
            assert await reading == messages
        else:
            feed_messages(connection, *messages)
            assert connection.messages_waiting() == 17
            assert take_now(anext(connection.batches())) == messages
        assert not connection.is_reading_paused()
        assert connection.messages_waiting() == 0


async def test_a_batch_holds_what_a_pause_held_back_that_is_over(connection: Connection) -> None:
    """Reading goes on only in the next turn of the loop; what came with the same read belongs to the batch before."""
    messages = [str(number) for number in range(40)]
    feed_messages(connection, *messages)
    assert connection.is_reading_paused()
    while connection.is_reading_paused():
        assert take_now(connection.recv()) == messages.pop(0)
    assert take_now(anext(connection.batches())) == messages
    assert connection.messages_waiting() == 0


async def test_a_batch_holds_messages_of_all_kinds(connection: Connection) -> None:
    feed(connection, wire(connection, "a", b"b") + wire(connection, "in parts", b"in parts", parts=2))
    assert await anext(connection.batches()) == ["a", b"b", "in parts", b"in parts"]


@pytest.mark.parametrize("waits", [True, False])
async def test_batches_of_so_many_messages(connection: Connection, waits: bool) -> None:
    batches = connection.batches(max_messages=40)
    messages = [str(number) for number in range(100)]
    taken = []
    if waits:
        reading = asyncio.create_task(anext(batches))  # type: ignore[arg-type]
        await parked(reading)
    feed_messages(connection, *messages)
    if waits:
        taken.append(await reading)
    while sum(map(len, taken)) < 100:
        taken.append(await anext(batches))
    assert [len(batch) for batch in taken] == [40, 40, 20]
    assert [message for batch in taken for message in batch] == messages


async def test_batches_of_so_many_bytes(connection: Connection) -> None:
    """A list is complete with the message that reaches the bound."""
    batches = connection.batches(max_bytes=10)
    feed_messages(connection, "1234", "5678", "90", "a", "b" * 50, "c")
    assert [await anext(batches) for _ in range(3)] == [["1234", "5678", "90"], ["a", "b" * 50], ["c"]]


async def test_a_slow_consumer_of_batches_holds_the_peer_back(pair: Pair) -> None:
    connection, peer = pair
    count, size = 500, 60_000
    for number in range(count):
        peer.write_frame(BINARY, b"%08d" % number + bytes(size))
    writing = asyncio.create_task(peer.drain())
    batches = connection.batches()
    received = await anext(batches)
    while not connection.is_reading_paused():
        await asyncio.sleep(0)
    await turns(20)
    assert not writing.done()
    assert connection.messages_waiting() <= 17
    while len(received) < count:
        received += await anext(batches)
    assert [int(message[:8]) for message in received] == [*range(count)]
    await writing


async def test_a_batch_has_a_bound_of_bytes_of_its_own() -> None:
    """What waits for who waits is bounded by the larger of 1 MiB and the message limit."""
    async with asyncio.timeout(20), open_pair("client", max_size=2**20) as (connection, _):
        await turns(2)
        reading = asyncio.create_task(anext(connection.batches()))  # type: ignore[arg-type]
        await parked(reading)
        feed_messages(connection, *[bytes(2**16)] * 100)
        assert len(await reading) == 17
        assert len(await anext(connection.batches())) == 17
        assert sum([len(batch) for batch in all_waiting(connection.batches())]) == 100 - 34


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_messages": 0}, ValueError, "max_messages must be from 1 to"),
        ({"max_bytes": -1}, ValueError, "max_bytes must be from 1 to"),
        ({"max_bytes": 2**70}, ValueError, "max_bytes must be from 1 to"),
        ({"max_messages": "1"}, TypeError, "max_messages must be an int or None, not str"),
        ({"max_messages": True}, TypeError, "max_messages must be an int or None, not bool"),
        ({"max_bytes": 1.0}, TypeError, "max_bytes must be an int or None, not float"),
    ],
)
async def test_bad_bounds_of_batches(options: dict[str, Any], error: type[Exception], text: str) -> None:
    async with asyncio.timeout(10), open_pair("client") as (connection, _):
        with pytest.raises(error, match=text):
            connection.batches(**options)


# All of them


async def test_one_reader_at_a_time(connection: Connection, reader: Reader) -> None:
    reading = asyncio.create_task(anext(reader(connection)), name="the reader")  # type: ignore[arg-type]
    await parked(reading)
    for receiving in (
        connection.recv,
        connection.__anext__,
        *(other(connection).__anext__ for other in READERS.values()),
    ):
        with pytest.raises(ConcurrencyError, match=r"another coroutine.*the reader waits"):
            await receiving()
    with pytest.raises(ConcurrencyError, match="the reader waits"):
        await anext(connection.recv_streaming())
    feed_messages(connection, "x")
    assert plain(await reading) in (b"x", [b"x"])


@pytest.mark.parametrize("end", ["1000", "1001", "1011", "TCP ends"])
async def test_iteration_ends_as_that_over_the_connection(pair: Pair, reader: Reader, end: str) -> None:
    connection, peer = pair
    received: list[Any] = []

    async def collect() -> None:
        async for item in reader(connection):
            received.append(plain(item))

    task = asyncio.create_task(collect())
    await parked(task)
    peer.write_bytes(wire(connection, "1", "2"))
    if end.isdigit():
        peer.write_close(int(end))
    peer.half_close()
    if end in ("1000", "1001"):
        await task
    else:
        with pytest.raises(ConnectionClosedError):
            await task
    assert received in ([b"1", b"2"], [[b"1", b"2"]], [[b"1"], [b"2"]])


async def test_what_came_with_a_violation_is_received_before_the_error(pair: Pair, reader: Reader) -> None:
    connection, peer = pair
    peer.write_bytes(wire(connection, "1") + b"\xff\xff")
    peer.half_close()
    await connection.wait_closed()
    items = reader(connection)
    assert plain(await anext(items)) in (b"1", [b"1"])
    with pytest.raises(ConnectionClosedError):
        await anext(items)


async def test_a_cancelled_reader_took_nothing(connection: Connection, reader: Reader) -> None:
    reading = asyncio.create_task(anext(reader(connection)))  # type: ignore[arg-type]
    await parked(reading)
    feed_messages(connection, "kept")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert plain(await anext(reader(connection))) in (b"kept", [b"kept"])
