"""`broadcast()`: one message, many connections, and no one waits for a slow one."""

import asyncio
import contextlib
import threading

import pytest

from picows import WSBroadcastResult, WSCloseCode, WSMsgType, broadcast
from tests.support import BINARY, CLOSE, TEXT, Frame
from tests.support.recorder import Accepted, Recorder
from tests.support.session import Session

plain_only = pytest.mark.links("plain")


@pytest.fixture
def open_many(serve, raw_peer):
    """`async with open_many(count) as sessions`: connections of one server, each with a raw peer."""

    @contextlib.asynccontextmanager
    async def run(count, make_listener=Recorder, **options):
        accepted = Accepted(make_listener)
        async with serve(accepted, **options) as endpoint, contextlib.AsyncExitStack() as stack:
            sessions = []
            for _ in range(count):
                peer = await stack.enter_async_context(raw_peer(endpoint))
                listener = await accepted.next()
                sessions.append(Session("server", listener, listener.transport, peer))
            yield sessions
            for session in sessions:
                session.transport.disconnect(graceful=False)

    return run


def transports(sessions):
    return [session.transport for session in sessions]


async def assert_all_receive(sessions, frame):
    for session in sessions:
        assert await session.peer.read_frame() == frame


@pytest.mark.parametrize(
    ("opcode", "message", "payload"),
    [
        (TEXT, "Grüße", "Grüße".encode()),
        (TEXT, b"bytes are not checked", b"bytes are not checked"),
        (BINARY, b"", b""),
        (BINARY, bytearray(b"mutable"), b"mutable"),
        (BINARY, memoryview(b"012345")[2:4], b"23"),
        (BINARY, type("Bytes", (bytes,), {})(b"subclass"), b"subclass"),
        (BINARY, bytes(1 << 20), bytes(1 << 20)),
    ],
    ids=["text", "bytes as text", "empty", "bytearray", "memoryview", "bytes subclass", "large"],
)
async def test_every_connection_gets_the_message(open_many, opcode, message, payload):
    async with asyncio.timeout(10), open_many(3) as sessions:
        result = broadcast(transports(sessions), WSMsgType(opcode), message)
        assert result == WSBroadcastResult(sent=3, skipped=(), failed=())
        await assert_all_receive(sessions, Frame(opcode, payload))


@plain_only
async def test_connections_come_from_any_iterable(open_many):
    async with asyncio.timeout(5), open_many(2) as sessions:
        for many in (tuple, set, iter, lambda all: (transport for transport in all), dict.fromkeys):
            assert broadcast(many(transports(sessions)), WSMsgType.TEXT, "x").sent == 2
        assert broadcast([], WSMsgType.TEXT, "x") == WSBroadcastResult(0, (), ())
        for _ in range(5):
            await assert_all_receive(sessions, Frame(TEXT, b"x"))


