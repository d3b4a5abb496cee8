"""Auto ping: a peer that died silently is found, and nobody else is taken for dead."""

import asyncio
import contextlib
import logging
import time

import pytest

from picows import WSAutoPingStrategy, WSListener, WSMsgType, ws_connect, ws_create_server
from tests.support import BINARY, CLOSE, PING, PONG, TEXT, Frame, close_payload
from tests.support.recorder import Accepted, Recorder

WHEN_IDLE, PERIODICALLY = WSAutoPingStrategy.PING_WHEN_IDLE, WSAutoPingStrategy.PING_PERIODICALLY
IDLE = REPLY = 0.1  # seconds
OPTIONS = {"enable_auto_ping": True, "auto_ping_idle_timeout": IDLE, "auto_ping_reply_timeout": REPLY}
PATIENT = OPTIONS | {"auto_ping_idle_timeout": 0.2, "auto_ping_reply_timeout": 0.2}
TALK = 0.7  # seconds: more than three times as long

plain_only = pytest.mark.links("plain")
each_strategy = pytest.mark.parametrize("strategy", [WHEN_IDLE, PERIODICALLY], ids=["idle", "periodically"])


async def keep_talking(session, seconds):
    """The peer sends a frame whenever the last one was delivered; returns how many that were."""
    loop = asyncio.get_running_loop()
    end, count = loop.time() + seconds, 0
    while loop.time() < end:
        session.peer.write_frame(TEXT, "data")
        await session.listener.next_frame()
        count += 1
    return count


async def answer_pings(session):
    """The peer answers every ping, for ever."""
    while True:
        frame = await session.peer.read_frame()
        if frame.opcode == PING:
            session.peer.write_frame(PONG, frame.payload)


@pytest.mark.links("plain", "tls")
@each_strategy
async def test_a_silent_peer_is_pinged_again_and_again_and_its_answers_are_consumed(open_session, strategy):
    async with asyncio.timeout(10), open_session(**PATIENT, auto_ping_strategy=strategy) as session:
        for count in (1, 2):
            assert await session.peer.read_frame() == Frame(PING)
            session.peer.write_frame(PONG)
            while session.transport.stats().last_rtt is None:
                await asyncio.sleep(0)
            assert session.transport.stats().pings_sent == count
        assert 0 < session.transport.stats().last_rtt < 0.2
        session.peer.write_frame(TEXT, "data")
        assert await session.listener.next_frame() == Frame(TEXT, b"data")
        assert session.listener.frames == [Frame(TEXT, b"data")]


@plain_only
async def test_auto_ping_is_off_unless_it_is_asked_for(open_session):
    """guides: `enable_auto_ping` is disabled by default; the timeouts alone do nothing."""
    options = OPTIONS | {"enable_auto_ping": False}
    async with asyncio.timeout(10), open_session(**options) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * IDLE):
                await session.peer.read_frame()
        assert not session.transport.is_disconnected


@plain_only
async def test_a_peer_that_sends_is_not_pinged_when_idle_only(open_session):
    """PING_WHEN_IDLE: after a time without incoming data."""
    async with asyncio.timeout(10), open_session(**PATIENT) as session:
        await keep_talking(session, TALK)
        assert session.transport.stats().pings_sent == 0


@plain_only
async def test_a_part_of_a_frame_is_life_too(open_session):
    async with asyncio.timeout(10), open_session(**PATIENT) as session:
        loop = asyncio.get_running_loop()
        session.peer.write_frame(BINARY, announced_size=1 << 20, mask=not session.is_client)
        end = loop.time() + TALK
        while loop.time() < end:
            before = session.transport.stats().bytes_received
            session.peer.write_bytes(b"x")
            while session.transport.stats().bytes_received == before:
                await asyncio.sleep(0)
        assert session.transport.stats().pings_sent == 0


