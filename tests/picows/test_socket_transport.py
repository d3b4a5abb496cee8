"""The transport over plain sockets does for its protocol what asyncio's own does: every test runs against both."""

import asyncio
import os
import socket
import struct
import threading

import pytest

from picows.socket_network import attach, create_server
from picows.socket_transport import HAS_SOCKET_TRANSPORTS

pytestmark = [
    pytest.mark.skipif(not HAS_SOCKET_TRANSPORTS, reason="this system has none"),
    pytest.mark.asyncio(loop_factories=["asyncio"]),
    pytest.mark.parametrize("kind", ["ours", "asyncio"]),
]

MIB = 1 << 20


class Recorder:
    """What both kinds of protocol have in common: they note their calls in order."""

    def __init__(self):
        self.calls = []
        self.received = bytearray()
        self.lost = asyncio.get_running_loop().create_future()
        self.something = asyncio.Event()

    def note(self, name):
        self.calls.append(name)
        self.something.set()

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def took(self, data):
        self.received += data
        self.note("data")

    def eof_received(self):
        self.note("eof")

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(exc)

    async def until(self, condition):
        while not condition():
            self.something.clear()
            await self.something.wait()


class Stream(Recorder, asyncio.Protocol):
    def data_received(self, data):
        self.took(data)


class Buffered(Recorder, asyncio.BufferedProtocol):
    def __init__(self):
        super().__init__()
        self.buffer = bytearray(1000)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, count):
        self.took(self.buffer[:count])


@pytest.fixture(autouse=True)
async def deadline():
    async with asyncio.timeout(20):
        yield


