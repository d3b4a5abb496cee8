"""What a user of picows_aio writes, for the type checker (tests/test_stubs.py); nothing here runs.

Under --strict an unused ``type: ignore`` is an error, so each of them asserts that the line is rejected.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any, assert_type

import picows_aio
from picows_aio import (
    ClientConnection,
    CloseCode,
    ConnectionClosed,
    Headers,
    Request,
    Response,
    Server,
    ServerConnection,
    State,
    Subprotocol,
    basic_auth,
    broadcast,
    connect,
    serve,
    unix_connect,
    unix_serve,
)


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


async def server() -> None:
    authenticate = basic_auth("realm", ("user", "password"))
    async with serve(handler, "localhost", 0, process_request=process_request, subprotocols=["a"]) as running:
        assert_type(running, Server)
        assert_type(running.connections, set[ServerConnection])
        broadcast(running.connections, "to all", raise_exceptions=True)
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
