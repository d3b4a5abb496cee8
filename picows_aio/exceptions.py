"""Exceptions, with the names, arguments and texts that programs for `websockets` know.

.. code-block:: text

    WebSocketException
        ConnectionClosed
            ConnectionClosedOK
            ConnectionClosedError
        InvalidURI
        InvalidProxy
        InvalidHandshake
            SecurityError
                RequestLineTooLong, StatusLineTooLong, HeaderLineTooLong, TooManyHeaders
            ProxyError
                InvalidProxyMessage, InvalidProxyStatus
            InvalidMessage, InvalidMethod, InvalidProtocol, InvalidStatus
            InvalidHeader
                InvalidHeaderFormat, InvalidHeaderValue, InvalidOrigin, InvalidUpgrade
            NegotiationError
                DuplicateParameter, InvalidParameterName, InvalidParameterValue
        ProtocolError
        PayloadTooBig
        TooManyFragments
        InvalidState (an AssertionError too)
        ConcurrencyError (a RuntimeError too)

In a program that also uses the `websockets` package, ``except websockets.ConnectionClosed`` catches ours: each class
becomes a subclass of the one of the same name there. That happens when the first exception is created after the
program has imported `websockets`, and costs nothing in a program that does not (docs/design/0005).
"""

from __future__ import annotations

import copyreg
import importlib
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from picows_aio.datastructures import Headers
    from picows_aio.frames import Close
    from picows_aio.http11 import Response

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DuplicateParameter",
    "HeaderLineTooLong",
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
    "NegotiationError",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RequestLineTooLong",
    "SecurityError",
    "StatusLineTooLong",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
]

_ABNORMAL_CLOSURE = 1006  # RFC 6455 section 7.4.1: there was no CLOSE frame
_USER_INFO = re.compile(r"//[^/?#]*@")


def _without_user_info(uri: object) -> str:
    return _USER_INFO.sub("//***@", str(uri))


class _Layout(Exception):
    """Keeps the memory layout of `WebSocketException` while its bases change."""