async def connect(kind, protocol_class=Stream):
    """A protocol on a transport, and the blocking socket of its peer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        sock, _ = listening.accept()
    loop = asyncio.get_running_loop()
    if kind == "ours":
        _, protocol = attach(loop, sock, protocol_class())
    else:
        _, protocol = await loop.connect_accepted_socket(protocol_class, sock)
    peer.settimeout(10)
    return protocol, peer


async def in_thread(function, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def read_all(peer):
    data = bytearray()
    while piece := peer.recv(MIB):
        data += piece
    return bytes(data)


@pytest.mark.parametrize("protocol_class", [Stream, Buffered])
async def test_a_connection_from_its_beginning_to_its_end(kind, protocol_class):
    protocol, peer = await connect(kind, protocol_class)
    with peer:
        sent = os.urandom(300_000)
        await in_thread(peer.sendall, sent)
        await protocol.until(lambda: len(protocol.received) == len(sent))
        assert protocol.received == sent
        protocol.transport.write(b"answer")
        assert await in_thread(peer.recv, 100) == b"answer"
        peer.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert [name for name in protocol.calls if name != "data"] == ["made", "eof", "lost"]
        assert protocol.transport.is_closing()
        assert peer.recv(1) == b""


async def test_a_stream_may_end_while_writing_goes_on(kind):
    class Answering(Stream):
        def eof_received(self):
            super().eof_received()
            return True

    protocol, peer = await connect(kind, Answering)
    with peer:
        peer.shutdown(socket.SHUT_WR)
        await protocol.until(lambda: "eof" in protocol.calls)
        protocol.transport.write(b"late")
        protocol.transport.close()
        assert await in_thread(read_all, peer) == b"late"
        assert await protocol.lost is None


@pytest.mark.parametrize("piece", [100, 5_000, MIB])
async def test_a_slow_peer_gets_everything_in_order(kind, piece):
    protocol, peer = await connect(kind)
    with peer:
        data = os.urandom(6 * MIB)
        for start in range(0, len(data), piece):
            protocol.transport.write(data[start : start + piece])
        assert protocol.calls == ["made", "pause"]
        assert 0 < protocol.transport.get_write_buffer_size() < len(data)
        reading = asyncio.ensure_future(in_thread(read_all, peer))
        await protocol.until(lambda: "resume" in protocol.calls)
        protocol.transport.close()
        assert await reading == data
        assert await protocol.lost is None
        assert protocol.calls == ["made", "pause", "resume", "lost"]


async def test_abort_drops_what_waits(kind):
    protocol, peer = await connect(kind)
    with peer:
        protocol.transport.write(bytes(16 * MIB))
        protocol.transport.abort()
        assert "lost" not in protocol.calls  # never inside a call
        assert await protocol.lost is None
        assert protocol.transport.get_write_buffer_size() == 0
        assert len(await in_thread(read_all, peer)) < 16 * MIB


async def test_a_reset_is_told(kind):
    protocol, peer = await connect(kind)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert isinstance(await protocol.lost, ConnectionResetError)
    protocol.transport.write(b"ignored")
    protocol.transport.close()
    protocol.transport.abort()
    assert protocol.calls == ["made", "lost"]


async def test_the_stream_ends_after_what_waits(kind):
    protocol, peer = await connect(kind)
    with peer:
        assert protocol.transport.can_write_eof()
        protocol.transport.write(bytes(6 * MIB))
        protocol.transport.write_eof()
        protocol.transport.write_eof()
        with pytest.raises(RuntimeError):
            protocol.transport.write(b"more")
        assert len(await in_thread(read_all, peer)) == 6 * MIB
        peer.sendall(b"still read")
        await protocol.until(lambda: protocol.received == b"still read")
        protocol.transport.abort()
        await protocol.lost


async def test_reading_can_be_paused(kind):
    protocol, peer = await connect(kind)
    with peer:
        transport = protocol.transport
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        peer.sendall(b"waits")
        transport.write(b"first")
        assert await in_thread(peer.recv, 100) == b"first"
        assert protocol.received == b""
        transport.resume_reading()
        transport.resume_reading()
        await protocol.until(lambda: protocol.received == b"waits")
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()
        await protocol.lost


async def test_a_pause_in_a_callback_stops_the_turn(kind):
    class Pausing(Buffered):
        def took(self, data):
            super().took(data)
            self.transport.pause_reading()

    protocol, peer = await connect(kind, Pausing)
    with peer:
        peer.sendall(bytes(5_000))
        for number in range(1, 6):
            await protocol.until(lambda number=number: protocol.calls.count("data") == number)
            assert len(protocol.received) == 1000 * number
            protocol.transport.resume_reading()
        protocol.transport.abort()
        await protocol.lost


async def test_another_protocol_can_take_over_in_a_callback(kind):
    class First(Stream):
        def took(self, data):
            super().took(data)
            self.next = Buffered()
            self.transport.set_protocol(self.next)
            assert self.transport.get_protocol() is self.next
            self.transport.write(b"next")

    protocol, peer = await connect(kind, First)
    with peer:
        peer.sendall(b"1")
        assert await in_thread(peer.recv, 100) == b"next"
        peer.sendall(b"2")
        await protocol.next.until(lambda: protocol.next.received == b"2")
        assert protocol.received == b"1"
        protocol.transport.abort()
        await protocol.next.lost


@pytest.mark.parametrize("protocol_class", [Stream, Buffered])
async def test_a_protocol_that_fails_loses_its_connection_and_the_loop_is_told(kind, protocol_class):
    class Failing(protocol_class):
        def took(self, data):
            raise LookupError("mine")

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    protocol, peer = await connect(kind, Failing)
    with peer:
        peer.sendall(b"x")
        exc = await protocol.lost
        assert isinstance(exc, LookupError)
        assert told == [exc]


async def test_a_callback_about_writing_that_fails_is_reported_and_no_more(kind):
    class Failing(Stream):
        def pause_writing(self):
            super().pause_writing()
            raise LookupError("mine")

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    protocol, peer = await connect(kind, Failing)
    with peer:
        protocol.transport.write(bytes(6 * MIB))
        assert [type(exc) for exc in told] == [LookupError]
        protocol.transport.close()
        assert len(await in_thread(read_all, peer)) == 6 * MIB


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [(None, None, (16384, 65536)), (100, None, (25, 100)), (None, 100, (100, 400)), (7, 3, (3, 7)), (0, 0, (0, 0))],
)
async def test_the_marks_of_the_write_buffer(kind, high, low, expected):
    protocol, peer = await connect(kind)
    with peer:
        protocol.transport.set_write_buffer_limits(high, low)
        assert protocol.transport.get_write_buffer_limits() == expected
        for wrong in [(1, 2), (-1, -2)]:
            with pytest.raises(ValueError, match="high"):
                protocol.transport.set_write_buffer_limits(*wrong)
        protocol.transport.abort()
        await protocol.lost


async def test_facts_about_the_connection(kind):
    protocol, peer = await connect(kind)
    with peer:
        info = protocol.transport.get_extra_info
        here, there = peer.getpeername(), peer.getsockname()
        assert (info("sockname"), info("peername")) == (here, there)
        assert info("socket").getsockname() == here
        assert info("sslcontext") is None
        assert info("nothing", 5) == 5
        protocol.transport.abort()
        await protocol.lost
        await asyncio.sleep(0)
        assert (info("sockname"), info("peername")) == (here, there)


async def test_only_bytes_are_written(kind):
    protocol, peer = await connect(kind)
    with peer:
        with pytest.raises(TypeError, match="bytes"):
            protocol.transport.write("text")
        protocol.transport.write(b"")
        protocol.transport.close()
        assert await in_thread(read_all, peer) == b""


async def test_a_flood_on_one_connection_leaves_the_others_their_turn(kind):
    protocol, peer = await connect(kind)
    stopped = threading.Event()

    def flood():
        block = bytes(MIB)
        while not stopped.is_set():
            peer.sendall(block)

    with peer:
        flooding = asyncio.ensure_future(in_thread(flood))
        await protocol.until(lambda: len(protocol.received) > MIB)
        for _ in range(50):
            before = len(protocol.received)
            await asyncio.sleep(0)
            assert len(protocol.received) - before < 64 * MIB
            protocol.received.clear()
        stopped.set()
        await flooding
        protocol.transport.abort()
        await protocol.lost


async def test_a_server_is_like_asyncio_s(kind):
    loop = asyncio.get_running_loop()
    serve = create_server if kind == "ours" else type(loop).create_server
    server = await serve(loop, Stream, "127.0.0.1", 0, start_serving=False)
    assert isinstance(server, asyncio.Server)
    assert server.get_loop() is loop
    assert not server.is_serving()
    address = server.sockets[0].getsockname()
    serving = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    assert server.is_serving()
    await server.start_serving()
    with pytest.raises(RuntimeError, match="already"):
        await server.serve_forever()
    with socket.create_connection(address):
        pass
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.is_serving()
    assert tuple(server.sockets) == ()
    server.close()
    await server.wait_closed()
    with pytest.raises(RuntimeError, match="closed"):
        await server.serve_forever()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address)


async def test_clients_of_a_server_can_be_closed(kind):
    loop = asyncio.get_running_loop()
    if kind == "asyncio" and not hasattr(asyncio.Server, "close_clients"):
        pytest.skip("asyncio's servers cannot before Python 3.13")
    made = asyncio.Queue()

    class Client(Stream):
        def connection_made(self, transport):
            super().connection_made(transport)
            made.put_nowait(self)

    serve = create_server if kind == "ours" else type(loop).create_server
    server = await serve(loop, Client, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for end in (server.close_clients, server.abort_clients):
        with socket.create_connection(address) as peer:
            protocol = await made.get()
            end()
            assert await protocol.lost is None
            assert await in_thread(read_all, peer) == b""
    server.close()
    await server.wait_closed()
