"""Gathering frames: what `cork()` and `coalesce` hold back, for how long, and what makes it leave."""

import asyncio
import contextlib
import socket
import subprocess
import sys

import pytest

from picows import WSCloseCode, WSMsgType
from tests.support import BINARY, CLOSE, PING, PONG, TEXT, Frame, close_payload
from tests.support.recorder import Echo, Recorder

# Over TLS and on uvloop's own writes bytes arrive later; a direct write is in the peer's kernel when send() returns.
pytestmark = pytest.mark.links("plain", "unix")

GATHER_SIZE = 64 * 1024
LARGEST_GATHERED = 32 * 1024


def has_arrived(session):
    """Whether anything waits in the peer's kernel buffer."""
    try:
        return len(session.peer.sock.recv(1, socket.MSG_PEEK)) > 0
    except BlockingIOError:
        return False


async def test_a_cork_holds_frames_back_until_its_end(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "one")
            session.transport.send_message(b"two")
            assert not has_arrived(session)
        assert has_arrived(session)
        assert await session.peer.read_frames(2) == [Frame(TEXT, b"one"), Frame(BINARY, b"two")]


async def test_a_cork_gathers_what_is_sent_in_place(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "one")
            session.transport.send_reuse_external_bytearray(WSMsgType.TEXT, bytearray(14) + b"two", 14)
            session.transport.send(WSMsgType.TEXT, "three")
            assert not has_arrived(session)
        frames = [Frame(TEXT, b"one"), Frame(TEXT, b"two"), Frame(TEXT, b"three")]
        assert await session.peer.read_frames(3) == frames


async def test_no_more_is_gathered_than_the_high_water_mark(open_session):
    async with asyncio.timeout(3), open_session() as session:
        session.transport.set_write_buffer_limits(high=1000)
        with session.transport.cork():
            for _ in range(3):
                session.transport.send(WSMsgType.BINARY, bytes(300))
                assert not has_arrived(session)
            session.transport.send(WSMsgType.BINARY, bytes(300))
            assert has_arrived(session)
        assert await session.peer.read_frames(4) == [Frame(BINARY, bytes(300))] * 4


async def test_corks_nest(open_session):
    """What is gathered leaves at the end of the outermost."""
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            with session.transport.cork():
                session.transport.send(WSMsgType.TEXT, "inner")
            assert not has_arrived(session)
            session.transport.send(WSMsgType.TEXT, "outer")
            assert not has_arrived(session)
        assert await session.peer.read_frames(2) == [Frame(TEXT, b"inner"), Frame(TEXT, b"outer")]
        session.transport.send(WSMsgType.TEXT, "after")
        assert has_arrived(session)


async def test_one_cork_object_can_be_entered_again(open_session):
    async with asyncio.timeout(3), open_session() as session:
        cork = session.transport.cork()
        for number in range(3):
            with cork, cork:
                session.transport.send(WSMsgType.TEXT, str(number))
                assert not has_arrived(session)
            assert await session.peer.read_frame() == Frame(TEXT, str(number).encode())


async def test_an_exception_inside_a_cork_passes_and_loses_no_frame(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with contextlib.suppress(ZeroDivisionError), session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "before")
            _ = 1 / 0
            session.transport.send(WSMsgType.TEXT, "never")
        assert await session.peer.read_frame() == Frame(TEXT, b"before")
        session.transport.send(WSMsgType.TEXT, "after")
        assert has_arrived(session)


async def test_a_refused_send_inside_a_cork_leaves_the_others_alone(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "one")
            with pytest.raises(TypeError):
                session.transport.send(WSMsgType.TEXT, 1)
            with pytest.raises(ValueError, match="125"):
                session.transport.send_ping(bytes(126))
            session.transport.send(WSMsgType.TEXT, "two")
        assert await session.peer.read_frames(2) == [Frame(TEXT, b"one"), Frame(TEXT, b"two")]


async def test_flush_writes_now_and_gathering_goes_on(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.flush()
            session.transport.send(WSMsgType.TEXT, "one")
            session.transport.flush()
            assert await session.peer.read_frame() == Frame(TEXT, b"one")
            session.transport.send(WSMsgType.TEXT, "two")
            assert not has_arrived(session)
        assert await session.peer.read_frame() == Frame(TEXT, b"two")


async def test_a_cork_may_stay_open_over_turns_of_the_loop(open_session):
    async with asyncio.timeout(3), open_session(Echo) as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "one")
            session.peer.write_frame(TEXT, "echoed")
            while not session.listener.frames:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not has_arrived(session)
            session.transport.send(WSMsgType.TEXT, "two")
        assert [frame.payload for frame in await session.peer.read_frames(3)] == [b"one", b"echoed", b"two"]


