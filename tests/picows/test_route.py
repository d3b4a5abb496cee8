"""Ways to a server: addresses, transports, TLS, the user's own sockets, Unix sockets."""

import asyncio
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

from picows import WSInvalidStatusError, WSMsgType, ws_connect
from picows.network import default_ssl_context
from tests.support import RawPeer, RawServer, TlsContexts, listen, make_tls_contexts
from tests.support.recorder import Recorder


async def exchange(transport: Any, listener: Recorder) -> None:
    """One message there and back."""
    transport.send(WSMsgType.TEXT, b"hello")
    assert (await listener.next_frame()).payload == b"hello"


@pytest.mark.links("plain")
class TestAddress:
    async def test_keywords_go_to_create_connection(self):
        options = {"local_addr": ("127.0.0.2", 0), "family": socket.AF_INET}
        if not type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            options["happy_eyeballs_delay"] = 0.1  # uvloop does not know it
        async with asyncio.timeout(5), listen() as server:
            connecting = asyncio.create_task(ws_connect(Recorder, server.url, **options))
            peer = await server.accept()
            assert peer.sock.getpeername()[0] == "127.0.0.2"
            (await connecting)[0].disconnect(graceful=False)
            await peer.read_eof()

    async def test_host_and_port_replace_those_of_the_url_for_connecting(self):
        async with asyncio.timeout(5), listen() as server:
            connecting = asyncio.create_task(
                ws_connect(Recorder, "ws://name.invalid:9/", host="127.0.0.1", port=server.port)
            )
            peer = await server.accept(upgrade=False)
            assert (await peer.accept_upgrade()).one("Host") == "name.invalid:9"
            (await connecting)[0].disconnect(graceful=False)
            await peer.read_eof()

    async def test_errors_of_the_system_are_not_wrapped(self):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await ws_connect(Recorder, f"ws://127.0.0.1:{port}/")
        with pytest.raises(socket.gaierror):
            await ws_connect(Recorder, "ws://name.invalid/")

    @pytest.mark.parametrize("use_aiofastnet", [None, False, True])
    async def test_nagle_is_off(self, server, connect, use_aiofastnet):
        async with asyncio.timeout(5), connect(server, use_aiofastnet=use_aiofastnet) as (transport, _):
            sock = transport.underlying_transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


class TestTransports:
    @pytest.mark.parametrize("use_aiofastnet", [None, False, True])
    async def test_whose_transport_it_is(self, server, connect, use_aiofastnet):
        """None and False mean the loop's own."""
        async with asyncio.timeout(5), connect(server, use_aiofastnet=use_aiofastnet) as (transport, listener):
            module = type(transport.underlying_transport).__module__
            assert module.startswith("aiofastnet") is bool(use_aiofastnet)
            await exchange(transport, listener)

    async def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "aiofastnet", None)
        with pytest.raises(ImportError, match=r"pip install 'picows-aio\[aiofastnet\]'"):
            await ws_connect(Recorder, "ws://127.0.0.1:9/", use_aiofastnet=True)


