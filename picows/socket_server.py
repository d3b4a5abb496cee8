"""A server that accepts connections for :class:`SocketTransport`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import sys
from collections.abc import Callable
from typing import Any

from picows.socket_transport import SocketTransport

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RETRY_DELAY = 1.0  # seconds until a server that ran out of descriptors accepts again
_WAITS_FOR_CLIENTS = sys.version_info >= (3, 12)  # wait_closed() of asyncio's own servers does

_FAMILIES = {int(family): family for family in socket.AddressFamily}
_KINDS = {int(kind): kind for kind in socket.SocketKind}


class QuickSocket(socket.socket):
    """A socket whose constants are looked up.

    CPython (3.11 to 3.14) converts them every time, and several are asked for of every connection that is accepted.
    """

    __slots__ = ()

    @property
    def family(self) -> Any:
        """The address family."""
        number = super(socket.socket, self).family
        return _FAMILIES.get(number, number)

    @property
    def type(self) -> Any:
        """The kind of socket."""
        number = super(socket.socket, self).type
        return _KINDS.get(number, number)


class SocketServer(asyncio.Server):
    """Accepts for a server of the loop's that was bound and not started; the interface is that of asyncio's servers.

    The loop's server keeps the addresses; what listens are second descriptors of its sockets.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, bound: asyncio.Server, protocol_factory: ProtocolFactory, backlog: int
    ) -> None:
        self._loop = loop
        self._bound = bound
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._listening: list[socket.socket] = []
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self._transports: set[SocketTransport] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<SocketServer sockets={self.sockets!r}>"

    # Called by transports

    def attach(self, transport: SocketTransport) -> None:
        """A connection begins."""
        self._transports.add(transport)

    def detach(self, transport: SocketTransport) -> None:
        """It has ended."""
        self._transports.discard(transport)
        self._wake_if_closed()

    # asyncio.Server

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._listening)

    @property
    def sockets(self) -> Any:
        """The listening sockets; none once the server is closed."""
        return self._bound.sockets

    async def start_serving(self) -> None:
        """Accept connections; harmless when they are accepted already."""
        self._start()

    async def serve_forever(self) -> None:
        """Accept connections until this is cancelled, which closes the server.

        Raises:
            RuntimeError: The server is closed, or somebody else waits here.
        """
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        self._start()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            if _WAITS_FOR_CLIENTS:
                self.close_clients()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    def close(self) -> None:
        """Stop listening; connections go on."""
        self._bound.close()
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        for retry in self._retries.values():
            retry.cancel()
        self._listening, self._retries = [], {}
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake_if_closed()

    def close_clients(self) -> None:
        """Close all connections when what they have queued is written."""
        for transport in [*self._transports]:
            transport.close()

    def abort_clients(self) -> None:
        """Drop all connections."""
        for transport in [*self._transports]:
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and, with Python 3.12 and newer, all its connections have ended."""
        if self._is_closed():
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _is_closed(self) -> bool:
        return not self._bound.sockets and not (_WAITS_FOR_CLIENTS and self._transports)

    def _wake_if_closed(self) -> None:
        if not self._waiters or not self._is_closed():
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Accepting

    def _start(self) -> None:
        if self._listening:
            return
        if not self._bound.sockets:
            raise RuntimeError(f"server {self!r} is closed")
        with contextlib.ExitStack() as undo:
            for bound in self._bound.sockets:
                with bound.dup() as sock:
                    listening = QuickSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
                undo.callback(listening.close)
                listening.setblocking(False)
                listening.listen(self._backlog)
                self._loop.add_reader(listening, self._accept, listening)
                undo.callback(self._loop.remove_reader, listening)
                self._listening.append(listening)
            undo.pop_all()

    def _accept(self, listening: socket.socket) -> None:
        """Clients are waiting."""
        for _ in range(self._backlog):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in _OUT_OF_RESOURCES:
                    raise
                self._wait_for_resources(listening, exc)
                return
            self._connected(sock, address)

    def _connected(self, sock: socket.socket, address: Any) -> None:
        """A client of whom this server fails to make a connection is dropped, the others are served."""
        try:
            sock.setblocking(False)
            SocketTransport(self._loop, sock, self._protocol_factory(), peername=address, server=self).begin()
        except Exception as exc:
            sock.close()
            self._loop.call_exception_handler({"message": "cannot serve a client", "exception": exc})

    def _wait_for_resources(self, listening: socket.socket, exc: OSError) -> None:
        self._loop.call_exception_handler(
            {"message": f"out of system resources: accepting again in {_RETRY_DELAY:g} s", "exception": exc}
        )
        self._loop.remove_reader(listening)
        self._retries[listening] = self._loop.call_later(_RETRY_DELAY, self._accept_again, listening)

    def _accept_again(self, listening: socket.socket) -> None:
        del self._retries[listening]
        self._loop.add_reader(listening, functools.partial(self._accept, listening))
