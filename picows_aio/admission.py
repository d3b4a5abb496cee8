"""Which requests a server opens a WebSocket for, and what it answers to the others.

Order: ``process_request``, the checks of RFC 6455 section 4.2.1, Origin, extensions, subprotocol, ``process_response``.
What the user's code raises is logged and answered with a 500 that does not tell it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import http
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

import picows
from picows_aio.datastructures import Headers
from picows_aio.exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMethod,
    InvalidOrigin,
    InvalidProtocol,
    InvalidUpgrade,
)
from picows_aio.headers import parse_connection, parse_subprotocol, parse_upgrade
from picows_aio.http11 import Request, Response
from picows_aio.negotiation import OfferedHeaders, accept_extensions, check_origin, select_subprotocol
from picows_aio.translation import from_core_request, to_core_response
from picows_aio.typing import Origin, StatusLike, Subprotocol

if TYPE_CHECKING:
    from picows_aio.extensions.base import ServerExtensionFactory
    from picows_aio.lifecycle import Server
    from picows_aio.server import ServerConnection

ProcessRequest = Callable[["ServerConnection", Request], Response | Awaitable[Response | None] | None]
ProcessResponse = Callable[["ServerConnection", Request, Response], Response | Awaitable[Response | None] | None]

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 4.2.2
# The core makes these itself.
_CORE_HEADERS = ("Upgrade", "Connection", "Sec-WebSocket-Accept")
_RETRY_AFTER = "1"  # seconds until a client may try again when a server shuts down
_REFUSED = "Failed to open a WebSocket connection"
_NOT_FOR_BROWSERS = "You cannot access a WebSocket server directly with a browser. You need a WebSocket client.\n"


def build_response(status: StatusLike, text: str) -> Response:
    """A plain text response that ends the connection."""
    status = http.HTTPStatus(status)
    body = text.encode()
    headers = Headers(
        [
            ("Date", _date_at(int(time.time()))),
            ("Connection", "close"),
            ("Content-Length", str(len(body))),
            ("Content-Type", "text/plain; charset=utf-8"),
        ]
    )
    return Response(int(status), status.phrase, headers, body)


class Admission:
    """The door of one server: hooks, checks and negotiation, in the order that programs rely on."""

    def __init__(
        self,
        server: Server,
        make_connection: Callable[[], ServerConnection],
        *,
        origins: Sequence[Origin | str | re.Pattern[str] | None] | None,
        extensions: Sequence[ServerExtensionFactory],
        subprotocols: Sequence[Subprotocol] | None,
        select_subprotocol: Callable[[Any, Sequence[Subprotocol]], Subprotocol | None] | None,
        process_request: ProcessRequest | None,
        process_response: ProcessResponse | None,
        server_header: str | None,
    ) -> None:
        self._server = server
        self._make_connection = make_connection
        self._origins = origins
        self._extensions = extensions
        self._subprotocols = subprotocols
        self._select_subprotocol = select_subprotocol
        self._process_request = process_request
        self._process_response = process_response
        self._server_header = server_header
        # Whether a request that offers nothing is one that there is nothing to decide about.
        self._wants_nothing = origins is None and not subprotocols and select_subprotocol is None

    def policy(self, limits: picows.HeadLimits) -> picows.ServerHandshakePolicy:
        """What the core answers to requests that never get here."""
        return _Policy(limits, self._server)

    def admit(
        self, core_request: picows.WSUpgradeRequest
    ) -> picows.WSUpgradeResponseWithListener | Awaitable[picows.WSUpgradeResponseWithListener]:
        """The answer to one request, at once where no hook may want to wait; the core's listener factory."""
        self._server.request_received(core_request.transport)
        if self._process_request is None and self._process_response is None:
            return self._admit_at_once(core_request)
        return self._admit_with_hooks(core_request)

    def _admit_at_once(self, core_request: picows.WSUpgradeRequest) -> picows.WSUpgradeResponseWithListener:
        connection = self._begin(core_request)
        connection.set_request(core_request)
        verdict = self._check(connection, core_request)
        if isinstance(verdict, Response):
            self._name_server(verdict)
            connection.set_response(verdict)
            return self._refuse(connection, verdict, "connection rejected")
        headers = CIMultiDict([("Date", _date_at(int(time.time()))), *verdict])
        if self._server_header is not None:
            headers.add("Server", self._server_header)
        return picows.WSUpgradeResponseWithListener(picows.WSUpgradeResponse(headers=headers), connection)

    async def _admit_with_hooks(self, core_request: picows.WSUpgradeRequest) -> picows.WSUpgradeResponseWithListener:
        self._server.handshake_begins()
        connection = self._begin(core_request)
        request = from_core_request(core_request)
        connection.set_request(request)
        is_left = True
        try:
            response, is_answered = await self._answer(connection, request, core_request)
            is_left = False
        finally:
            if is_left:
                connection.on_ws_disconnected(None)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return self._refuse(connection, response, "HTTP response sent" if is_answered else "connection rejected")
        answer = to_core_response(response)
        for name in _CORE_HEADERS:
            answer.headers.popall(name, None)
        return picows.WSUpgradeResponseWithListener(answer, connection)

    def _begin(self, core_request: picows.WSUpgradeRequest) -> ServerConnection:
        connection = self._make_connection()
        connection.attach(core_request.transport)
        return connection

    def _refuse(
        self, connection: ServerConnection, response: Response, what: str
    ) -> picows.WSUpgradeResponseWithListener:
        connection.logger.info("%s (%d %s)", what, response.status_code, response.reason_phrase)
        connection.on_ws_disconnected(None)
        return picows.WSUpgradeResponseWithListener(to_core_response(response), None)

    def _name_server(self, response: Response) -> None:
        if self._server_header is not None and "Server" not in response.headers:
            response.headers["Server"] = self._server_header

    async def _answer(
        self, connection: ServerConnection, request: Request, core_request: picows.WSUpgradeRequest
    ) -> tuple[Response, bool]:
        """Run the hooks around the checks: the response, and whether it is the one of a hook."""
        response = await self._ask_hook("process_request", self._process_request, connection, request)
        is_answered = response is not None
        if response is None:
            verdict = self._check(connection, core_request)
            response = verdict if isinstance(verdict, Response) else _accept(request, verdict)
        elif response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            refusal = picows.check_upgrade_request(core_request)
            response = response if refusal is None else refuse(refusal.status, refusal.message)
        self._name_server(response)
        connection.set_response(response)
        replaced = await self._ask_hook("process_response", self._process_response, connection, request, response)
        if replaced is not None:
            response = replaced
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and self._server.is_refusing:
            response = _unavailable()
        connection.set_response(response)
        return response, is_answered

    async def _ask_hook(self, name: str, hook: Callable[..., Any] | None, *args: Any) -> Response | None:
        """What a hook wants to be answered, whether it is a coroutine function or not."""
        if hook is None:
            return None
        try:
            response = hook(*args)
            if inspect.isawaitable(response):
                response = await response
            if response is not None and not isinstance(response, Response):
                raise TypeError(f"{name} must return a Response or None, not {type(response).__name__}")
        except Exception:  # the user's code
            args[0].logger.error("%s failed", name, exc_info=True)
            return _failed()
        return response

    def _check(
        self, connection: ServerConnection, core_request: picows.WSUpgradeRequest
    ) -> list[tuple[str, str]] | Response:
        """The headers that tell what was agreed on, or the response that refuses the request."""
        if self._server.is_refusing:
            return _unavailable()
        try:
            agreed = self._agree(connection, core_request)
        except InvalidHandshake as exc:
            return _refuse_for(exc)
        except Exception:  # select_subprotocol, or an extension
            connection.logger.error("opening handshake failed", exc_info=True)
            return _failed()
        refusal = picows.check_upgrade_request(core_request)
        return agreed if refusal is None else refuse(refusal.status, refusal.message)

    def _agree(self, connection: ServerConnection, core_request: picows.WSUpgradeRequest) -> list[tuple[str, str]]:
        """Negotiate extensions and subprotocol with a request that is in order."""
        offer = core_request.offer
        if offer is not None and offer.extensions is None and offer.subprotocols is None and self._wants_nothing:
            return []
        headers: OfferedHeaders | Headers
        if offer is not None:  # in the usual form, which needs no second look
            headers = OfferedHeaders(core_request)
        else:
            assert connection.request is not None
            check_request(connection.request)
            headers = connection.request.headers
        check_origin(headers, self._origins)
        extensions, accepted = accept_extensions(headers, self._extensions)
        connection.set_extensions(extensions)
        agreed = [] if accepted is None else [("Sec-WebSocket-Extensions", accepted)]
        subprotocol = self._choose_subprotocol(connection, headers)
        if subprotocol is not None:
            agreed.append(("Sec-WebSocket-Protocol", subprotocol))
        return agreed

    def _choose_subprotocol(
        self, connection: ServerConnection, headers: OfferedHeaders | Headers
    ) -> Subprotocol | None:
        chosen = select_subprotocol(connection, headers, self._subprotocols, self._select_subprotocol)
        if chosen is not None:
            offered = [name for value in headers.get_all("Sec-WebSocket-Protocol") for name in parse_subprotocol(value)]
            if chosen not in offered:
                # RFC 6455 section 4.1: the client would have to fail the connection.
                raise ValueError(f"select_subprotocol returned {chosen!r}, which the client did not offer: {offered}")
            connection.protocol.subprotocol = chosen
        return chosen


