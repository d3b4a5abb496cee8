"""The opening handshake of both sides (RFC 6455 section 4): which requests and responses are acceptable, and why not.

`ClientHandshake` builds the request and judges the response. For a server, `check_upgrade_request` judges the
request, `switching_protocols` completes the response that accepts it, and `ServerHandshakePolicy.refuse` builds all
others.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import NoReturn

from multidict import CIMultiDict

from picows.errors import WSInvalidHeaderError, WSInvalidMessageError, WSInvalidStatusError, WSInvalidUpgradeError
from picows.http11 import HeadersLike, HeadLimits, ResponseReader, WSUpgradeRequest, WSUpgradeResponse
from picows.http_message import TOKEN, copy_headers, get_reason_phrase, split_list
from picows.url import WSParsedURL

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # base64 of 16 bytes
_EXTENSION = re.compile(rf"({TOKEN})[ \t]*(?:;.*)?")
_DEFAULT_LIMITS = HeadLimits()
# One of each, made by the handshake itself; a second one from the user would make the message ambiguous.
_OWN_REQUEST_HEADERS = (
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Accept",
    "Content-Length",
    "Transfer-Encoding",
)
_OWN_RESPONSE_HEADERS = (
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Content-Length",
    "Transfer-Encoding",
)


def compute_accept(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2, step 5.4)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def _extension_names(lines: Iterable[str]) -> list[str] | None:
    """Names in a Sec-WebSocket-Extensions header, None if it breaks the grammar of RFC 6455 section 9.1.

    Parameter values are tokens, also when quoted, so a comma always separates extensions.
    """
    names = []
    for part in ",".join(lines).split(","):
        item = part.strip(" \t")
        match = _EXTENSION.fullmatch(item)
        if match is not None:
            names.append(match[1])
        elif item:
            return None
    return names


class ClientHandshake:
    """One opening handshake of a client: the request to send, then the response fed as it arrives.

    Attributes:
        request: The upgrade request.
        request_bytes: The request encoded.
        response: The response once it is complete, else None.

    Args:
        url: Where to connect; user and password become HTTP Basic authentication.
        extra_headers: Headers to add. Host replaces ours, Authorization replaces that of the URL.
        limits: Bounds on the response.

    Raises:
        ValueError, TypeError: An extra header is not one HTTP can carry, or one the handshake must set itself.
    """

    def __init__(
        self, url: WSParsedURL, extra_headers: HeadersLike | None = None, *, limits: HeadLimits = _DEFAULT_LIMITS
    ) -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode("ascii")
        extra = copy_headers(extra_headers)
        _check_own_headers(extra, _OWN_REQUEST_HEADERS)
        hosts = extra.popall("Host", [url.authority])
        if len(hosts) > 1:
            raise ValueError(f"header Host given {len(hosts)} times")
        headers = CIMultiDict(
            {
                "Host": hosts[0],
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": key,
                "Sec-WebSocket-Version": "13",
            }
        )
        if url.username is not None and "Authorization" not in extra:
            headers["Authorization"] = _basic_credentials(url.username, url.password or "")
        headers.extend(extra)
        self.request = WSUpgradeRequest(b"GET", url.resource_name.encode("ascii"), b"HTTP/1.1", headers)
        self.request_bytes = self.request.to_bytes()
        self.response: WSUpgradeResponse | None = None
        self._accept = compute_accept(key)
        self._reader = ResponseReader(limits)

    @property
    def rest(self) -> bytes:
        """Octets that came after the head of the 101: the first frames."""
        return self._reader.rest

    def feed(self, data: bytes) -> bool:
        """Take the next octets from the server; True when the connection is open.

        Raises:
            WSInvalidMessageError: They are no HTTP response.
            WSInvalidStatusError: The status is not 101; `response` holds headers and body.
            WSInvalidUpgradeError, WSInvalidHeaderError: The 101 does not match the request.
        """
        response = self._reader.feed(data)
        if response is None:
            return False
        self._judge(response)
        return True

    def eof(self) -> NoReturn:
        """The connection ended before the handshake did.

        Raises:
            WSInvalidMessageError: Always, unless
            WSInvalidStatusError: a refusal came whose body ends with the connection.
        """
        self._judge(self._reader.eof())
        raise AssertionError("a 101 does not wait for the end of the connection")

    def _judge(self, response: WSUpgradeResponse) -> None:
        self.response = response
        if response.status != 101:
            self._fail_status(response)
        if response.version == b"HTTP/1.0":
            raise WSInvalidMessageError(
                "101 in an HTTP/1.0 response, expected HTTP/1.1", self._reader.raw_header, None, response
            )
        headers = response.headers
        self._check_upgrade(headers)
        # RFC 9112 section 6: a 101 has no content, and RFC 9110 section 8.6 forbids to announce any.
        for name in ("Content-Length", "Transfer-Encoding"):
            if name in headers:
                self._fail_header(name, headers[name], f"a 101 response must not have {name}")
        self._check_accept(headers)
        self._check_subprotocol(headers)
        self._check_extensions(headers)

    def _check_upgrade(self, headers: CIMultiDict[str]) -> None:
        for name, expected in (("Upgrade", "websocket"), ("Connection", "upgrade")):
            lines = headers.getall(name, ())
            tokens = split_list(lines)
            if expected not in tokens or (name == "Upgrade" and set(tokens) != {expected}):
                value = ", ".join(lines) if lines else None
                raise WSInvalidUpgradeError(
                    _describe(name, value, expected), name, value, self._reader.raw_header, None, self.response
                )

    def _check_accept(self, headers: CIMultiDict[str]) -> None:
        value = self._get_single(headers, "Sec-WebSocket-Accept")
        if value != self._accept:
            self._fail_header("Sec-WebSocket-Accept", value, _describe("Sec-WebSocket-Accept", value, self._accept))

    def _check_subprotocol(self, headers: CIMultiDict[str]) -> None:
        name = "Sec-WebSocket-Protocol"
        value = self._get_single(headers, name) if name in headers else None
        if value is None:
            return
        offered = _split_subprotocols(self.request.headers)
        if value not in offered:
            expected = f"one of {', '.join(offered)}" if offered else "none, as none was offered"
            self._fail_header(name, value, _describe(name, value, expected))

    def _check_extensions(self, headers: CIMultiDict[str]) -> None:
        name = "Sec-WebSocket-Extensions"
        lines = headers.getall(name, ())
        if not lines:
            return
        value = ", ".join(lines)
        accepted = _extension_names(lines)
        if accepted is None:
            self._fail_header(name, value, _describe(name, value, "a list of extensions"))
        offered = _extension_names(self.request.headers.getall(name, ())) or []
        if not set(accepted) <= set(offered):
            expected = f"only {', '.join(offered)}" if offered else "none, as none was offered"
            self._fail_header(name, value, _describe(name, value, expected))

    def _get_single(self, headers: CIMultiDict[str], name: str) -> str | None:
        values = headers.getall(name, [])
        if len(values) > 1:
            self._fail_header(name, ", ".join(values), f"{name} header sent {len(values)} times, expected once")
        return values[0] if values else None

    def _fail_header(self, name: str, value: str | None, description: str) -> NoReturn:
        raise WSInvalidHeaderError(description, name, value, self._reader.raw_header, None, self.response)

    def _fail_status(self, response: WSUpgradeResponse) -> NoReturn:
        phrase = response.reason or get_reason_phrase(response.status)
        raise WSInvalidStatusError(
            f"server answered with status {int(response.status)} {phrase}".rstrip() + ", expected 101",
            self._reader.raw_header,
            self._reader.raw_body,
            response,
        )


def _basic_credentials(username: str, password: str) -> str:
    """Authorization value of RFC 7617, in UTF-8."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _check_own_headers(headers: CIMultiDict[str], names: Iterable[str]) -> None:
    for name in names:
        if name in headers:
            raise ValueError(f"header {name} is set by the opening handshake and cannot be given")


