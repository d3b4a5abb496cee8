"""Serving: one asyncio server whose connections are WebSockets."""

import asyncio
from collections.abc import Iterable
from typing import Any

from picows.enums import WSAutoPingStrategy
from picows.handshake import ServerHandshakePolicy
from picows.network import checked_ssl_context, make_patient, network_of
from picows.opening import ServerListenerFactory, server_protocol_factory
from picows.options import DEFAULT_MAX_FRAME_SIZE, ConnectionOptions, LoggerLike, aliased
from picows.route import UnixPath


@aliased("disconnect_on_error", "disconnect_on_exception")
async def ws_create_server(
    ws_listener_factory: ServerListenerFactory,
    host: str | Iterable[str] | None = None,
    port: int | None = None,
    *,
    disconnect_on_exception: bool = True,
    websocket_handshake_timeout: float | None = 5,
    logger_name: str | LoggerLike | None = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = 20,
    auto_ping_reply_timeout: float = 20,
    auto_ping_strategy: WSAutoPingStrategy = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    enable_auto_close: bool = True,
    max_frame_size: int | None = DEFAULT_MAX_FRAME_SIZE,
    read_buffer_init_size: int = 16 * 1024,
    use_aiofastnet: bool | None = None,
    path: UnixPath | None = None,
    handshake_policy: ServerHandshakePolicy | None = None,
    strict: bool = False,
    allowed_rsv: Iterable[str] = (),
    validate_utf8: bool = False,
    coalesce: bool = False,
    busy_poll: float = 0,
    **kwargs: Any,
) -> asyncio.Server:
    """Start a WebSocket server.

    Args:
        ws_listener_factory: Called, and awaited if need be, with the :class:`WSUpgradeRequest` of each client, for any
            method without a body. Returns a listener (the request is answered with 101, if it is a valid upgrade), a
            :class:`WSUpgradeResponseWithListener` (extra headers, a subprotocol, or a plain HTTP answer), or None
            (404). What it raises is logged and answered with 500.
        host: Address or addresses to listen on; None: all interfaces.
        port: Port to listen on; 0 or None: a free one, see ``server.sockets``.
        disconnect_on_exception: True closes a connection with 1011 when `on_ws_frame` raises, False only logs the
            exception.
        websocket_handshake_timeout: Seconds a client may take for the whole opening handshake, TLS included; None: no
            limit.
        logger_name: Suffix of a logger under ``picows.`` (None: "server"), or a logger itself.
        enable_auto_ping: Ping clients to detect connections that died silently.
        auto_ping_idle_timeout: Seconds without incoming data (or between pings) before a ping.
        auto_ping_reply_timeout: Seconds to wait for the pong; at most `auto_ping_idle_timeout`.
        auto_ping_strategy: Ping when the connection is idle, or periodically.
        enable_auto_pong: Answer pings; the listener does not see them then.
        enable_auto_close: Answer a CLOSE that `on_ws_frame` did not answer, and disconnect.
        max_frame_size: Largest acceptable frame payload in bytes; None: no limit.
        read_buffer_init_size: A hint in bytes; buffers adapt to the traffic.
        use_aiofastnet: True serves with the aiofastnet package, False with the loop. None means our own transports on
            asyncio's selector loops, else the loop's.
        path: Listen on this Unix socket instead of `host` and `port`.
        handshake_policy: Limits on requests, and the responses to those that are refused.
        strict: Fail reserved bits and a wrong order of fragments with 1002.
        allowed_rsv: Reserved bits that an extension uses, of "rsv1", "rsv2" and "rsv3"; for `strict`.
        validate_utf8: Fail invalid UTF-8 in text messages with 1007 as soon as it arrives.
        coalesce: Send small frames of one turn of the event loop together.
        busy_poll: Microseconds to poll for an answer to what is sent while a message is handled, instead of
            sleeping; at most 1,000,000. 0: never.
        **kwargs: Passed to the loop's ``create_server`` (``ssl``, ``sock``, ``backlog``, ``reuse_port``, ...), or to
            ``create_unix_server``. ``disconnect_on_error`` is taken as the older name of `disconnect_on_exception`.

    Returns:
        The server, already listening unless ``start_serving=False`` was given.

    Raises:
        ValueError, TypeError: An argument is wrong.
        OSError: The address cannot be listened on.
        ImportError: `use_aiofastnet` is True without the package.
    """
    if not callable(ws_listener_factory):
        raise TypeError(f"ws_listener_factory must be callable, not {type(ws_listener_factory).__name__}")
    loop = asyncio.get_running_loop()
    options = ConnectionOptions.for_server(
        logger_name=logger_name,
        disconnect_on_exception=disconnect_on_exception,
        websocket_handshake_timeout=websocket_handshake_timeout,
        enable_auto_ping=enable_auto_ping,
        auto_ping_idle_timeout=auto_ping_idle_timeout,
        auto_ping_reply_timeout=auto_ping_reply_timeout,
        auto_ping_strategy=auto_ping_strategy,
        enable_auto_pong=enable_auto_pong,
        enable_auto_close=enable_auto_close,
        max_frame_size=max_frame_size,
        read_buffer_init_size=read_buffer_init_size,
        strict=strict,
        allowed_rsv=allowed_rsv,
        validate_utf8=validate_utf8,
        coalesce=coalesce,
        busy_poll=busy_poll,
    )
    if not isinstance(handshake_policy, ServerHandshakePolicy | None):
        raise TypeError(f"handshake_policy must be a ServerHandshakePolicy, not {type(handshake_policy).__name__}")
    checked_ssl_context("ssl", kwargs.get("ssl"))
    network = network_of(loop, use_aiofastnet)
    is_secure = kwargs.get("ssl") is not None
    protocol_factory = server_protocol_factory(
        loop, options, handshake_policy or ServerHandshakePolicy(), ws_listener_factory, is_secure=is_secure
    )
    if is_secure and websocket_handshake_timeout is not None:
        kwargs.setdefault("ssl_handshake_timeout", websocket_handshake_timeout)
    if path is None:
        server = await network.create_server(protocol_factory, host, port, **kwargs)
    elif host is not None or port is not None:
        raise ValueError("path is for a Unix socket: give it without host and port")
    else:
        server = await network.create_unix_server(protocol_factory, path, **kwargs)
    make_patient(server)
    return server
