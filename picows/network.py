"""Where connections come from: transports of ours, the event loop's or aiofastnet's, by calls of one signature."""

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from picows import socket_network, tls_network
from picows.socket_server import QuickSocket, SocketServer
from picows.socket_transport import HAS_SOCKET_TRANSPORTS

_Connect = Callable[..., Awaitable[tuple[asyncio.Transport, asyncio.BaseProtocol]]]
_Serve = Callable[..., Awaitable[asyncio.Server]]


@dataclass(frozen=True, slots=True)
class Network:
    """The calls of an event loop that make transports; parameters as documented for :class:`asyncio.loop`."""

    create_connection: _Connect
    create_unix_connection: _Connect
    start_tls: Callable[..., Awaitable[asyncio.Transport | None]]
    create_server: _Serve
    create_unix_server: _Serve


_CALLS = ("create_connection", "create_unix_connection", "start_tls", "create_server", "create_unix_server")


def network_of(loop: asyncio.AbstractEventLoop, use_aiofastnet: bool | None) -> Network:
    """The calls that ``use_aiofastnet`` asks for.

    None means our own transports where the loop is one of asyncio's selector loops, the loop's with TLS of our own
    where it is uvloop's, else those of the loop, which False always means.

    Raises:
        ImportError: True without the aiofastnet package; the message names the extra that installs it.
        TypeError: Neither a bool nor None.
    """
    if use_aiofastnet is not None and not isinstance(use_aiofastnet, bool):
        raise TypeError(f"use_aiofastnet must be True, False or None, not {use_aiofastnet!r}")
    if use_aiofastnet:
        return _aiofastnet(loop)
    calls = {name: getattr(loop, name) for name in _CALLS}
    if use_aiofastnet is False:
        return Network(**calls)
    if HAS_SOCKET_TRANSPORTS and isinstance(loop, asyncio.SelectorEventLoop):
        own = {name: functools.partial(getattr(socket_network, name), loop) for name in calls if name != "start_tls"}
        return _with_own_tls(calls | own)
    return _with_own_tls(calls) if type(loop).__module__.startswith("uvloop") else Network(**calls)


def _aiofastnet(loop: asyncio.AbstractEventLoop) -> Network:
    try:
        import aiofastnet  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as exc:
        message = "use_aiofastnet=True needs the aiofastnet package: pip install 'picows-aio[aiofastnet]'"
        raise ImportError(message) from exc
    return Network(**{name: functools.partial(getattr(aiofastnet, name), loop) for name in _CALLS})


def _with_own_tls(plain: Mapping[str, Callable[..., Any]]) -> Network:
    connect, serve = tls_network.connect, tls_network.serve
    return Network(
        create_connection=functools.partial(connect, plain["create_connection"]),
        create_unix_connection=functools.partial(connect, plain["create_unix_connection"]),
        start_tls=tls_network.start_tls,
        create_server=functools.partial(serve, plain["create_server"]),
        create_unix_server=functools.partial(serve, plain["create_unix_server"]),
    )


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """The client context where the caller gave none: made once, because loading the trust store takes milliseconds."""
    return ssl.create_default_context()


def checked_ssl_context(name: str, context: Any) -> ssl.SSLContext | None:
    """``context`` if it is an SSLContext or None, else a TypeError that names the parameter ``name``."""
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(f"{name} must be an ssl.SSLContext or None, not {type(context).__name__}")
    return context


_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _PatientSocket(QuickSocket):
    """A listening socket that tells asyncio once a second that descriptors ran out, instead of once for each client.

    asyncio (3.11 to 3.13) waits a second after such an error, but only once it has called ``accept`` as often as the
    backlog is long, and reports and schedules a retry each time.
    """

    __slots__ = ()

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            sock, address = super().accept()
            sock.__class__ = QuickSocket
            return sock, address
        except OSError as exc:
            if exc.errno in _OUT_OF_RESOURCES:
                self.__class__ = _StarvedSocket
            raise


class _StarvedSocket(_PatientSocket):
    """The same socket when it has just told so: the next call ends asyncio's loop of them."""

    __slots__ = ()

    def accept(self) -> tuple[socket.socket, Any]:
        self.__class__ = _PatientSocket  # type: ignore[assignment]
        raise BlockingIOError(errno.EAGAIN, "reported just now")


def make_patient(server: asyncio.Server) -> None:
    """Keep a server that runs out of descriptors quiet; for asyncio's own servers, others are left as they are."""
    if isinstance(server, SocketServer):
        return
    for wrapper in server.sockets:
        sock = getattr(wrapper, "_sock", None)
        if type(sock) is socket.socket:
            sock.__class__ = _PatientSocket
