"""`StreamListener`: streams over the callback core, on every kind of link."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport
from picows_aio import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
    Stream,
    StreamListener,
    TooManyFragments,
)
from tests.picows_aio.pairs import parked, turns
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT, Frame, close_payload, encode_frame
from tests.support.raw_peer import switching_fields
from tests.support.recorder import Accepted
from tests.support.wire import encode_head


async def test_messages_go_to_every_stream(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer):
        first = listener.stream()
        second = listener.stream(filter=lambda message: isinstance(message, str))
        async with first, second:
            peer.write_frame(TEXT, "héllo")
            peer.write_frame(BINARY, b"\x00\xff")
            peer.write_frame(TEXT, "")
            assert [await first.recv() for _ in range(3)] == ["héllo", b"\x00\xff", ""]
            assert [await second.recv() for _ in range(2)] == ["héllo", ""]
            assert (second.received, second.delivered, second.filtered) == (3, 2, 1)


async def test_a_consumer_that_waits_runs_when_the_message_comes(connect_raw: Any) -> None:
    async with (
        asyncio.timeout(10),
        connect_raw(StreamListener) as (transport, listener, peer),
        listener.stream() as stream,
    ):
        for number in range(20):
            receiving = asyncio.create_task(stream.recv())
            await parked(receiving)
            peer.write_frame(TEXT, str(number))
            transport.send(WSMsgType.TEXT, await receiving)
            assert await peer.read_frame() == Frame(TEXT, b"%d" % number)


async def test_what_comes_before_the_first_stream_is_in_it(connect_raw: Any) -> None:
    """One message is kept, and the others are not read."""
    async with asyncio.timeout(20), connect_raw(StreamListener) as (transport, listener, peer):
        for number in range(200):
            peer.write_frame(BINARY, b"%08d" % number + bytes(60_000))
        draining = asyncio.create_task(peer.drain())
        await turns(50)
        assert not draining.done()
        assert transport.stats().frames_received == 1
        async with listener.stream() as stream:
            for number in range(200):
                assert (await stream.recv())[:8] == b"%08d" % number
        await draining


async def test_messages_that_come_with_the_response_are_not_lost(raw_server: Any, connect: Any) -> None:
    async with asyncio.timeout(10), raw_server() as server, asyncio.TaskGroup() as group:
        accepting = group.create_task(_accept_and_send(server, b"".join(encode_frame(TEXT, text) for text in "abc")))
        async with connect(server, StreamListener) as (_, listener):
            peer = await accepting
            async with listener.stream() as stream:
                assert [await stream.recv() for _ in range(3)] == ["a", "b", "c"]
            peer.close()


async def test_what_comes_while_no_stream_is_open_is_in_the_next(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (transport, listener, peer):
        async with listener.stream() as stream:
            peer.write_frame(TEXT, "1")
            assert await stream.recv() == "1"
        peer.write_frame(TEXT, "2")
        peer.write_frame(TEXT, "3")
        await peer.drain()
        await turns(20)
        assert transport.stats().frames_received == 2
        async with listener.stream() as stream:
            assert await stream.recv() == "2"
            assert await stream.recv() == "3"


async def test_a_peer_that_goes_is_noticed_without_a_stream(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (transport, listener, peer):
        peer.write_close(1000)
        peer.half_close()
        await transport.wait_disconnected()
        with pytest.raises(ConnectionClosedOK):
            listener.stream()


async def test_a_stream_with_close_does_not_wait_for_one_that_blocks(connect_raw: Any) -> None:
    """The peer's CLOSE frame comes behind what nobody takes, and is found all the same."""
    async with (
        asyncio.timeout(8),
        connect_raw(StreamListener) as (transport, listener, peer),
        listener.stream(maxsize=2),
        listener.stream(overflow="close", maxsize=1) as closing,
    ):
        for text in "1234":
            peer.write_frame(TEXT, text)
        assert (await peer.read_frame()).opcode == CLOSE
        peer.write_close(1000)
        peer.half_close()
        assert await closing.recv() == "1"
        await transport.wait_disconnected()


async def test_fragments_are_put_together_and_control_frames_are_left_to_the_core(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer), listener.stream() as stream:
        peer.write_frame(TEXT, b"h\xc3", fin=False)
        peer.write_frame(PING, b"1")
        peer.write_frame(CONTINUATION, b"\xa9", fin=False)
        peer.write_frame(CONTINUATION)
        peer.write_frame(BINARY, fin=False)
        peer.write_frame(CONTINUATION, b"x")
        assert [await stream.recv(), await stream.recv()] == ["hé", b"x"]
        assert await peer.read_frame() == Frame(PONG, b"1")


