"""Sending: every kind of message, fragments, turns, and limits."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from picows_aio import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, State
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import SIDES, deadline, open_pair, parked, turns
from tests.picows_aio.pushing import NarrowPair
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer

MESSAGES: list[tuple[Any, int, bytes]] = [
    ("héllo", TEXT, "héllo".encode()),
    ("", TEXT, b""),
    (b"\x00\xff", BINARY, b"\x00\xff"),
    (b"", BINARY, b""),
    (bytearray(b"ab"), BINARY, b"ab"),
    (memoryview(b"abc"), BINARY, b"abc"),
    (memoryview(b"abcdef")[::2], BINARY, b"ace"),
    (memoryview(b"abcdefgh").cast("I"), BINARY, b"abcdefgh"),
    ("x" * 70_000, TEXT, b"x" * 70_000),
    (b"y" * 70_000, BINARY, b"y" * 70_000),
]


@pytest.fixture(params=SIDES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Connection, RawPeer]]:
    async with open_pair(request.param) as opened:
        with deadline(10):
            yield opened


@pytest.mark.parametrize(("message", "opcode", "payload"), MESSAGES, ids=repr)
async def test_the_type_chooses_the_opcode_and_text_overrides_it(
    pair: tuple[Connection, RawPeer], message: Any, opcode: int, payload: bytes
) -> None:
    connection, peer = pair
    for text, expected in [(None, opcode), (True, TEXT), (False, BINARY)]:
        await connection.send(message, text=text)
        assert await peer.read_frame() == Frame(expected, payload)


@pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
@pytest.mark.parametrize(
    ("parts", "opcode"),
    [(["a", "", "é"], TEXT), ([b"a", bytearray(b"b"), memoryview(b"c")], BINARY), (["only"], TEXT), ([b""], BINARY)],
)
async def test_an_iterable_is_one_message_in_fragments(
    pair: tuple[Connection, RawPeer], is_async: bool, parts: list[Any], opcode: int
) -> None:
    """RFC 6455 section 5.4. The last frame is empty: only the end of the source tells that it is the end."""
    connection, peer = pair
    for text, expected in [(None, opcode), (True, TEXT), (False, BINARY)]:
        await connection.send(_as_async(parts) if is_async else parts, text=text)
        for index, part in enumerate(parts):
            payload = part.encode() if isinstance(part, str) else bytes(part)
            frame = await peer.read_frame()
            assert frame == Frame(CONTINUATION if index else expected, payload, fin=False)
        assert await peer.read_frame() == Frame(CONTINUATION, b"")


@pytest.mark.parametrize("empty", [[], (), iter([]), {"a"} - {"a"}], ids=str)
async def test_an_empty_iterable_sends_nothing(pair: tuple[Connection, RawPeer], empty: Any) -> None:
    connection, peer = pair
    await connection.send(empty)
    await connection.send(_as_async([]))
    await connection.send("next")
    assert await peer.read_frame() == Frame(TEXT, b"next")


@pytest.mark.parametrize("message", [None, 1, 1.5, object(), {"a": 1}, {}, [1], [None], [["a"]], [{}]], ids=repr)
async def test_any_other_type_is_an_error_and_nothing_is_sent(pair: tuple[Connection, RawPeer], message: Any) -> None:
    connection, peer = pair
    with pytest.raises(TypeError):
        await connection.send(message)
    if isinstance(message, list):
        with pytest.raises(TypeError):
            await connection.send(_as_async(message))
    assert connection.state is State.OPEN
    await connection.send("next")
    assert await peer.read_frame() == Frame(TEXT, b"next")


async def test_text_that_has_no_utf8_is_an_error_and_nothing_is_sent(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    with pytest.raises(UnicodeEncodeError):
        await connection.send("\ud800")
    await connection.send("next")
    assert await peer.read_frame() == Frame(TEXT, b"next")


@pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
@pytest.mark.parametrize("second", ["bytes", "int", "raises"])
async def test_a_source_that_fails_in_the_middle_closes_with_1011(
    pair: tuple[Connection, RawPeer], is_async: bool, second: str
) -> None:
    """Half a message was sent, and nothing can end it as a message that the peer may use."""
    connection, peer = pair

    def source() -> Iterator[Any]:
        yield "a"
        if second == "raises":
            raise ZeroDivisionError
        yield b"b" if second == "bytes" else 1

    with pytest.raises(ZeroDivisionError if second == "raises" else TypeError):
        await connection.send(_as_async(source()) if is_async else source())
    assert await peer.read_frame() == Frame(TEXT, b"a", fin=False)
    frame = await peer.read_frame()
    assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, 1011, "error in fragmented message")
    peer.write_close(1011)
    peer.half_close()
    with pytest.raises(ConnectionClosedError, match="sent 1011"):
        await connection.recv()


async def test_a_source_that_fails_at_once_sends_nothing(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair

    def source() -> Iterator[str]:
        raise ZeroDivisionError
        yield

    for message in (source(), _as_async(source())):
        with pytest.raises(ZeroDivisionError):
            await connection.send(message)
    await connection.send("next")
    assert await peer.read_frame() == Frame(TEXT, b"next")


async def test_concurrent_sends_wait_for_a_fragmented_one_in_order(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    source = _Queue()
    first = asyncio.create_task(connection.send(source))
    source.put("1a")
    assert await peer.read_frame() == Frame(TEXT, b"1a", fin=False)
    others = [asyncio.create_task(connection.send(message)) for message in ("2", ["3a", "3b"], b"4", ["5"], "6")]
    await turns(3)
    source.put("1b")
    assert await peer.read_frame() == Frame(CONTINUATION, b"1b", fin=False)
    assert not any(task.done() for task in others)
    source.end()
    assert await peer.read_frame() == Frame(CONTINUATION, b"")
    await asyncio.gather(first, *others)
    frames = [await peer.read_frame() for _ in range(8)]
    assert [frame.payload for frame in frames] == [b"2", b"3a", b"3b", b"", b"4", b"5", b"", b"6"]


async def test_a_slow_source_holds_nobody_up_before_its_first_fragment(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    source = _Queue()
    slow = asyncio.create_task(connection.send(source))
    await parked(slow)
    await connection.send("meanwhile")
    assert await peer.read_frame() == Frame(TEXT, b"meanwhile")
    source.put("late")
    source.end()
    await slow
    assert await peer.read_frame() == Frame(TEXT, b"late", fin=False)


async def test_control_frames_go_between_fragments(pair: tuple[Connection, RawPeer]) -> None:
    """RFC 6455 section 5.4."""
    connection, peer = pair
    source = _Queue()
    sending = asyncio.create_task(connection.send(source))
    source.put("a")
    assert await peer.read_frame() == Frame(TEXT, b"a", fin=False)
    pong = await connection.ping(b"p")
    assert await peer.read_frame() == Frame(PING, b"p")
    await connection.pong(b"q")
    assert await peer.read_frame() == Frame(PONG, b"q")
    peer.write_frame(PONG, b"p")
    peer.write_frame(PING, b"r")
    assert await peer.read_frame() == Frame(PONG, b"r")
    await pong
    source.put("b")
    source.end()
    await sending
    assert await peer.read_frame() == Frame(CONTINUATION, b"b", fin=False)
    assert await peer.read_frame() == Frame(CONTINUATION, b"")


async def test_one_of_those_that_wait_can_be_cancelled(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    source = _Queue()
    first = asyncio.create_task(connection.send(source))
    source.put("1")
    await peer.read_frame()
    others = [asyncio.create_task(connection.send(str(number))) for number in range(2, 6)]
    await turns(2)
    others[0].cancel()
    others[2].cancel()
    source.end()
    await first
    await asyncio.wait(others)
    assert [task.cancelled() for task in others] == [True, False, True, False]
    assert [(await peer.read_frame()).payload for _ in range(3)] == [b"", b"3", b"5"]


@pytest.mark.parametrize("seed", range(20))
async def test_cancellations_at_any_turn_lose_no_turn(seed: int) -> None:
    """Whoever is cancelled after its turn came hands it on."""
    choose = random.Random(seed)
    async with asyncio.timeout(10), open_pair("client") as (connection, peer):
        tasks: list[asyncio.Task[None]] = []
        whole: list[asyncio.Task[None]] = []
        for number in range(40):
            if number % 3:
                whole.append(asyncio.create_task(connection.send(str(number))))
                tasks.append(whole[-1])
            else:
                tasks.append(asyncio.create_task(connection.send(_slowly(["a", "b"]))))
            await turns(choose.randrange(3))
            if whole and choose.random() < 0.5:
                choose.choice(whole[-4:]).cancel()
        await asyncio.wait(tasks)
        await connection.send("end")
        while (await peer.read_frame()).payload != b"end":
            pass
        assert all(task.cancelled() or task.exception() is None for task in tasks)


async def test_send_waits_while_the_peer_does_not_read() -> None:
    async with asyncio.timeout(20), _stalled() as (connection, peer):
        sent, message = 0, bytes(16384)
        while True:
            sending = asyncio.create_task(connection.send(message))
            await turns(2)
            sent += 1
            if not sending.done():
                break
        assert connection.transport.get_write_buffer_size() <= 65536 + len(message) + 14
        assert len(await peer.read_bytes(sent * len(message))) == sent * len(message)
        await sending


@pytest.mark.parametrize("coalesce", [True, False])
async def test_send_waits_above_write_limit_whatever_it_gathers(narrow_pair: NarrowPair, coalesce: bool) -> None:
    async with asyncio.timeout(20), narrow_pair(write_limit=2048, coalesce=coalesce) as (connection, peer):
        sent, message = 0, bytes(200)

        async def send_on() -> None:
            nonlocal sent
            while True:
                await connection.send(message)
                sent += 1

        sending = asyncio.create_task(send_on())
        await parked(sending)
        assert 2048 < connection.core_transport.get_write_buffer_size() <= 2048 + 2 * len(message)
        sending.cancel()
        for _ in range(sent):
            assert (await peer.read_frame()).payload == message


async def test_a_hundred_senders_fill_the_buffer_once() -> None:
    """Those that come when it is full wait before they add to it, and are served in order."""
    async with asyncio.timeout(20), _stalled() as (connection, peer):
        payloads = [b"%05d" % number + bytes(32768) for number in range(100)]
        tasks = [asyncio.create_task(connection.send(payload)) for payload in payloads]
        await turns(5)
        assert connection.transport.get_write_buffer_size() <= 65536 + 32768 + 100
        received = [(await peer.read_frame()).payload for _ in payloads]
        assert received == payloads
        await asyncio.gather(*tasks)


async def test_senders_take_turns() -> None:
    """One that sends again at once comes after those that wait already."""
    async with asyncio.timeout(20), _stalled() as (connection, peer):

        async def send_many(name: int) -> None:
            for number in itertools.count():
                await connection.send(b"%d %06d" % (name, number) + bytes(32768))

        tasks = [asyncio.create_task(send_many(name)) for name in range(4)]
        counts = dict.fromkeys(range(4), 0)
        for _ in range(400):
            counts[int((await peer.read_frame()).payload[:1])] += 1
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert min(counts.values()) > 80


async def test_a_cancelled_send_that_waited_sent_nothing() -> None:
    async with asyncio.timeout(20), _stalled() as (connection, peer):
        sent = 0
        filling = asyncio.create_task(connection.send(bytes(32768)))
        while filling.done() or not await _is_stuck(filling):
            sent += 1
            filling = asyncio.create_task(connection.send(bytes(32768)))
        before = connection.transport.get_write_buffer_size()
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await connection.send(bytes(32768))
        assert connection.transport.get_write_buffer_size() == before
        for _ in range(sent + 1):
            assert (await peer.read_frame()).opcode == BINARY
        await filling
        await connection.send("after")
        assert await peer.read_frame() == Frame(TEXT, b"after")


async def test_pings_wait_too_while_the_peer_does_not_read() -> None:
    async with asyncio.timeout(20), _stalled() as (connection, peer):
        filling = asyncio.create_task(connection.send(bytes(4_000_000)))
        await parked(filling)
        before = connection.transport.get_write_buffer_size()
        tasks = [asyncio.create_task(connection.ping()) for _ in range(50)]
        tasks += [asyncio.create_task(connection.pong()) for _ in range(50)]
        await turns(3)
        assert connection.transport.get_write_buffer_size() == before
        await peer.read_frame()
        await filling
        await asyncio.gather(*tasks)
        assert {(await peer.read_frame()).opcode for _ in tasks} == {PING, PONG}


async def test_whoever_waits_to_send_is_told_that_the_connection_is_gone() -> None:
    async with asyncio.timeout(20), _stalled() as (connection, peer):
        source = _Queue()
        fragments = asyncio.create_task(connection.send(source))
        source.put(bytes(4_000_000))
        await parked(fragments)
        others = [asyncio.create_task(connection.send(message)) for message in ("a", ["b"])]
        others.append(asyncio.create_task(connection.ping()))
        await turns(3)
        peer.reset()
        for task in (fragments, *others):
            with pytest.raises(ConnectionClosedError) as raised:
                await task
            assert isinstance(raised.value.__cause__, (OSError, EOFError))


async def test_a_closed_connection_sends_nothing(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.write_close(1001, "bye")
    peer.half_close()
    await connection.wait_closed()
    for message in ("x", b"x", ["x"], _as_async(["x"])):
        with pytest.raises(ConnectionClosedOK, match="received 1001"):
            await connection.send(message)


async def test_what_is_sent_while_closing_is_told_how_it_ended(pair: tuple[Connection, RawPeer]) -> None:
    """Not that no close frame was received, which is only true until one is."""
    connection, peer = pair
    closing = asyncio.create_task(connection.close(1000, "bye"))
    assert (await peer.read_frame()).close_code == 1000
    late = [asyncio.create_task(connection.send(message)) for message in ("x", ["x"])]
    late += [asyncio.create_task(connection.ping()), asyncio.create_task(connection.pong())]
    await turns(3)
    peer.write_close(1000, "bye yourself")
    peer.half_close()
    for task in late:
        with pytest.raises(ConnectionClosedOK, match=r"sent 1000 .*bye; then received 1000 .*bye yourself"):
            await task
    await closing


async def test_nothing_is_sent_after_a_violation_of_the_peer(pair: tuple[Connection, RawPeer]) -> None:
    connection, peer = pair
    peer.write_frame(3)
    assert (await peer.read_frame()).close_code == 1002
    assert connection.state is State.CLOSING
    sending = asyncio.create_task(connection.send("lost"))
    peer.half_close()
    with pytest.raises(ConnectionClosed, match="sent 1002"):
        await sending


def _stalled() -> Any:
    """A client whose peer takes little before it reads."""
    return open_pair("client", send_buffer_size=8192, receive_buffer_size=8192, ping_interval=None)


async def _is_stuck(task: asyncio.Task[None]) -> bool:
    await turns(3)
    return not task.done()


async def _as_async(items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _slowly(items: Any) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


class _Queue:
    """An asynchronous iterable that the test fills."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: Any) -> None:
        self._items.put_nowait((item,))

    def end(self) -> None:
        self._items.put_nowait(None)

    def __aiter__(self) -> "_Queue":
        return self

    async def __anext__(self) -> Any:
        item = await self._items.get()
        if item is None:
            raise StopAsyncIteration
        return item[0]
