"""Connecting as a client."""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from types import TracebackType
from typing import Any, Literal

import picows
from picows_aio.connection import Connection
from picows_aio.datastructures import Headers, HeadersLike
from picows_aio.exceptions import (
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    SecurityError,
)
from picows_aio.extensions.base import ClientExtensionFactory
from picows_aio.extensions.permessage_deflate import enable_client_permessage_deflate
from picows_aio.headers import validate_subprotocols
from picows_aio.http11 import USER_AGENT, Request, Response
from picows_aio.negotiation import (
    build_offer,
    choose_offered_extensions,
    choose_offered_subprotocol,
)
from picows_aio.proxies import get_proxy
from picows_aio.reconnect import backoff, process_exception
from picows_aio.session import Session, frame_limit, split_max_size
from picows_aio.settings import (
    MAX_BODY_SIZE,
    MAX_FRAGMENTS,
    MAX_LINE_LENGTH,
    MAX_NUM_HEADERS,
    MAX_REDIRECTS,
)
from picows_aio.translation import as_handshake_error, from_core_headers
from picows_aio.typing import LoggerLike, Origin, PathLike, Subprotocol
from picows_aio.uri import WebSocketURI, parse_uri

__all__ = ["ClientConnection", "backoff", "connect", "process_exception", "unix_connect"]

_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_SECRETS = ("Authorization", "Cookie", "Proxy-Authorization")
_PROXY_SCHEMES = {"socks5h": "socks5", "socks4a": "socks4"}  # ours resolve names at the proxy in any case
_LIMITS = picows.HeadLimits(
    max_line_size=MAX_LINE_LENGTH,
    max_header_count=MAX_NUM_HEADERS,
    max_head_size=max(32768, MAX_LINE_LENGTH),
    max_body_size=MAX_BODY_SIZE,
)


