"""The opening handshake of both sides (RFC 6455 section 4): which requests and responses are acceptable, and why not.

`ClientHandshake` builds the request and judges the response. For a server, `check_upgrade_request` judges the
request, `switching_protocols` completes the response that accepts it, and `ServerHandshakePolicy.refuse` builds all
others.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, NoReturn

from multidict import CIMultiDict

from picows.errors import WSInvalidHeaderError, WSInvalidMessageError, WSInvalidStatusError, WSInvalidUpgradeError
from picows.http11 import HeadersLike, HeadLimits, ResponseReader, WSUpgradeRequest, WSUpgradeResponse
from picows.http_message import copy_headers, get_reason_phrase, shorten, split_tokens
from picows.upgrade_headers import (
    compute_accept,
    describe,
    describe_offer,
    extension_names,
    split_extensions,
    split_subprotocols,
    subprotocol_names,
)
from picows.upgrade_request import encode_acceptance
from picows.url import WSParsedURL

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # base64 of 16 bytes
_VERSION = re.compile(r"[0-9]{1,3}")
_TARGET = re.compile(rb"https?://", re.IGNORECASE)
_DEFAULT_LIMITS = HeadLimits()
# Made by the handshake itself; from the user they would make the message ambiguous.
_OWN_HEADERS = (
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Content-Length",
    "Transfer-Encoding",
)
# Of those that a user may add to a 101, these are looked at.
_CHECKED_HEADERS = frozenset(
    name.lower()
    for name in (*_OWN_HEADERS, "Upgrade", "Connection", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")
)


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
        ValueError: An extra header is not one HTTP can carry, or one the handshake must set itself.
        TypeError: An extra header's name or value is not a str.
    """

    def __init__(
        self, url: WSParsedURL, extra_headers: HeadersLike | None = None, *, limits: HeadLimits = _DEFAULT_LIMITS
    ) -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode("ascii")
        extra = copy_headers(extra_headers)
        _drop_own(extra, {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Version": "13"})
        _refuse_own(extra, _OWN_HEADERS)
        self._extensions = split_extensions(extra)
        self._subprotocols = split_subprotocols(extra)
        _check_offer(extra, self._extensions, self._subprotocols)
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

    @property
    def response_bytes(self) -> bytes:
        """Head of the response as it came."""
        return self._reader.raw_header

    def feed(self, data: bytes) -> bool:
        """Take the next octets from the server; True when the connection is open.

        Raises:
            WSInvalidMessageError: They are no HTTP response.
            WSInvalidStatusError: The status is not 101; `response` holds headers and body.
            WSInvalidHeaderError: The 101 does not match the request; WSInvalidUpgradeError for Upgrade and Connection.
        """
        response = self._reader.feed(data)
        if response is None:
            return False
        self._judge(response)
        return True

    def eof(self) -> NoReturn:
        """The connection ended before the handshake did.

        Raises:
            WSInvalidStatusError: What came is a refusal whose body ends with the connection.
            WSInvalidMessageError: What came is incomplete.
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
            tokens = split_tokens(lines)
            if expected not in tokens or (name == "Upgrade" and set(tokens) != {expected}):
                value = ", ".join(lines) if lines else None
                raise WSInvalidUpgradeError(
                    describe(name, value, expected), name, value, self._reader.raw_header, None, self.response
                )

    def _check_accept(self, headers: CIMultiDict[str]) -> None:
        value = self._get_single(headers, "Sec-WebSocket-Accept")
        if value != self._accept:
            self._fail_header("Sec-WebSocket-Accept", value, describe("Sec-WebSocket-Accept", value, self._accept))

    def _check_subprotocol(self, headers: CIMultiDict[str]) -> None:
        name = "Sec-WebSocket-Protocol"
        value = self._get_single(headers, name)
        if value is not None and value not in self._subprotocols:
            self._fail_header(name, value, describe(name, value, describe_offer(self._subprotocols)))

    def _check_extensions(self, headers: CIMultiDict[str]) -> None:
        name = "Sec-WebSocket-Extensions"
        value = ", ".join(headers.getall(name, ()))
        try:
            is_offered = set(split_extensions(headers)) <= set(self._extensions)
        except ValueError as exc:
            self._fail_header(name, value, str(exc))
        if not is_offered:
            self._fail_header(name, value, describe(name, value, describe_offer(self._extensions)))

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


def _check_offer(headers: CIMultiDict[str], extensions: list[str], subprotocols: list[str]) -> None:
    """RFC 6455 section 4.1, items 10 and 11: lists of at least one, and no subprotocol twice."""
    for name, items in (("Sec-WebSocket-Extensions", extensions), ("Sec-WebSocket-Protocol", subprotocols)):
        if name in headers and not items:
            raise ValueError(f"header {name} is empty")
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError(f"Sec-WebSocket-Protocol holds the same name twice: {', '.join(subprotocols)}")


def _drop_own(headers: CIMultiDict[str], own: Mapping[str, str]) -> None:
    """Remove what the user repeats of our headers, which is harmless as long as it says the same."""
    for name, value in own.items():
        lines = headers.popall(name, [value])
        if set(split_tokens(lines)) != {value}:
            raise ValueError(f"header {name} must be {value}, not {', '.join(lines)!r}")


def _refuse_own(headers: CIMultiDict[str], names: Iterable[str]) -> None:
    for name in names:
        if name in headers:
            raise ValueError(f"header {name} is set by the opening handshake and cannot be given")


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
    if not request.path.startswith(b"/") and _TARGET.match(request.path) is None:
        return Refusal(400, f"request target {shorten(request.path)} is not a path")
    offer = request.offer
    if offer is not None:
        if offer.extensions is None and offer.subprotocols is None:
            return None
        return _check_offered(_lines(offer.extensions), _lines(offer.subprotocols))
    return _check_upgrade_headers(request.headers)


def _lines(value: str | None) -> tuple[str, ...]:
    """The values of a header that was not sent, or once."""
    return () if value is None else (value,)


def _check_upgrade_headers(headers: CIMultiDict[str]) -> Refusal | None:
    for name, token in (("Upgrade", "websocket"), ("Connection", "upgrade")):
        lines = headers.getall(name, ())
        if token not in split_tokens(lines):
            return Refusal(400, describe(name, ", ".join(lines) if lines else None, token))
    for name in ("Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
        values = headers.getall(name, ())
        if len(values) != 1 or not values[0]:
            return Refusal(400, f"{name} must be sent once and with a value")
    if _KEY.fullmatch(headers["Sec-WebSocket-Key"]) is None:
        return Refusal(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    if headers["Sec-WebSocket-Version"] != "13":
        return _refuse_version(headers["Sec-WebSocket-Version"])
    return _check_optional_headers(headers)


def _refuse_version(version: str) -> Refusal:
    if _VERSION.fullmatch(version) is None:
        return Refusal(400, f"Sec-WebSocket-Version {shorten(version)} is not a number")
    # RFC 6455 section 4.4 asks for the version; RFC 9110 section 15.5.22 asks any 426 for Upgrade.
    supported = (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket"), ("Connection", "Upgrade, close"))
    return Refusal(426, f"Sec-WebSocket-Version is {version}, expected 13", supported)


def _check_optional_headers(headers: CIMultiDict[str]) -> Refusal | None:
    # Which of two a check of the origin sees would be luck.
    if len(headers.getall("Origin", ())) > 1:
        return Refusal(400, "more than one Origin header")
    return _check_offered(headers.getall("Sec-WebSocket-Extensions", ()), headers.getall("Sec-WebSocket-Protocol", ()))


def _check_offered(extensions: Iterable[str], subprotocols: Iterable[str]) -> Refusal | None:
    try:
        subprotocol_names(subprotocols)
        extension_names(extensions)
    except ValueError as exc:
        return Refusal(400, str(exc))
    return None


def switching_protocols(request: WSUpgradeRequest, response: WSUpgradeResponse | None = None) -> WSUpgradeResponse:
    """Make the 101 that answers an upgrade request which passed `check_upgrade_request`.

    Args:
        request: The request.
        response: What the user wants to add, for example a subprotocol; not changed.

    Raises:
        ValueError: The response is not a 101, has a body, sets a header that is not the user's to set, or a
            subprotocol or an extension that the client did not offer.
    """
    headers = CIMultiDict({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": _accept(request)})
    if response is not None:
        headers.extend(_check_user_response(request, response))
    return WSUpgradeResponse(headers=headers)


def encode_switching_protocols(request: WSUpgradeRequest, response: WSUpgradeResponse | None = None) -> bytes:
    """What `switching_protocols` makes, encoded.

    Args:
        request: As there.
        response: As there.

    Raises:
        ValueError: As there, or a header is not one HTTP can carry; the message names it.
        TypeError: A header's name or value is not a str.
    """
    if request.offer is not None:
        added = () if response is None else _check_user_response(request, response).items()
        encoded = encode_acceptance(request.offer, added)
        if encoded is not None:
            return encoded
    return switching_protocols(request, response).to_bytes()


def _accept(request: WSUpgradeRequest) -> str:
    offer = request.offer
    return compute_accept(request.headers["Sec-WebSocket-Key"] if offer is None else offer.key)


def _check_user_response(request: WSUpgradeRequest, response: WSUpgradeResponse) -> CIMultiDict[str]:
    """Headers the user adds to a 101."""
    if response.status != 101 or response.body:
        raise ValueError(f"a WebSocket opens with status 101 and no body, not with status {int(response.status)}")
    if _CHECKED_HEADERS.isdisjoint(map(str.lower, response.headers)):
        return response.headers
    headers = CIMultiDict(response.headers)
    _drop_own(headers, {"Upgrade": "websocket", "Connection": "upgrade"})
    _refuse_own(headers, _OWN_HEADERS)
    chosen = headers.getall("Sec-WebSocket-Protocol", [])
    offer = request.offer
    offered = split_subprotocols(request.headers) if offer is None else subprotocol_names(_lines(offer.subprotocols))
    if len(chosen) > 1 or not set(chosen) <= set(offered):
        raise ValueError(describe("Sec-WebSocket-Protocol", ", ".join(chosen), describe_offer(offered)))
    offered = split_extensions(request.headers) if offer is None else extension_names(_lines(offer.extensions))
    if not set(split_extensions(headers)) <= set(offered):
        chosen = headers.getall("Sec-WebSocket-Extensions")
        raise ValueError(describe("Sec-WebSocket-Extensions", ", ".join(chosen), describe_offer(offered)))
    return headers


class ServerHandshakePolicy:
    """What a server refuses and in which words. Subclass it to change either, and pass it to `ws_create_server`.

    Attributes:
        limits: Bounds on the request.
    """

    def __init__(self, limits: HeadLimits = _DEFAULT_LIMITS) -> None:
        self.limits = limits

    def client_connected(self, transport: Any) -> None:
        """Called when a client has connected, TLS included, before it has asked for anything.

        Does nothing; for servers that shut down and want to know who has connected but is not served yet.

        Args:
            transport: The asyncio transport, which may be aborted.
        """

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

    Sets Content-Length and Connection: close, adds Date if it is missing, and leaves the body out of the answer to
    HEAD.

    Args:
        response: The response; not changed.
        request: What it answers, or None if that could not be parsed.

    Raises:
        ValueError: The status is an interim one, the user set Transfer-Encoding, or a header is not one HTTP can
            carry; the message names it.
        TypeError: A header's name or value is not a str.
    """
    if response.status == 101:
        return response.to_bytes()
    if response.status < 200:
        raise ValueError(f"status {int(response.status)} does not answer a request")
    headers = CIMultiDict(response.headers)
    _refuse_own(headers, ("Transfer-Encoding",))
    body = response.body or b""
    is_bodiless = response.status in (204, 304)
    headers.popall("Content-Length", None)
    # RFC 9110 section 8.6: no Content-Length in a 204, and in a 304 only that of the response it stands for.
    if not is_bodiless:
        headers["Content-Length"] = str(len(body))
    headers.setdefault("Date", formatdate(usegmt=True))
    if "close" not in split_tokens(headers.getall("Connection", ())):
        headers["Connection"] = "close"
    # RFC 9110 section 9.3.2.
    if is_bodiless or (request is not None and request.method == b"HEAD"):
        body = b""
    return WSUpgradeResponse(response.version, response.status, headers, body, response.reason).to_bytes()
