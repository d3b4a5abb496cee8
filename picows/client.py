"""Connecting as a client: redirects and the one deadline over everything until the connection is open.

One connection after another is tried to its end. One that did not become the caller's is closed before the next is
opened, and before an exception leaves `ws_connect`, whichever `await` was interrupted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from multidict import CIMultiDict

from picows.enums import WSAutoPingStrategy
from picows.errors import WSInvalidStatusError
from picows.handshake import ClientHandshake
from picows.http11 import HeadLimits
from picows.http_message import HeadersLike, WSUpgradeRequest, WSUpgradeResponse, copy_headers
from picows.listener import WSListener
from picows.network import checked_ssl_context, network_of
from picows.opening import ClientProtocol
from picows.options import DEFAULT_MAX_FRAME_SIZE, PICOWS_DEBUG_LL, ConnectionOptions, LoggerLike, aliased
from picows.proxy import parse_proxy_url
from picows.redirects import (
    for_other_origin,
    is_redirect,
    is_same_origin,
    origin,
    redirect_error,
    redirect_target,
    too_many_redirects,
)
from picows.route import Route, SocketFactory, UnixPath
from picows.transport import WSTransport
from picows.url import WSParsedURL, parse_url

_Listener = TypeVar("_Listener", bound=WSListener)
ListenerFactory = Callable[[], _Listener] | Callable[[WSUpgradeRequest, WSUpgradeResponse], _Listener]


@aliased("disconnect_on_error", "disconnect_on_exception")
async def ws_connect(
    ws_listener_factory: ListenerFactory[_Listener],
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    disconnect_on_exception: bool = True,
    websocket_handshake_timeout: float | None = 5,
    logger_name: str | LoggerLike | None = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = 10,
    auto_ping_reply_timeout: float = 10,
    auto_ping_strategy: WSAutoPingStrategy = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    enable_auto_close: bool = True,
    max_frame_size: int | None = DEFAULT_MAX_FRAME_SIZE,
    extra_headers: HeadersLike | None = None,
    max_redirects: int = 5,
    proxy: str | None = None,
    proxy_ssl_context: ssl.SSLContext | None = None,
    read_buffer_init_size: int = 16 * 1024,
    socket_factory: SocketFactory | None = None,
    use_aiofastnet: bool | None = None,
    path: UnixPath | None = None,
    handshake_limits: HeadLimits | None = None,
    strict: bool = False,
    allowed_rsv: Iterable[str] = (),
    validate_utf8: bool = False,
    coalesce: bool = False,
    busy_poll: float = 0,
    **kwargs: Any,
) -> tuple[WSTransport, _Listener]:
    """Open a WebSocket connection.

    Whatever ends it early, an error, the deadline or a cancellation, leaves no socket behind.

    Args:
        ws_listener_factory: Makes the listener once the server has agreed. Called with the upgrade request and
            the response if it can take two positional arguments, else with none.
        url: ``ws://`` or ``wss://``. User and password in it are sent as HTTP Basic Authorization.
        ssl_context: TLS settings for ``wss://``, here and after a redirect. None: certificates are checked
            against the system's trust store, with one context that all connections share.
        disconnect_on_exception: True (the default) closes the connection with 1011 when `on_ws_frame` raises,
            False only logs the exception.
        websocket_handshake_timeout: Seconds for everything together: name resolution, connecting, proxy, TLS,
            redirects and the handshake. None: no limit.
        logger_name: Suffix of a logger under ``picows.`` (None: "client"), or a logger itself.
        enable_auto_ping: Ping the server to detect a connection that died silently.
        auto_ping_idle_timeout: Seconds without incoming data (or between pings) before a ping.
        auto_ping_reply_timeout: Seconds to wait for the pong; at most `auto_ping_idle_timeout`.
        auto_ping_strategy: Ping when the connection is idle, or periodically.
        enable_auto_pong: Answer pings; the listener does not see them then.
        enable_auto_close: Answer a CLOSE that `on_ws_frame` did not answer, and disconnect.
        max_frame_size: Largest acceptable frame payload in bytes; None: no limit.
        extra_headers: Headers for the upgrade request. ``Host`` replaces the one made from `url`.
        max_redirects: How many redirects (301, 302, 303, 307, 308) are followed; 0 treats one as a refusal. On
            the way to another scheme, host or port, credentials in the URL and the headers Authorization,
            Cookie, Proxy-Authorization and Host stay behind. A redirect from ``wss://`` to ``ws://`` is refused.
        proxy: URL of a proxy: ``http://``, ``https://``, ``socks4://`` or ``socks5://``, with ``user:password@``
            where it asks for them. The proxy resolves the host name of `url`.
        proxy_ssl_context: TLS settings for an ``https://`` proxy. None: as for `ssl_context`.
        read_buffer_init_size: A hint in bytes; buffers adapt to the traffic.
        socket_factory: Called, and awaited if need be, with the parsed URL of the server, or of the proxy if
            there is one. Returns a socket, connected or not (it belongs to the connection from then on and is
            closed on failure too), or None to connect as usual. Called again after a redirect.
        use_aiofastnet: True makes the connection with the aiofastnet package, False with the loop. None means our own
            transports on asyncio's selector loops, else the loop's.
        path: Connect to this Unix socket; `url` then only says what to ask for.
        handshake_limits: Bounds on the head and body of the server's response.
        strict: Fail reserved bits and a wrong order of fragments with 1002.
        allowed_rsv: Reserved bits that an extension uses, of "rsv1", "rsv2" and "rsv3"; for `strict`.
        validate_utf8: Fail invalid UTF-8 in text messages with 1007 as soon as it arrives.
        coalesce: Send small frames of one turn of the event loop together.
        busy_poll: Microseconds to poll for an answer to what is sent while a message is handled, instead of
            sleeping; at most 1,000,000. 0: never.
        **kwargs: Passed to the loop's ``create_connection``: ``local_addr``, ``family``, ``server_hostname``,
            ``happy_eyeballs_delay``, ``ssl_handshake_timeout``, ... With a proxy, those about TLS are for the
            server behind it, the others for the way to the proxy; for TLS with an ``https://`` proxy they begin with
            ``proxy_``: ``proxy_server_hostname``, ``proxy_ssl_handshake_timeout``, ... ``host`` and ``port`` replace
            those of `url` for connecting. ``disconnect_on_error`` is taken as the older name of
            `disconnect_on_exception`.

    Returns:
        The transport and the listener.

    Raises:
        asyncio.TimeoutError: Not open within `websocket_handshake_timeout`.
        WSInvalidURL: `url`, or the Location of a redirect, is no WebSocket URL.
        WSHandshakeError: The server did not agree; the subclasses say how, `response` holds its answer.
        python_socks.ProxyError: The proxy refused; `error_code` is its status, and `reply` the head of an HTTP proxy's
            answer as it came.
        OSError: The connection failed or was lost. TLS errors (`ssl.SSLError`) are a kind of it.
        ValueError, TypeError: An argument is wrong. `kwargs` that the loop does not know are a TypeError too.
        ImportError: `use_aiofastnet` is True without the package.
    """
    options = ConnectionOptions.for_client(
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
    if not isinstance(handshake_limits, HeadLimits | None):
        raise TypeError(f"handshake_limits must be HeadLimits, not {type(handshake_limits).__name__}")
    route = Route(
        network=network_of(asyncio.get_running_loop(), use_aiofastnet),
        ssl_context=checked_ssl_context("ssl_context", ssl_context),
        path=path,
        socket_factory=socket_factory,
        proxy=None if proxy is None else parse_proxy_url(proxy),
        proxy_ssl_context=checked_ssl_context("proxy_ssl_context", proxy_ssl_context),
        keywords=kwargs,
    )
    connector = _Connector(options, ws_listener_factory, route, max_redirects, handshake_limits or HeadLimits())
    transport, listener = await connector.connect(parse_url(url), copy_headers(extra_headers))
    return transport, cast(_Listener, listener)


class _Connector:
    """One call of `ws_connect`."""

    def __init__(
        self,
        options: ConnectionOptions,
        factory: ListenerFactory[WSListener],
        route: Route,
        max_redirects: int,
        limits: HeadLimits,
    ) -> None:
        if not callable(factory):
            raise TypeError(f"ws_listener_factory must be callable, not {type(factory).__name__}")
        if isinstance(max_redirects, bool) or not isinstance(max_redirects, int) or max_redirects < 0:
            raise ValueError(f"max_redirects must be a number of redirects, 0 or more, not {max_redirects!r}")
        self._options = options
        self._factory = factory
        self._route = route
        self._max_redirects = max_redirects
        self._limits = limits

    async def connect(self, url: WSParsedURL, headers: CIMultiDict[str]) -> tuple[WSTransport, WSListener]:
        """Connect under the deadline."""
        limit = self._options.handshake_timeout
        try:
            async with asyncio.timeout(limit) as deadline:
                return await self._follow_redirects(url, headers)
        except TimeoutError as exc:
            if not deadline.expired():  # the operating system's, for one address
                raise
            raise TimeoutError(f"{origin(url)} did not complete the WebSocket handshake within {limit} s") from exc

    async def _follow_redirects(self, url: WSParsedURL, headers: CIMultiDict[str]) -> tuple[WSTransport, WSListener]:
        for redirects_left in range(self._max_redirects, -1, -1):
            try:
                return await self._attempt(url, headers)
            except WSInvalidStatusError as answer:
                if not is_redirect(answer) or self._max_redirects == 0:
                    raise
                if redirects_left == 0:
                    raise too_many_redirects(self._max_redirects, url, answer) from answer
                target = redirect_target(url, answer)
                if not is_same_origin(url, target):
                    headers = for_other_origin(headers)
                    self._leave_origin(target, answer)
            self._options.logger.log(PICOWS_DEBUG_LL, "redirected from %s to %s", origin(url), origin(target))
            url = target
        raise AssertionError("the last round returns or raises")

    def _leave_origin(self, target: WSParsedURL, answer: WSInvalidStatusError) -> None:
        try:
            self._route = self._route.to_other_origin()
        except ValueError as exc:
            raise redirect_error(f"cannot follow a redirect to {origin(target)}: {exc}", answer) from exc

    async def _attempt(self, url: WSParsedURL, headers: CIMultiDict[str]) -> tuple[WSTransport, WSListener]:
        """One connection: open in the end, or closed."""
        handshake = ClientHandshake(url, headers, limits=self._limits)
        protocol = ClientProtocol(asyncio.get_running_loop(), self._options, handshake, self._factory)
        try:
            await self._route.open(url, protocol)
            return await protocol.opened()
        except (Exception, asyncio.CancelledError):
            protocol.abort()
            # The transports of all loops close their socket in the iteration that follows. Waiting for connection_lost
            # would be a mistake: after a cancelled create_connection, uvloop does not call it.
            await asyncio.sleep(0)
            raise
