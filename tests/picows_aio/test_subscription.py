"""`subscribe`: messages across reconnections, gaps, and what is told to the program."""

import asyncio
import gc
import logging
import time
import weakref

import pytest

from picows_aio import (
    ClientConnection,
    ConnectionClosedError,
    Gap,
    InvalidState,
    SubscriptionState,
    subscribe,
)
from tests.picows_aio.feeds import Refusing, feeding, follow, tell_number
from tests.picows_aio.sites import records, running


async def say_hello(connection):
    await connection.send("hello")


async def test_a_server_that_was_killed_is_found_again_on_its_port():
    async def greet(connection, number):
        assert await connection.recv() == "hello"
        await tell_number(connection, number)

    async with asyncio.timeout(10), feeding(greet) as server, follow(server, on_open=say_hello) as feed:
        assert await anext(feed) == "connection 1"
        await server.kill()
        waiting = asyncio.create_task(anext(feed))
        while feed.attempts < 2:
            await asyncio.sleep(0.001)
        await server.start()
        assert await waiting == "connection 2"
        assert (feed.gaps, feed.attempts, feed.state) == (1, 0, SubscriptionState.OPEN)


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4000])
async def test_a_connection_is_replaced_however_it_was_closed(code):
    async def close(connection, number):
        await connection.send(str(number))
        await connection.close(code)

    received = []
    async with asyncio.timeout(10), feeding(close) as server:
        async for message in follow(server):
            received.append(message)
            if len(received) == 3:
                break
    assert received == ["1", "2", "3"]


async def test_all_that_a_connection_brought_comes_before_its_end():
    async def burst(connection, number):
        for index in range(10):
            await connection.send(f"{number}.{index}")
        await connection.close(1012)

    async with asyncio.timeout(10), feeding(burst) as server, follow(server, gaps="yield") as feed:
        received = [await anext(feed) for _ in range(21)]
    assert received[:10] == [f"1.{index}" for index in range(10)]
    assert isinstance(received[10], Gap)
    assert received[11:] == [f"2.{index}" for index in range(10)]


async def test_on_open_may_receive_and_what_it_leaves_is_delivered():
    async def answer(connection, number):
        await connection.send("welcome")
        await connection.send(await connection.recv())
        await connection.send("news")
        await connection.wait_closed()

    async def introduce(connection):
        assert await connection.recv() == "welcome"
        await connection.send("subscribed")
        while connection.messages_waiting() < 2:
            await asyncio.sleep(0.001)

    async with asyncio.timeout(10), feeding(answer) as server, follow(server, on_open=introduce) as feed:
        assert [await anext(feed), await anext(feed)] == ["subscribed", "news"]


async def test_on_open_may_be_a_plain_function():
    opened = []
    async with asyncio.timeout(10), feeding(tell_number) as server, follow(server, on_open=opened.append) as feed:
        await anext(feed)
        assert opened == [feed.connection]


async def test_gaps_are_told_logged_and_counted(caplog):
    caplog.set_level("INFO")

    async def break_off(connection, number):
        await connection.send(str(number))
        if number == 1:
            connection.transport.abort()
        await connection.wait_closed()

    told = []
    options = {"gaps": "yield", "on_gap": told.append}
    async with asyncio.timeout(10), feeding(break_off) as server, follow(server, **options) as feed:
        before = time.time()
        first, gap, second = [await anext(feed) for _ in range(3)]
        assert (first, second) == ("1", "2")
        assert told == [gap]
        assert feed.gaps == 1
        assert feed.last_error is gap.reason
    assert type(gap.reason) is ConnectionClosedError
    assert before <= gap.lost_at <= gap.restored_at <= time.time()
    assert 0 < gap.duration < 10
    assert gap.attempts == 1
    with pytest.raises(AttributeError):
        gap.attempts = 2
    assert records(caplog, "WARNING") == []
    assert "messages may be missing" in caplog.text


async def test_a_gap_that_nobody_is_told_of_is_a_warning(caplog):
    async def break_off(connection, number):
        await connection.send(str(number))
        connection.transport.abort()

    async with asyncio.timeout(10), feeding(break_off) as server, follow(server) as feed:
        assert [await anext(feed), await anext(feed)] == ["1", "2"]
    ((name, line),) = records(caplog, "WARNING")
    assert name == "websockets.client"
    assert line.startswith(f"subscription to {server.url}: messages may be missing, there was no connection for ")
    assert line.endswith(" s after picows_aio.exceptions.ConnectionClosedError: no close frame received or sent")


