"""Whatever the mixture of sends (direct, gathered, large, in place, shared), all frames arrive whole and in order."""

import asyncio
import os
import random

import pytest

from picows import WSMsgType, broadcast
from tests.support import BINARY, PING, PONG, TEXT, Frame
from tests.support.recorder import Recorder

NOISE = os.urandom(1 << 20)


class Sender:
    """Sends at random on one transport and writes down what the peer is to get."""

    def __init__(self, transport, seed, *, largest=NOISE):
        self.transport = transport
        self.random = random.Random(seed)
        self.expected = []
        self._largest = len(largest)
        self._actions = [
            self.send,
            self.send,
            self.send_mutable,
            self.send_text,
            self.send_in_place,
            self.send_control,
            self.broadcast,
            self.send_corked,
            transport.flush,
            self.look_at_transport,
        ]

    def act(self):
        """Do one thing."""
        self.random.choice(self._actions)()

    def payload(self, *, largest=None):
        """Mostly small, sometimes around the bounds of gathering, now and then large."""
        bound = self.random.choice([20, 20, 200, 200, 5000, 33_000, 70_000, largest or self._largest])
        begin = self.random.randrange(1000)
        return NOISE[begin : begin + self.random.randrange(bound)]

    def send(self):
        """Immutable memory, any header."""
        payload, fin = self.payload(), self.random.random() < 0.8
        self.transport.send(WSMsgType.BINARY, payload, fin)
        self.expected.append(Frame(BINARY, payload, fin=fin))

    def send_mutable(self):
        """Memory that changes as soon as the call returns."""
        payload = bytearray(self.payload())
        self.expected.append(Frame(BINARY, bytes(payload)))
        self.transport.send(WSMsgType.BINARY, payload)
        payload[:] = bytes(len(payload))

    def send_text(self):
        """A str."""
        text = self.payload(largest=1000).decode("latin-1")
        self.transport.send_message(text)
        self.expected.append(Frame(TEXT, text.encode()))

    def send_in_place(self):
        """The caller's buffer."""
        payload = self.payload()
        self.transport.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(14) + payload, 14)
        self.expected.append(Frame(BINARY, payload))

    def send_control(self):
        """PING or PONG."""
        payload = self.payload()[:125]
        if self.random.random() < 0.5:
            self.transport.send_ping(payload)
            self.expected.append(Frame(PING, payload))
        else:
            self.transport.send_pong(payload)
            self.expected.append(Frame(PONG, payload))

    def broadcast(self):
        """The shared frame."""
        payload = self.payload()
        assert broadcast([self.transport], WSMsgType.BINARY, payload).sent == 1
        self.expected.append(Frame(BINARY, payload))

    def send_corked(self):
        """A burst, with whatever else in it."""
        with self.transport.cork():
            for _ in range(self.random.randrange(6)):
                self.act()

    def look_at_transport(self):
        """Who asks for the transport may write to it, so what is gathered leaves first."""
        assert not self.transport.underlying_transport.is_closing()


async def assert_receives(peer, sender):
    """The peer gets what the sender wrote down."""
    for number, frame in enumerate(sender.expected):
        assert await peer.read_frame() == frame, f"frame {number}"


@pytest.mark.parametrize("coalesce", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_any_mixture_arrives_in_order(open_session, coalesce, seed):
    async with asyncio.timeout(20), open_session(coalesce=coalesce) as session, asyncio.TaskGroup() as group:
        session.narrow_buffers(send=16384, receive=65536)
        sender = Sender(session.transport, seed)
        for _ in range(20):
            for _ in range(sender.random.randrange(8)):
                sender.act()
            await asyncio.sleep(0)
        session.transport.flush()
        group.create_task(assert_receives(session.peer, sender))


@pytest.mark.parametrize("use_aiofastnet", [False, True])
@pytest.mark.parametrize("coalesce", [False, True])
async def test_any_mixture_arrives_in_order_while_the_peer_reads(open_session, coalesce, use_aiofastnet):
    """The backlog comes and goes, so sends are direct and queued in turn."""
    options = {"coalesce": coalesce, "use_aiofastnet": use_aiofastnet}
    async with asyncio.timeout(20), open_session(**options) as session:
        session.narrow_buffers(send=16384, receive=65536)
        sender = Sender(session.transport, 7, largest=NOISE[:100_000])
        for _ in range(60):
            before = len(sender.expected)
            for _ in range(sender.random.randrange(5)):
                sender.act()
            session.transport.flush()
            for frame in sender.expected[before:]:
                assert await session.peer.read_frame() == frame


class _Mixing(Recorder):
    """Sends at random from each of its callbacks."""

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        self.sender = Sender(transport, 11, largest=NOISE[:100_000])

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        for _ in range(self.sender.random.randrange(4)):
            self.sender.act()

    def on_read_end(self, transport):
        self.sender.act()


@pytest.mark.parametrize("coalesce", [False, True])
async def test_any_mixture_from_callbacks_arrives_in_order(open_session, coalesce):
    async with asyncio.timeout(20), open_session(_Mixing, coalesce=coalesce) as session:
        session.narrow_buffers(send=16384, receive=None)
        for count in (1, 5, 40, 2):
            done = len(session.listener.frames) + count
            expected = session.listener.sender.expected
            expected.clear()
            for number in range(count):
                session.peer.write_frame(TEXT, f"go on {number}")
            await session.peer.drain()
            while len(session.listener.frames) < done:
                await asyncio.sleep(0)
            await assert_receives(session.peer, session.listener.sender)