def _split_subprotocols(headers: CIMultiDict[str]) -> list[str]:
    """Offered subprotocols; unlike other tokens they compare with case (RFC 6455 section 4.1)."""
    lines = headers.getall("Sec-WebSocket-Protocol", ())
    return [item for line in lines for part in line.split(",") if (item := part.strip(" \t"))]


def _describe(name: str, value: str | None, expected: str) -> str:
    found = f"missing {name} header" if value is None else f"{name} is {value!r}"
    return f"{found}, expected {expected}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered with 101.

    Attributes:
        status: Status of the response.
        message: One line for the peer.
        headers: Headers that go with the status.
    """

    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()


def check_upgrade_request(request: WSUpgradeRequest) -> Refusal | None:
    """Check that a request asks for a WebSocket in the words of RFC 6455 section 4.2.1; None if it does."""
    if request.method != b"GET":
        method = request.method.decode("ascii")
        return Refusal(405, f"method {method} cannot open a WebSocket, only GET can", (("Allow", "GET"),))
    if request.version == b"HTTP/1.0":
        return Refusal(505, "opening a WebSocket takes HTTP/1.1")
    return _check_upgrade_headers(request.headers)


def _check_upgrade_headers(headers: CIMultiDict[str]) -> Refusal | None:
    for name, token in (("Upgrade", "websocket"), ("Connection", "upgrade")):
        lines = headers.getall(name, ())
        if token not in split_list(lines):
            return Refusal(400, _describe(name, ", ".join(lines) if lines else None, token))
    for name in ("Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
        count = len(headers.getall(name, ()))
        if count != 1:
            return Refusal(400, f"{name} header sent {count} times, expected once")
    if _KEY.fullmatch(headers["Sec-WebSocket-Key"]) is None:
        return Refusal(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    if headers["Sec-WebSocket-Version"] != "13":
        # RFC 6455 section 4.4 asks for the version; RFC 9110 section 15.5.22 asks any 426 for Upgrade.
        supported = (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"), ("Connection", "Upgrade, close"))
        return Refusal(426, "Sec-WebSocket-Version is not 13", supported)
    return None


def switching_protocols(request: WSUpgradeRequest, response: WSUpgradeResponse | None = None) -> WSUpgradeResponse:
    """Complete the 101 that answers an upgrade request which passed `check_upgrade_request`.

    Args:
        request: The request.
        response: What the user wants to answer with, for example with a subprotocol; completed in place.

    Raises:
        ValueError: The response is not a 101, has a body, sets a header that is not the user's to set, or a
            subprotocol or an extension that the client did not offer.
    """
    if response is None:
        response = WSUpgradeResponse.create_101_response()
    else:
        _check_user_response(request, response)
    headers = response.headers
    headers["Upgrade"] = "websocket"
    headers["Connection"] = "Upgrade"
    headers["Sec-WebSocket-Accept"] = compute_accept(request.headers["Sec-WebSocket-Key"])
    return response


def _check_user_response(request: WSUpgradeRequest, response: WSUpgradeResponse) -> None:
    if response.status != 101 or response.body:
        raise ValueError(f"a WebSocket opens with status 101 and no body, not with {response!r}")
    headers = response.headers
    _check_own_headers(headers, _OWN_RESPONSE_HEADERS)
    for name, token in (("Upgrade", "websocket"), ("Connection", "upgrade")):
        if name in headers and set(split_list(headers.getall(name))) != {token}:
            raise ValueError(f"header {name} must be {token}, not {', '.join(headers.getall(name))!r}")
    chosen = headers.getall("Sec-WebSocket-Protocol", [])
    if len(chosen) > 1 or not set(chosen) <= set(_split_subprotocols(request.headers)):
        raise ValueError(f"subprotocol {', '.join(chosen)!r} is not one the client offered")
    name = "Sec-WebSocket-Extensions"
    accepted = _extension_names(headers.getall(name, ()))
    if accepted is None or not set(accepted) <= set(_extension_names(request.headers.getall(name, ())) or ()):
        raise ValueError(f"extensions {', '.join(headers.getall(name))!r} are not ones the client offered")


class ServerHandshakePolicy:
    """What a server refuses and in which words. Subclass it to change either, and pass it to `ws_create_server`.

    Attributes:
        limits: Bounds on the request.
    """

    def __init__(self, limits: HeadLimits = _DEFAULT_LIMITS) -> None:
        self.limits = limits

    def refuse(
        self, request: WSUpgradeRequest | None, status: int, message: str, headers: HeadersLike | None = None
    ) -> WSUpgradeResponse:
        """Build the response to a request that is not served.

        Args:
            request: The request, or None if it could not be parsed.
            status: 400 to 599.
            message: Why, in one line; never text of an exception of the user's code.
            headers: Headers that go with the status, such as Allow.
        """
        response = WSUpgradeResponse.create_error_response(status, f"{message}\n".encode(), headers)
        response.headers["Content-Type"] = "text/plain; charset=utf-8"
        return response


def encode_response(response: WSUpgradeResponse, request: WSUpgradeRequest | None = None) -> bytes:
    """Encode a response as the last one on its connection, unless it is 101.

    Adds Content-Length, Date and Connection: close where they are missing; the content is left out for HEAD.

    Raises:
        ValueError, TypeError: A header is not one HTTP can carry; the message names it.
    """
    if response.status == 101:
        return response.to_bytes()
    headers = CIMultiDict(response.headers)
    body = response.body or b""
    # RFC 9110 section 8.6: no Content-Length in a 204; what the user says about a 304 stands.
    if response.status not in (204, 304):
        headers["Content-Length"] = str(len(body))
    headers.setdefault("Date", formatdate(usegmt=True))
    if "close" not in split_list(headers.getall("Connection", ())):
        headers["Connection"] = "close"
    is_bodiless = response.status in (204, 304) or (request is not None and request.method == b"HEAD")
    return WSUpgradeResponse(
        response.version, response.status, headers, None if is_bodiless else body, response.reason
    ).to_bytes()
