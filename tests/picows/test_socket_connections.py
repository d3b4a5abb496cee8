"""Where our transports are used, and what they leave behind when something goes wrong."""

import asyncio
import socket

import pytest

from picows import WSListener, ws_connect, ws_create_server
from picows.socket_network import attach, create_connection, create_server
from picows.socket_transport import HAS_SOCKET_TRANSPORTS, SocketTransport

pytestmark = [
    pytest.mark.skipif(not HAS_SOCKET_TRANSPORTS, reason="this system has none"),
    pytest.mark.asyncio(loop_factories=["asyncio"]),
]


class Keeper(WSListener):
    def on_ws_connected(self, transport):
        self.transport = transport


@pytest.mark.parametrize(("use_aiofastnet", "is_ours"), [(None, True), (False, False)])
async def test_use_aiofastnet_chooses(use_aiofastnet, is_ours):
    server_sides = []

    def make(request):
        server_sides.append(Keeper())
        return server_sides[-1]

    async with asyncio.timeout(10):
        server = await ws_create_server(make, "127.0.0.1", 0, use_aiofastnet=use_aiofastnet)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport, _ = await ws_connect(Keeper, url, use_aiofastnet=use_aiofastnet)
        for each in (transport, server_sides[0].transport):
            assert isinstance(each.underlying_transport, SocketTransport) == is_ours
        transport.disconnect()
        await transport.wait_disconnected()
        await server_sides[0].transport.wait_disconnected()
        server.close()
        await server.wait_closed()


async def test_a_transport_that_is_forgotten_warns_and_closes_its_socket():
    one, other = socket.socketpair()
    with other:
        transport, _ = attach(asyncio.get_running_loop(), one, asyncio.Protocol())
        transport.pause_reading()
        del one
        kept = [transport]
        del transport
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            kept.clear()
        other.settimeout(5)
        assert other.recv(1) == b""


async def test_a_protocol_that_fails_at_once_leaves_no_socket():
    class Failing(asyncio.Protocol):
        def connection_made(self, transport):
            raise LookupError("mine")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(LookupError):
            await create_connection(asyncio.get_running_loop(), Failing, *listening.getsockname())
        peer, _ = listening.accept()
        with peer:
            peer.settimeout(5)
            assert peer.recv(1) == b""


async def test_a_wrong_keyword_beside_a_socket_is_refused():
    one, other = socket.socketpair()
    with one, other, pytest.raises(TypeError, match="no_such_option"):
        await create_connection(asyncio.get_running_loop(), asyncio.Protocol, sock=one, no_such_option=1)


async def test_cancelling_while_connecting_leaves_no_socket():
    """The leak check of every test sees the descriptors."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for turns in range(12):
            task = asyncio.ensure_future(
                create_connection(asyncio.get_running_loop(), asyncio.Protocol, *listening.getsockname())
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, _ = await task
            except asyncio.CancelledError:
                continue
            transport.abort()
            await asyncio.sleep(0)


async def test_a_server_drops_whom_it_cannot_serve_and_goes_on():
    def make():
        clients.append(1)
        if len(clients) == 1:
            raise LookupError("mine")
        return asyncio.Protocol()

    clients, told = [], []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(type(context["exception"])))
    async with asyncio.timeout(10), await create_server(loop, make, "127.0.0.1", 0) as server:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
    assert told == [LookupError]
    assert len(clients) == 2


async def test_what_waits_is_not_changed_by_its_owner():
    """From Python 3.12 on, asyncio's own transports send what is there when its turn comes."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    transport, _ = attach(loop, one, asyncio.Protocol())
    with other:
        data = bytearray(b"a" * (4 << 20))
        transport.write(data)
        transport.write(memoryview(data)[:10])
        data[:] = b"b" * len(data)
        transport.writelines([b"c", bytearray(b"d")])
        transport.close()
        received = await loop.run_in_executor(None, lambda: b"".join(iter(lambda: other.recv(1 << 20), b"")))
    assert received == b"a" * ((4 << 20) + 10) + b"cd"
