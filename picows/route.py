"""How to reach a server: its address, a Unix socket, the user's own socket, or a proxy; plain or with TLS.

`Route.open` either hands over a connected transport or leaves no socket behind, whichever `await` was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from picows.network import Network, default_ssl_context
from picows.proxy import TunnelStream
from picows.url import WSParsedURL

SocketFactory = Callable[[WSParsedURL], socket.socket | Awaitable[socket.socket | None] | None]
UnixPath = str | bytes | os.PathLike[str]

_REFUSED_KEYWORDS = {
    "ssl": "TLS follows from the scheme wss://; its context is ssl_context",
    "sock": "a socket of your own comes from socket_factory",
    "all_errors": "connecting raises one exception",
}


@dataclass(frozen=True, slots=True)
class Route:
    """Everything that says how to connect, except the URL."""

    network: Network
    ssl_context: ssl.SSLContext | None  # for the server; None: the default one
    path: UnixPath | None
    socket_factory: SocketFactory | None
    proxy: WSParsedURL | None
    proxy_ssl_context: ssl.SSLContext | None  # for a proxy with https://; None: the default one
    keywords: dict[str, Any]  # for create_connection, as the user gave them

    def __post_init__(self) -> None:
        for name, instead in _REFUSED_KEYWORDS.items():
            if name in self.keywords:
                raise TypeError(f"ws_connect() takes no {name!r}: {instead}")
        if self.socket_factory is not None and not callable(self.socket_factory):
            raise TypeError(f"socket_factory must be callable, not {type(self.socket_factory).__name__}")
        self._check_conflicts()
        if self.path is not None and not hasattr(socket, "AF_UNIX"):
            raise NotImplementedError("path needs Unix sockets, which Python does not offer on this platform")

    def _check_conflicts(self) -> None:
        given = [name for name in ("path", "proxy", "socket_factory") if getattr(self, name) is not None]
        # A socket factory connects to the proxy; everything else says where to connect on its own.
        if "path" in given and len(given) > 1:
            raise ValueError(f"path cannot be combined with {given[1]}: each says where to connect")
        if given and not self.keywords.keys().isdisjoint({"host", "port"}):
            raise ValueError(f"host and port cannot be combined with {given[0]}: each says where to connect")

    def to_other_origin(self) -> Route:
        """The route for a redirect to another scheme, host or port.

        Raises:
            ValueError: It leads to one place, whatever the URL says.
        """
        fixed: list[str] = [name for name in ("host", "port") if name in self.keywords]
        if self.path is not None:
            fixed = ["path"]
        if fixed:
            raise ValueError(f"{' and '.join(fixed)} cannot lead to another origin")
        # The name was to be found in the certificate of the first server.
        return replace(self, keywords={k: v for k, v in self.keywords.items() if k != "server_hostname"})

    async def open(self, url: WSParsedURL, protocol: asyncio.BaseProtocol) -> None:
        """Connect ``protocol`` to the server of ``url``."""
        if self.proxy is not None:
            await self._open_through(self.proxy, url, protocol)
            return
        keywords = self.keywords
        if url.is_secure:
            keywords = _tls_keywords(url, self.ssl_context) | keywords
        await self._dial(url, protocol, keywords)

    async def _open_through(self, proxy: WSParsedURL, url: WSParsedURL, protocol: asyncio.BaseProtocol) -> None:
        for_tls = {name: value for name, value in self.keywords.items() if _belongs_to_tls(name)}
        if for_tls and not url.is_secure:
            raise ValueError(f"{', '.join(for_tls)}: only meaningful with wss://")
        for_proxy = {name: value for name, value in self.keywords.items() if name.startswith("proxy_")}
        if for_proxy and not proxy.is_secure:
            raise ValueError(f"{', '.join(for_proxy)}: only meaningful with an https:// proxy")
        to_proxy = {name: value for name, value in self.keywords.items() if name not in for_tls | for_proxy}
        if proxy.is_secure:
            to_proxy |= _tls_keywords(proxy, self.proxy_ssl_context)
            to_proxy |= {name.removeprefix("proxy_"): value for name, value in for_proxy.items()}
        stream = TunnelStream(proxy)
        try:
            with _noted(f"while connecting to {stream.name}"):
                await self._dial(proxy, stream, to_proxy)
            await stream.open_tunnel(url.host, url.port)
            transport = stream.transport
            if url.is_secure:
                with _noted(f"while starting TLS with {url.host}:{url.port} through {stream.name}"):
                    transport = await self._start_tls(stream, _tls_keywords(url, self.ssl_context) | for_tls)
            stream.hand_over(transport, protocol)
        finally:
            stream.abort()

    async def _start_tls(self, stream: TunnelStream, keywords: dict[str, Any]) -> asyncio.Transport:
        """TLS with the server inside the tunnel, which itself may be inside TLS."""
        context = keywords.pop("ssl")
        try:
            transport = await self.network.start_tls(stream.transport, stream, context, **keywords)
        except TypeError as exc:
            # TLS in TLS before Python 3.11.8 and 3.12.2 stumbles over the error that it is to report (gh-113214).
            if isinstance(exc.__context__, OSError):
                raise exc.__context__ from None
            raise
        if transport is None:
            raise ConnectionAbortedError("the connection was lost while TLS was being started")
        return transport

    async def _dial(self, endpoint: WSParsedURL, protocol: asyncio.BaseProtocol, keywords: dict[str, Any]) -> None:
        """Connect ``protocol`` to an endpoint: the server's or the proxy's."""
        if self.path is not None:
            await self.network.create_unix_connection(lambda: protocol, self.path, **keywords)
            return
        sock = await self._user_socket(endpoint)
        if sock is None:
            where = {"host": endpoint.host, "port": endpoint.port}
            await self.network.create_connection(lambda: protocol, **(where | keywords))
            return
        try:
            await _connect(sock, endpoint)
            await self.network.create_connection(lambda: protocol, sock=sock, **keywords)
        except BaseException:
            sock.close()
            raise

    async def _user_socket(self, endpoint: WSParsedURL) -> socket.socket | None:
        if self.socket_factory is None:
            return None
        made = self.socket_factory(endpoint)
        sock = await made if inspect.isawaitable(made) else made
        if sock is not None and not isinstance(sock, socket.socket):
            raise TypeError(f"socket_factory must return a socket.socket or None, not {type(sock).__name__}")
        return sock


@contextlib.contextmanager
def _noted(text: str) -> Iterator[None]:
    """Say in an error of the system what was being done."""
    try:
        yield
    except OSError as exc:
        exc.add_note(text)
        raise


def _tls_keywords(url: WSParsedURL, context: ssl.SSLContext | None) -> dict[str, Any]:
    # RFC 6066 section 3: the server name has no trailing dot; a zone is no part of an address in a certificate.
    name = url.host.partition("%")[0].removesuffix(".")
    return {"ssl": context or default_ssl_context(), "server_hostname": name}


def _belongs_to_tls(keyword: str) -> bool:
    return keyword == "server_hostname" or keyword.startswith("ssl_")


async def _connect(sock: socket.socket, endpoint: WSParsedURL) -> None:
    """Connect a socket of the user's unless it already is."""
    if isinstance(sock, ssl.SSLSocket):
        raise ValueError("socket_factory must return a plain socket: TLS follows from the scheme wss://")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"socket_factory must return a stream socket, not {sock!r}")
    sock.setblocking(False)
    try:
        sock.getpeername()
        return
    except OSError:  # not connected; if it is worse than that, connecting says so
        pass
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError(f"socket_factory must connect a socket that is neither IPv4 nor IPv6: {sock!r}")
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(endpoint.host, endpoint.port, family=sock.family, type=socket.SOCK_STREAM)
    await loop.sock_connect(sock, addresses[0][4])
