"""Servers of picows_aio on every kind of link, and what a client needs to get there."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from picows_aio import Server, ServerConnection, connect, serve
from tests.support import Endpoint, Link, RawPeer, RawServer, connect_raw_peer


async def echo(connection: ServerConnection) -> None:
    """Handler: send back what comes."""
    async for message in connection:
        await connection.send(message)


@dataclass(frozen=True)
class Site:
    """A running server.

    Attributes:
        server: The server.
        url: What clients connect to.
        options: What else they need, as keywords of `connect`.
        endpoint: The same for raw peers.
    """

    server: Server
    url: str
    options: dict[str, Any]
    endpoint: Endpoint

    def connect(self, target: str = "/", **options: Any) -> connect:
        """A client of this server.

        Args:
            target: Path and query.
            options: For `connect`.
        """
        return connect(self.url + target, **({"proxy": None} | self.options | options))

    @contextlib.asynccontextmanager
    async def raw_peer(self) -> AsyncIterator[RawPeer]:
        """A client that speaks the wire itself, before any HTTP."""
        async with await connect_raw_peer(self.endpoint) as peer:
            yield peer


@contextlib.asynccontextmanager
async def running(handler: Callable[..., Any] = echo, link: Link | None = None, **options: Any) -> AsyncIterator[Site]:
    """A server that runs as long as the context.

    Args:
        handler: Its handler.
        link: What it listens on; None: plain TCP.
        options: For `serve`.
    """
    where = {"host": "127.0.0.1", "port": 0} if link is None else link.server_options()
    async with serve(handler, unix="path" in where, **where, **options) as server:
        yield site_of(server, link)


def site_of(server: Server, link: Link | None = None) -> Site:
    """How to get to a server."""
    address = server.sockets[0].getsockname()
    endpoint = link.endpoint(server) if link else Endpoint(server, address, f"ws://127.0.0.1:{address[1]}/")
    options: dict[str, Any] = {}
    if isinstance(address, str):
        options = {"unix": True, "path": address}
    elif endpoint.client_tls is not None:
        options = {"ssl": endpoint.client_tls}
    return Site(server, endpoint.url.removesuffix("/"), options, endpoint)


def connect_keywords(server: RawServer) -> dict[str, Any]:
    """What `connect` needs beside the URL to get to a raw server."""
    if "path" in server.connect_options:
        return {"unix": True, "path": server.connect_options["path"]}
    return {"ssl": context} if (context := server.connect_options.get("ssl_context")) else {}


def records(caplog: Any, level: str) -> list[tuple[str, str]]:
    """Logger and message of the records of one level, in order."""
    return [(record.name, record.getMessage()) for record in caplog.records if record.levelname == level]