@plain_only
async def test_a_peer_that_sends_is_pinged_periodically(open_session):
    """PING_PERIODICALLY: whatever was received."""
    async with asyncio.timeout(10), open_session(**PATIENT, auto_ping_strategy=PERIODICALLY) as session:
        answering = asyncio.create_task(answer_pings(session))
        await keep_talking(session, TALK)
        assert session.transport.stats().pings_sent in (2, 3)
        assert not session.transport.is_disconnected
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering


@plain_only
async def test_what_we_send_says_nothing_about_the_peer(open_session):
    async with asyncio.timeout(10), open_session(**OPTIONS) as session:
        session.transport.send(WSMsgType.TEXT, "data")
        while (await session.peer.read_frame()).opcode != PING:
            session.transport.send(WSMsgType.TEXT, "data")
            await asyncio.sleep(0)  # reading what is there already does not let the loop turn


@pytest.mark.links("plain", "tls")
@each_strategy
async def test_a_missed_reply_sends_close_1001_and_disconnects(open_session, strategy, caplog):
    """core-api: a missed reply sends CLOSE 1001 and disconnects, logged at INFO."""
    with caplog.at_level(logging.INFO, logger="picows"):
        async with asyncio.timeout(10), open_session(**OPTIONS, auto_ping_strategy=strategy) as session:
            assert await session.peer.read_frame() == Frame(PING)
            close = await session.peer.read_frame()
            assert close.opcode == CLOSE
            assert close.close_code == 1001
            await session.peer.read_eof()
            session.peer.close()
            await session.listener.disconnected.wait()
            assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]
            assert session.transport.close_handshake.sent.code == 1001
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert f"{REPLY:g} s" in record.getMessage()
    assert record.name == f"picows.{session.side}"


@plain_only
async def test_data_does_not_stand_in_for_the_reply(open_session):
    """guides: if no PONG is received, the WebSocket will be disconnected."""
    async with asyncio.timeout(10), open_session(**OPTIONS, auto_ping_strategy=PERIODICALLY) as session:
        talking = asyncio.create_task(keep_talking(session, 60))
        assert await session.peer.read_frame() == Frame(PING)
        assert (await session.peer.read_frame()).close_code == 1001
        talking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await talking


@pytest.mark.links("plain", "tls")
async def test_a_peer_that_takes_nothing_is_dropped_too(open_session):
    """CLOSE cannot reach it; what counts is that the connection ends, and soon."""
    async with asyncio.timeout(10), open_session(**OPTIONS) as session:
        session.narrow_buffers(send=16384, receive=65536)
        session.transport.send(WSMsgType.BINARY, bytes(8 << 20))
        await session.listener.disconnected.wait()
        assert session.transport.close_handshake.sent.code == 1001


@plain_only
async def test_no_ping_follows_a_close(open_session):
    """RFC 6455 section 5.5.1: no more frames after a Close frame, and so nothing to wait an answer for."""
    async with asyncio.timeout(10), open_session(**OPTIONS) as session:
        session.transport.send_close()
        assert await session.peer.read_frame() == Frame(CLOSE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * IDLE):
                await session.peer.read_frame()
        assert not session.transport.is_disconnected


@plain_only
async def test_a_pong_that_is_not_expected_is_delivered(open_session):
    async with asyncio.timeout(10), open_session(**PATIENT) as session:
        session.peer.write_frame(PONG, b"unasked")
        assert await session.listener.next_frame() == Frame(PONG, b"unasked")
        assert await session.peer.read_frame() == Frame(PING)
        session.peer.write_frame(PONG, b"any payload will do")
        session.peer.write_frame(PONG, b"unasked again")
        assert await session.listener.next_frame() == Frame(PONG, b"unasked again")


class _PausedReader(Recorder):
    """Has reading paused while a ping is under way."""

    def send_user_specific_ping(self, transport):
        super().send_user_specific_ping(transport)
        transport.pause_reading()