def check_request(request: Request) -> None:
    """Check that a request asks for a WebSocket (RFC 6455 section 4.2.1).

    Raises:
        InvalidMethod, InvalidProtocol: It is another kind of request.
        InvalidUpgrade: It asks for no upgrade, or for another one.
        InvalidHeader: The key or the version is missing or wrong.
    """
    if request.method != "GET":
        raise InvalidMethod(request.method)
    if request.protocol != "HTTP/1.1":
        raise InvalidProtocol(request.protocol)
    _check_token(request.headers, "Connection", parse_connection, "upgrade")
    _check_token(request.headers, "Upgrade", parse_upgrade, "websocket")
    key = _single(request.headers, "Sec-WebSocket-Key")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        is_key = False
    if not is_key:
        raise InvalidHeaderValue("Sec-WebSocket-Key", key)
    version = _single(request.headers, "Sec-WebSocket-Version")
    if version != "13":
        raise InvalidHeaderValue("Sec-WebSocket-Version", version)


def _check_token(headers: Headers, name: str, parse: Callable[[str], Sequence[str]], expected: str) -> None:
    values = headers.get_all(name)
    tokens = [token.lower() for value in values for token in parse(value)]
    if expected not in tokens:
        raise InvalidUpgrade(name, ", ".join(values) if values else None)


