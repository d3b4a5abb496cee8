"""Frames and views that are kept stay valid and unchanged for as long as they are held."""

import asyncio
import contextlib
import gc
import logging
import random
import sys
from typing import Any

import pytest

from picows import WSFrame, WSListener, WSTransport
from tests.support import BINARY, CONTINUATION, PING, TEXT, Frame, encode_frame
from tests.support.keeper import Keeper
from tests.support.session import OpenSession, Session

pytestmark = pytest.mark.links("plain")

TAKES = {
    "frame": lambda frame: frame,
    "view": memoryview,
    "getter's view": lambda frame: frame.get_payload_as_memoryview(),
    "slice": lambda frame: memoryview(frame)[1:-1],
    "slice of a slice": lambda frame: memoryview(frame)[1:][:-1],
    "cast": lambda frame: memoryview(frame).cast("b"),
    "bytes": lambda frame: frame.get_payload_as_bytes(),
}
SLICES = {"slice", "slice of a slice"}


def expected(take: str, payload: bytes) -> bytes:
    """What has to be found in what was kept of a frame with this payload."""
    return payload[1:-1] if take in SLICES else payload


def sizes(count: int, chooser: random.Random) -> list[int]:
    """Mostly small frames, with some that span reads."""
    bands = [(2, 70), (2, 70), (100, 3000), (3000, 5000), (10_000, 20_000), (60_000, 140_000)]
    weights = [40, 20, 20, 10, 2, 1]
    return [chooser.randrange(*chooser.choices(bands, weights)[0]) for _ in range(count)]


async def write_one_per_read(session: Session, payloads: list[bytes]) -> None:
    """Let each frame come in reads of its own."""
    written = session.transport.stats().bytes_received
    for payload in payloads:
        session.peer.write_frame(BINARY, payload)
        written += len(payload) + header_size(len(payload), masked=not session.is_client)
        await session.has_read(written)


def header_size(size: int, *, masked: bool) -> int:
    return 2 + (0 if size < 126 else 2 if size < 65536 else 8) + 4 * masked


def overwrite(session: Session) -> Any:
    """Let many more reads happen, with other bytes, so that memory that is used again shows."""
    return write_one_per_read(session, [b"\xaa" * 60_000, b"\x55" * 200_000, *[b"\xaa" * 500] * 50])


@pytest.mark.parametrize("take", TAKES)
async def test_what_is_kept_survives_thousands_of_reads(open_session: OpenSession, take: str):
    chooser = random.Random(take)
    payloads = [chooser.randbytes(size) for size in sizes(2000, chooser)]
    async with asyncio.timeout(60), open_session(lambda: Keeper(TAKES[take])) as session:
        await write_one_per_read(session, payloads)
        for kept, payload in zip(session.listener.kept, payloads, strict=True):
            assert bytes(kept) == expected(take, payload)


@pytest.mark.links("plain", "tls")
async def test_memory_that_some_hold_and_others_release_is_never_mixed_up(open_session: OpenSession):
    """Each frame is kept in another way and for another time, so that buffers are reused in between."""
    chooser = random.Random(17)
    held: dict[int, tuple[Any, bytes]] = {}
    payloads = [chooser.randbytes(size) for size in sizes(4000, chooser)]

    class Juggler(Keeper):
        number = 0

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            payload = payloads[self.number]
            take = chooser.choice(list(TAKES))
            if chooser.random() < 0.5:
                held[self.number] = TAKES[take](frame), expected(take, payload)
            elif held:
                thing, right = held.pop(chooser.choice(list(held)))
                assert bytes(thing) == right
            self.number += 1

    async with asyncio.timeout(60), open_session(Juggler) as session:
        await write_one_per_read(session, payloads)
        assert session.listener.number == len(payloads)
    assert all(bytes(thing) == right for thing, right in held.values())


