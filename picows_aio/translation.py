"""Between the core's requests, responses and exceptions, and those of this package."""

from __future__ import annotations

from collections.abc import Iterable

import python_socks

import picows
from picows_aio.datastructures import Headers
from picows_aio.exceptions import (
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    ProxyError,
)
from picows_aio.http11 import Response

_NEGOTIATED = frozenset({"sec-websocket-protocol", "sec-websocket-extensions"})


def from_core_headers(headers: Iterable[tuple[str, str]] | object) -> Headers:
    """Headers of a core message."""
    return Headers(list(headers.items()))  # type: ignore[attr-defined]


def from_core_response(response: picows.WSUpgradeResponse) -> Response:
    """A core response."""
    return Response(
        int(response.status), response.reason or "", from_core_headers(response.headers), response.body or b""
    )


def to_core_response(response: Response) -> picows.WSUpgradeResponse:
    """A response for the core to send."""
    core = picows.WSUpgradeResponse(status=response.status_code, body=bytes(response.body) or None)
    core.reason = response.reason_phrase
    core.headers.extend(response.headers.raw_items())
    return core


def as_handshake_error(exc: Exception, uri: str) -> Exception:
    """The exception of this package for one that the core raised while connecting; others as they are."""
    if isinstance(exc, picows.WSInvalidURL):
        return InvalidURI(exc.url, exc.msg)
    if isinstance(exc, picows.WSInvalidStatusError) and exc.response is not None:
        return InvalidStatus(from_core_response(exc.response))
    if isinstance(exc, picows.WSInvalidUpgradeError):
        return InvalidUpgrade(exc.name, exc.value)
    if isinstance(exc, picows.WSInvalidHeaderError):
        return _header_error(exc)
    if isinstance(exc, picows.WSHandshakeError):
        return _message_error(exc)
    if isinstance(exc, python_socks.ProxyError | python_socks.ProxyTimeoutError | python_socks.ProxyConnectionError):
        return ProxyError(f"failed to connect to {uri} through the proxy: {exc}")
    if isinstance(exc, ValueError) and "proxy" in str(exc):
        return InvalidProxy(uri, str(exc))
    return exc


def _header_error(exc: picows.WSInvalidHeaderError) -> Exception:
    if exc.name.lower() in _NEGOTIATED:
        return NegotiationError(str(exc))
    if exc.value is None:
        return InvalidHeader(exc.name)
    return InvalidHeaderValue(exc.name, exc.value)


def _message_error(exc: picows.WSHandshakeError) -> Exception:
    """What came is not HTTP, or ended too early: the cause tells the two apart."""
    error = InvalidMessage("did not receive a valid HTTP response")
    is_eof = "ended" in str(exc) or "closed" in str(exc)
    error.__cause__ = (EOFError if is_eof else ValueError)(str(exc))
    return error