LEAVING = {
    "ping": (lambda t: t.send_ping(b"mark"), Frame(PING, b"mark")),
    "pong": (lambda t: t.send_pong(b"mark"), Frame(PONG, b"mark")),
    "close": (lambda t: t.send_close(WSCloseCode.OK, "bye"), Frame(CLOSE, close_payload(1000, "bye"))),
    "flush": (lambda t: t.flush(), None),
    "access to the transport": (lambda t: t.underlying_transport, None),
    "a large frame": (
        lambda t: t.send(WSMsgType.BINARY, bytes(LARGEST_GATHERED + 1)),
        Frame(BINARY, bytes(LARGEST_GATHERED + 1)),
    ),
    "a large frame in place": (
        lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(14 + LARGEST_GATHERED + 1), 14),
        Frame(BINARY, bytes(LARGEST_GATHERED + 1)),
    ),
}


@pytest.mark.parametrize("coalesce", [False, True])
@pytest.mark.parametrize("name", LEAVING)
async def test_gathered_frames_leave_in_front_of(open_session, name, coalesce):
    """DESIGN: ping, pong, close, a large frame, `flush()` and `transport` access flush first."""
    act, frame = LEAVING[name]
    async with asyncio.timeout(3), open_session(coalesce=coalesce) as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "gathered")
            assert not has_arrived(session)
            act(session.transport)
            assert has_arrived(session)
            assert session.transport.get_write_buffer_size() == 0
            expected = [Frame(TEXT, b"gathered")] + ([] if frame is None else [frame])
            assert await session.peer.read_frames(len(expected)) == expected


async def test_the_largest_frame_that_is_gathered_has_32_kib(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.BINARY, bytes(LARGEST_GATHERED))
            assert not has_arrived(session)
        assert await session.peer.read_frame() == Frame(BINARY, bytes(LARGEST_GATHERED))


@pytest.mark.parametrize("size", [1, 100, 1000, 10_000, LARGEST_GATHERED - 8, LARGEST_GATHERED])
async def test_at_most_64_kib_are_gathered(open_session, size):
    async with asyncio.timeout(10), open_session() as session:
        transport = session.transport
        before = transport.stats().bytes_sent
        transport.send(WSMsgType.BINARY, bytes(size))
        one = transport.stats().bytes_sent - before
        count = 2 * GATHER_SIZE // one
        with transport.cork():
            waiting = []
            for _ in range(count):
                transport.send(WSMsgType.BINARY, bytes(size))
                waiting.append(transport.get_write_buffer_size())
        assert GATHER_SIZE - one < max(waiting) <= GATHER_SIZE
        assert min(waiting[1:]) == one, "what did not fit waits alone"
        await session.peer.read_bytes((count + 1) * one)


async def test_gathered_bytes_count_as_backlog_and_as_sent(open_session):
    async with asyncio.timeout(3), open_session() as session:
        before = session.transport.stats()
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "12345")
            session.transport.send(WSMsgType.TEXT, "67890")
            inside = session.transport.stats()
        after = session.transport.stats()
        size = 2 * (2 + 5 + (4 if session.is_client else 0))
        assert inside.write_backlog == size
        assert after.write_backlog == 0
        assert inside.bytes_sent - before.bytes_sent == after.bytes_sent - before.bytes_sent == size
        assert inside.frames_sent - before.frames_sent == after.frames_sent - before.frames_sent == 2


@pytest.mark.parametrize("graceful", [True, False])
async def test_disconnecting_inside_a_cork(open_session, graceful):
    """Graceful writes out what waits, gathered or not; the other drops it."""
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "last words")
            session.transport.disconnect(graceful)
            session.transport.send(WSMsgType.TEXT, "nobody listens")
        if graceful:
            assert await session.peer.read_frame() == Frame(TEXT, b"last words")
        await session.peer.read_eof()
        session.peer.close()
        await session.transport.wait_disconnected()


async def test_a_cork_that_outlives_its_connection_is_harmless(open_session):
    async with asyncio.timeout(3), open_session() as session:
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "lost")
            session.peer.reset()
            await session.listener.disconnected.wait()
            session.transport.send(WSMsgType.TEXT, "ignored")
        session.transport.flush()
        assert session.transport.get_write_buffer_size() == 0


class _Answering(Recorder):
    """Answers each frame by `answer(transport, text)`, and notes what had reached the peer after each."""

    session = None

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self.calls.append(self.answer(transport, frame.get_payload_as_bytes()))

    def answer(self, transport, text):
        transport.send(WSMsgType.TEXT, text)
        return has_arrived(self.session)

    def on_read_end(self, transport):
        self.calls.append(("on_read_end", has_arrived(self.session)))


class _AnsweringInCork(_Answering):
    def answer(self, transport, text):
        with transport.cork():
            transport.send(WSMsgType.TEXT, text)
        return has_arrived(self.session)


async def _exchange(session, count):
    """The peer writes `count` frames at once; what the listener noted, after the answers came."""
    session.listener.session = session
    session.listener.calls.clear()
    payloads = [str(number).encode() for number in range(count)]
    with _one_write(session.peer):
        for payload in payloads:
            session.peer.write_frame(TEXT, payload)
    assert await session.peer.read_frames(count) == [Frame(TEXT, payload) for payload in payloads]
    return [call for call in session.listener.calls if call != "on_ws_frame"]


