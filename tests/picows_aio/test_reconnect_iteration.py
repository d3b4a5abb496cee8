"""`async for connection in connect(...)`: what is tried again, after how long, and how it ends."""

import asyncio
import contextlib
import re
import socket

import pytest

from picows_aio import ConnectionClosedError, InvalidStatus, State, connect
from tests.picows_aio.sites import echo, records, running
from tests.support import listen


@contextlib.contextmanager
def refusing_port():
    """A TCP port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def never_connects(connecting):
    """Iterate; the exception is for the test."""
    async for _ in connecting:
        pytest.fail("connected")


def at_once():
    while True:
        yield 0.001


async def test_each_round_has_a_connection_and_the_one_before_is_closed():
    connections = []
    async with asyncio.timeout(10), running() as site:
        async for connection in site.connect():
            assert [old.state for old in connections] == [State.CLOSED] * len(connections)
            assert connection.state is State.OPEN
            connections.append(connection)
            if len(connections) == 3:
                await connection.close()
                break
            continue
    assert [old.close_code for old in connections] == [1000] * 3


async def test_a_lost_connection_is_replaced():
    served = []

    async def restart(connection):
        served.append(connection)
        if len(served) < 3:
            await connection.close(1012, "restart")
        else:
            await echo(connection)

    errors = []
    async with asyncio.timeout(10), running(restart) as site:
        async for connection in site.connect(reconnect_delays=at_once):
            try:
                await connection.send("hello")
                assert await connection.recv() == "hello"
            except ConnectionClosedError as exc:
                errors.append(exc.rcvd.code)
                continue
            await connection.close()
            break
    assert errors == [1012, 1012]


async def test_statuses_of_overload_are_tried_again(caplog):
    caplog.set_level("INFO")
    statuses = [500, 502, 503, 504]

    def refuse(connection, request):
        return connection.respond(statuses.pop(0), "") if statuses else None

    async with asyncio.timeout(10), running(process_request=refuse) as site:
        async for connection in site.connect(reconnect_delays=at_once):
            await connection.close()
            break
    assert statuses == []
    lines = [text for name, text in records(caplog, "INFO") if name == "websockets.client"]
    assert lines == [
        "connect failed; reconnecting in 0.0 seconds: picows_aio.exceptions.InvalidStatus: "
        f"server rejected WebSocket connection: HTTP {status}"
        for status in (500, 502, 503, 504)
    ]


async def test_an_end_in_the_handshake_is_tried_again():
    async with asyncio.timeout(10), listen() as server, asyncio.TaskGroup() as group:

        async def iterate():
            async for connection in connect(server.url, proxy=None, reconnect_delays=at_once):
                await connection.close()
                return

        iterating = group.create_task(iterate())
        (await server.accept(upgrade=False)).close()
        peer = await server.accept()
        frame = await peer.read_frame()
        peer.write_frame(8, frame.payload)
        peer.close()
        await iterating


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 501])
async def test_other_statuses_are_fatal(status):
    async with running(process_request=lambda connection, _: connection.respond(status, "")) as site:
        with pytest.raises(InvalidStatus):
            await never_connects(site.connect())


async def test_delays_begin_anew_after_a_success():
    made = []

    def delays():
        made.append(0)
        while True:
            made[-1] += 1
            yield 0.001

    answers = iter([503, 503, None, 503, None])

    def refuse(connection, request):
        status = next(answers)
        return connection.respond(status, "") if status else None

    async with asyncio.timeout(10), running(process_request=refuse) as site:
        rounds = 0
        async for connection in site.connect(reconnect_delays=delays):
            rounds += 1
            if rounds == 2:
                await connection.close()
                break
    assert made == [2, 1]


async def test_the_last_error_is_raised_when_the_delays_end():
    with refusing_port() as port:
        connecting = connect(f"ws://127.0.0.1:{port}/", proxy=None, reconnect_delays=lambda: iter([0.001]))
        with pytest.raises(ConnectionRefusedError):
            await never_connects(connecting)


async def test_process_exception_may_raise_another_one():
    seen = []

    def decide(exc):
        seen.append(type(exc))
        return None if len(seen) < 3 else LookupError("enough")

    with refusing_port() as port:
        options = {"process_exception": decide, "reconnect_delays": at_once}
        connecting = connect(f"ws://127.0.0.1:{port}/", proxy=None, **options)
        with pytest.raises(LookupError, match="enough") as caught:
            await never_connects(connecting)
    assert seen == [ConnectionRefusedError] * 3
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("own_cause", [None, KeyError("own")])
async def test_what_process_exception_raises_is_chained(own_cause):
    def decide(exc):
        raise RuntimeError("no more") from own_cause

    async with asyncio.timeout(10):
        with refusing_port() as port, pytest.raises(RuntimeError, match="no more") as caught:
            await never_connects(connect(f"ws://127.0.0.1:{port}/", proxy=None, process_exception=decide))
    if own_cause is None:
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    else:
        assert caught.value.__cause__ is own_cause


async def test_process_exception_may_raise_what_it_was_given():
    def decide(exc):
        raise exc

    async with asyncio.timeout(10):
        with refusing_port() as port, pytest.raises(ConnectionRefusedError) as caught:
            await never_connects(connect(f"ws://127.0.0.1:{port}/", proxy=None, process_exception=decide))
    assert caught.value.__cause__ is None


async def test_process_exception_may_raise_itself_or_say_that_all_is_fatal():
    def fail(exc):
        raise ArithmeticError

    with refusing_port() as port:
        for decide, kind in ((fail, ArithmeticError), (lambda exc: exc, ConnectionRefusedError)):
            connecting = connect(f"ws://127.0.0.1:{port}/", proxy=None, process_exception=decide)
            with pytest.raises(kind):
                await never_connects(connecting)


async def test_an_exception_in_the_body_leaves_the_loop():
    connections = []
    async with asyncio.timeout(10), running() as site:
        iteration = site.connect().__aiter__()

        async def iterate():
            async for connection in iteration:
                connections.append(connection)
                raise KeyError("the body's")

        with pytest.raises(KeyError):
            await iterate()
        await iteration.aclose()
    assert [connection.state for connection in connections] == [State.CLOSED]


async def test_timeouts_are_tried_again(caplog):
    caplog.set_level("INFO")
    async with asyncio.timeout(10), listen() as server, asyncio.TaskGroup() as group:

        async def iterate():
            async for connection in connect(server.url, proxy=None, open_timeout=0.5, reconnect_delays=at_once):
                connection.transport.abort()
                return

        iterating = group.create_task(iterate())
        await server.accept(upgrade=False)
        (await server.accept()).close()
        await iterating
    ((_, line),) = records(caplog, "INFO")
    expected = r"connect failed; reconnecting in 0\.0 seconds: TimeoutError: timed out during opening handshake"
    assert re.fullmatch(expected, line)
