"""What a peer may make a connection hold: sizes, fragments, and text that is no text."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from picows_aio import ConnectionClosedError, PayloadTooBig, ProtocolError, TooManyFragments
from picows_aio.asyncio.connection import Connection
from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.pairs import SIDES, open_both, open_pair, parked
from tests.picows_aio.served import needs_proc, run_server
from tests.support import BINARY, CONTINUATION, PING, TEXT, RawPeer, encode_frame


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


FITS: list[tuple[Any, list[int]]] = [
    (10, [10]),
    (10, [0]),
    (10, [6, 4]),
    (10, [10, 0, 0]),
    ((10, None), [10]),
    ((10, 4), [4, 4, 2]),
    ((None, 4), [4] * 100),
    ((4, 10), [4]),
    (None, [2**21]),
    ((None, None), [2**21, 2**21]),
    (2**20, [2**20]),
]
DOES_NOT_FIT: list[tuple[Any, list[int], str, str]] = [
    (10, [11], "frame with 11 bytes exceeds limit of 10 bytes", "(11, 10, None)"),
    (10, [6, 5], "frame with 5 bytes after reading 6 bytes exceeds limit of 10 bytes", "(5, 10, 6)"),
    (10, [10, 0, 1], "frame with 1 bytes after reading 10 bytes exceeds limit of 10 bytes", "(1, 10, 10)"),
    ((10, None), [11], "frame with 11 bytes exceeds limit of 10 bytes", "(11, 10, None)"),
    ((100, 4), [5], "frame with 5 bytes exceeds limit of 4 bytes", "(5, 4, None)"),
    ((100, 4), [4, 5], "frame with 5 bytes exceeds limit of 4 bytes", "(5, 4, None)"),
    ((10, 4), [4, 4, 4], "frame with 4 bytes after reading 8 bytes exceeds limit of 10 bytes", "(4, 10, 8)"),
    ((None, 4), [5], "frame with 5 bytes exceeds limit of 4 bytes", "(5, 4, None)"),
    (2**20, [2**20 + 1], "frame with 1048577 bytes exceeds limit of 1048576 bytes", "(1048577, 1048576, None)"),
]


@pytest.mark.parametrize(("max_size", "sizes"), FITS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_of_exactly_the_limit_passes(side: str, opcode: int, max_size: Any, sizes: list[int]) -> None:
    async with asyncio.timeout(10), open_pair(side, max_size=max_size) as (connection, peer):
        for _ in range(2):
            _write(peer, opcode, sizes)
        assert len(await connection.recv()) == sum(sizes)
        assert [len(part) async for part in connection.recv_streaming()] == sizes


@pytest.mark.parametrize(("max_size", "sizes", "reason", "attributes"), DOES_NOT_FIT)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_larger_message_closes_with_1009(
    side: str, max_size: Any, sizes: list[int], reason: str, attributes: str, streaming: bool
) -> None:
    async with asyncio.timeout(10), open_pair(side, max_size=max_size) as (connection, peer):
        _write(peer, BINARY, sizes)
        reading = asyncio.create_task(_stream(connection) if streaming else connection.recv())
        frame = await peer.read_frame()
        assert (frame.close_code, frame.close_reason) == (1009, reason)
        peer.half_close()
        with pytest.raises(ConnectionClosedError, match=f"sent 1009 .message too big. {reason}") as raised:
            await reading
        cause = raised.value.__cause__
        assert isinstance(cause, PayloadTooBig)
        assert str(cause) == reason
        assert str((cause.size, cause.max_size, cause.current_size)) == attributes


COMPRESSED_TOO_BIG: list[tuple[list[int], str, str]] = [
    ([1001], "frame exceeds limit of 1000 bytes", "(None, 1000, None)"),
    ([600, 401], "frame after reading 600 bytes exceeds limit of 1000 bytes", "(None, 1000, 600)"),
    ([1000, 1], "frame after reading 1000 bytes exceeds limit of 1000 bytes", "(None, 1000, 1000)"),
]


@pytest.mark.parametrize(("sizes", "reason", "attributes"), COMPRESSED_TOO_BIG)
@pytest.mark.parametrize("streaming", [False, True])
async def test_what_decompresses_to_more_closes_with_1009(
    sizes: list[int], reason: str, attributes: str, streaming: bool
) -> None:
    """How much more is never found out."""
    async with asyncio.timeout(10), open_both(max_size=1000) as (client, server):
        reading = asyncio.create_task(_stream(server) if streaming else server.recv())
        with contextlib.suppress(ConnectionClosedError):
            await client.send([b"x" * size for size in sizes] if len(sizes) > 1 else b"x" * sizes[0])
        with pytest.raises(ConnectionClosedError, match=f"sent 1009 .message too big. {reason}") as raised:
            await reading
        cause = raised.value.__cause__
        assert isinstance(cause, PayloadTooBig)
        assert str(cause) == reason
        assert str((cause.size, cause.max_size, cause.current_size)) == attributes


async def test_the_size_is_decided_from_the_header(side: str) -> None:
    """Before any of the payload came."""
    async with asyncio.timeout(10), open_pair(side) as (_, peer):
        peer.write_frame(BINARY, b"", announced_size=2**62)
        frame = await peer.read_frame()
        assert frame.close_reason == f"frame with {2**62} bytes exceeds limit of {2**20} bytes"


@pytest.mark.parametrize("max_size", [0, -1, (10, 0), (-1, None), "1", 1.5, True])
async def test_other_sizes_are_refused(max_size: Any) -> None:
    from picows_aio import connect

    with pytest.raises((TypeError, ValueError), match="max_size must be"):
        connect("ws://127.0.0.1:1/", max_size=max_size)


@pytest.mark.parametrize(
    ("max_size", "count", "size"),
    [(2**22, 65_537, 63), (2**20, 65_537, 1), (2**20, 65_537, 15), (2**20, 65_536, 16), (2**20, 4_097, 255)],
)
async def test_honest_streams_of_many_fragments_pass(side: str, max_size: int, count: int, size: int) -> None:
    async with asyncio.timeout(30), open_pair(side, max_size=max_size) as (connection, peer):
        _write_fast(peer, count, size)
        assert len(await connection.recv()) == count * size


@pytest.mark.parametrize("size", [0, 1])
async def test_floods_of_fragments_do_not(side: str, size: int) -> None:
    """Each costs memory beside its payload, and that counts."""
    async with asyncio.timeout(30), open_pair(side, max_size=2**20) as (connection, peer):
        _write_fast(peer, 90_000, size)
        with pytest.raises(ConnectionClosedError, match="sent 1009") as raised:
            await _close_when_told(connection, peer)
        assert isinstance(raised.value.__cause__, TooManyFragments)


async def test_small_limits_leave_room_for_some_fragments(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, max_size=10) as (connection, peer):
        _write_fast(peer, 1000, 0)
        assert await connection.recv() == b""
        _write_fast(peer, 2000, 0)
        with pytest.raises(ConnectionClosedError, match="sent 1009"):
            await _close_when_told(connection, peer)


async def test_a_streaming_reader_pays_only_for_what_waits(side: str) -> None:
    async with asyncio.timeout(30), open_pair(side, max_size=2**20) as (connection, peer):
        _write_fast(peer, 100_000, 1)
        stream = connection.recv_streaming()
        assert len([part async for part in stream]) == 100_000


@needs_proc
@pytest.mark.parametrize("loop", LOOP_FACTORIES)
def test_two_million_empty_fragments_cost_no_memory(loop: str) -> None:
    with run_server("messages", loop) as served:
        before = served.resident_size()
        served.sock.sendall(encode_frame(BINARY, b"", fin=False, key=b"1234"))
        answer, peak = served.flood(encode_frame(CONTINUATION, b"", fin=False, key=b"1234") * 10_000, 200)
        assert answer[2:4] == (1009).to_bytes(2, "big")
        assert peak - before < 2**22 + 2**21


@needs_proc
@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@pytest.mark.parametrize("size", [0, 1, 2])
def test_fragmented_messages_that_wait_count_for_what_they_cost(loop: str, size: int) -> None:
    """120 kB of payload a message, and 3 MiB of memory."""
    with run_server("nothing", loop, ping_interval=None) as served:
        before = served.resident_size()
        sent = served.send_until_it_stalls(b"".join(_frames(60_000, size, b"1234")), 200)
        assert sent < 2**24
        assert served.resident_size() - before < 2**22 + 2**21


@needs_proc
@pytest.mark.parametrize("loop", LOOP_FACTORIES)
@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.parametrize("receives", ["nothing", "fragments"])
def test_fragments_of_an_endless_message_wait_in_the_kernel(loop: str, size: int, receives: str) -> None:
    """Where messages have no limit, those that nobody takes have one all the same."""
    with run_server(receives, loop, max_size=None, max_queue=2**24, ping_interval=None) as served:
        before = served.resident_size()
        served.sock.sendall(encode_frame(BINARY, b"", fin=False, key=b"1234"))
        fragments = encode_frame(CONTINUATION, b"ab"[:size], fin=False, key=b"1234") * 10_000
        sent = served.send_until_it_stalls(fragments, 500)
        assert sent < 2**24
        assert served.resident_size() - before < 2**24 + 2**21


@needs_proc
def test_a_fragmented_message_over_the_limit_costs_no_more_than_the_limit() -> None:
    with run_server("messages", max_size=2**22) as served:
        before = served.resident_size()
        served.sock.sendall(encode_frame(BINARY, bytes(2**16), fin=False, key=b"1234"))
        answer, peak = served.flood(encode_frame(CONTINUATION, bytes(2**16), fin=False, key=b"1234"), 1000)
        assert answer[2:4] == (1009).to_bytes(2, "big")
        assert peak - before < 2**22 + 2**21


@needs_proc
def test_announced_sizes_cost_no_memory() -> None:
    with run_server("messages", max_size=2**28) as served:
        before = served.resident_size()
        served.sock.sendall(encode_frame(BINARY, b"x", announced_size=2**28, key=b"1234"))
        served.sock.sendall(encode_frame(PING, b"", key=b"1234"))
        assert served.resident_size() - before < 2**21


def test_the_environment_can_set_a_number_of_fragments() -> None:
    """The variable is read at import, so the test of it has a process of its own."""
    program = """
