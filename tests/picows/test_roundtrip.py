"""`measure_roundtrip_time()`: one ping after the other, each answered before the next."""

import asyncio
import contextlib
import time

import pytest

from picows import WSMsgType
from tests.support import BINARY, PING, PONG, TEXT, Frame
from tests.support.recorder import Recorder
from tests.support.session import Session

plain_only = pytest.mark.links("plain")


@contextlib.asynccontextmanager
async def measuring(session: Session, rounds: int):
    """A measurement under way, which has sent its first ping."""
    task = asyncio.create_task(session.transport.measure_roundtrip_time(rounds))
    try:
        assert await session.peer.read_frame() == Frame(PING)
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionResetError):
            await task


async def test_each_round_takes_a_ping_and_its_pong(open_session):
    async with asyncio.timeout(5), open_session() as session, measuring(session, 5) as task:
        started = time.monotonic()
        for _ in range(4):
            session.peer.write_frame(PONG)
            assert await session.peer.read_frame() == Frame(PING)
        session.peer.write_frame(PONG)
        results = await task
        assert len(results) == 5
        assert all(isinstance(seconds, float) and seconds > 0 for seconds in results)
        assert sum(results[1:]) <= time.monotonic() - started
        stats = session.transport.stats()
        assert stats.pings_sent == 5
        assert stats.last_rtt == results[-1]
        assert session.listener.frames == []


async def test_results_are_in_seconds(open_session):
    """The peer takes its time; the measurement sees that time, and not much more of it."""
    async with asyncio.timeout(5), open_session() as session, measuring(session, 1) as task:
        started = time.monotonic()
        while time.monotonic() < started + 0.05:
            await asyncio.sleep(0)
        answered = time.monotonic()
        session.peer.write_frame(PONG)
        (seconds,) = await task
        assert answered - started <= seconds <= time.monotonic() - started + 0.05


@plain_only
async def test_other_frames_are_delivered_meanwhile(open_session):
    """core-api: PONG unless it answers an auto ping or an RTT measurement."""
    async with asyncio.timeout(5), open_session() as session, measuring(session, 1) as task:
        session.peer.write_frame(TEXT, "data")
        session.peer.write_frame(PING, b"theirs")
        assert await session.listener.next_frame() == Frame(TEXT, b"data")
        assert await session.peer.read_frame() == Frame(PONG, b"theirs")
        assert not task.done()
        session.peer.write_frame(PONG)
        session.peer.write_frame(PONG, b"unasked")
        session.peer.write_frame(BINARY, b"more")
        assert await session.listener.next_frame() == Frame(PONG, b"unasked")
        assert await session.listener.next_frame() == Frame(BINARY, b"more")
        assert len(await task) == 1


async def test_against_our_own_other_side(server, connect):
    async with asyncio.timeout(5), connect(server) as (transport, listener):
        assert len(await transport.measure_roundtrip_time(20)) == 20
        assert listener.frames == []


class _TextPing(Recorder):
    def send_user_specific_ping(self, transport):
        transport.send(WSMsgType.TEXT, "ping")

    def is_user_specific_pong(self, frame):
        return frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_bytes() == b"pong"


class _NotifyingPing(_TextPing):
    def is_user_specific_pong(self, frame):
        return False

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if frame.get_payload_as_bytes() == b"pong":
            transport.notify_user_specific_pong_received()


@plain_only
@pytest.mark.parametrize("listener", [_TextPing, _NotifyingPing])
async def test_the_user_s_own_pings_are_measured(open_session, listener):
    """core-api: by ping/pong (or the user's own)."""
    async with asyncio.timeout(5), open_session(listener) as session:
        task = asyncio.create_task(session.transport.measure_roundtrip_time(3))
        for _ in range(3):
            assert await session.peer.read_frame() == Frame(TEXT, b"ping")
            session.peer.write_frame(TEXT, "pong")
        assert len(await task) == 3


@plain_only
@pytest.mark.parametrize("rounds", [0, -1])
async def test_fewer_than_one_round_is_refused(open_session, rounds):
    async with asyncio.timeout(5), open_session() as session:
        with pytest.raises(ValueError, match=f"rounds.*{rounds}"):
            await session.transport.measure_roundtrip_time(rounds)
        session.transport.send(WSMsgType.TEXT, "nothing before")
        assert await session.peer.read_frame() == Frame(TEXT, b"nothing before")


