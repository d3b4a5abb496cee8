"""Frames do not depend on how the stream is cut (RFC 6455 section 5.2 knows frames, TCP knows only bytes)."""

import asyncio
import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    encode_frame,
    encode_head,
    new_key,
    switching_fields,
    upgrade_fields,
)
from tests.support.recorder import Accepted, Recorder
from tests.support.session import OpenSession

pytestmark = pytest.mark.links("plain")

READ_SIZE = 65536
FLOOD_READ_SIZE = 262144  # of the next read when one was full
MIB = 1 << 20

# Around each change of the header's form, and around the sizes at which memory is handled differently.
BOUNDARY_SIZES = [0, 1, 125, 126, 127, 4095, 4096, 16384, 16385, 65535, 65536, 65537, 3 * READ_SIZE]
LARGE_SIZES = [MIB - 1, MIB, MIB + 1, 3 * MIB + 5]

EVERY_FRAME = {"enable_auto_pong": False, "enable_auto_close": False}


def payload_of(size: int) -> bytes:
    """Bytes in which a shift by any number of octets shows."""
    return random.Random(size).randbytes(size)


def masking_key(side: str, seed: int) -> bytes | None:
    """A key for frames that go to a server; some are zero, or have octets that are."""
    chooser = random.Random(seed)
    return chooser.choice([bytes(4), b"\x00\x80\x00\xff", chooser.randbytes(4)]) if side == "server" else None


def encode(frame: Frame, side: str, seed: int = 0) -> bytes:
    """The frame's bytes, as the peer of `side` has to send them."""
    return encode_frame(frame.opcode, frame.payload, fin=frame.fin, rsv=frame.rsv, key=masking_key(side, seed))


def frames() -> st.SearchStrategy[Frame]:
    """Frames of every kind that is legal alone; their order is not, which nobody minds unless `strict`."""
    data = st.builds(
        lambda opcode, size, fin, rsv: Frame(opcode, payload_of(size), fin, rsv),
        st.sampled_from([TEXT, BINARY, CONTINUATION]),
        st.integers(0, 300) | st.sampled_from(BOUNDARY_SIZES),
        st.booleans(),
        st.integers(0, 7),
    )
    control = st.builds(
        lambda opcode, size: Frame(opcode, payload_of(size)), st.sampled_from([PING, PONG]), st.integers(0, 125)
    )
    return data | control


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sent=st.lists(frames(), min_size=1, max_size=8), data=st.data())
async def test_frames_do_not_depend_on_how_the_stream_is_cut(
    open_session: OpenSession, side: str, sent: Any, data: Any
):
    stream = b"".join(encode(frame, side, seed) for seed, frame in enumerate(sent))
    near_headers = list(itertools.accumulate(len(encode(frame, side)) for frame in sent))
    cut = st.integers(0, len(stream)) | st.builds(
        lambda end, offset: min(max(end + offset, 0), len(stream)), st.sampled_from(near_headers), st.integers(-5, 15)
    )
    cuts = data.draw(st.lists(cut, max_size=12))
    async with asyncio.timeout(20), open_session(**EVERY_FRAME) as session:
        await session.write_in_pieces(stream, cuts)
        assert session.listener.frames == sent


async def test_a_short_exchange_may_be_cut_anywhere(open_session: OpenSession, side: str):
    sent = [
        Frame(TEXT, b"", fin=False),
        Frame(PING, b"between fragments"),
        Frame(CONTINUATION, payload_of(130), fin=False),
        Frame(CONTINUATION, b"end"),
        Frame(BINARY, payload_of(3), rsv=7),
    ]
    stream = b"".join(encode(frame, side, seed) for seed, frame in enumerate(sent))
    async with asyncio.timeout(20), open_session(**EVERY_FRAME) as session:
        for cut in range(1, len(stream)):
            await session.write_in_pieces(stream, [cut])
            assert session.listener.frames == sent, f"cut after byte {cut}"
            session.listener.frames.clear()


async def test_a_stream_may_come_byte_by_byte(open_session: OpenSession, side: str):
    sent = [Frame(BINARY, payload_of(size)) for size in (0, 1, 125, 126, 300)] + [Frame(PONG, b"mark")]
    stream = b"".join(encode(frame, side, seed) for seed, frame in enumerate(sent))
    async with asyncio.timeout(20), open_session(**EVERY_FRAME) as session:
        await session.write_in_pieces(stream, range(len(stream)))
        assert session.listener.frames == sent


@pytest.mark.parametrize("size", [*BOUNDARY_SIZES, *LARGE_SIZES])
async def test_every_size_survives_cuts_around_its_header_and_its_end(open_session: OpenSession, side: str, size: int):
    sent = [Frame(TEXT, b"before"), Frame(BINARY, payload_of(size)), Frame(TEXT, b"behind")]
    first, large, last = (encode(frame, side, seed) for seed, frame in enumerate(sent))
    stream = first + large + last
    header = range(len(first), len(first) + 15)
    end = range(len(first) + len(large) - 2, len(first) + len(large) + 3)
    async with asyncio.timeout(30), open_session(**EVERY_FRAME) as session:
        for cut in [0, *header, *end]:
            await session.write_in_pieces(stream, [min(cut, len(stream))])
            assert session.listener.frames == sent, f"cut after byte {cut}"
            session.listener.frames.clear()