def _single(headers: Headers, name: str) -> str:
    values = headers.get_all(name)
    if not values:
        raise InvalidHeader(name)
    if len(values) > 1:
        raise InvalidHeader(name, "multiple values")
    return values[0]


def _accept(request: Request, agreed: list[tuple[str, str]]) -> Response:
    accept = base64.b64encode(hashlib.sha1(request.headers["Sec-WebSocket-Key"].encode() + _ACCEPT_GUID).digest())
    headers = Headers(
        [
            ("Date", _date_at(int(time.time()))),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept.decode("ascii")),
            *agreed,
        ]
    )
    return Response(101, "Switching Protocols", headers)


@functools.lru_cache(maxsize=1)
def _date_at(second: int) -> str:
    """Value of the Date header (RFC 9110 section 6.6.1) for a time in seconds since the epoch."""
    return formatdate(second, usegmt=True)


def refuse(status: int, message: str) -> Response:
    """A refusal in the words that clients of `websockets` servers know."""
    return build_response(status, f"{_REFUSED}: {message}.\n")


def _refuse_for(exc: InvalidHandshake) -> Response:
    """The refusal that says what is wrong with a request."""
    match exc:
        case InvalidMethod():
            response = refuse(405, str(exc))
            response.headers["Allow"] = "GET"
        case InvalidProtocol():
            response = refuse(505, str(exc))
        case InvalidUpgrade():
            # RFC 9110 section 15.5.22: say what to upgrade to.
            response = build_response(426, f"{_REFUSED}: {exc}.\n\n{_NOT_FOR_BROWSERS}")
            response.headers["Upgrade"] = "websocket"
        case InvalidOrigin():
            response = refuse(403, str(exc))
        case _:
            response = refuse(400, str(exc))
    if isinstance(exc, InvalidHeader) and exc.name == "Sec-WebSocket-Version":
        response.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455 section 4.4
    return response


def _failed() -> Response:
    return build_response(500, f"{_REFUSED}.\nSee server log for more information.\n")


def _unavailable() -> Response:
    response = build_response(503, "Server is shutting down.\n")
    response.headers["Retry-After"] = _RETRY_AFTER
    return response


class _Policy(picows.ServerHandshakePolicy):
    def __init__(self, limits: picows.HeadLimits, server: Server) -> None:
        super().__init__(limits)
        self._server = server

    def client_connected(self, transport: Any) -> None:
        self._server.connected(transport)

    def refuse(self, request: Any, status: int, message: str, headers: Any = None) -> picows.WSUpgradeResponse:
        response = refuse(status, message)
        for name, value in headers or ():
            response.headers[name] = value
        return to_core_response(response)