import asyncio
from picows_aio import ConnectionClosedError
from tests.picows_aio.pairs import open_pair
from tests.support import BINARY, CONTINUATION

async def main():
    async with asyncio.timeout(10), open_pair("client") as (connection, peer):
        for count in (100, 101):
            peer.write_frame(BINARY, b"x", fin=False)
            for number in range(1, count):
                peer.write_frame(CONTINUATION, b"x", fin=number == count - 1)
        print(len(await connection.recv()))
        reading = asyncio.create_task(connection.recv())
        frame = await peer.read_frame()
        print(frame.close_code, frame.close_reason)
        peer.half_close()
        try:
            await reading
        except ConnectionClosedError as exc:
            print(type(exc.__cause__).__name__, exc.__cause__.max_fragments)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"WEBSOCKETS_MAX_FRAGMENTS": "100"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "100",
        "1009 fragmented message exceeds limit of 100 frames",
        "TooManyFragments 100",
    ]


BAD_TEXT = [
    [b"\xff"],
    [b"ab\xc3"],
    [b"\xed\xa0\x80"],
    [b"\xf4\x90\x80\x80"],
    [b"\xc0\x80"],
    [b"\xe2\x82", b"\x41"],
    [b"ok", b"\xc3", b""],
]


@pytest.mark.parametrize("fragments", BAD_TEXT)
@pytest.mark.parametrize("streaming", [False, True])
async def test_text_that_is_no_utf8_closes_with_1007(side: str, fragments: list[bytes], streaming: bool) -> None:
    """RFC 6455 section 8.1."""
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        for index, fragment in enumerate(fragments):
            peer.write_frame(CONTINUATION if index else TEXT, fragment, fin=index == len(fragments) - 1)
        reading = asyncio.create_task(_stream(connection) if streaming else connection.recv())
        assert (await peer.read_frame()).close_code == 1007
        peer.half_close()
        with pytest.raises(ConnectionClosedError, match="sent 1007") as raised:
            await reading
        assert isinstance(raised.value.__cause__, UnicodeDecodeError)
        assert str(raised.value.__cause__) == "text is not valid UTF-8"


