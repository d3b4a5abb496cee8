"""Frames of every size survive a peer that reads slowly, whatever the caller does to the memory afterwards."""

import asyncio
import os
from collections.abc import Callable

import pytest

from picows import WSCloseCode, WSMsgType, WSTransport
from tests.support import BINARY, CLOSE, TEXT, Frame, close_payload
from tests.support.recorder import Recorder

KIB = 1024
# Around every bound of the write path: copied or not, gathered or not, masked in one piece or in slices.
BOUNDS = (8 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, 512 * KIB, 768 * KIB)
SIZES = [
    0,
    1,
    125,
    126,
    *(bound + step for bound in BOUNDS for step in (-15, -1, 0, 1)),
    512 * KIB + 3 * 256 * KIB + 7,
    3 * 1024 * KIB + 5,
]
NOISE = os.urandom(max(SIZES)).replace(b"\xff", b"\x00")  # 0xff is what a caller leaves in its buffer


def send_bytes(transport: WSTransport, payload: bytes) -> None:
    transport.send(WSMsgType.BINARY, payload)


def send_text(transport: WSTransport, payload: bytes) -> None:
    transport.send(WSMsgType.BINARY, payload.decode("latin-1").translate(_TO_ASCII))


def send_bytearray(transport: WSTransport, payload: bytes) -> None:
    buffer = bytearray(payload)
    transport.send(WSMsgType.BINARY, buffer)
    buffer[:] = b"\xff" * len(buffer)


def send_view(transport: WSTransport, payload: bytes) -> None:
    buffer = bytearray(3) + payload + bytes(5)
    transport.send(WSMsgType.BINARY, memoryview(buffer)[3:-5])
    buffer[:] = b"\xff" * len(buffer)


def send_in_place(transport: WSTransport, payload: bytes) -> None:
    buffer = bytearray(14) + payload
    transport.send_reuse_external_bytearray(WSMsgType.BINARY, buffer, 14)
    buffer[:] = b"\xff" * len(buffer)


def send_in_place_further_in(transport: WSTransport, payload: bytes) -> None:
    buffer = bytearray(b"kept" * 8) + payload
    transport.send_reuse_external_bytearray(WSMsgType.BINARY, buffer, 32)
    assert buffer.startswith(b"kept" * 4)
    buffer[:] = b"\xff" * len(buffer)


_TO_ASCII = {octet: octet & 0x7F for octet in range(128, 256)}
WAYS: dict[str, Callable[[WSTransport, bytes], None]] = {
    "bytes": send_bytes,
    "bytearray": send_bytearray,
    "view": send_view,
    "in place": send_in_place,
    "in place further in": send_in_place_further_in,
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_size_survives_a_peer_that_reads_late_through_a_narrow_pipe(open_session, way):
    """The buffer may be changed right after the call: what the socket did not take was copied."""
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for size in SIZES:
            WAYS[way](session.transport, NOISE[:size])
        for size in SIZES:
            assert await session.peer.read_frame() == Frame(BINARY, NOISE[:size]), f"{size} bytes"


@pytest.mark.links("plain", "unix")
@pytest.mark.parametrize("way", WAYS)
async def test_every_size_survives_alone(open_session, way):
    """Each frame meets an empty socket, so the kernel takes a part of it."""
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for size in SIZES:
            WAYS[way](session.transport, NOISE[:size])
            assert await session.peer.read_frame() == Frame(BINARY, NOISE[:size]), f"{size} bytes"


@pytest.mark.links("plain", "tls")
async def test_text_of_every_size_survives(open_session):
    text = NOISE.decode("latin-1").translate(_TO_ASCII)
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for size in SIZES:
            session.transport.send(WSMsgType.TEXT, text[:size])
            session.transport.send(WSMsgType.TEXT, "é" + text[:size])
        for size in SIZES:
            assert await session.peer.read_frame() == Frame(TEXT, text[:size].encode()), f"{size} bytes"
            assert await session.peer.read_frame() == Frame(TEXT, "é".encode() + text[:size].encode())


async def test_a_frame_that_meets_a_socket_with_a_little_room_is_cut_anywhere(open_session):
    """The kernel may take any number of bytes: a part of the header, the header, a part of the payload."""
    sizes = [*range(20_000, 20_400), *range(600_000, 600_005)]
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=4608, receive=65536)
        for size in sizes:
            session.transport.send(WSMsgType.BINARY, NOISE[:size])
            assert await session.peer.read_frame() == Frame(BINARY, NOISE[:size]), f"{size} bytes"


@pytest.mark.parametrize("size", [60_000, 4 * 1024 * KIB])
async def test_the_backlog_is_what_the_peer_has_not_read(open_session, size):
    """`get_write_buffer_size()`: bytes accepted that the socket has not taken yet."""
    held_by_kernels = 512 * KIB  # more than the narrowed buffers hold, and TLS in between
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        transport, sent = session.transport, 0
        while sent < 4 * 1024 * KIB:
            transport.send(WSMsgType.BINARY, NOISE[: min(size, len(NOISE))])
            sent += min(size, len(NOISE))
        assert transport.get_write_buffer_size() > sent - held_by_kernels
        assert transport.stats().write_backlog == transport.get_write_buffer_size()
        await session.peer.read_bytes(sent)
        while transport.get_write_buffer_size() > held_by_kernels // 2:
            await session.peer.read_some()
        assert transport.stats().write_backlog == transport.get_write_buffer_size()


async def test_what_is_queued_leaves_before_a_graceful_end(open_session):
    """`disconnect()`: write out queued data first."""
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for _ in range(4):
            session.transport.send(WSMsgType.BINARY, NOISE)
        session.transport.disconnect()
        session.transport.send(WSMsgType.TEXT, "too late")
        assert await session.peer.read_frames(4) == [Frame(BINARY, NOISE)] * 4
        await session.peer.read_eof()
        session.peer.close()
        await session.transport.wait_disconnected()


