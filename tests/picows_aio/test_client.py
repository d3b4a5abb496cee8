"""`connect`: its three uses, its arguments, and the errors of the opening handshake."""

import asyncio
import logging
import socket
import ssl

import pytest

import picows_aio
from picows_aio import (
    ClientConnection,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    State,
    connect,
    unix_connect,
)
from picows_aio.exceptions import HeaderLineTooLong, InvalidHeaderFormat, TooManyHeaders
from tests.picows_aio.sites import connect_keywords, running
from tests.support import accept_value, connect_socket, listen

# Three uses


async def test_as_a_context_manager_it_closes_with_1000(link):
    async with running(link=link) as site:
        async with site.connect("/chat?room=1") as connection:
            assert isinstance(connection, ClientConnection)
            assert connection.state is State.OPEN
            assert connection.request.path == "/chat?room=1"
            assert connection.response.status_code == 101
            await connection.send("hello")
            assert await connection.recv() == "hello"
        assert (connection.state, connection.close_code, connection.close_reason) == (State.CLOSED, 1000, "")


async def test_as_a_context_manager_it_closes_with_1011_after_an_exception(link):
    async with running(link=link) as site:
        with pytest.raises(KeyError):
            async with site.connect() as connection:
                raise KeyError("the body's")
        assert connection.close_code == 1011


async def test_awaited_it_leaves_closing_to_the_caller(link):
    async with running(link=link) as site:
        connection = await site.connect()
        assert connection.state is State.OPEN
        await connection.close(3000, "done")
        assert (connection.close_code, connection.close_reason) == (3000, "done")


async def test_it_can_be_used_again_but_not_entered_twice():
    async with running() as site:
        connecting = site.connect()
        for _ in range(2):
            async with connecting as connection:
                assert connection.state is State.OPEN
                with pytest.raises(RuntimeError, match=r"^connect\(\) isn't reentrant$"):
                    await connecting.__aenter__()
        async with asyncio.TaskGroup() as group:
            entering = group.create_task(connecting.__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="reentrant"):
                await connecting.__aenter__()
        assert (await entering).state is State.OPEN
        await connecting.__aexit__(None, None, None)


async def test_it_can_be_entered_after_it_failed():
    async with listen() as server:
        connecting = connect(server.url, proxy=None)
        async with asyncio.TaskGroup() as group:
            attempt = group.create_task(_failure(connecting.__aenter__()))
            (await server.accept(upgrade=False)).close()
        assert isinstance(await attempt, InvalidMessage)
        async with asyncio.TaskGroup() as group:
            entering = group.create_task(connecting.__aenter__())
            peer = await server.accept()
        assert (await entering).state is State.OPEN
        peer.close()
        await connecting.__aexit__(None, None, None)


async def _failure(awaitable):
    try:
        await awaitable
    except Exception as exc:
        return exc


# The request


async def request_of(*args, **options):
    """The request that `connect` sends, and the connection's own view of it."""
    async with listen() as server, asyncio.TaskGroup() as group:
        opening = group.create_task(connect(*args or (server.url,), **{"proxy": None} | options).__aenter__())
        peer = await server.accept(upgrade=False)
        head = await peer.accept_upgrade()
        connection = await opening
        connection.transport.abort()
        await connection.wait_closed()
    return head, connection


async def test_the_request_by_default():
    head, connection = await request_of()
    assert head.one("Sec-WebSocket-Extensions") == "permessage-deflate; client_max_window_bits"
    assert head.one("User-Agent").startswith("Python/")
    assert "picows_aio/" in head.one("User-Agent")
    for name in ("Origin", "Sec-WebSocket-Protocol", "Authorization", "Cookie"):
        assert head.all(name) == []
    assert connection.request.headers["Host"] == head.one("Host")
    assert connection.request.headers["Sec-WebSocket-Key"] == head.one("Sec-WebSocket-Key")


