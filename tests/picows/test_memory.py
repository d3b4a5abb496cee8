"""What connections, frames and views cost, measured from outside a server's process."""

import pytest

from tests.support import BINARY, PING, TEXT, encode_frame
from tests.support.subject import Subject, needs_proc, read_exactly

pytestmark = [needs_proc, pytest.mark.parametrize("loop", ["asyncio", "uvloop"])]

KIB, MIB = 1024, 1024 * 1024
KEY = b"\x12\x34\x56\x78"
PING_FRAME = encode_frame(PING, key=KEY)
PONG_SIZE = 2
SMALL = 64
# What fills the rest of a read of 64 KiB.
FILLER = encode_frame(BINARY, bytes(3000), key=KEY) * 20


def exchange(sock, data):
    """Send `data` so that it is one read, if it has the size of one."""
    sock.sendall(data + PING_FRAME)
    read_exactly(sock, PONG_SIZE)


def growth_while_keeping(subject, count, data):
    """Bytes by which the process grows while it keeps one frame out of each of so many reads."""
    with subject.open_websocket() as sock:
        exchange(sock, data)
        before = subject.resident_size()
        for _ in range(count):
            exchange(sock, data)
        assert subject.ask("kept") == count + 1
        return subject.resident_size() - before


@pytest.mark.parametrize(("count", "filler"), [(10_000, b""), (2_000, FILLER)], ids=["small reads", "full reads"])
def test_kept_frames_cost_little_more_than_their_payload(loop, count, filler):
    """A kept frame does not pin the 64 KiB it was read with."""
    data = encode_frame(BINARY, bytes(SMALL), key=KEY) + filler
    with Subject(loop=loop, take="frame", take_size=SMALL) as subject:
        assert growth_while_keeping(subject, count, data) < 4 * count * SMALL + MIB


@pytest.mark.parametrize("take", ["view", "slice"])
@pytest.mark.parametrize(("count", "filler"), [(10_000, b""), (2_000, FILLER)], ids=["small reads", "full reads"])
def test_kept_views_pin_a_bounded_multiple_of_their_payload(loop, take, count, filler):
    """A view is an object of some 200 bytes by itself, and holds the frame's."""
    data = encode_frame(BINARY, bytes(SMALL), key=KEY) + filler
    with Subject(loop=loop, take=take, take_size=SMALL) as subject:
        assert growth_while_keeping(subject, count, data) < KIB * count + MIB


@pytest.mark.parametrize("take", ["frame", "view"])
def test_many_connections_cannot_pin_a_read_each(loop, take):
    """1,000 kept 64-byte views must not hold 1,000 read buffers."""
    count = 1000
    data = encode_frame(BINARY, bytes(SMALL), key=KEY) + FILLER
    with Subject(loop=loop, take=take, take_size=SMALL) as subject, subject.websockets(count) as socks:
        for sock in socks:
            exchange(sock, FILLER)
        before = subject.resident_size()
        for sock in socks:
            exchange(sock, data)
        assert subject.ask("kept") == count
        assert subject.resident_size() - before < 8 * MIB


def test_a_firehose_that_nobody_keeps_leaves_no_trace(loop):
    frames = FILLER + encode_frame(TEXT, b"x", key=KEY) * 1000 + encode_frame(BINARY, bytes(300 * KIB), key=KEY)
    with Subject(loop=loop) as subject, subject.open_websocket() as sock:
        for _ in range(20):
            exchange(sock, frames)
        before = subject.resident_size()
        for _ in range(200):
            exchange(sock, frames)
        assert subject.resident_size() - before < 512 * KIB


def test_large_frames_leave_their_memory(loop):
    """None is pinned for the life of its connection; the C library may keep one block for the next."""
    size = 8 * MIB
    large = encode_frame(BINARY, bytes(size), key=KEY)
    with Subject(loop=loop) as subject, subject.websockets(30) as socks:
        for sock in socks:
            exchange(sock, FILLER)
        before = subject.resident_size()
        for sock in socks:
            exchange(sock, large)
        assert subject.resident_size() - before < 2 * size


@pytest.mark.parametrize(
    ("opcode", "announced", "options"),
    [(BINARY, 10 * MIB, {}), (BINARY, MIB, {}), (TEXT, 10 * MIB, {"validate_utf8": True}), (BINARY, 16 * KIB, {})],
    ids=["10 MiB", "1 MiB", "10 MiB text", "16 KiB"],
)
def test_announcing_a_frame_reserves_no_memory(loop, opcode, announced, options):
    """1,000 connections that announce 10 MiB and send one byte: at most 16 MiB resident."""
    count = 1000
    beginning = encode_frame(opcode, b"x", key=KEY, announced_size=announced)
    with Subject(loop=loop, options=options) as subject:
        before = subject.resident_size()
        with subject.websockets(count) as socks:
            for sock in socks:
                sock.sendall(beginning)
            subject.wait_until("bytes_received", count * len(beginning))
            assert subject.resident_size() - before < 16 * MIB


def test_a_large_frame_under_way_costs_what_has_arrived(loop):
    arrived = 256 * KIB
    beginning = encode_frame(BINARY, bytes(arrived), key=KEY, announced_size=10 * MIB)
    with Subject(loop=loop) as subject, subject.websockets(50) as socks:
        before = subject.resident_size()
        for sock in socks:
            sock.sendall(beginning)
        subject.wait_until("bytes_received", 50 * len(beginning))
        assert subject.resident_size() - before < 50 * (arrived + 32 * KIB) + MIB
