"""What frames(), views() and batches() yield is not copied where it need not be, and stays what it was."""

import asyncio
import ctypes
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from picows import WSFrame
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.feeding import feed_messages, key_of, wire
from tests.picows_aio.pairs import SIDES, deadline, feed, open_pair, parked, turns
from tests.support import BINARY, CONTINUATION, RawPeer, encode_frame

Pair = tuple[Connection, RawPeer]
Reader = Callable[[Connection], AsyncIterator[Any]]
LARGE = 5000  # bytes: more than what is copied because a copy is cheaper


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    with deadline(30):
        async with open_pair(request.param) as (connection, peer):
            await turns(2)
            yield connection, peer


class _Buffer(ctypes.Structure):
    """Py_buffer."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("rest", ctypes.c_byte * 128),
    ]


def address_of(exporter: Any) -> int:
    """Where the bytes of a frame or a view are."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(exporter), ctypes.byref(buffer), 0)
    try:
        return int(buffer.buf)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))


async def take_in_a_read(
    connection: Connection, reader: AsyncIterator[Any], data: bytes, take: Callable[[Any], Any]
) -> list[Any]:
    """What `take` makes of the items inside the read that brings the data."""
    taken: list[Any] = []

    async def consume() -> None:
        async for item in reader:
            taken.append(take(item))

    task = asyncio.create_task(consume())
    await parked(task)
    asyncio.get_running_loop().call_soon(feed, connection, data)
    await turns(2)
    task.cancel()
    await asyncio.wait([task])
    return taken


@pytest.mark.parametrize("shape", ["frames", "views"])
async def test_large_payloads_that_are_taken_in_their_read_are_where_the_read_put_them(pair: Pair, shape: str) -> None:
    connection, _ = pair
    data = wire(connection, *[bytes([number]) * LARGE for number in range(5)])
    distance = len(data) // 5
    addresses = await take_in_a_read(connection, getattr(connection, shape)(), data, address_of)
    assert [address - addresses[0] for address in addresses] == [distance * number for number in range(5)]


async def test_fragments_are_not_copied_either(pair: Pair) -> None:
    connection, _ = pair
    opcodes = [BINARY, CONTINUATION, CONTINUATION]
    pieces = [
        encode_frame(opcode, bytes(LARGE), fin=number == 2, key=key_of(connection))
        for number, opcode in enumerate(opcodes)
    ]
    addresses = await take_in_a_read(connection, connection.frames(), b"".join(pieces), address_of)
    assert [address - addresses[0] for address in addresses] == [0, len(pieces[0]), len(pieces[0]) + len(pieces[1])]


async def test_small_views_have_memory_of_their_own(pair: Pair) -> None:
    """So that keeping one keeps no read buffer."""
    connection, _ = pair
    data = wire(connection, *[bytes(60)] * 5)
    addresses = await take_in_a_read(connection, connection.views(), data, lambda view: (address_of(view), view))
    distances = {second[0] - first[0] for first, second in itertools.pairwise(addresses)}
    assert distances != {len(data) // 5}


async def test_a_small_frame_that_is_kept_leaves_the_read_buffer_after_the_read(pair: Pair) -> None:
    connection, _ = pair
    data = wire(connection, *[bytes([number]) * 60 for number in range(5)])
    frames = await take_in_a_read(connection, connection.frames(), data, lambda frame: frame)
    distances = {address_of(b) - address_of(a) for a, b in itertools.pairwise(frames)}
    assert distances != {len(data) // 5}
    assert [bytes(frame) for frame in frames] == [bytes([number]) * 60 for number in range(5)]


async def test_a_message_in_a_buffer_of_its_own_is_not_copied(pair: Pair) -> None:
    """It was larger than a read, and is the very bytes object that its frame owns."""
    connection, peer = pair
    peer.write_frame(BINARY, bytes(200_000))
    async for frame in connection.frames():
        assert address_of(frame) == address_of(frame.get_payload_as_bytes())
        break


def _as_it_is(item: Any) -> Iterator[Any]:
    yield item


def _views_of_frames(frame: WSFrame) -> Iterator[Any]:
    """A whole view and a part of it, and the frame too."""
    view = memoryview(frame)
    yield from (view, frame)


def _half_views(frame: WSFrame) -> Iterator[Any]:
    yield frame if len(memoryview(frame)) % 2 else memoryview(frame)


KEEPS: dict[str, tuple[Reader, Callable[[Any], Iterator[Any]], int]] = {
    "frames": (lambda connection: connection.frames(), _as_it_is, 1),
    "views of frames": (lambda connection: connection.frames(), _views_of_frames, 2),
    "views of some frames": (lambda connection: connection.frames(), _half_views, 1),
    "views": (lambda connection: connection.views(), _as_it_is, 1),
    "slices of views": (lambda connection: connection.views(), lambda view: iter([view[:]]), 1),
    "batches": (lambda connection: connection.batches(), iter, 1),
}


@pytest.mark.parametrize("way", KEEPS)
@pytest.mark.parametrize("is_slow", [False, True])
async def test_what_is_kept_stays_what_it_was(pair: Pair, way: str, is_slow: bool) -> None:
    """Over thousands of reads, whether it was taken inside its read or long after it."""
    connection, _peer = pair
    reader, keep, times = KEEPS[way]
    chooser = random.Random(way)
    bands = [(0, 70), (0, 70), (100, 3000), (3000, 5000), (10_000, 20_000), (60_000, 140_000)]
    payloads = [
        chooser.randbytes(chooser.randint(*chooser.choices(bands, [40, 20, 20, 10, 2, 1])[0])) for _ in range(3000)
    ]
    kept: list[Any] = []

    async def consume() -> None:
        async for item in reader(connection):
            kept.extend(keep(item))
            if is_slow and len(kept) % 3 == 0:
                await asyncio.sleep(0)
            if len(kept) == times * len(payloads):
                return

    task = asyncio.create_task(consume())
    await parked(task)
    for start in range(0, len(payloads), 3):
        if start % 2:
            feed_messages(connection, *payloads[start : start + 3])
        else:
            # Out of all tasks, so that the consumer runs inside the read.
            asyncio.get_running_loop().call_soon(feed_messages, connection, *payloads[start : start + 3])
        await turns(1)
    await task
    for number, payload in enumerate(payloads):
        for item in kept[times * number : times * (number + 1)]:
            assert bytes(item) == payload, number


async def test_items_outlive_their_connection() -> None:
    async with asyncio.timeout(20):
        async with open_pair("client") as (connection, _):
            await turns(2)
            feed_messages(connection, b"x" * LARGE, b"y", b"z" * 100)
            views = connection.views()
            kept: list[Any] = [await anext(views), await anext(views)]
            kept.append(await anext(connection.frames()))
        async with open_pair("client") as (connection, _):
            await turns(2)
            feed_messages(connection, *[b"\xaa" * 3000] * 40)
            assert len(await connection.recv()) == 3000
        assert [bytes(item) for item in kept] == [b"x" * LARGE, b"y", b"z" * 100]
