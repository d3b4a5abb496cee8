"""Ending a server: `close`, `wait_closed`, `serve_forever`, `drain`."""

import asyncio
import contextlib

import pytest

from picows_aio import ConnectionClosed, InvalidStatus, ProtocolError, State, serve
from tests.picows_aio.sites import records, running, site_of
from tests.support import new_key, upgrade_fields

HANDSHAKE = [("Host", "h"), *upgrade_fields(new_key())]


async def wait(connection):
    await connection.wait_closed()


@contextlib.asynccontextmanager
async def started(handler=wait, **options):
    """A server that the test closes."""
    async with asyncio.timeout(10):
        server = await serve(handler, "127.0.0.1", 0, **options)
        yield site_of(server)
        await server.wait_closed()


# close


async def test_closing_says_going_away(link, caplog):
    caplog.set_level("INFO")
    async with running(wait, link=link) as site:
        connection = await site.connect()
        site.server.close()
        assert not site.server.is_serving()
        await site.server.wait_closed()
        await connection.wait_closed()
        assert (connection.close_code, connection.close_reason) == (1001, "")
        assert site.server.connections == set()
    lines = [text for _, text in records(caplog, "INFO")]
    assert lines.count("server closing") == lines.count("server closed") == 1
    assert lines.index("server closing") < lines.index("connection closed") < lines.index("server closed")


async def test_code_and_reason():
    async with started() as site:
        connection = await site.connect()
        site.server.close(code=1012, reason="later")
        site.server.close(code=1008, reason="the first one counts")
        await connection.wait_closed()
        assert (connection.close_code, connection.close_reason) == (1012, "later")


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (1000, "x" * 124)])
async def test_a_close_frame_that_must_not_be_sent(code, reason):
    async with started() as site:
        with pytest.raises(ProtocolError):
            site.server.close(code=code, reason=reason)
        with pytest.raises(ProtocolError):
            await site.server.drain(1, code, reason)
        assert site.server.is_serving()
        site.server.close()


async def test_connections_may_go_on():
    async with started() as site:
        connection = await site.connect()
        site.server.close(close_connections=False)
        waiting = asyncio.create_task(site.server.wait_closed())
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await site.connect()
        assert (connection.state, len(site.server.connections), waiting.done()) == (State.OPEN, 1, False)
        await connection.close()
        await waiting


async def test_waiting_can_be_cancelled():
    async with started() as site:
        waiting = asyncio.create_task(site.server.wait_closed())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert site.server.is_serving()
        site.server.close()


async def test_it_waits_for_handlers():
    release = asyncio.Event()
    ended = []

    async def handler(connection):
        await connection.wait_closed()
        await release.wait()
        ended.append(connection)

    async with started(handler) as site:
        connection = await site.connect()
        site.server.close()
        await connection.wait_closed()
        waiting = asyncio.create_task(site.server.wait_closed())
        await asyncio.sleep(0)
        assert not waiting.done()
        release.set()
        await waiting
        assert len(ended) == 1


async def test_a_handler_that_ignores_cancellation_is_waited_for():
    release = asyncio.Event()
    tasks = []

    async def stubborn(connection):
        tasks.append(asyncio.current_task())
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async with started(stubborn) as site:
        connection = await site.connect()
        site.server.close()
        tasks[0].cancel()
        await connection.wait_closed()
        assert connection.close_code == 1001
        waiting = asyncio.create_task(site.server.wait_closed())
        await asyncio.sleep(0)
        assert not waiting.done()
        release.set()


# Handshakes under way


@pytest.mark.parametrize("hook", ["process_request", "process_response"])
async def test_handshakes_under_way_are_answered_with_503(hook):
    begun, release = asyncio.Event(), asyncio.Event()
    handled = []

    async def hold(*args):
        begun.set()
        await release.wait()

    async with started(handled.append, **{hook: hold}) as site:
        opening = asyncio.create_task(_outcome(site.connect()))
        await begun.wait()
        site.server.close()
        waiting = asyncio.create_task(site.server.wait_closed())
        await asyncio.sleep(0)
        assert not waiting.done()
        release.set()
        await waiting
        response = (await opening).response
        assert (response.status_code, response.body) == (503, b"Server is shutting down.\n")
        assert response.headers["Retry-After"] == "1"
    assert handled == []


async def test_plain_http_is_answered_until_the_end():
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold(connection, request):
        begun.set()
        await release.wait()
        return connection.respond(200, "OK\n")

    async with started(process_request=hold) as site, site.raw_peer() as peer:
        peer.write_http_head("GET /healthz HTTP/1.1", [("Host", "h")])
        await begun.wait()
        site.server.close()
        release.set()
        assert (await peer.read_http_head()).status == 200


async def test_clients_that_asked_for_nothing_are_not_waited_for():
    async with started(open_timeout=None) as site, site.raw_peer() as silent, site.raw_peer() as half:
        half.write_bytes(b"GET / HT")
        connection = await site.connect()
        site.server.close()
        await site.server.wait_closed()
        assert await silent.read_to_end() == await half.read_to_end() == b""
        await connection.wait_closed()


async def test_many_clients_that_came_and_went_are_forgotten():
    async with started() as site:
        for _ in range(200):
            async with site.raw_peer() as peer:
                peer.half_close()
                await peer.read_to_end()
        assert len(site.server._silent) <= 64
        site.server.close()


async def test_a_connection_that_opens_while_the_server_closes_is_closed():
    """The response is on its way when close() is called: the handler does not begin."""
    handled = []
    servers = []

    def close_server(connection, request, response):
        asyncio.get_running_loop().call_soon(servers[0].close)

    async with started(handled.append, process_response=close_server) as site:
        servers.append(site.server)
        result = await _outcome(site.connect())
        if isinstance(result, InvalidStatus):
            assert result.response.status_code == 503
        else:
            await result.wait_closed()
            assert result.close_code == 1001
    assert handled == []


