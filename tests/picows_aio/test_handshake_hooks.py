"""What a server answers to a request: checks, hooks, negotiation, over raw sockets."""

import asyncio
import http
import re

import pytest

from picows_aio import Headers, InvalidStatus, NegotiationError, Response, State
from tests.picows_aio.sites import records, running
from tests.support import accept_value

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {
    "Host": "h",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
FAILED = "Failed to open a WebSocket connection.\nSee server log for more information.\n"
BROWSER = "You cannot access a WebSocket server directly with a browser. You need a WebSocket client.\n"


def fields_of(*added, **replaced):
    merged = UPGRADE | {name.replace("_", "-"): value for name, value in replaced.items()}
    return [(name, value) for name, value in merged.items() if value is not None] + list(added)


async def ask(site, fields, start_line="GET / HTTP/1.1"):
    """Head and text of the answer; of a 101, the head alone."""
    async with asyncio.timeout(10), site.raw_peer() as peer:
        peer.write_http_head(start_line, fields)
        head = await peer.read_http_head()
        if head.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            return head, ""
        body = await peer.read_to_end()
    lengths = head.all("Content-Length")
    assert len(body) == int(lengths[0]) or start_line.startswith("HEAD")
    return head, body.decode()


async def ask_with(fields=None, **options):
    async with running(**options) as site:
        return await ask(site, fields_of() if fields is None else fields)


# Checks


async def test_the_answer_that_opens(link):
    async with running(link=link) as site:
        head, _ = await ask(site, fields_of())
    assert head.start_line == "HTTP/1.1 101 Switching Protocols"
    assert head.one("Upgrade") == "websocket"
    assert head.one("Connection") == "Upgrade"
    assert head.one("Sec-WebSocket-Accept") == accept_value(KEY)
    assert head.one("Date").endswith(" GMT")
    assert re.fullmatch(r"Python/3\.\d+ picows_aio/\S+", head.one("Server"))
    assert head.all("Sec-WebSocket-Extensions") == []


@pytest.mark.parametrize(
    ("start_line", "replaced", "status", "text", "field"),
    [
        ("POST / HTTP/1.1", {}, 405, "unsupported HTTP method: POST.", ("Allow", "GET")),
        ("HEAD / HTTP/1.1", {}, 405, None, ("Allow", "GET")),
        ("GET / HTTP/1.0", {}, 505, "unsupported HTTP version: HTTP/1.0.", None),
        ("GET / HTTP/1.1", {"Connection": None}, 426, f"missing Connection header.\n\n{BROWSER[:-1]}", None),
        ("GET / HTTP/1.1", {"Upgrade": None}, 426, f"missing Upgrade header.\n\n{BROWSER[:-1]}", None),
        ("GET / HTTP/1.1", {"Upgrade": "h2c"}, 426, f"invalid Upgrade header: h2c.\n\n{BROWSER[:-1]}", None),
        ("GET / HTTP/1.1", {"Connection": "close"}, 426, f"invalid Connection header: close.\n\n{BROWSER[:-1]}", None),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Key": None}, 400, "missing Sec-WebSocket-Key header.", None),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Key": "abc"}, 400, "invalid Sec-WebSocket-Key header: abc.", None),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Version": None}, 400, "missing Sec-WebSocket-Version header.", None),
        ("GET / HTTP/1.1", {"Sec_WebSocket_Version": "8"}, 400, "invalid Sec-WebSocket-Version header: 8.", None),
    ],
)
async def test_requests_for_something_else(start_line, replaced, status, text, field):
    async with running() as site:
        head, body = await ask(site, fields_of(**replaced), start_line)
    assert head.status == status
    if text is not None:
        assert body == f"Failed to open a WebSocket connection: {text}\n"
    assert head.one("Content-Type") == "text/plain; charset=utf-8"
    assert head.one("Connection") == "close"
    assert head.one("Date").endswith(" GMT")
    if field is not None:
        assert head.one(field[0]) == field[1]
    if status == http.HTTPStatus.UPGRADE_REQUIRED:
        assert head.one("Upgrade") == "websocket"
    if "Sec_WebSocket_Version" in replaced:
        assert head.one("Sec-WebSocket-Version") == "13"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (("Sec-WebSocket-Key", KEY), "invalid Sec-WebSocket-Key header: multiple values."),
        (("Sec-WebSocket-Extensions", ",;"), "invalid Sec-WebSocket-Extensions header: expected token at 1 in ,;."),
        (("Sec-WebSocket-Protocol", ",,"), "invalid Sec-WebSocket-Protocol header: expected token at 2 in ,,."),
    ],
)
async def test_headers_that_break_their_grammar(field, text):
    head, body = await ask_with(fields_of(field))
    assert (head.status, body) == (400, f"Failed to open a WebSocket connection: {text}\n")