@plain_only
async def test_our_own_pause_is_not_the_peer_s_death(open_session):
    """field: never fail a peer for a pong that is already in our kernel buffer; while paused nobody reads it."""
    async with asyncio.timeout(10), open_session(_PausedReader, **OPTIONS) as session:
        assert await session.peer.read_frame() == Frame(PING)
        session.peer.write_frame(PONG)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * REPLY):
                await session.peer.read_frame()
        session.transport.resume_reading()
        session.peer.write_frame(TEXT, "alive")
        assert await session.listener.next_frame() == Frame(TEXT, b"alive")


async def block_while_the_answer_comes(session, seconds):
    """After a ping: the answer reaches our kernel, then the loop does nothing else for so long."""
    assert await session.peer.read_frame() == Frame(PING)
    asyncio.get_running_loop().call_soon(answer_and_block, session, seconds)


def answer_and_block(session, seconds):
    started = time.monotonic()
    session.peer.write_frame(PONG)
    while time.monotonic() < started + seconds:
        pass


@plain_only
@pytest.mark.parametrize("factor", [1.0, 1.05, 2.5])
async def test_a_blocked_loop_is_not_mistaken_for_a_dead_peer(open_session, factor):
    """The pong waits in the kernel while our loop stands still, for about or far more than the reply timeout."""
    async with asyncio.timeout(10), open_session(**OPTIONS) as session:
        for _ in range(2):
            await block_while_the_answer_comes(session, factor * REPLY)
        assert await session.peer.read_frame() == Frame(PING)
        session.peer.write_frame(PONG)
        session.peer.write_frame(TEXT, "alive")
        assert await session.listener.next_frame() == Frame(TEXT, b"alive")


class _Blocking(Recorder):
    """Of another connection: blocks the loop in its callback, after the answer came."""

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        answer_and_block(self.session, self.seconds)


@plain_only
@pytest.mark.parametrize("factor", [1.0, 1.05, 1.5])
async def test_another_connection_that_blocks_the_loop_kills_nobody(open_session, connect_raw, factor):
    """Its callback runs between the answer's arrival and our next look at the socket."""
    async with asyncio.timeout(10), open_session(**OPTIONS) as session, connect_raw(_Blocking) as (_, other, peer):
        other.session, other.seconds = session, factor * REPLY
        for _ in range(2):
            assert await session.peer.read_frame() == Frame(PING)
            peer.write_frame(TEXT, "block")
            await other.next_frame()
        session.peer.write_frame(TEXT, "alive")
        assert await session.listener.next_frame() == Frame(TEXT, b"alive")


@pytest.mark.parametrize("which", [ws_connect, ws_create_server])
async def test_the_reply_timeout_must_not_exceed_the_idle_timeout(which):
    """core-api: it must not; both numbers are named."""
    target = "ws://127.0.0.1:9" if which is ws_connect else "127.0.0.1"
    with pytest.raises(ValueError, match=r"auto_ping_reply_timeout.*3.*auto_ping_idle_timeout.*2"):
        await which(WSListener, target, enable_auto_ping=True, auto_ping_idle_timeout=2, auto_ping_reply_timeout=3)


async def test_both_sides_may_ping_each_other(serve, connect):
    """Two of ours: everybody's answers are consumed, nobody sees any of it."""
    accepted = Accepted()
    async with (
        asyncio.timeout(10),
        serve(accepted, **PATIENT) as endpoint,
        connect(endpoint, **PATIENT, auto_ping_strategy=PERIODICALLY) as (transport, listener),
    ):
        other = await accepted.next()
        while transport.stats().pings_sent < 2 or other.transport.stats().pings_received < 2:
            await asyncio.sleep(0)
        transport.send(WSMsgType.TEXT, "data")
        assert await other.next_frame() == Frame(TEXT, b"data")
        assert other.frames == [Frame(TEXT, b"data")]
        assert listener.frames == []
        assert not transport.is_disconnected


@plain_only
async def test_the_close_of_a_timeout_says_why(open_session):
    async with asyncio.timeout(10), open_session(**OPTIONS) as session:
        await session.peer.read_frame()
        assert (await session.peer.read_frame()).payload == close_payload(1001, "ping timeout")