@pytest.mark.parametrize("take", ["frame", "view", "slice"])
async def test_many_frames_of_one_read_can_be_kept(open_session: OpenSession, take: str):
    payloads = [random.Random(number).randbytes(100 + number % 40) for number in range(2000)]
    async with asyncio.timeout(20), open_session(lambda: Keeper(TAKES[take])) as session:
        key = None if session.is_client else b"\x01\x80\xff\x00"
        session.peer.write_bytes(b"".join(encode_frame(BINARY, payload, key=key) for payload in payloads))
        kept = await session.listener.wait_for(len(payloads))
        await overwrite(session)
        assert [bytes(thing) for thing in kept[: len(payloads)]] == [expected(take, payload) for payload in payloads]


@pytest.mark.parametrize("take", ["frame", "view", "slice"])
@pytest.mark.parametrize("size", [2, 64, 4095, 4096, 16384, 65536, 1 << 20])
async def test_what_is_kept_survives_the_connection(open_session: OpenSession, take: str, size: int):
    payload = random.Random(size).randbytes(size)
    async with asyncio.timeout(10), open_session(lambda: Keeper(TAKES[take])) as session:
        session.peer.write_frame(BINARY, payload)
        (kept,) = await session.listener.wait_for(1)
    del session
    gc.collect()
    async with asyncio.timeout(10), open_session(Keeper) as other:
        await overwrite(other)
    assert bytes(kept) == expected(take, payload)


async def test_connections_that_share_a_thread_do_not_share_what_is_kept(serve, raw_peer):
    """All connections of a thread read through the same memory."""
    listeners: list[Keeper] = []

    def make_listener(request: Any) -> Keeper:
        listeners.append(Keeper(memoryview if len(listeners) % 2 else TAKES["frame"]))
        return listeners[-1]

    async with asyncio.timeout(20), contextlib.AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(serve(make_listener))
        peers = [await stack.enter_async_context(raw_peer(endpoint)) for _ in range(10)]
        for turn in range(200):
            for number, peer in enumerate(peers):
                peer.write_frame(BINARY, b"%d of %d;" % (turn, number) * 5)
            for listener in listeners:
                await listener.wait_for(turn + 1)
        for number, listener in enumerate(listeners):
            assert [bytes(thing) for thing in listener.kept] == [
                b"%d of %d;" % (turn, number) * 5 for turn in range(200)
            ]


@pytest.mark.links("plain", "tls")
async def test_partial_frames_move_when_what_came_before_them_is_kept(open_session: OpenSession):
    """A read that ends inside a frame leaves bytes for the next one, beside memory that somebody holds."""
    payloads = [random.Random(number).randbytes(50 + number % 30) for number in range(3000)]
    async with asyncio.timeout(30), open_session(lambda: Keeper(memoryview)) as session:
        key = None if session.is_client else b"\xff\x01\x00\x80"
        stream = b"".join(encode_frame(BINARY, payload, key=key) for payload in payloads)
        await session.write_in_pieces(stream, range(0, len(stream), 997))
        assert [bytes(view) for view in session.listener.kept] == payloads


async def test_frames_in_a_queue_are_as_they_were(open_session: OpenSession):
    """The usual way to a coroutine: the frame goes into a queue and is looked at much later."""
    queue: asyncio.Queue[WSFrame] = asyncio.Queue()

    class Queueing(Keeper):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            queue.put_nowait(frame)

    sent = [Frame(TEXT, b"first", fin=False), Frame(CONTINUATION, b"x" * 5000, fin=False), Frame(CONTINUATION, b"last")]
    async with asyncio.timeout(10), open_session(Queueing) as session:
        for frame in sent:
            session.peer.write_frame(frame.opcode, frame.payload, fin=frame.fin)
        frames = [await queue.get() for _ in sent]
        await overwrite(session)
        assert [Frame(int(frame.msg_type), bytes(frame), fin=frame.fin) for frame in frames] == sent
        assert [frame.payload_size for frame in frames] == [len(frame.payload) for frame in sent]


async def test_frames_held_back_by_a_pause_can_be_kept(open_session: OpenSession):
    payloads = [b"%d " % number * 10 for number in range(100)]

    class Pausing(Keeper):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            super().on_ws_frame(transport, frame)
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(transport.resume_reading)

    async with asyncio.timeout(10), open_session(Pausing) as session:
        for payload in payloads:
            session.peer.write_frame(BINARY, payload)
        kept = await session.listener.wait_for(len(payloads))
        assert [bytes(frame) for frame in kept] == payloads