class ClientConnection(Connection):
    """The client's side of a connection; made by :class:`connect`."""

    def __init__(self, protocol: Session, **kwargs: Any) -> None:
        super().__init__(protocol, **kwargs)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by the core: the opening handshake is complete."""
        super().on_ws_connected(transport)
        # Frames may have come with the response, a violation among them. Whoever awaits the connection runs in the next
        # turn of the loop; reading goes on in the one after that, so that what came before the violation is answered.
        transport.pause_reading()
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, transport.resume_reading)


class connect:  # noqa: N801 - the name programs use
    """Connect to a WebSocket server.

    Await it to get a :class:`ClientConnection`, use it as an asynchronous context manager to have it closed as well, or
    iterate over it with ``async for`` to connect again whenever the connection is lost.

    Args:
        uri: ``ws://`` or ``wss://``; user and password in it are sent as HTTP Basic Authorization.
        origin: Value of the Origin header.
        extensions: Extensions to offer, in order of preference.
        subprotocols: Subprotocols to offer, in order of preference.
        compression: "deflate" offers permessage-deflate (RFC 7692); None does not.
        additional_headers: Headers to add to the request.
        user_agent_header: Value of the User-Agent header; None removes it.
        proxy: True takes the proxy that the environment names; None takes none; else the URL of one.
        process_exception: Tells ``async for`` whether an error is worth another try: returns None to try again, else an
            exception to raise.
        open_timeout: Seconds for everything until the connection is open; None: no limit.
        ping_interval: Seconds between keepalive pings; None: none are sent.
        ping_timeout: Seconds to wait for the answer; None: for ever.
        close_timeout: Seconds for the whole closing handshake; None: no limit.
        reconnect_delays: Called for a generator of the seconds to wait before each try; after a success it is called
            anew.
        max_size: Bytes of an incoming message, or ``(message, fragment)``; None: no limit.
        max_queue: Messages that wait to be received before reading pauses, or ``(high, low)``; None: no limit.
        write_limit: Bytes that wait to be sent before ``send()`` waits, or ``(high, low)``.
        logger: Where to log; default ``logging.getLogger("websockets.client")``.
        create_connection: Makes the connection, in place of :class:`ClientConnection`.
        coalesce: Gather small messages that are sent in one turn of the event loop into one write.
        busy_poll: Microseconds to poll for an answer after sending, instead of sleeping; 0: never.
        use_aiofastnet: True connects with the aiofastnet package.
        **kwargs: Passed to the loop's ``create_connection``: ``ssl``, ``server_hostname``, ``sock``, ``host``,
            ``port``,
            ``local_addr``, ... ``proxy_ssl`` is the TLS context for an ``https://`` proxy.

    Raises:
        InvalidURI: The URI is no WebSocket URI; already when the object is made.
        InvalidHandshake: The server's answer is no WebSocket handshake; the subclasses say what it is.
        OSError: The TCP connection or TLS failed.
        TimeoutError: Not open within ``open_timeout``.
    """

    def __init__(
        self,
        uri: str,
        *,
        origin: Origin | str | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol | str] | None = None,
        compression: str | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        reconnect_delays: Callable[[], Generator[float]] = backoff,
        max_size: int | None | tuple[int | None, int | None] = 2**20,
        max_queue: int | None | tuple[int | None, int | None] = 16,
        write_limit: int | tuple[int, int | None] = 2**15,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ClientConnection] | None = None,
        coalesce: bool = True,
        busy_poll: float = 0,
        use_aiofastnet: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.uri = uri
        self.ws_uri = parse_uri(uri)
        if subprotocols is not None:
            validate_subprotocols([Subprotocol(name) for name in subprotocols] if _is_list(subprotocols) else subprotocols)
        if compression == "deflate":
            extensions = enable_client_permessage_deflate(extensions)
        elif compression is not None:
            raise ValueError(f"unsupported compression: {compression}")
        self.logger = logging.getLogger("websockets.client") if logger is None else logger
        self.additional_headers = additional_headers
        self.proxy = proxy
        self.process_exception = process_exception
        self.open_timeout = open_timeout
        self.reconnect_delays = reconnect_delays
        self.connection_kwargs = kwargs
        self._origin = origin
        self._extensions = list(extensions or ())
        self._subprotocols = [Subprotocol(name) for name in subprotocols or ()]
        self._user_agent = user_agent_header
        self._max_size = split_max_size(max_size)
        self._create_connection = create_connection or ClientConnection
        self._connection_settings = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
            "write_limit": write_limit,
        }
        self._core_settings = {"coalesce": coalesce, "busy_poll": busy_poll, "use_aiofastnet": use_aiofastnet}
        self._drops_secrets = False

    # Connecting

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        return self._connect().__await__()

    async def _connect(self) -> ClientConnection:
        """Follow redirects to an open connection, under one deadline."""
        try:
            async with asyncio.timeout(self.open_timeout) as deadline:
                for _ in range(MAX_REDIRECTS):
                    try:
                        return await self._connect_once()
                    except InvalidHandshake as exc:
                        target = self.process_redirect(exc)
                        if isinstance(target, Exception):
                            if target is exc:
                                raise
                            raise target from exc
                        self._follow(target)
                raise SecurityError(f"more than {MAX_REDIRECTS} redirects")
        except TimeoutError as exc:
            if not deadline.expired():
                raise
            raise TimeoutError("timed out during opening handshake") from exc

    async def _connect_once(self) -> ClientConnection:
        uri = self.ws_uri
        settings = self._route(uri)
        try:
            transport, connection = await picows.ws_connect(
                self._make_connection,
                self.uri,
                extra_headers=self._headers().raw_items(),
                websocket_handshake_timeout=None,
                logger_name=self.logger,
                max_redirects=0,
                max_frame_size=frame_limit(*self._max_size),
                enable_auto_close=False,
                strict=True,
                validate_utf8=True,
                allowed_rsv=("rsv1", "rsv2", "rsv3") if self._extensions else (),
                handshake_limits=_LIMITS,
                **self._core_settings,
                **settings,
            )
        except Exception as exc:  # the core's exceptions, in the terms of this package
            error = as_handshake_error(exc, self.uri)
            if error is exc:
                raise
            raise error from (exc.__cause__ or exc)
        del transport
        assert isinstance(connection, ClientConnection)
        return connection

    def _headers(self) -> Headers:
        headers = Headers()
        if self._origin is not None:
            headers["Origin"] = self._origin
        build_offer(headers, self._extensions, self._subprotocols)
        added = Headers(self.additional_headers or ())
        if self._drops_secrets:
            for name in _SECRETS:
                added.pop(name, None)
        headers.update(added)
        if self._user_agent is not None and "User-Agent" not in headers:
            headers["User-Agent"] = self._user_agent
        return headers

    def _make_connection(
        self, request: picows.WSUpgradeRequest, response: picows.WSUpgradeResponse
    ) -> picows.WSListener:
        """The server agreed: make the connection that the frames go to."""
        session = Session(self.logger, self._max_size[0], MAX_FRAGMENTS)
        connection = self._create_connection(session, **self._connection_settings)
        connection.set_request(Request(request.path.decode("ascii"), from_core_headers(request.headers)))
        headers = from_core_headers(response.headers)
        connection.set_response(Response(int(response.status), response.reason or "", headers))
        connection.set_extensions(choose_offered_extensions(headers, self._extensions))
        session.subprotocol = choose_offered_subprotocol(headers, self._subprotocols)
        return connection

    def _route(self, uri: WebSocketURI) -> dict[str, Any]:
        """How to get there, as keywords for the core."""
        route = dict(self.connection_kwargs)
        is_unix = route.pop("unix", False)
        if uri.secure:
            context = route.pop("ssl", True)
            if context is None:
                raise ValueError("ssl=None is incompatible with a wss:// URI")
            if isinstance(context, ssl_module.SSLContext):
                route["ssl_context"] = context
        elif route.pop("ssl", None) is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        proxy_ssl = route.pop("proxy_ssl", None)
        sock = route.pop("sock", None)
        if sock is not None:
            route["socket_factory"] = lambda url: sock
        elif not is_unix and "host" not in route and "port" not in route:
            proxy = get_proxy(uri) if self.proxy is True else self.proxy
            if proxy is not None:
                route["proxy"] = _core_proxy(proxy)
        if proxy_ssl is not None:
            if not str(route.get("proxy", "")).startswith("https://"):
                raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
            route["proxy_ssl_context"] = proxy_ssl
        return route

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Decide where a failed handshake leads: a new URI to connect to, or the exception to raise.

        The default follows 300, 301, 302, 303, 307 and 308 with a Location, never from ``wss://`` to ``ws://``.

        Args:
            exc: Why the handshake failed.
        """
        if not isinstance(exc, InvalidStatus) or exc.response.status_code not in _REDIRECTS:
            return exc
        location = exc.response.headers.get("Location")
        if location is None:
            return exc
        new_uri = urllib.parse.urljoin(self.uri, location)
        try:
            target = parse_uri(new_uri)
        except Exception as invalid:  # InvalidURI: the redirect leads nowhere
            return invalid
        if self.ws_uri.secure and not target.secure:
            return SecurityError(f"cannot follow redirect to non-secure URI {new_uri}")
        if "sock" in self.connection_kwargs:
            return ValueError(f"cannot follow redirect to {new_uri} with a preexisting socket")
        if _origin(self.ws_uri) != _origin(target):
            if self.connection_kwargs.get("unix", False):
                return ValueError(f"cannot follow cross-origin redirect to {new_uri} with a Unix socket")
            if "host" in self.connection_kwargs or "port" in self.connection_kwargs:
                return ValueError(f"cannot follow cross-origin redirect to {new_uri} with an explicit host or port")
        return new_uri

    def _follow(self, new_uri: str) -> None:
        target = parse_uri(new_uri)
        if _origin(self.ws_uri) != _origin(target):
            self._drops_secrets = True
        self.logger.debug("following redirect to %s", new_uri)
        self.uri = new_uri
        self.ws_uri = target

    # async with

    async def __aenter__(self) -> ClientConnection:
        if hasattr(self, "connection"):
            raise RuntimeError("connect() isn't reentrant: it is already entered")
        self.connection = await self
        try:
            return await self.connection.__aenter__()
        except BaseException:
            del self.connection
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self.connection.__aexit__(exc_type, exc, tb)
        finally:
            del self.connection

    # async for

    async def __aiter__(self) -> AsyncIterator[ClientConnection]:
        delays: Generator[float] | None = None
        while True:
            try:
                connection = await self.__aenter__()
            except Exception as exc:  # process_exception decides which are fatal
                delays = delays or self.reconnect_delays()
                await self._wait_before_retry(exc, delays)
                continue
            delays = None
            try:
                yield connection
            finally:
                await self.__aexit__(None, None, None)

    async def _wait_before_retry(self, exc: Exception, delays: Generator[float]) -> None:
        error = self.process_exception(exc)
        if error is exc:
            raise exc
        if error is not None:
            raise error from exc
        delay = next(delays)
        self.logger.info(
            "connect failed; reconnecting in %.1f seconds: %s",
            delay,
            traceback.format_exception_only(exc)[0].strip(),
        )
        await asyncio.sleep(delay)


def unix_connect(path: PathLike | None = None, uri: str | None = None, **kwargs: Any) -> connect:
    """Connect to a WebSocket server on a Unix socket; otherwise as :class:`connect`.

    Args:
        path: Path of the socket.
        uri: What to ask for; default ``ws://localhost/``, or ``wss://localhost/`` with ``ssl``.
        **kwargs: As for :class:`connect`.
    """
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    return connect(uri, unix=True, path=path, **kwargs)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _origin(uri: WebSocketURI) -> tuple[bool, str, int]:
    return uri.secure, uri.host, uri.port


def _core_proxy(url: str) -> str:
    """The URL of a proxy with a scheme that the core knows."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InvalidProxy(url, "isn't a valid URI: there is no scheme")
    return _PROXY_SCHEMES.get(scheme.lower(), scheme) + separator + rest
