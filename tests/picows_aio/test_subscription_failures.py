"""`subscribe` when things go wrong: back-off, fatal errors, giving up, `on_open` that fails, cancellation."""

import asyncio
import re

import pytest

from picows_aio import (
    ConcurrencyError,
    ConnectionClosed,
    InvalidStatus,
    SubscriptionFailed,
    SubscriptionState,
    process_exception,
    subscribe,
)
from tests.picows_aio.feeds import Refusing, collect, feeding, follow, keep_quiet, tell_number
from tests.picows_aio.pairs import parked
from tests.picows_aio.sites import running
from tests.support import listen
from tests.support.clock import SkippableClock


class Delays:
    """Delays that note how many of each generator were asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self):
        self.asked.append(0)
        while True:
            self.asked[-1] += 1
            yield 0.001


async def ends_with(feed, error, match=None):
    """Iterate; the error, and that the subscription is closed for good."""
    with pytest.raises(error, match=match) as caught:
        await anext(feed)
    assert feed.state is SubscriptionState.CLOSED
    with pytest.raises(error) as again:
        await anext(feed)
    assert again.value is caught.value
    with pytest.raises(error):
        await collect(feed)
    return caught.value


# Back-off


async def test_a_server_that_accepts_and_drops_is_not_hammered():
    """Delays begin anew only after a connection has brought a message."""

    async def drop(connection, number):
        if number in (4, 6):
            await connection.send("news")
        connection.transport.abort()

    delays = Delays()
    async with asyncio.timeout(10), feeding(drop) as server, follow(server, reconnect_delays=delays) as feed:
        await anext(feed)
        assert delays.asked == [3]
        assert feed.attempts == 0
        await anext(feed)
    assert delays.asked == [3, 2]


async def test_max_attempts_counts_connections_that_brought_nothing():
    async def drop(connection, number):
        connection.transport.abort()

    async with asyncio.timeout(10), feeding(drop) as server, follow(server, max_attempts=3) as feed:
        error = await ends_with(feed, SubscriptionFailed, r"gave up after 3 failed attempts \(max_attempts=3\); last ")
        assert isinstance(error.__cause__, ConnectionClosed)
        assert len(server.connections) == 3


@pytest.mark.asyncio(loop_factories=["asyncio"])  # whose time can be moved
async def test_subscriptions_do_not_come_back_in_step(caplog):
    """The second delay is random as well, where that of `connect` is 3 seconds for all."""
    caplog.set_level("INFO")
    with Refusing() as target:
        clock = SkippableClock()
        feeds = [subscribe(f"{target.url}{number}", proxy=None) for number in range(8)]
        tasks = [asyncio.create_task(anext(feed)) for feed in feeds]
        while any(feed.attempts < 2 for feed in feeds):
            await clock.skip(0.1)
        for feed in feeds:
            await feed.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)
    delays = [
        [float(delay) for delay in re.findall(rf"/{number}: backing off for ([\d.]+) s", caplog.text)][1]
        for number in range(8)
    ]
    assert len(set(delays)) > 1
    assert all(1.5 <= delay <= 3.1 for delay in delays)


# Giving up


async def test_it_gives_up_after_so_many_attempts():
    with Refusing() as nobody:
        async with asyncio.timeout(10), follow(nobody, max_attempts=3) as feed:
            error = await ends_with(feed, SubscriptionFailed)
    assert str(error).startswith(
        "gave up after 3 failed attempts (max_attempts=3); last error: ConnectionRefusedError: [Errno "
    )
    assert error.__cause__ is error.last_error is feed.last_error
    assert isinstance(error.last_error, ConnectionRefusedError)
    assert error.rule == "after 3 failed attempts (max_attempts=3)"
    assert feed.attempts == 3


async def test_attempts_are_counted_anew_after_a_message():
    async def once(connection, number):
        await connection.send(str(number))
        connection.transport.abort()

    async with asyncio.timeout(10), feeding(once) as server, follow(server, max_attempts=1) as feed:
        assert [await anext(feed) for _ in range(5)] == ["1", "2", "3", "4", "5"]


async def test_it_gives_up_after_so_many_seconds_even_inside_a_delay():
    with Refusing() as nobody:
        options = {"give_up_after": 0.1, "reconnect_delays": lambda: iter([1000])}
        async with asyncio.timeout(10), follow(nobody, **options) as feed:
            message = r"gave up without a connection for 0\.1 s \(give_up_after\); last error: ConnectionRefusedError"
            error = await ends_with(feed, SubscriptionFailed, message)
    assert isinstance(error.__cause__, ConnectionRefusedError)


async def test_it_gives_up_inside_an_attempt():
    async with asyncio.timeout(10), listen() as server, follow(server, give_up_after=0.1) as feed:
        message = r"gave up without a connection for 0\.1 s \(give_up_after\); no attempt came to an end"
        error = await ends_with(feed, SubscriptionFailed, message)
        assert error.__cause__ is None


async def test_seconds_add_up_over_cancelled_iterations():
    with Refusing() as nobody:
        options = {"give_up_after": 0.1, "reconnect_delays": lambda: iter([1000])}
        async with asyncio.timeout(10), follow(nobody, **options) as feed:
            cancellations = 0
            while feed.state is not SubscriptionState.CLOSED:
                try:
                    async with asyncio.timeout(0.02):
                        await anext(feed)
                except TimeoutError:
                    cancellations += 1
                except SubscriptionFailed:
                    pass
    assert cancellations


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop keeps its clock to itself
async def test_seconds_are_counted_anew_after_a_message():
    async def once(connection, number):
        await connection.send(str(number))
        connection.transport.abort()

    def delays():
        yield 100

    options = {"give_up_after": 150, "reconnect_delays": delays}
    async with asyncio.timeout(1000), feeding(once) as server, follow(server, **options) as feed:
        clock = SkippableClock()
        assert await anext(feed) == "1"
        for number in range(2, 6):
            waiting = asyncio.create_task(anext(feed))
            while feed.state is not SubscriptionState.BACKING_OFF:
                await asyncio.sleep(0)
            await parked(waiting)
            await clock.skip(100)
            assert await waiting == str(number)


async def test_it_gives_up_when_the_delays_end():
    with Refusing() as nobody:
        async with asyncio.timeout(10), follow(nobody, reconnect_delays=lambda: iter([0.001])) as feed:
            await ends_with(feed, SubscriptionFailed, r"gave up after 2 failed attempts \(reconnect_delays has ended\)")


# Fatal errors


async def test_a_fatal_error_ends_it_at_once():
    refuse = {"process_request": lambda connection, _: connection.respond(404, "")}
    async with asyncio.timeout(10), running(**refuse) as site, follow(site) as feed:
        error = await ends_with(feed, InvalidStatus)
        assert error.response.status_code == 404
        assert feed.last_error is error


async def test_process_exception_decides_about_ends_of_connections():
    async def reject(connection, number):
        await connection.send("news")
        await connection.close(4001 if number == 2 else 1000, "unknown key")

    def decide(exc):
        if isinstance(exc, ConnectionClosed) and exc.rcvd is not None and exc.rcvd.code == 4001:
            return PermissionError("the key is wrong")
        return process_exception(exc)

    async with asyncio.timeout(10), feeding(reject) as server, follow(server, process_exception=decide) as feed:
        assert [await anext(feed), await anext(feed)] == ["news", "news"]
        error = await ends_with(feed, PermissionError, "the key is wrong")
        assert error.__cause__.rcvd.code == 4001


async def test_an_exception_of_process_exception_ends_it():
    def fail(exc):
        raise ArithmeticError

    with Refusing() as nobody:
        async with asyncio.timeout(10), follow(nobody, process_exception=fail) as feed:
            await ends_with(feed, ArithmeticError)


# on_open that fails


async def test_an_error_of_on_open_is_a_failed_attempt():
    errors = [ConnectionResetError("one"), TimeoutError("two")]

    async def fail_at_first(connection):
        await connection.send("hello")
        if errors:
            raise errors.pop(0)

    delays = Delays()
    options = {"on_open": fail_at_first, "reconnect_delays": delays}
    async with asyncio.timeout(10), feeding(tell_number) as server, follow(server, **options) as feed:
        assert await anext(feed) == "connection 3"
        assert delays.asked == [2]
        assert feed.gaps == 0
        for lost in server.connections[:2]:
            await lost.wait_closed()


async def test_an_error_of_on_open_may_be_fatal():
    async def fail(connection):
        raise KeyError("a bug")

    async with asyncio.timeout(10), feeding(keep_quiet) as server, follow(server, on_open=fail) as feed:
        await ends_with(feed, KeyError, "a bug")
        await server.connections[0].wait_closed()
        assert server.connections[0].close_code in (1006, 1011)


async def test_a_connection_that_ends_inside_on_open_is_replaced():
    async def drop_the_first(connection, number):
        if number == 1:
            await connection.close(1013)
        await connection.send(str(number))
        await connection.wait_closed()

    async def receive(connection):
        await connection.recv()
        await connection.send("hello")

    async with asyncio.timeout(10), feeding(drop_the_first) as server, follow(server, on_open=receive) as feed:
        waiting = asyncio.create_task(anext(feed))
        while feed.connection is None:
            await asyncio.sleep(0.001)
        assert feed.attempts == 1
        assert feed.last_error.rcvd.code == 1013
        await feed.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_on_open_has_a_deadline():
    async def never_returns(connection):
        await asyncio.Event().wait()

    options = {"on_open": never_returns, "open_timeout": 0.1, "max_attempts": 2}
    async with asyncio.timeout(10), feeding(keep_quiet) as server, follow(server, **options) as feed:
        error = await ends_with(feed, SubscriptionFailed, r"on_open did not return within open_timeout, 0\.1 s")
        assert isinstance(error.__cause__, TimeoutError)
        assert len(server.connections) == 2


async def test_a_timeout_inside_on_open_is_its_own():
    async def time_out(connection):
        async with asyncio.timeout(0.001):
            await connection.recv()

    options = {"on_open": time_out, "max_attempts": 1}
    async with asyncio.timeout(10), feeding(keep_quiet) as server, follow(server, **options) as feed:
        error = await ends_with(feed, SubscriptionFailed)
        assert str(error.__cause__) == ""


async def test_on_open_cannot_end_the_iteration_without_a_word():
    async def iterate(connection):
        await anext(connection)

    async def close(connection, number):
        await connection.close()

    async with asyncio.timeout(10), feeding(close) as server, follow(server, on_open=iterate) as feed:
        await ends_with(feed, RuntimeError, "on_open raised StopAsyncIteration")


# One task at a time


async def test_two_tasks_cannot_wait_for_a_message():
    async with asyncio.timeout(10), feeding(keep_quiet) as server, follow(server) as feed:
        first = asyncio.create_task(anext(feed))
        while feed.connection is None:
            await asyncio.sleep(0.001)
        await parked(first)
        with pytest.raises(ConcurrencyError):
            await anext(feed)
        await server.connections[0].send("news")
        assert await first == "news"


@pytest.mark.parametrize("is_entered", [True, False])
async def test_two_tasks_cannot_wait_for_a_connection(is_entered):
    async with asyncio.timeout(10), listen() as server:
        feed = follow(server)
        if is_entered:
            await feed.__aenter__()
        first = asyncio.create_task(anext(feed))
        peer = await server.accept(upgrade=False)
        with pytest.raises(ConcurrencyError, match="another task iterates, and waits for a connection"):
            await collect(feed)
        await peer.accept_upgrade()
        peer.write_frame(1, "news")
        assert await first == "news"
        peer.close()
        await feed.aclose()