async def test_two_origins():
    head, body = await ask_with(fields_of(("Origin", "a"), ("Origin", "b")))
    assert (head.status, body) == (
        400,
        "Failed to open a WebSocket connection: invalid Origin header: multiple values.\n",
    )


@pytest.mark.parametrize(
    ("start_line", "fields", "status"),
    [
        (f"GET /{'x' * 9000} HTTP/1.1", fields_of(), 414),
        ("GET / HTTP/1.1", fields_of(("X", "x" * 9000)), 431),
        ("GET / HTTP/1.1", fields_of(*[(f"X-{number}", "1") for number in range(130)]), 431),
        ("hello", [], 400),
        ("PRI * HTTP/2.0", [], 505),
        ("GET / HTTP/1.1", fields_of(Host=None), 400),
        ("POST / HTTP/1.1", fields_of(("Content-Length", "3")), 413),
    ],
)
async def test_requests_that_never_get_to_the_hooks(start_line, fields, status):
    asked = []
    async with running(process_request=lambda *args: asked.append(args)) as site:
        head, body = await ask(site, fields, start_line)
    assert head.status == status
    assert body.startswith("Failed to open a WebSocket connection: ")
    assert head.one("Content-Type") == "text/plain; charset=utf-8"
    assert asked == []


async def test_names_and_values_ignore_case():
    fields = [(name.upper(), value) for name, value in fields_of(Upgrade="WebSocket", Connection="keep-alive, UPGRADE")]
    head, _ = await ask_with(fields)
    assert head.status == 101


# Origins


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (None, "http://any", 101),
        (["http://a.example"], "http://a.example", 101),
        (["http://a.example"], "http://A.example", 403),
        ([re.compile(r"http://.*\.example")], "http://a.example", 101),
        ([re.compile(r"http://a")], "http://a.example", 403),
        ([re.compile(r".*")], None, 403),
        ([None], None, 101),
        ([None], "http://a.example", 403),
        (["http://a.example"], None, 403),
        ([], "http://a.example", 403),
    ],
)
async def test_origins(origins, origin, status):
    head, body = await ask_with(fields_of(*([("Origin", origin)] if origin else [])), origins=origins)
    assert head.status == status
    if status == http.HTTPStatus.FORBIDDEN:
        reason = f"invalid Origin header: {origin}" if origin else "missing Origin header"
        assert body == f"Failed to open a WebSocket connection: {reason}.\n"


# What connections say of it


UNUSUAL = {"Connection": "keep-alive,, Upgrade"}  # as good a request, in a form that servers rarely see


