"""Connections of picows_aio for tests: opposite a peer that speaks the wire itself, or opposite each other."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

from picows_aio import ClientConnection, ServerConnection, State, connect, serve
from picows_aio.asyncio.connection import Connection
from tests.support import RawPeer, TlsContexts, connect_socket, listen

SIDES = ("client", "server")


@contextlib.asynccontextmanager
async def open_pair(
    side: str,
    *,
    send_buffer_size: int | None = None,
    receive_buffer_size: int | None = None,
    tls: TlsContexts | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Connection, RawPeer]]:
    """A connection and the raw peer at the other end.

    Args:
        side: The side of the connection, "client" or "server".
        send_buffer_size: SO_SNDBUF of the socket that the connection writes to, in bytes.
        receive_buffer_size: SO_RCVBUF of the peer, in bytes.
        tls: Contexts for a connection over TLS; only for the side "client".
        settings: For `connect` or `serve`.
    """
    settings = {"compression": None} | settings
    if side == "client":
        opened = _open_client(send_buffer_size, receive_buffer_size, tls, settings)
    else:
        opened = _open_server(send_buffer_size, receive_buffer_size, settings)
    async with opened as (connection, peer):
        try:
            yield connection, peer
        finally:
            peer.close()
            if connection.state is not State.CLOSED:  # asyncio's transport may fail when it is aborted after its end
                connection.transport.abort()
            await connection.wait_closed()


@contextlib.asynccontextmanager
async def _open_client(
    send_buffer_size: int | None, receive_buffer_size: int | None, tls: TlsContexts | None, settings: dict[str, Any]
) -> AsyncIterator[tuple[Connection, RawPeer]]:
    if tls is not None:
        settings = {"ssl": tls.client} | settings
    async with listen(tls.server if tls else None) as server, asyncio.TaskGroup() as group:
        if receive_buffer_size is not None:
            server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_size)
        if send_buffer_size is not None:
            sock = await connect_socket(server.sock.getsockname())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_size)
            settings = {"sock": sock} | settings
        accepting = group.create_task(server.accept())
        connection = await connect(server.url, proxy=None, **settings)
        yield connection, await accepting


@contextlib.asynccontextmanager
async def _open_server(
    send_buffer_size: int | None, receive_buffer_size: int | None, settings: dict[str, Any]
) -> AsyncIterator[tuple[Connection, RawPeer]]:
    accepted: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        accepted.put_nowait(connection)
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, **settings) as server:
        listening = server.sockets[0]
        if send_buffer_size is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_size)
        sock = await connect_socket(listening.getsockname(), receive_buffer_size=receive_buffer_size)
        async with RawPeer(sock, is_client=True) as peer:
            await peer.upgrade()
            yield await accepted.get(), peer


@contextlib.asynccontextmanager
async def open_both(**settings: Any) -> AsyncIterator[tuple[ClientConnection, ServerConnection]]:
    """A client and the server's side of its connection."""
    accepted: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        accepted.put_nowait(connection)
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, **settings) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None, **settings) as client:
            yield client, await accepted.get()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """For fixtures: cancel a test that takes longer. It has a task of its own, out of reach of `asyncio.timeout`."""
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel(f"the test took longer than {seconds} s")

    timer = loop.call_later(seconds, cancel)
    try:
        yield
    finally:
        timer.cancel()


def feed(connection: Connection, data: bytes) -> None:
    """Give the connection bytes as if they had just been read."""
    connection.transport.get_protocol().data_received(data)


async def turns(count: int = 1) -> None:
    """Let the event loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def parked(task: asyncio.Task[Any]) -> None:
    """Wait until the task waits for something."""
    while not task.done() and task._fut_waiter is None:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
