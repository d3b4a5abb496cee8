"""Connections and servers with TLS of our own: calls like those of an event loop, over the plain ones given to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from picows.tls_transport import TLSTransport

Connected = tuple[asyncio.Transport, asyncio.BaseProtocol]


async def connect(
    create_connection: Callable[..., Awaitable[Connected]],
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    *args: Any,
    ssl: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **kwargs: Any,
) -> Connected:
    """Like ``create_connection``, a loop's ``create_connection`` or ``create_unix_connection``."""
    tls: dict[str, Any] = {
        "server_hostname": server_hostname,
        "ssl_handshake_timeout": ssl_handshake_timeout,
        "ssl_shutdown_timeout": ssl_shutdown_timeout,
    }
    if ssl is None:
        given = {name: value for name, value in tls.items() if value is not None}
        return await create_connection(protocol_factory, *args, **given, **kwargs)
    if server_hostname is None:
        raise ValueError("server_hostname is needed with ssl; an empty one stands for any")
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    protocol = protocol_factory()
    transport = TLSTransport(loop, protocol, ssl, waiter=waiter, **tls)
    await create_connection(lambda: transport, *args, **kwargs)
    await _established(transport, waiter)
    return transport, protocol


async def serve(
    create_server: Callable[..., Awaitable[asyncio.Server]],
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    *args: Any,
    ssl: ssl.SSLContext | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **kwargs: Any,
) -> asyncio.Server:
    """Like ``create_server``, a loop's ``create_server`` or ``create_unix_server``."""
    tls: dict[str, Any] = {"ssl_handshake_timeout": ssl_handshake_timeout, "ssl_shutdown_timeout": ssl_shutdown_timeout}
    if ssl is None:
        given = {name: value for name, value in tls.items() if value is not None}
        return await create_server(protocol_factory, *args, **given, **kwargs)
    loop = asyncio.get_running_loop()

    def make_transport() -> TLSTransport:
        return TLSTransport(loop, protocol_factory(), ssl, server_side=True, **tls)

    return await create_server(make_transport, *args, **kwargs)


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    *,
    server_side: bool = False,
    **tls: Any,
) -> asyncio.Transport:
    """Like :meth:`asyncio.loop.start_tls`, over any transport."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    above = TLSTransport(loop, protocol, context, waiter=waiter, is_connected=True, server_side=server_side, **tls)
    transport.set_protocol(above)
    above.connection_made(transport)
    await _established(above, waiter)
    return above


async def _established(transport: TLSTransport, waiter: asyncio.Future[None]) -> None:
    """Wait for the handshake; no connection is left when that is interrupted."""
    try:
        await waiter
    except BaseException:
        transport.abort()
        raise
