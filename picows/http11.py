"""Incremental, strict readers of HTTP/1.1 heads and of the bodies of refusals (RFC 9110, RFC 9112).

A reader waits for a head, then, unless the response is 101, for the end of the body; `feed` and `eof` move it. What
it accepts or refuses, and why, depends on the octets alone, never on how the stream was cut. A whole head in one
piece, nearly always the case, is matched by one regular expression; all else goes line by line as the octets come.
After an error, or once it has returned a message, a reader is done and not fed again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import ClassVar, NoReturn

from multidict import CIMultiDict

from picows.errors import WSInvalidMessageError
from picows.http_body import Body, ChunkedBody, FixedBody, UntilEofBody
from picows.http_message import (
    FIELD_LINE,
    FIELD_LINES,
    REQUEST_LINE,
    STATUS_LINE,
    HeadersLike,
    WSUpgradeRequest,
    WSUpgradeResponse,
    explain_header,
    shorten,
    split_tokens,
    to_status,
)

__all__ = [
    "HeadError",
    "HeadLimits",
    "HeadersLike",
    "RequestReader",
    "ResponseReader",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
]

_HOST = re.compile(r"(?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_MAX_INTERIM = 16
_NO_BODY = frozenset({101, 204, 304})


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds on what a peer may send before the connection is open.

    Attributes:
        max_line_size: Bytes of the first line or of one header line, without the line end.
        max_header_count: Header lines of one head.
        max_head_size: Bytes of the whole head, line ends included. The default is what nginx takes by default (four
            buffers of 8 KiB): what passes the usual front end passes here.
        max_body_size: Bytes kept of the body of a response that refuses the upgrade; the rest is cut off.
    """

    max_line_size: int = 8192
    max_header_count: int = 128
    max_head_size: int = 32768
    max_body_size: int = 1048576

    def __post_init__(self) -> None:
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ValueError(f"{limit.name} must be positive, not {getattr(self, limit.name)}")


class HeadError(WSInvalidMessageError):
    """A request cannot be served.

    Attributes:
        status: HTTP status that answers it.
    """

    def __init__(self, status: int, message: str, raw_header: bytes | None = None) -> None:
        super().__init__(message, raw_header)
        self.status = status

    def __reduce__(self) -> tuple[type[HeadError], tuple[int, str, bytes | None]]:
        return type(self), (self.status, str(self), self.raw_header)


class _HeadReader:
    """Collects a head, within limits, and splits it into its first line and its fields."""

    _first_line: ClassVar[re.Pattern[bytes]]

    def __init__(self, limits: HeadLimits) -> None:
        self.rest = b""
        self._limits = limits
        self._buffer = bytearray()
        self._line_pos = 0  # start of the line that is still incomplete
        self._searched_end = 0  # no line end between _line_pos and here
        self._start: re.Match[bytes] | None = None
        self._fields: list[tuple[str, str]] = []

    @property
    def raw_header(self) -> bytes:
        """The head as received so far, its closing empty line included."""
        return bytes(self._buffer[: self._limits.max_head_size])

    def _feed_head(self, data: bytes) -> bool:
        """Take the next octets; True when the head is complete. Octets after it are then in `rest`."""
        if not self._buffer and self._take_whole(data):
            return True
        self._buffer += data
        while (line := self._next_line()) is not None:
            if line == b"\r\n":
                self.rest = bytes(self._buffer[self._line_pos :])
                del self._buffer[self._line_pos :]
                return True
            if self._start is None:
                self._start = self._parse_first_line(line)
            else:
                self._fields.append(self._parse_field(line))
        return False

    def _take_whole(self, data: bytes) -> bool:
        """Accept a flawless head in one piece. Refuses nothing: False leaves the verdict to the line by line way."""
        limits = self._limits
        start = self._first_line.match(data)
        if start is None:
            return False
        lines_pos = start.end()
        end = data.find(b"\r\n\r\n", lines_pos - 2, min(limits.max_line_size, limits.max_head_size))
        if end < 0:
            return False
        lines = data[lines_pos : end + 2].decode("latin-1")
        fields = FIELD_LINES.findall(lines)
        # A match takes exactly one line, so as many matches as lines leave nothing unmatched.
        if len(fields) != lines.count("\n") or len(fields) > limits.max_header_count:
            return False
        self._check_first_line(start)
        self._start = start
        self._fields = fields
        self._buffer += data[: end + 4]
        self.rest = data[end + 4 :]
        return True

    def _next_line(self) -> bytes | None:
        """Next complete line with its CRLF, or None until more octets arrive."""
        limits = self._limits
        if self._start is None:
            self._check_start(self._buffer)
        line_limit = self._line_pos + limits.max_line_size + 2
        stop = min(line_limit, limits.max_head_size)
        end = self._buffer.find(b"\n", self._searched_end, stop)
        if end < 0:
            if len(self._buffer) >= stop:
                self._fail_too_large(stop == line_limit)
            self._searched_end = len(self._buffer)
            return None
        line = bytes(self._buffer[self._line_pos : end + 1])
        self._line_pos = self._searched_end = end + 1
        # RFC 9112 section 2.2 lets a recipient take a bare LF for a line end; where two recipients differ, smuggling
        # begins.
        if not line.endswith(b"\r\n"):
            self._fail(400, f"line {shorten(line[:-1])} ends in LF without CR")
        return line

    def _parse_first_line(self, line: bytes) -> re.Match[bytes]:
        start = self._first_line.fullmatch(line)
        if start is None:
            self._fail(400, f"invalid first line {shorten(line[:-2])}")
        self._check_first_line(start)
        return start

    def _parse_field(self, line: bytes) -> tuple[str, str]:
        if len(self._fields) >= self._limits.max_header_count:
            self._fail(431, f"more than {self._limits.max_header_count} header lines")
        text = line[:-2].decode("latin-1")
        match = FIELD_LINE.fullmatch(text)
        if match is None:
            self._fail(400, _explain_field(text))
        return match[1], match[2].rstrip(" \t")

    def _content_length(self, headers: CIMultiDict[str]) -> int | None:
        """Value of Content-Length, None without one (RFC 9112 section 6.3)."""
        values = headers.getall("Content-Length", None)
        if values is None:
            return None
        if "Transfer-Encoding" in headers:
            self._fail(400, "both Content-Length and Transfer-Encoding")
        # The RFC allows to merge equal values; a message that has two was put together by somebody confused.
        if len(values) > 1:
            self._fail(400, f"Content-Length sent {len(values)} times")
        if _LENGTH.fullmatch(values[0]) is None:
            self._fail(400, f"Content-Length {shorten(values[0])} is not a length")
        return int(values[0])

    def _restart(self) -> bytes:
        """Forget the head just read; returns the octets after it."""
        rest, self.rest = self.rest, b""
        self._buffer.clear()
        self._line_pos = self._searched_end = 0
        self._start = None
        self._fields = []
        return rest

    def _fail_too_large(self, is_line: bool) -> NoReturn:
        limits = self._limits
        what, size = ("line", limits.max_line_size) if is_line else ("head", limits.max_head_size)
        self._fail(414 if self._start is None else 431, f"{what} is longer than {size} bytes")

    def _check_start(self, head: bytearray) -> None:
        """Fail as soon as the first octets cannot begin a message, rather than wait for a line end."""
        raise NotImplementedError

    def _check_first_line(self, start: re.Match[bytes]) -> None:
        raise NotImplementedError

    def _fail(self, status: int, message: str) -> NoReturn:
        raise NotImplementedError