async def test_a_gap_counts_the_attempts_it_took():
    refused = []

    def refuse(connection, request):
        refused.append(request)
        return connection.respond(503, "") if 2 <= len(refused) <= 4 else None

    async def once(connection):
        await connection.send("news")
        await connection.close()

    started = running(once, process_request=refuse)
    async with asyncio.timeout(10), started as site, follow(site, gaps="yield") as feed:
        await anext(feed)
        assert (await anext(feed)).attempts == 4


async def test_attempts_before_the_first_connection_are_no_gap():
    refused = []

    def refuse(connection, request):
        refused.append(request)
        return connection.respond(503, "") if len(refused) <= 2 else None

    async def once(connection):
        await connection.send("news")
        await connection.wait_closed()

    async with asyncio.timeout(10), running(once, process_request=refuse) as site, follow(site) as feed:
        assert await anext(feed) == "news"
        assert feed.gaps == 0


async def test_states_are_told_and_logged(caplog):
    caplog.set_level("INFO")
    states = []

    async def close_the_first(connection, number):
        await connection.send(str(number))
        if number == 1:
            await connection.close(1012, "restart")
        await connection.wait_closed()

    async with asyncio.timeout(10), feeding(close_the_first) as server:
        feed = follow(server, on_state=states.append)
        assert feed.state is SubscriptionState.CONNECTING
        async with feed:
            assert [await anext(feed), await anext(feed)] == ["1", "2"]
    assert [state.value for state in states] == [
        *("connecting", "open", "backing off", "connecting", "open", "closed"),
    ]
    lines = [line for name, line in records(caplog, "INFO") if line.startswith("subscription")]
    reason = "picows_aio.exceptions.ConnectionClosedError: received 1012 (service restart) restart; then sent 1012"
    assert lines == [
        f"subscription to {server.url}: connecting",
        f"subscription to {server.url}: open",
        f"subscription to {server.url}: backing off for 0.0 s: {reason} (service restart) restart",
        f"subscription to {server.url}: connecting",
        f"subscription to {server.url}: open",
        f"subscription to {server.url}: closed",
    ]