@pytest.mark.parametrize("replaced", [{}, UNUSUAL], ids=["usual", "unusual"])
async def test_request_and_response_of_a_connection(replaced, link):
    """They are there in the handler and stay there; each is one object, which can be changed."""
    given = asyncio.get_running_loop().create_future()

    async def handler(connection):
        given.set_result((connection, connection.request, connection.response))
        await connection.wait_closed()

    fields = fields_of(("X", "\xfc"), ("x", "b"), ("Sec-WebSocket-Protocol", "a, b"), **replaced)
    async with running(handler, link=link, subprotocols=["b"]) as site:
        async with asyncio.timeout(10), site.raw_peer() as peer:
            peer.write_http_head("GET /a?b HTTP/1.1", fields)
            head = await peer.read_http_head()
            connection, request, response = await given
        async with asyncio.timeout(10):
            await connection.wait_closed()
    assert (request.method, request.path, request.protocol) == ("GET", "/a?b", "HTTP/1.1")
    assert list(request.headers.raw_items()) == fields
    assert (response.status_code, response.reason_phrase, response.body) == (101, "Switching Protocols", b"")
    assert tuple(response.headers.raw_items()) == head.fields
    assert response.headers["Sec-WebSocket-Protocol"] == connection.subprotocol == "b"
    request.headers["Y"] = "later"
    assert connection.request is request
    assert connection.request.headers["Y"] == "later"
    assert connection.response is response


@pytest.mark.parametrize("replaced", [{}, UNUSUAL], ids=["usual", "unusual"])
async def test_select_subprotocol_sees_the_request(replaced):
    seen = []

    def select(connection, offered):
        seen.append((connection.request, connection.response, connection.state))
        connection.request.headers["X-Seen"] = "yes"
        return offered[0]

    async def handler(connection):
        seen.append((connection.request, connection.request.headers["X-Seen"]))

    async with running(handler, select_subprotocol=select) as site:
        head, _ = await ask(site, fields_of(("Sec-WebSocket-Protocol", "a"), **replaced), "GET /p HTTP/1.1")
    assert head.one("Sec-WebSocket-Protocol") == "a"
    (request, response, state), (request_later, value) = seen
    assert (request.path, response, state) == ("/p", None, State.CONNECTING)
    assert (request_later is request, value) == (True, "yes")


async def test_requests_in_both_forms_are_refused_in_the_same_words():
    for added in (("Origin", "http://b"), ("Sec-WebSocket-Extensions", "a;"), ("Sec-WebSocket-Protocol", "a b")):
        options = {"origins": ["http://a", None], "subprotocols": ["a"]}
        usual, unusual = [await ask_with(fields_of(added, **replaced), **options) for replaced in ({}, UNUSUAL)]
        assert usual[0].status == unusual[0].status >= 400
        assert usual[1] == unusual[1]


# process_request


def plain(connection, request):
    return connection.respond(http.HTTPStatus.OK, f"{request.method} {request.path}\n")


async def plain_later(connection, request):
    await asyncio.sleep(0)
    return plain(connection, request)


@pytest.mark.parametrize("hook", [plain, plain_later])
async def test_plain_http_on_the_same_port(hook, link, caplog):
    caplog.set_level("INFO")
    async with running(link=link, process_request=hook) as site:
        head, body = await ask(site, [("Host", "h")], "GET /healthz HTTP/1.1")
        assert (head.status, body) == (200, "GET /healthz\n")
        assert head.one("Connection") == "close"
        assert head.all("Server")
    assert ("websockets.server", "HTTP response sent (200 OK)") in records(caplog, "INFO")


@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_process_request_sees_the_connection_that_the_handler_gets(is_coroutine):
    seen = []

    def look(connection, request):
        assert (connection.state, connection.request, connection.response) == (State.CONNECTING, request, None)
        assert connection.remote_address[0] == connection.local_address[0] == "127.0.0.1"
        assert (connection.close_code, connection.subprotocol, connection.latency) == (None, None, 0.0)
        connection.user = request.headers["X-User"]

    async def look_later(connection, request):
        look(connection, request)

    async def handler(connection):
        seen.append((connection.user, connection.request.path, connection.response.status_code))

    hook, headers = look_later if is_coroutine else look, {"X-User": "me"}
    async with running(handler, process_request=hook) as site, site.connect("/p", additional_headers=headers) as client:
        await client.wait_closed()
    assert seen == [("me", "/p", 101)]


