"""The proxy that the environment or the system names for a URI."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from picows_aio.uri import WebSocketURI

__all__ = ["get_proxy"]


def get_proxy(uri: WebSocketURI) -> str | None:
    """The URL of the proxy to connect through, or None.

    Variables in order: ``wss_proxy``, ``socks_proxy`` and ``https_proxy`` for wss; ``ws_proxy``, ``socks_proxy``,
    ``https_proxy`` and ``http_proxy`` for ws, which proxies carry by CONNECT too. ``no_proxy`` names hosts to connect
    to directly. All may be upper case. Without any, the settings of macOS and Windows count.

    Args:
        uri: Where to connect to.
    """
    if _is_direct(uri):
        return None
    proxies = getproxies()
    schemes = ("wss", "socks", "https") if uri.secure else ("ws", "socks", "https", "http")
    scheme = next((scheme for scheme in schemes if proxies.get(scheme)), None)
    if scheme is None:
        return None
    proxy = proxies[scheme]
    # macOS and Windows, and so urllib, write SOCKS proxies with the scheme http.
    if scheme == "socks" and proxy.startswith("http://"):
        return "socks5h://" + proxy.removeprefix("http://")
    return proxy


def _is_direct(uri: WebSocketURI) -> bool:
    # People write IPv6 addresses in no_proxy both ways.
    hosts = [uri.host, f"[{uri.host}]"] if ":" in uri.host else [uri.host]
    return any(proxy_bypass(f"{host}:{uri.port}") for host in hosts)
