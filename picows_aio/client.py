"""Connecting as a client: redirects, the one deadline over everything until the connection is open, reconnection."""

from __future__ import annotations

import asyncio
import logging
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from types import TracebackType
from typing import Any, Literal, cast

import picows
from picows_aio.connection import Connection
from picows_aio.datastructures import Headers, HeadersLike
from picows_aio.dialing import check_tls, core_keywords, core_url
from picows_aio.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, SecurityError
from picows_aio.extensions.base import ClientExtensionFactory
from picows_aio.extensions.permessage_deflate import enable_client_permessage_deflate
from picows_aio.headers import build_authorization_basic, build_host, validate_subprotocols
from picows_aio.http11 import USER_AGENT
from picows_aio.negotiation import build_offer, choose_offered_extensions, choose_offered_subprotocol
from picows_aio.reconnect import backoff, process_exception
from picows_aio.session import HEAD_LIMITS, Session, check_flow_limits, frame_limit, split_max_size
from picows_aio.settings import MAX_FRAGMENTS, MAX_REDIRECTS
from picows_aio.translation import as_handshake_error, from_core_headers, from_core_request
from picows_aio.typing import LoggerLike, Origin, PathLike, Subprotocol
from picows_aio.uri import WebSocketURI, parse_uri

__all__ = ["ClientConnection", "backoff", "connect", "process_exception", "unix_connect"]

_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_SECRETS = ("Authorization", "Cookie", "Proxy-Authorization")
_NEGOTIATED = frozenset({"sec-websocket-extensions", "sec-websocket-protocol"})


class ClientConnection(Connection):
    """The client's side of a connection; made by :class:`connect`."""

    _is_held_back = False

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Called by the core: the opening handshake is complete."""
        super().on_ws_connected(transport)
        # Frames may have come with the response, a violation among them. Whoever awaits the connection runs in the next
        # turn of the loop; reading goes on in the one after that, so that what came before the violation is answered.
        transport.pause_reading()
        self._is_held_back = True
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._begin_reading)

    def _begin_reading(self) -> None:
        if self._is_held_back:
            self._is_held_back = False
            assert self.core_transport is not None
            self.core_transport.resume_reading()

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport; frames that were gathered are written out first."""
        if self._is_held_back:
            # Who pauses it at once does not want us to end that pause.
            self._begin_reading()
            self.deliver_now()
        return super().transport


