"""`busy_poll` against a peer in a thread of its own, whose answers come while we look for them."""

import asyncio
import contextlib
import itertools
import socket
import threading
import time

import pytest

from picows import WSMsgType, broadcast, ws_connect
from tests.support import BINARY, PING, PONG, TEXT, Frame, accept_value
from tests.support.recorder import Echo, Recorder

WINDOW = 500_000  # microseconds: long enough for the other thread to answer on a busy machine
DIRECT = pytest.mark.links("plain", "unix")


class Leave(Exception):
    """The peer closes its socket."""


class ThreadedPeer:
    """A server for one connection in a thread of its own, as polling keeps the loop's thread busy.

    It calls `react(peer, number)` for each frame that comes; `react` writes what is to be read while we poll.
    """

    def __init__(self, link, react):
        self._react = react
        self._listening = link.raw_server()
        self.url, self.options = self._listening.url, self._listening.connect_options
        self._listening.sock.setblocking(True)
        self.sock = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):
            self._listening.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._listening.sock.close()

    def write_frame(self, payload, opcode=TEXT):
        """One small frame."""
        self.sock.sendall(bytes([0x80 | opcode, len(payload)]) + payload)

    def _run(self):
        try:
            self.sock, _ = self._listening.sock.accept()
        except OSError:
            return
        self.sock.settimeout(10)
        if self._listening._tls is not None:
            self.sock = self._listening._tls.wrap_socket(self.sock, server_side=True)
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.sock, self.sock.makefile("rb") as stream, contextlib.suppress(OSError, Leave):
            self._upgrade(stream)
            number = 0
            while head := stream.read(2):
                stream.read(4 + (head[1] & 127))
                self._react(self, number)
                number += 1

    def _upgrade(self, stream):
        lines = list(iter(stream.readline, b"\r\n"))
        (key,) = [line.split()[1].decode() for line in lines if line.startswith(b"Sec-WebSocket-Key")]
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_value(key).encode() + b"\r\n\r\n"
        )


def ask_in_cork(transport, payload):
    with transport.cork():
        transport.send(WSMsgType.TEXT, payload)


WAYS = {
    "send": lambda transport, payload: transport.send(WSMsgType.TEXT, payload),
    "ping": lambda transport, payload: transport.send_ping(payload),
    "cork": ask_in_cork,
    "in place": lambda transport, payload: transport.send_reuse_external_bytearray(
        WSMsgType.TEXT, bytearray(14) + payload, 14
    ),
    "broadcast": lambda transport, payload: broadcast([transport], WSMsgType.TEXT, payload),
}


class Asking(Recorder):
    """Answers each frame with the next question, and notes the turns of the loop between them."""

    ask = staticmethod(WAYS["send"])

    def __init__(self, questions=10):
        super().__init__()
        self.order = []
        self.questions = questions
        self.done = asyncio.Event()

    def begin_again(self):
        self.frames.clear()
        self.order.clear()
        self.done.clear()

    def has_polled(self):
        """Whether an answer came before the loop had its turn."""
        return any(
            isinstance(before, int) and isinstance(after, int) for before, after in itertools.pairwise(self.order)
        )

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        number = len(self.frames)
        self.order.append(number)
        asyncio.get_running_loop().call_soon(self.order.append, f"turn after {number}")
        if number < self.questions:
            self.ask(transport, b"%d" % number)
        else:
            self.done.set()


@contextlib.asynccontextmanager
async def asking(link, react, make_listener=Asking, **options):
    """A client that polls, connected to a `ThreadedPeer`."""
    with ThreadedPeer(link, react) as peer:
        options = {"busy_poll": WINDOW} | options
        transport, listener = await ws_connect(make_listener, peer.url, **peer.options, **options)
        try:
            yield transport, listener
        finally:
            transport.disconnect(graceful=False)
            with contextlib.suppress(Exception):
                await transport.wait_disconnected()


def answer(peer, number):
    peer.write_frame(b"answer %d" % number)


@DIRECT
@pytest.mark.parametrize("options", [{}, {"coalesce": True}], ids=["", "coalesce"])
@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_is_found_within_the_callback_s_turn(link, way, options):
    """In the read callback, after the batch and the flush, if we sent something."""
    async with asyncio.timeout(10), asking(link, answer, **options) as (transport, listener):
        listener.ask = WAYS[way]
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
    assert [frame.payload for frame in listener.frames] == [b"answer %d" % number for number in range(10)]
    order = listener.order
    assert order.index(2) < order.index("turn after 1"), "the second answer came without a turn of the loop"


