"""Which requests a server opens a WebSocket for, and what it answers to the others."""

from __future__ import annotations

import http
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import picows
from picows_aio.datastructures import Headers
from picows_aio.exceptions import InvalidOrigin, NegotiationError
from picows_aio.http11 import Request, Response
from picows_aio.negotiation import accept_extensions, check_origin, select_subprotocol
from picows_aio.translation import from_core_headers, to_core_response
from picows_aio.typing import LoggerLike, Origin, StatusLike, Subprotocol

if TYPE_CHECKING:
    from picows_aio.extensions.base import ServerExtensionFactory
    from picows_aio.server import Server, ServerConnection

ProcessRequest = Callable[["ServerConnection", Request], Response | None | Awaitable[Response | None]]
ProcessResponse = Callable[["ServerConnection", Request, Response], Response | None | Awaitable[Response | None]]

# The core makes these itself; a 101 shows them to process_response only.
_CORE_HEADERS = ("Upgrade", "Connection", "Sec-WebSocket-Accept")
_RETRY_AFTER = "1"  # seconds until a client may try again when a server shuts down


def build_response(status: StatusLike, text: str) -> Response:
    """A plain text response that ends the connection."""
    status = http.HTTPStatus(status)
    body = text.encode()
    headers = Headers(
        [
            ("Date", formatdate(usegmt=True)),
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
        logger: LoggerLike,
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
        self._logger = logger
        self._make_connection = make_connection
        self._origins = origins
        self._extensions = extensions
        self._subprotocols = subprotocols
        self._select_subprotocol = select_subprotocol
        self._process_request = process_request
        self._process_response = process_response
        self._server_header = server_header

    def policy(self, limits: picows.HeadLimits) -> picows.ServerHandshakePolicy:
        """What the core answers to requests that never get here."""
        return _Policy(limits, self)

    async def admit(self, core_request: picows.WSUpgradeRequest) -> picows.WSUpgradeResponseWithListener:
        """The answer to one request; the core's listener factory."""
        connection = self._make_connection()
        connection.attach(core_request.transport)
        request = Request(
            core_request.path.decode("ascii"),
            from_core_headers(core_request.headers),
            core_request.method.decode("ascii"),
            core_request.version.decode("ascii"),
        )
        connection.set_request(request)
        response = await self._decide(connection, request, core_request)
        connection.set_response(response)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._logger.info("connection rejected (%d %s)", response.status_code, response.reason_phrase)
            return picows.WSUpgradeResponseWithListener(to_core_response(response), None)
        answer = to_core_response(response)
        for name in _CORE_HEADERS:
            answer.headers.popall(name, None)
        return picows.WSUpgradeResponseWithListener(answer, connection)

    async def _decide(
        self, connection: ServerConnection, request: Request, core_request: picows.WSUpgradeRequest
    ) -> Response:
        """Run the hooks around the checks; whatever the user's code raises becomes a 500 that does not say it."""
        try:
            response = None
            if self._process_request is not None:
                response = await _result(self._process_request(connection, request))
            if response is None:
                response = self._check(connection, request, core_request)
            if self._server_header is not None and "Server" not in response.headers:
                response.headers["Server"] = self._server_header
            if self._process_response is not None:
                replaced = await _result(self._process_response(connection, request, response))
                response = response if replaced is None else replaced
        except Exception:  # the user's code
            self._logger.error("opening handshake failed", exc_info=True)
            return self.refuse(500, "See server log for more information.")
        return response

    def _check(
        self, connection: ServerConnection, request: Request, core_request: picows.WSUpgradeRequest
    ) -> Response:
        if self._server.is_refusing:
            response = build_response(503, "Server is shutting down.\n")
            response.headers["Retry-After"] = _RETRY_AFTER
            return response
        refusal = picows.check_upgrade_request(core_request)
        if refusal is not None:
            return self._refuse_upgrade(refusal, request)
        try:
            check_origin(request.headers, self._origins)
            extensions, header = accept_extensions(request.headers, self._extensions)
            connection.set_extensions(extensions)
            connection.protocol.subprotocol = select_subprotocol(
                connection, request.headers, self._subprotocols, self._select_subprotocol
            )
        except InvalidOrigin as exc:
            return self.refuse(403, f"{exc}.")
        except NegotiationError as exc:
            return self.refuse(400, f"{exc}.")
        return self._accept(connection, header)

    def _accept(self, connection: ServerConnection, extensions: str | None) -> Response:
        headers = Headers(
            [("Date", formatdate(usegmt=True)), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        )
        if extensions is not None:
            headers["Sec-WebSocket-Extensions"] = extensions
        if connection.protocol.subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = connection.protocol.subprotocol
        return Response(101, "Switching Protocols", headers)

    def _refuse_upgrade(self, refusal: picows.Refusal, request: Request) -> Response:
        status, headers = refusal.status, refusal.headers
        # A plain request to a WebSocket endpoint: RFC 9110 section 15.5.22.
        if status == http.HTTPStatus.BAD_REQUEST and not _asks_for_upgrade(request.headers):
            status, headers = 426, (("Upgrade", "websocket"),)
        response = self.refuse(status, f"{refusal.message}.")
        for name, value in headers:
            if name != "Connection":
                response.headers[name] = value
        return response

    def refuse(self, status: int, message: str) -> Response:
        """A refusal in the words that clients of `websockets` servers know."""
        return build_response(status, f"Failed to open a WebSocket connection: {message}\n")


class _Policy(picows.ServerHandshakePolicy):
    def __init__(self, limits: picows.HeadLimits, admission: Admission) -> None:
        super().__init__(limits)
        self._admission = admission

    def refuse(
        self, request: Any, status: int, message: str, headers: Any = None
    ) -> picows.WSUpgradeResponse:
        response = self._admission.refuse(status, f"{message}.")
        for name, value in headers or ():
            response.headers[name] = value
        return to_core_response(response)


async def _result(value: Response | None | Awaitable[Response | None]) -> Response | None:
    """What a hook returned, whether it is a coroutine function or not."""
    if inspect.isawaitable(value):
        return await value
    return value


def _asks_for_upgrade(headers: Headers) -> bool:
    tokens = ",".join(headers.get_all("Upgrade")).lower()
    return "websocket" in (token.strip() for token in tokens.split(","))
