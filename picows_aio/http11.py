"""The request and the response of the opening handshake."""

from __future__ import annotations

import re
from dataclasses import dataclass

from picows_aio.datastructures import Headers
from picows_aio.settings import SERVER, USER_AGENT

__all__ = ["SERVER", "USER_AGENT", "Request", "Response"]

# RFC 9112 sections 3 and 4.
_REQUEST_LINE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~]+ HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(r"HTTP/1\.1 [1-9][0-9][0-9] [\t -~\x80-\xff]*")


@dataclass
class Request:
    """A request: the one that opens a WebSocket, or any other a server is asked.

    Attributes:
        path: Path and query as sent, percent-encoded.
        headers: Headers.
        method: Method; GET opens a WebSocket.
        protocol: Version of HTTP, for example "HTTP/1.1".
    """

    path: str
    headers: Headers
    method: str = "GET"
    protocol: str = "HTTP/1.1"

    def serialize(self) -> bytes:
        """Encode it.

        Raises:
            ValueError: Method, path or version are not what HTTP allows there.
        """
        line = f"{self.method} {self.path} {self.protocol}"
        if _REQUEST_LINE.fullmatch(line) is None:
            raise ValueError(f"{line!r} is not a request line")
        return line.encode("ascii") + b"\r\n" + self.headers.serialize()


@dataclass
class Response:
    """A response: 101 opens a WebSocket, any other status refuses.

    Attributes:
        status_code: Status.
        reason_phrase: Reason phrase.
        headers: Headers.
        body: Body.
    """

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes | bytearray = b""

    def serialize(self) -> bytes:
        """Encode it, with the headers as they are.

        Raises:
            ValueError: Status or reason phrase are not what HTTP allows there.
        """
        line = f"HTTP/1.1 {self.status_code:d} {self.reason_phrase}"
        if _STATUS_LINE.fullmatch(line) is None:
            raise ValueError(f"{line!r} is not a status line")
        return line.encode("latin-1") + b"\r\n" + self.headers.serialize() + self.body
