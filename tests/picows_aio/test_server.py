"""`serve`: its arguments, its connections and their handlers, and what a Server can be asked."""

import asyncio
import functools
import socket

import pytest

from picows_aio import ConnectionClosedError, ConnectionClosedOK, Server, ServerConnection, State, connect, serve
from picows_aio import unix_serve as serve_unix
from tests.picows_aio.sites import echo, records, running
from tests.support import CLOSE, close_payload


async def wait(connection):
    await connection.wait_closed()


# The object


async def test_serve_gives_a_server_that_starts_when_it_is_awaited():
    server = serve(echo, "127.0.0.1", 0)
    assert isinstance(server, Server)
    assert (server.sockets, server.is_serving(), server.connections) == ((), False, set())
    with pytest.raises(RuntimeError, match="the server was not started"):
        server.get_loop()
    assert await server is server
    assert server.is_serving()
    assert server.get_loop() is asyncio.get_running_loop()
    assert len(server.sockets) == 1
    server.close()
    assert not server.is_serving()
    await server.wait_closed()
    assert server.sockets == ()


def test_a_server_can_be_made_before_there_is_a_loop():
    server = serve(echo, "127.0.0.1", 0)

    async def main():
        async with server as entered:
            assert entered is server
            async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", proxy=None) as connection:
                await connection.send("x")
                assert await connection.recv() == "x"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"compression": "x"}, ValueError, "unsupported compression: x"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list, not a str"),
        ({"subprotocols": ["a b"]}, ValueError, "invalid subprotocol: a b"),
        ({"max_size": -1}, ValueError, "max_size must be positive"),
        ({"max_queue": -1}, ValueError, "max_queue must be"),
        ({"write_limit": (1, 2)}, ValueError, "write_limit must be"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, kind, message):
    with pytest.raises(kind, match=message):
        serve(echo, "127.0.0.1", 0, **options)


def test_the_handler_must_be_callable():
    with pytest.raises(TypeError, match="handler must be a coroutine function, not int"):
        serve(3)


