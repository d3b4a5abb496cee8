"""Writes that fail: no OSError escapes from a send, and no frame that arrived before is lost."""

import asyncio
import logging

import pytest

from picows import WSCloseCode, WSMsgType, WSProtocolError, broadcast
from tests.support import BINARY, PING, TEXT, encode_frame
from tests.support.recorder import Recorder

# Only here are writes our own; under TLS they are the event loop's, which reports their failure itself.
DIRECT = ("plain", "unix")
NUMBERS = [b"%d" % number for number in range(50)]


def send_corked(transport):
    with transport.cork():
        transport.send(WSMsgType.TEXT, "one")
        transport.send(WSMsgType.TEXT, "two")


WAYS = {
    "small": lambda t: t.send(WSMsgType.TEXT, "x"),
    "empty": lambda t: t.send(WSMsgType.TEXT, None),
    "two pieces": lambda t: t.send(WSMsgType.BINARY, bytes(20_000)),
    "mutable": lambda t: t.send(WSMsgType.BINARY, bytearray(20_000)),
    "slices": lambda t: t.send(WSMsgType.BINARY, bytes(700_000)),
    "in place": lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(100), 14),
    "message": lambda t: t.send_message("x"),
    "ping": lambda t: t.send_ping(b"x"),
    "pong": lambda t: t.send_pong(b"x"),
    "cork": send_corked,
    "broadcast": lambda t: broadcast([t], WSMsgType.TEXT, "x"),
}


def write_at_once(session, payloads):
    """Let the peer write text frames with one call, so that the kernel has them all when it returns."""
    key = None if session.is_client else b"abcd"
    session.peer.write_bytes(b"".join(encode_frame(TEXT, payload, key=key) for payload in payloads))


async def ended(session):
    """Wait for the end; the exception that `wait_disconnected` raised, or None."""
    try:
        await session.transport.wait_disconnected()
    except Exception as exc:
        return exc
    return None


@pytest.mark.links(*DIRECT)
@pytest.mark.parametrize("way", WAYS)
async def test_no_way_to_send_raises_and_the_cause_is_kept(open_session, way):
    """An OSError of a direct write never escapes: it ends the connection and is the cause in `wait_disconnected()`."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.reset()
        for _ in range(3):
            WAYS[way](session.transport)
        assert isinstance(await ended(session), ConnectionResetError | BrokenPipeError)
        assert isinstance(session.transport.disconnect_cause, ConnectionResetError | BrokenPipeError)
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]


@pytest.mark.parametrize("way", ["small", "two pieces", "slices", "cork"])
async def test_sending_to_a_peer_that_left_never_raises(open_session, way):
    """Every link, and again and again until the end is known."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.close()
        while not session.transport.is_disconnected:
            WAYS[way](session.transport)
            await asyncio.sleep(0)
        WAYS[way](session.transport)
        assert isinstance(await ended(session), OSError | None)
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]


@pytest.mark.links(*DIRECT)
async def test_a_failed_connection_takes_no_more_and_says_so_once(open_session, caplog):
    async with asyncio.timeout(5), open_session() as session:
        session.peer.reset()
        session.transport.send(WSMsgType.TEXT, "fails")
        with caplog.at_level(logging.INFO, logger="picows"):
            for _ in range(5):
                session.transport.send(WSMsgType.TEXT, "is ignored")
        assert session.transport.stats().sends_after_close == 5
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert session.transport.get_write_buffer_size() == 0
        await ended(session)


@pytest.mark.links(*DIRECT)
async def test_close_to_a_peer_that_left(open_session):
    async with asyncio.timeout(5), open_session() as session:
        session.peer.reset()
        session.transport.send_close(WSCloseCode.OK, "bye")
        assert isinstance(await ended(session), OSError)
        assert session.transport.close_handshake.sent.code == WSCloseCode.OK
        assert session.transport.close_handshake.recv is None


@pytest.mark.links(*DIRECT)
async def test_frames_that_leave_later_may_fail_then(open_session):
    """What `coalesce` gathered is written by a callback, in which nobody could catch anything."""
    async with asyncio.timeout(5), open_session(coalesce=True) as session:
        while session.transport.get_write_buffer_size() == 0:
            session.transport.send(WSMsgType.TEXT, "to be gathered when it follows another at once")
        session.peer.reset()
        assert isinstance(await ended(session), OSError | None)
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]


