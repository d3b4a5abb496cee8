"""HTTP messages of the opening handshake as objects, and their encoding (RFC 9110, RFC 9112)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

if TYPE_CHECKING:
    from picows.upgrade_request import UpgradeOffer

HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]

# Grammar of RFC 9110 section 5 and RFC 9112 sections 3 and 4, for the reader and the writer alike.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD_VALUE = r"[\t -~\x80-\xff]*"
# As many matches as line ends mean that every line is a field. Possessive quantifiers keep the search linear: spaces
# would match both before the value and in it. A value with space after it is left to FIELD_LINE.
FIELD_LINES = re.compile(rf"^({TOKEN}):[ \t]*+({FIELD_VALUE}+)(?<![ \t])\r\n", re.MULTILINE)
FIELD_LINE = re.compile(rf"({TOKEN}):[ \t]*+({FIELD_VALUE}+)")
# A path, * or an absolute URI (RFC 9112 section 3.2) of any visible octets but the number sign: browsers do not encode
# all those that RFC 3986 wants encoded.
_TARGET = r'/[!"$-~]*|\*|[A-Za-z][A-Za-z0-9+.\-]*://[!"$-~]+'
REQUEST_LINE = re.compile(rf"({TOKEN}) ({_TARGET}) (HTTP/[0-9]\.[0-9])\r\n".encode())
# Servers differ in the space before an empty reason phrase.
STATUS_LINE = re.compile(rf"(HTTP/[0-9]\.[0-9]) ([1-9][0-9][0-9])(?: ({FIELD_VALUE}))?\r\n".encode("latin-1"))
_FIELD_NAME = re.compile(TOKEN)
_BAD_VALUE_CHARACTER = re.compile(r"[^\t -~\x80-\xff]")


@dataclass(slots=True, eq=False)
class WSUpgradeRequest:
    """An HTTP request: the upgrade request of a handshake, or a plain one on the same port.

    Attributes:
        method: Method as sent, for example b"GET".
        path: Request target as sent: path and query, percent-encoded.
        version: b"HTTP/1.1" or b"HTTP/1.0".
        headers: Header fields in the order they came; names compare without case, values are latin-1.
        transport: On a server, the asyncio transport it came over, until it is answered; else None.
        head: Octets of the head that `headers` are parsed from when they are asked for; else empty.
        offer: What it asks for, where it is an upgrade request in the usual form and nobody has asked for `headers`,
            which could be changed; else None.
    """

    method: bytes = b"GET"
    path: bytes = b"/"
    version: bytes = b"HTTP/1.1"
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict, repr=False)
    transport: Any = field(default=None, repr=False)
    head: bytes = field(default=b"", init=False, repr=False)
    offer: UpgradeOffer | None = field(default=None, init=False, repr=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> CIMultiDict[str]:
            """Called for what is missing: `headers` of a request that was read and not looked at yet."""
            if name != "headers":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            self.offer = None
            self.headers = CIMultiDict(FIELD_LINES.findall(self.head.decode("latin-1")))
            return self.headers

    def to_bytes(self) -> bytes:
        """Encode the head.

        Raises:
            ValueError: The request line or a header holds what HTTP does not allow there.
            TypeError: The name or value of a header is not a str.
        """
        line = b"%b %b %b\r\n" % (self.method, self.path, self.version)
        if REQUEST_LINE.fullmatch(line) is None:
            raise ValueError(f"{line!r} is not a request line")
        return b"%b%b\r\n" % (line, encode_headers(self.headers))


@dataclass(slots=True, eq=False)
class WSUpgradeResponse:
    """An HTTP response: 101 completes the opening handshake, any other status refuses it.

    Attributes:
        version: b"HTTP/1.1", or b"HTTP/1.0" from an old peer.
        status: `http.HTTPStatus`; a plain int if the code is not one Python knows.
        headers: Header fields in order; names compare without case, values are latin-1.
        body: Content, or None.
        reason: Reason phrase as received; None stands for the standard one.
    """

    version: bytes = b"HTTP/1.1"
    status: HTTPStatus | int = HTTPStatus.SWITCHING_PROTOCOLS
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    reason: str | None = None

    @staticmethod
    def create_101_response(extra_headers: HeadersLike | None = None) -> WSUpgradeResponse:
        """Create the response that opens a WebSocket; the server adds Sec-WebSocket-Accept.

        Args:
            extra_headers: For example Sec-WebSocket-Protocol or Set-Cookie.

        Raises:
            ValueError: A header is not one HTTP can carry; the message names it.
            TypeError: A header's name or value is not a str.
        """
        headers = copy_headers(extra_headers)
        headers.setdefault("Connection", "upgrade")
        headers.setdefault("Upgrade", "websocket")
        return WSUpgradeResponse(status=HTTPStatus.SWITCHING_PROTOCOLS, headers=headers)

    @staticmethod
    def create_ok_response(body: bytes | None = None, extra_headers: HeadersLike | None = None) -> WSUpgradeResponse:
        """Create a 200 response, for example to a health check.

        Args:
            body: Content; Content-Type is text/plain in UTF-8 unless extra_headers say otherwise.
            extra_headers: More headers.

        Raises:
            ValueError: A header is not one HTTP can carry; the message names it.
            TypeError: A header's name or value is not a str.
        """
        return _create_response(HTTPStatus.OK, body, extra_headers, "text/plain; charset=utf-8")

    @staticmethod
    def create_error_response(
        status: int, body: bytes | None = None, extra_headers: HeadersLike | None = None
    ) -> WSUpgradeResponse:
        """Create a response that refuses the request.

        Args:
            status: 400 to 599.
            body: Content; Content-Type is text/plain unless extra_headers say otherwise.
            extra_headers: More headers.

        Raises:
            ValueError: The status is no error status, or a header is not one HTTP can carry.
            TypeError: A header's name or value is not a str, or the body is not bytes.
        """
        if not 400 <= status <= 599:
            raise ValueError(f"status of an error response must be 400 to 599, not {status}")
        return _create_response(status, body, extra_headers, "text/plain" if body else None)

    @staticmethod
    def create_redirect_response(
        status: int, location: str, extra_headers: HeadersLike | None = None
    ) -> WSUpgradeResponse:
        """Create a response that sends the client elsewhere.

        Args:
            status: 300 to 399.
            location: URI of the new target, percent-encoded.
            extra_headers: More headers.

        Raises:
            ValueError: The status is no redirection, or a header is not one HTTP can carry.
            TypeError: A header's name or value is not a str.
        """
        if not 300 <= status <= 399:
            raise ValueError(f"status of a redirect response must be 300 to 399, not {status}")
        check_header("Location", location)
        response = _create_response(status, None, extra_headers, None)
        response.headers["Location"] = location
        return response

    def to_bytes(self) -> bytes:
        """Encode head and body as they are, adding Content-Length for a body that lacks it.

        Raises:
            ValueError: The status or a header is not one HTTP can carry; the message names the header.
            TypeError: The name or value of a header is not a str.
        """
        line = _encode_status_line(self.version, self.status, self.reason)
        fields = encode_headers(self.headers)
        body = self.body or b""
        if body and "Content-Length" not in self.headers:
            fields += b"Content-Length: %d\r\n" % len(body)
        return b"%b%b\r\n%b" % (line, fields, body)


def _create_response(
    status: int, body: bytes | None, extra_headers: HeadersLike | None, content_type: str | None
) -> WSUpgradeResponse:
    if body is not None:
        body = bytes(memoryview(body))
    headers = copy_headers(extra_headers)
    if content_type is not None:
        headers.setdefault("Content-Type", content_type)
    return WSUpgradeResponse(status=to_status(status), headers=headers, body=body)


@functools.lru_cache(maxsize=64)
def _encode_status_line(version: bytes, status: int, reason: str | None) -> bytes:
    phrase = get_reason_phrase(status) if reason is None else reason
    line = b"%b %d %b\r\n" % (version, status, phrase.encode("latin-1"))
    if STATUS_LINE.fullmatch(line) is None:
        raise ValueError(f"{line!r} is not a status line")
    return line


def to_status(code: int) -> HTTPStatus | int:
    """The HTTPStatus of a code, or the code itself if Python knows no such status."""
    try:
        return HTTPStatus(code)
    except ValueError:
        return code


def get_reason_phrase(status: int) -> str:
    """The standard reason phrase; empty for a code without one."""
    known = status if isinstance(status, HTTPStatus) else to_status(status)
    return known.phrase if isinstance(known, HTTPStatus) else ""


def shorten(text: str | bytes | bytearray) -> str:
    """A printable, short form of what a peer sent."""
    if not isinstance(text, str):
        text = text.decode("latin-1")
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def split_list(lines: Iterable[str]) -> list[str]:
    """Elements of a header that is a comma-separated list, spread over any number of lines.

    Empty elements are skipped (RFC 9110 section 5.6.1).
    """
    return [item for part in ",".join(lines).split(",") if (item := part.strip(" \t"))]


def split_tokens(lines: Iterable[str]) -> list[str]:
    """Lower-case elements of a list whose elements compare without case."""
    return [item for part in ",".join(lines).lower().split(",") if (item := part.strip(" \t"))]


def explain_header(name: str, value: str) -> str:
    """What keeps a name and a value from being a header, or "". Leaves out the value, which may be secret."""
    if _FIELD_NAME.fullmatch(name) is None:
        return f"header name {shorten(name)} is not a token (RFC 9110 section 5.1)"
    bad = _BAD_VALUE_CHARACTER.search(value)
    return f"value of header {name} holds {bad[0]!r} at position {bad.start()}" if bad else ""


def check_header(name: object, value: object) -> None:
    """Check one header field (RFC 9110 section 5).

    Raises:
        TypeError: Name or value is not a str.
        ValueError: The name is not a token, or the value holds CR, LF, NUL or another character HTTP does not allow.
    """
    if not isinstance(name, str):
        raise TypeError(f"header name {name!r} must be a str, not {type(name).__name__}")
    if not isinstance(value, str):
        raise TypeError(f"value of header {name} must be a str, not {type(value).__name__}")
    fault = explain_header(name, value)
    if fault:
        raise ValueError(fault)


def copy_headers(headers: HeadersLike | None) -> CIMultiDict[str]:
    """Copy headers the user supplied, checked.

    Raises:
        TypeError: They are neither a mapping nor pairs, or a name or value is not a str.
        ValueError: A header is not one HTTP can carry; the message names it.
    """
    copy: CIMultiDict[str] = CIMultiDict()
    for pair in headers.items() if isinstance(headers, Mapping) else headers or ():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers must be a mapping or pairs of name and value, not hold a {type(pair).__name__}")
        check_header(*pair)
        copy.add(*pair)
    return copy


def encode_headers(headers: CIMultiDict[str]) -> bytes:
    """Encode header lines, without the empty line that ends a head.

    Raises:
        TypeError: A name or value is not a str.
        ValueError: A header is not one HTTP can carry; the message names it.
    """
    fields = list(headers.items())
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    # A reader must find in the lines just these fields. It may strip a value, so a difference is not yet an error.
    if FIELD_LINES.findall(lines) != fields:
        for name, value in fields:
            check_header(name, value)
    return lines.encode("latin-1")