async def test_every_policy_works_and_block_holds_the_peer_back(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (transport, listener, peer):
        async with listener.stream(overflow="latest", key=lambda message: message[0]) as latest:
            for number in range(30):
                peer.write_frame(TEXT, f"{'ab'[number % 2]}{number}")
            peer.write_frame(PING, b"after")
            assert await peer.read_frame() == Frame(PONG, b"after")
            assert [await latest.recv(), await latest.recv()] == ["a28", "b29"]
            assert latest.dropped == 28
        async with listener.stream(maxsize=4) as blocking:
            for number in range(30):
                peer.write_frame(TEXT, str(number))
            while len(blocking) < 4:
                await turns()
            await turns(20)
            assert transport.stats().frames_received == 31 + 4
            assert [await blocking.recv() for _ in range(30)] == [*map(str, range(30))]


async def test_a_stream_that_overflows_closes_a_client_with_1008(connect_raw: Any) -> None:
    """RFC 6455 section 7.4.1: 1008 is for what breaks a policy."""
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer):
        stream = listener.stream(maxsize=2, overflow="close", name="orders")
        for number in range(3):
            peer.write_frame(TEXT, str(number))
        frame = await peer.read_frame()
        assert (frame.close_code, frame.payload[2:]) == (1008, b"stream orders is full")
        peer.write_close(1008)
        peer.close()
        assert [await stream.recv(), await stream.recv()] == ["0", "1"]
        with pytest.raises(ConnectionClosedError, match="sent 1008"):
            await stream.recv()
        await stream.aclose()


@pytest.mark.links("plain", "unix")
async def test_a_stream_that_overflows_closes_a_server_with_1013(serve: Any, raw_peer: Any) -> None:
    accepted = Accepted(StreamListener)
    async with asyncio.timeout(10), serve(accepted) as endpoint, raw_peer(endpoint) as peer:
        listener = await accepted.next()
        async with listener.stream(max_bytes=10, overflow="close") as stream:
            peer.write_frame(BINARY, bytes(8))
            peer.write_frame(BINARY, bytes(3))
            assert (await peer.read_frame()).close_code == 1013
            assert len(await stream.recv()) == 8
            peer.write_close(1013)
            with pytest.raises(ConnectionClosedError, match="sent 1013"):
                await stream.recv()


# The end of the connection


@pytest.mark.parametrize("code", [None, 1000, 1001])
async def test_a_normal_close_ends_the_iteration(connect_raw: Any, code: int | None) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer), listener.stream() as stream:
        peer.write_frame(TEXT, "last")
        peer.write_close(code)
        assert (await peer.read_frame()).opcode == CLOSE
        peer.close()
        assert [message async for message in stream] == ["last"]
        with pytest.raises(ConnectionClosedOK):
            await stream.recv()
        with pytest.raises(ConnectionClosedOK):
            listener.stream()


async def test_an_abnormal_close_is_raised(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer), listener.stream() as stream:
        peer.write_frame(TEXT, "last")
        peer.write_close(4001, "bad day")
        peer.half_close()
        assert await stream.recv() == "last"
        with pytest.raises(ConnectionClosedError, match=r"received 4001 \(private use\) bad day"):
            await anext(stream)


async def test_a_lost_connection_is_raised_with_its_cause(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer), listener.stream() as stream:
        receiving = asyncio.create_task(stream.recv())
        await parked(receiving)
        peer.close()
        with pytest.raises(ConnectionClosedError, match="no close frame received or sent") as caught:
            await receiving
        assert isinstance(caught.value.__cause__, EOFError | OSError)


async def test_what_came_with_the_close_frame_need_not_wait_for_the_end_of_tcp(connect_raw: Any) -> None:
    """A client lets the server end TCP; one that takes its time must not hold messages back."""
    async with (
        asyncio.timeout(10),
        connect_raw(StreamListener) as (transport, listener, peer),
        listener.stream() as stream,
    ):
        receiving = asyncio.create_task(stream.recv())
        await parked(receiving)
        peer.write_bytes(encode_frame(TEXT, "last") + encode_frame(CLOSE, close_payload(1000)))
        assert await receiving == "last"
        assert not transport.is_disconnected
        peer.close()


async def test_every_consumer_learns_of_the_end(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer):
        streams = [listener.stream(name=f"number {number}") for number in range(3)]
        consumers = [asyncio.create_task(_collect(stream)) for stream in streams]
        for consumer in consumers:
            await parked(consumer)
        peer.write_frame(TEXT, "x")
        peer.write_close(1000)
        peer.half_close()
        assert await asyncio.gather(*consumers) == [["x"]] * 3
        for stream in streams:
            await stream.aclose()