class _one_write:
    """Let the frames a peer writes inside leave with one system call."""

    def __init__(self, peer):
        self._peer = peer

    def __enter__(self):
        self._parts = []
        self._peer.write_bytes = self._parts.append

    def __exit__(self, *exc_info):
        del self._peer.write_bytes
        self._peer.write_bytes(b"".join(self._parts))


async def test_a_cork_inside_a_callback_lasts_until_the_read_is_delivered(open_session):
    async with asyncio.timeout(3), open_session(_AnsweringInCork) as session:
        assert await _exchange(session, 1) == [False, ("on_read_end", False)]
        assert await _exchange(session, 3) == [False, False, False, ("on_read_end", False)]


async def test_without_cork_or_coalesce_each_frame_leaves_at_once(open_session):
    async with asyncio.timeout(3), open_session(_Answering) as session:
        assert await _exchange(session, 3) == [True, True, True, ("on_read_end", True)]


async def test_coalesce_gathers_while_more_of_the_read_is_to_come(open_session):
    """DESIGN: the first frame of a turn leaves at once, unless more input of the same read is still to be delivered."""
    async with asyncio.timeout(3), open_session(_Answering, coalesce=True) as session:
        assert await _exchange(session, 1) == [True, ("on_read_end", True)]
        assert await _exchange(session, 4) == [False, False, False, False, ("on_read_end", False)]


class _AnsweringTwice(_Answering):
    def answer(self, transport, text):
        transport.send(WSMsgType.TEXT, text)
        self.calls.append(has_arrived(self.session))
        size = transport.stats().write_backlog
        transport.send(WSMsgType.TEXT, "and again")
        return transport.stats().write_backlog > size


async def test_coalesce_lets_the_first_answer_leave_and_gathers_the_next(open_session):
    async with asyncio.timeout(3), open_session(_AnsweringTwice, coalesce=True) as session:
        session.listener.session = session
        session.peer.write_frame(TEXT, "one")
        assert await session.peer.read_frames(2) == [Frame(TEXT, b"one"), Frame(TEXT, b"and again")]
        assert session.listener.calls[1:] == ["on_ws_frame", True, True, ("on_read_end", True)]


async def test_coalesced_frames_leave_without_any_further_call(open_session):
    """Outside a read a callback of the next turn writes what was gathered."""
    async with asyncio.timeout(3), open_session(coalesce=True) as session:
        for burst in range(20):
            for number in range(burst):
                session.transport.send(WSMsgType.TEXT, f"{burst}.{number}")
            frames = await session.peer.read_frames(burst)
            assert [frame.payload.decode() for frame in frames] == [f"{burst}.{number}" for number in range(burst)]
            assert session.transport.get_write_buffer_size() == 0


async def test_the_first_frame_of_a_turn_leaves_at_once(open_session):
    async with asyncio.timeout(3), open_session(coalesce=True) as session:
        session.transport.send(WSMsgType.TEXT, "first")
        assert has_arrived(session)


OVERFLOW = """
import asyncio, sys
sys.path.insert(0, {root!r})
from picows import WSMsgType, ws_connect, ws_create_server
from tests.support.recorder import Accepted, Recorder

class Nested(Recorder):
    def pause_writing(self):
        for _ in range(2):
            self.transport.send(WSMsgType.BINARY, bytes(32_700))

async def main():
    accepted = Accepted(Nested)
    server = await ws_create_server(accepted, "127.0.0.1", 0)
    client, slow = await ws_connect(Recorder, "ws://127.0.0.1:%d/" % server.sockets[0].getsockname()[1])
    transport = (await accepted.next()).transport
    client.pause_reading()
    transport.set_write_buffer_limits(high=1 << 30)
    transport.send(WSMsgType.BINARY, bytes(8 << 20))
    transport.set_write_buffer_limits(high=transport.get_write_buffer_size() + 10)
    with transport.cork():
        for _ in range(3):
            transport.send(WSMsgType.BINARY, b"x" * 32_000)
        assert transport.get_write_buffer_size() > 8 << 16
    waiting = transport.stats().write_backlog
    client.resume_reading()
    async with asyncio.timeout(20):
        sizes = [len((await slow.next_frame()).payload) for _ in range(6)]
    print(sorted(sizes))
    transport.disconnect()
    await client.wait_disconnected()
    server.close()

asyncio.run(main())
"""


def test_sends_of_pause_writing_do_not_overflow_what_is_gathered(pytestconfig):
    """In a process of its own, as a write behind the block may end the interpreter at any later time."""
    program = OVERFLOW.format(root=str(pytestconfig.rootpath))
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(sorted([8 << 20, 32_000, 32_000, 32_000, 32_700, 32_700]))