@pytest.mark.parametrize(
    ("options", "name", "values"),
    [
        ({"origin": "https://o.example"}, "Origin", ["https://o.example"]),
        ({"subprotocols": ["b", "a"]}, "Sec-WebSocket-Protocol", ["b, a"]),
        ({"compression": None}, "Sec-WebSocket-Extensions", []),
        ({"user_agent_header": None}, "User-Agent", []),
        ({"user_agent_header": "mine/1"}, "User-Agent", ["mine/1"]),
        ({"additional_headers": {"user-agent": "theirs/2"}}, "User-Agent", ["theirs/2"]),
        ({"additional_headers": [("X-Many", "1"), ("X-Many", "2")]}, "X-Many", ["1", "2"]),
        ({"additional_headers": picows_aio.Headers({"Cookie": "a=b"})}, "Cookie", ["a=b"]),
        ({"additional_headers": {"Host": "other.example"}}, "Host", ["other.example"]),
    ],
)
async def test_arguments_become_headers(options, name, values):
    head, _ = await request_of(**options)
    assert head.all(name) == values


@pytest.mark.parametrize(
    ("user_info", "options", "value"),
    [
        ("user:pass", {}, "Basic dXNlcjpwYXNz"),
        ("us%3Cer:p%40ss%3A", {}, "Basic dXM8ZXI6cEBzczo="),
        ("user:pass", {"additional_headers": {"Authorization": "Bearer x"}}, "Bearer x"),
    ],
)
async def test_user_and_password_of_the_uri_become_authorization(user_info, options, value):
    async with listen() as server, asyncio.TaskGroup() as group:
        url = server.url.replace("//", f"//{user_info}@")
        opening = group.create_task(connect(url, proxy=None, **options).__aenter__())
        head = await (await server.accept(upgrade=False)).accept_upgrade()
        assert head.all("Authorization") == [value]
        assert head.one("Host") == f"127.0.0.1:{server.port}"
        (await opening).transport.abort()
        await (await opening).wait_closed()


async def test_an_iri_is_encoded():
    async with running() as site, site.connect("/ü/%20?q=é") as connection:
        assert connection.request.path == "/%C3%BC/%20?q=%C3%A9"


# Arguments


@pytest.mark.parametrize(
    "uri",
    ["http://h/", "ws://h/#f", "ws://", "h", "ws://user@h/", "ws://h:99999/", "ws://h:x/", b"ws://h/", None],
)
def test_a_bad_uri_is_refused_at_once(uri):
    with pytest.raises(InvalidURI):
        connect(uri)


