"""What a user of picows_aio writes, for the type checker (tests/test_stubs.py); nothing here runs.

Under --strict an unused ``type: ignore`` is an error, so each of them asserts that the line is rejected.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any, assert_type

import picows_aio
from picows import WSFrame, ws_connect
from picows_aio import (
    ClientConnection,
    CloseCode,
    ConnectionClosed,
    ConnectionStats,
    Gap,
    Headers,
    Merge,
    PushOutcome,
    Request,
    Response,
    SendPolicy,
    Server,
    ServerConnection,
    State,
    Stream,
    StreamListener,
    StreamStats,
    Subprotocol,
    SubscriptionState,
    basic_auth,
    broadcast,
    connect,
    merge,
    serve,
    subscribe,
    unix_connect,
    unix_serve,
)
from picows_aio.asyncio.connection import Connection


class Client(ClientConnection):
    """Has an attribute of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count = 0


class Following(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc if "private" in self.uri else super().process_redirect(exc)


async def fragments() -> AsyncIterator[str]:
    yield "one"


async def handler(connection: ServerConnection) -> None:
    assert_type(connection.server, Server)
    assert_type(connection.state, State)
    assert_type(connection.request, Request | None)
    assert_type(connection.username, str)
    async for message in connection:
        assert_type(message, str | bytes)
        await connection.send(message)
    await connection.close(CloseCode.GOING_AWAY, "bye")


def process_request(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(200, "OK\n") if request.path == "/healthz" else None


async def process_response(connection: ServerConnection, request: Request, response: Response) -> None:
    response.headers["X"] = "1"


def select_subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return offered[0] if offered else None


async def client(context: ssl.SSLContext) -> None:
    async with connect("wss://h/", ssl=context, additional_headers=Headers({"X": "1"})) as connection:
        assert_type(connection, ClientConnection)
        assert_type(await connection.recv(), str | bytes)
        assert_type(await connection.recv(decode=True), str)
        assert_type(await connection.recv(decode=False), bytes)
        await connection.recv(decode="yes")  # type: ignore[call-overload]
        await connection.send("text")
        await connection.send(memoryview(b"bytes"), text=True, compress=False)
        await connection.send(["some", "fragments"])
        await connection.send(fragments())
        await connection.send(1)  # type: ignore[arg-type]
        assert_type(await (await connection.ping()), float)
        async for part in connection.recv_streaming(decode=True):
            assert_type(part, str)
        assert_type(await asyncio.create_task(connection.recv()), str | bytes)
        assert_type(connection.close_code, int | None)
        assert_type(connection.latency, float)
    async for connection in connect("ws://h/", create_connection=Client, proxy=None, max_size=(1, None)):
        try:
            await connection.wait_closed()
        except ConnectionClosed as exc:
            print(exc.rcvd and exc.rcvd.code)
    assert_type(await unix_connect("/path"), ClientConnection)
    await Following("ws://h/")
    connect(1)  # type: ignore[arg-type]


async def consumers(first: ClientConnection, second: ClientConnection) -> None:
    async with first.stream(overflow="latest", key=lambda message: message[:3], name="quotes") as stream:
        assert_type(stream, Stream)
        async for message in stream:
            assert_type(message, str | bytes)
        assert_type(await asyncio.create_task(stream.recv()), str | bytes)
        assert_type(stream.stats(), StreamStats)
        assert_type(stream.stats().oldest_age, float | None)
    first.stream(overflow="drop")  # type: ignore[arg-type]
    async for frame in first.frames(raw=True):
        assert_type(frame, WSFrame)
    async for view in first.views():
        assert_type(view, memoryview)
    async for batch in first.batches(max_messages=10):
        assert_type(batch, list[str | bytes])
    assert_type(first.stats(), ConnectionStats)
    merged = merge(first, second, on_closed=lambda connection, error: print(connection.id, error.rcvd))
    assert_type(merged, Merge[ClientConnection])
    async for connection, message in merged:
        assert_type(connection, ClientConnection)
        assert_type(message, str | bytes)
    merge([first, second])  # type: ignore[type-var]
    listener = StreamListener(max_size=None)
    await ws_connect(lambda: listener, "ws://h/")
    assert_type(listener.stream(), Stream)


async def introduce(connection: ClientConnection) -> None:
    await connection.send("subscribe")


def note_gap(gap: Gap) -> None:
    assert_type(gap.reason, Exception)
    assert_type(gap.lost_at, float)


async def feed() -> None:
    async with subscribe("wss://h/", on_open=introduce, stale_after=30, on_gap=note_gap, max_queue=100) as news:
        assert_type(news, subscribe[str | bytes])
        async for message in news:
            assert_type(message, str | bytes)
            await news.send(message)
        assert_type(await anext(news), str | bytes)
        assert_type(news.state, SubscriptionState)
        assert_type(news.connection, ClientConnection | None)
        assert_type(news.last_error, Exception | None)
        assert_type(news.gaps, int)
    async for item in subscribe("ws://h/", gaps="yield", on_open=lambda connection: None, on_state=print):
        assert_type(item, str | bytes | Gap)
    subscribe("ws://h/", gaps="raise")  # type: ignore[call-overload]
    subscribe("ws://h/", on_gap=introduce)  # type: ignore[arg-type]
    subscribe("ws://h/", stale_after="30")  # type: ignore[call-overload]


async def server() -> None:
    authenticate = basic_auth("realm", ("user", "password"))
    async with serve(handler, "localhost", 0, process_request=process_request, subprotocols=["a"]) as running:
        assert_type(running, Server)
        assert_type(running.connections, set[ServerConnection])
        report = broadcast(running.connections, "to all", raise_exceptions=True, policy=SendPolicy("latest", key=len))
        assert_type(report.evicted, tuple[Connection, ...])
        assert_type(await report.drained(1), tuple[Connection, ...])
        for connection, outcome, exception in report.skipped:
            assert_type(connection.push_stats().pushed, int)
            assert_type(outcome, PushOutcome)
            assert_type(exception, Exception | None)
            assert_type(connection.push("x", policy=SendPolicy("evict", evict_after=1.5)), PushOutcome)
            connection.send_policy = SendPolicy()
            connection.send_policy = "block"  # type: ignore[assignment]
        SendPolicy("drop")  # type: ignore[arg-type]
        await running.drain(30, spread=10)
    listening = await serve(handler, process_response=process_response, select_subprotocol=select_subprotocol)
    listening.close(code=CloseCode.SERVICE_RESTART)
    await listening.wait_closed()
    async with serve(handler, "localhost", process_request=authenticate) as running:
        assert_type(running, Server)
    async with unix_serve(handler, "/path", process_request=authenticate) as running:
        await running.serve_forever()
    serve(1)  # type: ignore[arg-type]
    print(picows_aio.__version__)
