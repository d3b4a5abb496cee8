"""Connections and servers over :class:`SocketTransport`, for asyncio's selector loops: plain TCP and Unix sockets.

The event loop still resolves names, connects and binds, so every keyword of its own calls works; the connected socket
is then taken over. TLS is put over it by `tls_network`.
"""

import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from picows.socket_server import ProtocolFactory, SocketServer
from picows.socket_transport import SocketTransport

_Made = tuple[asyncio.Transport, asyncio.BaseProtocol]


class _Connected(asyncio.Protocol):
    """Takes the socket that the loop connected: the loop's transport gives up its own descriptor for it."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self._failure: OSError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, before it reads."""
        try:
            self.sock = transport.get_extra_info("socket").dup()
        except OSError as exc:
            self._failure = exc
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()

    def take(self) -> socket.socket:
        """The socket; OSError when there was no descriptor left for it."""
        if self._failure is not None:
            raise self._failure
        assert self.sock is not None
        return self.sock


async def _connect(
    connecting: Callable[[ProtocolFactory], Awaitable[Any]],
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
) -> _Made:
    connected = _Connected()
    try:
        await connecting(lambda: connected)
        return attach(loop, connected.take(), protocol_factory())
    except BaseException:
        if connected.sock is not None:
            connected.sock.close()
        raise


def attach(loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: asyncio.BaseProtocol) -> _Made:
    """Let a connected socket serve a protocol."""
    sock.setblocking(False)
    transport: Any = SocketTransport(loop, sock, protocol, peername=_peername(sock))
    transport.begin()
    return transport, protocol


def _peername(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:  # the peer has gone already
        return None


async def create_connection(
    loop: asyncio.AbstractEventLoop, protocol_factory: ProtocolFactory, *args: Any, **kwargs: Any
) -> _Made:
    """The same as the loop's ``create_connection``; a connected ``sock`` is used as it is."""
    if (sock := kwargs.get("sock")) is not None:
        inspect.signature(loop.create_connection).bind(protocol_factory, *args, **kwargs)  # a wrong keyword is told
        return attach(loop, sock, protocol_factory())
    return await _connect(lambda factory: loop.create_connection(factory, *args, **kwargs), loop, protocol_factory)


async def create_unix_connection(
    loop: asyncio.AbstractEventLoop, protocol_factory: ProtocolFactory, *args: Any, **kwargs: Any
) -> _Made:
    """The same as the loop's ``create_unix_connection``."""
    return await _connect(lambda factory: loop.create_unix_connection(factory, *args, **kwargs), loop, protocol_factory)


async def create_server(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    *args: Any,
    start_serving: bool = True,
    backlog: int = 100,
    **kwargs: Any,
) -> asyncio.Server:
    """The same as the loop's ``create_server``."""
    bound = await loop.create_server(protocol_factory, *args, start_serving=False, backlog=backlog, **kwargs)
    return await _served(loop, bound, protocol_factory, backlog, start_serving)


async def create_unix_server(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: ProtocolFactory,
    *args: Any,
    start_serving: bool = True,
    backlog: int = 100,
    **kwargs: Any,
) -> asyncio.Server:
    """The same as the loop's ``create_unix_server``."""
    bound = await loop.create_unix_server(protocol_factory, *args, start_serving=False, backlog=backlog, **kwargs)
    return await _served(loop, bound, protocol_factory, backlog, start_serving)


async def _served(
    loop: asyncio.AbstractEventLoop,
    bound: asyncio.Server,
    protocol_factory: ProtocolFactory,
    backlog: int,
    start_serving: bool,
) -> asyncio.Server:
    try:
        server = SocketServer(loop, bound, protocol_factory, backlog)
    except BaseException:
        bound.close()
        raise
    if start_serving:
        await server.start_serving()
    return server
