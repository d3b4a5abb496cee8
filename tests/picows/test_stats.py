"""`WSTransport.stats()`: totals of one connection since it opened, told by the wire itself."""

import asyncio
import dataclasses

import pytest

from picows import WSCloseCode, WSMsgType, WSTransportStats, broadcast
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame
from tests.support.recorder import Recorder

NOTHING = WSTransportStats(
    frames_sent=0,
    frames_received=0,
    bytes_sent=0,
    bytes_received=0,
    pings_sent=0,
    pings_received=0,
    last_rtt=None,
    write_backlog=0,
    sends_after_close=0,
)
plain_only = pytest.mark.links("plain")


def changes(before, after):
    """Only the fields that differ."""
    pairs = zip(dataclasses.asdict(before).items(), dataclasses.asdict(after).values(), strict=True)
    return {name: new - old for (name, old), new in pairs if new != old}


async def test_a_new_connection_has_sent_and_received_nothing(open_session):
    """Since it opened: the opening handshake is not part of it, in neither direction."""
    async with asyncio.timeout(5), open_session() as session:
        assert session.transport.stats() == NOTHING


@plain_only
async def test_stats_are_an_immutable_snapshot(open_session):
    async with asyncio.timeout(5), open_session() as session:
        stats = session.transport.stats()
        session.transport.send(WSMsgType.TEXT, "x")
        assert stats == NOTHING
        with pytest.raises(dataclasses.FrozenInstanceError):
            stats.frames_sent = 5


def header_size(session, size):
    return 2 + (0 if size < 126 else 2 if size < 65536 else 8) + (4 if session.is_client else 0)


SENDS = {
    "send": (lambda t: t.send(WSMsgType.TEXT, "é" * 50), 100, {}),
    "empty": (lambda t: t.send(WSMsgType.TEXT, None), 0, {}),
    "large": (lambda t: t.send(WSMsgType.BINARY, bytes(70_000)), 70_000, {}),
    "larger": (lambda t: t.send(WSMsgType.BINARY, bytes(600_000)), 600_000, {}),
    "fragment": (lambda t: t.send(WSMsgType.CONTINUATION, b"x", fin=False), 1, {}),
    "message": (lambda t: t.send_message(b"x" * 300), 300, {}),
    "in place": (lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(100), 14), 86, {}),
    "broadcast": (lambda t: broadcast([t], WSMsgType.TEXT, "x" * 200), 200, {}),
    "ping": (lambda t: t.send_ping(b"123"), 3, {"pings_sent": 1}),
    "ping by send": (lambda t: t.send(WSMsgType.PING, b"123"), 3, {"pings_sent": 1}),
    "pong": (lambda t: t.send_pong(), 0, {}),
    "close": (lambda t: t.send_close(WSCloseCode.OK, "bye"), 5, {}),
}


async def test_every_way_to_send_is_counted(open_session):
    """One frame and its bytes on the wire, header included, whether or not they left already."""
    async with asyncio.timeout(10), open_session() as session:
        for name, (send, size, more) in SENDS.items():
            before = session.transport.stats()
            send(session.transport)
            after = dataclasses.replace(session.transport.stats(), write_backlog=before.write_backlog)
            total = header_size(session, size) + size
            assert changes(before, after) == {"frames_sent": 1, "bytes_sent": total} | more, name
            assert len((await session.peer.read_frame()).payload) == size, name


async def test_what_is_queued_counts_as_sent_and_as_backlog(open_session):
    async with asyncio.timeout(10), open_session() as session:
        session.narrow_buffers(send=16384, receive=65536)
        for number in range(1, 30):
            session.transport.send(WSMsgType.BINARY, bytearray(100_000))
            stats = session.transport.stats()
            assert stats.frames_sent == number
            assert stats.bytes_sent == number * (100_000 + header_size(session, 100_000))
            assert stats.write_backlog == session.transport.get_write_buffer_size()
        assert stats.write_backlog > 1 << 20
        await session.peer.read_frames(29)
        assert session.transport.stats().bytes_sent == stats.bytes_sent


