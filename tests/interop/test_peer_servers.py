"""Our client talks to other implementations' servers."""

import asyncio

import pytest

from picows import WSMsgType
from tests.interop.conftest import PEERS
from tests.interop.peers.conversation import CLIENT_CLOSE, CLOSE_REQUEST, FRAGMENTS, MESSAGES, SERVER_CLOSE
from tests.support import BINARY, CLOSE, CONTINUATION, PONG, TEXT, Frame

pytestmark = [pytest.mark.links("plain", "tls"), pytest.mark.parametrize("name", PEERS)]


async def next_message(listener) -> tuple[int, bytes]:
    """A whole message; a server is free to send it in fragments."""
    first = frame = await listener.next_frame()
    payload = bytearray(first.payload)
    while not frame.fin:
        frame = await listener.next_frame()
        assert frame.opcode == CONTINUATION
        payload += frame.payload
    return first.opcode, bytes(payload)


async def test_our_client_converses_and_closes(peer_server, connect, name):
    async with asyncio.timeout(20), peer_server(name) as (endpoint, process):
        async with connect(endpoint) as (transport, listener):
            for message in MESSAGES:
                opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
                transport.send(WSMsgType(opcode), payload)
                assert await next_message(listener) == (opcode, payload)
            for number, part in enumerate(FRAGMENTS, 1):
                kind = WSMsgType.TEXT if number == 1 else WSMsgType.CONTINUATION
                transport.send(kind, part, fin=number == len(FRAGMENTS))
            assert await next_message(listener) == (TEXT, "".join(FRAGMENTS).encode())
            transport.send_ping(b"mark")
            assert await listener.next_frame() == Frame(PONG, b"mark")
            transport.send_close(CLIENT_CLOSE[0], CLIENT_CLOSE[1].encode())
            assert (await listener.next_frame()).opcode == CLOSE
            await transport.wait_disconnected()
        assert tuple((await process.line()).values()) == CLIENT_CLOSE


@pytest.mark.links("plain")
async def test_a_round_trip_is_measured(peer_server, connect, name):
    async with asyncio.timeout(20), peer_server(name) as (endpoint, _), connect(endpoint) as (transport, _):
        times = await transport.measure_roundtrip_time(3)
    assert len(times) == 3
    assert all(0 < time < 5 for time in times)


async def test_a_server_closes_and_gets_its_code_back(peer_server, connect, name):
    """RFC 6455 section 5.5.1: the close frame sent in answer typically echoes the code received."""
    async with asyncio.timeout(20), peer_server(name) as (endpoint, process):
        async with connect(endpoint) as (transport, listener):
            transport.send(WSMsgType.TEXT, CLOSE_REQUEST)
            close = await listener.next_frame()
            assert (close.opcode, close.close_code, close.close_reason) == (CLOSE, *SERVER_CLOSE)
            await transport.wait_disconnected()
            assert transport.close_handshake.sent.code == SERVER_CLOSE[0]
        assert (await process.line())["code"] == SERVER_CLOSE[0]