def test_a_bad_uri_does_not_show_its_password():
    with pytest.raises(InvalidURI) as caught:
        connect("http://user:pa55w0rd@h/")
    assert "pa55w0rd" not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"compression": "gzip"}, ValueError, "unsupported compression: gzip"),
        ({"compression": True}, ValueError, "unsupported compression: True"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list, not a str"),
        ({"subprotocols": ["a b"]}, ValueError, "invalid subprotocol: a b"),
        ({"ssl": True}, ValueError, "ssl argument is incompatible with a ws:// URI"),
        ({"max_size": 0}, ValueError, "max_size must be positive, not 0"),
        ({"max_size": "1"}, TypeError, "max_size must be None, a number of bytes or a pair of them, not '1'"),
        ({"max_queue": -1}, ValueError, "max_queue must be a number of 0 or more.*not -1"),
        ({"max_queue": (2, 3)}, ValueError, r"max_queue .* with 0 <= low <= high, not \(2, 3\)"),
        ({"write_limit": -1}, ValueError, "write_limit must be a number of 0 or more.*not -1"),
        ({"write_limit": None}, TypeError, "write_limit .* not None"),
        ({"write_limit": 1.5}, TypeError, "write_limit must be a number or a pair of numbers, not 1.5"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, kind, message):
    with pytest.raises(kind, match=message):
        connect("ws://h/", **options)


@pytest.mark.parametrize(
    ("uri", "options", "kind", "message"),
    [
        ("wss://h/", {"ssl": None}, ValueError, "ssl=None is incompatible with a wss:// URI"),
        ("ws://127.0.0.1/", {"server_hostname": "x"}, ValueError, "server_hostname is only meaningful with ssl"),
        ("ws://127.0.0.1/", {"nonsense": 1}, TypeError, "nonsense"),
        ("ws://h/", {"unix": True}, ValueError, "no path and sock were specified"),
        ("ws://h/", {"unix": True, "path": "/nonexistent/socket"}, FileNotFoundError, "No such file"),
        ("ws://h/", {"additional_headers": {"Sec-WebSocket-Key": "x"}}, ValueError, "Sec-WebSocket-Key"),
        ("ws://h/", {"additional_headers": {"X": "a\r\nY: b"}}, InvalidHeaderValue, "invalid X header"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_when_connecting(uri, options, kind, message):
    with pytest.raises(kind, match=message):
        await connect(uri, proxy=None, **options)


def test_attributes_that_programs_read():
    delays = picows_aio.client.backoff
    connecting = connect("wss://h/p", ssl=True, host="x", open_timeout=3, additional_headers={"X": "1"})
    assert (connecting.uri, connecting.open_timeout, connecting.proxy) == ("wss://h/p", 3, True)
    assert connecting.create_connection_kwargs == {"ssl": True, "host": "x"}
    assert connecting.additional_headers == {"X": "1"}
    assert connecting.reconnect_delays is delays
    assert connecting.process_exception is picows_aio.client.process_exception
    assert connecting.logger is logging.getLogger("websockets.client")
    assert connecting.ws_uri == picows_aio.uri.parse_uri("wss://h/p")


def test_uris_of_unix_connect():
    assert unix_connect("/s").uri == "ws://localhost/"
    assert unix_connect("/s", ssl=True).uri == "wss://localhost/"
    assert unix_connect("/s", uri="ws://other/x").uri == "ws://other/x"


# Where to


async def test_host_and_port_replace_those_of_the_uri():
    async with running() as site:
        port = site.endpoint.address[1]
        async with connect("ws://elsewhere.invalid/x", proxy=None, host="127.0.0.1", port=port) as connection:
            assert connection.request.headers["Host"] == "elsewhere.invalid"
            assert connection.remote_address == ("127.0.0.1", port)


async def test_a_socket_of_the_caller():
    async with running() as site:
        sock = await connect_socket(site.endpoint.address)
        async with connect("ws://elsewhere.invalid/x", sock=sock) as connection:
            assert connection.local_address == sock.getsockname()
        assert sock.fileno() == -1


async def test_a_local_address():
    async with running() as site, site.connect(local_addr=("127.0.0.2", 0)) as connection:
        assert connection.local_address[0] == "127.0.0.2"


async def test_the_name_in_the_certificate(tls_contexts):
    async with running(ssl=tls_contexts.server) as site:
        url = f"wss://other.invalid:{site.endpoint.address[1]}/"
        options = {"proxy": None, "host": "127.0.0.1", "ssl": tls_contexts.client}
        async with connect(url, server_hostname="localhost", port=site.endpoint.address[1], **options) as connection:
            assert connection.transport.get_extra_info("ssl_object") is not None
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(url, port=site.endpoint.address[1], **options)


@pytest.mark.links("unix")
async def test_unix_connect_takes_every_kind_of_path(link):
    async with running(link=link) as site:
        path = site.endpoint.address
        for kind in (path, path.encode()):
            async with unix_connect(kind) as connection:
                await connection.send("x")
                assert await connection.recv() == "x"


# Answers


def switching(request, *fields, **replaced):
    fields_by_default = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_value(request.one("Sec-WebSocket-Key")),
    }
    merged = fields_by_default | {name.replace("_", "-"): value for name, value in replaced.items()}
    return [(name, value) for name, value in merged.items() if value is not None] + list(fields)


async def answered(*fields, start_line="HTTP/1.1 101 Switching Protocols", options=None, **replaced):
    """What `connect` makes of a response with these fields: a connection or an exception."""
    async with asyncio.timeout(10), listen() as server, asyncio.TaskGroup() as group:
        opening = group.create_task(_outcome(connect(server.url, proxy=None, **options or {})))
        peer = await server.accept(upgrade=False)
        request = await peer.read_http_head()
        peer.write_http_head(start_line, switching(request, *fields, **replaced))
        result = await opening
        if isinstance(result, ClientConnection):
            result.transport.abort()
            await result.wait_closed()
    return result


async def _outcome(connecting):
    try:
        return await connecting
    except Exception as exc:
        return exc


async def test_tokens_beside_upgrade_are_fine():
    connection = await answered(Connection="keep-alive, Upgrade")
    assert connection.response.headers["Connection"] == "keep-alive, Upgrade"


@pytest.mark.parametrize(
    ("replaced", "kind", "text"),
    [
        ({"Upgrade": None}, InvalidUpgrade, "missing Upgrade header"),
        ({"Upgrade": "h2c"}, InvalidUpgrade, "invalid Upgrade header: h2c"),
        ({"Connection": None}, InvalidUpgrade, "missing Connection header"),
        ({"Connection": "close"}, InvalidUpgrade, "invalid Connection header: close"),
        ({"Sec_WebSocket_Accept": None}, InvalidHeader, "missing Sec-WebSocket-Accept header"),
        ({"Sec_WebSocket_Accept": "xyz"}, InvalidHeaderValue, "invalid Sec-WebSocket-Accept header: xyz"),
    ],
)
async def test_headers_of_a_wrong_upgrade(replaced, kind, text):
    error = await answered(**replaced)
    assert type(error) is kind
    assert str(error) == text
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_two_accept_headers():
    error = await answered(("Sec-WebSocket-Accept", "x"))
    assert (type(error), str(error)) == (InvalidHeader, "invalid Sec-WebSocket-Accept header: multiple values")


EXTENSIONS, SUBPROTOCOL = "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("field", "options", "kind", "text"),
    [
        ((EXTENSIONS, "foo"), {}, NegotiationError, "Unsupported extension: name = foo, params = []"),
        ((EXTENSIONS, "permessage-deflate"), {"compression": None}, NegotiationError, "no extensions supported"),
        (
            (EXTENSIONS, "permessage-deflate; x=1"),
            {},
            NegotiationError,
            "Unsupported extension: name = permessage-deflate, params = [('x', '1')]",
        ),
        (
            (EXTENSIONS, ";"),
            {},
            InvalidHeaderFormat,
            "invalid Sec-WebSocket-Extensions header: expected token at 0 in ;",
        ),
        ((SUBPROTOCOL, "a"), {}, NegotiationError, "no subprotocols supported"),
        ((SUBPROTOCOL, "c"), {"subprotocols": ["a", "b"]}, NegotiationError, "unsupported subprotocol: c"),
        (
            (SUBPROTOCOL, "a, b"),
            {"subprotocols": ["a", "b"]},
            InvalidHeader,
            "invalid Sec-WebSocket-Protocol header: multiple values: a, b",
        ),
    ],
)
async def test_what_was_not_offered_is_refused(field, options, kind, text):
    error = await answered(field, options=options)
    assert (type(error), str(error)) == (kind, text)


async def test_the_subprotocol_that_the_server_chose():
    connection = await answered((SUBPROTOCOL, "a"), options={"subprotocols": ["b", "a"]})
    assert connection.subprotocol == "a"
    assert (await answered(options={"subprotocols": ["b", "a"]})).subprotocol is None


async def replied(data, *, ends=True, **options):
    """The exception of `connect` where the server writes these bytes."""
    async with asyncio.timeout(10), listen() as server, asyncio.TaskGroup() as group:
        opening = group.create_task(_outcome(connect(server.url, proxy=None, **options)))
        peer = await server.accept(upgrade=False)
        await peer.read_http_head()
        peer.write_bytes(data)
        if ends:
            peer.half_close()
        return await opening


@pytest.mark.parametrize(
    ("data", "status", "reason", "body"),
    [
        (b"HTTP/1.1 403 Go Away\r\nContent-Length: 5\r\n\r\nhello", 403, "Go Away", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "OK", b"abcde"),
        (b"HTTP/1.1 404 Nope\r\n\r\nuntil the end", 404, "Nope", b"until the end"),
        (b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", 599, "", b""),
        (b"HTTP/1.1 301 X\r\nContent-Length: 0\r\n\r\n", 301, "X", b""),
    ],
)
async def test_a_refusal_is_shown_whole(data, status, reason, body):
    error = await replied(data)
    assert type(error) is InvalidStatus
    assert str(error) == f"server rejected WebSocket connection: HTTP {status}"
    response = error.response
    assert (response.status_code, response.reason_phrase, response.body) == (status, reason, body)


async def test_repeated_headers_of_a_refusal():
    error = await replied(b"HTTP/1.1 403 X\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n")
    assert error.response.headers.get_all("Set-Cookie") == ["a", "b"]


async def test_a_refusal_does_not_wait_for_the_end_of_tcp():
    error = await replied(b"HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n", ends=False)
    assert error.response.status_code == 403


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", EOFError),
        (b"HTTP/1.1 101 Swi", EOFError),
        (b"HTTP/1.1 500 X\r\nContent-Length: 10\r\n\r\nabc", EOFError),
        (b"hello there\r\n\r\n", ValueError),
        (b"HTTP/1.1 101 S\r\nno colon\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n", HeaderLineTooLong),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 130 + b"\r\n", TooManyHeaders),
    ],
)
async def test_an_answer_that_is_not_http(data, cause):
    error = await replied(data)
    assert (type(error), str(error)) == (InvalidMessage, "did not receive a valid HTTP response")
    assert type(error.__cause__) is cause