BAD_COMPRESSED_TEXT = [
    ([b"\xff"], "invalid start byte at position 0"),
    ([b"abc\xc3"], "unexpected end of data at position 3"),
    ([b"abc", b"d\xff"], "invalid start byte at position 4"),
    ([b"abc\xe2", b"\x82", b"\x41"], "invalid continuation byte at position 3"),
]


@pytest.mark.parametrize(("fragments", "where"), BAD_COMPRESSED_TEXT)
async def test_compressed_text_that_is_no_utf8_closes_with_1007(fragments: list[bytes], where: str) -> None:
    """What was decompressed is still at hand: the reason says where."""
    async with asyncio.timeout(10), open_both() as (client, server):
        reading = asyncio.create_task(server.recv())
        with contextlib.suppress(ConnectionClosedError):
            await client.send(fragments if len(fragments) > 1 else fragments[0], text=True, compress=True)
        with pytest.raises(ConnectionClosedError, match=f"sent 1007 .*text is not valid UTF-8: {where}") as raised:
            await reading
        assert isinstance(raised.value.__cause__, UnicodeDecodeError)


@pytest.mark.parametrize("announced", [100, 2**19])
async def test_bad_text_fails_before_the_message_is_complete(side: str, announced: int) -> None:
    async with asyncio.timeout(10), open_pair(side) as (_, peer):
        peer.write_frame(TEXT, b"ok", fin=False)
        peer.write_frame(CONTINUATION, b"fine \xff", announced_size=announced)
        assert (await peer.read_frame()).close_code == 1007