async def test_the_log_has_no_secrets(caplog):
    caplog.set_level("INFO")
    async with asyncio.timeout(10), feeding(tell_number) as server:
        url = f"ws://me:s3cret@127.0.0.1:{server.port}/feed?token=s3cret"
        async with subscribe(url, proxy=None) as feed:
            await anext(feed)
            await feed.connection.close(4000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(feed)
    assert "/feed: backing off" in caplog.text
    assert "s3cret" not in caplog.text


async def test_another_logger_and_its_own_connection_class_are_used():
    class Own(ClientConnection):
        async def recv(self, decode=None):
            return f"own {await super().recv(decode)}"

    logger = logging.getLogger("a feed")
    options = {"create_connection": Own, "logger": logger}
    async with asyncio.timeout(10), feeding(tell_number) as server, follow(server, **options) as feed:
        assert await anext(feed) == "own connection 1"
        assert type(feed.connection) is Own
        assert feed.logger is logger


async def test_each_attempt_asks_the_first_server_again():
    """The server that a redirect led to may be gone for good."""
    asked = []

    async with asyncio.timeout(10), feeding(tell_number) as server:

        def redirect(connection, request):
            asked.append(request.path)
            response = connection.respond(307, "")
            response.headers["Location"] = server.url
            return response

        async with running(process_request=redirect) as site, follow(site) as feed:
            await anext(feed)
            server.connections[0].transport.abort()
            await anext(feed)
    assert len(asked) == 2


async def test_it_follows_over_every_kind_of_connection(link):
    numbers = iter(range(3))

    async def once(connection):
        await connection.send(str(next(numbers)))
        await connection.close(1012)

    async with asyncio.timeout(10), running(once, link) as site, follow(site, **site.options) as feed:
        assert [await anext(feed) for _ in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("is_loop", [True, False])
async def test_a_connection_that_ended_is_forgotten_whoever_keeps_its_gap(is_loop):
    """A program that reconnects for months must not depend on the garbage collector."""

    async def once(connection, number):
        await connection.send(str(number))
        await connection.close(1012)

    connections, gaps = [], []
    gc.disable()
    try:
        async with asyncio.timeout(10), feeding(once) as server, follow(server, on_gap=gaps.append) as feed:
            items = aiter(feed) if is_loop else feed
            for _ in range(5):
                await anext(items)
                connections.append(weakref.ref(feed.connection))
            while any(connection() is not None for connection in connections[:-1]):
                await asyncio.sleep(0.001)
    finally:
        gc.enable()
    assert len(gaps) == 4


async def test_the_program_can_send_on_the_connection_of_the_moment():
    async def echo(connection, number):
        async for message in connection:
            await connection.send(message)

    with Refusing() as nobody:
        down = follow(nobody)
        with pytest.raises(InvalidState, match=r"is connecting: there is no connection to send on"):
            await down.send("too early")
    async with asyncio.timeout(10), feeding(echo) as server, follow(server) as feed:
        waiting = asyncio.create_task(anext(feed))
        while feed.connection is None:
            await asyncio.sleep(0.001)
        await feed.send("more")
        assert await waiting == "more"
    with pytest.raises(InvalidState, match=r"is closed: there is no connection"):
        await feed.send("too late")


async def test_callbacks_that_fail_say_so_and_the_subscription_goes_on():
    async def close_the_first(connection, number):
        await connection.send(str(number))
        if number == 1:
            await connection.close(1012)
        await connection.wait_closed()

    def fail(gap):
        raise KeyError("on_gap")

    def fail_once(state):
        if state is SubscriptionState.OPEN and feed.gaps == 0:
            raise KeyError("on_state")

    options = {"gaps": "yield", "on_gap": fail, "on_state": fail_once}
    async with asyncio.timeout(10), feeding(close_the_first) as server, follow(server, **options) as feed:
        with pytest.raises(KeyError, match="on_state"):
            await anext(feed)
        assert await anext(feed) == "1"
        with pytest.raises(KeyError, match="on_gap"):
            await anext(feed)
        assert isinstance(await anext(feed), Gap)
        assert await anext(feed) == "2"


async def ignore(argument):
    """A coroutine function, where a plain one belongs."""


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stale_after": 0}, ValueError, "stale_after must be more than 0 seconds and finite, or None, not 0"),
        ({"stale_after": -1.5}, ValueError, "stale_after must be more than 0 seconds and finite, or None, not -1.5"),
        ({"stale_after": float("nan")}, ValueError, "stale_after must be more than 0 .* not nan"),
        ({"stale_after": float("inf")}, ValueError, "stale_after must be more than 0 .* not inf"),
        ({"stale_after": "30"}, TypeError, "stale_after must be a number of seconds, or None, not '30'"),
        ({"stale_after": True}, TypeError, "stale_after must be a number of seconds, or None, not True"),
        ({"give_up_after": 0}, ValueError, "give_up_after must be more than 0 seconds and finite, or None, not 0"),
        ({"max_attempts": 0}, ValueError, "max_attempts must be at least 1, or None, not 0"),
        ({"max_attempts": 1.5}, TypeError, "max_attempts must be a whole number, or None, not 1.5"),
        ({"gaps": "raise"}, ValueError, 'gaps must be "log" or "yield", not \'raise\''),
        ({"on_gap": ignore}, TypeError, "on_gap must be a plain function, not a coroutine function"),
        ({"on_state": ignore}, TypeError, "on_state must be a plain function, not a coroutine function"),
        ({"on_open": "hello"}, TypeError, "on_open must be a function, not 'hello'"),
        ({"on_gap": 5}, TypeError, "on_gap must be a function, not 5"),
        ({"on_state": []}, TypeError, r"on_state must be a function, not \[\]"),
        ({"process_exception": None}, TypeError, "process_exception must be a function, not None: leave it out"),
        ({"process_exception": ignore}, TypeError, "process_exception must be a plain function, not a coroutine"),
        ({"reconnect_delays": None}, TypeError, "reconnect_delays must be a function, not None: leave it out"),
        ({"reconnect_delays": [1, 2]}, TypeError, r"reconnect_delays must be a function, not \[1, 2\]"),
        ({"reconnect_delays": ignore}, TypeError, "reconnect_delays must be a plain function, not a coroutine"),
        ({"sock": object()}, ValueError, "sock= is good for one connection only"),
        ({"compression": "gzip"}, ValueError, "unsupported compression: gzip"),
        ({"max_queue": (1, 2)}, ValueError, "max_queue must be"),
    ],
)
def test_arguments_are_checked_at_once(options, error, message):
    with pytest.raises(error, match=message):
        subscribe("ws://localhost/", **options)
