"""Between the core's requests, responses and exceptions, and those of this package."""

from __future__ import annotations

import python_socks
from multidict import CIMultiDict

import picows
from picows_aio.datastructures import Headers
from picows_aio.exceptions import (
    HeaderLineTooLong,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    ProxyError,
    TooManyHeaders,
)
from picows_aio.http11 import Request, Response


def from_core_headers(headers: CIMultiDict[str]) -> Headers:
    """A copy of the headers of a core message, which has checked them."""
    return Headers.wrap(headers.copy())


def from_core_request(request: picows.WSUpgradeRequest) -> Request:
    """A core request."""
    return Request(
        request.path.decode("ascii"),
        from_core_headers(request.headers),
        request.method.decode("ascii"),
        request.version.decode("ascii"),
    )


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


def as_handshake_error(exc: Exception, proxy: str | None) -> Exception:
    """The exception of this package, with its cause, for one that the core raised while connecting.

    Others, those of the operating system among them, stay as they are.

    Args:
        exc: The exception.
        proxy: URL of the proxy, or None.
    """
    error = exc
    if isinstance(exc, picows.WSInvalidURL):
        error = InvalidURI(exc.url, exc.msg)
    elif isinstance(exc, picows.WSInvalidStatusError) and exc.response is not None:
        error = InvalidStatus(from_core_response(exc.response))
    elif isinstance(exc, picows.WSInvalidUpgradeError):
        error = InvalidUpgrade(exc.name, exc.value)
    elif isinstance(exc, picows.WSInvalidHeaderError):
        error = _header_error(exc)
    elif isinstance(exc, picows.WSHandshakeError):
        error = _caused_by(_message_cause(exc), InvalidMessage("did not receive a valid HTTP response"))
    elif isinstance(exc, python_socks.ProxyError):
        error = _proxy_error(exc)
    elif isinstance(exc, ValueError) and proxy is not None and str(exc).startswith("invalid proxy URL"):
        error = InvalidProxy(proxy, str(exc))
    return error


def _caused_by(cause: BaseException, error: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _header_error(exc: picows.WSInvalidHeaderError) -> Exception:
    if exc.response is not None and len(exc.response.headers.getall(exc.name, ())) > 1:
        return InvalidHeader(exc.name, "multiple values")
    if exc.value is None:
        return InvalidHeader(exc.name)
    return InvalidHeaderValue(exc.name, exc.value)


def _message_cause(exc: picows.WSHandshakeError) -> BaseException:
    """What came is not HTTP, is too large, or ended too early."""
    if isinstance(exc.__cause__, EOFError):
        return exc.__cause__
    text = str(exc)
    if "longer than" in text:
        return HeaderLineTooLong(text)
    if "more than" in text:
        return TooManyHeaders(text)
    return ValueError(text)


def _proxy_error(exc: python_socks.ProxyError) -> Exception:
    """What a proxy did; the core tells an HTTP proxy's answer in `reply`, and the text names the proxy."""
    reply = getattr(exc, "reply", None)
    if reply is None:
        kind = "SOCKS proxy" if "proxy socks" in str(exc) else "proxy"
        return _caused_by(exc, ProxyError(f"failed to connect to {kind}"))
    response = _parse_reply(reply)
    if response is None or 200 <= response.status_code < 300:
        return _caused_by(exc, InvalidProxyMessage("did not receive a valid HTTP response from proxy"))
    return _caused_by(exc, InvalidProxyStatus(response))


def _parse_reply(reply: bytes) -> Response | None:
    """The head of an HTTP proxy's answer; None where it is none."""
    status_line, *lines = reply.decode("latin-1").split("\r\n")
    version, _, rest = status_line.partition(" ")
    status, _, reason = rest.partition(" ")
    if not (version.startswith("HTTP/1.") and len(status) == 3 and status.isascii() and status.isdigit()):
        return None
    headers = Headers()
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return Response(int(status), reason, headers)
