"""`ServerCollector`: what `prometheus-client` gets to see of a server."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from picows_aio import PushOutcome, PushStats, SendPolicy, ServerConnection, serve
from picows_aio.metrics import ServerCollector
from tests.picows_aio.pairs import turns
from tests.picows_aio.sites import echo, running


def registered(server: Any, **options: Any) -> tuple[CollectorRegistry, Callable[..., float | None]]:
    """A registry with a collector, and a function that reads one metric of `picows_server`."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(server, **options))
    return registry, lambda name, **labels: registry.get_sample_value(f"picows_server_{name}", labels)


async def test_a_server_without_connections_counts_nothing() -> None:
    server = serve(echo, "127.0.0.1", 0)
    registry, value = registered(server)
    assert value("connections") == 0
    async with server:
        assert value("connections") == value("frames_received_total") == value("write_backlog_bytes") == 0
        assert b"picows_server_stream_messages_dropped" in generate_latest(registry)
    assert value("connections") == 0


async def test_counters_are_those_of_the_connections() -> None:
    async with asyncio.timeout(10), running(compression=None, ping_interval=None) as site:
        _, value = registered(site.server)
        async with site.connect(compression=None) as first, site.connect(compression=None) as second:
            for client in (first, second):
                await client.send("hello")
                assert await client.recv() == "hello"
            assert value("connections") == 2
            assert value("frames_received_total") == value("frames_sent_total") == 2
            assert value("bytes_received_total") == 2 * 11
            assert value("bytes_sent_total") == 2 * 7
            assert value("messages_waiting") == value("bytes_waiting") == value("reading_paused") == 0


async def test_counters_never_decrease_across_the_end_of_connections() -> None:
    """Nor while one is closing, or closed with its handler still running."""
    release = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await echo(connection)
        await release.wait()

    async with asyncio.timeout(10), running(handler, ping_interval=None) as site:
        _, value = registered(site.server)
        seen: list[float | None] = []
        for _ in range(3):
            async with site.connect() as client:
                await client.send("hello")
                await client.recv()
                seen.append(value("bytes_received_total"))
                closing = asyncio.create_task(client.close())
                while not closing.done():
                    seen.append(value("bytes_received_total"))
                    await turns()
        assert value("connections") == 0
        seen.append(value("bytes_received_total"))
        release.set()
        while site.server.served:
            seen.append(value("bytes_received_total"))
            await turns()
        seen.append(value("bytes_received_total"))
        assert seen == sorted(seen)  # type: ignore[type-var]
        assert seen[-1] == 3 * (6 + 5 + 6 + 2)
        assert value("frames_received_total") == 3 * 2


async def test_what_waits_is_told_as_long_as_it_waits() -> None:
    release = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await release.wait()
        await echo(connection)

    async with asyncio.timeout(10), running(handler, max_queue=2, ping_interval=None) as site:
        _, value = registered(site.server)
        async with site.connect() as client:
            for _ in range(5):
                await client.send(b"12345")
            while not value("reading_paused"):
                await turns()
            assert (value("messages_waiting"), value("bytes_waiting")) == (3, 15)
            release.set()
            for _ in range(5):
                await client.recv()
            assert (value("messages_waiting"), value("reading_paused")) == (0, 0)


async def test_streams_are_counted_by_policy_and_kept() -> None:
    async def handler(connection: ServerConnection) -> None:
        async with connection.stream(overflow="latest") as latest, connection.stream(filter="a".__ne__) as some:
            while some.received < 3:
                await turns()
            await latest.recv()
            await connection.send("done")
            await connection.wait_closed()

    def totals() -> dict[str, list[float | None]]:
        return {
            policy: [
                value(f"stream_messages_{name}_total", overflow=policy)
                for name in ("received", "delivered", "dropped", "filtered")
            ]
            for policy in ("latest", "block")
        }

    async with asyncio.timeout(10), running(handler) as site:
        registry, value = registered(site.server)
        for number in (1, 2):
            async with site.connect() as client:
                for text in "abc":
                    await client.send(text)
                assert await client.recv() == "done"
                assert totals()["latest"] == [3 * number, number, 2 * number, 0]
            while site.server.served:
                await turns()
            assert totals() == {
                "latest": [3 * number, number, 2 * number, 0],
                "block": [3 * number, 0, 2 * number, number],
            }
        assert b'overflow="drop_oldest"' not in generate_latest(registry)


