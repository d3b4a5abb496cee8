"""Answering pings (RFC 6455 sections 5.5.2 and 5.5.3): at once, by itself, and never beyond bounds."""

import asyncio

import pytest

from picows import WSMsgType
from tests.support import BINARY, CLOSE, PING, PONG, TEXT, Frame
from tests.support.recorder import Recorder

HIGH_WATER = 64 * 1024
PAYLOADS = [b"", b"x", bytes(range(125)), "é".encode(), b"\xff\xfe"]


async def test_a_ping_is_answered_with_its_payload(open_session):
    """RFC 6455 section 5.5.3: a Pong frame must have identical application data."""
    async with asyncio.timeout(5), open_session() as session:
        for payload in PAYLOADS:
            session.peer.write_frame(PING, payload)
            assert await session.peer.read_frame() == Frame(PONG, payload)
        session.peer.write_frame(TEXT, "seen")
        assert await session.listener.next_frame() == Frame(TEXT, b"seen")
        assert session.listener.frames == [Frame(TEXT, b"seen")]
        assert session.transport.stats().pings_received == len(PAYLOADS)


async def test_each_of_many_pings_of_one_read_is_answered_in_order(open_session):
    async with asyncio.timeout(5), open_session() as session:
        for number in range(100):
            session.peer.write_frame(PING, str(number))
        assert await session.peer.read_frames(100) == [Frame(PONG, str(number).encode()) for number in range(100)]


async def test_a_ping_between_fragments_is_answered_between_them(open_session):
    """RFC 6455 section 5.4: control frames may be injected in the middle of a fragmented message."""
    async with asyncio.timeout(5), open_session(strict=True) as session:
        session.peer.write_frame(TEXT, "one ", fin=False)
        session.peer.write_frame(PING, b"inside")
        session.peer.write_frame(0, "message")
        assert await session.peer.read_frame() == Frame(PONG, b"inside")
        assert [await session.listener.next_frame(), await session.listener.next_frame()] == [
            Frame(TEXT, b"one ", fin=False),
            Frame(0, b"message"),
        ]


@pytest.mark.parametrize("answers", [True, False])
async def test_without_auto_pong_the_listener_sees_pings_and_answers(open_session, answers):
    """guides: if disabled, PING messages must be handled manually from `on_ws_frame`."""

    class Answering(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if frame.msg_type == WSMsgType.PING and answers:
                transport.send_pong(frame.get_payload_as_bytes())

    async with asyncio.timeout(5), open_session(Answering, enable_auto_pong=False) as session:
        session.peer.write_frame(PING, b"by hand")
        assert await session.listener.next_frame() == Frame(PING, b"by hand")
        session.transport.send(WSMsgType.TEXT, "after")
        expected = [Frame(PONG, b"by hand")] if answers else []
        assert await session.peer.read_frames(len(expected) + 1) == [*expected, Frame(TEXT, b"after")]
        assert session.transport.stats().pings_received == 1


async def test_a_pong_nobody_asked_for_is_delivered_and_answered_by_nothing(open_session):
    """RFC 6455 section 5.5.3: a response to an unsolicited pong is not expected."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.write_frame(PONG, b"heartbeat")
        assert await session.listener.next_frame() == Frame(PONG, b"heartbeat")
        session.transport.send(WSMsgType.TEXT, "after")
        assert await session.peer.read_frame() == Frame(TEXT, b"after")


async def test_no_ping_is_answered_after_close_was_sent(open_session):
    """RFC 6455 section 5.5.2: unless it already received a Close frame; after ours no frame may follow anyway."""
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send_close()
        session.peer.write_frame(PING, b"too late")
        session.peer.write_frame(TEXT, "still heard")
        assert await session.listener.next_frame() == Frame(TEXT, b"still heard")
        session.peer.write_close()
        assert await session.peer.read_frame() == Frame(CLOSE)
        session.peer.half_close()
        await session.peer.read_eof()


@pytest.mark.parametrize("coalesce", [False, True])
async def test_a_peer_that_pings_and_never_reads_costs_a_bounded_backlog(open_session, coalesce):
    """Above the high-water mark nothing is queued; when the peer reads again, the latest ping is answered.

    RFC 6455 section 5.5.3: an endpoint may elect to answer only the most recently processed Ping frame.
    """
    count = 10_000
    async with asyncio.timeout(20), open_session(coalesce=coalesce) as session:
        session.narrow_buffers(send=16384, receive=None)
        session.transport.set_write_buffer_limits(high=HIGH_WATER)
        most = 0
        for begin in range(0, count, 1000):
            for number in range(begin, begin + 1000):
                session.peer.write_frame(PING, b"%0125d" % number)
            await session.peer.drain()
            while session.transport.stats().pings_received < begin + 1000:
                await asyncio.sleep(0)
            most = max(most, session.transport.get_write_buffer_size())
        assert most <= HIGH_WATER + 16 * 1024  # one answer more than the mark; TLS adds its records
        answers = [await session.peer.read_frame()]
        while answers[-1].payload != b"%0125d" % (count - 1):
            answers.append(await session.peer.read_frame())
        numbers = [int(frame.payload) for frame in answers]
        assert numbers == sorted(set(numbers)), "an answer came twice, or late"
        assert len(numbers) < count // 2
        assert {frame.opcode for frame in answers} == {PONG}
        session.peer.write_frame(PING, b"in step again")
        assert await session.peer.read_frame() == Frame(PONG, b"in step again")


async def test_a_backlog_of_our_own_holds_back_pongs_too(open_session):
    """What is queued already is as good a reason: one answer, after it."""
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=None)
        session.transport.send(WSMsgType.BINARY, bytes(1 << 20))
        waiting = session.transport.get_write_buffer_size()
        for number in range(500):
            session.peer.write_frame(PING, str(number))
        while session.transport.stats().pings_received < 500:
            await asyncio.sleep(0)
        assert session.transport.get_write_buffer_size() <= waiting
        assert await session.peer.read_frame() == Frame(BINARY, bytes(1 << 20))
        assert await session.peer.read_frame() == Frame(PONG, b"499")


async def test_a_held_back_pong_is_dropped_by_a_close(open_session):
    """The answer waits for the peer to read; CLOSE came first, so it never leaves."""
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=None)
        session.transport.send(WSMsgType.BINARY, bytes(1 << 20))
        session.peer.write_frame(PING, b"waits")
        while session.transport.stats().pings_received < 1:
            await asyncio.sleep(0)
        session.transport.send_close()
        assert await session.peer.read_frame() == Frame(BINARY, bytes(1 << 20))
        assert await session.peer.read_frame() == Frame(CLOSE)
        session.peer.write_close()
        session.peer.half_close()
        await session.peer.read_eof()