@DIRECT
async def test_the_loop_has_its_turns_while_one_answer_follows_another(link):
    """A conversation that goes on does not keep the loop from everything else for long."""
    questions = 2000
    async with asyncio.timeout(20), asking(link, answer, lambda: Asking(questions)) as (transport, listener):
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
    turns = sum(
        isinstance(before, int) and isinstance(after, str) for before, after in itertools.pairwise(listener.order)
    )
    assert questions // 100 < turns < questions


@DIRECT
async def test_without_it_the_loop_turns_in_between(link):
    async with asyncio.timeout(10), asking(link, answer, busy_poll=0) as (transport, listener):
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
    assert all(listener.order.index(f"turn after {n}") < listener.order.index(n + 1) for n in range(1, 10))


@DIRECT
async def test_two_polling_connections_do_not_keep_each_other_waiting(link):
    """Poll only while exactly one polling connection of the loop is active."""
    async with asyncio.timeout(10), asking(link, answer) as (first, one), asking(link, answer) as (second, other):
        first.send(WSMsgType.TEXT, "begin")
        second.send(WSMsgType.TEXT, "begin")
        await one.done.wait()
        await other.done.wait()
        for listener in (one, other):
            assert all(listener.order.index(f"turn after {n}") < listener.order.index(n + 1) for n in range(1, 9))


@DIRECT
async def test_an_idle_polling_connection_keeps_no_other_from_polling(link):
    window = 20_000  # microseconds: what was not read for twice as long is idle
    async with asking(link, answer, busy_poll=window) as (transport, listener), asking(link, answer, busy_poll=window):
        async with asyncio.timeout(10):
            while not listener.has_polled():
                listener.begin_again()
                transport.send(WSMsgType.TEXT, "begin")
                await listener.done.wait()


@DIRECT
async def test_polling_recovers_from_slow_answers(link):
    """A window that has shrunk grows again when answers come within it."""
    window = 64_000  # microseconds

    def slowly_then_quickly(peer, number):
        time.sleep(0.15 if number < 6 else 0.016)  # shorter than the window, longer than the least it shrinks to
        answer(peer, number)

    async with asking(link, slowly_then_quickly, lambda: Asking(8), busy_poll=window) as (transport, listener):
        async with asyncio.timeout(10):
            while not listener.has_polled():
                listener.begin_again()
                transport.send(WSMsgType.TEXT, "begin")
                await listener.done.wait()


@pytest.mark.links("tls")
async def test_over_tls_the_loop_finds_the_answer_without_sleeping(link, monkeypatch):
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("uvloop writes what TLS sends when its turn is over: nothing could be found before")
    sleeps = 0
    select = loop._selector.select

    def select_and_count(timeout=None):
        nonlocal sleeps
        if events := select(0):
            return events
        sleeps += timeout is None or timeout > 0
        return select(timeout)

    def answer_later(peer, number):
        time.sleep(0.005)
        answer(peer, number)

    async with asyncio.timeout(10), asking(link, answer_later) as (transport, listener):
        monkeypatch.setattr(loop._selector, "select", select_and_count)
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
    assert sleeps == 1, "for the first answer, whose question was not sent while reading"


@DIRECT
async def test_when_the_other_connection_is_gone_polling_goes_on(link):
    async with asyncio.timeout(10), asking(link, answer) as (transport, listener):
        async with asking(link, answer) as (other, _):
            other.send(WSMsgType.TEXT, "begin")
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
        assert listener.order.index(2) < listener.order.index("turn after 1")


@DIRECT
@pytest.mark.parametrize("payload", [b"x" * 100, b"x" * 200_000], ids=["small", "large"])
async def test_frames_in_pieces_are_put_together_while_polling(link, payload):
    """Headers, small and large payloads, cut where polls begin and end."""

    def answer_in_pieces(peer, number):
        size = len(payload).to_bytes(8, "big")
        data = bytes([0x80 | BINARY, 127]) + size + payload if len(payload) > 125 else None
        data = data or bytes([0x80 | BINARY, len(payload)]) + payload
        cut = min(len(data) - 1, 1 + number * 7)
        peer.sock.sendall(data[:cut])
        peer.sock.sendall(data[cut:])

    async with asyncio.timeout(10), asking(link, answer_in_pieces, lambda: Asking(30)) as (transport, listener):
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
        assert listener.frames == [Frame(BINARY, payload)] * 30
        assert transport.stats().frames_received == 30
        assert transport.stats().bytes_received == 30 * (len(payload) + (2 if len(payload) < 126 else 10))