async def test_process_request_may_return_any_response():
    head, body = await ask_with(
        process_request=lambda *_: Response(299, "Fine", Headers([("Set-Cookie", "a"), ("Set-Cookie", "b")]), b"body")
    )
    assert (head.start_line, body) == ("HTTP/1.1 299 Fine", "body")
    assert head.all("Set-Cookie") == ["a", "b"]


async def test_process_request_may_open_the_connection_itself():
    async with running(process_request=lambda *_: Response(101, "Hi", Headers([("X-Mine", "1")]))) as site:
        head, _ = await ask(site, fields_of())
        assert (head.status, head.one("X-Mine")) == (101, "1")
        assert head.one("Sec-WebSocket-Accept") == accept_value(KEY)
        head, _ = await ask(site, fields_of(Upgrade=None))
        assert head.status == 400


@pytest.mark.parametrize("result", [ValueError("secret"), NegotiationError("secret"), "secret", 404])
@pytest.mark.parametrize("hook", ["process_request", "process_response"])
@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_a_hook_that_fails_is_a_500_that_does_not_say_why(result, hook, is_coroutine, caplog):
    def fail(*args):
        if isinstance(result, Exception):
            raise result
        return result

    async def fail_later(*args):
        return fail()

    caplog.set_level("INFO")
    head, body = await ask_with(**{hook: fail_later if is_coroutine else fail})
    assert (head.status, body) == (500, FAILED)
    assert records(caplog, "ERROR") == [("websockets.server", f"{hook} failed")]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    error = record.exc_info[1]
    if isinstance(result, Exception):
        assert error is result
    else:
        assert str(error) == f"{hook} must return a Response or None, not {type(result).__name__}"
    what = "HTTP response sent" if hook == "process_request" else "connection rejected"
    assert ("websockets.server", f"{what} (500 Internal Server Error)") in records(caplog, "INFO")


# process_response


@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_process_response_may_edit_the_response(is_coroutine):
    def edit(connection, request, response):
        assert connection.response is response
        assert response.headers["Sec-WebSocket-Accept"] == accept_value(KEY)
        response.headers["X-Added"] = request.path

    async def edit_later(connection, request, response):
        edit(connection, request, response)

    head, _ = await ask_with(process_response=edit_later if is_coroutine else edit)
    assert (head.status, head.one("X-Added")) == (101, "/")


async def test_process_response_may_replace_the_response(caplog):
    caplog.set_level("INFO")
    head, body = await ask_with(process_response=lambda connection, *_: connection.respond(403, "no\n"))
    assert (head.status, body) == (403, "no\n")
    assert ("websockets.server", "connection rejected (403 Forbidden)") in records(caplog, "INFO")


@pytest.mark.parametrize(
    ("hook", "status"), [(None, 426), (plain, 200), (lambda *_: 1 / 0, 500)], ids=["check", "hook", "failure"]
)
async def test_process_response_sees_every_answer(hook, status):
    seen = []
    head, _ = await ask_with(
        fields_of(Connection=None),
        process_request=hook,
        process_response=lambda *args: seen.append(args[2].status_code),
    )
    assert head.status == status
    assert seen == [status]


async def test_the_handshake_cannot_be_broken_by_process_response():
    def strip(connection, request, response):
        return Response(101, "Other", Headers([("X", "1"), ("X", "2")]))

    head, _ = await ask_with(process_response=strip)
    assert head.one("Sec-WebSocket-Accept") == accept_value(KEY)
    assert head.one("Upgrade") == "websocket"
    assert head.all("X") == ["1", "2"]


@pytest.mark.parametrize(("server_header", "values"), [(None, []), ("mine/1", ["mine/1"])])
@pytest.mark.parametrize("connection", ["Upgrade", "close"])
async def test_the_server_header(server_header, values, connection):
    head, _ = await ask_with(fields_of(Connection=connection), server_header=server_header)
    assert head.all("Server") == values