async def test_what_waits_in_streams_is_told_by_policy() -> None:
    release = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        async with connection.stream(overflow="drop_oldest", maxsize=2) as few, connection.stream() as all_of_them:
            while all_of_them.received < 3:
                await turns()
            await connection.send("done")
            await release.wait()
            await all_of_them.recv()
            await few.recv()
        await connection.send("closed")
        await connection.wait_closed()

    async with asyncio.timeout(10), running(handler) as site:
        _, value = registered(site.server)
        async with site.connect() as one, site.connect() as another:
            for client in (one, another):
                for text in ("1", "22", "333"):
                    await client.send(text)
                assert await client.recv() == "done"
            for policy, messages, size in (("drop_oldest", 2, 5), ("block", 3, 6)):
                assert value("stream_messages_waiting", overflow=policy) == 2 * messages
                assert value("stream_bytes_waiting", overflow=policy) == 2 * size
                assert value("stream_messages_high_water", overflow=policy) == messages
                assert 0 < value("stream_oldest_age_seconds", overflow=policy) < 10  # type: ignore[operator]
            release.set()
            for client in (one, another):
                assert await client.recv() == "closed"
            for name in ("messages_waiting", "bytes_waiting", "messages_high_water", "oldest_age_seconds"):
                assert value(f"stream_{name}", overflow="block") == 0


async def test_pings_and_latency_are_told() -> None:
    async def handler(connection: ServerConnection) -> None:
        await (await connection.ping())
        await echo(connection)

    async with asyncio.timeout(10), running(handler, ping_interval=None) as site:
        _, value = registered(site.server)
        for number in (1, 2):
            async with site.connect(ping_interval=None) as client:
                for _ in range(2):
                    await (await client.ping())
                await client.send("x")
                await client.recv()
                assert value("latency_seconds") == next(iter(site.server.connections)).latency > 0
                assert (value("pings_sent_total"), value("pings_received_total")) == (number, 2 * number)
            while site.server.served:
                await turns()
            assert value("latency_seconds") == 0
            assert (value("pings_sent_total"), value("pings_received_total")) == (number, 2 * number)


async def test_pushes_are_counted_by_what_became_of_them() -> None:
    """Also after the end of the connections: what was kept aside then counts as dropped."""
    policies = {
        "/drop": SendPolicy("drop_newest", max_bytes=1000),
        "/keep": SendPolicy("latest", max_bytes=1000, key=len),
        "/evict": SendPolicy("evict", max_bytes=1000, hard_limit=1000, evict_after=60),
    }
    pushed: list[PushStats] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        policy = policies[connection.request.path]
        while connection.push(bytes(50_000), policy=policy) in (PushOutcome.SENT, PushOutcome.OVER):
            pass
        if policy.overflow == "latest":
            assert [connection.push(data, policy=policy) for data in (b"a", b"b")] == ["kept", "replaced"]
        pushed.append(connection.push_stats())
        await connection.wait_closed()

    def total(name: str) -> int:
        return sum(getattr(stats, name) for stats in pushed)

    async with asyncio.timeout(10), running(handler, compression=None) as site:
        _, value = registered(site.server)
        clients = [await site.connect(path, max_queue=1) for path in policies]
        while len(pushed) < len(policies):
            await turns()
        assert (value("push_messages_kept"), value("push_bytes_kept")) == (2, total("kept_bytes")) == (2, 50_001)
        assert value("push_messages_total") == total("pushed")
        assert value("push_messages_dropped_total") == total("dropped") > 0
        for client in clients:
            client.transport.abort()
        while site.server.served:
            await turns()
        assert (value("push_messages_kept"), value("push_bytes_kept")) == (0, 0)
        assert value("push_messages_total") == total("pushed")
        assert value("push_messages_dropped_total") == total("dropped") + 2
        assert (value("push_messages_replaced_total"), value("push_evictions_total")) == (1, 1)


async def test_labels_and_prefix_tell_servers_apart() -> None:
    registry = CollectorRegistry()
    async with asyncio.timeout(10), running() as first, running() as second:
        registry.register(ServerCollector(first.server, {"name": "feed", "zone": "a"}))
        registry.register(ServerCollector(second.server, {"name": "chat"}, prefix="chat"))
        async with first.connect():
            assert registry.get_sample_value("picows_server_connections", {"name": "feed", "zone": "a"}) == 1
            assert registry.get_sample_value("chat_connections", {"name": "chat"}) == 0