class connect:
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
        busy_poll: Microseconds to poll for an answer to what is sent while a message is handled, instead of
            sleeping; at most 1,000,000. 0: never.
        use_aiofastnet: True connects with the aiofastnet package.
        **kwargs: Passed to the loop's ``create_connection``: ``ssl``, ``server_hostname``, ``sock``, ``host``,
            ``port``, ``local_addr``, ... ``proxy_ssl``, ``proxy_server_hostname`` and the like are for TLS with an
            ``https://`` proxy.

    Attributes:
        uri: Where it connects to, where it was redirected to from then on.

    Raises:
        InvalidURI: The URI is no WebSocket URI; already when the object is made.
        ValueError, TypeError: An argument is wrong; most of them when the object is made.
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
        max_size: int | tuple[int | None, int | None] | None = 2**20,
        max_queue: int | tuple[int | None, int | None] | None = 16,
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
        if self.ws_uri.secure is False:
            check_tls(self.ws_uri, kwargs)
        if subprotocols is not None:
            validate_subprotocols(subprotocols)  # type: ignore[arg-type]
        if compression == "deflate":
            extensions = enable_client_permessage_deflate(extensions)
        elif compression is not None:
            raise ValueError(f"unsupported compression: {compression}")
        check_flow_limits(max_queue, write_limit)
        self.logger = logging.getLogger("websockets.client") if logger is None else logger
        self.additional_headers = additional_headers
        self.user_agent_header = user_agent_header
        self.proxy = proxy
        self.process_exception = process_exception
        self.open_timeout = open_timeout
        self.reconnect_delays = reconnect_delays
        self.create_connection_kwargs = kwargs
        self._origin = origin
        self._extensions = list(extensions or ())
        self._subprotocols = [Subprotocol(name) for name in subprotocols or ()]
        self._max_size = split_max_size(max_size)
        self._create_connection = create_connection or ClientConnection
        self._connection_settings: dict[str, Any] = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
            "write_limit": write_limit,
        }
        self._core_settings: dict[str, Any] = {
            "coalesce": coalesce,
            "busy_poll": busy_poll,
            "use_aiofastnet": use_aiofastnet,
        }
        self._has_left_origin = False
        self._is_entered = False

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
        """One connection: open in the end, or closed."""
        keywords = core_keywords(self.ws_uri, self.create_connection_kwargs, self.proxy)
        try:
            _, connection = await picows.ws_connect(
                self._make_connection,
                core_url(self.ws_uri),
                extra_headers=self._headers().raw_items(),
                websocket_handshake_timeout=None,
                logger_name=self.logger,
                max_redirects=0,
                max_frame_size=frame_limit(*self._max_size),
                enable_auto_close=False,
                strict=True,
                validate_utf8=True,
                allowed_rsv=("rsv1", "rsv2", "rsv3") if self._extensions else (),
                handshake_limits=HEAD_LIMITS,
                **self._core_settings,
                **keywords,
            )
        except Exception as exc:  # the core's exceptions, in the terms of this package
            if isinstance(exc, picows.WSInvalidHeaderError) and exc.name.lower() in _NEGOTIATED:
                self._negotiate(exc)
            error = as_handshake_error(exc, keywords.get("proxy"))
            if error is exc:
                raise
            raise error from error.__cause__
        return cast(ClientConnection, connection)

    def _headers(self) -> Headers:
        headers = Headers()
        if self._origin is not None:
            headers["Origin"] = self._origin
        build_offer(headers, self._extensions, self._subprotocols)
        added = Headers(self.additional_headers or ())
        if self._has_left_origin:
            for name in _SECRETS:
                added.pop(name, None)
        headers.update(added)
        if self.ws_uri.user_info is not None and "Authorization" not in headers:
            headers["Authorization"] = build_authorization_basic(*self.ws_uri.user_info)
        if self.user_agent_header is not None and "User-Agent" not in headers:
            headers["User-Agent"] = self.user_agent_header
        return headers

    def _make_connection(
        self, core_request: picows.WSUpgradeRequest, core_response: picows.WSUpgradeResponse
    ) -> picows.WSListener:
        """The server agreed: make the connection that the frames go to."""
        session = Session(self.logger, self._max_size[0], MAX_FRAGMENTS)
        connection = self._create_connection(session, **self._connection_settings)
        headers = from_core_headers(core_response.headers)
        connection.set_request(from_core_request(core_request))
        connection.set_response(core_response)
        connection.set_extensions(choose_offered_extensions(headers, self._extensions))
        session.subprotocol = choose_offered_subprotocol(headers, self._subprotocols)
        return connection

    def _negotiate(self, exc: picows.WSInvalidHeaderError) -> None:
        """The core did not accept what the server chose: say so in the words of this package."""
        if exc.response is not None:
            headers = from_core_headers(exc.response.headers)
            choose_offered_extensions(headers, self._extensions)
            choose_offered_subprotocol(headers, self._subprotocols)

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Decide where a failed handshake leads: a new URI to connect to, or the exception to raise.

        The default follows 300, 301, 302, 303, 307 and 308 with a Location, never from ``wss://`` to ``ws://``.

        Args:
            exc: Why the handshake failed.
        """
        if not isinstance(exc, InvalidStatus) or exc.response.status_code not in _REDIRECTS:
            return exc
        locations = exc.response.headers.get_all("Location")
        if len(locations) != 1:
            return exc
        try:
            return self._redirect_target(locations[0])
        except (InvalidURI, SecurityError, ValueError) as refusal:
            return refusal

    def _redirect_target(self, location: str) -> str:
        new_uri = urllib.parse.urljoin(self.uri, location)
        target = parse_uri(new_uri)
        shown = _show(target)
        if self.ws_uri.secure and not target.secure:
            raise SecurityError(f"cannot follow redirect to non-secure URI {shown}")
        keywords = self.create_connection_kwargs
        if "sock" in keywords:
            raise ValueError(f"cannot follow redirect to {shown} with a preexisting socket")
        if _origin(self.ws_uri) != _origin(target):
            if keywords.get("unix", False):
                raise ValueError(f"cannot follow cross-origin redirect to {shown} with a Unix socket")
            if "host" in keywords or "port" in keywords:
                raise ValueError(f"cannot follow cross-origin redirect to {shown} with an explicit host or port")
        return new_uri

    def _follow(self, new_uri: str) -> None:
        target = parse_uri(new_uri)
        check_tls(target, self.create_connection_kwargs)
        if _origin(self.ws_uri) != _origin(target):
            self._has_left_origin = True
        self.logger.debug("following redirect to %s", _show(target))
        self.uri = new_uri
        self.ws_uri = target

    # async with

    async def __aenter__(self) -> ClientConnection:
        if self._is_entered:
            raise RuntimeError("connect() isn't reentrant")
        self._is_entered = True
        try:
            self.connection = await self
            return await self.connection.__aenter__()
        except BaseException:
            self._is_entered = False
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self.connection.__aexit__(exc_type, exc, tb)
        finally:
            del self.connection
            self._is_entered = False

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
        try:
            error = self.process_exception(exc)
        except Exception as refusal:  # the user's code
            if refusal is not exc and refusal.__cause__ is None:
                refusal.__cause__ = exc
            raise
        if error is exc:
            raise exc
        if error is not None:
            raise error from exc
        delay = next(delays, None)
        if delay is None:
            raise exc
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


def _show(uri: WebSocketURI) -> str:
    """A URI for people: without user and password."""
    return f"{'wss' if uri.secure else 'ws'}://{build_host(uri.host, uri.port, uri.secure)}{uri.resource_name}"


def _origin(uri: WebSocketURI) -> tuple[bool, str, int]:
    return uri.secure, uri.host, uri.port