async def test_text_may_be_cut_anywhere(side: str) -> None:
    text = "aé€🎉" * 10
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        for index, octet in enumerate(text.encode()):
            peer.write_frame(CONTINUATION if index else TEXT, bytes([octet]), fin=False)
        peer.write_frame(CONTINUATION)
        assert await connection.recv() == text


VIOLATIONS: list[tuple[str, list[tuple[int, bytes, dict[str, Any]]]]] = [
    ("a reserved opcode", [(3, b"", {})]),
    ("a reserved control opcode", [(11, b"", {})]),
    ("a reserved bit", [(TEXT, b"", {"rsv": 4})]),
    ("a stray continuation", [(CONTINUATION, b"", {})]),
    ("a missing continuation", [(TEXT, b"", {"fin": False}), (TEXT, b"", {})]),
    ("a fragmented control frame", [(PING, b"", {"fin": False})]),
    ("a large control frame", [(PING, bytes(126), {})]),
    ("a close payload of one byte", [(8, b"x", {})]),
    ("a close code that must not be sent", [(8, b"\x03\xed", {})]),
]


@pytest.mark.parametrize("frames", [frames for _, frames in VIOLATIONS], ids=[name for name, _ in VIOLATIONS])
async def test_violations_close_with_1002(side: str, frames: list[tuple[int, bytes, dict[str, Any]]]) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        reading = asyncio.create_task(connection.recv())
        await parked(reading)
        for opcode, payload, how in frames:
            peer.write_frame(opcode, payload, **how)
        assert (await peer.read_frame()).close_code == 1002
        peer.half_close()
        with pytest.raises(ConnectionClosedError, match="sent 1002") as raised:
            await reading
        assert isinstance(raised.value.__cause__, ProtocolError)


async def test_wrong_masking_closes_with_1002(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (_, peer):
        peer.write_frame(TEXT, "x", mask=not peer.is_client)
        assert (await peer.read_frame()).close_code == 1002


async def test_messages_before_a_violation_are_received(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side) as (connection, peer):
        reading = asyncio.create_task(connection.recv())
        await parked(reading)
        key = b"1234" if peer.is_client else None
        peer.write_bytes(encode_frame(TEXT, "a", key=key) + encode_frame(TEXT, "b", key=key) + encode_frame(3, key=key))
        assert [await reading, await connection.recv()] == ["a", "b"]
        assert (await peer.read_frame()).close_code == 1002


def _frames(count: int, size: int, key: bytes | None) -> Iterator[bytes]:
    yield encode_frame(BINARY, bytes(size), fin=False, key=key)
    yield encode_frame(CONTINUATION, bytes(size), fin=False, key=key) * (count - 2)
    yield encode_frame(CONTINUATION, bytes(size), key=key)


def _write_fast(peer: RawPeer, count: int, size: int) -> None:
    peer.write_bytes(b"".join(_frames(count, size, b"1234" if peer.is_client else None)))


def _write(peer: RawPeer, opcode: int, sizes: list[int]) -> None:
    for index, size in enumerate(sizes):
        peer.write_frame(CONTINUATION if index else opcode, b"x" * size, fin=index == len(sizes) - 1)


async def _stream(connection: Connection) -> list[Any]:
    return [part async for part in connection.recv_streaming()]


async def _close_when_told(connection: Connection, peer: RawPeer) -> None:
    reading = asyncio.create_task(connection.recv())
    assert (await peer.read_frame()).close_code == 1009
    peer.close()
    await reading
