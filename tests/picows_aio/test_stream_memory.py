"""The memory of a server whose streams nobody takes from stays flat, whatever the peer sends."""

import json

import pytest

from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.served import Served, needs_proc, run_server
from tests.support import BINARY, PING, PONG, close_payload, encode_frame
from tests.support.wire import CLOSE

pytestmark = [needs_proc, pytest.mark.parametrize("loop", LOOP_FACTORIES)]

MESSAGES = 10_000_000
SIZE = 8  # bytes of a message
KEYS = 250  # for `latest`: more than the 100 messages for which the stream has room
_MASK = b"1234"

# A million messages, as they are sent again and again.
_MILLION = 1_000_000
_BLOCK = b"".join(encode_frame(BINARY, bytes([key]) * SIZE, key=_MASK) for key in range(KEYS)) * (_MILLION // KEYS)


def _send_and_wait(served: Served, data: bytes) -> None:
    """Send, and wait until the server has read it all."""
    served.sock.sendall(data + encode_frame(PING, b"read", key=_MASK))
    pong = encode_frame(PONG, b"read")
    answer = b""
    while len(answer) < len(pong):
        answer += served.sock.recv(len(pong) - len(answer))
    assert answer == pong


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest"])
def test_ten_million_messages_are_dropped_without_a_trace(overflow: str, loop: str) -> None:
    with run_server(overflow, loop, ping_interval=None) as served:
        _send_and_wait(served, _BLOCK)
        before = served.resident_size()
        for _ in range(MESSAGES // _MILLION - 1):
            _send_and_wait(served, _BLOCK)
        grown = served.resident_size() - before
        served.sock.sendall(encode_frame(CLOSE, close_payload(1000), key=_MASK))
        stats = json.loads(served.read_line())
    assert grown < 2**20
    assert (stats["received"], stats["dropped"], stats["depth"]) == (MESSAGES, MESSAGES - 100, 100)
    assert (stats["dropped_bytes"], stats["depth_bytes"]) == (SIZE * (MESSAGES - 100), SIZE * 100)
    assert stats["high_water"] == 100


def test_a_stream_that_blocks_holds_the_peer_back(loop: str) -> None:
    """128 MiB are offered; the kernel's buffers take some, the server a hundred messages and one read."""
    size = 65536
    with run_server("block", loop, ping_interval=None) as served:
        before = served.resident_size()
        sent = served.send_until_it_stalls(encode_frame(BINARY, bytes(size), key=_MASK), 2048)
        assert sent < 100 * size + 32 * 2**20
        assert served.resident_size() - before < 101 * size + 65536 + 2**21


def test_a_stream_that_closes_reads_no_further(loop: str) -> None:
    size = 65536
    with run_server("close", loop, ping_interval=None, close_timeout=0.1) as served:
        before = served.resident_size()
        answer, peak = served.flood(encode_frame(BINARY, bytes(size), key=_MASK), 2048)
        assert encode_frame(CLOSE, close_payload(1013, "stream stream-1 is full")) in answer
        assert peak - before < 101 * size + 65536 + 2**21