class TestTls:
    """RFC 6455 section 4.1: wss means TLS, with the server's name indicated (RFC 6066 section 3)."""

    @pytest.fixture
    def names(self, tls_contexts):
        """What clients indicated to `tls_contexts.server`."""
        seen = []
        tls_contexts.server.sni_callback = lambda sock, name, context: seen.append(name)
        yield seen
        tls_contexts.server.sni_callback = None

    @staticmethod
    async def connect(tls: TlsContexts, host: str, **options: Any) -> None:
        """Connect to a server that `host` is the name of, and disconnect."""
        async with listen(tls.server) as server:
            options = {"ssl_context": tls.client, **options}
            connecting = asyncio.create_task(ws_connect(Recorder, f"wss://{host}:{server.port}/", **options))
            peer = await server.accept()
            transport, _ = await connecting
            assert transport.is_secure
            transport.disconnect(graceful=False)
            await peer.read_eof()

    @pytest.mark.parametrize("use_aiofastnet", [None, True])
    async def test_the_host_is_indicated(self, names, tls_contexts, use_aiofastnet):
        async with asyncio.timeout(5):
            await self.connect(tls_contexts, "localhost", use_aiofastnet=use_aiofastnet)
        assert names == ["localhost"]

    @pytest.mark.parametrize("use_aiofastnet", [None, True])
    async def test_another_name_is_indicated_and_checked(self, use_aiofastnet):
        tls = make_tls_contexts("name.test")
        names = []
        tls.server.sni_callback = lambda sock, name, context: names.append(name)
        async with asyncio.timeout(5):
            await self.connect(tls, "localhost", server_hostname="name.test", use_aiofastnet=use_aiofastnet)
        assert names == ["name.test"]

    async def test_a_trailing_dot_is_not_indicated(self):
        tls = make_tls_contexts("name.test")

        async def connected(url):
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", url.port))
            return sock

        async with asyncio.timeout(5):
            await self.connect(tls, "name.test.", socket_factory=connected)

    async def test_the_default_context_verifies_and_is_made_once(self, monkeypatch, tls_contexts):
        made = []
        create = ssl.create_default_context
        monkeypatch.setattr(ssl, "create_default_context", lambda: made.append(create()) or made[-1])
        default_ssl_context.cache_clear()
        async with asyncio.timeout(5), listen(tls_contexts.server) as server:
            for _ in range(2):
                accepting = asyncio.create_task(server.accept())
                with pytest.raises(ssl.SSLCertVerificationError):
                    await ws_connect(Recorder, f"wss://localhost:{server.port}/")
                with pytest.raises((ssl.SSLError, EOFError)):
                    await accepting
        default_ssl_context.cache_clear()
        assert len(made) == 1

    async def test_no_context_is_made_without_tls(self, monkeypatch, server, connect):
        monkeypatch.setattr(ssl, "create_default_context", lambda: pytest.fail("loading the trust store takes long"))
        default_ssl_context.cache_clear()
        async with asyncio.timeout(5), connect(server):
            pass