class RequestReader(_HeadReader):
    """Reads the one request of an opening handshake. A request with a body is refused, whatever its method."""

    _first_line = REQUEST_LINE

    def feed(self, data: bytes) -> WSUpgradeRequest | None:
        """Take the next octets; the request when its head is complete, then octets after it are in `rest`.

        Raises:
            HeadError: What came is no request we can serve; `status` says how to answer.
        """
        if not self._feed_head(data):
            return None
        assert self._start is not None
        method, path, version = self._start.groups()
        headers = CIMultiDict(self._fields)
        self._check_host(headers, version)
        if "Content-Length" in headers or "Transfer-Encoding" in headers:
            self._refuse_body(headers)
        return WSUpgradeRequest(method, path, version, headers)

    def _check_start(self, head: bytearray) -> None:
        if head.startswith(b"\x16"):
            self._fail(400, "this is a TLS handshake, sent to a port without TLS")
        if head and not 0x20 < head[0] < 0x7F:
            self._fail(400, f"a request does not begin with {bytes(head[:1])!r}")

    def _check_first_line(self, start: re.Match[bytes]) -> None:
        # RFC 9110 section 2.5: a higher minor version is read as the one we know.
        if not start[3].startswith(b"HTTP/1."):
            self._fail(505, f"{start[3].decode()} is not HTTP/1.1")

    def _check_host(self, headers: CIMultiDict[str], version: bytes) -> None:
        """RFC 9112 section 3.2: a request without exactly one valid Host is answered with 400."""
        values = headers.getall("Host", ())
        if len(values) != 1:
            if values or version != b"HTTP/1.0":
                self._fail(400, f"{len(values)} Host headers, expected one")
        elif _HOST.fullmatch(values[0]) is None:
            self._fail(400, f"Host {shorten(values[0])} is not a host and port")

    def _refuse_body(self, headers: CIMultiDict[str]) -> None:
        if self._content_length(headers) == 0:
            return
        codings = split_tokens(headers.getall("Transfer-Encoding", ()))
        # RFC 9112 section 6.1: 501 for a coding the server does not understand.
        if codings and codings != ["chunked"]:
            self._fail(501, f"transfer coding {shorten(', '.join(codings))} is not supported")
        self._fail(413, "a request with a body is not served here")

    def _fail(self, status: int, message: str) -> NoReturn:
        raise HeadError(status, message, self.raw_header)


