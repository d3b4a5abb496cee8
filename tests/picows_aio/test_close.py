"""Closing: codes and reasons, deadlines, and peers that do not do their part (RFC 6455 section 7)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from picows_aio import Close, ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, ProtocolError, State
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, deadline, open_both, open_pair, parked, turns
from tests.support import CLOSE, PING, TEXT, Frame, RawPeer

OpenPair = Callable[..., Any]


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def pair(side: str) -> AsyncIterator[tuple[Connection, RawPeer]]:
    async with open_pair(side, ping_interval=None) as opened:
        with deadline(10):
            yield opened


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "é" * 61), (1011, "x" * 123), (3000, "a"), (4999, "")])
async def test_the_closing_handshake(pair: tuple[Connection, RawPeer], code: int, reason: str) -> None:
    connection, peer = pair
    assert (connection.state, connection.close_code, connection.close_reason) == (State.OPEN, None, None)
    closing = asyncio.create_task(connection.close(code, reason))
    frame = await peer.read_frame()
    assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, code, reason)
    assert (connection.state, connection.close_code, connection.close_reason) == (State.CLOSING, None, None)
    peer.write_close(code, reason)
    peer.half_close()
    await closing
    assert (connection.state, connection.close_code, connection.close_reason) == (State.CLOSED, code, reason)
    assert await peer.read_to_end() == b""
    error = await _error_of(connection)
    assert (error.rcvd, error.sent, error.rcvd_then_sent) == (Close(code, reason), Close(code, reason), False)
    assert isinstance(error, ConnectionClosedOK) == (code in {1000, 1001})


async def test_close_can_be_repeated(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    closing = [asyncio.create_task(connection.close(code)) for code in (1000, 1001, 1011)]
    assert (await peer.read_frame()).close_code == 1000
    peer.write_close(1000)
    peer.half_close()
    await asyncio.gather(*closing)
    await connection.close(1011, "too late")
    assert connection.close_code == 1000
    assert await peer.read_to_end() == b""


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 2**40])
async def test_a_code_that_must_not_be_sent_is_an_error(pair: tuple[Connection, RawPeer], code: int) -> None:
    """RFC 6455 section 7.4."""
    connection, peer = pair
    with pytest.raises(ProtocolError):
        await connection.close(code)
    await _is_open(connection, peer)


@pytest.mark.parametrize("code", ["1000", None, 1000.0, b"x"], ids=repr)
async def test_a_code_that_is_no_integer_is_an_error(pair: tuple[Connection, RawPeer], code: Any) -> None:
    connection, peer = pair
    with pytest.raises(TypeError):
        await connection.close(code)
    await _is_open(connection, peer)


async def test_a_reason_of_more_than_123_bytes_is_an_error(pair: tuple[Connection, RawPeer]) -> None:
    """RFC 6455 section 5.5."""
    connection, peer = pair
    with pytest.raises(ProtocolError):
        await connection.close(1000, "é" * 62)
    await _is_open(connection, peer)


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (None, "", "received 1005 (no status received [internal]); then sent 1005 (no status received [internal])"),
        (1000, "", "received 1000 (OK); then sent 1000 (OK)"),
        (1001, "bye", "received 1001 (going away) bye; then sent 1001 (going away) bye"),
        (1012, "", "received 1012 (service restart); then sent 1012 (service restart)"),
        (4000, "own", "received 4000 (private use) own; then sent 4000 (private use) own"),
    ],
)
async def test_the_peer_closes(pair: tuple[Connection, RawPeer], code: int | None, reason: str, text: str) -> None:
    """RFC 6455 section 5.5.1: the answer echoes the code."""
    connection, peer = pair
    peer.write_close(code, reason)
    frame = await peer.read_frame()
    assert (frame.close_code, frame.close_reason) == (code, reason)
    peer.half_close()
    await connection.wait_closed()
    assert (connection.close_code, connection.close_reason) == (code or 1005, reason)
    error = await _error_of(connection)
    assert str(error) == text
    assert error.rcvd_then_sent is True
    assert isinstance(error, ConnectionClosedOK) == (code in {None, 1000, 1001})
    assert error.__cause__ is None


async def test_both_close_at_once(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    closing = asyncio.create_task(connection.close(1000, "mine"))
    peer.write_close(1001, "theirs")
    peer.half_close()
    await closing
    frame = await peer.read_frame()
    assert (frame.close_code, frame.close_reason) in {(1000, "mine"), (1001, "theirs")}
    assert await peer.read_to_end() == b""
    error = await _error_of(connection)
    assert error.rcvd == Close(1001, "theirs")
    assert error.sent == Close(frame.close_code, frame.close_reason)
    assert error.rcvd_then_sent == (frame.close_reason == "theirs")


async def test_our_client_and_our_server_close_at_once() -> None:
    async with asyncio.timeout(10), open_both() as (client, server):
        await asyncio.gather(client.close(3001, "client"), server.close(3002, "server"))
        for connection in (client, server):
            assert connection.state is State.CLOSED
            assert connection.close_code in {3001, 3002}


async def test_a_peer_that_never_answers_is_dropped_at_the_deadline(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, close_timeout=0.1) as (connection, peer):
        reading = asyncio.create_task(connection.recv())
        await parked(reading)
        await connection.close()
        assert (connection.state, connection.close_code, connection.close_reason) == (State.CLOSED, 1006, "")
        with pytest.raises(ConnectionClosedError, match=r"^sent 1000 \(OK\); no close frame received$") as raised:
            await reading
        assert isinstance(raised.value.__cause__, TimeoutError)
        assert (raised.value.rcvd, raised.value.sent) == (None, Close(1000, ""))
        assert (await peer.read_frame()).close_code == 1000


async def test_a_peer_that_floods_instead_of_answering_is_dropped_at_the_deadline(side: str) -> None:
    """The deadline is for the whole closing handshake, not for each of its steps."""
    async with asyncio.timeout(10), open_pair(side, close_timeout=0.2) as (connection, peer):
        closing = asyncio.create_task(connection.close())
        while not closing.done():
            peer.write_frame(TEXT, "x" * 100)
            peer.write_frame(PING, b"")
            await asyncio.sleep(0)
        await closing
        assert connection.close_code == 1006


async def test_a_peer_that_takes_nothing_is_dropped_at_the_deadline() -> None:
    """The CLOSE frame waits behind what was sent before."""
    async with (
        asyncio.timeout(10),
        open_pair("client", send_buffer_size=8192, receive_buffer_size=8192, close_timeout=0.1) as (connection, _),
    ):
        sending = asyncio.create_task(connection.send(bytes(8_000_000)))
        await parked(sending)
        await connection.close()
        assert connection.close_code == 1006
        with pytest.raises(ConnectionClosedError) as raised:
            await sending
        assert isinstance(raised.value.__cause__, TimeoutError)


@pytest.mark.parametrize("who", ["we", "they"])
async def test_a_server_that_does_not_end_tcp_is_dropped_at_the_deadline(who: str) -> None:
    """RFC 6455 section 7.1.1: the client waits for the server to do that, but not for ever."""
    async with asyncio.timeout(10), open_pair("client", close_timeout=0.1) as (connection, peer):
        if who == "we":
            closing = asyncio.create_task(connection.close())
            await peer.read_frame()
            peer.write_close(1000)
            await closing
        else:
            peer.write_close(1000)
            await connection.wait_closed()
        assert connection.close_code == 1000
        assert isinstance(await _error_of(connection), ConnectionClosedOK)


async def test_a_server_ends_tcp_and_does_not_wait_for_the_client() -> None:
    async with asyncio.timeout(5), open_pair("server", close_timeout=None) as (connection, peer):
        closing = asyncio.create_task(connection.close())
        await peer.read_frame()
        peer.write_close(1000)
        await closing
        assert await peer.read_to_end() == b""


async def test_a_client_waits_for_the_server_to_end_tcp() -> None:
    async with asyncio.timeout(5), open_pair("client") as (connection, peer):
        closing = asyncio.create_task(connection.close())
        await peer.read_frame()
        peer.write_close(1000)
        peer.write_bytes(b"\x81\x01x")  # what follows a CLOSE frame is not looked at
        await turns(10)
        assert connection.state is State.CLOSING
        peer.half_close()
        await closing


async def test_a_reset_is_the_cause(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    reading = asyncio.create_task(connection.recv())
    await parked(reading)
    peer.reset()
    with pytest.raises(ConnectionClosedError, match=r"^no close frame received or sent$") as raised:
        await reading
    assert isinstance(raised.value.__cause__, ConnectionResetError)
    assert (connection.close_code, connection.close_reason) == (1006, "")


async def test_an_end_of_tcp_is_the_cause(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    closing = asyncio.create_task(connection.close())
    await peer.read_frame()
    peer.half_close()
    await closing
    error = await _error_of(connection)
    assert str(error) == "sent 1000 (OK); no close frame received"
    assert isinstance(error, ConnectionClosedError)
    assert isinstance(error.__cause__, EOFError)
    assert connection.close_code == 1006


async def test_every_waiter_wakes_with_the_cause(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    pong = await connection.ping()
    reading = asyncio.create_task(connection.recv())
    waiting = [asyncio.create_task(connection.wait_closed()) for _ in range(3)]
    await parked(reading)
    peer.reset()
    await asyncio.gather(*waiting)
    for waiter in (reading, pong):
        with pytest.raises(ConnectionClosedError) as raised:
            await waiter
        assert isinstance(raised.value.__cause__, ConnectionResetError)
    for late in (connection.recv(), connection.send("x"), connection.ping(), connection.pong()):
        with pytest.raises(ConnectionClosedError) as raised:
            await late
        assert isinstance(raised.value.__cause__, ConnectionResetError)
    await connection.close()
    await connection.wait_closed()


@pytest.mark.parametrize("method", ["close", "wait_closed"])
async def test_waiting_for_the_close_can_be_cancelled(pair: tuple[Connection, RawPeer], method: str) -> None:
    connection, peer = pair
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await getattr(connection, method)()
    assert connection.state is (State.CLOSING if method == "close" else State.OPEN)
    peer.write_close(1000)
    peer.half_close()
    await connection.wait_closed()
    assert connection.close_code == 1000


async def test_the_context_manager_closes_with_1000(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    answering = asyncio.create_task(_answer_close(peer))
    async with connection as entered:
        assert entered is connection
    assert (await answering).close_code == 1000


@pytest.mark.parametrize("exception", [ZeroDivisionError, asyncio.CancelledError])
async def test_the_context_manager_closes_with_1011_after_an_exception(
    pair: tuple[Connection, RawPeer], exception: type[BaseException]
) -> None:
    connection, peer = pair
    answering = asyncio.create_task(_answer_close(peer))
    with pytest.raises(exception):
        async with connection:
            raise exception
    assert (await answering).close_code == 1011


async def test_closing_in_the_middle_of_a_fragmented_message(pair: tuple[Connection, RawPeer]) -> None:
    """Half a message must not look like one that ended well."""
    connection, peer = pair
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await go_on.wait()
        yield "b"

    sending = asyncio.create_task(connection.send(source()))
    assert await peer.read_frame() == Frame(TEXT, b"a", fin=False)
    closing = asyncio.create_task(connection.close(1000, "bye"))
    frame = await peer.read_frame()
    assert (frame.close_code, frame.close_reason) == (1011, "close during fragmented message")
    peer.write_close(1011)
    peer.half_close()
    await closing
    go_on.set()
    with pytest.raises(ConnectionClosedError, match="sent 1011"):
        await sending
    assert await peer.read_to_end() == b""


async def test_the_peer_closes_in_the_middle_of_a_fragmented_message(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    go_on = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await go_on.wait()
        yield "b"

    sending = asyncio.create_task(connection.send(source()))
    await peer.read_frame()
    peer.write_close(1001)
    assert (await peer.read_frame()).close_code == 1001
    go_on.set()
    with pytest.raises(ConnectionClosedOK, match="received 1001"):
        await sending
    peer.half_close()


@pytest.mark.parametrize("seconds", [None, 5])
async def test_messages_of_the_closing_handshake_stay_readable(seconds: float | None, side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, close_timeout=seconds) as (connection, peer):
        closing = asyncio.create_task(connection.close())
        await peer.read_frame()
        for text in "abc":
            peer.write_frame(TEXT, text)
        peer.write_close(1000)
        peer.half_close()
        await closing
        assert [message async for message in connection] == ["a", "b", "c"]


async def test_a_violation_is_told_to_the_peer_and_to_the_reader(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    reading = asyncio.create_task(connection.recv())
    await parked(reading)
    peer.write_frame(TEXT, "x", rsv=2)
    frame = await peer.read_frame()
    assert frame.close_code == 1002
    peer.half_close()
    with pytest.raises(ConnectionClosedError, match=r"sent 1002 .protocol error") as raised:
        await reading
    assert raised.value.sent == Close(1002, frame.close_reason)
    assert isinstance(raised.value.__cause__, ProtocolError)
    assert connection.close_code == 1006


async def _error_of(connection: Connection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as raised:
        await connection.recv()
    return raised.value


async def _is_open(connection: Connection, peer: RawPeer) -> None:
    assert connection.state is State.OPEN
    await connection.send("open")
    assert await peer.read_frame() == Frame(TEXT, b"open")


async def _answer_close(peer: RawPeer) -> Frame:
    frame = await peer.read_frame()
    peer.write_close(frame.close_code)
    peer.half_close()
    return frame
