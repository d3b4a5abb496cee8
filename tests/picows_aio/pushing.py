"""Peers that do not keep up with what is pushed to them."""

from collections.abc import Callable
from typing import Any

from picows_aio import PushOutcome, SendPolicy
from picows_aio.asyncio.connection import Connection
from tests.support import TEXT, Frame, RawPeer

SENT, OVER, KEPT, REPLACED, DROPPED, EVICTED = list(PushOutcome)[:6]
SIZE = 1000  # bytes of a message
FRAME = SIZE + 14 + 22  # bytes, at most: with the header, and with what makes it a record of TLS 1.3
MARK = 10_000  # bytes
NARROW = {"send_buffer_size": 8192, "receive_buffer_size": 8192}  # for `open_pair`

NarrowPair = Callable[..., Any]
"""What the fixture `narrow_pair` is: opens a connection and a raw peer with little room in the kernel between them."""


def numbered(number: int) -> str:
    return f"{number:06}".ljust(SIZE, ".")


def number_in(frame: Frame) -> int:
    assert (frame.opcode, len(frame.payload)) == (TEXT, SIZE)
    return int(frame.payload[:6])


def fill(connection: Connection, policy: SendPolicy) -> int:
    """Push until the connection is over the mark, to a peer that does not read; how many messages that took."""
    count = 0
    while connection.push(numbered(count), policy=policy) is SENT:
        count += 1
    return count + 1


def stall(connection: Connection, policy: SendPolicy) -> int:
    """The same, until so much waits that room in the kernel, of which more may be found later, makes no difference."""
    count = fill(connection, policy)
    while waiting(connection) < 10 * MARK:
        connection.push(numbered(count), policy=policy)
        count += 1
    return count


def waiting(connection: Connection) -> int:
    return connection.core_transport.get_write_buffer_size()


async def read_numbers(peer: RawPeer, count: int) -> list[int]:
    return [number_in(await peer.read_frame()) for _ in range(count)]


async def read_until_drained(connection: Connection, peer: RawPeer) -> list[int]:
    """Read all that was pushed, and what is kept aside and comes later."""
    received: list[int] = []
    while len(received) < connection.push_stats().sent or connection.push_stats().kept:
        received += await read_numbers(peer, 1)
    return received