class ResponseReader(_HeadReader):
    """Reads the response to an upgrade request, with its body unless it is 101."""

    _first_line = STATUS_LINE

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits)
        self._response: WSUpgradeResponse | None = None
        self._body: Body | None = None
        self._interim_left = _MAX_INTERIM

    @property
    def raw_body(self) -> bytes | None:
        """Body received so far without its framing, or None if there is none."""
        return None if self._body is None else bytes(self._body.content)

    def feed(self, data: bytes) -> WSUpgradeResponse | None:
        """Take the next octets; the response when it is complete, after a 101 with the octets after it in `rest`.

        A few interim responses such as 103 are skipped (RFC 9110 section 15.2).

        Raises:
            WSInvalidMessageError: What came is no valid response.
        """
        while self._response is None:
            if not self._feed_head(data):
                return None
            assert self._start is not None
            status = int(self._start[2])
            if status >= 200 or status == 101:
                self._begin_response(status)
                data, self.rest = self.rest, b"" if self._body else self.rest
            else:
                data = self._skip_interim()
        if self._body is not None:
            self._feed_body(self._body, data)
            if not self._body.is_complete:
                return None
        return self._finish()

    def eof(self) -> WSUpgradeResponse:
        """The connection has ended; the response if that is how its body ends.

        Raises:
            WSInvalidMessageError: It is incomplete; caused by an EOFError.
        """
        if self._body is None:
            what = f"after {shorten(self._buffer)}" if self._buffer else "before the first byte"
            self._fail_eof(f"connection closed {what}")
        try:
            self._body.eof()
        except ValueError as exc:
            self._fail_eof(str(exc))
        return self._finish()

    def _begin_response(self, status: int) -> None:
        assert self._start is not None
        headers = CIMultiDict(self._fields)
        self._response = WSUpgradeResponse(
            self._start[1], to_status(status), headers, reason=(self._start[3] or b"").decode("latin-1")
        )
        if status not in _NO_BODY:
            self._body = self._select_body(headers)

    def _select_body(self, headers: CIMultiDict[str]) -> Body:
        """RFC 9112 section 6.3: how the length of the body is found."""
        max_size = self._limits.max_body_size
        length = self._content_length(headers)
        if length is not None:
            return FixedBody(length, max_size)
        codings = split_tokens(headers.getall("Transfer-Encoding", ()))
        return ChunkedBody(max_size) if codings[-1:] == ["chunked"] else UntilEofBody(max_size)

    def _skip_interim(self) -> bytes:
        self._interim_left -= 1
        if self._interim_left < 0:
            self._fail(431, f"more than {_MAX_INTERIM} interim responses")
        return self._restart()

    def _feed_body(self, body: Body, data: bytes) -> None:
        try:
            body.feed(data)
        except ValueError as exc:
            self._fail(400, f"body: {exc}")

    def _finish(self) -> WSUpgradeResponse:
        assert self._response is not None
        self._response.body = self.raw_body
        return self._response

    def _check_start(self, head: bytearray) -> None:
        if head.startswith((b"\x15", b"\x16")):
            self._fail(400, "the server speaks TLS; the URL should be wss://")
        begin, line_end, _ = head[:5].partition(b"\n")
        if begin != b"HTTP/" and (line_end or len(head) >= 5):
            self._fail(400, f"it begins with {shorten(begin)}")

    def _check_first_line(self, start: re.Match[bytes]) -> None:
        if not start[1].startswith(b"HTTP/1."):
            self._fail(505, f"{start[1].decode()} is not HTTP/1.1")

    def _fail(self, status: int, message: str) -> NoReturn:
        if self._response is not None:
            self._response.body = self.raw_body
        raise WSInvalidMessageError(
            f"did not receive a valid HTTP response: {message}", self.raw_header or None, self.raw_body, self._response
        )

    def _fail_eof(self, message: str) -> NoReturn:
        try:
            self._fail(400, message)
        except WSInvalidMessageError as exc:
            raise exc from EOFError(message)


def _explain_field(line: str) -> str:
    """Why a line is no header; says nothing of its value, which may be a secret and ends in logs."""
    name, colon, value = line.partition(":")
    if line[0] in " \t":
        return "a header is folded over several lines (RFC 9112 section 5.2)"
    if not colon:
        return f"header line {shorten(line)} has no colon"
    if name != name.rstrip(" \t"):
        return f"header {shorten(name)} has space before the colon (RFC 9112 section 5.1)"
    return explain_header(name, value)


def restore_request(head: bytes) -> WSUpgradeRequest:
    """Parse a head that was accepted before: connections keep octets, because objects cost five times their memory."""
    request = RequestReader(_limits_for(head)).feed(head)
    assert request is not None
    return request


def restore_response(head: bytes) -> WSUpgradeResponse:
    """The same for the head of a 101."""
    response = ResponseReader(_limits_for(head)).feed(head)
    assert response is not None
    return response


def _limits_for(head: bytes) -> HeadLimits:
    return HeadLimits(max_line_size=len(head), max_header_count=len(head), max_head_size=len(head))
