"""`ws_create_server`: what its factory may answer, and what it takes besides."""

import asyncio
import http
import socket
from pathlib import Path

import pytest

from picows import (
    ServerHandshakePolicy,
    WSListener,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)
from tests.support import TEXT, Frame, connect_raw_peer, new_key, upgrade_fields
from tests.support.links import Endpoint
from tests.support.recorder import Accepted, Echo, Recorder

plain_only = pytest.mark.links("plain")
SECRET = "the password is swordfish"


def write_request(peer, method="GET", target="/", *, fields=None, version="HTTP/1.1"):
    """An upgrade request, or with `fields` something else; Host is always there."""
    fields = upgrade_fields(new_key()) if fields is None else fields
    peer.write_http_head(f"{method} {target} {version}", [("Host", "localhost"), *fields])


async def answer_to(peer, method="GET", target="/", *, fields=None):
    """Status, head and body of the answer, which is the last on its connection."""
    write_request(peer, method, target, fields=fields)
    head = await peer.read_http_head()
    body = b"" if head.status == 101 else await peer.read_to_end()
    return head.status, head, body


def sync(answer):
    return lambda request: answer


def in_coroutine(answer):
    async def factory(request):
        await asyncio.sleep(0)
        return answer

    return factory


def in_future(answer):
    def factory(request):
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, answer)
        return future

    return factory


def in_awaitable(answer):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return answer

    return lambda request: Awaitable()


every_way = pytest.mark.parametrize("answering", [sync, in_coroutine, in_future, in_awaitable])


@every_way
async def test_a_listener_opens_the_websocket(serve, raw_peer, answering):
    listener = Echo()
    async with asyncio.timeout(5), serve(answering(listener)) as endpoint:
        async with raw_peer(endpoint) as peer:
            peer.write_frame(TEXT, "x")
            assert await peer.read_frame() == Frame(TEXT, b"x")
            assert listener.transport.response.status == 101
            assert not listener.transport.is_client_side
        await listener.disconnected.wait()


@every_way
@plain_only
async def test_a_response_of_the_user_s_own_opens_it_too(serve, raw_peer, answering):
    """Extra headers, a subprotocol; the handshake adds what it must."""
    listener = Echo()
    response = WSUpgradeResponse.create_101_response([("Sec-WebSocket-Protocol", "chat.v2"), ("Set-Cookie", "a=1")])
    answer = WSUpgradeResponseWithListener(response, listener)
    async with asyncio.timeout(5), serve(answering(answer)) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        head = await peer.upgrade(fields=[("Sec-WebSocket-Protocol", "chat.v1, chat.v2")])
        assert head.one("Sec-WebSocket-Protocol") == "chat.v2"
        assert head.one("Set-Cookie") == "a=1"
        assert head.one("Upgrade").lower() == "websocket"
        assert head.one("Connection").lower() == "upgrade"
        peer.write_frame(TEXT, "x")
        assert await peer.read_frame() == Frame(TEXT, b"x")
        assert listener.transport.response.headers["set-cookie"] == "a=1"


@every_way
async def test_none_is_404(serve, raw_peer, answering):
    async with asyncio.timeout(5), serve(answering(None)) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        status, head, body = await answer_to(peer)
        assert status == 404
        assert body
        assert int(head.one("Content-Length")) == len(body)
        assert head.one("Connection") == "close"


@every_way
@plain_only
@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (WSUpgradeResponse.create_ok_response(b"healthy\n"), 200, b"healthy\n"),
        (WSUpgradeResponse.create_ok_response(), 200, b""),
        (WSUpgradeResponse.create_error_response(403, b"not you"), 403, b"not you"),
        (WSUpgradeResponse.create_error_response(http.HTTPStatus.SERVICE_UNAVAILABLE), 503, b""),
        (WSUpgradeResponse.create_error_response(599), 599, b""),
        (WSUpgradeResponse.create_redirect_response(302, "/elsewhere"), 302, b""),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_any_other_response_is_sent_as_it_is(serve, raw_peer, answering, response, status, body):
    answer = WSUpgradeResponseWithListener(response, None)
    async with asyncio.timeout(5), serve(answering(answer)) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        got, head, content = await answer_to(peer, fields=[])
        assert (got, content) == (status, body)
        assert head.one("Content-Length") == str(len(body))
        assert head.all("Location") == (["/elsewhere"] if status == 302 else [])
        assert head.one("Date")


@pytest.mark.parametrize(
    ("response", "listener"),
    [
        (WSUpgradeResponse.create_101_response(), None),
        (WSUpgradeResponse.create_ok_response(), Recorder()),
        (WSUpgradeResponse.create_error_response(404), Recorder()),
    ],
)
def test_a_listener_goes_with_101_and_with_nothing_else(response, listener):
    """core-api: a listener exactly when the status is 101."""
    with pytest.raises(ValueError, match=f"101.*{int(response.status)}"):
        WSUpgradeResponseWithListener(response, listener)


