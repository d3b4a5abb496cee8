"""Routing: which handler a path leads to, and what is answered where it leads to none."""

import asyncio
import http
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from werkzeug.routing import Map, Rule

from picows_aio.datastructures import Headers
from picows_aio.http11 import Request
from picows_aio.router import Router, route, unix_route
from tests.support import TEXT, Endpoint, connect_raw_peer, new_key, upgrade_fields


async def first(websocket, **kwargs):
    await websocket.send(f"first {kwargs}")


async def second(websocket, **kwargs):
    await websocket.send(f"second {kwargs}")


def make_map(**options):
    return Map(
        [
            Rule("/", endpoint=first),
            Rule("/numbers/<int:number>/<name>", endpoint=second),
            Rule("/folder/", endpoint=second),
            Rule("/defaults", endpoint=first, defaults={"number": 5}),
            Rule("/old/<int:number>", redirect_to="/numbers/<number>/new"),
            Rule("/abroad", redirect_to="https://example.com/there"),
        ],
        **options,
    )


@asynccontextmanager
async def running(*args, make=route, tls=None, **kwargs):
    """Where a routing server listens."""
    async with asyncio.timeout(20), make(*args, **kwargs) as server:
        yield Endpoint(server, server.sockets[0].getsockname(), "", client_tls=tls)


async def ask(endpoint, target, host="example.org:8080"):
    """The handler's message, or status, Location and body of another response."""
    async with await connect_raw_peer(endpoint) as peer:
        peer.write_http_head(f"GET {target} HTTP/1.1", [("Host", host), *upgrade_fields(new_key())])
        head = await peer.read_http_head()
        if head.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            frame = await peer.read_frame()
            assert frame.opcode == TEXT
            return frame.payload.decode()
        body = await peer.read_bytes(int(head.one("Content-Length")))
        return head.status, head.all("Location"), body.decode()


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/", "first {}"),
        ("/?number=1", "first {}"),
        ("/numbers/7/seven?x=/", "second {'number': 7, 'name': 'seven'}"),
        ("/folder/", "second {}"),
        ("/defaults", "first {'number': 5}"),
        ("/numbers/7/%2F%20", "second {'number': 7, 'name': '%2F%20'}"),
        ("/numbers/seven/7", (404, [], "Not Found")),
        ("/Folder/", (404, [], "Not Found")),
        ("/folder", (302, ["ws://example.org:8080/folder/"], "Found at ws://example.org:8080/folder/")),
        ("/old/3?x=1", (302, ["ws://example.org:8080/numbers/3/new"], "Found at ws://example.org:8080/numbers/3/new")),
        ("/abroad", (302, ["https://example.com/there"], "Found at https://example.com/there")),
    ],
)
async def test_paths(target, answer):
    async with running(make_map(), "127.0.0.1", 0) as endpoint:
        assert await ask(endpoint, target) == answer


async def test_redirects_go_where_clients_see_the_server():
    """Behind something that ends TLS and has another name."""
    async with running(make_map(), "127.0.0.1", 0, server_name="public.example", ssl=True) as endpoint:
        assert (await ask(endpoint, "/old/3"))[1] == ["wss://public.example/numbers/3/new"]
        assert await ask(endpoint, "/") == "first {}"


async def test_redirects_of_a_server_with_tls_keep_it(tls_contexts):
    context = tls_contexts.server
    async with running(make_map(), "127.0.0.1", 0, ssl=context, tls=tls_contexts.client) as endpoint:
        assert (await ask(endpoint, "/old/3", "a"))[1] == ["wss://a/numbers/3/new"]


async def test_rules_may_tell_hosts_apart():
    rules = [Rule("/", endpoint=first, host="a.example"), Rule("/", endpoint=second, host="b.example:8080")]
    async with running(Map(rules, host_matching=True), "127.0.0.1", 0) as endpoint:
        assert await ask(endpoint, "/", "A.example") == "first {}"
        assert await ask(endpoint, "/", "b.example:8080") == "second {}"
        assert await ask(endpoint, "/", "c.example") == (404, [], "Not Found")


async def test_rules_become_rules_for_websockets():
    """Without that, werkzeug takes them for HTTP and finds none."""
    url_map = Map([Rule("/", endpoint=first, websocket=False)])
    async with running(url_map, "127.0.0.1", 0) as endpoint:
        assert await ask(endpoint, "/") == "first {}"


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_process_request_comes_first(is_coroutine):
    seen = []

    def process(connection, request):
        seen.append((request.path, hasattr(connection, "handler")))
        return connection.respond(http.HTTPStatus.OK, "alive\n") if request.path == "/health" else None

    async def process_later(connection, request):
        await asyncio.sleep(0)
        return process(connection, request)

    process_request = process_later if is_coroutine else process
    async with running(make_map(), "127.0.0.1", 0, process_request=process_request) as endpoint:
        assert await ask(endpoint, "/health") == (200, [], "alive\n")
        assert await ask(endpoint, "/") == "first {}"
        assert await ask(endpoint, "/nowhere") == (404, [], "Not Found")
    assert seen == [("/health", False), ("/", False), ("/nowhere", False)]


async def test_a_router_can_be_changed():
    class Polite(Router):
        def get_server_name(self, connection, request):
            return "polite.example"

        def not_found(self, connection):
            return connection.respond(http.HTTPStatus.GONE, "sorry")

        def redirect(self, connection, url):
            response = super().redirect(connection, url)
            response.headers["Retry-After"] = "1"
            return response

        async def handler(self, connection):
            await connection.send(f"{connection.handler.__name__} {connection.handler_kwargs}")

    async with running(make_map(), "127.0.0.1", 0, create_router=Polite) as endpoint:
        assert await ask(endpoint, "/nowhere") == (410, [], "sorry")
        assert (await ask(endpoint, "/folder"))[1] == ["ws://polite.example/folder/"]
        assert await ask(endpoint, "/folder/") == "second {}"


async def test_settings_of_the_server_pass_through():
    async with running(make_map(), "127.0.0.1", 0, server_header="me", subprotocols=["chat"]) as endpoint:
        status, _, body = await ask(endpoint, "/")
        assert (status, body) == (400, "Failed to open a WebSocket connection: missing subprotocol.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
async def test_unix_sockets(tmp_path):
    async with running(make_map(), str(tmp_path / "s"), make=unix_route) as endpoint:
        assert await ask(endpoint, "/numbers/1/one") == "second {'number': 1, 'name': 'one'}"


def test_a_request_without_a_host_can_be_routed():
    """The server refuses it later; here it must not be an error."""

    class Connection:
        pass

    connection = Connection()
    assert Router(make_map()).route_request(connection, Request("/", Headers())) is None
    assert (connection.handler, connection.handler_kwargs) == (first, {})


def test_werkzeug_is_needed_on_call_alone(monkeypatch):
    url_map = make_map()
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    for call in (Router, route, unix_route):
        with pytest.raises(ImportError, match=r"^routing needs werkzeug: pip install picows-aio\[router\]$"):
            call(url_map)


def test_werkzeug_is_not_imported_before():
    program = "import picows_aio.router, sys; print('werkzeug' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