class _Forwarding(Recorder):
    """Forwards frames to the others."""

    others = ()

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        broadcast(self.others, frame.msg_type, frame)


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_received_frame_can_be_forwarded(open_many, size):
    async with asyncio.timeout(10), open_many(3, _Forwarding) as sessions:
        payload = bytes(range(250)) * (size // 250) + b"rest"
        sessions[0].listener.others = transports(sessions)
        sessions[0].peer.write_frame(BINARY, payload)
        await assert_all_receive(sessions, Frame(BINARY, payload))


async def test_clients_can_broadcast_too(connect_raw):
    """Each masks its own copy (RFC 6455 section 5.3)."""
    async with asyncio.timeout(10), connect_raw() as (first, _, one), connect_raw() as (second, _, other):
        for message in (b"small", bytes(700_000)):
            assert broadcast([first, second], WSMsgType.BINARY, message).sent == 2
            assert await one.read_frame() == await other.read_frame() == Frame(BINARY, message)


@pytest.mark.parametrize("mutable", [False, True])
async def test_a_slow_peer_delays_nobody_and_loses_nothing(open_many, mutable):
    """A connection whose earlier output still waits queues the message."""
    async with asyncio.timeout(20), open_many(3) as sessions:
        slow = sessions[1]
        slow.narrow_buffers(send=16384, receive=65536)
        payloads = [bytes([number]) * 200_000 for number in range(20)]
        for payload in payloads:
            message = bytearray(payload) if mutable else payload
            assert broadcast(transports(sessions), WSMsgType.BINARY, message).sent == 3
            if mutable:
                message[:] = b"\xff" * len(message)
            for session in (sessions[0], sessions[2]):
                assert await session.peer.read_frame() == Frame(BINARY, payload)
        assert slow.transport.get_write_buffer_size() > 1 << 20
        for payload in payloads:
            assert await slow.peer.read_frame() == Frame(BINARY, payload)


async def test_a_backlog_over_the_bound_is_skipped_and_told(open_many):
    async with asyncio.timeout(20), open_many(3) as sessions:
        slow = sessions[1]
        slow.narrow_buffers(send=16384, receive=65536)
        while slow.transport.get_write_buffer_size() <= 100_000:
            slow.transport.send(WSMsgType.BINARY, bytes(30_000))
        result = broadcast(transports(sessions), WSMsgType.TEXT, "news", max_backlog=100_000)
        assert result == WSBroadcastResult(sent=2, skipped=(slow.transport,), failed=())
        waiting = slow.transport.get_write_buffer_size()
        assert broadcast(transports(sessions), WSMsgType.TEXT, "all", max_backlog=waiting).skipped == ()
        for session in (sessions[0], sessions[2]):
            assert await session.peer.read_frames(2) == [Frame(TEXT, b"news"), Frame(TEXT, b"all")]
        while (frame := await slow.peer.read_frame()).opcode == BINARY:
            pass
        assert frame == Frame(TEXT, b"all")


@plain_only
async def test_without_a_backlog_a_bound_of_nothing_skips_nobody(open_many):
    async with asyncio.timeout(5), open_many(2) as sessions:
        assert broadcast(transports(sessions), WSMsgType.TEXT, "x", max_backlog=0).sent == 2
        with sessions[0].transport.cork():
            sessions[0].transport.send(WSMsgType.TEXT, "gathered bytes wait too")
            assert broadcast(transports(sessions), WSMsgType.TEXT, "x", max_backlog=0).skipped == (
                sessions[0].transport,
            )


@plain_only
async def test_closed_and_closing_connections_are_skipped(open_many):
    async with asyncio.timeout(5), open_many(4) as sessions:
        closed, closing, leaving, last = sessions
        closed.peer.close()
        await closed.listener.disconnected.wait()
        closing.transport.send_close(WSCloseCode.OK)
        leaving.transport.disconnect()
        result = broadcast(transports(sessions), WSMsgType.TEXT, "x")
        assert result.sent == 1
        assert result.skipped == (closed.transport, closing.transport, leaving.transport)
        assert result.failed == ()
        assert await last.peer.read_frame() == Frame(TEXT, b"x")
        assert (await closing.peer.read_frame()).opcode == CLOSE
        assert [session.transport.stats().sends_after_close for session in sessions] == [0, 0, 0, 0]


@plain_only
async def test_a_failure_is_told_and_the_others_get_the_message(open_many):
    async with asyncio.timeout(5), open_many(3) as sessions:
        sessions[1].peer.reset()
        result = broadcast(transports(sessions), WSMsgType.TEXT, "x")
        assert (result.sent, result.skipped) == (2, ())
        assert [transport for transport, _ in result.failed] == [sessions[1].transport]
        assert isinstance(result.failed[0][1], OSError)
        await assert_all_receive([sessions[0], sessions[2]], Frame(TEXT, b"x"))
        with pytest.raises(OSError, match=r"reset|pipe"):
            await sessions[1].transport.wait_disconnected()


@plain_only
@pytest.mark.parametrize(
    ("exception", "words", "arguments", "options"),
    [
        (ValueError, "TEXT or BINARY.*9", (WSMsgType.PING, b"x"), {}),
        (ValueError, "TEXT or BINARY.*8", (WSMsgType.CLOSE, b"x"), {}),
        (ValueError, "TEXT or BINARY.*0", (WSMsgType.CONTINUATION, b"x"), {}),
        (ValueError, "257", (257, b"x"), {}),
        (TypeError, "int", (WSMsgType.BINARY, 5), {}),
        (TypeError, "None", (WSMsgType.BINARY, None), {}),
        (UnicodeEncodeError, "surrogates", (WSMsgType.TEXT, "\ud800"), {}),
        (ValueError, "max_backlog.*-1", (WSMsgType.TEXT, "x"), {"max_backlog": -1}),
        (TypeError, "", (WSMsgType.TEXT, "x"), {"max_backlog": "1"}),
        (TypeError, "", (WSMsgType.TEXT, "x", 5), {}),
    ],
)
async def test_what_the_caller_got_wrong_is_refused_before_a_byte_is_written(
    open_many, exception, words, arguments, options
):
    async with asyncio.timeout(5), open_many(2) as sessions:
        with pytest.raises(exception, match=words or None):
            broadcast(transports(sessions), *arguments, **options)
        assert broadcast(transports(sessions), WSMsgType.TEXT, "first").sent == 2
        await assert_all_receive(sessions, Frame(TEXT, b"first"))


@plain_only
@pytest.mark.parametrize("stranger", [None, "transport", object()])
async def test_what_is_no_transport_is_refused_before_a_byte_is_written(open_many, stranger):
    """Whoever stands in front of it would have got the message otherwise, and nobody could tell."""
    async with asyncio.timeout(5), open_many(2) as sessions:
        with pytest.raises(TypeError):
            broadcast([sessions[0].transport, stranger, sessions[1].transport], WSMsgType.TEXT, "half way")
        assert broadcast(transports(sessions), WSMsgType.TEXT, "first").sent == 2
        await assert_all_receive(sessions, Frame(TEXT, b"first"))


@plain_only
async def test_another_thread_gets_a_runtime_error(open_many):
    raised = []

    def call():
        try:
            broadcast(transports(sessions), WSMsgType.TEXT, "x")
        except RuntimeError as exc:
            raised.append(str(exc))

    async with asyncio.timeout(5), open_many(2) as sessions:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert len(raised) == 1
        assert "thread" in raised[0]
        assert broadcast(transports(sessions), WSMsgType.TEXT, "first").sent == 2
        await assert_all_receive(sessions, Frame(TEXT, b"first"))


class _Leaving(Recorder):
    """Takes itself off the list of those who want to hear when it is too slow."""

    subscribers = None

    def pause_writing(self):
        self.subscribers.discard(self.transport)


@plain_only
async def test_callbacks_may_change_the_collection_meanwhile(open_many):
    """`pause_writing` is called while the message is on its way to the others."""
    async with asyncio.timeout(5), open_many(3, _Leaving) as sessions:
        subscribers = set(transports(sessions))
        for session in sessions:
            session.listener.subscribers = subscribers
            session.narrow_buffers(send=16384, receive=65536)
            session.transport.set_write_buffer_limits(high=0)
        assert broadcast(subscribers, WSMsgType.BINARY, bytes(3 << 20)).sent == 3
        assert subscribers == set()
        await assert_all_receive(sessions, Frame(BINARY, bytes(3 << 20)))


@plain_only
async def test_it_keeps_the_order_of_what_was_gathered(open_many):
    async with asyncio.timeout(5), open_many(1, coalesce=True) as (session,):
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "1")
            broadcast([session.transport], WSMsgType.TEXT, "2")
            session.transport.send(WSMsgType.TEXT, "3")
        assert [frame.payload for frame in await session.peer.read_frames(3)] == [b"1", b"2", b"3"]


@plain_only
async def test_a_thousand_deliveries(open_many):
    """One pass: what they sent is counted once each."""
    async with asyncio.timeout(30), open_many(100) as sessions:
        many = transports(sessions) * 10
        assert broadcast(many, WSMsgType.BINARY, bytes(100)).sent == 1000
        for session in sessions:
            assert await session.peer.read_frames(10) == [Frame(BINARY, bytes(100))] * 10
            assert session.transport.stats().frames_sent == 10