async def test_a_frame_in_a_traceback_is_as_it_was(open_session: OpenSession, caplog: pytest.LogCaptureFixture):
    """A log record keeps the exception, the exception its traceback, and that the callback's arguments."""

    class Failing(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            self.transport = transport

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            raise LookupError(frame.get_payload_as_bytes())

    payloads = [random.Random(number).randbytes(40) for number in range(50)]
    with caplog.at_level(logging.ERROR, "picows"):
        async with asyncio.timeout(10), open_session(Failing, disconnect_on_exception=False) as session:
            await write_one_per_read(session, payloads)
            await overwrite(session)
    failures = [record.exc_info[1] for record in caplog.records[: len(payloads)]]
    assert [failure.args[0] for failure in failures] == payloads
    assert [bytes(frame_in_traceback(failure)) for failure in failures] == payloads
    caplog.clear()


def frame_in_traceback(exception: BaseException) -> WSFrame:
    """The argument of the callback that raised it."""
    traceback = exception.__traceback__
    while traceback.tb_frame.f_code.co_name != "on_ws_frame" or "frame" not in traceback.tb_frame.f_locals:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_locals["frame"]


@pytest.mark.parametrize("side", ["client"])
async def test_a_frame_in_the_exception_of_wait_disconnected_is_as_it_was(open_session: OpenSession):
    class Failing(Keeper):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            raise LookupError

    async with asyncio.timeout(10), open_session(Failing) as session:
        session.peer.write_bytes(encode_frame(TEXT, "guilty") + encode_frame(TEXT, "behind"))
        session.peer.half_close()
        with pytest.raises(LookupError) as failure:
            await session.transport.wait_disconnected()
    async with asyncio.timeout(10), open_session(Keeper) as other:
        await overwrite(other)
    assert bytes(frame_in_traceback(failure.value)) == b"guilty"


async def test_nothing_is_allocated_for_frames_that_nobody_keeps(open_session: OpenSession):
    """One frame object serves the connection, and the number of memory blocks does not change."""
    first, last = 2000, 40_000
    blocks: list[int] = []

    class Counting(WSListener):
        count = 0
        same_objects = True
        latest_id = 0
        done = None

        def on_ws_connected(self, transport: WSTransport) -> None:
            self.transport = transport
            self.done = asyncio.get_running_loop().create_future()

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            self.count += 1
            if self.count == first:
                self.latest_id = id(frame)
                blocks.append(sys.getallocatedblocks())
            elif self.count > first:
                self.same_objects = self.same_objects and id(frame) == self.latest_id
            if self.count == last:
                blocks.append(sys.getallocatedblocks())
                self.done.set_result(None)

    async with asyncio.timeout(20), open_session(Counting) as session:
        key = None if session.is_client else b"\x01\x02\x03\x04"
        stream = encode_frame(BINARY, bytes(200), key=key) * last
        gc.disable()
        try:
            session.peer.write_bytes(stream)
            await session.listener.done
        finally:
            gc.enable()
        assert session.listener.same_objects
        assert abs(blocks[1] - blocks[0]) < 20


async def test_a_frame_that_was_kept_is_not_used_again(open_session: OpenSession):
    async with asyncio.timeout(10), open_session(Keeper) as session:
        for number in range(100):
            session.peer.write_frame(TEXT, str(number))
        kept = await session.listener.wait_for(100)
        assert len({id(frame) for frame in kept}) == 100


async def test_the_answer_to_a_ping_is_not_mixed_up_with_what_is_read_next(open_session: OpenSession):
    """The PONG is built from memory that the next read may use."""
    async with asyncio.timeout(20), open_session(Keeper) as session:
        for number in range(300):
            session.peer.write_frame(PING, b"%d" % number * 20)
            session.peer.write_frame(BINARY, b"\xaa" * 300)
        for number in range(300):
            assert (await session.peer.read_frame()).payload == b"%d" % number * 20
