"""What came before a violation of the protocol is answered, and reserved bits belong to what was negotiated."""

import asyncio

import pytest

from picows_aio import ConnectionClosedError, connect
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, open_pair, parked
from tests.support import BINARY, CONTINUATION, PING, TEXT, Frame, encode_frame, listen
from tests.support.raw_peer import switching_fields

DEFLATE = [("Sec-WebSocket-Extensions", "permessage-deflate")]
# Opcode and reserved bits of a frame.
VIOLATIONS = {"rsv1": (TEXT, 4), "rsv2": (BINARY, 2), "rsv3": (TEXT, 1), "ping with rsv1": (PING, 4), "opcode": (3, 0)}


async def echo(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_a_message_in_front_of_a_violation_is_answered(side, compression, violation):
    """RFC 6455 section 5.2: reserved bits are 0 unless an extension was negotiated; here none was."""
    opcode, rsv = VIOLATIONS[violation]
    async with asyncio.timeout(10), open_pair(side, compression=compression) as (connection, peer):
        key = b"1234" if peer.is_client else None
        echoing = asyncio.create_task(echo(connection))
        await parked(echoing)
        peer.write_bytes(encode_frame(TEXT, b"first", key=key) + encode_frame(opcode, b"x", rsv=rsv, key=key))
        assert await peer.read_frame() == Frame(TEXT, b"first")
        assert (await peer.read_frame()).close_code == 1002
        peer.close()
        with pytest.raises(ConnectionClosedError, match="sent 1002"):
            await echoing


@pytest.mark.parametrize(
    "violation",
    [
        encode_frame(TEXT, b"x", rsv=6),
        encode_frame(PING, b"x", rsv=4),
        encode_frame(TEXT, b"x", fin=False) + encode_frame(CONTINUATION, b"x", rsv=4),
    ],
    ids=["another bit", "ping", "continuation"],
)
async def test_compression_takes_one_bit_of_first_frames(violation):
    """RFC 7692 section 6."""
    async with asyncio.timeout(10), listen() as server, asyncio.TaskGroup() as group:
        accepting = group.create_task(server.accept(upgrade=False))
        opening = group.create_task(connect(server.url, proxy=None)._connect())
        peer = await accepting
        await peer.accept_upgrade(DEFLATE)
        connection = await opening
        peer.write_bytes(violation)
        assert (await peer.read_frame()).close_code == 1002
        peer.close()
        with pytest.raises(ConnectionClosedError):
            await connection.recv()


async def test_a_message_that_comes_with_the_response_is_answered_before_a_violation_is():
    async def client(url: str) -> None:
        async with connect(url, proxy=None) as connection:
            await echo(connection)

    async with asyncio.timeout(10), listen() as server:
        echoing = asyncio.create_task(client(server.url))
        peer = await server.accept(upgrade=False)
        request = await peer.read_http_head()
        peer.write_http_head("HTTP/1.1 101 Switching Protocols", switching_fields(request))
        peer.write_bytes(encode_frame(TEXT, b"first") + encode_frame(3, b"x"))
        assert await peer.read_frame() == Frame(TEXT, b"first")
        assert (await peer.read_frame()).close_code == 1002
        peer.close()
        with pytest.raises(ConnectionClosedError, match="sent 1002"):
            await echoing