# Violations


@dataclass
class Violation:
    """Frames, what becomes of them, and what they need to be a violation.

    Attributes:
        frames: What the peer writes.
        code: Close code that it gets.
        cause: Why the stream ended.
        max_size: Of the listener.
        options: Of the connection.
    """

    frames: list[bytes]
    code: int
    cause: type[BaseException]
    max_size: int | None = 100
    options: dict[str, Any] = field(default_factory=dict)


VIOLATIONS = {
    "invalid text": Violation([encode_frame(TEXT, b"\xff")], 1007, UnicodeDecodeError),
    "invalid text that the core checks": Violation(
        [encode_frame(TEXT, b"\xff")], 1007, UnicodeDecodeError, options={"validate_utf8": True}
    ),
    "invalid text in fragments": Violation(
        [encode_frame(TEXT, b"\xc3", fin=False), encode_frame(CONTINUATION, b"\xc3")], 1007, UnicodeDecodeError
    ),
    "stray continuation": Violation([encode_frame(CONTINUATION, b"x")], 1002, ProtocolError),
    "message inside a message": Violation(
        [encode_frame(TEXT, b"x", fin=False), encode_frame(TEXT, b"y")], 1002, ProtocolError
    ),
    "reserved bit": Violation(
        [encode_frame(TEXT, b"x", rsv=RSV1)], 1002, ProtocolError, options={"allowed_rsv": ("rsv1",)}
    ),
    "reserved bit that the core checks": Violation(
        [encode_frame(TEXT, b"x", rsv=RSV1)], 1002, ProtocolError, options={"strict": True}
    ),
    "message too large": Violation([encode_frame(BINARY, bytes(101))], 1009, PayloadTooBig),
    "text too large": Violation([encode_frame(TEXT, bytes(101))], 1009, PayloadTooBig),
    "fragments too large": Violation(
        [encode_frame(BINARY, bytes(60), fin=False), encode_frame(CONTINUATION, bytes(41))], 1009, PayloadTooBig
    ),
    "flood of empty fragments": Violation(
        [encode_frame(BINARY, b"", fin=False), *[encode_frame(CONTINUATION, b"", fin=False)] * 1100],
        1009,
        TooManyFragments,
    ),
    "frame too large": Violation(
        [encode_frame(BINARY, bytes(101))], 1009, PayloadTooBig, None, {"max_frame_size": 100}
    ),
}


@pytest.mark.links("plain")
@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_a_violation_closes_and_what_came_before_stays(connect_raw: Callable[..., Any], violation: str) -> None:
    case = VIOLATIONS[violation]
    options = {"strict": False, "validate_utf8": False} | case.options
    async with asyncio.timeout(10), connect_raw(lambda: StreamListener(case.max_size), **options) as opened:
        _, listener, peer = opened
        async with listener.stream() as stream:
            receiving = asyncio.create_task(stream.recv())
            await parked(receiving)
            peer.write_bytes(encode_frame(TEXT, b"before") + b"".join(case.frames))
            assert await receiving == "before"
            assert (await peer.read_frame()).close_code == case.code
            peer.close()
            with pytest.raises(ConnectionClosedError, match=f"sent {case.code}") as caught:
                await stream.recv()
            assert isinstance(caught.value.__cause__, case.cause)


@pytest.mark.links("plain")
async def test_messages_of_max_size_pass_and_none_is_no_limit(connect_raw: Any) -> None:
    async with (
        asyncio.timeout(10),
        connect_raw(lambda: StreamListener(100)) as (_, listener, peer),
        listener.stream() as stream,
    ):
        peer.write_frame(BINARY, bytes(100))
        peer.write_frame(TEXT, "x" * 60, fin=False)
        peer.write_frame(CONTINUATION, "x" * 40)
        assert [await stream.recv(), await stream.recv()] == [bytes(100), "x" * 100]
    async with (
        asyncio.timeout(10),
        connect_raw(lambda: StreamListener(None)) as (_, listener, peer),
        listener.stream() as stream,
    ):
        peer.write_frame(BINARY, bytes(2**20), fin=False)
        peer.write_frame(CONTINUATION, bytes(2**20), fin=False)
        peer.write_frame(CONTINUATION, bytes(2**20 + 1))
        assert len(await stream.recv()) == 3 * 2**20 + 1