@plain_only
@pytest.mark.parametrize("rounds", ["3", None, 1.5])
async def test_rounds_is_a_number_of_rounds(open_session, rounds):
    async with asyncio.timeout(5), open_session() as session:
        with pytest.raises(TypeError):
            await session.transport.measure_roundtrip_time(rounds)
        session.transport.send(WSMsgType.TEXT, "nothing before")
        assert await session.peer.read_frame() == Frame(TEXT, b"nothing before")


@plain_only
async def test_two_measurements_at_once_are_refused(open_session):
    async with asyncio.timeout(5), open_session() as session, measuring(session, 1) as task:
        with pytest.raises(RuntimeError, match="already running"):
            await session.transport.measure_roundtrip_time(1)
        session.peer.write_frame(PONG)
        assert len(await task) == 1
        second = asyncio.create_task(session.transport.measure_roundtrip_time(1))
        assert await session.peer.read_frame() == Frame(PING)
        session.peer.write_frame(PONG)
        assert len(await second) == 1


@pytest.mark.parametrize("end", ["close", "reset", "disconnect", "abort"])
async def test_the_end_of_the_connection_ends_the_measurement(open_session, end):
    async with asyncio.timeout(5), open_session() as session, measuring(session, 2) as task:
        if end in ("close", "reset"):
            getattr(session.peer, end)()
        else:
            session.transport.disconnect(graceful=end == "disconnect")
        if end == "disconnect":
            session.peer.close()
        with pytest.raises(ConnectionResetError, match="before the peer answered"):
            await task


@plain_only
async def test_a_ping_that_cannot_be_sent_ends_the_measurement(open_session):
    """CLOSE was sent: nobody will answer a ping that never left."""
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send_close()
        with pytest.raises((ConnectionResetError, RuntimeError)):
            await session.transport.measure_roundtrip_time(1)


@plain_only
async def test_what_the_listener_s_ping_raises_comes_out_of_the_measurement(open_session):
    class Failing(Recorder):
        def send_user_specific_ping(self, transport):
            raise ZeroDivisionError

    async with asyncio.timeout(5), open_session(Failing) as session:
        with pytest.raises(ZeroDivisionError):
            await session.transport.measure_roundtrip_time(1)
        session.peer.write_frame(PONG, b"not expected")
        assert await session.listener.next_frame() == Frame(PONG, b"not expected")


@plain_only
async def test_the_answer_to_a_cancelled_measurement_does_not_count_for_the_next(open_session):
    """One ping is under way at a time, so the first pong belongs to the cancelled one, whoever asks now."""
    async with asyncio.timeout(5), open_session() as session:
        async with measuring(session, 1) as cancelled:
            cancelled.cancel()
        task = asyncio.create_task(session.transport.measure_roundtrip_time(1))
        for _ in range(10):
            await asyncio.sleep(0)
        session.peer.write_frame(PONG)  # of the ping that was cancelled
        for _ in range(50):
            await asyncio.sleep(0)
        assert not task.done()
        assert await session.peer.read_frame() == Frame(PING)
        session.peer.write_frame(PONG)
        assert len(await task) == 1
        assert session.listener.frames == []


@plain_only
async def test_auto_ping_and_a_measurement_share_the_connection(open_session):
    """All pongs of the peer answer a ping of ours, so the listener sees none of them."""
    options = {"enable_auto_ping": True, "auto_ping_idle_timeout": 0.1, "auto_ping_reply_timeout": 0.1}
    async with asyncio.timeout(10), open_session(**options) as session:
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        while loop.time() < end:
            task = asyncio.create_task(session.transport.measure_roundtrip_time(1))
            while not task.done():
                try:
                    async with asyncio.timeout(0.13):  # now and then an auto ping comes first
                        await session.peer.read_frame()
                except TimeoutError:
                    break
                session.peer.write_frame(PONG)
                await asyncio.sleep(0)
            assert len(await task) == 1
        assert session.listener.frames == []
        assert not session.transport.is_disconnected


@plain_only
async def test_an_auto_ping_during_a_measurement_leaves_no_pong_over(open_session):
    """A peer that answers late, and then answers everything that was asked."""
    options = {"enable_auto_ping": True, "auto_ping_idle_timeout": 0.1, "auto_ping_reply_timeout": 0.1}
    async with asyncio.timeout(10), open_session(**options) as session, measuring(session, 1) as task:
        pings = 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.15):  # auto ping is due after 0.1 s
                while (await session.peer.read_frame()).opcode == PING:
                    pings += 1
        for _ in range(pings):
            session.peer.write_frame(PONG)
        session.peer.write_frame(TEXT, "data")
        assert await session.listener.next_frame() == Frame(TEXT, b"data")
        assert len(await task) == 1
        assert not session.transport.is_disconnected