# Subprotocols


@pytest.mark.parametrize(
    ("subprotocols", "offered", "chosen"),
    [(["b", "a"], "a, b", "b"), (None, "a, b", None), (["b"], "a, b, c", "b")],
)
async def test_the_servers_order_of_subprotocols_wins(subprotocols, offered, chosen):
    head, _ = await ask_with(fields_of(("Sec-WebSocket-Protocol", offered)), subprotocols=subprotocols)
    assert head.all("Sec-WebSocket-Protocol") == ([chosen] if chosen else [])


@pytest.mark.parametrize(
    ("offered", "text"), [(None, "missing subprotocol."), ("a", "invalid subprotocol; expected one of c, d.")]
)
async def test_without_a_common_subprotocol_there_is_no_connection(offered, text):
    fields = fields_of(*([("Sec-WebSocket-Protocol", offered)] if offered else []))
    head, body = await ask_with(fields, subprotocols=["c", "d"])
    assert (head.status, body) == (400, f"Failed to open a WebSocket connection: {text}\n")


async def test_select_subprotocol_is_asked_even_without_an_offer():
    asked = []

    def select(connection, offered):
        asked.append((connection.request.path, offered))
        return offered[-1] if offered else None

    async with running(select_subprotocol=select) as site:
        async with site.connect("/1", subprotocols=["a", "b"]) as connection:
            assert connection.subprotocol == "b"
        async with site.connect("/2") as connection:
            assert connection.subprotocol is None
    assert asked == [("/1", ["a", "b"]), ("/2", [])]


@pytest.mark.parametrize(
    ("select", "status", "text"),
    [
        (NegotiationError("no thanks"), 400, "Failed to open a WebSocket connection: no thanks.\n"),
        (ValueError("secret"), 500, FAILED),
        ("not offered", 500, FAILED),
    ],
)
async def test_select_subprotocol_that_refuses_or_fails(select, status, text, caplog):
    def choose(connection, offered):
        if isinstance(select, Exception):
            raise select
        return select

    head, body = await ask_with(fields_of(("Sec-WebSocket-Protocol", "a")), select_subprotocol=choose)
    assert (head.status, body) == (status, text)
    errors = [("websockets.server", "opening handshake failed")] if status == 500 else []
    assert records(caplog, "ERROR") == errors


# Time


@pytest.mark.parametrize("hook", ["process_request", "process_response"])
async def test_hooks_count_in_the_deadline(hook, link):
    cancelled = asyncio.Event()

    async def hang(*args):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async with asyncio.timeout(10), running(link=link, open_timeout=0.05, **{hook: hang}) as site:
        head, _ = await ask(site, fields_of())
        assert head.status == 408
        await cancelled.wait()


async def test_a_silent_client_does_not_stay(link):
    async with asyncio.timeout(10), running(link=link, open_timeout=0.05) as site, site.raw_peer() as peer:
        peer.write_bytes(b"GET / HT")
        assert (await peer.read_http_head()).status == 408
        await peer.read_to_end()


async def test_a_client_that_leaves_ends_its_hook():
    begun, ended = asyncio.Event(), asyncio.Event()
    connections = []

    async def hang(connection, request):
        connections.append(connection)
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async with asyncio.timeout(10), running(process_request=hang) as site:
        async with site.raw_peer() as peer:
            peer.write_http_head("GET / HTTP/1.1", fields_of())
            await begun.wait()
            peer.reset()
            await ended.wait()
        await connections[0].wait_closed()
        assert connections[0].state is State.CLOSED


async def test_a_refused_connection_is_closed():
    connections = []

    def refuse(connection, request):
        connections.append(connection)
        return connection.respond(403, "")

    async with asyncio.timeout(10), running(process_request=refuse) as site:
        with pytest.raises(InvalidStatus):
            await site.connect()
        await connections[0].wait_closed()
        assert connections[0].state is State.CLOSED