@pytest.mark.parametrize("piece", [1000, READ_SIZE - 1, READ_SIZE, READ_SIZE + 1])
async def test_a_large_frame_may_come_in_pieces_of_any_size(open_session: OpenSession, side: str, piece: int):
    sent = [Frame(BINARY, payload_of(MIB + 1)), Frame(TEXT, b"behind")]
    stream = b"".join(encode(frame, side, seed) for seed, frame in enumerate(sent))
    async with asyncio.timeout(20), open_session(**EVERY_FRAME) as session:
        await session.write_in_pieces(stream, range(0, len(stream), piece))
        assert session.listener.frames == sent


@pytest.mark.parametrize("read_sizes", [[READ_SIZE], [READ_SIZE, FLOOD_READ_SIZE]], ids=["", "flood"])
async def test_a_frame_may_begin_and_end_anywhere_around_the_end_of_a_read(
    open_session: OpenSession, side: str, read_sizes: list[int]
):
    """No place in a frame is special to where a read happens to end."""
    header_size = 8 if side == "server" else 4
    async with asyncio.timeout(20), open_session(**EVERY_FRAME) as session:
        for distance in range(-4, 24):
            fillers = [READ_SIZE - header_size] * (sum(read_sizes) // READ_SIZE)
            fillers[-1] -= distance
            sent = [*(Frame(BINARY, payload_of(size)) for size in fillers), Frame(TEXT, b"edge"), Frame(PING, b"!")]
            stream = b"".join(encode(frame, side, seed) for seed, frame in enumerate(sent))
            await session.write_in_pieces(stream, [])
            assert session.listener.frames == sent, f"second frame begins {distance} bytes before the end of the read"
            session.listener.frames.clear()


class Keeping(Recorder):
    """Keeps what it gets, so that the buffer of the reads fills up."""

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self.kept = [*getattr(self, "kept", []), memoryview(frame)]


async def test_part_of_a_frame_may_wait_while_the_buffer_is_nearly_full(open_session: OpenSession, side: str):
    header_size = 8 if side == "server" else 4
    partial = 16384 + header_size - 1  # bytes of the last frame, one of which is missing
    piece = (FLOOD_READ_SIZE - 16384) // 4
    sizes = [piece - header_size] * 3 + [piece - partial - header_size, 16384, 5]
    sent = [Frame(BINARY, payload_of(size)) for size in sizes]
    stream = b"".join(encode(frame, side, seed) for seed, frame in enumerate(sent))
    async with asyncio.timeout(20), open_session(Keeping, **EVERY_FRAME) as session:
        await session.write_in_pieces(stream, range(0, 4 * piece + 1, piece))
        assert session.listener.frames == sent
        assert [bytes(view) for view in session.listener.kept] == [frame.payload for frame in sent]


@pytest.mark.links("plain", "tls", "unix")
async def test_a_firehose_of_mixed_sizes_arrives_whole_and_in_order(open_session: OpenSession, side: str):
    chooser = random.Random(6455)
    sizes = [chooser.choice([*BOUNDARY_SIZES[:-1], chooser.randrange(1000)]) for _ in range(300)]
    sent = [Frame(BINARY, payload_of(size)) for size in sizes]
    async with asyncio.timeout(30), open_session() as session:
        for seed, frame in enumerate(sent):
            session.peer.write_bytes(encode(frame, side, seed))
        for frame in sent:
            assert await session.listener.next_frame() == frame


@pytest.mark.links("plain", "tls", "unix")
async def test_frames_may_come_together_with_the_opening_handshake(serve, connect, raw_peer, raw_server, side: str):
    """RFC 6455 sections 4.1 and 4.2.2: once the handshake is sent, the connection is open: what follows are frames."""
    if side == "server":
        await frames_behind_the_request(serve, raw_peer)
    else:
        await frames_behind_the_response(raw_server, connect)


async def frames_behind_the_request(serve, raw_peer):
    accepted = Accepted()
    head = encode_head("GET / HTTP/1.1", [("Host", "localhost"), *upgrade_fields(new_key())])
    sent = [Frame(TEXT, b"early"), Frame(BINARY, payload_of(70000))]
    async with asyncio.timeout(10), serve(accepted) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_bytes(head + b"".join(encode(frame, "server", 2) for frame in sent))
        listener = await accepted.next()
        assert [await listener.next_frame() for _ in sent] == sent


async def frames_behind_the_response(raw_server, connect):
    sent = [Frame(TEXT, b"early"), Frame(BINARY, payload_of(70000))]

    async def answer(server: Any) -> None:
        peer = await server.accept(upgrade=False)
        request = await peer.read_http_head()
        head = encode_head("HTTP/1.1 101 Switching Protocols", switching_fields(request))
        peer.write_bytes(head + b"".join(encode(frame, "client") for frame in sent))

    async with asyncio.timeout(10), raw_server() as server, asyncio.TaskGroup() as group:
        answering = group.create_task(answer(server))
        async with connect(server) as (_, listener):
            assert [await listener.next_frame() for _ in sent] == sent
        await answering