async def _outcome(connecting):
    try:
        return await connecting
    except Exception as exc:
        return exc


# serve_forever


async def test_serve_forever_starts_and_returns_when_the_server_is_closed():
    async with started(start_serving=False) as site:
        serving = asyncio.create_task(site.server.serve_forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        connection = await site.connect()
        site.server.close()
        assert await serving is None
        await connection.wait_closed()


async def test_serve_forever_closes_the_server_when_it_is_cancelled():
    async with started() as site:
        serving = asyncio.create_task(site.server.serve_forever())
        connection = await site.connect()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await connection.wait_closed()
        assert connection.close_code == 1001
        assert not site.server.is_serving()


async def test_leaving_the_context_closes_the_server():
    async with running(wait) as site:
        connection = await site.connect()
    await connection.wait_closed()
    assert connection.close_code == 1001


@pytest.mark.parametrize("method", ["start_serving", "serve_forever"])
async def test_a_closed_server_does_not_start_again(method):
    async with started() as site:
        site.server.close()
        with pytest.raises(RuntimeError, match=r"^the server is closed$"):
            await getattr(site.server, method)()


# drain


async def test_draining_closes_with_service_restart():
    async with started() as site:
        connections = [await site.connect() for _ in range(5)]
        await site.server.drain(5, reason="update", spread=0.05)
        for connection in connections:
            await connection.wait_closed()
        assert {(c.close_code, c.close_reason) for c in connections} == {(1012, "update")}
        assert not site.server.is_serving()


async def test_draining_takes_its_time():
    """Not all at once: between the first and the last there is most of the time that was given."""
    loop = asyncio.get_running_loop()
    closed = []

    async def note(connection):
        await connection.wait_closed()
        closed.append(loop.time())

    async with started() as site, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(note(await site.connect()))
        await site.server.drain(5, spread=0.3)
    assert max(closed) - min(closed) > 0.15


@pytest.mark.parametrize("spread", [-0.1, 2])
async def test_a_spread_that_does_not_fit(spread):
    async with started() as site:
        with pytest.raises(ValueError, match=r"spread must be from 0 to the deadline of 1 s"):
            await site.server.drain(1, spread=spread)
        assert site.server.is_serving()
        site.server.close()


async def test_draining_nothing():
    async with started() as site:
        await site.server.drain(1)
        assert not site.server.is_serving()


async def test_upgrades_are_refused_while_draining():
    """As long as there is a connection that is not closed yet."""
    async with started() as site, site.raw_peer() as peer, site.raw_peer() as slow:
        await slow.upgrade()
        draining = asyncio.create_task(site.server.drain(5, spread=0.5))
        assert (await slow.read_frame()).close_code == 1012
        peer.write_http_head("GET / HTTP/1.1", HANDSHAKE)
        head = await peer.read_http_head()
        assert (head.status, head.one("Retry-After")) == (503, "1")
        assert not draining.done()
        slow.write_close(1012)
        await slow.read_eof()
        await draining


async def test_what_is_open_at_the_deadline_is_dropped(caplog):
    """The peer does not answer CLOSE, and the handler does not look."""
    cancelled = []

    async def busy(connection):
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.append(connection)
            raise

    async with started(busy) as site, site.raw_peer() as peer:
        await peer.upgrade()
        await site.server.drain(0.1, spread=0)
        assert (await peer.read_frame()).payload[:2] == (1012).to_bytes(2)
        await peer.read_eof()
        assert len(cancelled) == 1
    expected = "1 handlers had not returned after 0.075 s: dropping their connections"
    assert ("websockets.server", expected) in records(caplog, "WARNING")


async def test_draining_gives_up_handlers_that_ignore_cancellation(caplog):
    """They count no more: the server is closed, for whoever waits for that too."""
    release = asyncio.Event()

    async def stubborn(connection):
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await release.wait()

    try:
        async with started(stubborn) as site:
            connection = await site.connect()
            waiting = asyncio.create_task(site.server.wait_closed())
            serving = asyncio.create_task(site.server.serve_forever())
            await asyncio.sleep(0)
            await site.server.drain(0.2)
            await asyncio.gather(waiting, serving)
            await connection.wait_closed()
            assert connection.close_code == 1012
    finally:
        release.set()
    expected = "1 handlers ignore that they were cancelled: the server is closed without them"
    assert ("websockets.server", expected) in records(caplog, "ERROR")


async def test_a_deadline_of_nothing_drops_everything():
    async with started() as site:
        connection = await site.connect()
        await site.server.drain(0)
        await connection.wait_closed()
        assert site.server.connections == set()


async def test_draining_ends_when_somebody_else_has_closed_the_connections():
    """Also in the middle: nothing is left that the rest of the time would be for."""
    async with started() as site:
        connections = [await site.connect() for _ in range(3)]
        draining = asyncio.create_task(site.server.drain(600, spread=300))
        await asyncio.sleep(0)
        site.server.close()
        await draining
        for connection in connections:
            await connection.wait_closed()


async def test_draining_one_connection_takes_no_longer_than_its_close():
    async with started() as site:
        connection = await site.connect()
        await site.server.drain(600)
        await connection.wait_closed()
        assert connection.close_code == 1012


async def test_connections_that_leave_by_themselves_are_not_waited_for():
    async with started() as site:
        connections = [await site.connect() for _ in range(3)]
        draining = asyncio.create_task(site.server.drain(600, spread=300))
        await asyncio.gather(*(connection.close() for connection in connections))
        await draining
