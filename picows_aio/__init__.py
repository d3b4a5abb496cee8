"""WebSocket clients and servers for asyncio: the interface of `websockets`, and ``async for`` at callback speed.

Names are imported from their modules when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import picows
from picows.version import __version__

if TYPE_CHECKING:
    from picows_aio.auth import basic_auth
    from picows_aio.broadcast_report import BroadcastReport, SkippedConnection
    from picows_aio.broadcasting import broadcast
    from picows_aio.client import ClientConnection, connect, unix_connect
    from picows_aio.connection_stats import ConnectionStats
    from picows_aio.datastructures import Headers, HeadersLike, MultipleValuesError
    from picows_aio.exceptions import (
        ConcurrencyError,
        ConnectionClosed,
        ConnectionClosedError,
        ConnectionClosedOK,
        DuplicateParameter,
        HeaderLineTooLong,
        InvalidHandshake,
        InvalidHeader,
        InvalidHeaderFormat,
        InvalidHeaderValue,
        InvalidMessage,
        InvalidMethod,
        InvalidOrigin,
        InvalidParameterName,
        InvalidParameterValue,
        InvalidProtocol,
        InvalidProxy,
        InvalidProxyMessage,
        InvalidProxyStatus,
        InvalidState,
        InvalidStatus,
        InvalidUpgrade,
        InvalidURI,
        NegotiationError,
        PayloadTooBig,
        ProtocolError,
        ProxyError,
        RequestLineTooLong,
        SecurityError,
        StatusLineTooLong,
        TooManyFragments,
        TooManyHeaders,
        WebSocketException,
    )
    from picows_aio.frames import Close, CloseCode, Frame, Opcode
    from picows_aio.http11 import Request, Response
    from picows_aio.merging import Merge, merge
    from picows_aio.protocol import State
    from picows_aio.reconnect import backoff, process_exception
    from picows_aio.router import Router, route, unix_route
    from picows_aio.send_policy import PushOutcome, PushStats, SendPolicy
    from picows_aio.server import Server, ServerConnection, serve, unix_serve
    from picows_aio.stream_listener import StreamListener
    from picows_aio.stream_queue import StreamStats
    from picows_aio.streaming import Stream
    from picows_aio.subscription import Gap, StaleError, SubscriptionFailed, SubscriptionState, subscribe
    from picows_aio.typing import (
        BytesLike,
        Data,
        DataLike,
        ExtensionName,
        ExtensionParameter,
        LoggerLike,
        Origin,
        PathLike,
        StatusLike,
        Subprotocol,
    )

__all__ = [
    "BroadcastReport",
    "BytesLike",
    "ClientConnection",
    "Close",
    "CloseCode",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionStats",
    "Data",
    "DataLike",
    "DuplicateParameter",
    "ExtensionName",
    "ExtensionParameter",
    "Frame",
    "Gap",
    "HeaderLineTooLong",
    "Headers",
    "HeadersLike",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "LoggerLike",
    "Merge",
    "MultipleValuesError",
    "NegotiationError",
    "Opcode",
    "Origin",
    "PathLike",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "PushOutcome",
    "PushStats",
    "Request",
    "RequestLineTooLong",
    "Response",
    "Router",
    "SecurityError",
    "SendPolicy",
    "Server",
    "ServerConnection",
    "SkippedConnection",
    "StaleError",
    "State",
    "StatusLike",
    "StatusLineTooLong",
    "Stream",
    "StreamListener",
    "StreamStats",
    "Subprotocol",
    "SubscriptionFailed",
    "SubscriptionState",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
    "__version__",
    "backoff",
    "basic_auth",
    "broadcast",
    "connect",
    "merge",
    "process_exception",
    "route",
    "serve",
    "subscribe",
    "unix_connect",
    "unix_route",
    "unix_serve",
]

if not hasattr(picows, "ServerHandshakePolicy"):
    raise ImportError(
        f"the package picows in {picows.__path__[0]} belongs to another distribution than picows_aio; mend it with: "
        "pip uninstall -y picows && pip install --force-reinstall --no-deps picows-aio"
    )

if not TYPE_CHECKING:
    _MODULES = {
        "asyncio",
        "client",
        "compat",
        "connection",
        "datastructures",
        "exceptions",
        "extensions",
        "frames",
        "headers",
        "http11",
        "protocol",
        "server",
        "typing",
        "uri",
        "version",
    }
    _DEPRECATED = {"InvalidStatusCode", "WebSocketProtocolError"}
    # All other names are exceptions.
    _HOMES = {
        "auth": "basic_auth",
        "broadcast_report": "BroadcastReport SkippedConnection",
        "broadcasting": "broadcast",
        "client": "ClientConnection connect unix_connect",
        "connection_stats": "ConnectionStats",
        "datastructures": "Headers HeadersLike MultipleValuesError",
        "frames": "Close CloseCode Frame Opcode",
        "http11": "Request Response",
        "merging": "Merge merge",
        "protocol": "State",
        "reconnect": "backoff process_exception",
        "router": "Router route unix_route",
        "send_policy": "PushOutcome PushStats SendPolicy",
        "server": "Server ServerConnection serve unix_serve",
        "stream_listener": "StreamListener",
        "stream_queue": "StreamStats",
        "streaming": "Stream",
        "subscription": "Gap StaleError SubscriptionFailed SubscriptionState subscribe",
        "typing": "BytesLike Data DataLike ExtensionName ExtensionParameter LoggerLike Origin PathLike StatusLike"
        " Subprotocol",
    }

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"picows_aio.{name}")
        if name not in __all__ and name not in _DEPRECATED:
            reason = "" if name.startswith("_") else importlib.import_module("picows_aio.compat").explain_absence(name)
            raise AttributeError(reason or f"module 'picows_aio' has no attribute {name!r}")
        home = next((module for module, names in _HOMES.items() if name in names.split()), "exceptions")
        value = getattr(importlib.import_module(f"picows_aio.{home}"), name)
        if name in __all__:
            globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})