@DIRECT
async def test_many_frames_at_once_keep_their_order(link):
    def answer_often(peer, number):
        for index in range(20):
            peer.write_frame(b"%d.%d" % (number, index))

    async with asyncio.timeout(10), asking(link, answer_often, lambda: Asking(200)) as (transport, listener):
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
        expected = [b"%d.%d" % (number, index) for number in range(10) for index in range(20)]
        assert [frame.payload for frame in listener.frames][:200] == expected
        assert transport.stats().bytes_received >= sum(2 + len(payload) for payload in expected)


@DIRECT
async def test_pings_are_answered_while_polling(link):
    def ping_first(peer, number):
        peer.write_frame(b"p", PING)
        if number % 2 == 0:
            peer.write_frame(b"answer")

    async with asyncio.timeout(10), asking(link, ping_first, lambda: Asking(3)) as (transport, listener):
        transport.send(WSMsgType.TEXT, "begin")
        await listener.done.wait()
        assert transport.stats().pings_received >= 3
        assert {frame.opcode for frame in listener.frames} == {TEXT}


@DIRECT
@pytest.mark.parametrize("end", ["close", "reset", "after an answer"])
async def test_the_peer_may_go_while_we_poll(link, end):
    def leave(peer, number):
        if number == 2:
            if end == "after an answer":
                peer.write_frame(b"last words")
            if end == "reset":
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            raise Leave
        else:
            peer.write_frame(b"answer")

    async with asyncio.timeout(10), asking(link, leave) as (transport, listener):
        transport.send(WSMsgType.TEXT, "begin")
        await listener.disconnected.wait()
        assert len(listener.frames) == (3 if end == "after an answer" else 2)
        assert listener.calls[-1] == "on_ws_disconnected"
        assert listener.calls.count("on_ws_disconnected") == 1
        is_reset = isinstance(transport.disconnect_cause, ConnectionResetError)
        # The last words are answered too: on a closed socket that may bring a reset before the end of stream is read.
        assert end == "after an answer" or is_reset == (end == "reset" and link.kind == "plain")


class _Ending(Asking):
    """Does something to the connection instead of the third question."""

    act = staticmethod(lambda transport: None)

    def on_ws_frame(self, transport, frame):
        if len(self.frames) == 2:
            Recorder.on_ws_frame(self, transport, frame)
            transport.send(WSMsgType.TEXT, "is answered, and nobody looks")
            self.act(transport)
        else:
            super().on_ws_frame(transport, frame)


@DIRECT
@pytest.mark.parametrize("graceful", [True, False])
async def test_disconnecting_in_a_polled_callback(link, graceful):
    async with asyncio.timeout(10), asking(link, answer, _Ending) as (transport, listener):
        listener.act = lambda transport: transport.disconnect(graceful)
        transport.send(WSMsgType.TEXT, "begin")
        await listener.disconnected.wait()
        assert len(listener.frames) == 3


@DIRECT
async def test_pausing_in_a_polled_callback(link):
    """What comes meanwhile waits in the kernel, polled or not."""
    async with asyncio.timeout(10), asking(link, answer, _Ending) as (transport, listener):
        listener.act = lambda transport: transport.pause_reading()
        transport.send(WSMsgType.TEXT, "begin")
        while len(listener.frames) < 3:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(listener.frames) == 3
        transport.resume_reading()
        await listener.done.wait()
        assert [frame.payload for frame in listener.frames] == [b"answer %d" % number for number in range(10)]


@DIRECT
async def test_an_exception_in_a_polled_callback(link):
    def fail(transport):
        raise ZeroDivisionError

    async with asyncio.timeout(10), asking(link, answer, _Ending) as (transport, listener):
        listener.act = fail
        transport.send(WSMsgType.TEXT, "begin")
        with pytest.raises(ZeroDivisionError):
            await transport.wait_disconnected()
        assert len(listener.frames) == 3


async def test_many_connections_with_busy_poll(serve, raw_peer):
    async with (
        asyncio.timeout(10),
        serve(lambda request: Echo(), busy_poll=100) as endpoint,
        contextlib.AsyncExitStack() as stack,
    ):
        peers = [await stack.enter_async_context(raw_peer(endpoint)) for _ in range(20)]
        for number in range(20):
            for peer in peers:
                peer.write_frame(TEXT, str(number))
        for peer in peers:
            assert [int(frame.payload) for frame in await peer.read_frames(20)] == list(range(20))
        for peer in peers[::2]:
            peer.reset()
        for peer in peers[1::2]:
            peer.write_frame(PING, b"x")
            assert await peer.read_frame() == Frame(PONG, b"x")
