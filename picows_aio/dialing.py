"""How a client gets to its server: the keywords of `connect` about it, in the terms of the core."""

from __future__ import annotations

import ssl as ssl_module
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal

from picows_aio.exceptions import InvalidProxy
from picows_aio.headers import build_host
from picows_aio.proxies import get_proxy
from picows_aio.uri import WebSocketURI

_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


def core_url(uri: WebSocketURI) -> str:
    """The URI as the core takes it, encoded and without user and password."""
    scheme = "wss" if uri.secure else "ws"
    return f"{scheme}://{build_host(uri.host, uri.port, uri.secure, always_include_port=True)}{uri.resource_name}"


def check_tls(uri: WebSocketURI, keywords: Mapping[str, Any]) -> None:
    """Check that ``ssl`` fits the URI.

    Raises:
        ValueError: It does not.
    """
    if uri.secure:
        if keywords.get("ssl", True) is None:
            raise ValueError("ssl=None is incompatible with a wss:// URI")
    elif keywords.get("ssl") is not None:
        raise ValueError("ssl argument is incompatible with a ws:// URI")


def core_keywords(uri: WebSocketURI, keywords: Mapping[str, Any], proxy: str | Literal[True] | None) -> dict[str, Any]:
    """How to get to a server, as keywords of :func:`picows.ws_connect`.

    Args:
        uri: The server.
        keywords: What `connect` was given for the loop's ``create_connection``.
        proxy: The argument of `connect`.

    Raises:
        ValueError: Some of it contradicts the rest.
        InvalidProxy: The URL of the proxy cannot be used.
    """
    check_tls(uri, keywords)
    route = dict(keywords)
    context = route.pop("ssl", None)
    if isinstance(context, ssl_module.SSLContext):
        route["ssl_context"] = context
    sock = route.pop("sock", None)
    if route.pop("unix", False):
        if sock is None and route.get("path") is None:
            raise ValueError("no path and sock were specified")
        proxy = None
    if sock is not None:
        route.pop("path", None)
        route["socket_factory"] = lambda url: sock
        proxy = None
    if proxy is True:
        proxy = None if "host" in route or "port" in route else get_proxy(uri)
    if proxy is not None:
        route["proxy"] = _checked_proxy(proxy)
        _take_proxy_tls(proxy, route)
    return route


def _take_proxy_tls(proxy: str, route: dict[str, Any]) -> None:
    if not proxy.lower().startswith("https:"):
        if route.pop("proxy_ssl", None) is not None:
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        return
    context = route.pop("proxy_ssl", True)
    if context is None:
        raise ValueError("proxy_ssl=None is incompatible with an https:// proxy")
    if isinstance(context, ssl_module.SSLContext):
        route["proxy_ssl_context"] = context


def _checked_proxy(url: object) -> str:
    if not isinstance(url, str):
        raise InvalidProxy(str(url), "it is not a str")
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # whose text may hold the password
        raise InvalidProxy(url, "host or port is invalid") from None
    if parts.scheme not in _PROXY_SCHEMES:
        raise InvalidProxy(url, f"scheme {parts.scheme} isn't supported")
    if not host or port == 0:
        raise InvalidProxy(url, "port 0 is no port" if host else "hostname isn't provided")
    if parts.path not in ("", "/"):
        raise InvalidProxy(url, "path is meaningless")
    if parts.query:
        raise InvalidProxy(url, "query is meaningless")
    if parts.fragment:
        raise InvalidProxy(url, "fragment is meaningless")
    if parts.username is not None and parts.password is None:
        raise InvalidProxy(url, "username provided without password")
    return url
