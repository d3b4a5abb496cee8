"""Serving."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import Any

import picows
from picows_aio.admission import Admission, ProcessRequest, ProcessResponse, build_response
from picows_aio.connection import Connection
from picows_aio.extensions.base import ServerExtensionFactory
from picows_aio.extensions.permessage_deflate import enable_server_permessage_deflate
from picows_aio.frames import CloseCode
from picows_aio.headers import validate_subprotocols
from picows_aio.http11 import SERVER, Response
from picows_aio.protocol import State
from picows_aio.session import Session, frame_limit, split_max_size
from picows_aio.settings import MAX_BODY_SIZE, MAX_FRAGMENTS, MAX_LINE_LENGTH, MAX_NUM_HEADERS
from picows_aio.typing import LoggerLike, Origin, PathLike, StatusLike, Subprotocol

__all__ = ["Server", "ServerConnection", "serve", "unix_serve"]

Handler = Callable[["ServerConnection"], Awaitable[None]]
SelectSubprotocol = Callable[["ServerConnection", Sequence[Subprotocol]], Subprotocol | None]


class ServerConnection(Connection):
    """The server's side of a connection; made by :class:`serve`, handed to the handler.

    Attributes:
        server: The :class:`Server`.
        username: User name that :func:`basic_auth` accepted; otherwise not set.
        handler: Handler that :func:`route` chose; otherwise not set.
        handler_kwargs: Keyword arguments for it from the URL.
    """

    username: str
    handler: Callable[..., Awaitable[None]]
    handler_kwargs: dict[str, Any]

    def __init__(self, protocol: Session, server: Server, **kwargs: Any) -> None:
        super().__init__(protocol, **kwargs)
        self.server = server

    def respond(self, status: StatusLike, text: str) -> Response:
        """Make a plain text response, for ``process_request`` and ``process_response``.

        Args:
            status: Status code.
            text: Body.
        """
        return build_response(status, text)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by the core: run the handler."""
        super().on_ws_connected(transport)
        self.server.start_handler(self)


