"""Tunnels through proxies: HTTP CONNECT (RFC 9110 section 9.3.6), SOCKS4a and SOCKS5 (RFC 1928).

python-socks speaks to the proxy, over a connection that is made like any other (`TunnelStream` is its protocol until
the tunnel stands). Names are resolved by the proxy. A password appears in no message, log line or `repr`.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import cast

from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio.v2 import Proxy

from picows.errors import WSInvalidURL
from picows.url import WSParsedURL, parse_url

_PROXY_TYPES = {
    "http": ProxyType.HTTP,
    "https": ProxyType.HTTP,
    "socks4": ProxyType.SOCKS4,
    "socks4a": ProxyType.SOCKS4,
    "socks5": ProxyType.SOCKS5,
    "socks5h": ProxyType.SOCKS5,
}
_SOCKS_PORT = 1080  # RFC 1928 section 3
_MAX_REPLY_SIZE = 64 * 1024  # bytes; what a proxy may send before the tunnel stands
_MAX_REPLY_TEXT = 200  # characters of a proxy's own words in a message
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")  # RFC 9112 section 2.2: a lone LF may end a line
_NO_TIMEOUT = 10**9  # seconds; python-socks would stop after a minute, the deadline is the caller's


def parse_proxy_url(url: str) -> WSParsedURL:
    """Parse ``http://``, ``https://``, ``socks4://`` or ``socks5://`` with an optional ``user:password@``.

    ``socks4a://`` and ``socks5h://`` mean the same as their short forms, which resolve names at the proxy too.
    Without a port it is 80, 443 or 1080.

    Raises:
        ValueError: Another scheme, no or a bad host or port, or credentials that the protocol cannot carry.
    """
    if not isinstance(url, str):
        raise TypeError(f"proxy must be a URL as a str or None, not {type(url).__name__}")
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in _PROXY_TYPES:
        raise ValueError(f"proxy scheme {scheme.partition(':')[0]!r} is none of {', '.join(_PROXY_TYPES)}")
    is_secure = scheme == "https"
    try:
        # http:// and https:// have the grammar and the default ports of ws:// and wss:// (RFC 6455 section 3).
        parsed = parse_url(f"{'wss' if is_secure else 'ws'}://{rest}")
        _check_credentials(_PROXY_TYPES[scheme], parsed)
    except WSInvalidURL as exc:
        # The cause would show the URL with its password to whoever prints it.
        raise ValueError(f"invalid proxy URL ({scheme}://): {exc.msg}") from None
    has_port = re.search(r":[0-9]+$", parsed.netloc) is not None
    port = parsed.port if has_port or not scheme.startswith("socks") else _SOCKS_PORT
    return replace(parsed, url=url, scheme=scheme, is_secure=is_secure, port=port)


def _check_credentials(kind: ProxyType, url: WSParsedURL) -> None:
    if url.username is None:
        return
    if kind is ProxyType.HTTP:
        if not url.username:
            raise WSInvalidURL(url.url, "there is a password but no user")
        return
    fields = {"user": url.username}
    if kind is ProxyType.SOCKS5:
        fields["password"] = url.password or ""
    for name, value in fields.items():
        # RFC 1929 section 2 has one octet for each length; neither standard names an encoding beyond ASCII.
        if not (value.isascii() and 1 <= len(value) <= 255):
            raise WSInvalidURL(url.url, f"a SOCKS {name} must be 1 to 255 ASCII characters")


def _credentials(kind: ProxyType, url: WSParsedURL) -> tuple[str | None, str | None]:
    if url.username is None:
        return None, None
    if kind is ProxyType.HTTP:
        # RFC 7617 section 2.1 prefers UTF-8; python-socks encodes to Latin-1, one octet a character.
        return _utf8_as_latin1(url.username), _utf8_as_latin1(url.password or "")
    return url.username, url.password


def _utf8_as_latin1(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def _printable(exc: Exception) -> str:
    # The proxy chose some of these characters, among them perhaps escape sequences or half a surrogate pair.
    return str(exc).encode("unicode_escape").decode("ascii")[:_MAX_REPLY_TEXT]


class TunnelError(ProxyError):
    """The proxy refused, or did not speak its protocol.

    Attributes:
        reply: Head of an HTTP proxy's answer, as far as it came; None for SOCKS.
    """

    def __init__(self, message: str, *, error_code: int | None, reply: bytes | None) -> None:
        super().__init__(message, error_code=error_code)
        self.reply = reply


class _Connected:
    """What python-socks takes for the previous proxy of a chain: it "connects" to the stream that exists."""

    def __init__(self, stream: TunnelStream) -> None:
        self._stream = stream

    async def connect(self, dest_host: str, dest_port: int) -> TunnelStream:
        return self._stream


class TunnelStream(asyncio.Protocol):
    """One connection to a proxy, from its first byte until the tunnel is handed to another protocol.

    States: connected, negotiating (`open_tunnel`), tunnelling (TLS to the server may be started on `transport`),
    handed over. It ends in `abort()` or in `hand_over()`, which the owner calls.
    """

    transport: asyncio.Transport

    def __init__(self, proxy: WSParsedURL) -> None:
        self._proxy = proxy
        self._received = bytearray()  # not consumed yet
        self._reply = b""  # head of an HTTP proxy's answer
        self._wakeup: asyncio.Future[None] | None = None
        self._loss: Exception | None = None
        self._is_connected = False

    @property
    def name(self) -> str:
        """The proxy for messages: nothing secret."""
        host = f"[{self._proxy.host}]" if ":" in self._proxy.host else self._proxy.host
        return f"proxy {self._proxy.scheme}://{host}:{self._proxy.port}"

    async def open_tunnel(self, host: str, port: int) -> None:
        """Ask the proxy to connect to ``host`` and ``port``.

        Raises:
            TunnelError: The proxy refused (`error_code` is its status), or did not speak its protocol.
        """
        proxy = self._proxy
        host = host.partition("%")[0]  # the zone of an IPv6 address means nothing to another machine
        kind = _PROXY_TYPES[proxy.scheme]
        if kind is ProxyType.SOCKS4 and ":" in host:
            raise ProxyError(f"{self.name} cannot connect to [{host}]: SOCKS4 has no IPv6 addresses")
        user, password = _credentials(kind, proxy)
        connected = cast(Proxy, _Connected(self))
        negotiation = Proxy(kind, proxy.host, proxy.port, user, password, rdns=True, forward=connected)
        try:
            await negotiation.connect(host, port, timeout=_NO_TIMEOUT)
        except ProxyError as exc:
            code = exc.error_code
            hint = " (give user:password@ in the proxy URL)" if code == 407 and user is None else ""
            message = f"{self.name} did not open a tunnel to {host}:{port}: {_printable(exc)}{hint}"
            reply = self._reply or bytes(self._received)
            raise TunnelError(message, error_code=code, reply=reply if kind is ProxyType.HTTP else None) from exc
        self._check_is_open(self.transport)
        if self._received:
            # Both TLS and WebSocket begin with the client: whatever came, it is not from the server.
            raise ProxyError(f"{self.name} sent {len(self._received)} bytes after its reply, before the server could")

    def hand_over(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        """Make ``protocol`` the one of ``transport``, which is this stream's own or TLS started on it."""
        self._check_is_open(transport)
        self._is_connected = False
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def abort(self) -> None:
        """Drop the connection, if there is one that nobody else has."""
        if self._is_connected:
            self.transport.abort()

    def _check_is_open(self, transport: asyncio.Transport) -> None:
        # The next protocol would never hear of an end that this one was told.
        if transport.is_closing():
            raise ProxyError(f"{self.name} closed the connection after it had opened the tunnel")

    # Called by python-socks: its stream.

    async def write(self, data: bytes) -> None:
        """Send ``data``; a few hundred bytes at most, so nothing waits for them to leave."""
        self.transport.write(data)

    async def read(self, max_bytes: int = _MAX_REPLY_SIZE) -> bytes:
        """The head of an HTTP response, whole: a proxy may send it in pieces."""
        while not (end := _END_OF_HEAD.search(self._received)):
            if len(self._received) >= 5 and not self._received.startswith(b"HTTP/"):
                raise ProxyError("the answer is not HTTP")
            await self._more()
        self._reply = self._take(end.end())
        return self._reply

    async def read_exactly(self, n: int) -> bytes:
        """The next ``n`` bytes."""
        while len(self._received) < n:
            await self._more()
        return self._take(n)

    async def close(self) -> None:
        """Nothing: the owner aborts."""

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self._is_connected = True

    def data_received(self, data: bytes) -> None:
        """Keep what the proxy sent, within bounds."""
        self._received += data
        if len(self._received) > _MAX_REPLY_SIZE:
            self._loss = ProxyError(f"the answer is longer than {_MAX_REPLY_SIZE} bytes")
            self.transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End whoever waits."""
        if self._loss is None:
            self._loss = ProxyError("it closed the connection")
            if isinstance(exc, Exception):  # aiofastnet 1.2.0 hands over the class when TLS fails
                self._loss.__cause__ = exc
        self._is_connected = False
        self._wake()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    async def _more(self) -> None:
        # Only here: what came before the end of the connection is still to be read.
        if self._loss is not None:
            raise self._loss
        self._wakeup = asyncio.get_running_loop().create_future()
        await self._wakeup

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