async def test_arguments_of_create_server_are_checked_when_it_starts():
    with pytest.raises(TypeError, match="nonsense"):
        await serve(echo, "127.0.0.1", 0, nonsense=1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(echo, *taken.getsockname())


async def test_several_hosts():
    async with serve(echo, ["127.0.0.1", "127.0.0.2"], 0) as server:
        for sock in server.sockets:
            host, port = sock.getsockname()
            async with connect(f"ws://{host}:{port}/", proxy=None) as connection:
                assert connection.remote_address == (host, port)


async def test_a_socket_of_the_caller():
    sock = socket.create_server(("127.0.0.1", 0))
    async with serve(echo, sock=sock) as server:
        address = sock.getsockname()
        assert [listening.getsockname() for listening in server.sockets] == [address]
        async with connect(f"ws://127.0.0.1:{address[1]}/", proxy=None) as connection:
            await connection.send("x")
            assert await connection.recv() == "x"


@pytest.mark.links("unix")
async def test_a_unix_socket(link):
    path = link.server_options()["path"]
    async with serve_unix(echo, path) as server:
        assert server.sockets[0].getsockname() == path
        async with connect("ws://localhost/", unix=True, path=path) as connection:
            assert connection.remote_address == path


async def test_start_serving_can_be_left_for_later():
    async with serve(echo, "127.0.0.1", 0, start_serving=False) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert not server.is_serving()
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await connect(url, proxy=None)
        await server.start_serving()
        assert server.is_serving()
        async with connect(url, proxy=None):
            pass


# Connections


async def test_open_connections(link):
    async with running(wait, link=link) as site:
        assert site.server.connections == set()
        async with site.connect() as first, site.connect("/second") as second:
            assert {connection.request.path for connection in site.server.connections} == {"/", "/second"}
            assert {type(connection) for connection in site.server.connections} == {ServerConnection}
            assert all(connection.server is site.server for connection in site.server.connections)
            assert first.state is second.state is State.OPEN
        assert site.server.connections == set()


async def test_a_connection_knows_both_addresses():
    async with running(wait) as site, site.connect() as client:
        (connection,) = site.server.connections
        assert connection.remote_address == client.local_address
        assert connection.local_address == client.remote_address


async def test_respond_makes_plain_text():
    responses = []

    def process_request(connection, request):
        responses.append(connection.respond(404, "Näh\n"))

    async with running(process_request=process_request) as site, site.connect():
        pass
    (response,) = responses
    assert (response.status_code, response.reason_phrase, response.body) == (404, "Not Found", "Näh\n".encode())
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == "5"
    assert response.headers["Connection"] == "close"
    assert response.headers["Date"].endswith(" GMT")


# Handlers


async def closing_of(handler, **options):
    """Close code and reason that a client gets from a handler."""
    async with asyncio.timeout(10), running(handler, **options) as site, site.connect() as connection:
        await connection.wait_closed()
        return connection.close_code, connection.close_reason


async def returns(connection, *args):
    pass


async def fails(connection):
    raise ValueError("the handler's")


async def closes(connection):
    await connection.close(1008, "bye")


async def is_cancelled(connection):
    asyncio.current_task().cancel()
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(
    ("handler", "closing"),
    [
        (returns, (1000, "")),
        (functools.partial(returns), (1000, "")),
        (fails, (1011, "")),
        (closes, (1008, "bye")),
        (is_cancelled, (1011, "")),
    ],
)
async def test_how_a_connection_ends_with_its_handler(handler, closing):
    assert await closing_of(handler) == closing


async def test_a_handler_that_fails_is_logged_with_its_exception(caplog):
    caplog.set_level("INFO")
    await closing_of(fails)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert (record.name, record.getMessage()) == ("websockets.server", "connection handler failed")
    assert repr(record.exc_info[1]) == 'ValueError("the handler\'s")'


async def handler_log(handler, ending, caplog):
    """What is logged, and at which level, about a handler whose peer ends the connection in this way."""
    caplog.set_level("INFO")
    returned = asyncio.Event()

    async def observed(connection):
        try:
            await handler(connection)
        finally:
            returned.set()

    async with asyncio.timeout(10), running(observed) as site, site.raw_peer() as peer:
        await peer.upgrade()
        ending(peer)
        await peer.read_to_end()
        await returned.wait()
    return [(record.levelname, record.getMessage()) for record in caplog.records if "handler" in record.getMessage()]


async def receives(connection):
    await connection.recv()


async def iterates(connection):
    async for _ in connection:
        pass


@pytest.mark.parametrize("handler", [receives, iterates])
@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (lambda peer: peer.half_close(), "no close frame received or sent"),
        (lambda peer: peer.write_frame(3), "sent 1002 (protocol error) unknown opcode; no close frame received"),
        (
            lambda peer: peer.write_frame(CLOSE, close_payload(1002, "")),
            "received 1002 (protocol error); then sent 1002 (protocol error)",
        ),
    ],
    ids=["eof", "violation", "close"],
)
async def test_a_peer_that_goes_away_is_no_failure_of_the_handler(handler, ending, text, caplog):
    assert await handler_log(handler, ending, caplog) == [("INFO", f"connection handler ended: {text}")]


@pytest.mark.parametrize("code", [1000, 1001])
async def test_nothing_is_logged_where_iteration_ends_quietly(code, caplog):
    log = await handler_log(iterates, lambda peer: peer.write_frame(CLOSE, close_payload(code, "")), caplog)
    assert log == []


@pytest.mark.parametrize("kind", [ConnectionClosedOK, ConnectionClosedError])
async def test_the_end_of_another_connection_is_a_failure(kind, caplog):
    async def proxy(connection):
        raise kind(None, None)

    assert await closing_of(proxy) == (1011, "")
    assert records(caplog, "ERROR") == [("websockets.server", "connection handler failed")]


async def test_each_connection_has_a_task_of_its_own():
    tasks = set()

    async def handler(connection):
        tasks.add(asyncio.current_task())
        await connection.wait_closed()

    async with running(handler) as site, site.connect(), site.connect():
        pass
    assert len(tasks) == 2


async def test_limits_are_those_of_the_server():
    async with asyncio.timeout(10), running(max_size=10) as site, site.connect() as connection:
        await connection.send("x" * 11)
        with pytest.raises(ConnectionClosedError) as caught:
            await connection.recv()
        assert caught.value.rcvd.code == 1009
