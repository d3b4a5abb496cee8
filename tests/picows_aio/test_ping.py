"""Pings and pongs (RFC 6455 sections 5.5.2 and 5.5.3)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, ProtocolError
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, deadline, open_both, open_pair
from tests.support import PING, PONG, TEXT, Frame, RawPeer


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Connection, RawPeer]]:
    async with open_pair(request.param, ping_interval=None) as opened:
        with deadline(10):
            yield opened


@pytest.mark.parametrize(
    ("data", "payload"),
    [("é", "é".encode()), ("", b""), (b"x" * 125, b"x" * 125), (bytearray(b"a"), b"a"), (memoryview(b"b"), b"b")],
    ids=["str", "empty", "125 bytes", "bytearray", "memoryview"],
)
async def test_the_payload_is_what_was_given(
    pair: tuple[Connection, RawPeer], data: str | bytes, payload: bytes
) -> None:
    connection, peer = pair
    await connection.ping(data)
    assert await peer.read_frame() == Frame(PING, payload)
    await connection.pong(data)
    assert await peer.read_frame() == Frame(PONG, payload)


async def test_the_default_payload_is_four_random_bytes(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    for _ in range(20):
        await connection.ping()
    payloads = {(await peer.read_frame()).payload for _ in range(20)}
    assert len(payloads) == 20
    assert {len(payload) for payload in payloads} == {4}
    await connection.pong()
    assert await peer.read_frame() == Frame(PONG, b"")


@pytest.mark.parametrize("data", [1, 1.0, ["x"], {"x": 1}, object()], ids=repr)
async def test_other_payloads_are_refused(pair: tuple[Connection, RawPeer], data: Any) -> None:
    connection, _ = pair
    with pytest.raises(TypeError, match="data must be str or bytes-like"):
        await connection.ping(data)
    with pytest.raises(TypeError, match="data must be str or bytes-like"):
        await connection.pong(data)
    with pytest.raises(TypeError, match="data must be str or bytes-like"):
        await connection.pong(None)


async def test_more_than_125_bytes_are_refused(pair: tuple[Connection, RawPeer]) -> None:
    """RFC 6455 section 5.5."""
    connection, peer = pair
    for method in (connection.ping, connection.pong):
        with pytest.raises(ProtocolError, match="control frame too long"):
            await method("é" * 63)
    await connection.send("open")
    assert await peer.read_frame() == Frame(TEXT, b"open")


async def test_the_pong_gives_the_latency(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    assert connection.latency == 0.0
    loop = asyncio.get_running_loop()
    before = loop.time()
    pong = await connection.ping()
    assert not pong.done()
    peer.write_frame(PONG, (await peer.read_frame()).payload)
    latency = await pong
    assert 0 < latency <= loop.time() - before + 0.001
    assert connection.latency == latency


async def test_a_pong_answers_all_earlier_pings(pair: tuple[Connection, RawPeer]) -> None:
    """RFC 6455 section 5.5.3: an endpoint may answer only the most recent ping."""
    connection, peer = pair
    pongs = [await connection.ping(bytes([number])) for number in range(5)]
    peer.write_frame(PONG, b"\x02")
    latencies = [await pongs[number] for number in (0, 1, 2)]
    assert latencies == sorted(latencies, reverse=True)
    assert connection.latency == latencies[-1]
    assert not pongs[3].done()
    assert not pongs[4].done()
    peer.write_frame(PONG, b"\x04")
    await asyncio.gather(pongs[3], pongs[4])


async def test_unsolicited_and_repeated_pongs_do_nothing(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    pong = await connection.ping(b"a")
    for payload in (b"", b"b", b"A"):
        peer.write_frame(PONG, payload)
    peer.write_frame(TEXT, "after them")
    assert await connection.recv() == "after them"
    assert not pong.done()
    peer.write_frame(PONG, b"a")
    latency = await pong
    peer.write_frame(PONG, b"a")
    peer.write_frame(TEXT, "after it")
    assert await connection.recv() == "after it"
    assert connection.latency == latency


async def test_the_same_payload_can_be_pending_once(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    pong = await connection.ping(b"a")
    with pytest.raises(ConcurrencyError, match="already waiting for a pong with the same data"):
        await connection.ping("a")
    peer.write_frame(PONG, b"a")
    await pong
    again = await connection.ping(b"a")
    peer.write_frame(PONG, b"a")
    await again


async def test_a_cancelled_pong_harms_nothing(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    first, second = await connection.ping(b"1"), await connection.ping(b"2")
    first.cancel()
    peer.write_frame(PONG, b"2")
    await second
    assert connection.latency > 0


async def test_pings_are_answered_while_nobody_receives(pair: tuple[Connection, RawPeer]) -> None:
    _, peer = pair
    for payload in (b"", b"x" * 125):
        peer.write_frame(PING, payload)
        assert await peer.read_frame() == Frame(PONG, payload)


@pytest.mark.parametrize("ends", ["close", "eof", "reset"])
async def test_a_pong_that_cannot_come_fails(pair: tuple[Connection, RawPeer], ends: str) -> None:
    connection, peer = pair
    pong = await connection.ping()
    await peer.read_frame()
    if ends == "reset":
        peer.reset()
    else:
        if ends == "close":
            peer.write_close(1000)
        peer.half_close()
    with pytest.raises(ConnectionClosedOK if ends == "close" else ConnectionClosedError):
        await pong
    with pytest.raises(ConnectionClosedOK if ends == "close" else ConnectionClosedError):
        await connection.ping()
    with pytest.raises(ConnectionClosedOK if ends == "close" else ConnectionClosedError):
        await connection.pong()


async def test_a_pong_that_nobody_waits_for_fails_silently(pair: tuple[Connection, RawPeer]) -> None:
    """The leak check of every test finds exceptions that were never retrieved."""
    connection, peer = pair
    await connection.ping()
    peer.half_close()
    await connection.wait_closed()


async def test_both_sides_ping_each_other() -> None:
    async with asyncio.timeout(10), open_both() as (client, server):
        for _ in range(100):
            pongs = [await client.ping(), await server.ping()]
            assert all(latency > 0 for latency in await asyncio.gather(*pongs))