class WebSocketException(_Layout):
    """Base class of all exceptions of this package."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Create the exception, of classes that the program can catch by either name."""
        _link_to_websockets()
        return super().__new__(cls, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # Not through __init__, whose parameters need not be the positional arguments that made `args`.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConnectionClosed(WebSocketException):
    """The connection is closed, or was closed meanwhile.

    Attributes:
        rcvd: Code and reason of the CLOSE frame that was received, or None.
        sent: Code and reason of the CLOSE frame that was sent, or None.
        rcvd_then_sent: Which came first; None unless there were both.
    """

    def __init__(self, rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None = None) -> None:
        if (rcvd_then_sent is None) is not (rcvd is None or sent is None):
            raise ValueError("rcvd_then_sent is for a CLOSE frame in each direction: True or False then, else None")
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    def __str__(self) -> str:
        if self.rcvd is None:
            return f"sent {self.sent}; no close frame received" if self.sent else "no close frame received or sent"
        if self.sent is None:
            return f"received {self.rcvd}; no close frame sent"
        if self.rcvd_then_sent:
            return f"received {self.rcvd}; then sent {self.sent}"
        return f"sent {self.sent}; then received {self.rcvd}"

    @property
    def code(self) -> int:
        """Code of the CLOSE frame that was received, 1006 without one.

        Deprecated: use `rcvd`, or `close_code` of the connection.
        """
        message = "ConnectionClosed.code is deprecated; use Connection.close_code or ConnectionClosed.rcvd.code"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return _ABNORMAL_CLOSURE if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """Reason of the CLOSE frame that was received, empty without one.

        Deprecated: use `rcvd`, or `close_reason` of the connection.
        """
        message = "ConnectionClosed.reason is deprecated; use Connection.close_reason or ConnectionClosed.rcvd.reason"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return "" if self.rcvd is None else self.rcvd.reason


class ConnectionClosedOK(ConnectionClosed):
    """The connection was closed properly: CLOSE frames with 1000, 1001 or no code went both ways."""


class ConnectionClosedError(ConnectionClosed):
    """The connection was closed with an error code, or broke off."""


class InvalidURI(WebSocketException):
    """The URI is not a WebSocket URI (RFC 6455 section 3).

    Attributes:
        uri: The URI as it was given; the text of the exception leaves out its user and password.
        msg: What is wrong with it.
    """

    def __init__(self, uri: str, msg: str) -> None:
        self.uri = uri
        self.msg = msg

    def __str__(self) -> str:
        return f"{_without_user_info(self.uri)} isn't a valid URI: {self.msg}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_without_user_info(self.uri)!r}, {self.msg!r})"


class InvalidProxy(WebSocketException):
    """The URL of a proxy cannot be used.

    Attributes:
        proxy: The URL as it was given; the text of the exception leaves out its user and password.
        msg: What is wrong with it.
    """

    def __init__(self, proxy: str, msg: str) -> None:
        self.proxy = proxy
        self.msg = msg

    def __str__(self) -> str:
        return f"{_without_user_info(self.proxy)} isn't a valid proxy: {self.msg}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_without_user_info(self.proxy)!r}, {self.msg!r})"


class InvalidHandshake(WebSocketException):
    """Base class for a failure of the opening handshake (RFC 6455 section 4)."""


class SecurityError(InvalidHandshake):
    """Going on would break a rule that protects this program."""


class RequestLineTooLong(SecurityError):
    """The request line is longer than the limit (414)."""


class StatusLineTooLong(SecurityError):
    """The status line is longer than the limit."""


class HeaderLineTooLong(SecurityError):
    """A header line is longer than the limit (431)."""


class TooManyHeaders(SecurityError):
    """There are more headers than the limit (431)."""


class ProxyError(InvalidHandshake):
    """The proxy did not open a tunnel."""


class InvalidProxyMessage(ProxyError):
    """The proxy's answer is not an HTTP response."""


class InvalidProxyStatus(ProxyError):
    """The proxy refused.

    Attributes:
        response: Its response.
    """

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"proxy rejected connection: HTTP {self.response.status_code:d}"


class InvalidMessage(InvalidHandshake):
    """The handshake message is not HTTP, or the connection ended inside it."""


class InvalidMethod(InvalidHandshake):
    """The request has another method than GET (405).

    Attributes:
        method: The method.
    """

    def __init__(self, method: str) -> None:
        self.method = method

    def __str__(self) -> str:
        return f"unsupported HTTP method: {self.method}"


class InvalidProtocol(InvalidHandshake):
    """The request has another version of HTTP than 1.1 (505).

    Attributes:
        protocol: The version, for example "HTTP/1.0".
    """

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    def __str__(self) -> str:
        return f"unsupported HTTP version: {self.protocol}"


class InvalidStatus(InvalidHandshake):
    """The server answered with another status than 101.

    Attributes:
        response: Its response, with the body.
    """

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"server rejected WebSocket connection: HTTP {self.response.status_code:d}"

    @property
    def status_code(self) -> int:
        """Status of the response, as `InvalidStatusCode` had it."""
        return self.response.status_code

    @property
    def headers(self) -> Headers:
        """Headers of the response, as `InvalidStatusCode` had them."""
        return self.response.headers


class InvalidHeader(InvalidHandshake):
    """A header is missing, empty or not as it should be.

    Attributes:
        name: Name of the header.
        value: Its value, or None if it is missing.
    """

    def __init__(self, name: str, value: str | None = None) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        if self.value is None:
            return f"missing {self.name} header"
        if self.value == "":
            return f"empty {self.name} header"
        return f"invalid {self.name} header: {self.value}"


class InvalidHeaderFormat(InvalidHeader):
    """A header does not follow its grammar.

    Attributes:
        name: Name of the header.
        value: What was expected, at which offset, and the whole value.
    """

    def __init__(self, name: str, error: str, header: str, pos: int) -> None:
        super().__init__(name, f"{error} at {pos} in {header}")


class InvalidHeaderValue(InvalidHeader):
    """A header follows its grammar and says something that is not acceptable."""


class InvalidOrigin(InvalidHeader):
    """The Origin of the request is not one the server accepts (403)."""

    def __init__(self, origin: str | None) -> None:
        super().__init__("Origin", origin)


class InvalidUpgrade(InvalidHeader):
    """The Upgrade or the Connection header does not announce a switch to WebSocket (426)."""


class NegotiationError(InvalidHandshake):
    """There is no agreement on a subprotocol or an extension."""


class DuplicateParameter(NegotiationError):
    """An extension has a parameter twice.

    Attributes:
        name: Name of the parameter.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"duplicate parameter: {self.name}"


class InvalidParameterName(NegotiationError):
    """An extension does not have this parameter.

    Attributes:
        name: Name of the parameter.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"invalid parameter name: {self.name}"


class InvalidParameterValue(NegotiationError):
    """A parameter of an extension has a value it cannot have.

    Attributes:
        name: Name of the parameter.
        value: Its value, or None if it has none.
    """

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        if self.value is None:
            return f"missing value for parameter {self.name}"
        if self.value == "":
            return f"empty value for parameter {self.name}"
        return f"invalid value for parameter {self.name}: {self.value}"


class ProtocolError(WebSocketException):
    """Frames break RFC 6455 (close code 1002)."""


class PayloadTooBig(WebSocketException):
    """A message or a frame is larger than `max_size` (close code 1009).

    A single text instead of the sizes is deprecated.

    Args:
        size_or_message: Bytes of the frame; None if only the limit is known.
        max_size: Bytes that were still allowed.
        current_size: Bytes of the message before this frame, or None if it is the first.

    Attributes:
        size: Bytes of the frame, or None.
        max_size: The limit for the whole message in bytes, or None if only a text is known.
        current_size: Bytes of the message before this frame, or None.
        message: The text, or None.
    """

    message: str | None = None
    size: int | None = None
    max_size: int | None = None
    current_size: int | None = None

    def __init__(
        self, size_or_message: int | str | None, max_size: int | None = None, current_size: int | None = None
    ) -> None:
        if isinstance(size_or_message, str):
            message = "PayloadTooBig(message) is deprecated; use PayloadTooBig(size, max_size)"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            self.message = size_or_message
            return
        if max_size is None:
            raise TypeError("PayloadTooBig(size, max_size) needs max_size, the bytes that were allowed")
        self.size = size_or_message
        self.max_size = max_size + (current_size or 0)
        self.current_size = current_size

    def __str__(self) -> str:
        if self.message is not None:
            return self.message
        size = "" if self.size is None else f" with {self.size} bytes"
        before = "" if self.current_size is None else f" after reading {self.current_size} bytes"
        return f"frame{size}{before} exceeds limit of {self.max_size} bytes"


class TooManyFragments(WebSocketException):
    """A message comes in more frames than allowed (close code 1009).

    Attributes:
        max_fragments: The limit.
    """

    def __init__(self, max_fragments: int) -> None:
        self.max_fragments = max_fragments

    def __str__(self) -> str:
        return f"fragmented message exceeds limit of {self.max_fragments} frames"


class InvalidState(WebSocketException, AssertionError):
    """The state of the connection forbids the call."""


class ConcurrencyError(WebSocketException, RuntimeError):
    """Two tasks receive, or send fragments, at the same time."""


def _link_to_websockets() -> None:
    """Make each class a subclass of its namesake in `websockets`, once the program has imported that."""
    if "websockets" not in sys.modules:
        return
    try:
        theirs = importlib.import_module("websockets.exceptions")
    except Exception:
        # Whatever keeps that package from working is no reason to fail where an exception of ours is being raised.
        return
    # Linked already, or `websockets` is this package: see picows_aio.compat.install().
    if issubclass(WebSocketException, getattr(theirs, "WebSocketException", WebSocketException)):
        return
    # Base classes first: a class can follow its namesake only after its own base has.
    for ours in sorted(map(globals().__getitem__, __all__), key=lambda ours: len(ours.__mro__)):
        namesake = getattr(theirs, ours.__name__, None)
        if isinstance(namesake, type) and issubclass(namesake, Exception):
            _add_base(ours, namesake)


def _add_base(ours: type[WebSocketException], namesake: type[Exception]) -> None:
    kept = tuple(base for base in ours.__bases__ if not issubclass(namesake, base))
    try:
        ours.__bases__ = (*kept, namesake)
    except TypeError:
        # A class of the program derives from both in the other order. It is caught as either anyway.
        return


if TYPE_CHECKING:
    InvalidStatusCode = InvalidStatus
    WebSocketProtocolError = ProtocolError
else:
    _RENAMED = {"InvalidStatusCode": "InvalidStatus", "WebSocketProtocolError": "ProtocolError"}

    def __getattr__(name: str) -> type[WebSocketException]:
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(f"{name} is deprecated; use {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return globals()[_RENAMED[name]]