async def test_the_body_of_a_refusal_is_bounded():
    error = await replied(b"HTTP/1.1 500 X\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 2_000_000)
    assert len(error.response.body) <= 1 << 20


# Time


async def test_the_deadline_of_a_silent_server(raw_server):
    async with raw_server() as server:
        options = connect_keywords(server)
        started = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError, match=r"^timed out during opening handshake$"):
            await connect(server.url, proxy=None, open_timeout=0.05, **options)
        assert asyncio.get_running_loop().time() - started < 2


async def test_a_timeout_of_the_caller_is_the_callers():
    async with listen() as server:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await connect(server.url, proxy=None)
        assert "opening handshake" not in str(caught.value)


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_connect_leaves_nothing(turns):
    """What it leaves would fail the test: the fixtures look for sockets and tasks."""
    async with listen() as server:
        opening = asyncio.ensure_future(connect(server.url, proxy=None)._connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_a_cancelled_handshake_ends_tcp(raw_server):
    async with raw_server() as server, asyncio.timeout(10):
        options = connect_keywords(server)
        opening = asyncio.ensure_future(connect(server.url, proxy=None, **options)._connect())
        peer = await server.accept(upgrade=False)
        await peer.read_http_head()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await peer.read_eof()


# Errors of the system


async def test_errors_of_the_system_stay_what_they_are():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await connect(f"ws://127.0.0.1:{bound.getsockname()[1]}/", proxy=None)
    with pytest.raises(socket.gaierror):
        await connect("ws://name.invalid/", proxy=None)


async def test_a_certificate_that_nobody_trusts(tls_contexts):
    async with running(ssl=tls_contexts.server) as site:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(f"wss://127.0.0.1:{site.endpoint.address[1]}/", proxy=None)


@pytest.mark.parametrize("use_aiofastnet", [False, True])
async def test_reading_may_be_paused_at_once(link, use_aiofastnet):
    """By who just got the connection: the end of its opening handshake does not undo that."""
    may_send = asyncio.Event()

    async def send(connection):
        await may_send.wait()
        await connection.send("late")
        await connection.wait_closed()

    async with (
        asyncio.timeout(10),
        running(send, link=link) as site,
        site.connect(use_aiofastnet=use_aiofastnet) as connection,
    ):
        connection.transport.pause_reading()
        may_send.set()
        receiving = asyncio.create_task(connection.recv())
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not connection.transport.is_reading()
        assert not receiving.done()
        connection.transport.resume_reading()
        assert await receiving == "late"
