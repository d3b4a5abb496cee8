"""`broadcast`: one message to many connections, waiting for none."""

import asyncio

import pytest

from picows_aio import (
    BroadcastReport,
    ConcurrencyError,
    PushOutcome,
    SendPolicy,
    SkippedConnection,
    broadcast,
    broadcasting,
)
from tests.picows_aio.sites import records, running


async def wait(connection):
    await connection.wait_closed()


@pytest.fixture
async def site(link):
    async with asyncio.timeout(10), running(wait, link=link) as running_site:
        yield running_site


@pytest.mark.parametrize(
    ("message", "options", "received"),
    [
        ("text", {}, "text"),
        (b"bytes", {}, b"bytes"),
        (bytearray(b"array"), {}, b"array"),
        (memoryview(b"view"), {}, b"view"),
        (memoryview(b"s.t.r.i.d.e")[::2], {}, b"stride"),
        (b"bytes as text", {"text": True}, "bytes as text"),
        ("text as bytes", {"text": False}, b"text as bytes"),
        ("", {}, ""),
        ("compressible " * 1000, {}, "compressible " * 1000),
    ],
)
async def test_every_connection_gets_it(site, message, options, received):
    """Those with compression beside those without, and clients may broadcast too."""
    async with site.connect() as first, site.connect(compression=None) as second:
        assert broadcast(site.server.connections, message, **options) == BroadcastReport(2, 0, 0, (), ())
        assert [await first.recv(), await second.recv()] == [received, received]
        broadcast(iter([first, second]), message, **options)
        assert [await connection.recv() for connection in site.server.connections] == [received, received]


async def test_compressed_broadcasts_come_between_messages_of_their_own(site):
    """What was sent to one alone changes what the next broadcast may refer to there, and nowhere else."""
    async with site.connect() as first, site.connect() as second, site.connect(compression=None) as third:
        own = {connection: str(connection.id) for connection in site.server.connections}
        for number, size in enumerate([20, 100, 600, 20, 600, 100]):
            message = f"to all {number} " * size
            assert broadcast(own, message).sent == 3
            for connection in list(own)[: number % 4]:
                await connection.send(own[connection] * 5)
            broadcast(own, "and more " * size)
            for client in (first, second, third):
                received = [await client.recv(), await client.recv()]
                if received[1] != "and more " * size:
                    assert received.pop(1) in [text * 5 for text in own.values()]
                    received.append(await client.recv())
                assert received == [message, "and more " * size]


@pytest.mark.links("plain")
@pytest.mark.parametrize("message", [1, None, ["x"], {"a": 1}, object()])
async def test_other_types_are_refused(site, message):
    async with site.connect():
        with pytest.raises(TypeError, match=r"^data must be str or bytes$"):
            broadcast(site.server.connections, message)


class _Stateful:
    """No connection, but an attribute of that name."""

    state = "open"


@pytest.mark.links("plain")
@pytest.mark.parametrize("wrong", ["no", None, object(), ["ws"], _Stateful()], ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("policy", [None, SendPolicy("drop_newest")])
async def test_what_is_no_connection_is_named(site, wrong, policy):
    async with site.connect() as first, site.connect(compression=None) as second:
        with pytest.raises(TypeError, match=rf"^broadcast\(\) takes connections, not {type(wrong).__name__}$"):
            broadcast([*site.server.connections, wrong], "x", policy=policy)
        assert [await first.recv(), await second.recv()] == ["x", "x"]


@pytest.mark.links("plain")
async def test_connections_that_are_not_open_are_left_out(site):
    async with site.connect() as left, site.connect() as stays:
        await left.close()
        report = broadcast([left, stays], "x")
        assert report == BroadcastReport(1, 0, 0, (SkippedConnection(left, PushOutcome.CLOSED),), ())
        assert broadcast([], "x") == BroadcastReport(0, 0, 0, (), ())
        (connection,) = site.server.connections
        assert await connection.recv() == "x"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_connection_inside_a_fragmented_message_is_left_out(site, compression, caplog):
    release = asyncio.Event()

    async def fragments():
        yield "first "
        await release.wait()
        yield "second"

    async with site.connect(compression=compression) as busy, site.connect(compression=compression) as other:
        sending = asyncio.create_task(busy.send(fragments()))
        while not busy.is_sending_fragments():
            await asyncio.sleep(0)
        report = broadcast([busy, other], "hello")
        ((skipped, outcome, exception),) = report.skipped
        assert (report.sent, skipped, outcome) == (1, busy, PushOutcome.FAILED)
        assert repr(exception) == "ConcurrencyError('sending a fragmented message')"
        assert records(caplog, "WARNING") == [("websockets.client", "skipped broadcast: sending a fragmented message")]
        with pytest.raises(ExceptionGroup, match=r"^skipped broadcast") as caught:
            broadcast([busy, other], "again", raise_exceptions=True)
        assert [repr(exc) for exc in caught.value.exceptions] == ["ConcurrencyError('sending a fragmented message')"]
        assert type(caught.value.exceptions[0]) is ConcurrencyError
        release.set()
        await sending
        busy_side, other_side = _in_order(site, busy, other)
        assert await busy_side.recv() == "first second"
        assert [await other_side.recv(), await other_side.recv()] == ["hello", "again"]


def _in_order(site, *clients):
    """The server's sides of these connections."""
    by_path = {connection.remote_address: connection for connection in site.server.connections}
    if "" in by_path:  # Unix sockets have no name
        return sorted(site.server.connections, key=lambda connection: connection.messages_waiting())
    return [by_path[client.local_address] for client in clients]


@pytest.mark.links("plain")
async def test_a_write_that_fails_is_told(site, monkeypatch, caplog):
    """The core reports it; which write fails and how is for its own tests."""

    def fail(transports, msg_type, message):
        return broadcasting.picows.WSBroadcastResult(0, (), tuple((t, OSError("gone")) for t in transports))

    async with site.connect(compression=None):
        monkeypatch.setattr(broadcasting.picows, "broadcast", fail)
        with pytest.raises(ExceptionGroup) as caught:
            broadcast(site.server.connections, "x", raise_exceptions=True)
        (error,) = caught.value.exceptions
        assert (type(error), str(error)) == (RuntimeError, "failed to write message")
        assert isinstance(error.__cause__, OSError)
        (skipped,) = broadcast(site.server.connections, "x", policy=SendPolicy()).skipped
        assert (skipped.outcome, str(skipped.exception)) == (PushOutcome.FAILED, "failed to write message")
        assert skipped.connection.push_stats().sent == 0
        assert records(caplog, "WARNING") == [("websockets.server", "skipped broadcast: failed to write message")]


@pytest.mark.links("plain")
async def test_nobody_waits_for_a_slow_client(site):
    async with site.connect(compression=None) as slow, site.connect(compression=None) as quick:
        slow.transport.pause_reading()
        message = b"x" * 100_000
        for _ in range(20):
            broadcast(site.server.connections, message)
            assert await quick.recv() == message
        slow.transport.resume_reading()
        for _ in range(20):
            assert await slow.recv() == message
