"""busy_poll changes when bytes are read, and nothing else."""

import asyncio
import random

import pytest

from picows import WSFrame, WSMsgType, WSTransport
from tests.support import BINARY, TEXT, Frame, encode_frame
from tests.support.recorder import Echo, Recorder

pytestmark = pytest.mark.links("plain", "tls", "unix")

KEY = b"\x12\x00\xfe\x80"
POLLING = {"busy_poll": 2000}  # microseconds: long enough for a peer in the same thread never to be in time


async def test_a_conversation_goes_back_and_forth(open_session):
    async with asyncio.timeout(20), open_session(Echo, busy_poll=50) as session:
        for number in range(200):
            frame = Frame(TEXT, b"question %d" % number)
            session.peer.write_frame(frame.opcode, frame.payload)
            assert await session.peer.read_frame() == frame


async def test_two_polling_ends_talk_to_each_other(serve, connect):
    """Both ends in one thread: whoever polls keeps the other from answering, but not for ever."""

    class Pong(Recorder):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            super().on_ws_frame(transport, frame)
            if len(self.frames) < 100:
                transport.send(frame.msg_type, frame)

    async with (
        asyncio.timeout(20),
        serve(lambda request: Echo(), busy_poll=20) as endpoint,
        connect(endpoint, Pong, busy_poll=20) as (transport, listener),
    ):
        transport.send(WSMsgType.TEXT, "ball")
        assert [await listener.next_frame() for _ in range(100)] == [Frame(TEXT, b"ball")] * 100


async def test_frames_that_come_while_polling_arrive_whole_and_in_order(open_session, side):
    """The answer is there already when polling begins, in pieces of any size."""
    chooser = random.Random(2)
    frames = [
        Frame(BINARY, chooser.randbytes(chooser.choice([0, 5, 125, 126, 3000, 20_000, 70_000]))) for _ in range(200)
    ]
    key = KEY if side == "server" else None
    stream = b"".join(encode_frame(frame.opcode, frame.payload, key=key) for frame in frames)
    async with asyncio.timeout(20), open_session(Echo, busy_poll=20) as session:
        session.peer.write_bytes(stream)
        assert await session.peer.read_frames(len(frames)) == frames
        assert session.listener.frames == frames


async def test_a_pause_ends_the_polling(open_session, side):
    class Pausing(Echo):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            super().on_ws_frame(transport, frame)
            transport.pause_reading()

    async with asyncio.timeout(10), open_session(Pausing, **POLLING) as session:
        for number in range(5):
            session.peer.write_frame(TEXT, str(number))
        for number in range(5):
            assert await session.peer.read_frame() == Frame(TEXT, b"%d" % number)
            assert len(session.listener.frames) == number + 1
            session.transport.resume_reading()


@pytest.mark.parametrize("way", ["close", "half_close", "reset"])
async def test_the_end_of_the_connection_is_found_while_polling(open_session, side, way):
    key = KEY if side == "server" else None
    async with asyncio.timeout(10), open_session(Echo, **POLLING) as session:
        session.peer.write_bytes(encode_frame(TEXT, "one", key=key) + encode_frame(TEXT, "two", key=key))
        getattr(session.peer, way)()
        await session.listener.disconnected.wait()
        assert session.listener.frames == [Frame(TEXT, b"one"), Frame(TEXT, b"two")]
        assert session.listener.calls.count("on_ws_disconnected") == 1


async def test_many_polling_connections_are_all_served(serve, raw_peer):
    """Polling is for the only polling connection of its thread: the others would have to wait."""
    async with (
        asyncio.timeout(20),
        serve(lambda request: Echo(), busy_poll=1_000_000) as endpoint,
        raw_peer(endpoint) as first,
        raw_peer(endpoint) as second,
    ):
        for number in range(20):
            first.write_frame(TEXT, f"first {number}")
            second.write_frame(TEXT, f"second {number}")
            assert await first.read_frame() == Frame(TEXT, b"first %d" % number)
            assert await second.read_frame() == Frame(TEXT, b"second %d" % number)