async def test_what_is_received_is_counted_frame_by_frame_and_byte_by_byte(open_session):
    frames = [(TEXT, b"x"), (BINARY, bytes(70_000)), (PING, b"12"), (PONG, b"1234"), (CONTINUATION, b""), (PING, b"")]
    async with asyncio.timeout(10), open_session() as session:
        key = None if session.is_client else b"abcd"
        total = 0
        for number, (opcode, payload) in enumerate(frames, 1):
            data = encode_frame(opcode, payload, key=key)
            session.peer.write_bytes(data)
            total += len(data)
            while session.transport.stats().frames_received < number:
                await asyncio.sleep(0)
            assert session.transport.stats().bytes_received == total
        assert session.transport.stats().pings_received == 2
        assert session.transport.stats().frames_received == len(frames)


@plain_only
async def test_a_part_of_a_frame_counts_by_its_bytes(open_session):
    async with asyncio.timeout(10), open_session() as session:
        data = encode_frame(BINARY, bytes(200_000), key=None if session.is_client else b"abcd")
        for size in (1, 5, 70_000, 200_000):
            session.peer.write_bytes(data[session.transport.stats().bytes_received : size])
            while session.transport.stats().bytes_received < size:
                await asyncio.sleep(0)
        assert session.transport.stats().frames_received == 0
        session.peer.write_bytes(data[200_000:])
        await session.listener.next_frame()
        assert session.transport.stats().frames_received == 1
        assert session.transport.stats().bytes_received == len(data)


class _Counting(Recorder):
    """Reads the totals in its callbacks."""

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        self.seen = [transport.stats()]

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self.seen.append(transport.stats())

    def on_ws_disconnected(self, transport):
        super().on_ws_disconnected(transport)
        self.seen.append(transport.stats())


@plain_only
async def test_callbacks_see_the_totals_of_now(open_session):
    """The frame under delivery counts already; at the end everything is still there."""
    async with asyncio.timeout(10), open_session(_Counting) as session:
        for number in range(3):
            session.peer.write_frame(TEXT, str(number))
        for _ in range(3):
            await session.listener.next_frame()
        session.transport.send(WSMsgType.TEXT, "x")
        session.peer.close()
        await session.listener.disconnected.wait()
        seen = session.listener.seen
        assert [stats.frames_received for stats in seen] == [0, 1, 2, 3, 3]
        assert seen[-1].frames_sent == 1
        assert session.transport.stats() == seen[-1]


@plain_only
@pytest.mark.parametrize("auto_pong", [True, False])
async def test_pings_count_whoever_answers_them(open_session, auto_pong):
    async with asyncio.timeout(10), open_session(enable_auto_pong=auto_pong) as session:
        for _ in range(5):
            session.peer.write_frame(PING, b"x")
        while session.transport.stats().pings_received < 5:
            await asyncio.sleep(0)
        assert session.transport.stats().frames_sent == (5 if auto_pong else 0)
        assert session.transport.stats().pings_sent == 0


@plain_only
async def test_early_frames_count(serve, raw_peer):
    """Those that came in one read with the request are received, too."""
    listener = _Counting()
    async with asyncio.timeout(10), serve(lambda request: listener) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            early = encode_frame(TEXT, "early", key=b"abcd")
            peer.write_bytes(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + early
            )
            await listener.next_frame()
            stats = listener.transport.stats()
            assert (stats.frames_received, stats.bytes_received) == (1, len(early))
        await listener.disconnected.wait()


@plain_only
async def test_the_closing_handshake_counts(open_session):
    async with asyncio.timeout(10), open_session() as session:
        session.peer.write_close(1000)
        assert (await session.peer.read_frame()).opcode == CLOSE
        stats = session.transport.stats()
        assert (stats.frames_received, stats.frames_sent) == (1, 1)
        assert stats.bytes_sent == header_size(session, 2) + 2
        session.peer.close()
        await session.transport.wait_disconnected()
