"""`ws_connect`: its arguments, its one deadline, and what failure, timeout or cancellation leave behind: nothing."""

import asyncio
import contextlib
import inspect
import socket

import pytest

from picows import WSInvalidMessageError, WSInvalidStatusError, WSInvalidURL, WSMsgType, ws_connect
from tests.support import TEXT, listen
from tests.support.cancelling import cancel_at_every_step, sockets_to
from tests.support.recorder import Recorder

LIMIT = {"websocket_handshake_timeout": 0.05}


class TestArguments:
    async def test_every_default_may_be_given(self, server, connect):
        parameters = inspect.signature(ws_connect).parameters.values()
        options = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
        async with asyncio.timeout(5), connect(server, **options | server.connect_options) as (transport, listener):
            transport.send(WSMsgType.TEXT, b"hello")
            assert (await listener.next_frame()).payload == b"hello"

    @pytest.mark.parametrize(
        ("name", "words"), [("ssl", "ssl_context"), ("sock", "socket_factory"), ("all_errors", "one exception")]
    )
    async def test_keywords_that_have_another_name_here(self, name, words):
        with pytest.raises(TypeError, match=f"ws_connect\\(\\) takes no '{name}': .*{words}"):
            await ws_connect(Recorder, "ws://127.0.0.1:9/", **{name: None})

    async def test_an_unknown_keyword(self):
        with contextlib.closing(listen()) as server:
            with pytest.raises(TypeError, match="nonsense"):
                await ws_connect(Recorder, server.url, nonsense=1)
            with pytest.raises(BlockingIOError):
                server.sock.accept()

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"ssl_context": True}, TypeError, "ssl_context must be an ssl.SSLContext or None, not bool"),
            ({"proxy_ssl_context": "x"}, TypeError, "proxy_ssl_context must be an ssl.SSLContext or None, not str"),
            ({"use_aiofastnet": 1}, TypeError, "use_aiofastnet must be True, False or None, not 1"),
            ({"socket_factory": 5}, TypeError, "socket_factory must be callable, not int"),
            ({"websocket_handshake_timeout": 0}, ValueError, "websocket_handshake_timeout .* positive"),
            ({"websocket_handshake_timeout": -1}, ValueError, "websocket_handshake_timeout .* positive"),
            ({"websocket_handshake_timeout": float("nan")}, ValueError, "websocket_handshake_timeout .* positive"),
            ({"extra_headers": {"X": "a\r\nY: b"}}, ValueError, "header X"),
            ({"extra_headers": {"a b": "c"}}, ValueError, "'a b'"),
            ({"extra_headers": {"X": 5}}, TypeError, "header X must be a str"),
            ({"disconnect_on_exception": False, "disconnect_on_error": False}, TypeError, "disconnect_on_error"),
            ({"disconnect_on_exception": True, "disconnect_on_error": False}, TypeError, "disconnect_on_error"),
            (
                {"path": "/x", "socket_factory": socket.socket},
                ValueError,
                "path cannot be combined with socket_factory",
            ),
            ({"path": "/x", "host": "x"}, ValueError, "host and port cannot be combined with path"),
            ({"port": 1, "socket_factory": socket.socket}, ValueError, "host and port cannot .* with socket_factory"),
        ],
    )
    async def test_a_wrong_argument_is_named_before_anything_is_sent(self, options, error, words):
        with contextlib.closing(listen()) as server:
            with pytest.raises(error, match=words):
                await ws_connect(Recorder, server.url, **options)
            with pytest.raises(BlockingIOError):
                server.sock.accept()

    async def test_the_factory_must_be_callable(self):
        with pytest.raises(TypeError, match="ws_listener_factory must be callable, not Recorder"):
            await ws_connect(Recorder(), "ws://127.0.0.1:9/")

    @pytest.mark.parametrize("url", ["http://x/", "ws://", "ws://x/#y", "x"])
    async def test_no_websocket_url(self, url):
        with pytest.raises(WSInvalidURL):
            await ws_connect(Recorder, url)

    @pytest.mark.parametrize("name", ["disconnect_on_exception", "disconnect_on_error"])
    async def test_both_names_of_one_parameter(self, name, connect_raw):
        class Failing(Recorder):
            def on_ws_frame(self, transport, frame):
                super().on_ws_frame(transport, frame)
                raise RuntimeError("on purpose")

        async with asyncio.timeout(5), connect_raw(Failing, **{name: False}) as (_, listener, peer):
            for text in "one", "two":
                peer.write_frame(TEXT, text)
                assert (await listener.next_frame()).payload == text.encode()

    async def test_the_factory_may_ask_for_request_and_response(self, server):
        seen = []

        def factory(request, response):
            seen.append((request.path, int(response.status)))
            return Recorder()

        async with asyncio.timeout(5):
            transport, _ = await ws_connect(factory, server.url, **server.connect_options)
            transport.disconnect(graceful=False)
            await transport.wait_disconnected()
        assert seen == [(b"/", 101)]


