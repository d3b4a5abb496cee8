"""Where connections come from: the event loop's own calls, aiofastnet's with the same signatures, or the loop's with TLS
of our own.
"""

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from picows import tls

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

    False means the loop's own, and so does None but for TLS on asyncio's selector loops: theirs is written in Python.

    Raises:
        ImportError: True without the aiofastnet package; the message names the extra that installs it.
        TypeError: Neither a bool nor None.
    """
    if use_aiofastnet is not None and not isinstance(use_aiofastnet, bool):
        raise TypeError(f"use_aiofastnet must be True, False or None, not {use_aiofastnet!r}")
    if not use_aiofastnet:
        network = Network(**{name: getattr(loop, name) for name in _CALLS})
        return with_own_tls(network) if use_aiofastnet is None and _is_selector_loop(loop) else network
    try:
        import aiofastnet  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as exc:
        message = "use_aiofastnet=True needs the aiofastnet package: pip install 'picows-aio[aiofastnet]'"
        raise ImportError(message) from exc
    return Network(**{name: functools.partial(getattr(aiofastnet, name), loop) for name in _CALLS})


def _is_selector_loop(loop: asyncio.AbstractEventLoop) -> bool:
    return isinstance(loop, asyncio.SelectorEventLoop)


def with_own_tls(network: Network) -> Network:
    """The same calls; TLS is ours over their plain transports."""
    return Network(
        create_connection=functools.partial(tls.connect, network.create_connection),
        create_unix_connection=functools.partial(tls.connect, network.create_unix_connection),
        start_tls=tls.start_tls,
        create_server=functools.partial(tls.serve, network.create_server),
        create_unix_server=functools.partial(tls.serve, network.create_unix_server),
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


_FAMILIES = {int(family): family for family in socket.AddressFamily}
_KINDS = {int(kind): kind for kind in socket.SocketKind}


class _QuickSocket(socket.socket):
    """A socket whose constants are looked up.

    CPython (3.11 to 3.14) converts them every time, and asyncio asks for several of every connection.
    """

    __slots__ = ()

    @property
    def family(self) -> Any:
        number = super(socket.socket, self).family
        return _FAMILIES.get(number, number)

    @property
    def type(self) -> Any:
        number = super(socket.socket, self).type
        return _KINDS.get(number, number)


class _PatientSocket(_QuickSocket):
    """A listening socket that tells asyncio once a second that descriptors ran out, instead of once for each client.

    asyncio (3.11 to 3.13) waits a second after such an error, but only once it has called ``accept`` as often as the
    backlog is long, and reports and schedules a retry each time.
    """

    __slots__ = ()

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            sock, address = super().accept()
            sock.__class__ = _QuickSocket
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
    for wrapper in server.sockets:
        sock = getattr(wrapper, "_sock", None)
        if type(sock) is socket.socket:
            sock.__class__ = _PatientSocket