class Server:
    """A running server; made by :class:`serve`.

    Attributes:
        logger: Where the server and its connections log.
    """

    def __init__(self, handler: Handler, logger: LoggerLike) -> None:
        self.handler = handler
        self.logger = logger
        self._handlers: dict[ServerConnection, asyncio.Task[None]] = {}
        self._is_closing = False
        self._refuses = False
        self._close_task: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wrap(self, server: asyncio.Server) -> None:
        """The listening server behind this one."""
        self._server = server
        for sock in server.sockets:
            self.logger.info("server listening on %s", _name(sock.getsockname()))

    @property
    def connections(self) -> set[ServerConnection]:
        """The open connections."""
        return {connection for connection in self._handlers if connection.state is State.OPEN}

    @property
    def is_refusing(self) -> bool:
        """Whether upgrades are answered with 503: the server closes or drains."""
        return self._is_closing or self._refuses

    # Handlers

    def start_handler(self, connection: ServerConnection) -> None:
        """Run the handler of a connection that has just been opened."""
        task = asyncio.get_running_loop().create_task(self._handle(connection))
        self._handlers[connection] = task
        task.add_done_callback(functools.partial(self._handler_done, connection))

    def _handler_done(self, connection: ServerConnection, task: asyncio.Task[None]) -> None:
        self._handlers.pop(connection, None)
        if not task.cancelled():
            task.exception()  # logged already

    async def _handle(self, connection: ServerConnection) -> None:
        try:
            await self.handler(connection)
        except asyncio.CancelledError:
            connection.transport.abort()
            raise
        except Exception:  # the user's code
            connection.logger.error("connection handler failed", exc_info=True)
            await connection.close(CloseCode.INTERNAL_ERROR)
        else:
            await connection.close()

    # Closing

    def close(
        self, close_connections: bool = True, code: CloseCode | int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> None:
        """Stop serving; returns at once, :meth:`wait_closed` waits. Safe to repeat.

        Args:
            close_connections: Also close open connections; otherwise their handlers go on.
            code: Close code for them.
            reason: Close reason for them.
        """
        if self._close_task is None:
            self._is_closing = True
            self.logger.info("server closing")
            self._server.close()
            self._close_task = asyncio.get_running_loop().create_task(self._close(close_connections, code, reason))

    async def _close(self, close_connections: bool, code: int, reason: str) -> None:
        if close_connections:
            await self._close_all([*self.connections], code, reason)
        while self._handlers:
            await asyncio.wait([*self._handlers.values()])
        self._closed.set_result(None)
        self.logger.info("server closed")

    async def _close_all(self, connections: Iterable[ServerConnection], code: int, reason: str) -> None:
        closing = [asyncio.create_task(connection.close(code, reason)) for connection in connections]
        if closing:
            await asyncio.wait(closing)

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
        by one over ``spread`` seconds; what is still open at the deadline is dropped. Returns when all is closed.

        Args:
            deadline: Seconds for everything.
            code: Close code.
            reason: Close reason.
            spread: Seconds over which closing is spread; None: half of the deadline.
        """
        if spread is None:
            spread = deadline / 2
        if not 0 <= spread <= deadline:
            raise ValueError(f"spread must be from 0 to the deadline of {deadline} s, not {spread!r}")
        self._refuses = True
        self._server.close()
        connections = [*self.connections]
        random.shuffle(connections)
        pause = spread / len(connections) if connections else 0
        try:
            async with asyncio.timeout(deadline):
                async with asyncio.TaskGroup() as group:
                    for connection in connections:
                        group.create_task(connection.close(code, reason))
                        await asyncio.sleep(pause)
        except TimeoutError:
            left = [*self._handlers]
            self.logger.warning("%d connections were still open after %g s: dropped", len(left), deadline)
            for connection in left:
                connection.transport.abort()
        self.close(code=code, reason=reason)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and all handlers have returned; cancelling the wait changes nothing."""
        await asyncio.shield(self._closed)

    # The rest of asyncio.Server

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it runs on."""
        return self._server.get_loop()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._server.is_serving()

    async def start_serving(self) -> None:
        """Accept connections, after ``serve(..., start_serving=False)``."""
        await self._server.start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until :meth:`close`; when cancelled, close the server with 1001 first."""
        await self._server.start_serving()
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets."""
        return tuple(self._server.sockets)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()


class serve:  # noqa: N801 - the name programs use
    """Start a WebSocket server.

    Await it to get a :class:`Server`, or use it as an asynchronous context manager to have it closed as well.

    Args:
        handler: Coroutine function, called with a :class:`ServerConnection` for each client. When it returns, the
            connection is closed with 1000; when it raises, that is logged and the connection is closed with 1011.
        host: Address or addresses to listen on; None: all interfaces.
        port: Port to listen on; 0 or None: a free one.
        origins: Acceptable values of the Origin header: strings, compiled patterns that must match the whole value,
            None for requests without the header.
        extensions: Extensions to accept, in order of preference.
        subprotocols: Subprotocols to accept, in order of preference; a client must offer one of them.
        select_subprotocol: Chooses the subprotocol instead: called with the connection and what the client offers.
        compression: "deflate" accepts permessage-deflate (RFC 7692); None does not.
        process_request: Function or coroutine function, called with the connection and the :class:`Request` before any
            check; a :class:`Response` that it returns is the answer.
        process_response: Function or coroutine function, called with the connection, the request and the
            :class:`Response`, which it may change or replace.
        server_header: Value of the Server header; None removes it.
        open_timeout: Seconds for the whole opening handshake; None: no limit.
        ping_interval: Seconds between keepalive pings; None: none are sent.
        ping_timeout: Seconds to wait for the answer; None: for ever.
        close_timeout: Seconds for the whole closing handshake; None: no limit.
        max_size: Bytes of an incoming message, or ``(message, fragment)``; None: no limit.
        max_queue: Messages that wait to be received before reading pauses, or ``(high, low)``; None: no limit.
        write_limit: Bytes that wait to be sent before ``send()`` waits, or ``(high, low)``.
        logger: Where to log; default ``logging.getLogger("websockets.server")``.
        create_connection: Makes connections, in place of :class:`ServerConnection`.
        coalesce: Gather small messages that are sent in one turn of the event loop into one write.
        busy_poll: Microseconds to poll for an answer after sending, instead of sleeping; 0: never.
        use_aiofastnet: True serves with the aiofastnet package.
        **kwargs: Passed to the loop's ``create_server``: ``ssl``, ``sock``, ``start_serving``, ``reuse_port``, ...
    """

    def __init__(
        self,
        handler: Handler,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        origins: Sequence[Origin | str | re.Pattern[str] | None] | None = None,
        extensions: Sequence[ServerExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol | str] | None = None,
        select_subprotocol: SelectSubprotocol | None = None,
        compression: str | None = "deflate",
        process_request: ProcessRequest | None = None,
        process_response: ProcessResponse | None = None,
        server_header: str | None = SERVER,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        max_size: int | None | tuple[int | None, int | None] = 2**20,
        max_queue: int | None | tuple[int | None, int | None] = 16,
        write_limit: int | tuple[int, int | None] = 2**15,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ServerConnection] | None = None,
        coalesce: bool = True,
        busy_poll: float = 0,
        use_aiofastnet: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if subprotocols is not None:
            validate_subprotocols(subprotocols)  # type: ignore[arg-type]
        if compression == "deflate":
            extensions = enable_server_permessage_deflate(extensions)
        elif compression is not None:
            raise ValueError(f"unsupported compression: {compression}")
        self._handler = handler
        self._address = (host, port)
        self._logger = logging.getLogger("websockets.server") if logger is None else logger
        self._max_size = split_max_size(max_size)
        self._create_connection = create_connection or ServerConnection
        self._connection_settings = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
            "write_limit": write_limit,
        }
        self._admission = {
            "origins": origins,
            "extensions": list(extensions or ()),
            "subprotocols": None if subprotocols is None else [Subprotocol(name) for name in subprotocols],
            "select_subprotocol": select_subprotocol,
            "process_request": process_request,
            "process_response": process_response,
            "server_header": server_header,
        }
        self._core_settings: dict[str, Any] = {
            "websocket_handshake_timeout": open_timeout,
            "coalesce": coalesce,
            "busy_poll": busy_poll,
            "use_aiofastnet": use_aiofastnet,
            "allowed_rsv": ("rsv1", "rsv2", "rsv3") if extensions else (),
        }
        self._kwargs = kwargs

    async def _start(self) -> Server:
        server = Server(self._handler, self._logger)
        admission = Admission(
            server, self._logger, functools.partial(self._make_connection, server), **self._admission  # type: ignore[arg-type]
        )
        kwargs = dict(self._kwargs)
        is_unix = kwargs.pop("unix", False)
        host, port = self._address
        started = await picows.ws_create_server(
            admission.admit,
            *(() if is_unix else (host, port)),
            logger_name=self._logger,
            max_frame_size=frame_limit(*self._max_size),
            enable_auto_close=False,
            strict=True,
            validate_utf8=True,
            handshake_policy=admission.policy(
                picows.HeadLimits(MAX_LINE_LENGTH, MAX_NUM_HEADERS, max(32768, MAX_LINE_LENGTH), MAX_BODY_SIZE)
            ),
            **self._core_settings,
            **kwargs,
        )
        server.wrap(started)
        return server

    def _make_connection(self, server: Server) -> ServerConnection:
        session = Session(self._logger, self._max_size[0], MAX_FRAGMENTS)
        return self._create_connection(session, server, **self._connection_settings)

    def __await__(self) -> Generator[Any, None, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self._start()
        return self._server

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()


def unix_serve(handler: Handler, path: PathLike | None = None, **kwargs: Any) -> serve:
    """Start a WebSocket server on a Unix socket; otherwise as :class:`serve`.

    Args:
        handler: As for :class:`serve`.
        path: Path of the socket.
        **kwargs: As for :class:`serve`.
    """
    return serve(handler, unix=True, path=path, **kwargs)


def _name(address: Any) -> str:
    """An address as it is logged."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)