@pytest.mark.parametrize(
    ("max_size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("x", TypeError), (True, TypeError)]
)
async def test_other_limits_are_refused(max_size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_size must be"):
        StreamListener(max_size)


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        StreamListener()


# Subclasses


class Service(StreamListener):
    """A listener of a server that consumes its own messages."""

    task: asyncio.Task[None]

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self.task = asyncio.create_task(self._serve(transport))

    async def _serve(self, transport: WSTransport) -> None:
        async with self.stream() as stream:
            async for message in stream:
                transport.send(WSMsgType.TEXT, f"{message}, too")


async def test_a_listener_of_a_server_starts_its_consumer(serve: Any, raw_peer: Any) -> None:
    accepted = Accepted(Service)
    async with asyncio.timeout(10), serve(accepted) as endpoint, raw_peer(endpoint) as peer:
        peer.write_frame(TEXT, "hello")
        assert await peer.read_frame() == Frame(TEXT, b"hello, too")
        peer.write_frame(TEXT, "and ", fin=False)
        peer.write_frame(CONTINUATION, "this")
        assert await peer.read_frame() == Frame(TEXT, b"and this, too")
        peer.write_close(1000)
        assert (await peer.read_frame()).close_code == 1000
        listener = await accepted.next()
        await listener.task


async def test_a_subclass_sees_every_frame_first(connect_raw: Any) -> None:
    class Counting(StreamListener):
        def __init__(self) -> None:
            super().__init__(max_size=1000)
            self.seen: list[int] = []

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            self.seen.append(int(frame.msg_type))
            super().on_ws_frame(transport, frame)

    async with asyncio.timeout(10), connect_raw(Counting) as (_, listener, peer), listener.stream() as stream:
        peer.write_frame(TEXT, "a", fin=False)
        peer.write_frame(CONTINUATION, "b")
        peer.write_frame(BINARY, b"c")
        assert [await stream.recv(), await stream.recv()] == ["ab", b"c"]
        assert listener.seen == [TEXT, CONTINUATION, BINARY]


async def test_streams_may_be_opened_before_the_connection_is(connect_raw: Any) -> None:
    class Eager(StreamListener):
        def __init__(self) -> None:
            super().__init__()
            self.messages = self.stream(name="eager")

    async with asyncio.timeout(10), connect_raw(Eager) as (_, listener, peer), listener.messages as stream:
        peer.write_frame(TEXT, "x")
        assert await stream.recv() == "x"


async def test_a_stream_has_one_consumer(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer), listener.stream() as stream:
        receiving = asyncio.create_task(stream.recv(), name="the first")
        await parked(receiving)
        with pytest.raises(ConcurrencyError, match="the first waits"):
            await stream.recv()
        peer.write_frame(TEXT, "x")
        assert await receiving == "x"


async def test_what_a_filter_raises_ends_its_stream_alone(connect_raw: Any) -> None:
    async with (
        asyncio.timeout(10),
        connect_raw(StreamListener) as (_, listener, peer),
        listener.stream(filter=int) as numbers,
        listener.stream() as everything,
    ):
        peer.write_frame(TEXT, "1")
        peer.write_frame(TEXT, "x")
        peer.write_frame(TEXT, "2")
        assert [await everything.recv() for _ in range(3)] == ["1", "x", "2"]
        assert await numbers.recv() == "1"
        with pytest.raises(ValueError, match="'x'"):
            await numbers.recv()


async def test_closing_from_this_side(connect_raw: Any) -> None:
    async with (
        asyncio.timeout(10),
        connect_raw(StreamListener) as (transport, listener, peer),
        listener.stream() as stream,
    ):
        transport.send_close(WSCloseCode.OK, "done")
        assert (await peer.read_frame()).close_code == 1000
        peer.write_frame(TEXT, "one more")
        peer.write_close(1000, "done")
        peer.close()
        assert [message async for message in stream] == ["one more"]


async def test_totals_of_a_listener(connect_raw: Any) -> None:
    async with asyncio.timeout(10), connect_raw(StreamListener) as (_, listener, peer):
        assert listener.stream_stats() == ()
        async with listener.stream(name="here") as stream:
            peer.write_frame(TEXT, "abc")
            await stream.recv()
            assert [(stats.name, stats.received_bytes) for stats in listener.stream_stats()] == [("here", 3)]
        assert listener.stream_totals() == {"block": (1, 1, 0, 0)}


async def _accept_and_send(server: Any, data: bytes) -> Any:
    """Accept a client; the response and the data leave in one piece."""
    peer = await server.accept(upgrade=False)
    head = await peer.read_http_head()
    peer.write_bytes(encode_head("HTTP/1.1 101 Switching Protocols", switching_fields(head)) + data)
    return peer


async def _collect(stream: Stream) -> list[Any]:
    return [message async for message in stream]