@pytest.mark.links(*DIRECT)
async def test_broadcast_reports_who_failed(open_session):
    """`failed`: pairs of a transport and the exception that its send raised."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.reset()
        result = broadcast([session.transport], WSMsgType.TEXT, "x")
        assert (result.sent, result.skipped) == (0, ())
        ((transport, exception),) = result.failed
        assert transport is session.transport
        assert isinstance(exception, OSError)
        assert await ended(session) is exception


class _Answering(Recorder):
    """Sends something back for each frame, in one of the ways."""

    way = "small"

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        WAYS[self.way](transport)

    def on_read_end(self, transport):
        self.calls.append("on_read_end")
        WAYS[self.way](transport)


@pytest.mark.parametrize("options", [{}, {"coalesce": True}], ids=["", "coalesce"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.links(*DIRECT)
async def test_answers_that_fail_lose_no_frame(open_session, way, options):
    """What the kernel had received whole is delivered, although the first answer to it already failed."""
    async with asyncio.timeout(5), open_session(_Answering, **options) as session:
        session.listener.way = way
        session.transport.pause_reading()
        write_at_once(session, NUMBERS)
        session.peer.reset()
        session.transport.resume_reading()
        assert isinstance(await ended(session), OSError)
        assert [frame.payload for frame in session.listener.frames] == NUMBERS
        assert session.listener.calls.count("on_ws_disconnected") == 1
        assert session.listener.calls[-1] == "on_ws_disconnected"


@pytest.mark.links("unix")
async def test_answers_that_fail_lose_no_later_read(open_session):
    """More than one read of 64 KiB is in the kernel when the first answer fails."""
    async with asyncio.timeout(5), open_session(_Answering) as session:
        session.transport.pause_reading()
        payloads = [bytes([number]) * 10_000 for number in range(15)]
        for payload in payloads:
            session.peer.write_frame(BINARY, payload)
        await session.peer.drain()
        session.peer.close()
        session.transport.resume_reading()
        assert isinstance(await ended(session), OSError)
        assert session.listener.calls.count("on_read_end") > 1
        assert [frame.payload for frame in session.listener.frames] == payloads


async def test_a_peer_that_sends_and_leaves_is_heard_to_the_end(open_session):
    """Without a closing handshake, on every link, while we answer everything."""
    async with asyncio.timeout(5), open_session(_Answering) as session:
        payloads = [number * 500 for number in NUMBERS]  # several records under TLS
        write_at_once(session, payloads)
        session.peer.close()
        assert isinstance(await ended(session), OSError | None)
        assert [frame.payload for frame in session.listener.frames] == payloads


class _Pausing(Recorder):
    """Stops reading with the first frame."""

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if len(self.frames) == 1:
            transport.pause_reading()


@pytest.mark.links(*DIRECT)
async def test_frames_that_a_pause_held_back_survive_a_failing_write(open_session):
    """`pause_reading`: what was already read is delivered, at the latest before `on_ws_disconnected`."""
    async with asyncio.timeout(5), open_session(_Pausing) as session:
        write_at_once(session, NUMBERS[:3])
        await session.listener.next_frame()
        session.peer.reset()
        session.transport.send(WSMsgType.TEXT, "nobody is there")
        assert isinstance(await ended(session), OSError)
        assert [frame.payload for frame in session.listener.frames] == NUMBERS[:3]
        assert session.listener.calls[-1] == "on_ws_disconnected"


@pytest.mark.links(*DIRECT)
async def test_a_violation_by_a_peer_that_left(open_session):
    """The CLOSE frame that says why cannot be written any more; the reason is still the violation."""
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()
        session.peer.write_frame(TEXT, "before")
        session.peer.write_frame(11, "reserved opcode")
        session.peer.reset()
        session.transport.resume_reading()
        failure = await ended(session)
        assert [frame.payload for frame in session.listener.frames] == [b"before"]
        assert session.listener.calls == ["on_ws_connected", "on_ws_frame", "on_ws_disconnected"]
        assert isinstance(failure, WSProtocolError if session.is_client else WSProtocolError | OSError)


@pytest.mark.links(*DIRECT)
async def test_a_ping_by_a_peer_that_left(open_session):
    """Nobody called anything: auto pong is the one whose write fails."""
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()
        for number in range(5):
            session.peer.write_frame(PING, str(number))
        session.peer.write_frame(TEXT, "last")
        session.peer.reset()
        session.transport.resume_reading()
        assert isinstance(await ended(session), OSError)
        assert [frame.payload for frame in session.listener.frames] == [b"last"]


class _SendingFirst(Recorder):
    """Sends as soon as it can, a lot."""

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        for _ in range(10):
            transport.send(WSMsgType.BINARY, bytes(100_000))


async def test_a_client_that_leaves_right_after_its_request(serve, raw_peer, link):
    """`on_ws_connected` sends to a peer that is gone; exactly one end follows."""
    listener = _SendingFirst()
    async with asyncio.timeout(5), serve(lambda request: listener) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            peer.reset()
        await listener.disconnected.wait()
        assert listener.calls == ["on_ws_connected", "on_ws_disconnected"]
        assert isinstance(listener.transport.disconnect_cause, OSError | None)


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_backlog_that_fails_loses_no_frame(open_session, end):
    """The write that fails is the event loop's; what one read can take is still delivered."""
    async with asyncio.timeout(5), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        session.transport.send(WSMsgType.BINARY, bytes(3 << 20))
        session.transport.send(WSMsgType.BINARY, bytes(3 << 20))
        assert session.transport.get_write_buffer_size() > 0
        write_at_once(session, NUMBERS)
        getattr(session.peer, end)()
        assert isinstance(await ended(session), OSError | None)
        assert [frame.payload for frame in session.listener.frames] == NUMBERS
        assert session.listener.calls[-1] == "on_ws_disconnected"