class TestDeadline:
    """One for everything, and nothing of the connection is left when it passes."""

    async def test_a_server_that_does_not_answer(self, raw_server):
        async with asyncio.timeout(5), raw_server() as server:
            connecting = asyncio.create_task(ws_connect(Recorder, server.url, **server.connect_options, **LIMIT))
            peer = await server.accept(upgrade=False)
            await peer.read_http_head()
            peer.write_bytes(b"HTTP/1.1 101 Switching")
            with pytest.raises(asyncio.TimeoutError, match=r"did not complete the WebSocket handshake within 0.05 s"):
                await connecting
            await peer.read_eof()

    @pytest.mark.links("tls")
    @pytest.mark.parametrize("use_aiofastnet", [None, True])
    async def test_a_server_that_does_not_speak_tls(self, raw_server, use_aiofastnet):
        async with asyncio.timeout(5), raw_server() as server:
            connecting = asyncio.create_task(
                ws_connect(Recorder, server.url, **server.connect_options, **LIMIT, use_aiofastnet=use_aiofastnet)
            )
            sock, _ = await asyncio.get_running_loop().sock_accept(server.sock)
            with sock:
                with pytest.raises(asyncio.TimeoutError):
                    await connecting
                assert sockets_to(server.port) == 0

    async def test_a_server_that_does_not_accept(self):
        """The queue of the listening socket is full, so that connecting does not end."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as sock, socket.create_connection(sock.getsockname()):
            before = sockets_to(sock.getsockname()[1])
            with pytest.raises(asyncio.TimeoutError):
                await ws_connect(Recorder, f"ws://127.0.0.1:{sock.getsockname()[1]}/", **LIMIT)
            assert sockets_to(sock.getsockname()[1]) == before

    async def test_a_socket_factory_that_does_not_end(self):
        async def never(url):
            await asyncio.get_running_loop().create_future()

        with pytest.raises(asyncio.TimeoutError):
            await ws_connect(Recorder, "ws://127.0.0.1:9/", socket_factory=never, **LIMIT)

    @pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop resolves names where a test cannot reach
    async def test_a_resolver_that_does_not_answer(self, monkeypatch):
        loop = asyncio.get_running_loop()

        async def never(*args, **kwargs):
            await loop.create_future()

        monkeypatch.setattr(loop, "getaddrinfo", never)
        with pytest.raises(asyncio.TimeoutError):
            await ws_connect(Recorder, "ws://name.invalid/", **LIMIT)

    @pytest.mark.links("plain")
    async def test_a_timeout_of_the_system_is_told_apart(self):
        async def slow(url):
            raise TimeoutError(110, "of the system")

        with pytest.raises(TimeoutError, match="of the system"):
            await ws_connect(Recorder, "ws://127.0.0.1:9/", socket_factory=slow)

    @pytest.mark.links("plain")
    async def test_none_sets_no_timer(self, raw_server, monkeypatch):
        loop = asyncio.get_running_loop()
        deadlines = []
        timeout = asyncio.timeout
        monkeypatch.setattr(asyncio, "timeout", lambda delay: deadlines.append(delay) or timeout(delay))
        async with timeout(5), raw_server() as server:
            connecting = loop.create_task(ws_connect(Recorder, server.url, websocket_handshake_timeout=None))
            peer = await server.accept()
            (await connecting)[0].disconnect(graceful=False)
            await peer.read_eof()
        assert deadlines == [None]


class TestFailures:
    @pytest.mark.parametrize(
        "answer", [b"", b"HTTP/1.1 101 Switching", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 500 \r\n\r\nno"]
    )
    async def test_the_connection_is_closed_when_the_error_arrives(self, answer, raw_server):
        async with asyncio.timeout(5), raw_server() as server:
            connecting = asyncio.create_task(ws_connect(Recorder, server.url, **server.connect_options))
            peer = await server.accept(upgrade=False)
            await peer.read_http_head()
            peer.write_bytes(answer)
            peer.half_close()
            with pytest.raises((WSInvalidMessageError, WSInvalidStatusError)):
                await connecting
            if isinstance(server.sock.getsockname(), tuple):
                assert sockets_to(server.port) == 0
            await peer.read_eof()

    async def test_an_exception_of_the_listener_factory_comes_through(self, raw_server):
        def fail():
            raise LookupError("on purpose")

        async with asyncio.timeout(5), raw_server() as server:
            connecting = asyncio.create_task(ws_connect(fail, server.url, **server.connect_options))
            peer = await server.accept()
            with pytest.raises(LookupError, match="on purpose"):
                await connecting
            await peer.read_eof()


@pytest.mark.links("plain", "tls")
@pytest.mark.parametrize("use_aiofastnet", [None, True])
@pytest.mark.parametrize("socket_factory", [None, lambda url: socket.socket()], ids=["direct", "socket"])
async def test_cancelled_at_any_step_it_leaves_no_socket(server, use_aiofastnet, socket_factory, loop_errors):
    options = {"use_aiofastnet": use_aiofastnet, "socket_factory": socket_factory, **server.connect_options}
    async with asyncio.timeout(30):
        steps = await cancel_at_every_step(lambda: ws_connect(Recorder, server.url, **options), server.address[1])
    assert steps > 3
    loop_errors.clear()  # the server's: TLS handshakes that the client gave up