@pytest.mark.links("plain", "unix")
async def test_the_backlog_of_a_graceful_end_can_be_watched(open_session):
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        session.transport.send(WSMsgType.BINARY, NOISE)
        waiting = session.transport.get_write_buffer_size()
        session.transport.disconnect()
        assert session.transport.get_write_buffer_size() == waiting > 0


async def test_an_abort_drops_what_is_queued(open_session):
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for _ in range(4):
            session.transport.send(WSMsgType.BINARY, NOISE)
        session.transport.disconnect(graceful=False)
        await session.transport.wait_disconnected()
        assert len(await session.peer.read_to_end()) < len(NOISE)


async def test_a_close_frame_comes_after_what_is_queued(open_session):
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for _ in range(2):
            session.transport.send(WSMsgType.BINARY, bytearray(NOISE))
        session.transport.send_close(WSCloseCode.OK, "done")
        assert await session.peer.read_frames(3) == [
            Frame(BINARY, NOISE),
            Frame(BINARY, NOISE),
            Frame(CLOSE, close_payload(1000, "done")),
        ]


class _Reacting(Recorder):
    """Does something when the transport asks it to pause."""

    react = staticmethod(lambda transport: None)

    def pause_writing(self):
        self.calls.append("pause_writing")
        self.react(self.transport)

    def resume_writing(self):
        self.calls.append("resume_writing")


async def _fill_to_the_mark(session, room: int) -> None:
    """Queue a frame, and set the high-water mark `room` bytes above what then waits."""
    session.narrow_buffers(send=16384, receive=65536)
    session.transport.set_write_buffer_limits(high=1 << 30)
    session.transport.send(WSMsgType.BINARY, NOISE)
    session.transport.set_write_buffer_limits(high=session.transport.get_write_buffer_size() + room, low=0)
    assert "pause_writing" not in session.listener.calls


@pytest.mark.links("plain", "unix")
@pytest.mark.parametrize("room", [0, 2])
@pytest.mark.parametrize("size", [100, 9000, 600_000])
async def test_pause_writing_may_send(open_session, room, size):
    """It is called from inside a send: what it sends must not land in the middle of that frame."""
    async with asyncio.timeout(10), open_session(_Reacting) as session:
        session.listener.react = lambda transport: transport.send(WSMsgType.TEXT, "slow down")
        await _fill_to_the_mark(session, room)
        session.transport.send(WSMsgType.BINARY, NOISE[:size])
        session.transport.send(WSMsgType.TEXT, "last")
        frames = await session.peer.read_frames(4)
        assert sorted(frames, key=lambda frame: len(frame.payload)) == [
            Frame(TEXT, b"last"),
            Frame(TEXT, b"slow down"),
            Frame(BINARY, NOISE[:size]),
            Frame(BINARY, NOISE),
        ]
        assert frames[0].payload == NOISE
        assert frames[-1].payload == b"last"


@pytest.mark.links("plain", "unix")
@pytest.mark.parametrize("size", [9000, 600_000])
async def test_pause_writing_may_close(open_session, size):
    """Evicting a slow peer: CLOSE is the last frame, and none is cut by it."""
    async with asyncio.timeout(10), open_session(_Reacting) as session:
        session.listener.react = lambda transport: transport.send_close(WSCloseCode.TRY_AGAIN_LATER, "too slow")
        await _fill_to_the_mark(session, 2)
        session.transport.send(WSMsgType.BINARY, NOISE[:size])
        session.transport.send(WSMsgType.TEXT, "ignored")
        frames = [await session.peer.read_frame()]
        while frames[-1].opcode != CLOSE:
            frames.append(await session.peer.read_frame())
        assert frames[-1] == Frame(CLOSE, close_payload(1013, "too slow"))
        assert frames[:-1] in ([Frame(BINARY, NOISE)], [Frame(BINARY, NOISE), Frame(BINARY, NOISE[:size])])


@pytest.mark.links("plain", "unix")
@pytest.mark.parametrize("graceful", [True, False])
async def test_pause_writing_may_disconnect(open_session, graceful):
    async with asyncio.timeout(10), open_session(_Reacting) as session:
        session.listener.react = lambda transport: transport.disconnect(graceful)
        await _fill_to_the_mark(session, 2)
        session.transport.send(WSMsgType.BINARY, NOISE[:9000])
        session.transport.send(WSMsgType.TEXT, "ignored")
        await session.peer.read_to_end()
        session.peer.close()
        await session.transport.wait_disconnected()
        assert session.listener.calls[-1] == "on_ws_disconnected"


async def test_pause_and_resume_writing_follow_the_marks(open_session):
    """Once each way, in this order, around a backlog; frames sent meanwhile are queued and arrive."""
    async with asyncio.timeout(10), open_session(_Reacting) as session:
        session.narrow_buffers(send=16384, receive=65536)
        session.transport.set_write_buffer_limits(high=64 * KIB, low=16 * KIB)
        for round_number in range(1, 4):
            while session.listener.calls.count("pause_writing") < round_number:
                session.transport.send(WSMsgType.BINARY, NOISE[:50_000])
            session.transport.send(WSMsgType.TEXT, "while paused")
            while (frame := await session.peer.read_frame()).opcode == BINARY:
                assert frame.payload == NOISE[:50_000]
            assert frame == Frame(TEXT, b"while paused")
            while session.listener.calls.count("resume_writing") < round_number:
                await asyncio.sleep(0)
        assert session.listener.calls[1:] == ["pause_writing", "resume_writing"] * 3
