"""Connecting: addresses, TLS, proxies and redirects, all of it under one deadline.

One attempt after another (`_attempt`), each to its end: a connection that did not become the caller's is closed before
the next one is opened, and before an exception leaves `ws_connect`, whichever `await` was interrupted.
"""

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from picows.enums import WSAutoPingStrategy
from picows.handshake import ClientHandshake
from picows.http11 import WSUpgradeRequest, WSUpgradeResponse
from picows.listener import WSListener
from picows.network import Network, checked_ssl_context, default_ssl_context, network_of
from picows.options import DEFAULT_MAX_FRAME_SIZE, ConnectionOptions, LoggerLike
from picows.protocol import ClientProtocol
from picows.transport import WSTransport
from picows.url import WSParsedURL, parse_url

ListenerFactory = Callable[[], WSListener] | Callable[[WSUpgradeRequest, WSUpgradeResponse], WSListener]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
SocketFactory = Callable[[WSParsedURL], socket.socket | None | Awaitable[socket.socket | None]]

_REFUSED_KEYWORDS = {
    "ssl": "TLS follows from the URL's scheme (wss://); give a context as ssl_context=",
    "sock": "give a socket through socket_factory=",
    "all_errors": "a failed connect raises one exception; for every address on its own use socket_factory=",
}


@dataclass(frozen=True, slots=True)
class _Route:
    """How to reach a server: everything but its URL."""

    network: Network
    ssl_context: ssl.SSLContext | None
    socket_factory: SocketFactory | None
    path: str | bytes | os.PathLike[str] | None
    keywords: dict[str, Any]  # for create_connection


async def ws_connect(
    ws_listener_factory: ListenerFactory,
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    disconnect_on_exception: bool | None = None,
    disconnect_on_error: bool | None = None,
    websocket_handshake_timeout: float | None = 5,
    logger_name: str | LoggerLike | None = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = 10,
    auto_ping_reply_timeout: float = 10,
    auto_ping_strategy: WSAutoPingStrategy = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    enable_auto_close: bool = True,
    max_frame_size: int | None = DEFAULT_MAX_FRAME_SIZE,
    extra_headers: Headers | None = None,
    max_redirects: int = 5,
    proxy: str | None = None,
    proxy_ssl_context: ssl.SSLContext | None = None,
    read_buffer_init_size: int = 16 * 1024,
    socket_factory: SocketFactory | None = None,
    use_aiofastnet: bool | None = None,
    strict: bool = False,
    allowed_rsv: Iterable[str] = (),
    validate_utf8: bool = False,
    coalesce: bool = False,
    busy_poll: float = 0,
    path: str | bytes | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> tuple[WSTransport, WSListener]:
    """Open a WebSocket connection."""
    options = ConnectionOptions.for_client(
        logger_name=logger_name,
        disconnect_on_exception=disconnect_on_exception,
        disconnect_on_error=disconnect_on_error,
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
    loop = asyncio.get_running_loop()
    for name, instead in _REFUSED_KEYWORDS.items():
        if name in kwargs:
            raise TypeError(f"ws_connect() takes no {name}=: {instead}")
    route = _Route(
        network_of(loop, use_aiofastnet), checked_ssl_context("ssl_context", ssl_context), socket_factory, path, kwargs
    )
    target = parse_url(url)
    async with asyncio.timeout(websocket_handshake_timeout):
        protocol = ClientProtocol(loop, options, ClientHandshake(target, extra_headers), ws_listener_factory)
        try:
            await _open(route, target, protocol)
            return await protocol.opened()
        except BaseException:
            protocol.abort()
            raise


async def _open(route: _Route, url: WSParsedURL, protocol: ClientProtocol) -> None:
    """Connect ``protocol`` to the server of ``url``."""
    tls = route.keywords
    if url.is_secure:
        tls = {"server_hostname": url.host, **tls, "ssl": route.ssl_context or default_ssl_context()}
    if route.path is not None:
        await route.network.create_unix_connection(lambda: protocol, route.path, **tls)
        return
    sock = await _user_socket(route.socket_factory, url)
    if sock is None:
        await route.network.create_connection(lambda: protocol, **{"host": url.host, "port": url.port, **tls})
        return
    try:
        await _connect_socket(sock, url)
        await route.network.create_connection(lambda: protocol, sock=sock, **tls)
    except BaseException:
        sock.close()
        raise


async def _user_socket(factory: SocketFactory | None, url: WSParsedURL) -> socket.socket | None:
    if factory is None:
        return None
    made = factory(url)
    sock = await made if inspect.isawaitable(made) else made
    if sock is not None and not isinstance(sock, socket.socket):
        raise TypeError(f"socket_factory must return a socket.socket or None, not {type(sock).__name__}")
    return sock


async def _connect_socket(sock: socket.socket, url: WSParsedURL) -> None:
    sock.setblocking(False)
    try:
        sock.getpeername()
    except OSError:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(url.host, url.port, family=sock.family, type=socket.SOCK_STREAM)
        await loop.sock_connect(sock, addresses[0][4])
