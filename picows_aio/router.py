"""Serving different paths by different handlers, with the URL maps of werkzeug."""

from __future__ import annotations

import http
import importlib
import inspect
import ssl as ssl_module
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from picows_aio.admission import ProcessRequest
from picows_aio.http11 import Request, Response
from picows_aio.lifecycle import Server
from picows_aio.server import ServerConnection, serve
from picows_aio.typing import PathLike

if TYPE_CHECKING:
    from werkzeug.routing import Map

__all__ = ["Router", "route", "unix_route"]


class Router:
    """Chooses the handler of each connection by the path of its request; made by `route`.

    Subclass it to route in another way, and pass the class to `route` as `create_router`.

    Args:
        url_map: Paths and their handlers; all its rules become rules for WebSockets.
        server_name: Name of the server as clients see it, with the port if that is not the default; None: what the Host
            header says.
        url_scheme: "ws" or "wss", as clients see it.

    Raises:
        ImportError: werkzeug is not installed.
    """

    def __init__(self, url_map: Map, server_name: str | None = None, url_scheme: str = "ws") -> None:
        self._redirect_error, self._not_found_error = _import_errors()
        self.url_map = url_map
        self.server_name = server_name
        self.url_scheme = url_scheme
        for rule in url_map.iter_rules():
            rule.websocket = True

    def get_server_name(self, connection: ServerConnection, request: Request) -> str:
        """Name of the server as the client sees it.

        Args:
            connection: The connection.
            request: Its request.
        """
        return request.headers.get("Host", "") if self.server_name is None else self.server_name

    def redirect(self, connection: ServerConnection, url: str) -> Response:
        """The response where a rule says `redirect_to`, or where werkzeug knows a better spelling of the path.

        Args:
            connection: The connection.
            url: Where to go.
        """
        response = connection.respond(http.HTTPStatus.FOUND, f"Found at {url}")
        response.headers["Location"] = url
        return response

    def not_found(self, connection: ServerConnection) -> Response:
        """The response where no rule fits.

        Args:
            connection: The connection.
        """
        return connection.respond(http.HTTPStatus.NOT_FOUND, "Not Found")

    def route_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Choose `handler` and `handler_kwargs` of the connection; the query of the request plays no part.

        Args:
            connection: The connection.
            request: Its request.

        Returns:
            None if there is a handler, else the response.
        """
        try:
            adapter = self.url_map.bind(self.get_server_name(connection, request), url_scheme=self.url_scheme)
            path = urllib.parse.urlsplit(request.path).path
            connection.handler, kwargs = adapter.match(path_info=path)
            connection.handler_kwargs = dict(kwargs)
        except self._redirect_error as exc:
            return self.redirect(connection, exc.new_url)  # type: ignore[attr-defined]
        except self._not_found_error:
            return self.not_found(connection)
        return None

    async def handler(self, connection: ServerConnection) -> None:
        """Run the handler that was chosen.

        Args:
            connection: The connection.
        """
        await connection.handler(connection, **connection.handler_kwargs)


def route(
    url_map: Map,
    *args: Any,
    server_name: str | None = None,
    ssl: ssl_module.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    **kwargs: Any,
) -> Server:
    """Start a WebSocket server with a handler for each path; otherwise as `serve`.

    Handlers are the endpoints of a `werkzeug.routing.Map`. They are called with the connection, and with what the rule
    takes from the path as keyword arguments::

        from werkzeug.routing import Map, Rule

        async def channel(websocket, number): ...

        url_map = Map([Rule("/channels/<int:number>", endpoint=channel)])
        async with route(url_map, "localhost", 8765) as server:
            await server.serve_forever()

    Other paths are answered with 404, rules with `redirect_to` with 302. A `process_request` is called before that; the
    response that it returns is the answer.

    Args:
        url_map: Paths and their handlers.
        *args: As for `serve`, after the handler.
        server_name: Name of the server as clients see it, for redirects; None: what the Host header says.
        ssl: TLS context; True: clients use TLS, which something in front of the server ends.
        create_router: Makes the router, in place of `Router`.
        **kwargs: As for `serve`.

    Raises:
        ImportError: werkzeug is not installed.
    """
    router = (create_router or Router)(url_map, server_name, "ws" if ssl is None else "wss")
    if ssl is not None and ssl is not True:
        kwargs["ssl"] = ssl
    process_request = kwargs.pop("process_request", None)
    return serve(router.handler, *args, process_request=_chain(process_request, router), **kwargs)


def unix_route(url_map: Map, path: PathLike | None = None, **kwargs: Any) -> Server:
    """Start a WebSocket server on a Unix socket with a handler for each path; otherwise as `route`.

    Args:
        url_map: Paths and their handlers.
        path: Path of the socket.
        **kwargs: As for `route`.
    """
    return route(url_map, unix=True, path=path, **kwargs)


def _chain(process_request: ProcessRequest | None, router: Router) -> ProcessRequest:
    if process_request is None:
        return router.route_request

    async def process_then_route(connection: ServerConnection, request: Request) -> Response | None:
        response = process_request(connection, request)
        if inspect.isawaitable(response):
            response = await response
        return router.route_request(connection, request) if response is None else response

    return process_then_route


def _import_errors() -> tuple[type[Exception], type[Exception]]:
    """What werkzeug raises to redirect, and where nothing fits; imported when routing is asked for."""
    try:
        routing, exceptions = map(importlib.import_module, ("werkzeug.routing", "werkzeug.exceptions"))
    except ImportError as exc:
        raise ImportError("routing needs werkzeug: pip install picows-aio[router]") from exc
    return routing.RequestRedirect, exceptions.NotFound
