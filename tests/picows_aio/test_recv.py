"""Receiving: whole messages, fragments and iteration, in every order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, State
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, deadline, open_pair, parked, turns
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, close_payload, encode_frame


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Connection, RawPeer]]:
    async with open_pair(request.param) as opened:
        with deadline(10):
            yield opened


async def test_a_reader_that_was_stepped_by_hand_and_dropped_is_no_reader(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    for make in (connection.recv, connection.__anext__, connection.frames().__anext__):
        operation = make()
        operation.send(None)
        with pytest.raises(ConcurrencyError):
            await connection.recv()
        del operation
        peer.write_frame(TEXT, "x")
        assert await connection.recv() == "x"


async def test_a_recv_of_the_object_is_what_iteration_calls(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    receive = connection.recv

    async def recv() -> str:
        return f"{await receive()}!"

    connection.recv = recv  # type: ignore[method-assign, assignment]
    peer.write_frame(TEXT, "a")
    peer.write_frame(TEXT, "b")
    peer.write_close(1000)
    peer.half_close()
    assert [message async for message in connection] == ["a!", "b!"]


async def test_text_is_str_and_binary_is_bytes(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    for opcode, payload in [(TEXT, "héllo 🎉"), (TEXT, ""), (BINARY, b"\x00\xff"), (BINARY, b"")]:
        peer.write_frame(opcode, payload)
        message = await connection.recv()
        assert message == payload
        assert type(message) is type(payload)


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize(
    ("opcode", "decode", "expected"),
    [
        (TEXT, None, "añb"),
        (TEXT, True, "añb"),
        (TEXT, False, "añb".encode()),
        (BINARY, None, "añb".encode()),
        (BINARY, True, "añb"),
        (BINARY, False, "añb".encode()),
    ],
)
async def test_decode_overrides_the_type(
    pair: tuple[Connection, RawPeer], fragments: int, opcode: int, decode: bool | None, expected: str | bytes
) -> None:
    connection, peer = pair
    for _ in range(2):
        _write_fragments(peer, opcode, "añb".encode(), fragments)
    assert await connection.recv(decode) == expected
    parts = [part async for part in connection.recv_streaming(decode)]
    assert type(parts[0])().join(parts) == expected
    assert len(parts) == fragments
    assert all(type(part) is type(expected) for part in parts)


async def test_fragments_are_joined_and_control_frames_between_them_do_not_matter(
    pair: tuple[Connection, RawPeer],
) -> None:
    connection, peer = pair
    peer.write_frame(TEXT, "a", fin=False)
    peer.write_frame(PING, b"1")
    peer.write_frame(CONTINUATION, b"", fin=False)
    peer.write_frame(PONG, b"unsolicited")
    peer.write_frame(CONTINUATION, "b")
    assert await connection.recv() == "ab"
    assert await peer.read_frame() == Frame(PONG, b"1")


async def test_a_stream_yields_each_fragment_when_it_comes(pair: tuple[Connection, RawPeer]) -> None:
    """RFC 3629: the two octets of é come in different fragments; a str holds whole characters only."""
    connection, peer = pair
    stream = connection.recv_streaming()
    peer.write_frame(TEXT, b"a\xc3", fin=False)
    assert await anext(stream) == "a"
    peer.write_frame(CONTINUATION, b"\xa9", fin=False)
    assert await anext(stream) == "é"
    peer.write_frame(CONTINUATION, b"")
    assert await anext(stream) == ""
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    peer.write_frame(TEXT, "next")
    assert await connection.recv() == "next"


async def test_a_stream_of_a_message_that_waits(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    _write_fragments(peer, BINARY, b"abc", 3)
    peer.write_frame(TEXT, "whole")
    peer.write_frame(BINARY, b"d", fin=False)
    assert await connection.recv(decode=False) == b"abc"
    assert [part async for part in connection.recv_streaming()] == ["whole"]
    stream = connection.recv_streaming()
    assert await anext(stream) == b"d"
    peer.write_frame(CONTINUATION, b"e")
    assert [part async for part in stream] == [b"e"]


async def test_every_way_of_receiving_takes_the_next_message(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    for number in range(50):
        _write_fragments(peer, TEXT, b"%04d" % number, 1 + number % 3)
    received: list[Any] = []
    while len(received) < 50:
        way = len(received) % 4
        if way == 0:
            received.append(await connection.recv())
        elif way == 1:
            received.append("".join([part async for part in connection.recv_streaming()]))
        elif way == 2:
            received.append(await anext(connection))
        else:
            async for message in connection:
                received.append(message)
                break
    assert received == [f"{number:04}" for number in range(50)]


@pytest.mark.parametrize("first", ["recv", "iteration", "stream"])
@pytest.mark.parametrize("second", ["recv", "iteration", "stream"])
async def test_a_second_reader_is_refused_and_the_first_undisturbed(
    pair: tuple[Connection, RawPeer], first: str, second: str
) -> None:
    connection, peer = pair
    reading = asyncio.create_task(_read(connection, first), name="the first reader")
    await parked(reading)
    with pytest.raises(ConcurrencyError, match=r"recv or recv_streaming: the first reader waits$"):
        await _read(connection, second)
    peer.write_frame(TEXT, "x")
    assert await reading == "x"
    peer.write_frame(TEXT, "y")
    assert await _read(connection, second) == "y"


async def test_a_stream_in_the_middle_is_the_only_reader(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    stream = connection.recv_streaming()
    peer.write_frame(TEXT, "a", fin=False)
    assert await anext(stream) == "a"
    with pytest.raises(ConcurrencyError):
        await connection.recv()
    waiting = asyncio.create_task(anext(stream), name="the streaming one")  # type: ignore[arg-type]
    await parked(waiting)
    with pytest.raises(ConcurrencyError, match="the streaming one waits"):
        await anext(connection)
    peer.write_frame(CONTINUATION, "b")
    assert await waiting == "b"
    await stream.aclose()


async def test_a_stream_that_was_left_blocks_receiving(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.write_frame(TEXT, "a", fin=False)
    stream = connection.recv_streaming()
    assert await anext(stream) == "a"
    await stream.aclose()
    peer.write_frame(CONTINUATION, "b")
    for way in ("recv", "iteration", "stream"):
        with pytest.raises(ConcurrencyError, match="was not taken whole"):
            await _read(connection, way)


async def test_a_stream_may_be_left_at_its_last_fragment(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    _write_fragments(peer, TEXT, b"ab", 2)
    peer.write_frame(TEXT, "next")
    stream = connection.recv_streaming()
    assert [await anext(stream), await anext(stream)] == ["a", "b"]
    await stream.aclose()
    assert await connection.recv() == "next"


async def test_cancelling_a_stream_before_the_first_fragment_is_safe(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    waiting = asyncio.create_task(_read(connection, "stream"))
    await parked(waiting)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    peer.write_frame(TEXT, "x")
    assert await connection.recv() == "x"


async def test_messages_stay_readable_after_the_close(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    frames = [encode_frame(TEXT, str(n), key=b"\0\0\0\0" if peer.is_client else None) for n in range(5)]
    peer.write_bytes(b"".join(frames))
    peer.write_close(1001)
    peer.half_close()
    await connection.wait_closed()
    assert connection.state is State.CLOSED
    assert [await connection.recv() for _ in range(2)] == ["0", "1"]
    assert [message async for message in connection] == ["2", "3", "4"]
    with pytest.raises(ConnectionClosedOK, match=r"received 1001 \(going away\); then sent 1001 \(going away\)"):
        await connection.recv()


@pytest.mark.parametrize("with_close", [True, False])
async def test_a_parked_reader_gets_what_came_with_the_close_at_once(with_close: bool) -> None:
    """A peer that then keeps TCP open must not keep the messages back."""
    async with asyncio.timeout(5), open_pair("client", close_timeout=None) as (connection, peer):
        reading = asyncio.create_task(connection.recv())
        await parked(reading)
        close = encode_frame(CLOSE, close_payload(1000)) if with_close else b""
        peer.write_bytes(encode_frame(TEXT, "x") + encode_frame(TEXT, "y") + close)
        assert await reading == "x"
        assert await connection.recv() == "y"


@pytest.mark.parametrize("code", [None, 1000, 1001])
async def test_iteration_ends_quietly(pair: tuple[Connection, RawPeer], code: int | None) -> None:
    connection, peer = pair
    peer.write_frame(TEXT, "x")
    peer.write_close(code)
    peer.half_close()
    assert [message async for message in connection] == ["x"]
    assert [message async for message in connection] == []
    assert connection.close_code == (code or 1005)
    with pytest.raises(StopAsyncIteration):
        await anext(connection)


@pytest.mark.parametrize("code", [1002, 1011, 3000, 4999])
async def test_iteration_raises_on_any_other_code(pair: tuple[Connection, RawPeer], code: int) -> None:
    connection, peer = pair
    peer.write_frame(TEXT, "x")
    peer.write_close(code, "why")
    peer.half_close()
    received: list[Any] = []
    with pytest.raises(ConnectionClosedError, match=f"received {code} .*why; then sent {code} .*why"):
        await _collect(connection, received)
    assert received == ["x"]
    assert (connection.close_code, connection.close_reason) == (code, "why")


async def test_iteration_raises_when_tcp_is_cut(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.half_close()
    with pytest.raises(ConnectionClosedError, match="no close frame received or sent") as raised:
        await _collect(connection, [])
    assert isinstance(raised.value.__cause__, EOFError)


async def test_iteration_can_be_resumed(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    for text in "abc":
        peer.write_frame(TEXT, text)
    async for message in connection:
        assert message == "a"
        break
    async for message in connection:
        assert message == "b"
        break
    assert await connection.recv() == "c"


async def test_a_subclass_that_overrides_recv_is_iterated_through_it() -> None:
    from picows_aio import ClientConnection

    class Shouting(ClientConnection):
        async def recv(self, decode: bool | None = None) -> Any:
            return (await super().recv(decode)).upper()

    async with asyncio.timeout(10), open_pair("client", create_connection=Shouting) as (connection, peer):
        for text in "ab":
            peer.write_frame(TEXT, text)
        peer.write_close(1000)
        peer.half_close()
        assert [message async for message in connection] == ["A", "B"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_cannot_be_decoded_closes_with_1007(pair: tuple[Connection, RawPeer], streaming: bool) -> None:
    connection, peer = pair
    peer.write_frame(BINARY, b"ok\xff")
    reading = asyncio.create_task(_take_all(connection.recv_streaming(True)) if streaming else connection.recv(True))
    frame = await peer.read_frame()
    assert (frame.close_code, frame.close_reason) == (1007, "invalid start byte at position 2")
    peer.write_close(1007)
    peer.half_close()
    with pytest.raises(ConnectionClosedError) as raised:
        await reading
    assert isinstance(raised.value.__cause__, UnicodeDecodeError)


async def test_a_message_that_was_cut_off_is_not_received(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.write_frame(TEXT, "whole")
    peer.write_frame(TEXT, "ha", fin=False)
    peer.half_close()
    assert await connection.recv() == "whole"
    with pytest.raises(ConnectionClosedError):
        await connection.recv()
    stream = connection.recv_streaming()
    assert await anext(stream) == "ha"
    with pytest.raises(ConnectionClosedError):
        await anext(stream)
    with pytest.raises(ConnectionClosedError):
        await connection.recv()


@pytest.mark.asyncio(loop_factories=["asyncio"])  # libuv reads a socket up to 32 times in a turn
async def test_a_reader_cannot_starve_the_loop(pair: tuple[Connection, RawPeer]) -> None:
    """At most what one read brought is handed out in one turn of the loop, however fast it is consumed."""
    connection, peer = pair
    frame = encode_frame(BINARY, bytes(58), key=b"1234" if peer.is_client else None)
    peer.write_bytes(frame * 20_000)
    most = in_this_turn = received = 0

    def new_turn() -> None:
        nonlocal in_this_turn
        in_this_turn = 0
        if received < 20_000:
            asyncio.get_running_loop().call_soon(new_turn)

    new_turn()
    while received < 20_000:
        await connection.recv()
        received += 1
        in_this_turn += 1
        most = max(most, in_this_turn)
    # A read of tiny messages brings at most 64 KiB; two can meet in one turn: what was held back, and a new one.
    assert most <= 2 * 65536 // len(frame) + 17
    await turns(2)


def _write_fragments(peer: RawPeer, opcode: int, payload: bytes, count: int) -> None:
    """A message in so many frames, all but the last of one octet."""
    for index in range(count - 1):
        peer.write_frame(opcode if index == 0 else CONTINUATION, payload[index : index + 1], fin=False)
    peer.write_frame(opcode if count == 1 else CONTINUATION, payload[count - 1 :])


async def _read(connection: Connection, way: str) -> Any:
    if way == "recv":
        return await connection.recv()
    if way == "iteration":
        return await anext(connection)
    return "".join([part async for part in connection.recv_streaming()])


async def _collect(connection: Connection, received: list[Any]) -> None:
    async for message in connection:
        received.append(message)


async def _take_all(iterator: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in iterator]
