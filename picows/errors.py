"""Exceptions of picows. Everything the package itself raises because of the peer derives from `WSError`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picows.http_message import WSUpgradeResponse

_USER_INFO = re.compile(r"^((?:[^:/?#@]*:)?(?://)?)[^/?#]*@")


class WSError(Exception):
    """Base class of the errors that are specific to WebSocket.

    Errors of the operating system (`ConnectionResetError`, `ssl.SSLError`, ...) are not wrapped and do not derive
    from it.
    """


class WSProtocolError(WSError):
    """The stream of frames broke RFC 6455 or a limit.

    A listener may raise it from a callback to pick the close code and reason of the CLOSE frame that is sent.

    Attributes:
        code: Close code for the CLOSE frame (`WSCloseCode` or int).
        message: What was wrong; becomes the reason of the CLOSE frame.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class WSInvalidURL(WSError):
    """A URL is not a WebSocket URL (RFC 6455 section 3).

    Attributes:
        url: The URL as it was given. `str()` of the error leaves out its user and password.
        msg: What was wrong with it.
    """

    def __init__(self, url: str, msg: str) -> None:
        super().__init__(url, msg)
        self.url = url
        self.msg = msg

    def __str__(self) -> str:
        without_secrets = _USER_INFO.sub(r"\1***@", self.url)
        return f"{without_secrets!r} isn't a valid WebSocket URL: {self.msg}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class WSHandshakeError(WSError):
    """The opening handshake (RFC 6455 section 4) failed.

    Attributes:
        raw_header: Head of the peer's HTTP message as it was received, or None if nothing usable came.
        raw_body: Body that followed, without its chunked framing, or None.
        response: The parsed response, or None if there is none.
    """

    def __init__(
        self,
        description: str,
        raw_header: bytes | None = None,
        raw_body: bytes | None = None,
        response: WSUpgradeResponse | None = None,
    ) -> None:
        super().__init__(description)
        self.raw_header = raw_header
        self.raw_body = raw_body
        self.response = response

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.raw_header, self.raw_body, self.response)


class WSInvalidMessageError(WSHandshakeError):
    """The peer's handshake is not a valid HTTP/1.1 message, or the connection ended inside it."""


class WSInvalidStatusError(WSHandshakeError):
    """The server answered with another status than 101; `response` holds its status, headers and body."""


class WSInvalidHeaderError(WSHandshakeError):
    """A header of the handshake is missing, repeated or has a value that RFC 6455 does not allow.

    Attributes:
        name: Name of the header.
        value: Its value as received, or None if the header is missing.
    """

    def __init__(
        self,
        description: str,
        name: str,
        value: str | None = None,
        raw_header: bytes | None = None,
        raw_body: bytes | None = None,
        response: WSUpgradeResponse | None = None,
    ) -> None:
        super().__init__(description, raw_header, raw_body, response)
        self.name = name
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.name, self.value, self.raw_header, self.raw_body, self.response)


class WSInvalidUpgradeError(WSInvalidHeaderError):
    """The Upgrade or the Connection header does not announce a switch to WebSocket."""
