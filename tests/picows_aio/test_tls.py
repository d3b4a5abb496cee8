"""What TLS could change: many messages in one record, the end of the stream, and what waits to be sent."""

import asyncio

import pytest

from picows_aio import ConnectionClosedError, ConnectionClosedOK
from tests.picows_aio.pairs import open_pair, parked, turns
from tests.support import PING, PONG, TEXT, Frame, TlsContexts, encode_frame


async def test_messages_both_ways(tls_contexts: TlsContexts) -> None:
    async with asyncio.timeout(10), open_pair("client", tls=tls_contexts) as (connection, peer):
        peer.write_bytes(b"".join(encode_frame(TEXT, str(number)) for number in range(1000)))
        for number in range(1000):
            assert await connection.recv() == str(number)
            await connection.send(str(number))
        assert [(await peer.read_frame()).payload for _ in range(1000)] == [b"%d" % number for number in range(1000)]


async def test_back_pressure(tls_contexts: TlsContexts) -> None:
    async with asyncio.timeout(20), open_pair("client", tls=tls_contexts, max_queue=4) as (connection, peer):
        for number in range(300):
            peer.write_frame(TEXT, f"{number:06}" + "x" * 50_000)
        peer.write_frame(PING, b"behind")
        while not connection.is_reading_paused():
            await asyncio.sleep(0)
        await turns(20)
        assert connection.messages_waiting() == 5
        received = [int((await connection.recv())[:6]) for _ in range(300)]
        assert received == list(range(300))
        assert await peer.read_frame() == Frame(PONG, b"behind")


async def test_send_waits_while_the_peer_does_not_read(tls_contexts: TlsContexts) -> None:
    settings = {
        "send_buffer_size": 8192,
        "receive_buffer_size": 8192,
        "ping_interval": None,
        "server_hostname": "127.0.0.1",
    }
    async with asyncio.timeout(20), open_pair("client", tls=tls_contexts, **settings) as (connection, peer):
        payloads = [b"%05d" % number + bytes(32768) for number in range(100)]
        tasks = [asyncio.create_task(connection.send(payload)) for payload in payloads]
        await turns(5)
        assert sum(not task.done() for task in tasks) > 80
        assert [(await peer.read_frame()).payload for _ in payloads] == payloads
        await asyncio.gather(*tasks)


async def test_the_closing_handshake(tls_contexts: TlsContexts) -> None:
    async with asyncio.timeout(10), open_pair("client", tls=tls_contexts) as (connection, peer):
        closing = asyncio.create_task(connection.close(1001, "bye"))
        assert (await peer.read_frame()).close_reason == "bye"
        peer.write_close(1001, "bye")
        peer.half_close()
        await closing
        with pytest.raises(ConnectionClosedOK):
            await connection.recv()


@pytest.mark.parametrize("end", ["half_close", "close", "reset"])
async def test_an_end_without_a_closing_handshake(tls_contexts: TlsContexts, end: str) -> None:
    async with asyncio.timeout(10), open_pair("client", tls=tls_contexts) as (connection, peer):
        reading = asyncio.create_task(connection.recv())
        await parked(reading)
        getattr(peer, end)()
        with pytest.raises(ConnectionClosedError, match="no close frame received or sent"):
            await reading
        assert connection.close_code == 1006


async def test_a_peer_that_never_answers_is_dropped_at_the_deadline(tls_contexts: TlsContexts) -> None:
    async with asyncio.timeout(10), open_pair("client", tls=tls_contexts, close_timeout=0.1) as (connection, _):
        await connection.close()
        with pytest.raises(ConnectionClosedError) as raised:
            await connection.recv()
        assert isinstance(raised.value.__cause__, TimeoutError)