@pytest.mark.links("plain")
class TestSocketFactory:
    @pytest.fixture
    def made(self):
        """Sockets the factories of a test made."""
        return []

    @pytest.fixture(params=["sync", "async"])
    def as_factory(self, request):
        """Turns a function into a sync or an async factory."""

        def turn(function):
            if request.param == "sync":
                return function

            async def factory(url):
                return function(url)

            return factory

        return turn

    async def test_unconnected_socket(self, server, connect, made, as_factory):
        def make(url):
            made.append((socket.socket(), url.host, url.port))
            return made[-1][0]

        async with asyncio.timeout(5), connect(server, socket_factory=as_factory(make)) as (transport, listener):
            await exchange(transport, listener)
            assert transport.underlying_transport.get_extra_info("socket").fileno() == made[0][0].fileno()
        assert made[0][1:] == server.address

    @pytest.mark.parametrize("use_aiofastnet", [None, True])
    async def test_connected_socket(self, server, connect, made, as_factory, use_aiofastnet):
        def make(url):
            made.append(socket.create_connection((url.host, url.port)))
            return made[-1]

        options = {"socket_factory": as_factory(make), "use_aiofastnet": use_aiofastnet}
        async with asyncio.timeout(5), connect(server, **options) as (transport, listener):
            await exchange(transport, listener)
            assert not made[0].getblocking()
        assert made[0].fileno() == -1

    async def test_connected_unix_socket(self, link, connect, made):
        ours, theirs = socket.socketpair()
        ours.setblocking(True)

        async with asyncio.timeout(5), RawPeer(theirs, is_client=False) as peer:
            connecting = asyncio.create_task(ws_connect(Recorder, "ws://x/", socket_factory=lambda url: ours))
            await peer.accept_upgrade()
            transport, _ = await connecting
            transport.disconnect(graceful=False)
            await peer.read_eof()

    async def test_none_connects_as_usual(self, server, connect, as_factory):
        options = {"socket_factory": as_factory(lambda url: None)}
        async with asyncio.timeout(5), connect(server, **options) as (transport, listener):
            await exchange(transport, listener)

    @pytest.mark.parametrize("what", [5, "x", object()])
    async def test_something_else(self, what, as_factory):
        words = f"socket_factory must return a socket.socket or None, not {type(what).__name__}"
        with pytest.raises(TypeError, match=words):
            await ws_connect(Recorder, "ws://127.0.0.1:9/", socket_factory=as_factory(lambda url: what))

    async def test_its_exception_comes_through(self, as_factory):
        def fail(url):
            raise LookupError("on purpose")

        with pytest.raises(LookupError, match="on purpose"):
            await ws_connect(Recorder, "ws://127.0.0.1:9/", socket_factory=as_factory(fail))

    @pytest.mark.parametrize(
        ("arguments", "options", "error"),
        [
            ((socket.AF_INET, socket.SOCK_DGRAM), {}, ValueError),
            ((socket.AF_UNIX, socket.SOCK_STREAM), {}, ValueError),
            ((socket.AF_INET, socket.SOCK_STREAM), {}, ConnectionRefusedError),
            ((socket.AF_INET, socket.SOCK_STREAM), {"nonsense": 1}, (TypeError, ConnectionRefusedError)),
        ],
    )
    async def test_it_is_closed_when_connecting_fails(self, arguments, options, error):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        sock = socket.socket(*arguments)
        with pytest.raises(error):
            await ws_connect(Recorder, url, socket_factory=lambda url: sock, **options)
        assert sock.fileno() == -1

    async def test_tls_is_not_its_business(self):
        sock = ssl.create_default_context().wrap_socket(socket.socket(), server_hostname="localhost")
        with pytest.raises(ValueError, match="must return a plain socket: TLS follows from the scheme wss://"):
            await ws_connect(Recorder, "wss://127.0.0.1:9/", socket_factory=lambda url: sock)
        assert sock.fileno() == -1

    async def test_it_is_closed_when_the_server_refuses(self):
        async with asyncio.timeout(5), listen() as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            connecting = asyncio.create_task(ws_connect(Recorder, server.url, socket_factory=lambda url: sock))
            peer = await server.accept(upgrade=False)
            await peer.read_http_head()
            peer.write_bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(WSInvalidStatusError):
                await connecting
            assert sock.fileno() == -1


@pytest.mark.links("unix")
class TestUnixSocket:
    @pytest.mark.parametrize("convert", [str, os.fsencode, Path])
    @pytest.mark.parametrize("use_aiofastnet", [None, True])
    async def test_kinds_of_paths(self, server, connect, convert, use_aiofastnet):
        options = {"path": convert(server.address), "use_aiofastnet": use_aiofastnet}
        async with asyncio.timeout(5), connect(server, **options) as (transport, listener):
            await exchange(transport, listener)

    async def test_the_url_says_what_to_ask_for(self, raw_server):
        async with asyncio.timeout(5), raw_server() as server:
            connecting = asyncio.create_task(ws_connect(Recorder, "ws://name.test/chat?x", **server.connect_options))
            peer = await server.accept(upgrade=False)
            head = await peer.accept_upgrade()
            assert (head.target, head.one("Host")) == ("/chat?x", "name.test")
            (await connecting)[0].disconnect(graceful=False)
            await peer.read_eof()

    async def test_tls_over_it(self, raw_server):
        tls = make_tls_contexts("name.test")
        async with asyncio.timeout(5), raw_server() as plain:
            server = RawServer(plain.sock, "", tls=tls.server)
            connecting = asyncio.create_task(
                ws_connect(Recorder, "wss://name.test/", ssl_context=tls.client, **plain.connect_options)
            )
            peer = await server.accept()
            transport, _ = await connecting
            assert transport.is_secure
            transport.disconnect(graceful=False)
            await peer.read_eof()
            server.close()

    async def test_no_such_path(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            await ws_connect(Recorder, "ws://localhost/", path=tmp_path / "none")

    async def test_a_platform_without_them(self, monkeypatch):
        monkeypatch.delattr(socket, "AF_UNIX")
        with pytest.raises(NotImplementedError, match="path needs Unix sockets"):
            await ws_connect(Recorder, "ws://localhost/", path="/x")