class _Raising:
    """A factory that fails in this way."""

    def __init__(self, how):
        self.how = how

    def __call__(self, request):
        if self.how == "at once":
            raise RuntimeError(SECRET)
        return self.later() if self.how == "later" else self.response()

    async def later(self):
        await asyncio.sleep(0)
        raise RuntimeError(SECRET)

    def response(self):
        extra = {"Sec-WebSocket-Protocol": "swordfish"}  # not offered by the client
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(extra), Recorder())


@pytest.mark.parametrize("how", ["at once", "later", "with its response"])
async def test_an_exception_is_500_and_nothing_of_it_leaves_the_server(serve, raw_peer, caplog, how):
    """core-api: an exception in it: 500, logged, never echoed to the peer."""
    async with asyncio.timeout(5), serve(_Raising(how)) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        status, head, body = await answer_to(peer)
        assert status == 500
        assert b"swordfish" not in head.raw + body
        assert b"Error" not in body
        assert b"Traceback" not in body
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("ERROR", "picows.server")
    assert "swordfish" in caplog.text


@plain_only
@pytest.mark.parametrize("answer", [5, "listener", Recorder, object(), WSUpgradeResponse.create_ok_response(), False])
@pytest.mark.parametrize("answering", [sync, in_coroutine])
async def test_an_answer_of_no_known_kind_is_500(serve, raw_peer, caplog, answering, answer):
    async with asyncio.timeout(5), serve(answering(answer)) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        assert (await answer_to(peer))[0] == 500
    assert f"not {type(answer).__name__}" in caplog.text


async def test_the_factory_gets_the_request(serve, raw_peer):
    accepted = Accepted(Echo)
    async with asyncio.timeout(5), serve(accepted) as endpoint:
        async with raw_peer(endpoint, "/path?query=1", [("X-Own", "1"), ("x-own", "2"), ("X-Umlaut", "ü")]):
            listener = await accepted.next()
            (request,) = accepted.requests
            assert (request.method, request.path, request.version) == (b"GET", b"/path?query=1", b"HTTP/1.1")
            assert request.headers.getall("X-OWN") == ["1", "2"]
            assert request.headers["host"] == "localhost"
            assert request.headers["x-umlaut"] == "ü"
            assert listener.transport.request.path == b"/path?query=1"
            assert listener.transport.request.headers["x-own"] == "1"
        await listener.disconnected.wait()


def _route(request):
    """A health check and a page that wants to know, beside WebSockets."""
    if request.path == b"/health":
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"ok"), None)
    return Echo() if request.path == b"/ws" else None


async def test_a_health_check_shares_the_port_with_websockets(serve, raw_peer):
    async with asyncio.timeout(5), serve(_route) as endpoint:
        for target, expected in (("/health", (200, b"ok")), ("/other", (404, b"there is no WebSocket at this path\n"))):
            async with raw_peer(endpoint, upgrade=False) as peer:
                status, _, body = await answer_to(peer, target=target, fields=[("User-Agent", "check")])
                assert (status, body) == expected
        async with raw_peer(endpoint, "/ws") as peer:
            peer.write_frame(TEXT, "x")
            assert await peer.read_frame() == Frame(TEXT, b"x")


@plain_only
@pytest.mark.parametrize(("target", "status", "size"), [("/health", 200, 2), ("/other", 404, 35), ("/ws", 405, None)])
async def test_head_is_answered_without_the_body(serve, raw_peer, target, status, size):
    """RFC 9110 section 9.3.2: the server MUST NOT send content in the response to HEAD."""
    async with asyncio.timeout(5), serve(_route) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        write_request(peer, "HEAD", target, fields=[])
        head = await peer.read_http_head()
        assert head.status == status
        assert size is None or head.one("Content-Length") == str(size)
        assert await peer.read_to_end() == b""


@plain_only
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "X-OWN"])
async def test_any_method_without_a_body_reaches_the_factory(serve, raw_peer, method):
    seen = []

    def factory(request):
        seen.append(request.method)
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"done"), None)

    async with asyncio.timeout(5), serve(factory) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        status, _, body = await answer_to(peer, method, fields=[("Content-Length", "0")])
        assert (status, body, seen) == (200, b"done", [method.encode()])


# What the function itself takes.


async def test_a_server_is_the_loop_s(link):
    """It can be closed, waited for, and used with `async with`; connections outlive its listening socket."""
    accepted = Accepted(Echo)
    async with asyncio.timeout(5), await ws_create_server(accepted, **link.server_options()) as server:
        assert server.is_serving()
        async with await connect_raw_peer(link.endpoint(server)) as peer:
            await peer.upgrade()
            server.close()
            assert not server.is_serving()
            peer.write_frame(TEXT, "still here")
            assert await peer.read_frame() == Frame(TEXT, b"still here")
            (await accepted.next()).transport.disconnect()
            await peer.read_eof()
        await server.wait_closed()


