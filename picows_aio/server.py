"""Serving."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import picows
from picows_aio.admission import Admission, ProcessRequest, ProcessResponse, build_response
from picows_aio.connection import Connection
from picows_aio.extensions.base import ServerExtensionFactory
from picows_aio.extensions.permessage_deflate import enable_server_permessage_deflate
from picows_aio.headers import validate_subprotocols
from picows_aio.http11 import SERVER, Response
from picows_aio.lifecycle import Handler, Server
from picows_aio.session import HEAD_LIMITS, Session, check_flow_limits, frame_limit, split_max_size
from picows_aio.settings import MAX_FRAGMENTS
from picows_aio.typing import LoggerLike, Origin, PathLike, StatusLike, Subprotocol

__all__ = ["Server", "ServerConnection", "serve", "unix_serve"]

SelectSubprotocol = Callable[["ServerConnection", Sequence[Subprotocol]], Subprotocol | None]


class ServerConnection(Connection):
    """The server's side of a connection; made by :func:`serve`, handed to the handler.

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
        self._log("connection open")
        self.server.start_handler(self)

    def on_ws_disconnected(self, transport: picows.WSTransport | None) -> None:
        """Called by the core, and where the request was refused."""
        super().on_ws_disconnected(transport)
        self._log("connection closed")

    def _log(self, message: str) -> None:
        # Not by our own logger, which many connections never need otherwise.
        logger = self.protocol.logger
        if logger.isEnabledFor(logging.INFO):
            logger.info(message, extra={"websocket": weakref.proxy(self)})


def serve(
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
    max_size: int | tuple[int | None, int | None] | None = 2**20,
    max_queue: int | tuple[int | None, int | None] | None = 16,
    write_limit: int | tuple[int, int | None] = 2**15,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ServerConnection] | None = None,
    coalesce: bool = True,
    busy_poll: float = 0,
    use_aiofastnet: bool | None = None,
    **kwargs: Any,
) -> Server:
    """Start a WebSocket server.

    Await what it returns to get the running :class:`Server`, or use it as an asynchronous context manager to have it
    closed as well.

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
        busy_poll: Microseconds to poll for an answer to what is sent while a message is handled, instead of
            sleeping; at most 1,000,000. 0: never.
        use_aiofastnet: True serves with the aiofastnet package.
        **kwargs: Passed to the loop's ``create_server``: ``ssl``, ``sock``, ``start_serving``, ``reuse_port``, ...

    Raises:
        ValueError, TypeError: An argument is wrong.
        OSError: When it is awaited: the address cannot be listened on.
    """
    if not callable(handler):
        raise TypeError(f"handler must be a coroutine function, not {type(handler).__name__}")
    if subprotocols is not None:
        validate_subprotocols(subprotocols)  # type: ignore[arg-type]
    if compression == "deflate":
        extensions = enable_server_permessage_deflate(extensions)
    elif compression is not None:
        raise ValueError(f"unsupported compression: {compression}")
    check_flow_limits(max_queue, write_limit)
    message_limit, fragment_limit = split_max_size(max_size)
    make_connection = create_connection or ServerConnection
    settings = {
        "ping_interval": ping_interval,
        "ping_timeout": ping_timeout,
        "close_timeout": close_timeout,
        "max_queue": max_queue,
        "write_limit": write_limit,
    }
    is_unix = kwargs.pop("unix", False)
    address = () if is_unix else (host, port)

    def connect(server: Server) -> ServerConnection:
        return make_connection(Session(server.logger, message_limit, MAX_FRAGMENTS), server, **settings)

    async def start(server: Server) -> asyncio.Server:
        admission = Admission(
            server,
            functools.partial(connect, server),
            origins=origins,
            extensions=list(extensions or ()),
            subprotocols=None if subprotocols is None else [Subprotocol(name) for name in subprotocols],
            select_subprotocol=select_subprotocol,
            process_request=process_request,
            process_response=process_response,
            server_header=server_header,
        )
        return await picows.ws_create_server(
            admission.admit,
            *address,
            websocket_handshake_timeout=open_timeout,
            logger_name=server.logger,
            max_frame_size=frame_limit(message_limit, fragment_limit),
            enable_auto_close=False,
            strict=True,
            validate_utf8=True,
            allowed_rsv=("rsv1", "rsv2", "rsv3") if extensions else (),
            handshake_policy=admission.policy(HEAD_LIMITS),
            coalesce=coalesce,
            busy_poll=busy_poll,
            use_aiofastnet=use_aiofastnet,
            **kwargs,
        )

    return Server(start, handler, logger)


def unix_serve(handler: Handler, path: PathLike | None = None, **kwargs: Any) -> Server:
    """Start a WebSocket server on a Unix socket; otherwise as :func:`serve`.

    Args:
        handler: As for :func:`serve`.
        path: Path of the socket.
        **kwargs: As for :func:`serve`.
    """
    return serve(handler, unix=True, path=path, **kwargs)
