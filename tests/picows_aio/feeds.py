"""Feeds for the tests of subscriptions: servers that number their connections, and subscriptions without delays."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from picows_aio import Server, ServerConnection, serve, subscribe


def at_once() -> Iterator[float]:
    """Delays for `reconnect_delays`."""
    while True:
        yield 0.001


def follow(target: Any, **options: Any) -> Any:
    """A subscription to a feed, a site or a raw server."""
    keywords = {"proxy": None, "compression": None, "reconnect_delays": at_once} | options
    return subscribe(target.url, **keywords)


async def collect(feed: Any) -> list[Any]:
    """All that a subscription brings until it is closed."""
    return [item async for item in feed]


class Feed:
    """A server that can be killed, and started again on the same port. Connections are told their number.

    Args:
        handler: Called with each connection and its number, from 1 on.
    """

    def __init__(self, handler: Callable[[ServerConnection, int], Any]) -> None:
        self._handler = handler
        self._server: Server | None = None
        self.connections: list[ServerConnection] = []
        self.port = 0

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"ws://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await serve(self._handle, "127.0.0.1", self.port, compression=None)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Drop all connections, and refuse others."""
        assert self._server is not None
        self._server.close(close_connections=False)
        for connection in self._server.connections:
            connection.transport.abort()
        await self._server.wait_closed()

    async def _handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        await self._handler(connection, len(self.connections))


@contextlib.asynccontextmanager
async def feeding(handler: Callable[[ServerConnection, int], Any]) -> AsyncIterator[Feed]:
    """A running feed."""
    feed = Feed(handler)
    await feed.start()
    try:
        yield feed
    finally:
        await feed.kill()


async def tell_number(connection: ServerConnection, number: int) -> None:
    """Handler: send the number of the connection, and wait for its end."""
    await connection.send(f"connection {number}")
    await connection.wait_closed()


async def keep_quiet(connection: ServerConnection, number: int) -> None:
    """Handler: send nothing, and wait for the end of the connection."""
    await connection.wait_closed()


class Refusing:
    """A target for `follow` that refuses connections, as long as the context lasts."""

    def __enter__(self) -> Self:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._socket.getsockname()[1]}/"
        return self

    def __exit__(self, *args: object) -> None:
        self._socket.close()
