"""The opening handshake of a server while its factory takes its time: one end, whatever comes first."""

import asyncio

import pytest

from picows import ServerHandshakePolicy, WSListener
from tests.support import BINARY, new_key, upgrade_fields
from tests.support.recorder import Recorder

pytestmark = pytest.mark.links("plain")


def write_request(peer):
    peer.write_http_head("GET / HTTP/1.1", [("Host", "localhost"), *upgrade_fields(new_key())])


class SlowFactory:
    """Answers when the test lets it; says when it was asked, and when it was cancelled."""

    def __init__(self, *, ignores_cancellation=False):
        self.listener = Recorder()
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()
        self._ignores_cancellation = ignores_cancellation

    async def __call__(self, request) -> WSListener:
        self.asked.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            if not self._ignores_cancellation:
                raise
        return self.listener


async def test_a_listener_that_comes_after_the_deadline_is_never_connected(serve, raw_peer):
    """The peer was told 408: nothing can follow that."""
    factory = SlowFactory(ignores_cancellation=True)
    async with asyncio.timeout(10), serve(factory, websocket_handshake_timeout=0.2) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            write_request(peer)
            assert (await peer.read_http_head()).status == 408
            peer.write_frame(BINARY, b"too late")
            await peer.read_to_end()
        assert factory.cancelled.is_set()
        assert factory.listener.calls == []


async def test_a_client_that_leaves_cancels_the_factory(serve, raw_peer):
    factory = SlowFactory()
    async with asyncio.timeout(10), serve(factory, websocket_handshake_timeout=None) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            write_request(peer)
            await factory.asked.wait()
            peer.reset()
            await factory.cancelled.wait()
        assert factory.listener.calls == []


async def test_a_connection_aborted_while_the_factory_is_awaited_is_never_connected(serve, raw_peer):
    transports = []

    class Watching(ServerHandshakePolicy):
        def client_connected(self, transport):
            transports.append(transport)

    factory = SlowFactory(ignores_cancellation=True)
    async with asyncio.timeout(10), serve(factory, handshake_policy=Watching()) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            write_request(peer)
            await factory.asked.wait()
            transports[0].abort()
            await factory.cancelled.wait()
        assert factory.listener.calls == []


async def test_frames_that_come_early_wait_for_the_factory(serve, raw_peer):
    """More of them than are kept at once: reading pauses, and nothing is lost."""
    factory = SlowFactory()
    payloads = [bytes([n]) * 50_000 for n in range(8)]
    async with asyncio.timeout(10), serve(factory) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        write_request(peer)
        for payload in payloads:
            peer.write_frame(BINARY, payload)
        await factory.asked.wait()
        factory.go_on.set()
        assert (await peer.read_http_head()).status == 101
        for payload in payloads:
            frame = await factory.listener.next_frame()
            assert frame.payload == payload
