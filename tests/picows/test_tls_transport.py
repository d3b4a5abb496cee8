"""TLS of our own, over the loop's plain transports and over ours, against peers that use OpenSSL themselves."""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from picows import socket_network, tls_network
from picows.tls_transport import TLSTransport
from tests.support import RawPeer, connect_socket, listen, make_tls_contexts

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop's own TLS is in C

LARGE = bytes(range(256)) * 4096  # 1 MiB


class Above(asyncio.BufferedProtocol):
    """Keeps what it is told; `room` bytes at a time."""

    def __init__(self, room: int = 65536) -> None:
        self.buffer = bytearray(room)
        self.received = bytearray()
        self.calls: list[str] = []
        self.loss: BaseException | None = None
        self.changed = asyncio.Event()
        self.acts: list[Callable[[], None]] = []  # what to do when bytes come, once each

    def connection_made(self, transport: TLSTransport) -> None:
        self.transport = transport
        self._called("connection_made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, size: int) -> None:
        self.received += self.buffer[:size]
        self.changed.set()
        if self.acts:
            self.acts.pop(0)()

    def eof_received(self) -> bool:
        self._called("eof_received")
        return True  # means nothing over TLS

    def pause_writing(self) -> None:
        self._called("pause_writing")

    def resume_writing(self) -> None:
        self._called("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.loss = exc
        self._called("connection_lost")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def lost(self) -> BaseException | None:
        await self.until(lambda: "connection_lost" in self.calls)
        return self.loss


class Streaming(asyncio.Protocol):
    """A protocol that brings no buffer."""

    def __init__(self) -> None:
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data


class Plain:
    """What makes plain transports."""

    def __init__(self, create_connection: Callable[..., Any], create_server: Callable[..., Any]) -> None:
        self.create_connection = create_connection
        self.create_server = create_server


@pytest.fixture(params=["the loop's transports", "our transports"])
async def plain(request):
    loop = asyncio.get_running_loop()
    if request.param == "the loop's transports":
        return Plain(loop.create_connection, loop.create_server)
    return Plain(
        functools.partial(socket_network.create_connection, loop), functools.partial(socket_network.create_server, loop)
    )


@contextlib.asynccontextmanager
async def client_and_peer(
    plain, tls_contexts, above: asyncio.BaseProtocol | None = None, **options
) -> AsyncIterator[tuple[Above, RawPeer]]:
    """Our client, connected to a peer."""
    above = Above() if above is None else above
    async with listen(tls_contexts.server) as server:
        options = {"ssl": tls_contexts.client, "server_hostname": "localhost"} | options
        accepting = asyncio.ensure_future(server.accept(upgrade=False))
        transport, _ = await tls_network.connect(
            plain.create_connection, lambda: above, "127.0.0.1", server.port, **options
        )
        try:
            yield above, await accepting
        finally:
            transport.abort()


@contextlib.asynccontextmanager
async def running_server(plain, tls_contexts, factory: Callable[[], asyncio.BaseProtocol], **options):
    """Our server; its address."""
    options = {"ssl": tls_contexts.server} | options
    server = await tls_network.serve(plain.create_server, factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@contextlib.asynccontextmanager
async def server_and_peer(plain, tls_contexts, **options) -> AsyncIterator[tuple[Above, RawPeer]]:
    """Our server's side of a connection, and its client."""
    above = Above()
    async with running_server(plain, tls_contexts, lambda: above, **options) as address:
        peer = RawPeer(await connect_socket(address), is_client=True)
        async with peer:
            await peer.start_tls(tls_contexts.client, server_side=False, server_hostname="localhost")
            await above.until(lambda: "connection_made" in above.calls)
            try:
                yield above, peer
            finally:
                above.transport.abort()


@pytest.fixture(params=[client_and_peer, server_and_peer], ids=["client", "server"])
def connected(request, plain, tls_contexts):
    """`async with connected(**options) as (above, peer)`: both sides, ours as client and as server."""
    return functools.partial(request.param, plain, tls_contexts)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def byte_relay(port: int) -> AsyncIterator[int]:
    """Passes every byte on alone; the port to connect to."""
    loop = asyncio.get_running_loop()

    async def pass_on(source: socket.socket, target: socket.socket) -> None:
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await loop.sock_recv(source, 65536):
            for byte in data:
                await loop.sock_sendall(target, bytes([byte]))
                await turns(3)
        target.shutdown(socket.SHUT_WR)

    async def run() -> None:
        client, _ = await loop.sock_accept(listening)
        with client, socket.socket() as server:
            server.setblocking(False)
            await loop.sock_connect(server, ("127.0.0.1", port))
            await asyncio.gather(pass_on(client, server), pass_on(server, client))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        task = asyncio.ensure_future(run())
        yield listening.getsockname()[1]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task


# What goes through


async def test_bytes_go_both_ways(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.transport.write(b"there")
        assert await peer.read_bytes(5) == b"there"
        peer.write_bytes(b"and back")
        await above.until(lambda: above.received == b"and back")
        assert above.calls == ["connection_made"]


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytearray"), memoryview(b"-view-")[1:5], b"", bytearray()])
async def test_any_bytes_can_be_written(connected, data):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.transport.write(data)
        above.transport.writelines([b"<", data, b">"])
        expected = bytes(data) + b"<" + bytes(data) + b">"
        assert await peer.read_bytes(len(expected)) == expected


async def test_only_bytes_can_be_written(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        with pytest.raises(TypeError):
            above.transport.write("text")
        above.transport.write(b"works on")
        assert await peer.read_bytes(8) == b"works on"


@pytest.mark.parametrize("room", [1, 1000, 16384, 65536])
async def test_a_large_message_both_ways(connected, room):
    """However much room the protocol has, less than a record or several."""
    size = 2000 if room == 1 else len(LARGE)
    async with asyncio.timeout(20), connected() as (above, peer):
        above.buffer = bytearray(room)
        above.transport.write(LARGE)
        assert await peer.read_bytes(len(LARGE)) == LARGE
        peer.write_bytes(LARGE[:size])
        await above.until(lambda: len(above.received) == size)
        assert above.received == LARGE[:size]


async def test_many_records_of_one_read_come_together(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        sent = b"".join(b"%d " % number for number in range(500))
        for piece in sent.split():
            peer.write_bytes(piece + b" ")
        await above.until(lambda: above.received == sent)


async def test_one_write_is_one_record(plain, tls_contexts):
    async with asyncio.timeout(5), client_and_peer(plain, tls_contexts) as (above, peer):
        above.transport.writelines([b"x" * 200, b"y" * 56])
        sealed = await asyncio.get_running_loop().sock_recv(peer.sock, 65536)
        assert int.from_bytes(sealed[3:5], "big") == len(sealed) - 5
        assert 256 < len(sealed) < 300


async def test_protocols_without_buffers_receive(plain, tls_contexts):
    above = Streaming()
    async with asyncio.timeout(5), client_and_peer(plain, tls_contexts, above) as (_, peer):
        peer.write_bytes(LARGE)
        while len(above.received) < len(LARGE):
            await asyncio.sleep(0)
        assert above.received == LARGE


async def test_protocols_can_be_replaced(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        transport, later = above.transport, Streaming()
        assert transport.get_protocol() is above
        transport.set_protocol(later)
        peer.write_bytes(b"for the later one")
        while len(later.received) < 17:
            await asyncio.sleep(0)
        assert (above.received, transport.get_protocol()) == (b"", later)
        transport.set_protocol(above)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_records_may_be_cut_anywhere(plain, version):
    contexts = make_tls_contexts()
    contexts.client.maximum_version = contexts.client.minimum_version = version
    above, payload = Above(), b"0123456789" * 30
    async with asyncio.timeout(60), listen(contexts.server) as server, byte_relay(server.port) as port:
        accepting = asyncio.ensure_future(server.accept(upgrade=False))
        await tls_network.connect(
            plain.create_connection, lambda: above, "127.0.0.1", port, ssl=contexts.client, server_hostname="localhost"
        )
        peer = await accepting
        assert above.transport.get_extra_info("ssl_object").version().replace(".", "_") == version.name
        peer.write_bytes(payload[:1])
        peer.write_bytes(payload[1:])
        await above.until(lambda: above.received == payload)
        above.transport.write(payload)
        assert await peer.read_bytes(len(payload)) == payload
        peer.half_close()
        assert await above.lost() is None
    assert above.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_what_comes_with_the_last_flight_follows_connection_made(plain, tls_contexts):
    """A client may send its first bytes behind the end of its handshake."""
    above = Above()
    async with asyncio.timeout(5), running_server(plain, tls_contexts, lambda: above) as address:
        peer = RawPeer(await connect_socket(address), is_client=True)
        async with peer:
            await peer.start_tls(tls_contexts.client, server_side=False, server_hostname="localhost")
            peer.write_bytes(b"at once")
            peer.half_close()
            assert await above.lost() is None
    assert above.received == b"at once"
    assert above.calls == ["connection_made", "eof_received", "connection_lost"]


# Flow control


async def test_nothing_comes_while_reading_is_paused(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        transport = above.transport
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        peer.write_bytes(b"later")
        await turns(20)
        assert above.received == b""
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await above.until(lambda: above.received == b"later")


async def test_a_pause_holds_what_was_read_already(connected):
    """And it is not delivered inside resume_reading()."""
    async with asyncio.timeout(5), connected() as (above, peer):
        above.buffer = bytearray(100)
        above.acts.append(above.transport.pause_reading)
        peer.write_bytes(b"x" * 1000)
        await above.until(lambda: len(above.received) > 0)
        await turns(20)
        assert len(above.received) == 100
        above.transport.resume_reading()
        assert len(above.received) == 100
        above.transport.pause_reading()
        await turns(20)
        assert len(above.received) == 100
        above.transport.resume_reading()
        await above.until(lambda: len(above.received) == 1000)


async def test_the_end_waits_for_a_paused_reader(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.buffer = bytearray(10)
        above.acts.append(above.transport.pause_reading)
        peer.write_bytes(b"x" * 100)
        peer.half_close()
        await above.until(lambda: len(above.received) == 10)
        await turns(20)
        assert above.calls == ["connection_made"]
        above.transport.resume_reading()
        assert await above.lost() is None
        assert len(above.received) == 100
        assert above.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_a_paused_reader_stops_its_peer(connected):
    """What it does not take stays in the kernel."""
    async with asyncio.timeout(20), connected() as (above, peer):
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        above.acts.append(above.transport.pause_reading)
        peer.write_bytes(LARGE * 16)
        await above.until(lambda: len(above.received) > 0)
        await turns(200)
        assert peer._unsent
        above.transport.resume_reading()
        await above.until(lambda: len(above.received) == 16 * len(LARGE))


async def test_a_slow_peer_pauses_writing(connected):
    async with asyncio.timeout(20), connected() as (above, peer):
        transport = above.transport
        transport.set_write_buffer_limits(high=100_000, low=10_000)
        assert transport.get_write_buffer_limits() == (10_000, 100_000)
        sent = 0
        while "pause_writing" not in above.calls:
            transport.write(LARGE)
            sent += len(LARGE)
        assert transport.get_write_buffer_size() > 100_000
        assert len(await peer.read_bytes(sent)) == sent
        await above.until(lambda: "resume_writing" in above.calls)
        assert transport.get_write_buffer_size() <= 10_000


# The end


async def test_close_sends_everything_and_waits_for_the_peer(connected):
    async with asyncio.timeout(20), connected() as (above, peer):
        above.transport.write(LARGE)
        above.transport.close()
        assert above.transport.is_closing()
        above.transport.close()
        above.transport.write(b"too late")
        assert await peer.read_to_end() == LARGE
        assert "connection_lost" not in above.calls
        peer.half_close()
        assert await above.lost() is None
        assert above.calls.count("connection_lost") == 1
        assert "eof_received" not in above.calls


async def test_after_close_nothing_is_delivered(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.buffer = bytearray(10)
        above.acts.append(above.transport.close)
        peer.write_bytes(b"x" * 100)
        await above.until(lambda: len(above.received) == 10)
        peer.write_bytes(b"x" * 100_000)
        peer.half_close()
        assert await above.lost() is None
        assert len(above.received) == 10


async def test_a_paused_transport_can_be_closed(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.transport.pause_reading()
        peer.write_bytes(b"never read")
        await turns()
        above.transport.close()
        assert await peer.read_to_end() == b""
        peer.half_close()
        assert await above.lost() is None


@pytest.mark.parametrize("way", ["half_close", "close", "reset"])
async def test_the_peer_ends(connected, way):
    async with asyncio.timeout(5), connected() as (above, peer):
        getattr(peer, way)()
        loss = await above.lost()
        # A socket that is closed with session tickets unread is reset.
        assert isinstance(
            loss, {"half_close": type(None), "close": ConnectionResetError | None}.get(way, ConnectionResetError)
        )
        assert above.calls == ["connection_made"] + ["eof_received"] * (loss is None) + ["connection_lost"]
        above.transport.write(b"ignored")
        above.transport.close()
        above.transport.abort()


async def test_an_answer_to_the_end_still_leaves(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.eof_received = lambda: above.transport.write(b"goodbye")
        peer.half_close()
        assert await peer.read_to_end() == b"goodbye"
        assert await above.lost() is None


async def test_abort_drops_at_once(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        above.transport.write(LARGE * 8)
        above.transport.abort()
        assert "connection_lost" not in above.calls  # not inside a call
        assert await above.lost() is None
        assert len(await peer.read_to_end()) < 8 * len(LARGE)


async def test_a_peer_that_does_not_answer_close_is_dropped(connected):
    async with asyncio.timeout(5), connected(ssl_shutdown_timeout=0.01) as (above, _):
        above.transport.close()
        assert isinstance(await above.lost(), TimeoutError)


async def test_a_broken_record_ends_the_connection(connected):
    async with asyncio.timeout(5), connected() as (above, peer):
        peer.write_bytes(b"last words")
        peer._send(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert isinstance(await above.lost(), ssl.SSLError)
        assert above.received == b"last words"
        with pytest.raises(ssl.SSLError, match="(?i)bad record mac"):  # the alert tells the peer why
            await peer.read_to_end()


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x17\x03\x03\xff\xff", b"\x00" * 5])
async def test_what_is_no_record_ends_the_connection_before_more_comes(connected, garbage):
    async with asyncio.timeout(5), connected() as (above, peer):
        peer._send(garbage)
        assert isinstance(await above.lost(), ssl.SSLError)


async def test_a_protocol_that_fails_loses_its_connection(connected, loop_errors):
    def fail() -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(5), connected() as (above, peer):
        above.acts.append(fail)
        peer.write_bytes(b"x")
        assert isinstance(await above.lost(), ZeroDivisionError)
    loop_errors.clear()


async def test_a_protocol_that_fails_after_a_pause_loses_its_connection(connected, loop_errors):
    def fail() -> None:
        raise ZeroDivisionError

    async with asyncio.timeout(5), connected() as (above, peer):
        above.buffer = bytearray(10)
        above.acts += [above.transport.pause_reading, fail]
        peer.write_bytes(b"x" * 20)
        await above.until(lambda: len(above.received) == 10)
        above.transport.resume_reading()
        assert isinstance(await above.lost(), ZeroDivisionError)
    assert "a protocol failed to receive" in loop_errors.describe()
    loop_errors.clear()


# The handshake


async def test_facts_about_the_connection(connected):
    async with asyncio.timeout(5), connected() as (above, _):
        info = above.transport.get_extra_info
        assert isinstance(info("ssl_object"), ssl.SSLObject)
        assert isinstance(info("sslcontext"), ssl.SSLContext)
        assert info("cipher") == info("ssl_object").cipher()
        assert info("peercert") == info("ssl_object").getpeercert()
        assert info("compression") is None
        assert info("peername")[0] == info("sockname")[0] == "127.0.0.1"
        assert info("socket").fileno() >= 0
        assert info("nothing", "default") == "default"
        assert not above.transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            above.transport.write_eof()


async def test_a_certificate_for_another_name_is_refused(plain, tls_contexts):
    above = Above()
    async with asyncio.timeout(5), listen(tls_contexts.server) as server:
        accepting = asyncio.ensure_future(server.accept(upgrade=False))
        with pytest.raises(ssl.SSLCertVerificationError):
            await tls_network.connect(
                plain.create_connection,
                lambda: above,
                "127.0.0.1",
                server.port,
                ssl=tls_contexts.client,
                server_hostname="elsewhere.example",
            )
        with contextlib.suppress(ssl.SSLError, OSError):
            peer = await accepting  # TLS 1.3: the server is done before the client has seen the certificate
            await peer.read_to_end()
    assert above.calls == []


@pytest.mark.parametrize(
    ("words", "error"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", ssl.SSLError), (b"", ConnectionResetError)],
)
async def test_a_server_that_does_not_speak_tls(plain, tls_contexts, words, error):
    async with asyncio.timeout(5), listen() as server:
        connecting = asyncio.ensure_future(
            tls_network.connect(
                plain.create_connection,
                Above,
                "127.0.0.1",
                server.port,
                ssl=tls_contexts.client,
                server_hostname="localhost",
            )
        )
        peer = await server.accept(upgrade=False)
        await peer.read_some()
        peer.write_bytes(words)
        peer.half_close()
        with pytest.raises(error):
            await connecting


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", b"\x16\x03\x01\x00"])
async def test_a_client_that_does_not_speak_tls(plain, tls_contexts, words, caplog):
    above = Above()
    caplog.set_level(logging.WARNING)
    async with asyncio.timeout(5), running_server(plain, tls_contexts, lambda: above) as address:
        peer = RawPeer(await connect_socket(address), is_client=True)
        async with peer:
            peer.write_bytes(words)
            peer.half_close()
            await peer.read_to_end()
    assert above.calls == []
    assert caplog.records == []


async def test_a_server_gives_up_waiting_for_a_hello(plain, tls_contexts):
    above = Above()
    options = {"ssl_handshake_timeout": 0.01}
    async with asyncio.timeout(5), running_server(plain, tls_contexts, lambda: above, **options) as address:
        peer = RawPeer(await connect_socket(address), is_client=True)
        async with peer:
            await peer.read_eof()
    assert above.calls == []


async def test_a_client_gives_up_waiting_for_a_hello(plain, tls_contexts):
    options = {"ssl": tls_contexts.client, "server_hostname": "localhost", "ssl_handshake_timeout": 0.01}
    async with asyncio.timeout(5), listen() as server:
        with pytest.raises(ConnectionAbortedError, match=r"0\.01 seconds"):
            await tls_network.connect(plain.create_connection, Above, "127.0.0.1", server.port, **options)


async def test_a_handshake_without_end_is_refused(plain, tls_contexts):
    """OpenSSL takes no hello of 16 MiB; what it has taken until then is small."""
    above = Above()
    hello = b"\x01\xff\xff\xff" + bytes(16380)
    async with asyncio.timeout(5), running_server(plain, tls_contexts, lambda: above) as address:
        peer = RawPeer(await connect_socket(address), is_client=True)
        async with peer:
            for _ in range(100):
                peer.write_bytes(b"\x16\x03\x01\x40\x00" + hello)
            await peer.read_to_end()
    assert above.calls == []


async def test_cancelled_during_the_handshake_no_connection_is_left(plain, tls_contexts):
    async with asyncio.timeout(5), listen() as server:
        options = {"ssl": tls_contexts.client, "server_hostname": "localhost"}
        connecting = asyncio.ensure_future(
            tls_network.connect(plain.create_connection, Above, "127.0.0.1", server.port, **options)
        )
        peer = await server.accept(upgrade=False)
        await peer.read_some()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await peer.read_eof()


async def test_tls_needs_a_name_to_check(plain, tls_contexts):
    with pytest.raises(ValueError, match="server_hostname"):
        await tls_network.connect(plain.create_connection, Above, "127.0.0.1", 1, ssl=tls_contexts.client)


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
async def test_timeouts_must_be_positive(plain, tls_contexts, name):
    with pytest.raises(ValueError, match=f"{name} should be a positive number, got 0"):
        await tls_network.connect(
            plain.create_connection, Above, "127.0.0.1", 1, ssl=tls_contexts.client, server_hostname="x", **{name: 0}
        )


@pytest.mark.parametrize("inner", ["ours", "the loop's"])
async def test_tls_inside_tls(connected, tls_contexts, inner):
    """Over our transport, by our start_tls and by that of the loop."""
    async with asyncio.timeout(10), connected() as (above, peer):
        second = Above()
        loop = asyncio.get_running_loop()
        start_tls = tls_network.start_tls if inner == "ours" else loop.start_tls
        server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = tls_contexts.server.wrap_bio(server_in, server_out, server_side=True)
        starting = asyncio.ensure_future(
            start_tls(above.transport, second, tls_contexts.client, server_hostname="localhost")
        )

        async def exchange(step: Callable[[], bytes | None]) -> bytes | None:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    peer.write_bytes(server_out.read())
                    server_in.write(await peer.read_some())
                finally:
                    peer.write_bytes(server_out.read())

        await exchange(server.do_handshake)
        transport = await starting
        transport.write(LARGE[:50_000])
        assert (await exchange(server.read)).startswith(LARGE[:256])
        server.write(b"inside")
        peer.write_bytes(server_out.read())
        await second.until(lambda: second.received == b"inside")
        transport.abort()
        await second.lost()
