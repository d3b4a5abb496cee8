"""A running server: its handlers, and every way to end them.

States: not started, serving, draining (:meth:`Server.drain`), closing (:meth:`Server.close`), closed. From draining on,
upgrades are refused with 503. It is closed when every handler and every opening handshake has ended.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from picows_aio.exceptions import ConnectionClosed, ProtocolError
from picows_aio.frames import Close, CloseCode
from picows_aio.protocol import State

if TYPE_CHECKING:
    from picows_aio.server import ServerConnection
    from picows_aio.typing import LoggerLike

Handler = Callable[["ServerConnection"], Awaitable[None]]

_LEAST_SILENT_BOUND = 64  # transports that are kept before those that have closed are looked for
_MAX_CONTROL_PAYLOAD = 125  # bytes, RFC 6455 section 5.5
_MAX_GRACE = 1.0  # seconds of the deadline of drain() that cancelled handlers get to return
_LEAST_GRACE = 0.05  # also where the deadline is 0: they return in the next turns of the loop


class Server:
    """A WebSocket server: what :func:`serve` returns.

    Await it to start it, or use it as an asynchronous context manager to have it closed as well.

    Args:
        start: Coroutine function that makes the listening server.
        handler: Coroutine function that serves one connection.
        logger: Where the server and its connections log; default ``logging.getLogger("websockets.server")``.

    Attributes:
        handler: As given.
        logger: As given.
    """

    def __init__(
        self,
        start: Callable[[Server], Awaitable[asyncio.Server]],
        handler: Handler,
        logger: LoggerLike | None = None,
    ) -> None:
        self.handler = handler
        self.logger = logging.getLogger("websockets.server") if logger is None else logger
        self._start = start
        self._server: asyncio.Server | None = None
        self._handlers: dict[asyncio.Task[None], ServerConnection] = {}
        self._when_done = self._handler_done  # one object for all connections
        self._handshakes: set[asyncio.Task[Any]] = set()
        self._silent: set[asyncio.Transport] = (
            set()
        )  # clients that have not asked for anything, and some that have left
        self._silent_bound = _LEAST_SILENT_BOUND
        self._is_draining = False
        self._farewell: tuple[int, str] | None = None  # code and reason for whoever is late
        self._close_task: asyncio.Task[None] | None = None
        self._drops_silent = False
        self._closed = asyncio.Event()
        self._when_ended: list[Callable[[ServerConnection], None]] = []

    # Starting

    def __await__(self) -> Generator[Any, None, Server]:
        return self._await().__await__()

    async def _await(self) -> Server:
        self._server = await self._start(self)
        if self._server.is_serving():
            self._log_addresses()
        return self

    def _log_addresses(self) -> None:
        for sock in self.sockets:
            self.logger.info("server listening on %s", _name(sock.getsockname()))

    async def __aenter__(self) -> Server:
        return await self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    # Connections

    @property
    def connections(self) -> set[ServerConnection]:
        """The open connections."""
        return {connection for connection in self._handlers.values() if connection.state is State.OPEN}

    @property
    def served(self) -> tuple[ServerConnection, ...]:
        """The connections whose handlers have not ended, also those that are closing or closed."""
        return tuple(self._handlers.values())

    @property
    def is_refusing(self) -> bool:
        """Whether upgrades are answered with 503: the server closes or drains."""
        return self._is_draining or self._close_task is not None

    def connected(self, transport: asyncio.Transport) -> None:
        """A client has connected; what it wants is not known yet."""
        if self._drops_silent:
            transport.abort()
            return
        if len(self._silent) >= self._silent_bound:
            # Nobody tells when one leaves, and not all transports can be referred to weakly.
            self._silent = {silent for silent in self._silent if not silent.is_closing()}
            self._silent_bound = max(_LEAST_SILENT_BOUND, 2 * len(self._silent))
        self._silent.add(transport)

    def request_received(self, transport: asyncio.Transport) -> None:
        """It is known what a client wants."""
        self._silent.discard(transport)

    def handshake_begins(self) -> None:
        """The current task answers a request: until it has, the server is not closed."""
        task = asyncio.current_task()
        assert task is not None
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def start_handler(self, connection: ServerConnection) -> None:
        """Run the handler of a connection that has just been opened."""
        context = contextvars.copy_context()
        task = asyncio.get_running_loop().create_task(self._handle(connection), context=context)
        self._handlers[task] = connection
        task.add_done_callback(self._when_done, context=context)

    def _handler_done(self, task: asyncio.Task[None]) -> None:
        connection = self._handlers.pop(task)
        for callback in self._when_ended:
            callback(connection)

    def call_when_ended(self, callback: Callable[[ServerConnection], None]) -> None:
        """Have a function called with each connection whose handler has ended; it must not raise.

        Args:
            callback: The function.
        """
        self._when_ended.append(callback)

    async def _handle(self, connection: ServerConnection) -> None:
        if self._farewell is not None:
            # Its handshake was being answered when close() was called.
            await connection.close(*self._farewell)
            return
        try:
            await self.handler(connection)
        except Exception as exc:  # the user's code
            _log_failure(connection, exc)
            await connection.close(CloseCode.INTERNAL_ERROR)
        except asyncio.CancelledError:
            await connection.close(CloseCode.INTERNAL_ERROR)
            raise
        else:
            if connection.state is not State.CLOSED:
                await connection.close()

    # Closing

    def close(
        self, close_connections: bool = True, code: CloseCode | int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> None:
        """Stop serving; returns at once, :meth:`wait_closed` waits. Safe to repeat.

        Opening handshakes that are under way are answered with 503.

        Args:
            close_connections: Also close open connections; otherwise their handlers go on.
            code: Close code for them.
            reason: Close reason for them.

        Raises:
            ProtocolError: The code or the reason must not be sent.
        """
        if self._close_task is not None:
            return
        _check_farewell(code, reason)
        self.logger.info("server closing")
        self._stop_accepting()
        if close_connections:
            self._farewell = (code, reason)
        self._close_task = asyncio.get_running_loop().create_task(self._close())

    async def _close(self) -> None:
        try:
            if self._farewell is not None:
                await _close_all(self.connections, *self._farewell)
            self._drops_silent = True
            for transport in [*self._silent]:
                transport.abort()
            while pending := [*self._handshakes, *self._handlers]:
                await asyncio.wait(pending)
                await asyncio.sleep(0)  # what ended leaves the collections in a callback of its own
        finally:
            # asyncio.run() cancels this task too when the program ends, and wait_closed() must not wait for ever.
            self._closed.set()
        self.logger.info("server closed")

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()

    async def drain(
        self,
        deadline: float,
        code: CloseCode | int = CloseCode.SERVICE_RESTART,
        reason: str = "",
        *,
        spread: float | None = None,
    ) -> None:
        """Shut down so that clients come back elsewhere, and not all at once.

        Stops accepting; upgrades that are under way are answered with 503 and Retry-After. Connections are closed one
        by one over ``spread`` seconds, sooner when none is left. Shortly before the deadline (a second, or a quarter of
        it if that is less) what is still open is dropped, and handlers that have not returned are cancelled. Those that
        ignore that are given up at the deadline: that is logged, and the server counts as closed without them.

        Args:
            deadline: Seconds for everything.
            code: Close code.
            reason: Close reason.
            spread: Seconds over which closing is spread; None: half of the deadline.

        Raises:
            ValueError: ``spread`` is negative or longer than the deadline.
            ProtocolError: The code or the reason must not be sent.
        """
        if spread is None:
            spread = deadline / 2
        if not 0 <= spread <= deadline:
            raise ValueError(f"spread must be from 0 to the deadline of {deadline} s, not {spread!r}")
        _check_farewell(code, reason)
        self._farewell = (code, reason)
        self._is_draining = True
        self._stop_accepting()
        grace = min(_MAX_GRACE, deadline / 4)
        try:
            async with asyncio.timeout(deadline - grace):
                await self._close_one_by_one(min(spread, deadline - grace), code, reason)
                self.close(code=code, reason=reason)
                await self.wait_closed()
        except TimeoutError:
            await self._drop_rest(deadline - grace, max(grace, _LEAST_GRACE))

    async def _close_one_by_one(self, spread: float, code: int, reason: str) -> None:
        connections = [*self.connections]
        random.shuffle(connections)  # not in the order in which they came, which is that of their next attempts
        async with asyncio.TaskGroup() as group:
            closed = group.create_task(_wait_closed(connections))
            for connection in connections:
                group.create_task(connection.close(code, reason))
                await asyncio.wait([closed], timeout=spread / len(connections))
                if closed.done():
                    break  # somebody else closed the others

    async def _drop_rest(self, waited: float, grace: float) -> None:
        """Time is up: drop connections, cancel handlers, and do not wait for those that ignore it."""
        left = dict(self._handlers)
        self.logger.warning("%d handlers had not returned after %g s: dropping their connections", len(left), waited)
        for task, connection in left.items():
            connection.transport.abort()
            task.cancel()
        if self._close_task is None:
            assert self._farewell is not None
            self.close(True, *self._farewell)
        assert self._close_task is not None
        done, _ = await asyncio.wait([self._close_task], timeout=grace)
        if not done:
            self.logger.error(
                "%d handlers ignore that they were cancelled: the server is closed without them", len(self._handlers)
            )
            self._close_task.cancel()
            await asyncio.wait([self._close_task])

    async def wait_closed(self) -> None:
        """Wait until the server is closed and all handlers have returned; cancelling the wait changes nothing.

        After :meth:`drain` it does not wait for handlers that were given up.
        """
        await self._closed.wait()

    # The rest of asyncio.Server

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it runs on."""
        return self._listening().get_loop()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None and self._server.is_serving()

    async def start_serving(self) -> None:
        """Accept connections, after ``serve(..., start_serving=False)``."""
        server = self._listening()
        if self.is_refusing:
            raise RuntimeError("the server is closed")
        if not server.is_serving():
            await server.start_serving()
            self._log_addresses()

    async def serve_forever(self) -> None:
        """Accept connections until :meth:`close`; when cancelled, close the server with 1001 first."""
        await self.start_serving()
        try:
            await self._closed.wait()
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; none before the server was started and after it was closed."""
        return () if self._server is None else tuple(self._server.sockets)

    def _listening(self) -> asyncio.Server:
        if self._server is None:
            raise RuntimeError("the server was not started: await it, or enter it with `async with`")
        return self._server


def _check_farewell(code: int, reason: str) -> None:
    if len(Close(code, reason).serialize()) > _MAX_CONTROL_PAYLOAD:
        raise ProtocolError("control frame too long")


async def _wait_closed(connections: Iterable[ServerConnection]) -> None:
    for connection in connections:
        await connection.wait_closed()


async def _close_all(connections: Iterable[ServerConnection], code: int, reason: str) -> None:
    closing = [asyncio.create_task(connection.close(code, reason)) for connection in connections]
    if closing:
        await asyncio.wait(closing)


def _log_failure(connection: ServerConnection, exc: Exception) -> None:
    """A client that goes away is no failure of the handler that was about to receive or send."""
    if isinstance(exc, ConnectionClosed) and connection.state is not State.OPEN:
        connection.logger.info("connection handler ended: %s", exc)
    else:
        connection.logger.error("connection handler failed", exc_info=exc)


def _name(address: Any) -> str:
    """An address as it is logged."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)