@plain_only
async def test_the_policy_hears_of_clients_before_they_ask(serve, raw_peer):
    class Policy(ServerHandshakePolicy):
        def client_connected(self, transport):
            connected.put_nowait(transport)

    connected = asyncio.Queue()
    policy = Policy()
    async with asyncio.timeout(5), serve(handshake_policy=policy) as server, raw_peer(server, upgrade=False) as peer:
        transport = await connected.get()
        assert not transport.is_closing()
        transport.abort()
        await peer.read_eof()


async def test_start_serving_false_waits_to_be_started(link):
    async with asyncio.timeout(5):
        server = await ws_create_server(Accepted(Echo), **link.server_options(), start_serving=False)
        assert not server.is_serving()
        await server.start_serving()
        async with await connect_raw_peer(link.endpoint(server)) as peer:
            await peer.upgrade()
        server.close()


async def test_a_listening_socket_of_the_user_s_own():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with asyncio.timeout(5):
            server = await ws_create_server(Accepted(Echo), sock=sock, backlog=3)
            endpoint = Endpoint(server, sock.getsockname(), "")
            async with await connect_raw_peer(endpoint) as peer:
                await peer.upgrade()
            server.close()


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system cannot share a port")
async def test_two_servers_share_a_port():
    async with asyncio.timeout(5):
        first = await ws_create_server(Accepted(Echo), "127.0.0.1", 0, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await ws_create_server(Accepted(Echo), "127.0.0.1", port, reuse_port=True)
        with pytest.raises(OSError, match=r"in use|Address"):
            await ws_create_server(Accepted(Echo), "127.0.0.1", port)
        first.close()
        async with await connect_raw_peer(Endpoint(second, ("127.0.0.1", port), "")) as peer:
            await peer.upgrade()
        second.close()


@pytest.mark.links("unix")
@pytest.mark.parametrize("kind", [str, Path])
async def test_a_unix_socket_takes_the_place_of_host_and_port(link, kind):
    path = link.server_options()["path"]
    async with asyncio.timeout(5):
        server = await ws_create_server(Accepted(Echo), path=kind(path))
        async with await connect_raw_peer(Endpoint(server, path, "")) as peer:
            await peer.upgrade()
        server.close()
        again = await ws_create_server(Accepted(Echo), path=path)  # over the file that the first one may have left
        async with await connect_raw_peer(Endpoint(again, path, "")) as peer:
            await peer.upgrade()
        again.close()


@pytest.mark.parametrize(
    ("exception", "words", "arguments", "options"),
    [
        (ValueError, "path", ("127.0.0.1",), {"path": "/nowhere"}),
        (ValueError, "path", (None, 80), {"path": "/nowhere"}),
        (TypeError, "no_such_option", ("127.0.0.1", 0), {"no_such_option": 1}),
        (TypeError, "both|older name", (), {"disconnect_on_error": True, "disconnect_on_exception": True}),
        (TypeError, "handshake_policy", ("127.0.0.1", 0), {"handshake_policy": {"limits": 1}}),
    ],
)
async def test_what_does_not_fit_together_is_refused(exception, words, arguments, options):
    with pytest.raises(exception, match=words):
        (await ws_create_server(Accepted(Echo), *arguments, **options)).close()


async def test_a_factory_is_something_to_call():
    with pytest.raises(TypeError, match="ws_listener_factory must be callable, not Recorder"):
        await ws_create_server(Recorder(), "127.0.0.1", 0)


class _Failing(Recorder):
    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        raise ZeroDivisionError


@plain_only
@pytest.mark.parametrize("name", ["disconnect_on_exception", "disconnect_on_error"])
async def test_the_older_name_of_an_option_does_the_same(serve, raw_peer, name, caplog):
    listener = _Failing()
    async with asyncio.timeout(5), serve(lambda request: listener, **{name: False}) as endpoint:
        async with raw_peer(endpoint) as peer:
            for text in (b"1", b"2"):
                peer.write_frame(TEXT, text)
                assert await listener.next_frame() == Frame(TEXT, text)
        await listener.disconnected.wait()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_our_client_and_our_server_meet(serve, connect):
    """With the whole API, as a program would."""
    async with asyncio.timeout(5), serve() as endpoint, connect(endpoint) as (transport, listener):
        transport.send(1, "x")
        assert await listener.next_frame() == Frame(TEXT, b"x")
        assert isinstance(listener, WSListener)
        assert transport.response.status == 101
        assert ws_connect.__name__ == "ws_connect"
