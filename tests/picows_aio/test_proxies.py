"""The proxy of the environment."""

import itertools

import pytest

from picows_aio.proxies import get_proxy
from picows_aio.uri import parse_uri
from tests.picows_aio.observe import with_environment

VARIABLES = ["ws_proxy", "wss_proxy", "socks_proxy", "https_proxy", "http_proxy", "all_proxy"]
URIS = ["ws://h/", "wss://h/"]


def asked(uri, variables):
    return f"with_environment({variables!r}, get_proxy, parse_uri({uri!r}))"


@pytest.mark.parametrize("uri", URIS)
def test_the_order_of_variables(compare, uri):
    subsets = itertools.chain.from_iterable(itertools.combinations(VARIABLES, size) for size in range(7))
    compare(*(asked(uri, {name: f"http://{name}:1" for name in subset}) for subset in subsets))


@pytest.mark.parametrize("uri", URIS)
@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://p:1"},
        {"HTTPS_PROXY": "https://p:1"},
        {"SOCKS_PROXY": "http://u:p@p:1"},
        {"socks_proxy": "socks5://p:1"},
        {"socks_proxy": "socks4a://p:1"},
        {"socks_proxy": "https://p:1"},
        {"WS_PROXY": "x://p"},
        {"ws_proxy": "http://lower:1", "WS_PROXY": "http://upper:1"},
        {"ws_proxy": "", "wss_proxy": "", "https_proxy": "http://p:1"},
        {"https_proxy": "", "HTTPS_PROXY": "http://p:1"},
        {"http_proxy": "p:1", "https_proxy": "q:1"},
        {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"},
    ],
)
def test_forms_of_variables(compare, uri, variables):
    compare(asked(uri, variables))


@pytest.mark.parametrize(
    "no_proxy",
    ["*", "h", ".h", "example.com", ".EXAMPLE.com", "h:80", "h:443", "127.0.0.1", "127.0.0.0/8", "::1", " h , x", "h,"],
)
def test_hosts_without_proxy(compare, no_proxy):
    uris = [*URIS, "ws://h:81/", "ws://a.example.com/", "ws://example.com/", "ws://127.0.0.1/", "ws://[::1]/"]
    names = ["no_proxy", "NO_PROXY"]
    compare(*(asked(uri, {"https_proxy": "http://p:1", name: no_proxy}) for uri in uris for name in names))


@pytest.mark.parametrize("no_proxy", ["[::1]", "::1", "[::1]:80"])
def test_an_ipv6_address_without_proxy_may_have_brackets(no_proxy):
    variables = {"http_proxy": "http://p:1", "no_proxy": no_proxy}
    assert with_environment(variables, get_proxy, parse_uri("ws://[::1]/")) is None
    assert with_environment(variables, get_proxy, parse_uri("ws://[::2]/")) == "http://p:1"