async def test_one_collector_may_have_several_servers() -> None:
    """Each name stands there once, with the values of all."""
    registry = CollectorRegistry(auto_describe=True)  # like prometheus_client.REGISTRY
    async with asyncio.timeout(10), running() as first, running() as second:
        collector = ServerCollector(first.server, {"name": "feed", "zone": "a"})
        registry.register(collector)
        collector.add(second.server, {"zone": "b", "name": "feed"})
        async with first.connect() as one, second.connect(), second.connect():
            await one.send("x")
            await one.recv()
            text = generate_latest(registry).decode()
            assert 'picows_server_connections{name="feed",zone="a"} 1.0' in text
            assert 'picows_server_connections{name="feed",zone="b"} 2.0' in text
            assert 'picows_server_frames_sent_total{name="feed",zone="a"} 1.0' in text
            heads = [line for line in text.splitlines() if line.startswith("# ")]
            assert len(heads) == len(set(heads))


@pytest.mark.parametrize("auto_describe", [False, True])
async def test_a_second_collector_with_the_same_names_is_refused(auto_describe: bool) -> None:
    """Whatever the registry; the text would name every metric twice."""
    registry = CollectorRegistry(auto_describe=auto_describe)
    registry.register(ServerCollector(serve(echo, "127.0.0.1", 0), {"name": "a"}))
    with pytest.raises(ValueError, match="picows_server_connections"):
        registry.register(ServerCollector(serve(echo, "127.0.0.1", 0), {"name": "b"}))


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ({"name": "a"}, ValueError, r"another server of this collector has the labels \{'name': 'a'\}: give each its"),
        ({}, ValueError, r"servers of one collector have the same labels, here 'name', not \[\]"),
        ({"name": "b", "x": "y"}, ValueError, r"have the same labels, here 'name', not \['name', 'x'\]"),
        ({"name": 1}, TypeError, "label 'name' must be a str, not int"),
    ],
)
async def test_servers_that_cannot_be_told_apart_are_refused(labels: Any, error: type[Exception], words: str) -> None:
    collector = ServerCollector(serve(echo, "127.0.0.1", 0), {"name": "a"})
    with pytest.raises(error, match=words):
        collector.add(serve(echo, "127.0.0.1", 0), labels)


async def test_a_server_is_added_once() -> None:
    server = serve(echo, "127.0.0.1", 0)
    with pytest.raises(ValueError, match="has this server already"):
        ServerCollector(server, {"name": "a"}).add(server, {"name": "b"})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"prefix": "my server"}, ValueError, "^prefix must consist of letters.*'my server'"),
        ({"prefix": ""}, ValueError, "^prefix must"),
        ({"labels": {"a-b": "x"}}, ValueError, "^label must consist of letters.*'a-b'"),
        ({"labels": {"overflow": "x"}}, ValueError, "^the label 'overflow'"),
        ({"labels": {"port": 80}}, TypeError, "^label 'port' must be a str, not int$"),
    ],
)
async def test_names_that_cannot_be_are_refused(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ServerCollector(serve(echo, "127.0.0.1", 0), **options)


async def test_it_may_be_asked_in_another_thread() -> None:
    """As `prometheus_client.start_http_server` does."""
    async with asyncio.timeout(10), running() as site:
        registry, _ = registered(site.server)
        async with site.connect() as client:
            for _ in range(20):
                await client.send("x")
                text = await asyncio.to_thread(generate_latest, registry)
                assert b"picows_server_connections 1.0" in text
    text = await asyncio.to_thread(generate_latest, registry)
    assert b"picows_server_connections 0.0" in text


async def test_it_keeps_no_connection_alive() -> None:
    async with asyncio.timeout(10), running() as site:
        registered(site.server)
        async with site.connect():
            pass
        while site.server.served:
            await turns()
        gc.collect()
        assert not [thing for thing in gc.get_objects() if isinstance(thing, ServerConnection)]


def test_without_the_package_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None
import picows_aio
try:
    import picows_aio.metrics
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == (
        "picows_aio.metrics needs the package prometheus-client: pip install 'picows-aio[metrics]'\n"
    )
    assert done.stderr == ""


def test_the_package_is_not_imported_unasked() -> None:
    program = "import sys, picows_aio, picows_aio.server; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "False\n"
